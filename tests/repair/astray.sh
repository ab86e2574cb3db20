#!/usr/bin/env bash
# astray.sh - a guest's data where refcounts should stand, and refcounts that are lost:
# neither repair overwrites the one nor frees what only the other told of.  And a
# byte of the header that hinders qemu-img for nothing.
#
# SPDX-License-Identifier: MIT
#
# usage: astray.sh BUILD_DIR            prints "astray: N passed, N failed"
set -u
part=astray
# shellcheck source=tests/repair/damage.sh
. "$(dirname "$0")/damage.sh"
mark='what only this place holds'

put() { # file offset; writes what comes in
	dd of="$1" bs=512 seek=$(($2 / 512)) conv=notrunc status=none
}
repair() { # option; of d.qcow2 into r.qcow2
	cp d.qcow2 r.qcow2
	"$fsck" "$1" --no-journal r.qcow2 >said 2>&1
	[ $? -lt 8 ]
}
left_over() { # the cautious repair says that something is left
	cp d.qcow2 r.qcow2
	"$fsck" -p --no-journal r.qcow2
	[ $? = 4 ]
}
lost_and_found() { # how often it holds the mark, at the least
	qemu-img convert -l snapshot.name=lost+found-1 -O raw r.qcow2 lost.raw &&
		[ "$(grep -ac "$mark" lost.raw)" -ge "$1" ]
}
disk_is() { # raw image
	qemu-img compare -f raw -F qcow2 "$1" r.qcow2
}

qemu-img create -q -f raw o.raw 128M || exit 1
yes 'the guest has this' | head -c 1M | dd of=o.raw conv=notrunc status=none
yes 'and much later this' | head -c 1M | dd of=o.raw seek=6144 conv=notrunc status=none

for options in cluster_size=64k cluster_size=4k refcount_bits=1,cluster_size=4k \
	refcount_bits=8 refcount_bits=64,cluster_size=1k compat=0.10 \
	extended_l2=on,cluster_size=16k; do
	qemu-img convert -O qcow2 -o "$options" o.raw o.qcow2
	size=$((1 << 16#$(xxd -p -s 20 -l 4 o.qcow2)))
	l1=$(u64 o.qcow2 40)
	l2=$(($(u64 o.qcow2 "$l1") & 0xfffffffffffe00))
	table=$(u64 o.qcow2 48)
	yes "$mark" | head -c $size >marked

	for place in "table:$table" "block:$(u64 o.qcow2 "$table")"; do
		name="$options, data on the refcount ${place%:*}"
		cp o.qcow2 d.qcow2
		put d.qcow2 "${place#*:}" <marked
		for mode in -p -y; do
			check "$name, $mode" repair $mode
			check "$name, $mode: the data stands" \
				cmp -n $size -i "0:${place#*:}" marked r.qcow2
			check "$name, $mode: the disk" disk_is o.raw
		done
		check "$name, -y: qemu-img agrees" qemu-img check r.qcow2
		check "$name, -y: the data is found" lost_and_found 1
		check "$name, -p: something is left" left_over
	done

	# All data of an L2 table that is gone, too.
	qemu-img convert -O raw o.qcow2 marked.raw
	dd if=marked of=marked.raw bs=$size seek=2 conv=notrunc status=none
	qemu-img convert -O qcow2 -o "$options" marked.raw d.qcow2
	head -c $size /dev/zero | tr '\0' '\377' | put d.qcow2 "$l2"
	for fill in zeros sector; do
		cp d.qcow2 before.qcow2
		case $fill in
		zeros) head -c $size /dev/zero ;;
		sector) head -c 512 /dev/zero ;;
		esac | put d.qcow2 "$(u64 d.qcow2 "$table")"
		name="$options, a table and $fill of the refcounts lost"
		check "$name, -p" repair -p
		cp r.qcow2 after.qcow2
		check "$name, -y" repair -y
		check "$name, -y: the data is found" lost_and_found 1
		check "$name, -y: qemu-img agrees" qemu-img check r.qcow2
		mv after.qcow2 d.qcow2
		check "$name, -p and -y" repair -y
		check "$name, -p and -y: the data is found" lost_and_found 1
		mv before.qcow2 d.qcow2
	done
done

# A compression type that nobody knows hinders nothing where no data is compressed.
qemu-img convert -O qcow2 o.raw o.qcow2
cp o.qcow2 d.qcow2
printf '\177' | dd of=d.qcow2 bs=1 seek=104 conv=notrunc status=none
check "compression type, -y" repair -y
check "compression type, -y: the disk" disk_is o.raw
check "compression type, -y: qemu-img agrees" qemu-img check r.qcow2

# More orphans than a disk has clusters: each is in a snapshot where it can be read.
l2_of() { # offset of an L1 table
	echo $(($(u64 d.qcow2 "$(u64 d.qcow2 "$1")") & 0xfffffffffffe00))
}
all_found() { # line; how often
	local name n=0
	for name in $(qemu-img snapshot -l r.qcow2 | awk '/lost.found/ {print $2}'); do
		qemu-img convert -l "snapshot.name=$name" -O raw r.qcow2 lost.raw || return
		n=$((n + $(grep -ac "$1" lost.raw)))
	done
	[ $n -ge "$2" ]
}
qemu-img create -q -f qcow2 -o cluster_size=4k d.qcow2 1M
for n in 1 2 3; do
	yes "stage $n of all" | head -c 1M >stage
	qemu-io -f qcow2 -c 'write -s stage 0 1M' d.qcow2 >io
	[ $n = 3 ] || qemu-img snapshot -c sn$n d.qcow2
done
records=$(u64 d.qcow2 64)
head -c 4096 /dev/zero | tr '\0' '\377' >ones
tables="$(l2_of 40) $(l2_of "$records") $(l2_of $((records + (40 + 24 + 4 + 7) / 8 * 8)))"
for at in $tables; do
	put d.qcow2 "$at" <ones
done
check "three tables lost, -y" repair -y
for n in 1 2 3; do
	check "three tables lost, -y: stage $n" all_found "stage $n of all" 65536
done
check "three tables lost, -y: qemu-img agrees" qemu-img check r.qcow2

sum_up
