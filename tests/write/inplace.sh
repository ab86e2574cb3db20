#!/usr/bin/env bash
# inplace.sh - chains flattened in place, beside qemu-img commit and rebase; every
# crash and every failure; what is refused.
#
# SPDX-License-Identifier: MIT
#
# usage: inplace.sh BUILD_DIR
set -u
export LC_ALL=C

bin=$(cd "$1" && pwd)
# shellcheck disable=SC2034  # the parts use it
q2mk=$bin/tests/q2mk
flat=$bin/tests/q2inplace
here=$(cd "$(dirname "$0")" && pwd)
for part in refused stops media; do
	# shellcheck source=/dev/null
	. "$here/inplace-$part.sh"
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0
failed=0

ok() { # what command...
	local what=$1
	shift
	if "$@" >"$dir/log" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "inplace: $what" >&2
		head -n 5 "$dir/log" >&2
	fi
}

info() { # image field
	qemu-img info -U --output=json "$1" | jq -r "$2"
}

clean() { # what image...
	local what=$1 image
	shift
	for image; do
		[ "$(info "$image" .format)" = qcow2 ] || continue
		ok "$what: $image: check" "$bin/bin/qcow2-fsck" "$image"
		ok "$what: $image: qemu-img check" qemu-img check "$image"
	done
}

# --- real images ------------------------------------------------------------------

# Writes of a guest: image, seed, disk size in KiB, how many.
guest() {
	local i off len args=() n=$2
	for ((i = 0; i < $4; i++)); do
		n=$(((n * 1103515245 + 12345) % 2147483648))
		off=$((n / 7 % $3 / 2 * 2))
		len=$((n / 911 % 90 + 1))
		[ $((off + len)) -le "$3" ] || len=$(($3 - off))
		if [ $((n / 13 % 5)) = 0 ]; then
			args+=(-c "write -z ${off}K ${len}K")
		else
			args+=(-c "write -P $((n / 31 % 250 + 1)) ${off}K ${len}K")
		fi
	done
	qemu-io "${args[@]}" "$1" >/dev/null || return 1
}

# chain TOP-OPTIONS MID-OPTIONS BASE-KIND BASE-OPTIONS TOP-K MID-K BASE-K: makes
# top.q2 over mid.q2 over base in the current folder
chain() {
	local format=qcow2
	case $3 in
	raw)
		format=raw
		head -c $(($7 * 1024 + 512)) </dev/zero >base
		qemu-io -f raw -c "write -P 77 4K $(($7 / 3))K" base >/dev/null
		;;
	compressed)
		qemu-img create -q -f qcow2 -o "$4" plain "$7K"
		guest plain 5 "$7" 12 || return 1
		qemu-img convert -c -O qcow2 -o "$4" plain base
		rm plain
		;;
	*)
		qemu-img create -q -f qcow2 -o "$4" base "$7K"
		guest base 6 "$7" 12 || return 1
		[ "$3" != snapshots ] || { qemu-img snapshot -c base-one base && guest base 11 "$7" 4; }
		;;
	esac
	qemu-img create -q -f qcow2 -o "$2" -b base -F $format mid.q2 "$6K"
	guest mid.q2 7 "$6" 10 || return 1
	qemu-img create -q -f qcow2 -o "$1" -b mid.q2 -F qcow2 top.q2 "$5K"
	guest top.q2 8 "$5" 10 || return 1
}

# No file has grown by more than was foretold.
fits() { # what needed
	local file before after
	for file in top.q2 mid.q2 base; do
		before=$(stat -c %s made/$file)
		after=$(stat -c %s ours/$file)
		# A raw file has holes.
		[ "$file$(cat made/format)" != baseraw ] || {
			before=$(($(stat -c %b made/$file) * 512))
			after=$(($(stat -c %b ours/$file) * 512 - 65536))
		}
		ok "$1: $file: $before bytes became $after, $2 were foretold" \
			[ $((after - before)) -le "$2" ]
	done
}

