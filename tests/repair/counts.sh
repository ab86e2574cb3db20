#!/usr/bin/env bash
# counts.sh - refcounts that are too high: what of it tells that an entry was lost, and
# what does not.
#
# SPDX-License-Identifier: MIT
#
# usage: counts.sh BUILD_DIR            prints "counts: N passed, N failed"
set -u
part=counts
# shellcheck source=tests/repair/damage.sh
. "$(dirname "$0")/damage.sh"

wipe() { # offset bytes; of d.qcow2
	dd if=/dev/zero of=d.qcow2 bs=1 seek="$1" count="$2" conv=notrunc status=none
}
repair() { # of d.qcow2 into r.qcow2, which is clean then
	cp d.qcow2 r.qcow2
	${WRAP:-} "$fsck" -y --no-journal r.qcow2
	[ $? -lt 4 ] && qemu-img check r.qcow2
}
snapshots_have() { # name
	qemu-img convert -l "snapshot.name=$1" -O raw r.qcow2 r.raw && cmp r.raw "$1.raw"
}

# The counts of all that a snapshot had are too high by one: its deletion was cut short,
# and nothing is left of it.  No other tree lost anything.
disks_are() { # one.raw, two.raw and active.raw
	snapshots_have one && snapshots_have two &&
		qemu-img compare -f qcow2 -F raw r.qcow2 active.raw
}
keep_disks() {
	for name in one two; do
		qemu-img convert -l snapshot.name=$name -O raw o.qcow2 $name.raw
	done
	qemu-img convert -O raw o.qcow2 active.raw
}
for options in cluster_size=4k compat=0.10,cluster_size=4k extended_l2=on,cluster_size=16k; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 1M
	qemu-io -f qcow2 -c 'write -P 1 0 64k' -c 'write -P 2 128k 16k' o.qcow2 >io
	qemu-img snapshot -c one o.qcow2
	qemu-io -f qcow2 -c 'write -P 3 16k 32k' -c 'write -P 9 640k 48k' o.qcow2 >io
	qemu-img snapshot -c two o.qcow2
	qemu-io -f qcow2 -c 'write -P 5 32k 32k' -c 'write -P 6 320k 48k' o.qcow2 >io
	keep_disks
	qemu-img snapshot -c gone o.qcow2
	table=$(u64 o.qcow2 64)
	record=$((table + 2 * 72)) # after two with names of three letters
	cp o.qcow2 d.qcow2
	wipe 60 3
	printf '\2' | dd of=d.qcow2 bs=1 seek=63 conv=notrunc status=none
	wipe "$(u64 o.qcow2 $record)" 64
	wipe $record 80
	check "$options, a snapshot deleted by halves, -y" repair
	check "$options, a snapshot deleted by halves, -y: all disks are as they were" disks_are
done

# One entry wiped that snapshots still have.  A count of 2 with 1 reference is two wrong
# bits or one lost entry; 3 with 2 may be one wrong bit: then nothing is changed but told,
# unless the cluster fits between the neighbours.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 1M
qemu-io -f qcow2 -c 'write -P 1 0 64k' -c 'write -P 7 800k 4k' o.qcow2 >io
qemu-img snapshot -c one o.qcow2
qemu-io -f qcow2 -c 'write -P 3 64k 16k' o.qcow2 >io
qemu-img snapshot -c two o.qcow2
qemu-io -f qcow2 -c 'write -P 5 32k 4k' o.qcow2 >io
keep_disks
tells() { # text
	"$fsck" -y --plan=told.plan d.qcow2 >/dev/null
	"$fsck" --show-plan told.plan >told
	status=$?
	rm -f told.plan
	[ $status -lt 8 ] && grep -q "$1" told
}
for index in 3 17; do
	cp o.qcow2 d.qcow2
	wipe "$(entry $index)" 8
	check "entry $index wiped, -y" repair
	check "entry $index wiped, -y: it is back" disks_are
	check "entry $index wiped, -y: said that this may be wrong" \
		tells "may be wrong.*0x$(printf %x $index)000 "
