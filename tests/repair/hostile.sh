#!/usr/bin/env bash
# hostile.sh - damage that tempts a repair to do harm: pointers onto intact data, one
# field that makes all others look wrong, evidence that is easily thrown away.
#
# SPDX-License-Identifier: MIT
#
# usage: hostile.sh BUILD_DIR           prints "hostile: N passed, N failed"
set -u
part=hostile
# shellcheck source=tests/repair/damage.sh
. "$(dirname "$0")/damage.sh"

repair() { # options; of d.qcow2 into r.qcow2, or what is left of that
	cp d.qcow2 r.qcow2
	# shellcheck disable=SC2086
	${WRAP:-} "$fsck" $1 --no-journal r.qcow2
	[ $? -lt 8 ]
}
same_disk() { # the snapshot too, if there is one
	qemu-img compare -f qcow2 -F qcow2 "${1:-d}.qcow2" r.qcow2
}
untouched() {
	cmp d.qcow2 r.qcow2
}
host() { # guest cluster
	echo $(($(u64 o.qcow2 "$(entry "$1")") & 0xfffffffffffe00))
}

qemu-img create -q -f qcow2 o.qcow2 64M || exit 1
qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 2M 64k' o.qcow2 >io || exit 1
qemu-img snapshot -c one o.qcow2 || exit 1
qemu-io -f qcow2 -c 'write -P 7 30M 64k' o.qcow2 >io || exit 1
data=$(host 3)
l1=$(u64 o.qcow2 40)
snapshot=$(u64 o.qcow2 64)

# A cautious repair leaves what a wrong pointer leads to.
for field in "refcount table:48:$data" "L1 table:40:$data" "L1 entry:$l1:$data" \
	"snapshot's L1:$snapshot:$data" "snapshot's L1 entry:$(u64 o.qcow2 "$snapshot"):$data"; do
	IFS=: read -r name at value <<<"$field"
	cp o.qcow2 d.qcow2
	put64 d.qcow2 "$at" "$value"
	check "$name on data, -p" repair -p
	check "$name on data, -p: the data is as it was" \
		cmp -n 65536 -i "$data" o.qcow2 r.qcow2
	case $name in "refcount table" | snapshot*)
		check "$name on data, -y" repair -y
		check "$name on data, -y: the disk is as it was" same_disk o
		;;
	esac
done

# Whoever only presses Enter changes nothing that a guest reads, and throws no evidence
# away.
enters() {
	cp d.qcow2 r.qcow2
	yes '' | head -n 60 | ${WRAP:-} "$fsck" -i --no-journal r.qcow2
	[ "${PIPESTATUS[2]}" -lt 8 ]
}
for at in "$l1" "$(u64 o.qcow2 "$snapshot")" "$(entry 5)"; do
	cp o.qcow2 d.qcow2
	put64 d.qcow2 "$at" 0
	check "zeros at $at, -i and Enter" enters
	check "zeros at $at, -i and Enter: the disk is as it was" same_disk
	check "zeros at $at, -i and Enter: no snapshot is made" \
		test "$(qemu-img snapshot -l r.qcow2)" = "$(qemu-img snapshot -l d.qcow2)"
	mv r.qcow2 d.qcow2
	check "zeros at $at, -y after that" repair -y
	check "zeros at $at, -y after that: the disk is back" same_disk o
done

# The active table of an image with snapshots names nothing that only it has.
cp o.qcow2 d.qcow2
put64 d.qcow2 "$l1" 0
check "an L1 entry lost, -p" repair -p
check "an L1 entry lost, -p: nothing is lowered" untouched
check "an L1 entry lost, -y" repair -y
check "an L1 entry lost, -y: the disk is back" same_disk o

