#!/usr/bin/env bash
# demo.sh - the main job on a real image: a disk with a real file system on it is
# damaged, and the check says what is hurt.
#
# SPDX-License-Identifier: MIT
#
# usage: demo.sh BUILD_DIR
set -eu

build=$(cd "$1" && pwd)
PATH=$build/bin:$PATH:/usr/sbin:/sbin
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

say() {
	if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi
}

show() {
	printf '$ %s\n' "$*"
	"$@" || printf '(exit status %s)\n' $?
}

# Eight bytes at an offset, as a big-endian number.
be64() {
	od -An -tx1 -j "$2" -N 8 "$1" | tr -d ' \n' | sed 's/^/0x/'
}

# usage: put FILE OFFSET HEX
put() {
	printf '%b' "$(echo "$3" | sed 's/../\\x&/g')" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

say '1. A disk of 1 GiB with an ext4 file system, holding this machine'"'"'s documentation'
mkdir content
cp -r /usr/share/doc /usr/share/man /usr/share/zoneinfo content/ 2>/dev/null || true
truncate -s 1G disk.raw
mkfs.ext4 -q -d content disk.raw
qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2
ls -lsh disk.qcow2
show qcow2-fsck disk.qcow2

say '2. Damage: one L1 entry is lost, one bit of an L2 entry flips, a refcount is reset'
cp disk.qcow2 damaged.qcow2
l1=$(($(be64 disk.qcow2 40)))
l2=$(($(be64 disk.qcow2 $l1) & 0x00fffffffffffe00))
put damaged.qcow2 $((l1 + 8)) 0000000000000000
# A guest cluster of the first table that is in use: move its pointer by 64 KiB.
entry=
for index in $(seq 0 8191); do
	value=$(be64 disk.qcow2 $((l2 + 8 * index)))
	if [ $((value & 0x00fffffffffffe00)) != 0 ]; then
		entry=$index
		[ "$index" -lt 100 ] || break
	fi
done
put damaged.qcow2 $((l2 + 8 * entry)) "$(printf '%016x' $((value ^ 0x10000)))"
table=$(($(be64 disk.qcow2 48)))
block=$(($(be64 disk.qcow2 $table)))
put damaged.qcow2 $((block + 2 * (l1 / 65536))) 0000
ls -lsh damaged.qcow2

say '3. What qemu-img says'
printf '$ qemu-img check damaged.qcow2 | tail -n 6\n'
qemu-img check damaged.qcow2 2>&1 | tail -n 6

say '4. What qcow2-fsck says'
show qcow2-fsck damaged.qcow2

say '5. The same for machines'
printf '$ qcow2-fsck --output=json damaged.qcow2 | jq …\n'
qcow2-fsck --output=json damaged.qcow2 |
	jq -c '.images[0] | {verdict, counts: .counts["by-problem"]}, (.findings[] | {id, "guest-offset", "host-offset", fix})' |
	head -n 8

say '6. The image was not touched'
sum=$(sha256sum <damaged.qcow2)
qcow2-fsck damaged.qcow2 >/dev/null || true
[ "$sum" = "$(sha256sum <damaged.qcow2)" ] && echo 'its SHA-256 is the same after the check'