# The same with qemu-img and with ours, each on its own copy of the folder `made`.
beside() { # what "qemu-img arguments" "q2inplace arguments" files-to-compare...
	local what=$1 theirs=$2 ours=$3 file format status
	shift 3
	rm -rf theirs ours
	cp -r made theirs
	cp -r made ours
	(cd theirs && eval "qemu-img $theirs") >theirs.log 2>&1 || {
		ok "$what: qemu-img $theirs: $(cat theirs.log)" false
		return
	}
	# shellcheck disable=SC2086
	(cd ours && "$flat" run $ours) >ours.log 2>&1
	status=$?
	ok "$what: $ours: status $status: $(cat ours.log)" [ $status = 0 ]
	fits "$what: $ours" "$(sed -n 's/^needed \([0-9]*\) .*/\1/p' ours.log)"
	for file; do
		format=qcow2
		[ $file != base ] || format=$(cat made/format)
		ok "$what: $ours: $file is as after qemu-img $theirs" \
			qemu-img compare -f "$format" -F "$format" "theirs/$file" "ours/$file"
		ok "$what: $ours: size of $file" \
			[ "$(info "theirs/$file" '."virtual-size"')" = "$(info "ours/$file" '."virtual-size"')" ]
	done
	ok "$what: $ours: the guest's view" qemu-img compare -f qcow2 -F raw ours/top.q2 view.raw
	clean "$what: $ours" ours/top.q2 ours/mid.q2
	[ "$(cat made/format)" = raw ] || clean "$what: $ours" ours/base
	# Done once more, there is nothing to do.
	before=$(sha256sum ours/top.q2 ours/mid.q2 ours/base)
	# shellcheck disable=SC2086
	(cd ours && "$flat" run $ours) >ours.log 2>&1
	ok "$what: $ours, again: $(cat ours.log)" grep -q 'data 0 zeros 0' ours.log
	ok "$what: $ours, again: files" [ "$before" = "$(sha256sum ours/top.q2 ours/mid.q2 ours/base)" ]
}

real_chain() { # name and the arguments of chain
	local name=$1
	shift
	rm -rf made && mkdir made
	(cd made && chain "$@") || {
		ok "$name: cannot be made" false
		return
	}
	info made/base .format >made/format
	qemu-img convert -f qcow2 -O raw made/top.q2 view.raw
	beside "$name" 'commit -q top.q2' 'commit top.q2' top.q2 mid.q2
	# qemu-img leaves the upper layers as they were; ours names the new base.
	beside "$name" 'commit -q -b base top.q2' 'commit top.q2 base=base' top.q2 base
	ok "$name: name" [ "$(info ours/top.q2 '."backing-filename"')" = base ]
	beside "$name" 'rebase -b "" top.q2' 'absorb top.q2' top.q2
	ok "$name: no name" [ "$(info ours/top.q2 '."backing-filename" // "none"')" = none ]
	beside "$name" "rebase -b base -F $(cat made/format) top.q2" 'absorb top.q2 base=base' top.q2
	ok "$name: format" [ "$(info ours/top.q2 '."backing-filename-format"')" = "$(cat made/format)" ]
	ok "$name: below is as it was" cmp made/mid.q2 ours/mid.q2
	ok "$name: below is as it was" cmp made/base ours/base
}

real() {
	real_chain plain cluster_size=64k cluster_size=64k qcow2 cluster_size=64k 6000 6000 6000
	real_chain small cluster_size=512 cluster_size=4k compressed cluster_size=64k 1500 1500 1500
	real_chain sizes cluster_size=4k cluster_size=2k qcow2 cluster_size=16k,refcount_bits=1 3000 1500 2400
	real_chain grown cluster_size=4k cluster_size=4k qcow2 cluster_size=512,refcount_bits=64 5000 3000 900
	real_chain long cluster_size=64k cluster_size=1k qcow2 cluster_size=8k 1200 2000 3000
	real_chain raw cluster_size=16k cluster_size=64k raw '' 2000 2400 1501
	real_chain v2 compat=0.10,cluster_size=4k compat=0.10 qcow2 compat=0.10,cluster_size=1k 2000 2000 1000
	real_chain v2-on-raw compat=0.10 cluster_size=4k raw '' 3000 1000 2000
	real_chain subclusters extended_l2=on extended_l2=on,cluster_size=16k qcow2 extended_l2=on,cluster_size=32k 6000 6000 5000
	real_chain mixed extended_l2=on,cluster_size=128k cluster_size=512 compressed compression_type=zstd 3000 3000 3000
	real_chain snapshots cluster_size=4k,lazy_refcounts=on cluster_size=4k snapshots cluster_size=4k,refcount_bits=4 2000 2000 2000
}

