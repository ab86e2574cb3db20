#!/usr/bin/env bash
# sandbox.sh - what code that has got into a parser cannot do; and what the tools
# do where the kernel cannot confine them.
#
# SPDX-License-Identifier: MIT
#
# usage: sandbox.sh BUILD_DIR           prints "sandbox: N passed, N failed"
#
# A library that is preloaded makes a system call from inside the first read of an
# image.  So that the test can fail, each call is also made with --no-sandbox, and
# must get through then, or be refused by the kernel for a reason of its own.
set -u
export LC_ALL=C

build=$(cd "$1" && pwd)
intruder=$build/tests/intruder.so
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/pool" "$tmp/elsewhere"
cd "$tmp/pool" || exit 1
passed=0
failed=0

verdict() { # what status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "sandbox: $1" >&2
		[ ! -s err ] || sed 's/^/    /' err | head -n 3 >&2
	fi
}

fresh() {
	printf 'secret\n' >../elsewhere/file
	printf 'secret\n' >beside
	rm -f ../elsewhere/new new out
}

# try CALL FILE TOOL ARGUMENT...: leaves err and $status.
try() {
	fresh
	INTRUDER=$1 INTRUDER_FILE=$2 LD_PRELOAD=$intruder "$build/bin/qcow2-$3" "${@:4}" \
		>/dev/null 2>err
	status=$?
}

stopped() {
	[ "$status" = 64 ] && grep -qE '^qcow2-[a-z ]+: sandbox: forbidden system call [0-9]+' err
}
refused() { [ "$status" = 98 ] && grep -q 'Permission denied' err; }
through() {
	# Not all is allowed to all: what counts is that the kernel was asked.
	[ "$status" = 99 ] || { [ "$status" = 98 ] && ! grep -q 'sandbox' err; }
}

qemu-img create -q -f qcow2 base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 image.qcow2 1M
qemu-io -c 'write -P 5 64k 128k' image.qcow2 >/dev/null

calls=(execve fork inet unix ptrace kill tgkill mount unshare setuid tiocsti mprotect
	setrlimit seccomp keyctl bpf readv-other chmod truncate mkdir)
modes=('fsck image.qcow2' 'fsck -p image.qcow2' 'map extents image.qcow2'
	'map space image.qcow2' 'map audit .' 'dump --digest image.qcow2'
	'dump --force image.qcow2 out')
reading=('fsck image.qcow2' 'fsck --chain image.qcow2' 'map extents image.qcow2'
	'map layout image.qcow2' 'map snapshots image.qcow2'
	'map extents --chain image.qcow2' 'map audit .' 'map graph .'
	'map lint image.qcow2' 'dump --digest image.qcow2'
	'dump --compare image.qcow2 image.qcow2')

single=('fsck image.qcow2' 'map extents image.qcow2')

# Without libseccomp there is no filter to try: then it is told, which is tried below.
"$build/bin/qcow2-fsck" -v image.qcow2 >/dev/null 2>err
if grep -q 'has no filter' err; then
	echo 'sandbox: this build, or kernel, has no filter for system calls' >&2
	calls=() modes=() reading=() single=()
fi

# Where lines are counted, the counts are written to files in the end, wherever.
changing=(write create unlink rename)
case $build in
*cov)
	echo 'sandbox: lines are counted: changes to files are not tried' >&2
	calls=("${calls[@]/mkdir/truncate}") changing=()
	;;
esac

