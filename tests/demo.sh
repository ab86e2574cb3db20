#!/usr/bin/env bash
# demo.sh - the main job on a real image: a disk with a real file system on it is
# damaged, the check says what is hurt, and the repair brings it back.
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

say '7. A plan of the repair: what would be written where, and what the guest gets of it'
show qcow2-fsck -q --plan repair.plan damaged.qcow2
show qcow2-fsck --show-plan repair.plan
[ "$sum" = "$(sha256sum <damaged.qcow2)" ] && echo 'still nothing was written to the image'

say '8. Just that plan is applied; a journal is kept'
show qcow2-fsck --apply repair.plan damaged.qcow2

say '9. The disk holds what it held, to the last byte'
show qemu-img check damaged.qcow2
show qemu-img compare -f raw -F qcow2 disk.raw damaged.qcow2

say '10. And all of it can be taken back'
show qcow2-fsck --undo damaged.qcow2.q2undo damaged.qcow2
[ "$sum" = "$(sha256sum <damaged.qcow2)" ] && echo 'its SHA-256 is that of the damaged image'

# What qcow2-map shows of the sound disk.
show_map() {
	say '12. Where things lie: guest ranges, the file, and what a snapshot costs'
	printf '$ qcow2-map disk.qcow2 | head -n 6\n'
	qcow2-map disk.qcow2 | head -n 6
	printf '$ qcow2-map --output=qemu disk.qcow2 | cmp - <(qemu-img map --output=json disk.qcow2)\n'
	qcow2-map --output=qemu disk.qcow2 | cmp - <(qemu-img map --output=json disk.qcow2) &&
		echo 'the same, byte for byte'
	cp disk.qcow2 kept.qcow2
	qemu-img snapshot -c before kept.qcow2
	qemu-io -c 'write -P 7 100M 30M' kept.qcow2 >/dev/null
	show qcow2-map space kept.qcow2
	show qcow2-map snapshots kept.qcow2
	printf '$ qcow2-map layout kept.qcow2 | head -n 8\n'
	qcow2-map layout kept.qcow2 | head -n 8

	say '13. Many images: who depends on whom, and how much has been promised'
	mkdir pool
	mv disk.qcow2 pool/base.qcow2
	for name in mail web web-test; do
		qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 pool/$name.qcow2
	done
	qemu-img rebase -u -b web.qcow2 -F qcow2 pool/web-test.qcow2
	show qcow2-map audit --tree -o file,capacity,allocation,commitment,flags pool
	show qcow2-map graph --dependants=pool/web.qcow2 pool
}


# What qcow2-dump makes of a chain of three layers.
show_dump() {
	say '11. Three layers become one file, and digests prove it'
	qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 middle.qcow2
	qemu-io -c 'write -P 1 10M 5M' middle.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2
	qemu-io -c 'write -P 2 12M 5M' -c 'write -z 100M 10M' top.qcow2 >/dev/null
	show qcow2-dump --verify top.qcow2 flat.raw
	show qcow2-dump -O qcow2 -c zstd top.qcow2 flat.qcow2
	show qcow2-dump --digest top.qcow2
	show qcow2-dump --digest flat.qcow2
	show qcow2-dump --digest -f raw flat.raw
	qemu-img convert -O raw top.qcow2 theirs.raw
	cmp flat.raw theirs.raw && echo 'and what qemu-img convert writes is the same, byte for byte'
	ls -lsh flat.raw flat.qcow2
}

show_dump
show_map