# Snapshots that no table has any more: a cautious repair keeps all that tells of them,
# and their disks come back, with their names where these are still there.
snapshots_are() { # names; their disks are o.qcow2's one, two, three
	local name want n=0
	want=(one two three)
	[ "$(qemu-img snapshot -l r.qcow2 | awk 'NR > 2 {print $2}' | xargs)" = "$*" ] || return
	for name in "$@"; do
		qemu-img convert -l "snapshot.name=$name" -O raw r.qcow2 r.raw || return
		cmp r.raw "${want[n]}.raw" || return
		n=$((n + 1))
	done
}
snapshots_have() { # name
	qemu-img convert -l "snapshot.name=$1" -O raw r.qcow2 r.raw && cmp r.raw "$1.raw"
}
for options in cluster_size=64k cluster_size=512 extended_l2=on,cluster_size=16k \
	refcount_bits=64,cluster_size=4k compat=0.10; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 16M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' o.qcow2 >io
	qemu-img snapshot -c one o.qcow2
	qemu-io -f qcow2 -c 'write -P 2 256k 64k' -c 'write -P 3 5M 64k' o.qcow2 >io
	qemu-img snapshot -c two o.qcow2
	qemu-img snapshot -c three o.qcow2
	qemu-io -f qcow2 -c 'write -P 4 9M 128k' -c 'write -P 5 0 64k' o.qcow2 >io
	for name in one two three; do
		qemu-img convert -l snapshot.name=$name -O raw o.qcow2 $name.raw
	done
	table=$(u64 o.qcow2 64)
	for what in table count count-and-table count-and-offset; do
		cp o.qcow2 d.qcow2
		names=(recovered-1 recovered-2 recovered-3)
		case $what in
		table) dd if=/dev/zero of=d.qcow2 bs=1 seek="$table" count=512 conv=notrunc status=none ;;
		count-and-table)
			dd if=/dev/zero of=d.qcow2 bs=1 seek="$table" count=512 conv=notrunc status=none
			dd if=/dev/zero of=d.qcow2 bs=1 seek=60 count=4 conv=notrunc status=none
			;;
		count) # as a deletion leaves it that is cut short
			put8 d.qcow2 63 1
			names=(one two three)
			check "$options, two deleted by half: only leaks" \
				test "$("$fsck" --output=json d.qcow2 | jq -r '.images[0].verdict')" = leaks
			;;
		*)
			dd if=/dev/zero of=d.qcow2 bs=1 seek=60 count=12 conv=notrunc status=none
			names=(one two three)
			;;
		esac
		check "$options, $what wiped, -p" repair -p
		check "$options, $what wiped, -p: the disk is as it was" same_disk o
		mv r.qcow2 d.qcow2
		check "$options, $what wiped, -y after that" repair -y
		check "$options, $what wiped: the disk is as it was" same_disk o
		check "$options, $what wiped: the snapshots are back" snapshots_are "${names[@]}"
		check "$options, $what wiped: qemu-img agrees" qemu-img check r.qcow2
	done
done

# An L1 entry that names what is surely another's, and one L2 table is missed: it goes
# back there, and not into a slot that is empty by right.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 16M
qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 2M 256k' -c 'write -P 3 9M 64k' o.qcow2 >io
cp o.qcow2 bare.qcow2
qemu-img snapshot -c one o.qcow2
qemu-io -f qcow2 -c 'write -P 4 0 64k' -c 'write -P 5 2M 16k' -c 'write -P 6 9M 4k' o.qcow2 >io
cp o.qcow2 shared.qcow2
for base in bare shared; do
	cp $base.qcow2 o.qcow2
	l1=$(u64 o.qcow2 40)
	others="$l1 $(u64 o.qcow2 48)"
	[ $base = bare ] || others="$others $(u64 o.qcow2 64) $(($(u64 o.qcow2 "$(u64 o.qcow2 "$(u64 o.qcow2 64)")") & 0xfffffffffffe00))"
	for other in $others; do
		for slot in 0 1 4; do
			cp o.qcow2 d.qcow2
			put64 d.qcow2 $((l1 + 8 * slot)) $((other | 1 << 63))
			check "$base, L1[$slot] names $other, -y" repair -y
			check "$base, L1[$slot] names $other, -y: the disk is back" same_disk o
			check "$base, L1[$slot] names $other, -y: qemu-img agrees" qemu-img check r.qcow2
		done
	done
