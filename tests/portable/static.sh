#!/usr/bin/env bash
# static.sh - programs without shared libraries: in an empty root, and with the
# same output as the others.
#
# SPDX-License-Identifier: MIT
#
# usage: static.sh STATIC_BUILD_DIR BUILD_DIR [short]
#
# Prints "static: N passed, N failed".  Short: without those encrypted images that take
# minutes where qemu-img makes keys slowly; the unit tests of keys are done.
set -u
part=static
# shellcheck source=tests/portable/alone.sh
. "$(dirname "$0")/alone.sh"

mkdir -p root/pool
qemu-img create -q -f qcow2 root/pool/base.qcow2 4M
qemu-io -c 'write -P 7 1M 512k' root/pool/base.qcow2 >/dev/null
for name in left right; do
	(cd root/pool && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 $name.qcow2 8M &&
		qemu-io -c 'write -P 9 0 64k' $name.qcow2 >/dev/null)
done
(cd root/pool && qemu-img create -q -f qcow2 -b left.qcow2 -F qcow2 'top leaf.qcow2' 8M)
"$build/tests/q2mk" - root/pool/leak.qcow2 <<'END'
size 64K
write 0 2K
set l2[0][1] = 0
END

for program in qcow2-fsck qcow2-map qcow2-dump; do
	stands_alone "$program"
	cp "$alone/bin/$program" root/
done

# In a root that holds nothing but them and the images.  As somebody else than root
# a namespace of one's own is needed.
jail() {
	if [ "$(id -u)" = 0 ]; then
		chroot root "$@"
	else
		unshare -r chroot root "$@"
	fi
}
same() { # what program arguments...
	local program=$1
	shift
	(cd root && "$build/bin/$program" "$@") >here 2>here.err
	same_as_ours $? jail "/$program" "$@"
}
same qcow2-fsck pool/base.qcow2
same qcow2-fsck --output=json pool/left.qcow2 pool/leak.qcow2
same qcow2-map extents --chain --output=json 'pool/top leaf.qcow2'
same qcow2-map lint pool/base.qcow2
same qcow2-dump --digest 'pool/top leaf.qcow2'
for options in '' --tree --no-headings '--bytes --tree' '-o base,file' '-o ratio,file --tree' \
	'-o flags' '-o file,ratio,overlays,flags --tree'; do
	# shellcheck disable=SC2086
	(cd root && "$build/bin/qcow2-map" audit $options pool) | grep -v 'free' >here
	# shellcheck disable=SC2086
	jail /qcow2-map audit $options pool | grep -v 'free' >there
	[ -s here ] && cmp -s here there || diff here there >&2
	verdict "audit $options: another table than libsmartcols'" $?
done
jail /qcow2-dump 'pool/top leaf.qcow2' /out.raw 2>err
verdict "qcow2-dump writes an image: $(cat err)" $?
qemu-img compare -q -f raw -F qcow2 root/out.raw 'root/pool/top leaf.qcow2'
verdict 'what it wrote is the disk' $?
jail /qcow2-fsck -y pool/leak.qcow2 >out 2>err
[ $? = 1 ] && qemu-img check -q root/pool/leak.qcow2
verdict "qcow2-fsck repairs: $(cat err)" $?
jail /qcow2-fsck pool/nothing >/dev/null 2>&1
[ $? = 8 ]
verdict 'a file that is not there' $?
# Keys and ciphers come from another library: the same unit tests, and every kind of
# encrypted image, beside qemu-img.
(cd "$tmp" && CK_FORK=no "$alone/tests/test_crypt") >out 2>&1
verdict "keys: $(tail -n 3 out)" $?
if [ "${3:-}" != short ]; then
	bash "$here/../dump/run.sh" "$alone" luks >out 2>err
	verdict "encrypted images: $(head -n 5 err) $(tail -n 1 out)" $?
fi
make_old old.qcow2 1M
printf sesame >secret
truncate -s 1M plain.raw
head -c 100K /dev/zero | tr '\0' '\5' | dd of=plain.raw bs=64K seek=1 conv=notrunc status=none
[ "$("$alone/bin/qcow2-dump" --digest --secret=secret old.qcow2 | cut -c -32)" = \
	"$("$build/bin/qcow2-dump" --digest -f raw plain.raw | cut -c -32)" ]
verdict 'the old way: the digest' $?
sum_up
