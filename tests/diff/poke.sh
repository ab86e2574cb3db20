# poke.sh - find and overwrite single fields of an image.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there
#
# Places are looked up in the image itself, never counted by hand: "at" words
# give a byte offset in the current image ($f), put* and flip change it there.
# Numbers are what bash's 64-bit arithmetic makes of them.

# Places in the header go by their name.
declare -rA FIELD=(
	[magic]=0 [version]=4 [backing]=8 [backing-length]=16 [cluster-bits]=20
	[size]=24 [crypt]=32 [l1-size]=36 [l1]=40 [reftable]=48
	[reftable-clusters]=56 [snapshots]=60 [snapshot-table]=64
	[incompatible]=72 [compatible]=80 [autoclear]=88 [refcount-order]=96
	[header-length]=100 [compression]=104 [padding]=105
)
declare -rA BIT=([copied]=63 [compressed]=62 [zero]=0)
declare -r MASK=$((0x00fffffffffffe00))

# get WIDTH OFFSET: a big-endian number of WIDTH bits.
get() {
	local h
	h=$(od -An -v -tx1 -j "${FIELD[$2]-$2}" -N $(($1 / 8)) "$f")
	echo $((0x${h//[[:space:]]/}))
}

# put WIDTH OFFSET VALUE
put() {
	local h i x=
	printf -v h '%016x' "$3"
	h=${h:$((16 - $1 / 4))}
	for ((i = 0; i < ${#h}; i += 2)); do
		x+="\\x${h:i:2}"
	done
	printf '%b' "$x" |
		dd of="$f" bs=1 seek="${FIELD[$2]-$2}" conv=notrunc status=none
}

# flip OFFSET BIT...: invert bits of the 64-bit number at OFFSET.
flip() {
	local at=$1 v b
	shift
	v=$(get 64 "$at")
	for b; do
		v=$((v ^ (1 << ${BIT[$b]-$b})))
	done
	put 64 "$at" "$v"
}

# add WIDTH OFFSET DELTA
add() {
	put "$1" "$2" $(($(get "$1" "$2") + $3))
}

# wipe OFFSET LENGTH: zeros. fill OFFSET LENGTH: ones.
wipe() {
	head -c "$2" /dev/zero |
		dd of="$f" bs=64k seek="${FIELD[$1]-$1}" oflag=seek_bytes conv=notrunc status=none
}

fill() {
	head -c "$2" /dev/zero | tr '\0' '\377' |
		dd of="$f" bs=64k seek="${FIELD[$1]-$1}" oflag=seek_bytes conv=notrunc status=none
}

# The cluster size; the size of an L2 entry.
csize() {
	echo $((1 << $(get 32 cluster-bits)))
}

l2_width() {
	if [ "$(get 32 version)" -ge 3 ] && (($(get 64 incompatible) & 16)); then
		echo 16
	else
		echo 8
	fi
}

# owned OFFSET: a table entry for that offset, with the COPIED flag.
owned() {
	echo $((1 << 63 | $1))
}

# l1_at INDEX; l2_table INDEX: the table an L1 entry names; l2_at INDEX ENTRY.
l1_at() {
	echo $(($(get 64 l1) + 8 * $1))
}

l2_table() {
	echo $(($(get 64 "$(l1_at "$1")") & MASK))
}

l2_at() {
	echo $(($(l2_table "$1") + $2 * $(l2_width)))
}

# data_at INDEX ENTRY: where the cluster lies that an L2 entry names.
data_at() {
	echo $(($(get 64 "$(l2_at "$1" "$2")") & MASK))
}

# rt_at INDEX; refblock INDEX; rc_at OFFSET: the 16-bit refcount of the
# cluster at that offset.
rt_at() {
	echo $(($(get 64 reftable) + 8 * $1))
}

refblock() {
	echo $(($(get 64 "$(rt_at "$1")") & ~511))
}

rc_at() {
	local cs n
	cs=$(csize)
	n=$(($1 / cs))
	echo $(($(refblock $((n / (cs / 2)))) + n % (cs / 2) * 2))
}

# snap_at N: the N-th record of the snapshot table, from 0.
snap_at() {
	local at n=0
	at=$(get 64 snapshot-table)
	while [ "$n" -lt "$1" ]; do
		at=$((at + 40 + $(get 32 $((at + 36))) + $(get 16 $((at + 12))) + $(get 16 $((at + 14)))))
		at=$(((at + 7) & ~7))
		n=$((n + 1))
	done
	echo "$at"
}

# ext_at TYPE: the payload of a header extension.
ext_at() {
	local at
	local type
	at=$(get 32 header-length)
	while type=$(get 32 "$at") && [ "$type" -ne $(($1)) ]; do
		[ "$type" -ne 0 ] || return 1
		at=$((at + 8 + (($(get 32 $((at + 4))) + 7) & ~7)))
	done
	echo $((at + 8))
}

# bitmap_at: the first record of the bitmap directory.
bitmap_at() {
	get 64 $(($(ext_at 0x23852875) + 16))
}

# cut_at LENGTH: give the file that length (also longer).
cut_at() {
	truncate -s "$1" "$f"
}