done

# The same where the table that is missed might be a snapshot's: it is kept, but fills
# no slot.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 8M
qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 2M 256k' -c 'write -P 3 4M 64k' o.qcow2 >io
qemu-img snapshot -c one o.qcow2
qemu-io -f qcow2 -c 'discard 0 64k' o.qcow2 >io
l1=$(u64 o.qcow2 40)
cp o.qcow2 d.qcow2
put64 d.qcow2 "$l1" $((l1 | 1 << 63))
check "a table that may be another's, -y" repair -y
check "a table that may be another's, -y: the empty slot stays empty" \
	qemu-io -r -f qcow2 -c 'read -P 0 6M 2M' r.qcow2

# Another slot's table: what a snapshot has in the same slot tells which of them is right.
cp shared.qcow2 o.qcow2
qemu-io -f qcow2 -c 'write -P 7 512k 64k' -c 'write -P 8 9M 64k' o.qcow2 >io
l1=$(u64 o.qcow2 40)
snapshot=$(u64 o.qcow2 "$(u64 o.qcow2 64)")
for pair in 0:1 0:4 1:0 1:4 4:0 4:1; do
	cp o.qcow2 d.qcow2
	from=${pair%:*} to=${pair#*:}
	# The active disk shares the table again, as before its first write.
	table=$(($(u64 o.qcow2 $((snapshot + 8 * from))) & 0xfffffffffffe00))
	put64 d.qcow2 $((l1 + 8 * to)) $table
	check "L1[$to] names what a snapshot has in L1[$from], -y" repair -y
	check "L1[$to] names what a snapshot has in L1[$from], -y: the disk is back" same_disk o
	check "L1[$to] names what a snapshot has in L1[$from], -y: qemu-img agrees" qemu-img check r.qcow2
done
# The same where the active disk itself shares that one.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 16M
qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 2M 256k' -c 'write -P 3 9M 64k' o.qcow2 >io
qemu-img snapshot -c one o.qcow2
qemu-io -f qcow2 -c 'write -P 5 2M 16k' o.qcow2 >io
l1=$(u64 o.qcow2 40)
for from in 0 4; do
	cp o.qcow2 d.qcow2
	put64 d.qcow2 $((l1 + 8)) "$(u64 o.qcow2 $((l1 + 8 * from)))"
	check "L1[1] names the table of L1[$from], -y" repair -y
	check "L1[1] names the table of L1[$from], -y: the disk is back" same_disk o
	check "L1[1] names the table of L1[$from], -y: qemu-img agrees" qemu-img check r.qcow2
done

# An L1 entry that names a guest's data: of the very table that is missed, or of another
# one; the data is nonsense as a table, or reads as a sound one.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 16M
qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 2M 256k' -c 'write -P 3 9M 64k' o.qcow2 >io
head -c 4096 /dev/zero >like-a-table
for at in 0 8 2048 4088; do put64 like-a-table $at 1; done
qemu-io -f qcow2 -c 'write -s like-a-table 40k 4k' -c 'write -s like-a-table 2088k 4k' o.qcow2 >io
cp o.qcow2 bare.qcow2
qemu-img snapshot -c one o.qcow2
qemu-io -f qcow2 -c 'write -P 4 0 16k' -c 'write -P 5 2M 16k' -c 'write -P 6 9M 4k' o.qcow2 >io
cp o.qcow2 shared.qcow2
for base in bare shared; do
	cp $base.qcow2 o.qcow2
	l1=$(u64 o.qcow2 40)
	second=$(($(u64 o.qcow2 $((l1 + 8))) & 0xfffffffffffe00))
	for data in "$(host 12)" "$(host 10)" $(($(u64 o.qcow2 $((second + 96))) & 0xfffffffffffe00)) \
		$(($(u64 o.qcow2 $((second + 80))) & 0xfffffffffffe00)); do
		for slot in 0 1; do
			cp o.qcow2 d.qcow2
			put64 d.qcow2 $((l1 + 8 * slot)) $((data | 1 << 63))
			check "$base, L1[$slot] names data at $data, -p" repair -p
			check "$base, L1[$slot] names data at $data, -p: not written to" \
				cmp -n 4096 -i "$data" o.qcow2 r.qcow2
			check "$base, L1[$slot] names data at $data, -y" repair -y
			check "$base, L1[$slot] names data at $data, -y: the disk is back" same_disk o
			check "$base, L1[$slot] names data at $data, -y: qemu-img agrees" qemu-img check r.qcow2
		done
	done
done

# The header leads to what is no L1 table: the true one is found among the leaks.
for options in cluster_size=4k cluster_size=64k extended_l2=on,cluster_size=16k compat=0.10 \
	refcount_bits=1,cluster_size=4k refcount_bits=64,cluster_size=512; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 16M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 5M 256k' -c 'write -P 3 9M 64k' o.qcow2 >io
	case $options in refcount_bits=1,*) ;; *)
		qemu-img snapshot -c one o.qcow2
		qemu-io -f qcow2 -c 'write -P 4 0 64k' -c 'write -P 5 5M 16k' o.qcow2 >io
		;;
	esac
	l1=$(u64 o.qcow2 40)
	for at in $(($(u64 o.qcow2 "$l1") & 0xfffffffffffe00)) "$(host 3)" "$(u64 o.qcow2 "$(u64 o.qcow2 48)")" \
		0 99999744 $((l1 + 512)); do
		# What overlaps the table itself is another matter.
		[ "$at" -le $((l1 - 4096)) ] || [ "$at" -ge $((l1 + 4096)) ] ||
			[[ $options != *=512 ]] || continue
		cp o.qcow2 d.qcow2
		put64 d.qcow2 40 "$at"
		check "$options, L1 table at $at: said so" \
			test "$("$fsck" --output=json d.qcow2 | jq -r '.images[0].findings[] | select(.id == "ROOT_L1_OFFSET").expected')" = "$(printf %#x "$l1")"
		check "$options, L1 table at $at, -p" repair -p
		check "$options, L1 table at $at, -p: untouched" untouched
		for how in -y '-y --rescue'; do
			check "$options, L1 table at $at, $how" repair "$how"
			check "$options, L1 table at $at, $how: as it was" cmp o.qcow2 r.qcow2
		done
		# The same of a snapshot.
		case $options in refcount_bits=1,* | *=512) continue ;; esac
		[ "$at" != 0 ] && [ "$at" != 99999744 ] && [ "$at" != $((l1 + 512)) ] || continue
		cp o.qcow2 d.qcow2
		put64 d.qcow2 "$(u64 o.qcow2 64)" "$at"
		check "$options, snapshot's L1 table at $at, -y" repair -y
		check "$options, snapshot's L1 table at $at, -y: as it was" cmp o.qcow2 r.qcow2
	done