# What the internal snapshots hold is the same as before.
snapshot_cases() {
	rm -rf made && mkdir made
	(
		cd made || exit
		qemu-img create -q -f qcow2 -o cluster_size=4k base 1M
		qemu-io -c 'write -P 1 0 1M' base >/dev/null
		qemu-img snapshot -c base-one base
		qemu-img create -q -f qcow2 -o cluster_size=4k -b base -F qcow2 top.q2
		qemu-io -c 'write -P 2 0 1M' top.q2 >/dev/null
		qemu-img snapshot -c one top.q2
		qemu-io -c 'write -P 3 64K 128K' -c 'write -z 512K 64K' top.q2 >/dev/null
	)
	for job in 'commit top.q2' 'absorb top.q2'; do
		rm -rf ours && cp -r made ours
		# shellcheck disable=SC2086
		ok "snapshots: $job" bash -c "cd ours && '$flat' run $job"
		ok "snapshots: $job: view" qemu-img compare made/top.q2 ours/top.q2
		clean "snapshots: $job" ours/top.q2 ours/base
		qemu-img convert -l snapshot.name=one -O raw made/top.q2 want.raw
		qemu-img convert -l snapshot.name=one -O raw ours/top.q2 got.raw
		ok "snapshots: $job: of the top" cmp want.raw got.raw
		qemu-img convert -l snapshot.name=base-one -O raw made/base want.raw
		qemu-img convert -l snapshot.name=base-one -O raw ours/base got.raw
		ok "snapshots: $job: of the base" cmp want.raw got.raw
	done
}

# Names of the base in other folders.
names() {
	mkdir -p names/pool/deep names/tops
	cd names || return
	qemu-img create -q -f qcow2 pool/deep/base 1M
	qemu-io -c 'write -P 1 0 512K' pool/deep/base >/dev/null
	(cd pool && qemu-img create -q -f qcow2 -b deep/base -F qcow2 mid.q2)
	(cd tops && qemu-img create -q -f qcow2 -b ../pool/mid.q2 -F qcow2 top.q2)
	(cd tops && qemu-img create -q -f qcow2 -b "$PWD/../pool/mid.q2" -F qcow2 absolute.q2)
	ok 'a relative name' "$flat" run absorb tops/top.q2 base=pool/deep/base any
	ok 'a relative name' [ "$(info tops/top.q2 '."backing-filename"')" = ../pool/deep/base ]
	ok 'a relative name' qemu-io -r -c 'read -P 1 0 512K' tops/top.q2
	ok 'an absolute name' "$flat" run commit tops/absolute.q2 base=pool/deep/base any
	ok 'an absolute name' [ "$(info tops/absolute.q2 '."backing-filename"')" = "$(realpath pool/deep/base)" ]
	cd pool || return
	cp deep/base proto:base
	qemu-img create -q -u -f qcow2 -b ./proto:base -F qcow2 colon-mid.q2 1M
	qemu-img create -q -f qcow2 -b colon-mid.q2 -F qcow2 colon.q2
	ok 'a colon' "$flat" run absorb colon.q2 base=./proto:base
	ok 'a colon' qemu-io -r -c 'read -P 1 0 512K' colon.q2
	cd ../..
}

# --- the program ------------------------------------------------------------------

status() { # what wanted-status text command...
	local what=$1 want=$2 text=$3 got
	shift 3
	"$@" >out.log 2>&1
	got=$?
	ok "$what: status $got, not $want: $(cat out.log)" [ $got = "$want" ]
	ok "$what: '$text' is not in: $(cat out.log)" grep -q -- "$text" out.log
}