done
cp o.qcow2 d.qcow2
wipe "$(entry 200)" 8
check "an entry without neighbours wiped, -y" repair
check "an entry without neighbours wiped, -y: no byte is changed" \
	qemu-img compare -f qcow2 -F qcow2 d.qcow2 r.qcow2
check "an entry without neighbours wiped, -y: the candidate is told" tells 'may be wrong.*0xc8000 '

# An entry that moved: what it left fits a gap between two neighbours, by chance.
for size in 64 2048; do
	qemu-img create -q -f qcow2 -o cluster_size=${size}k o.qcow2 16M
	qemu-io -f qcow2 -c "write -P 1 0 64k" -c "write -P 2 $((2 * size))k 64k" \
		-c "write -P 3 $((6 * size))k 64k" o.qcow2 >io
	cp o.qcow2 d.qcow2
	dd if=o.qcow2 of=d.qcow2 bs=1 skip="$(entry 6)" seek="$(entry 2)" count=8 conv=notrunc status=none
	wipe "$(entry 6)" 8
	check "clusters of $size KiB, an entry moved, -y" repair
	check "clusters of $size KiB, an entry moved, -y: what is put elsewhere may be wrong" \
		tells "may be wrong.*0x$(printf %x $((size * 1024))) "
done

# The header no longer tells where the refcount table is: all counts are made anew, and
# what is left of the old ones is nobody's data, be the table of several clusters and
# among much else; but an L2 table is, that is lost with it.
no_snapshot() {
	qemu-img check r.qcow2 && qemu-img snapshot -l r.qcow2 >list && [ ! -s list ]
}
while read -r options lost; do
	qemu-img create -q -f qcow2 -o "$options" o.qcow2 20M
	qemu-io -f qcow2 -c 'write -P 1 0 7M' -c 'write -P 2 8M 11M' o.qcow2 >io
	keep_disks 2>io
	cp o.qcow2 d.qcow2
	wipe 48 8
	check "$options, the refcount table's offset wiped, -y" repair
	check "$options, the refcount table's offset wiped, -y: nothing is lost" \
		qemu-img compare -f qcow2 -F raw r.qcow2 active.raw
	check "$options, the refcount table's offset wiped, -y: no orphan is made of it" no_snapshot
	wipe $(($(u64 o.qcow2 40) + 8 * lost)) 8
	check "$options, L1 entry $lost too, -y" repair
	check "$options, L1 entry $lost too, -y: nothing is lost" \
		qemu-img compare -f qcow2 -F raw r.qcow2 active.raw
	check "$options, L1 entry $lost too, -y: no orphan is made of the rest" no_snapshot
done <<'END'
cluster_size=512 112
cluster_size=4k 1
cluster_size=512,refcount_bits=1 112
cluster_size=512,refcount_bits=64 112
cluster_size=64k,extended_l2=on 0
END

# A guest's data that counts one for everything is no former refcount block: it would
# count what is not there.
qemu-img create -q -f qcow2 o.qcow2 2M
python3 -c 'import sys; sys.stdout.buffer.write(b"\0\1" * 32768)' >ones
qemu-io -f qcow2 -c 'write -P 1 0 64k' -c 'write -s ones 64k 64k' o.qcow2 >io
cp o.qcow2 d.qcow2
wipe "$(entry 1)" 8
cp d.qcow2 r.qcow2
"$fsck" -p --no-journal r.qcow2 >said 2>&1
check 'data that looks like counts, -p: it is left' grep -q '^  LEAK (leak): 1' said
check 'data that looks like counts, -y' repair
check 'data that looks like counts, -y: it is kept' sh -c \
	'qemu-img convert -l lost+found-1 -O raw r.qcow2 r.raw && cmp -n 65536 r.raw ones'

sum_up