done

# Nonsense past the end of the disk does not make the disk smaller.
qemu-img create -q -f qcow2 o.qcow2 64M
qemu-io -f qcow2 -c 'write -P 1 0 1M' o.qcow2 >io
cp o.qcow2 d.qcow2
for ((i = 0; i < 512; i += 8)); do
	put64 d.qcow2 $(($(entry 6592) + i)) 0x6b65726e656c3a20
done
check "nonsense past the end, -y" repair -y
check "nonsense past the end, -y: the disk is as it was" same_disk o

# Empty entries in a row whose clusters leaked between those of their neighbours.
zeroed() { # first number
	cp o.qcow2 d.qcow2
	for ((i = 0; i < $2; i++)); do put64 d.qcow2 $(($(entry $1) + 8 * i)) 0; done
}
for n in 2 3 9; do
	zeroed 4 $n
	check "$n entries lost in a row, -p" repair -p
	check "$n entries lost in a row, -p: untouched" untouched
	check "$n entries lost in a row, -y" repair -y
	check "$n entries lost in a row, -y: the disk is back" same_disk o
	check "$n entries lost in a row, -y: nothing else is made" \
		test -z "$(qemu-img snapshot -l r.qcow2)"
done
# One of them was discarded, or they were at the end: there is no telling which.
qemu-io -f qcow2 -c 'discard 384k 64k' o.qcow2 >io
zeroed 4 4
check "a hole among them, -y" repair -y
check "a hole among them, -y: nothing is guessed" same_disk
zeroed 12 4
check "the last ones, -y" repair -y
check "the last ones, -y: nothing is guessed" same_disk