program() {
	local dump=$bin/bin/qcow2-dump i job image
	mkdir program
	cd program || return
	small_chain
	status 'no operand' 16 'no image' "$dump" --absorb
	status 'two operands' 16 'too many' "$dump" --commit top.q2 mid.q2
	status 'two verbs' 16 'exclude' "$dump" --commit --absorb top.q2
	status 'base alone' 16 'go with' "$dump" --base 1 top.q2 out
	status 'for another verb' 16 'do not go with' "$dump" --absorb --verify top.q2
	status 'for reading' 16 'do not go with' "$dump" --absorb --salvage top.q2
	status 'keep-top' 16 'go with --commit' "$dump" --absorb --keep-top top.q2
	status 'not an image' 8 'gone' "$dump" --absorb gone
	status 'no backing file' 8 'no backing file' "$dump" --commit base
	mkdir folder
	qemu-img create -q -f qcow2 -b ../mid.q2 -F qcow2 folder/other.q2
	status 'refused' 8 'another overlay' "$dump" --commit --siblings folder top.q2
	before=$(sha256sum top.q2 mid.q2 base)
	status 'dry run' 0 'may need [1-9]' "$dump" --dry-run --absorb top.q2
	ok 'dry run changes nothing' [ "$before" = "$(sha256sum top.q2 mid.q2 base)" ]
	rm -r folder
	status 'keep' 0 '65536 bytes of data' "$dump" --commit --keep-top top.q2
	ok 'kept' qemu-io -r -c 'read -P 3 256K 64K' mid.q2
	status 'again' 0 '65536 bytes of data' "$dump" --commit --siblings . top.q2
	status 'absorb' 0 'bytes of data and [0-9]* of zeros absorbed' "$dump" --absorb top.q2
	status 'absorbed' 0 'nothing to copy' "$dump" --absorb top.q2
	clean program top.q2 mid.q2 base
	printf 'size 1M\nrawfile plain.raw 64K 7\nbacking plain.raw\nwrite 0 4K 9\n' | "$q2mk" - bare.q2
	status 'no format' 8 'no format is stated; --backing-format' "$dump" --commit bare.q2
	status 'a format' 0 '4096 bytes of data' "$dump" --commit --backing-format=raw bare.q2
	ok 'a format' qemu-io -r -f raw -c 'read -P 9 0 4K' -c 'read -P 7 4K 60K' plain.raw
	rm -f ./*
	# Killed at any moment, and started again.
	head -c 48M /dev/urandom >data
	qemu-img create -q -f qcow2 -o cluster_size=4k base 128M
	qemu-img convert -n -f raw -O qcow2 data base
	qemu-img create -q -f qcow2 -o cluster_size=4k -b base -F qcow2 top.q2
	for ((i = 0; i < 40; i++)); do echo "write -P $((i + 1)) $((i * 3 + 1))M 300K"; done | qemu-io top.q2 >/dev/null
	"$dump" --digest top.q2 >want.log
	mkdir made
	mv base top.q2 made
	for job in --absorb --commit; do
		cp made/* .
		for i in 0.02 0.05 0.1 0.15; do
			timeout -s KILL $i "$dump" -q $job top.q2 >/dev/null 2>&1
			ok "killed: $job: view" cmp want.log <("$dump" --digest top.q2)
			timeout -s INT $i "$dump" -q $job top.q2 >/dev/null 2>&1
			ok "interrupted: $job: view" cmp want.log <("$dump" --digest top.q2)
		done
		ok "killed: $job: again" "$dump" $job top.q2
		ok "killed: $job: view" cmp want.log <("$dump" --digest top.q2)
		for image in top.q2 base; do
			"$bin/bin/qcow2-fsck" --exit=qemu $image >fsck.log
			ok "killed: $job: $image is worse than leaky" [ $(($? % 3)) = 0 ]
		done
	done
	paced
	cd ..
}

# The rate is kept to, and does not keep a signal from being heeded.
paced() {
	local job word pid i
	for job in --absorb --commit; do
		word=absorbing
		[ $job = --absorb ] || word=committing
		cp made/* .
		env --default-signal=INT "$dump" -q --rate=2M -C 3 $job top.q2 3>progress >/dev/null 2>err.txt &
		pid=$!
		for ((i = 0; i < 500; i++)); do
			grep -qsE "^$word [1-9]" progress && break
			sleep 0.02
		done
		kill -INT $pid
		wait $pid
		i=$?
		ok "rate: $job: interrupted: $i, $(cat err.txt)" [ $i = 32 ]
		ok "rate: $job: view" cmp want.log <("$dump" --digest top.q2)
		i=$(date +%s%N)
		ok "rate: $job: to the end" "$dump" --rate=16M $job top.q2
		# A slow machine only takes longer: at the least 11 MiB are copied.
		ok "rate: $job: too fast" [ $(($(date +%s%N) - i)) -gt 500000000 ]
		ok "rate: $job: view" cmp want.log <("$dump" --digest top.q2)
		rm -f progress
	done
}

# A base that becomes much longer does not become large.
sparse() {
	local base
	mkdir sparse
	cd sparse || return
	truncate -s 1M raw
	qemu-img create -q -f qcow2 qcow2 1M
	for base in raw qcow2; do
		qemu-img create -q -f qcow2 -b $base -F $base $base.top 100G
		qemu-io -c 'write -P 5 99G 64K' -c 'write -z 50G 1G' $base.top >/dev/null
		ok "sparse: $base" "$flat" run commit $base.top
		ok "sparse: $base: size" [ "$(info $base '."virtual-size"')" = $((100 << 30)) ]
		ok "sparse: $base: stored" [ "$(($(stat -c %b $base) * 512))" -lt $((2 << 20)) ]
		ok "sparse: $base: data" qemu-io -r -f $base -c 'read -P 5 99G 64K' -c 'read -P 0 50G 64M' $base
		clean "sparse: $base" $base.top $base
	done
	cd ..
}

case ${2-all} in
all)
	real
	sparse
	snapshot_cases
	refuse_siblings
	refuse_use
	refuse_others
	names
	program
	media
	crashes
	random_chains
	deep
	;;
*) "$2" ;;
esac
echo "inplace: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
