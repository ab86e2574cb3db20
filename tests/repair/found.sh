#!/usr/bin/env bash
# found.sh - damage that random search found to be mended badly once: disks that share
# with their snapshots.
#
# SPDX-License-Identifier: MIT
#
# usage: found.sh BUILD_DIR             prints "found: N passed, N failed"
set -u
part=found
corpus=$(cd "$(dirname "$0")/../../corpus" && pwd)
# shellcheck source=tests/repair/damage.sh
. "$(dirname "$0")/damage.sh"

repair() { # options; of d.qcow2 into r.qcow2; exits as qcow2-fsck does
	cp d.qcow2 r.qcow2
	# shellcheck disable=SC2086
	${WRAP:-} "$fsck" $1 --no-journal r.qcow2 >said 2>&1
}
repaired() { # options; all of it
	repair "$1"
	[ $? = 1 ]
}
said() {
	grep -qF -- "$1" said || { cat said; false; }
}
snap_l1() { # snapshot, from 0; all records are of one length
	local table length
	table=$(u64 o.qcow2 64)
	length=$(((40 + 16#$(xxd -p -s $((table + 36)) -l 4 o.qcow2) + 16#$(xxd -p -s $((table + 12)) -l 2 o.qcow2) + \
		16#$(xxd -p -s $((table + 14)) -l 2 o.qcow2) + 7) / 8 * 8))
	u64 o.qcow2 $((table + length * $1))
}
table_of() { # L1 table; the L2 table in its first slot
	echo $(($(u64 o.qcow2 "$1") & 0xfffffffffffe00))
}
same_raw='cmp'
same_disks() { # the disk and all its snapshots
	local name
	qemu-img compare -q -f qcow2 -F qcow2 o.qcow2 r.qcow2 || return
	for name in "$@"; do
		qemu-img convert -f qcow2 -O raw -l "snapshot.name=$name" o.qcow2 o.raw &&
			qemu-img convert -f qcow2 -O raw -l "snapshot.name=$name" r.qcow2 r.raw &&
			$same_raw o.raw r.raw || return
	done
}

# Two snapshots; the active disk has the clusters of the second half as zeros, and its own
# copy of two.
make() { # options
	qemu-img create -q -f qcow2 -o "$1" o.qcow2 1M
	seq 100000 | head -c 128k >text
	qemu-io -f qcow2 -c 'write -P 1 0 128k' -c 'write -s text 256k 128k' o.qcow2 >io
	qemu-img snapshot -c one o.qcow2
	qemu-io -f qcow2 -c 'write -P 3 64k 64k' o.qcow2 >io
	qemu-img snapshot -c two o.qcow2
	qemu-io -f qcow2 -c 'write -z 256k 64k' -c 'write -P 4 0 64k' o.qcow2 >io
}

for options in cluster_size=4k cluster_size=64k extended_l2=on,cluster_size=16k; do
	make $options
	bits=$((16#$(xxd -p -s 23 -l 1 o.qcow2)))
	width=8
	case $options in ext*) width=16 ;; esac
	table=$(table_of "$(snap_l1 1)")
	at=$((table + width * (0x40000 >> bits)))

	# What the active disk has as zeros is a snapshot's data yet.
	cp o.qcow2 d.qcow2
	put64 d.qcow2 $at "$(u64 o.qcow2 $((at + width)))"
	check "$options, a snapshot's entry names its neighbour's: -y" repaired -y
	check "$options, a snapshot's entry names its neighbour's: the disks" same_disks one two

	# A snapshot's L1 table that is gone: what its L2 table shares tells its slot.
	for damage in ffffffffffffffff 0123456789abcd00; do
		cp o.qcow2 d.qcow2
		put64 d.qcow2 "$(snap_l1 1)" $((16#$damage))
		check "$options, a snapshot's L1 entry is $damage: -y" repaired -y
		check "$options, a snapshot's L1 entry is $damage: the disks" same_disks one two
	done

	# Where an entry is merely empty it may be so by right; but that is told, and what is
	# kept can be read as it was.
	cp o.qcow2 d.qcow2
	put64 d.qcow2 "$(snap_l1 1)" 0
	check "$options, a snapshot's L1 entry is empty: -y" repaired -y
	check "$options, a snapshot's L1 entry is empty: told" said 'L1[0], which is empty, may be where'
	qemu-img convert -f qcow2 -O raw -l snapshot.name=two o.qcow2 o.raw
	qemu-img convert -f qcow2 -O raw -l snapshot.name=lost+found-1 r.qcow2 r.raw
	check "$options, a snapshot's L1 entry is empty: kept whole" cmp o.raw r.raw
	check "$options, a snapshot's L1 entry is empty: qemu-img check" qemu-img check r.qcow2
done

# --- structures that lie in one another's places -----------------------------------

cluster() { # file offset
	dd if="$1" bs=4096 skip=$(($2 / 4096)) count=$((size / 4096)) status=none
}
swap() { # offset offset; of the original, in d.qcow2
	cluster o.qcow2 "$1" | dd of=d.qcow2 bs=4096 seek=$(($2 / 4096)) conv=notrunc status=none
	cluster o.qcow2 "$2" | dd of=d.qcow2 bs=4096 seek=$(($1 / 4096)) conv=notrunc status=none
}

# To count no snapshots would make the damage of their table look mended.
make cluster_size=4k
size=4096
cp o.qcow2 d.qcow2
swap "$(u64 o.qcow2 48)" "$(u64 o.qcow2 64)"
check 'snapshot and refcount table swapped: -y' repaired -y
check 'snapshot and refcount table swapped: the loss is told' said 'the guest loses'
check 'snapshot and refcount table swapped: no snapshot without a name' \
	test "$(qemu-img snapshot -l r.qcow2 | awk 'NR > 2 && $2 ~ /^[0-9]*$/' | wc -l)" = 0
check 'snapshot and refcount table swapped: the disk' qemu-img compare -q -f qcow2 -F qcow2 o.qcow2 r.qcow2

# --- fields that lead to the wrong structure -----------------------------------------

sound_again() { # name
	check "$1: -y" repaired -y
	check "$1: the disks" same_disks one two
}

for disk in 1M 4M; do
	qemu-img create -q -f qcow2 -o cluster_size=512 o.qcow2 $disk
	qemu-io -f qcow2 -c 'write -s text 0 64k' o.qcow2 >io
	qemu-img snapshot -c one o.qcow2
	qemu-io -f qcow2 -c 'write -P 2 0 32k' o.qcow2 >io
	[ $disk = 1M ] || qemu-io -f qcow2 -c 'write -P 4 3M 32k' o.qcow2 >io
	qemu-img snapshot -c two o.qcow2
	qemu-io -f qcow2 -c 'write -P 3 32k 4k' o.qcow2 >io
	l1=$(u64 o.qcow2 40)
	snaps=$(u64 o.qcow2 64)

	cp o.qcow2 d.qcow2
	put64 d.qcow2 40 "$snaps"
	sound_again "$disk: the header's L1 table is the snapshot table"
	cp o.qcow2 d.qcow2
	put64 d.qcow2 64 "$l1"
	sound_again "$disk: the snapshot table is the L1 table"
	cp o.qcow2 d.qcow2
	put64 d.qcow2 "$snaps" "$snaps"
	sound_again "$disk: a snapshot's L1 table is the snapshot table"
done

# The snapshot table lies where the L1 table goes on: the one moves, of the other no entry
# is kept that leads to what is another's.
cp o.qcow2 d.qcow2
dd if=o.qcow2 of=d.qcow2 bs=512 skip=$((snaps / 512)) seek=$((l1 / 512 + 1)) count=1 conv=notrunc status=none
put64 d.qcow2 64 $((l1 + 512))
sound_again 'the snapshot table on the end of the L1 table'

# What stands in a table's place may be a guest's data: -p writes nothing there.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 1M
qemu-io -f qcow2 -c 'write -s text 0 128k' o.qcow2 >io
for table in "$(u64 o.qcow2 40)" "$(table_of "$(u64 o.qcow2 40)")"; do
	cp o.qcow2 d.qcow2
	dd if=text of=d.qcow2 bs=512 count=4 seek=$((table / 512)) conv=notrunc status=none
	# One of its words reads as an entry.
	put64 d.qcow2 $((table + 2048)) $((6 * size))
	put64 d.qcow2 $((table + 2056)) $((7 * size + 2))
	repair -p
	check "text at $table: -p leaves it" cmp <(cluster d.qcow2 "$table") <(cluster r.qcow2 "$table")
done

# A wiped header of an image whose data lies in another file: one that fits the tables as
# if the data were here would show an empty disk.
for options in cluster_size=64k cluster_size=512 extended_l2=on,cluster_size=16k; do
	rm -f data
	qemu-img create -q -f qcow2 -o "data_file=data,$options" o.qcow2 16M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 12M 1M' o.qcow2 >io
	cp o.qcow2 d.qcow2
	dd if=/dev/zero of=d.qcow2 bs=512 count=1 conv=notrunc status=none
	repair '-y --rescue'
	check "$options, a data file, the header wiped: nothing is made" cmp d.qcow2 r.qcow2
	check "$options, a data file, the header wiped: where the data is" said 'Read as a raw disk that file holds all'
done

# What had to be left out at first is repaired once all else is.
make extended_l2=on,cluster_size=16k
size=16384
cp o.qcow2 d.qcow2
swap "$(u64 o.qcow2 40)" "$(table_of "$(snap_l1 0)")"
cluster o.qcow2 $((5 * size)) | dd of=d.qcow2 bs=4096 seek=$(($(u64 o.qcow2 64) / 4096)) conv=notrunc status=none
check 'L1 and L2 table swapped, snapshots overwritten: -y' repaired -y
cp r.qcow2 again.qcow2
check 'L1 and L2 table swapped, snapshots overwritten: again' "$fsck" -y --no-journal r.qcow2
check 'L1 and L2 table swapped, snapshots overwritten: nothing more' cmp r.qcow2 again.qcow2

# A size that no table could hold: the data is there, and so are the snapshots; behind what
# was the end there are zeros.
same_raw='qemu-img compare -q -f raw -F raw'
for options in cluster_size=512 cluster_size=64k extended_l2=on,cluster_size=16k compat=0.10; do
	make $options
	for value in $((0x7fffffffffffff00)) $((0x00f0000040000000)) -1; do
		cp o.qcow2 d.qcow2
		put64 d.qcow2 24 $value
		check "$options, size $value: -y" repaired -y
		check "$options, size $value: told to be a guess" said 'the virtual size becomes what the L1 table reaches'
		check "$options, size $value: all disks" same_disks one two
		check "$options, size $value: qemu-img" qemu-img check -q -f qcow2 r.qcow2
	done
done

same_raw='cmp'

# A size for which the L1 table would have to go on over what is none; but a table of which
# the length is wrong, and two entries are, is not cut off there.
make cluster_size=512
l1=$(u64 o.qcow2 40)
for value in $((24 << 20)) $((6 << 20)); do
	cp o.qcow2 d.qcow2
	put64 d.qcow2 24 $value
	check "size $value: -y" repaired -y
	check "size $value: the disk's size" test "$(u64 r.qcow2 24)" = $((1 << 20))
	check "size $value: all disks" same_disks one two
	check "size $value: qemu-img" qemu-img check -q -f qcow2 r.qcow2
done
cp o.qcow2 d.qcow2
printf '\0\0\0\3' | dd of=d.qcow2 bs=1 seek=36 conv=notrunc status=none
put64 d.qcow2 $((l1 + 25 * 8)) $((1 << 40))
put64 d.qcow2 $((l1 + 27 * 8)) $((3 << 40))
check 'l1_size and two of the entries behind: -y' repaired -y
check 'l1_size and two of the entries behind: the size' test "$(u64 r.qcow2 24)" = $((1 << 20))
check 'l1_size and two of the entries behind: all disks' same_disks one two

# Where nothing else of the header is right either it does not become a disk of nothing, which
# has no faults; and --rescue is not promised to find what it does not look for.
make cluster_size=512
cp o.qcow2 d.qcow2
put64 d.qcow2 24 $((1 << 50))
put64 d.qcow2 40 512
repair -y
check 'size of one bit, another L1 table: nothing is written' cmp d.qcow2 r.qcow2
check 'size of one bit, another L1 table: no promise' said 'nothing of this can be repaired this way'

# One entry past the disk's end, beside other damage, does not make the disk longer.
make cluster_size=4k
cp o.qcow2 d.qcow2
put64 d.qcow2 $(($(table_of "$(u64 o.qcow2 40)") + 8 * 300)) $((4096 | 1 << 63))
put64 d.qcow2 $(($(u64 o.qcow2 64) + 32)) $((0xffff0010)) # extra data
check 'an entry past the end, a broken record: -y' repaired -y
check 'an entry past the end, a broken record: the size' test "$(u64 r.qcow2 24)" = $((1 << 20))

# The L1 table where the snapshot table should be: no number of records makes it one.
for options in cluster_size=4k cluster_size=64k; do
	make $options
	cp o.qcow2 d.qcow2
	put64 d.qcow2 64 "$(u64 o.qcow2 40)"
	check "$options, snapshot table at the L1 table: -y" repaired -y
	check "$options, snapshot table at the L1 table: all disks" same_disks one two
done

# One entry of nonsense in the refcount table: that does not move to where there is none.
for size in 1024 8192 131072; do # two clusters, that are free again
	options=cluster_size=$((size / 2))
	qemu-img create -q -f qcow2 -o "$options" o.qcow2 1M
	qemu-io -f qcow2 -c "write -P 0 0 $size" -c "write -P 1 512k $size" -c "discard 0 $size" o.qcow2 >io
	for value in $((0x6000000000000b92)) $((0x7fc56107206b4eca)) $((0x0100010001000100)); do
		cp o.qcow2 d.qcow2
		put64 d.qcow2 $(($(u64 o.qcow2 48) + 8 * 50)) $value
		check "$options, refcount table entry $value: -y" repaired -y
		check "$options, refcount table entry $value: the table" test "$(u64 r.qcow2 48)" = "$(u64 o.qcow2 48)"
		check "$options, refcount table entry $value: all as it was" cmp o.qcow2 r.qcow2
	done
done

cp "$corpus/regress/r4-count-hides-records.qcow2" d.qcow2 # its two records are at 4096
repair -y
check 'a number of records that hides some: all are counted' test "$(u64 r.qcow2 60)" = $((2 << 32))
check 'a number of records that hides some: their table' test "$(u64 r.qcow2 64)" = 4096

# The length of a snapshot's L1 table, of which more than a bit is wrong.
make cluster_size=512
for value in 3 200 300; do
	cp o.qcow2 d.qcow2
	printf '%08x' $value | xxd -r -p | dd of=d.qcow2 bs=1 seek=$(($(u64 o.qcow2 64) + 8)) conv=notrunc status=none
	check "a snapshot's L1 table of $value entries: -y" repaired -y
	check "a snapshot's L1 table of $value entries: all as it was" cmp o.qcow2 r.qcow2
done

# An extension for LUKS that makes no sense does not encrypt the disk.
cp "$corpus/regress/r4-crypt-by-extension.qcow2" d.qcow2
repair -y
check 'a bad extension for LUKS: crypt_method' test "$(xxd -p -s 32 -l 4 r.qcow2)" = 00000000

sum_up