# One field that makes the rest look wrong comes first, or nothing does.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 64M
qemu-io -f qcow2 -c 'write -P 1 0 3M' -c 'write -P 3 17M 512k' -c 'write -P 4 40M 2M' o.qcow2 >io
cp o.qcow2 d.qcow2
put8 d.qcow2 23 11
check "cluster_bits 11, -p" repair -p
check "cluster_bits 11, -p: untouched" untouched
check "cluster_bits 11, -y" repair -y
check "cluster_bits 11, -y: as it was" cmp o.qcow2 r.qcow2
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k o.qcow2 64M
qemu-io -f qcow2 -c 'write -P 1 0 3M' -c 'write -P 3 17M 512k' o.qcow2 >io
cp o.qcow2 d.qcow2
put8 d.qcow2 7 2
check "version 3 read as 2, -p" repair -p
check "version 3 read as 2, -p: untouched" untouched
check "version 3 read as 2, -y" repair -y
check "version 3 read as 2, -y: as it was" same_disk o

# The extension that a bit of the header misses is there, under a wrong type.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 2M
qemu-img bitmap --add o.qcow2 kept
qemu-io -f qcow2 -c 'write -P 1 0 64k' o.qcow2 >io
check "the bitmaps are the first extension" test "$(xxd -p -s 112 -l 4 o.qcow2)" = 23852875
cp o.qcow2 d.qcow2
put8 d.qcow2 112 34
check "bitmaps under a wrong type, -y" repair -y
check "bitmaps under a wrong type, -y: as they were" cmp o.qcow2 r.qcow2

