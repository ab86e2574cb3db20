#!/usr/bin/env bash
# musl-static.sh - programs linked with musl: small, alone, and right.
#
# SPDX-License-Identifier: MIT
#
# usage: musl-static.sh MUSL_BUILD_DIR BUILD_DIR   prints "musl-static: N passed, N failed"
set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
musl=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
passed=0
failed=0

verdict() { # what status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "musl-static: $1" >&2
	fi
}

for program in qcow2-fsck qcow2-map qcow2-dump; do
	file -b "$musl/bin/$program" | grep -q 'statically linked'
	verdict "$program is not static" $?
	[ "$(stat -c %s "$musl/bin/$program")" -le $((4 << 20)) ]
	verdict "$program is too large" $?
	! grep -aq 'GNU C Library' "$musl/bin/$program"
	verdict "$program has the other C library" $?
done
bash "$here/../cases/run.sh" "$musl" >out 2>err
verdict "golden cases: $(head -n 5 err) $(tail -n 1 out)" $?

same() { # program argument...
	local program=$1 status
	shift
	"$build/bin/$program" "$@" >here 2>here.err
	status=$?
	"$musl/bin/$program" "$@" >there 2>there.err
	[ $? = $status ] && cmp -s here there && cmp -s here.err there.err && [ -s there ]
	verdict "$program $*: $(head -n 1 there.err)" $?
}
# Plain, compressed in both ways, encrypted, in a chain.
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-io -c 'write -P 7 1M 512k' -c 'write -P 9 5M 64k' base.qcow2 >/dev/null
qemu-img convert -c -O qcow2 base.qcow2 deflate.qcow2
qemu-img convert -c -O qcow2 -o compression_type=zstd base.qcow2 zstd.qcow2
qemu-img create -q -f qcow2 -b zstd.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 --object secret,id=key,data=sesame -o encrypt.format=aes,encrypt.key-secret=key \
	old.qcow2 8M 2>/dev/null
qemu-io --object secret,id=key,data=sesame -c 'write -P 5 64k 100k' --image-opts \
	driver=qcow2,file.filename=old.qcow2,encrypt.key-secret=key >/dev/null
for i in {1..60}; do
	qemu-img create -q -f qcow2 --object secret,id=key,data=sesame \
		-o encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10 luks.qcow2 8M 2>err && break
done
verdict "after $i attempts qemu-img has made no key" $((i == 60))
qemu-io --object secret,id=key,data=sesame -c 'write -P 6 64k 100k' --image-opts \
	driver=qcow2,file.filename=luks.qcow2,encrypt.key-secret=key >/dev/null
printf sesame >secret
for image in base deflate zstd top; do
	same qcow2-dump --digest $image.qcow2
	same qcow2-map extents --output=json $image.qcow2
done
same qcow2-dump --digest --secret=secret old.qcow2
same qcow2-dump --digest --secret=secret luks.qcow2
same qcow2-map audit .
same qcow2-map extents --chain --output=json top.qcow2
"$musl/bin/qcow2-dump" top.qcow2 new.raw >out 2>err
verdict "a dump: $(cat err)" $?
qemu-img compare -q -f raw -F qcow2 new.raw top.qcow2
verdict 'the dump is the disk' $?
echo "musl-static: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