# Calls by the numbers of 32-bit programs, if the kernel runs these.
try foreign ../elsewhere/file fsck --no-sandbox image.qcow2
if [ "$status" -lt 128 ]; then
	[ ${#calls[@]} = 0 ] || calls+=(foreign)
else
	echo 'sandbox: this kernel runs no 32-bit programs: their calls are not tried' >&2
fi
for mode in "${modes[@]}"; do
	read -ra words <<<"$mode"
	for call in "${calls[@]}"; do
		try "$call" ../elsewhere/file "${words[@]}"
		stopped
		verdict "$call in qcow2-$mode: not stopped" $?
		[ "$call" != execve ] || grep -qF '(execve)' err
		verdict "$call in qcow2-$mode: not named" $?
	done
done
for call in "${calls[@]}" read write create unlink rename mmap; do
	try "$call" ../elsewhere/file fsck --no-sandbox image.qcow2
	through
	verdict "$call with --no-sandbox: the test could not fail" $?
	rm -rf intruder.d elsewhere
done

# What a tool gives up for good, seen from outside while it waits for the image's header.
held() { # TOOL ARGUMENT...: leaves told and limits, of /proc
	FAULT_FILE=image.qcow2 FAULT_SLEEP=0:1:60 LD_PRELOAD=$build/tests/faultio.so \
		"$build/bin/qcow2-$1" "${@:2}" >/dev/null 2>err &
	for ((i = 0; i < 2000; i++)); do
		grep -qw $'Seccomp:\t2' /proc/$!/status 2>/dev/null && break
		sleep 0.01
	done
	cat /proc/$!/status >told
	cat /proc/$!/limits >limits
	kill -9 $!
	wait $!
} 2>/dev/null
for mode in "${modes[@]}"; do
	read -ra words <<<"$mode"
	fresh
	held "${words[@]}"
	grep -q $'^NoNewPrivs:\t1$' told && grep -q $'^Seccomp:\t2$' told
	verdict "qcow2-$mode: no new privileges, and a filter" $?
	grep -qE '^Max core file size +0 +0 ' limits
	verdict "qcow2-$mode: no core file" $?
	[ "${words[0]}" = dump ] || grep -qE '^Max processes +0 +0 ' limits
	verdict "qcow2-$mode: no process" $?
done

# Who only reads cannot change a name or a file, not even beside the image.
for mode in "${reading[@]}"; do
	read -ra words <<<"$mode"
	for call in "${changing[@]}"; do
		try "$call" beside "${words[@]}"
		stopped
		verdict "$call in qcow2-$mode: not stopped" $?
	done
	[ "$(cat beside)" = secret ]
	verdict "qcow2-$mode: the file is as it was" $?
	try mmap beside "${words[@]}"
	refused
	verdict "mmap in qcow2-$mode: not refused" $?
done
for mode in "${single[@]}"; do
	read -ra words <<<"$mode"
	try thread beside "${words[@]}"
	stopped
	verdict "thread in qcow2-$mode: not stopped" $?
done

# Landlock: other files cannot be read or written either.  A kernel that has none
# is told, and fails nothing here.
"$build/bin/qcow2-fsck" --require-sandbox image.qcow2 >/dev/null 2>err
status=$?
if [ $status = 0 ]; then
	[ ${#changing[@]} != 0 ] || modes=() single=()
	for mode in "${modes[@]}"; do
		read -ra words <<<"$mode"
		try read ../elsewhere/file "${words[@]}"
		refused
		verdict "read elsewhere in qcow2-$mode" $?
	done
	for mode in 'fsck -p image.qcow2' 'dump --force image.qcow2 out' \
		'fsck --plan=new image.qcow2' 'dump --absorb image.qcow2'; do
		read -ra words <<<"$mode"
		for call in "${changing[@]}"; do
			file=../elsewhere/file
			[ $call != create ] || file=../elsewhere/new
			try "$call" "$file" "${words[@]}"
			refused
			verdict "$call elsewhere in qcow2-$mode" $?
		done
		[ "$(cat ../elsewhere/file)" = secret ] && [ ! -e ../elsewhere/new ]
		verdict "qcow2-$mode: files elsewhere are as they were" $?
	done
	# One image, no chain: not even its neighbour.
	for mode in "${single[@]}"; do
		read -ra words <<<"$mode"
		try read beside "${words[@]}"
		refused
		verdict "read beside in qcow2-$mode" $?
	done
	for call in read write; do
		try "$call" ../elsewhere/file fsck --no-sandbox image.qcow2
		through
		verdict "$call elsewhere with --no-sandbox" $?
	done
else
	grep -q 'sandbox: ' err
	verdict 'a kernel that cannot confine says so' $?
	echo 'sandbox: not confined in both ways: files elsewhere are not tried' >&2
fi

# What a user names may be opened, whatever the form of the name; threads and
# servers may be had by those who have a use for them.
mkdir other
qemu-img create -q -f qcow2 -b ../base.qcow2 -F qcow2 other/top.qcow2 1M
json='json:{"driver":"qcow2","file":{"driver":"file","filename":"other/top.qcow2"}}'
for mode in 'map extents' 'map measure' 'map extents --chain --allow-path=.' \
	'map snapshots --chain --allow-path=.' 'map forecast --read flatten --allow-path=.' \
	'map forecast compress --sample=50 --allow-path=.' \
	'map forecast commit --allow-path=.' 'dump --digest --allow-path=.'; do
	read -ra words <<<"$mode"
	for name in "$json" file:other/top.qcow2; do
		"$build/bin/qcow2-${words[0]}" "${words[@]:1}" "$name" >out 2>err
		[ $? = 0 ] && [ -s out ] && [ ! -s err ]
		verdict "qcow2-$mode ${name%%:*}:" $?
	done
done
try thread beside map forecast --read flatten image.qcow2
through
verdict 'forecast --read has threads' $?

# A server with one client at a time, and a base on one.
"$build/bin/qcow2-map" 'nbd+unix:///?socket=nowhere' >/dev/null 2>err
if grep -q 'built without libnbd' err; then
	echo 'sandbox: built without libnbd, so no server is read' >&2
else
	for file in image.qcow2 base.qcow2; do
		rm -f nbd
		qemu-nbd -r -t -e 1 -f raw -k "$tmp/pool/nbd" $file >/dev/null 2>&1 &
		server=$!
		for ((i = 0; i < 100; i++)); do
			[ ! -S nbd ] || break
			sleep 0.1
		done
		uri="nbd+unix:///?socket=nbd"
		if [ $file = image.qcow2 ]; then
			modes=('lint --allow=all' space snapshots measure extents)
		else
			qemu-img create -q -u -f qcow2 -b "$uri" -F qcow2 served.qcow2 1M
			modes=("extents --chain --allow-path=$uri"
				"forecast --read flatten --allow-path=$uri")
			uri=served.qcow2
		fi
		for mode in "${modes[@]}"; do
			read -ra words <<<"$mode"
			timeout -k 1 20 "$build/bin/qcow2-map" "${words[@]}" "$uri" >out 2>err
			[ $? = 0 ] && [ -s out ]
			verdict "qcow2-map $mode $uri, on a server" $?
		done
		kill $server
		wait $server 2>/dev/null
	done
fi

# A kernel that lacks the means: as before, and told only to who is there to read it.
for lack in NO_LANDLOCK NO_SECCOMP; do
	for mode in 'fsck image.qcow2' 'map extents image.qcow2' \
		'dump --digest image.qcow2'; do
		read -ra words <<<"$mode"
		env $lack=1 LD_PRELOAD="$intruder" "$build/bin/qcow2-${words[0]}" \
			"${words[@]:1}" >out 2>err
		[ $? = 0 ] && [ ! -s err ] && [ -s out ]
		verdict "$lack: qcow2-$mode works, and says nothing of it" $?
		env $lack=1 LD_PRELOAD="$intruder" "$build/bin/qcow2-${words[0]}" \
			"${words[@]:1}" --require-sandbox >out 2>err
		[ $? = 8 ] && [ ! -s out ] && grep -q 'sandbox: the kernel' err
		verdict "$lack: qcow2-$mode --require-sandbox fails" $?
		env $lack=1 script -qec "LD_PRELOAD=$intruder $build/bin/qcow2-$mode >out" \
			/dev/null >err </dev/null
		[ $? = 0 ] && [ -s out ] && grep -q 'sandbox: the kernel' err
		verdict "$lack: qcow2-$mode on a terminal tells" $?
		env $lack=1 script -qec "LD_PRELOAD=$intruder $build/bin/qcow2-$mode -q >out" \
			/dev/null >err </dev/null
		[ $? = 0 ] && ! grep -q sandbox err
		verdict "$lack: qcow2-$mode -q on a terminal does not" $?
	done
	env $lack=1 LD_PRELOAD="$intruder" "$build/bin/qcow2-fsck" -v image.qcow2 >out 2>err
	[ $? = 0 ] && grep -q 'sandbox: the kernel' err
	verdict "$lack: -v tells" $?
done

echo "sandbox: $passed passed, $failed failed"
[ $failed = 0 ]