# Refcounts that are lost are no reason to look away from a snapshot.
for options in cluster_size=2M cluster_size=64k cluster_size=4k,refcount_bits=64; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 16M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 6M 64k' o.qcow2 >io
	qemu-img snapshot -c one o.qcow2
	qemu-io -f qcow2 -c 'write -P 3 512k 64k' o.qcow2 >io
	qemu-img snapshot -c two o.qcow2
	qemu-io -f qcow2 -c 'write -P 4 10M 64k' -c 'write -P 5 1536k 64k' o.qcow2 >io
	for name in one two; do
		qemu-img convert -l snapshot.name=$name -O raw o.qcow2 $name.raw
	done
	cp o.qcow2 d.qcow2
	block=$(u64 o.qcow2 "$(u64 o.qcow2 48)")
	cluster=$((1 << 16#$(xxd -p -s 20 -l 4 o.qcow2)))
	dd if=/dev/zero of=d.qcow2 bs=512 seek=$((block / 512)) count=$((cluster / 512)) conv=notrunc status=none
	check "$options, refcounts lost, -y" repair -y
	check "$options, refcounts lost, -y: the disk is as it was" same_disk o
	check "$options, refcounts lost, -y: the snapshots are there" snapshots_are one two
	check "$options, refcounts lost, -y: qemu-img agrees" qemu-img check r.qcow2
	# The same where a table leads to nonsense as well.
	yes 'kernel: a line of a log' | head -c 4096 | dd of=d.qcow2 bs=1 seek=$(($(u64 o.qcow2 "$(u64 o.qcow2 40)") & 0xfffffffffffe00)) conv=notrunc status=none
	check "$options, refcounts and a table lost, -y" repair -y
	check "$options, refcounts and a table lost, -y: a snapshot is there" snapshots_have one
	check "$options, refcounts and a table lost, -y: another is there" snapshots_have two
done

# What is freed because that was asked for is told, and not called worthless.
qemu-img create -q -f qcow2 o.qcow2 16M
qemu-io -f qcow2 -c 'write -P 1 0 256k' -c 'discard 0 64k' o.qcow2 >io
cp o.qcow2 d.qcow2
put64 d.qcow2 "$(entry 3)" 0
loss() {
	"$fsck" --output=json -y --free-orphans --no-journal d.qcow2 |
		jq -e '.images[0].repair.actions | map(select(.effect == "loss")) |
			length == 1 and .[0].id == "LEAK"'
}
check "an orphan freed as told: said so" loss

# A table that was wiped: a snapshot still has its data, and they are counted for both.
# A writer of version 3 that discards would have left zero flags.
for options in cluster_size=4k cluster_size=64k extended_l2=on,cluster_size=16k compat=0.10; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 16M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 5M 256k' o.qcow2 >io
	qemu-img snapshot -c one o.qcow2
	qemu-io -f qcow2 -c 'write -P 4 0 64k' o.qcow2 >io
	qemu-img convert -l snapshot.name=one -O raw o.qcow2 one.raw
	cp o.qcow2 d.qcow2
	dd if=/dev/zero of=d.qcow2 bs=512 seek=$((($(u64 o.qcow2 "$(u64 o.qcow2 40)") & 0xfffffffffffe00) / 512)) count=8 conv=notrunc status=none
	check "$options, a table wiped, -p" repair -p
	check "$options, a table wiped, -p: nothing is changed" same_disk
	check "$options, a table wiped, -y" repair -y
	check "$options, a table wiped, -y: the snapshot is as it was" snapshots_have one
	check "$options, a table wiped, -y: qemu-img agrees" qemu-img check r.qcow2
	[ $options = compat=0.10 ] ||
		check "$options, a table wiped, -y: what the snapshot has is back" \
			qemu-io -r -f qcow2 -c 'read -P 1 64k 192k' r.qcow2
done

# A file that was cut so that the snapshot table is gone: a snapshot's L1 table is not
# taken for the one of the active disk, though one entry of that leads past the end.
for options in cluster_size=64k cluster_size=4k extended_l2=on,cluster_size=16k; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 16M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' o.qcow2 >io
	qemu-img snapshot -c one o.qcow2
	qemu-io -f qcow2 -c 'write -P 2 0 64k' -c 'write -P 3 1M 64k' o.qcow2 >io
	qemu-img snapshot -c two o.qcow2
	qemu-io -f qcow2 -c 'write -P 4 1536k 64k' o.qcow2 >io
	cp o.qcow2 d.qcow2
	truncate -s $(($(u64 o.qcow2 64) + 100)) d.qcow2
	check "$options, cut at the snapshot table: the L1 table is not blamed" \
		test -z "$("$fsck" --output=json d.qcow2 | jq -r '.images[0].findings[] | select(.id == "ROOT_L1_OFFSET").id')"
	check "$options, cut at the snapshot table, -y" repair -y
	check "$options, cut at the snapshot table, -y: the disk is the active one" \
		qemu-io -r -f qcow2 -c 'read -P 2 0 64k' -c 'read -P 1 64k 960k' -c 'read -P 3 1M 64k' r.qcow2
done

# Whoever says where a table belongs is told if it does not get there.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 16M
qemu-io -f qcow2 -c 'write -P 1 0 64k' -c 'write -P 2 9M 64k' o.qcow2 >io
l1=$(u64 o.qcow2 40)
table=$(($(u64 o.qcow2 $((l1 + 32))) & 0xfffffffffffe00))
cp o.qcow2 d.qcow2
put64 d.qcow2 $((l1 + 32)) 0
unattached() { # options; how many are told of
	# shellcheck disable=SC2086
	rm -f attach.plan
	test "$("$fsck" -y $1 --plan=attach.plan d.qcow2 | grep -c 'does not get what is at')" = "$2"
}
check "attached as told" unattached "--attach=4=$table" 0
for wrong in 99=$table 0=$table 4=$((table + 1)) 4=0 4=$l1; do
	check "--attach=$wrong: said so" unattached "--attach=$wrong" 1
done

# A snapshot's entry that names the newer table of the active disk, which stays there.
for options in cluster_size=4k cluster_size=64k; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 16M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' o.qcow2 >io
	qemu-img snapshot -c one o.qcow2
	qemu-img snapshot -c two o.qcow2
	qemu-io -f qcow2 -c 'write -z 0 64k' o.qcow2 >io
	qemu-img convert -l snapshot.name=one -O raw o.qcow2 one.raw
	second=$(u64 o.qcow2 $(($(u64 o.qcow2 64) + (40 + 24 + 4 + 7) / 8 * 8)))
	for at in "$(u64 o.qcow2 "$(u64 o.qcow2 64)")" "$second"; do
		cp o.qcow2 d.qcow2
		put64 d.qcow2 "$at" "$(u64 o.qcow2 "$(u64 o.qcow2 40)")"
		check "$options, a snapshot's L1[0] at $at names the active table, -y" repair -y
		check "$options, a snapshot's L1[0] at $at names the active table, -y: the disk" same_disk o
		check "$options, a snapshot's L1[0] at $at names the active table, -y: qemu-img agrees" \
			qemu-img check r.qcow2
	done
done

# The table of a bitmap that is left over after its extension is gone reads as an L2
# table whose entries lack COPIED: it does not go into the one slot that is empty.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 4M
qemu-io -f qcow2 -c 'write -P 1 0 1M' o.qcow2 >io
qemu-img snapshot -c one o.qcow2
qemu-img bitmap --add -g 512 o.qcow2 b
qemu-io -f qcow2 -c 'write -P 2 0 64k' o.qcow2 >io
for option in -p -y; do
	cp o.qcow2 d.qcow2
	put64 d.qcow2 88 0
	put64 d.qcow2 112 0 # the end of the extensions
	if [ $option = -p ]; then
		cp d.qcow2 r.qcow2
		"$fsck" -p --no-journal r.qcow2 >said
	else
		check "a bitmap's table left over, -y" repair -y
	fi
	check "a bitmap's table left over, $option: the disk is as it was" same_disk o
done

# Who says no to all questions keeps every byte, of the header too.
qemu-img create -q -f qcow2 -o cluster_size=4k o.qcow2 16M
qemu-io -f qcow2 -c 'write -P 1 0 256k' o.qcow2 >io
qemu-img snapshot -c one o.qcow2
qemu-img snapshot -c two o.qcow2
qemu-io -f qcow2 -c 'write -P 2 0 64k' o.qcow2 >io
for at in 99:5 46:176 63:3 107:1; do
	cp o.qcow2 d.qcow2
	put8 d.qcow2 "${at%:*}" "${at#*:}"
	cp d.qcow2 r.qcow2
	yes n | "$fsck" -i --no-journal r.qcow2 >answers 2>&1
	check "byte ${at%:*} of the header, -i and no" untouched
	check "byte ${at%:*} of the header, -y" repair -y
	check "byte ${at%:*} of the header, -y: the disk is as it was" same_disk o
done
# No question about what nobody found.
cp o.qcow2 d.qcow2
put64 d.qcow2 "$(entry 0)" 0
yes n | "$fsck" -i --no-journal d.qcow2 >answers 2>&1
check "an entry lost, -i: no word of the snapshot table" test "$(grep -c SNAPSHOT_ answers)" = 0

sum_up
