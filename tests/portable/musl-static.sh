#!/usr/bin/env bash
# musl-static.sh - programs linked with musl: small, alone, and right.
#
# SPDX-License-Identifier: MIT
#
# usage: musl-static.sh MUSL_BUILD_DIR BUILD_DIR   prints "musl-static: N passed, N failed"
set -u
part=musl-static
# shellcheck source=tests/portable/alone.sh
. "$(dirname "$0")/alone.sh"

for program in qcow2-fsck qcow2-map qcow2-dump; do
	stands_alone "$program"
	! grep -aq 'GNU C Library' "$alone/bin/$program"
	verdict "$program has the other C library" $?
done
bash "$here/../cases/run.sh" "$alone" >out 2>err
verdict "golden cases: $(head -n 5 err) $(tail -n 1 out)" $?

same() { # program argument...
	local program=$1
	shift
	"$build/bin/$program" "$@" >here 2>here.err
	same_as_ours $? "$alone/bin/$program" "$@"
}
# Plain, compressed in both ways, encrypted, in a chain.
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-io -c 'write -P 7 1M 512k' -c 'write -P 9 5M 64k' base.qcow2 >/dev/null
qemu-img convert -c -O qcow2 base.qcow2 deflate.qcow2
qemu-img convert -c -O qcow2 -o compression_type=zstd base.qcow2 zstd.qcow2
qemu-img create -q -f qcow2 -b zstd.qcow2 -F qcow2 top.qcow2
make_old old.qcow2 8M
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
"$alone/bin/qcow2-dump" top.qcow2 new.raw >out 2>err
verdict "a dump: $(cat err)" $?
qemu-img compare -q -f raw -F qcow2 new.raw top.qcow2
verdict 'the dump is the disk' $?
sum_up
