# images-damage.sh - real images with single fields overwritten.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there
#
# The name says which field, and what was done to it.

# The images to be damaged, sound as they are. Those with 4 KiB clusters have
# 512 L2 entries (2 MiB) a table; the widths are 16 bits, so that rc_at works.
specimens() {
	img std 8M -o cluster_size=4k
	io 'write -P 1 0 64k' 'write -P 2 2M 64k' 'write -z 1M 16k' 'write -z 0 4k' \
		'write -P 3 6M 64k'
	judge
	img shared 4M -o cluster_size=4k
	io 'write -P 1 0 64k' 'write -P 2 2M 64k'
	snap first
	io 'write -P 3 0 8k'
	snap second
	io 'write -P 4 32k 8k'
	judge
	img packed 4M -o cluster_size=4k
	pack 1 0 16
	pack 2 2048 16
	io 'write -P 3 1M 64k'
	judge
	img sub 16M -o extended_l2=on,cluster_size=16k
	io 'write -P 1 0 64k' 'write -P 2 100k 512' 'write -zu 40k 1k' 'write -c -P 3 160k 16k'
	judge
	img marked 4M -o cluster_size=4k
	bm --add -g 512 b0
	io 'write -P 1 0 1M' 'write -P 1 3M 512'
	judge
	img outside 4M -o cluster_size=4k,data_file=outside.data
	io 'write -P 1 0 64k' 'write -P 1 1M 64k'
	judge
}

images_damage() {
	specimens
	damage_header
	damage_tables
	damage_entries
	damage_refcounts
	damage_widths
	damage_snapshots
	damage_shared
	damage_others
	damage_file
}

damage_header() {
	local b

	dup header-magic std; put 32 magic 0x514649fa; judge
	dup header-version-1 std; put 32 version 1; judge
	dup header-version-4 std; put 32 version 4; judge
	for b in 8 22; do
		dup "header-cluster-bits-$b" std; put 32 cluster-bits "$b"; judge
	done
	dup header-crypt-3 std; put 32 crypt 3; judge
	dup header-size-past-l1 std; put 64 size $((1 << 40)); judge
	dup header-size-smaller std; put 64 size $((5 << 20)); judge
	dup header-l1-size-0 std; put 32 l1-size 0; judge
	dup header-l1-unaligned std; add 64 l1 512; judge
	dup header-l1-past-end std; put 64 l1 $((1 << 30)); judge
	dup header-l1-zero std; put 64 l1 0; judge
	dup header-reftable-unaligned std; add 64 reftable 8; judge
	dup header-reftable-zero std; put 64 reftable 0; judge
	dup header-reftable-past-end std; put 64 reftable $((1 << 30)); judge
	dup header-reftable-no-clusters std; put 32 reftable-clusters 0; judge
	dup header-reftable-huge std; put 32 reftable-clusters 4096; judge
	dup header-order-7 std; put 32 refcount-order 7; judge
	dup header-order-3 std; put 32 refcount-order 3; judge
	dup header-length-96 std; put 32 header-length 96; judge
	dup header-length-huge std; put 32 header-length 4104; judge
	dup header-dirty std; flip incompatible 0; judge
	dup header-corrupt std; flip incompatible 1; judge
	dup header-data-file-bit std; flip incompatible 2; judge
	dup header-compression-bit std; flip incompatible 3; judge
	dup header-extended-bit std; flip incompatible 4; judge
	dup header-unknown-bit std; flip incompatible 9; judge
	dup header-compatible-bit std; flip compatible 9; judge
	dup header-autoclear-bit std; flip autoclear 9; judge
	dup header-raw-bit std; flip autoclear 1; judge
	dup header-compression-type std; put 8 compression 1; judge
	dup header-compression-type-2 packed; put 8 compression 2; flip incompatible 3; judge
	dup header-zlib-called-zstd packed; put 8 compression 1; flip incompatible 3; judge
	dup header-padding std; fill padding 7; judge
	dup header-backing-far std; put 64 backing 5000; put 32 backing-length 4; judge
	dup header-backing-long std; put 64 backing 2000; put 32 backing-length 1024; judge
	dup header-extension-long marked; put 32 $(($(ext_at 0x23852875) - 4)) 4096; judge
}

damage_tables() {
	dup l1-zeroed std; put 64 "$(l1_at 0)" 0; judge
	dup l1-all-zeroed std; wipe "$(l1_at 0)" 32; judge
	dup l1-reserved-low std; flip "$(l1_at 0)" 0; judge
	dup l1-reserved-high std; flip "$(l1_at 1)" 58; judge
	dup l1-unaligned std; flip "$(l1_at 0)" 9; judge
	dup l1-past-end std; flip "$(l1_at 0)" 40; judge
	dup l1-off-by-a-bit std; flip "$(l1_at 0)" 12; judge
	dup l1-flags-only std; put 64 "$(l1_at 2)" "$(owned 0)"; judge
	dup l1-to-itself std; put 64 "$(l1_at 2)" "$(owned "$(get 64 l1)")"; judge
	dup l1-to-data std; put 64 "$(l1_at 2)" "$(owned "$(data_at 0 3)")"; judge
	dup l1-twice std; put 64 "$(l1_at 2)" "$(get 64 "$(l1_at 0)")"; judge
	dup l1-copied-cleared std; flip "$(l1_at 0)" copied; judge
	dup l1-copied-set shared; flip "$(l1_at 1)" copied; judge
	dup l2-wiped std; wipe "$(l2_table 1)" 4096; judge
	dup l2-ones std; fill "$(l2_at 1 0)" 64; judge
	dup l2-tail-ones std; fill "$(l2_at 0 508)" 32; judge
}

damage_entries() {
	dup entry-zeroed std; put 64 "$(l2_at 0 3)" 0; judge
	dup entry-off-by-a-bit std; flip "$(l2_at 0 3)" 12; judge
	dup entry-off-by-many std; flip "$(l2_at 0 3)" 16; judge
	dup entry-unaligned std; flip "$(l2_at 0 3)" 9; judge
	dup entry-past-end std; flip "$(l2_at 0 3)" 30; judge
	dup entry-far-past-end std; flip "$(l2_at 0 3)" 55; judge
	dup entry-reserved-low std; flip "$(l2_at 0 3)" 1; judge
	dup entry-reserved-high std; flip "$(l2_at 0 3)" 61; judge
	dup entry-reserved-alone std; flip "$(l2_at 0 100)" 4; judge
	dup entry-copied-cleared std; flip "$(l2_at 0 3)" copied; judge
	dup entry-copied-alone std; flip "$(l2_at 0 100)" copied; judge
	dup entry-copied-zero std; flip "$(l2_at 0 256)" copied; judge
	dup entry-copied-shared shared; flip "$(l2_at 1 0)" copied; judge
	dup entry-zero-flag std; flip "$(l2_at 0 3)" zero; judge
	dup entry-zero-unaligned std; flip "$(l2_at 0 3)" zero 10; judge
	dup entry-twice std; put 64 "$(l2_at 0 100)" "$(get 64 "$(l2_at 0 3)")"; judge
	dup entry-instead std; put 64 "$(l2_at 0 4)" "$(get 64 "$(l2_at 0 3)")"; judge
	dup entry-to-l1 std; put 64 "$(l2_at 0 3)" "$(owned "$(get 64 l1)")"; judge
	dup entry-to-l2 std; put 64 "$(l2_at 0 3)" "$(owned "$(l2_table 1)")"; judge
	dup entry-to-refblock std; put 64 "$(l2_at 0 3)" "$(owned "$(refblock 0)")"; judge
	dup entry-to-reftable std; put 64 "$(l2_at 0 3)" "$(owned "$(get 64 reftable)")"; judge
	dup entry-past-disk std; put 64 size $((6 << 20 | 4096)); judge
	dup entry-called-compressed std; flip "$(l2_at 0 3)" compressed; judge
	dup entry-legalised std; put 64 "$(l2_at 0 100)" "$(get 64 "$(l2_at 0 3)")"
	flip "$(l2_at 0 100)" copied; flip "$(l2_at 0 3)" copied
	put 16 "$(rc_at "$(data_at 0 3)")" 2; judge

	dup packed-copied packed; flip "$(l2_at 0 1)" copied; judge
	dup packed-zeroed packed; put 64 "$(l2_at 0 1)" 0; judge
	dup packed-past-end packed; flip "$(l2_at 0 1)" 40; judge
	dup packed-twice packed; put 64 "$(l2_at 0 100)" "$(get 64 "$(l2_at 0 1)")"; judge
	dup packed-called-plain packed; flip "$(l2_at 0 1)" compressed; judge
	dup packed-one-sector-more packed; add 64 "$(l2_at 0 1)" $((1 << 58)); judge
	dup packed-garbage packed; fill "$(data_at 0 1)" 512; judge

	dup sub-both sub; put 64 $(($(l2_at 0 0) + 8)) 0x1ffffffff; judge
	dup sub-no-offset sub; put 64 $(($(l2_at 0 100) + 8)) 1; judge
	dup sub-zero-no-offset sub; put 64 $(($(l2_at 0 100) + 8)) $((1 << 32)); judge
	dup sub-bit-0 sub; flip "$(l2_at 0 0)" 0; judge
	dup sub-unaligned sub; flip "$(l2_at 0 0)" 9; judge
	dup sub-unaligned-preallocated sub; flip "$(l2_at 0 0)" 9; put 64 $(($(l2_at 0 0) + 8)) 0; judge
	dup sub-bitmap-cleared sub; put 64 $(($(l2_at 0 0) + 8)) 0; judge
	dup sub-compressed-bitmap sub; put 64 $(($(l2_at 0 10) + 8)) 1; judge
	dup sub-zeroed sub; put 64 "$(l2_at 0 0)" 0; judge
}

damage_refcounts() {
	local block

	dup refcount-data-up std; add 16 "$(rc_at "$(data_at 0 3)")" 1; judge
	dup refcount-data-max std; put 16 "$(rc_at "$(data_at 0 3)")" 65535; judge
	dup refcount-data-zero std; put 16 "$(rc_at "$(data_at 0 3)")" 0; judge
	dup refcount-ten-zero std; wipe "$(rc_at "$(data_at 0 3)")" 20; judge
	dup refcount-l2-zero std; put 16 "$(rc_at "$(l2_table 1)")" 0; judge
	dup refcount-l2-up std; add 16 "$(rc_at "$(l2_table 1)")" 1; judge
	dup refcount-l1-up std; add 16 "$(rc_at "$(get 64 l1)")" 1; judge
	dup refcount-l1-zero std; put 16 "$(rc_at "$(get 64 l1)")" 0; judge
	dup refcount-header-zero std; put 16 "$(rc_at 0)" 0; judge
	dup refcount-header-up std; add 16 "$(rc_at 0)" 3; judge
	dup refcount-reftable-up std; add 16 "$(rc_at "$(get 64 reftable)")" 1; judge
	dup refcount-refblock-up std; add 16 "$(rc_at "$(refblock 0)")" 1; judge
	dup refcount-refblock-zero std; put 16 "$(rc_at "$(refblock 0)")" 0; judge
	dup refcount-shared-down shared; add 16 "$(rc_at "$(l2_table 1)")" -1; judge
	dup refcount-shared-zero shared; put 16 "$(rc_at "$(data_at 1 0)")" 0; judge
	dup refcount-shared-up shared; add 16 "$(rc_at "$(data_at 1 0)")" 1; judge
	dup refcount-packed-down packed; add 16 "$(rc_at "$(data_at 0 1)")" -1; judge
	dup refcount-free-up std; cut_at 1M; put 16 "$(rc_at 900000)" 1; judge
	dup refcount-past-end std; put 16 "$(rc_at 4000000)" 7; judge

	dup refblock-pointer-zeroed std; put 64 "$(rt_at 0)" 0; judge
	dup refblock-reserved std; flip "$(rt_at 0)" 0; judge
	dup refblock-unaligned std; flip "$(rt_at 0)" 9; judge
	dup refblock-past-end std; flip "$(rt_at 0)" 40; judge
	dup refblock-twice std; put 64 "$(rt_at 1)" "$(get 64 "$(rt_at 0)")"; judge
	dup refblock-to-data std; put 64 "$(rt_at 1)" "$(data_at 0 3)"; judge
	dup refblock-moved std; put 64 "$(rt_at 0)" "$(data_at 0 3)"; judge
	dup refblock-wiped std; block=$(refblock 0); wipe "$block" 4096; judge
	dup refblock-ones std; block=$(refblock 0); fill "$block" 64; judge
	dup refblock-stray-past-end std; put 64 "$(rt_at 5)" $((1 << 40)); judge
}

# Refcounts that are no 16 bits wide: a byte of the block changed, which is
# several clusters or a part of one; and more references than fit.
damage_widths() {
	local w block

	for w in 1 2 4 8 32 64; do
		img "wide-$w" 2M -o "cluster_size=512,refcount_bits=$w"
		io 'write -P 1 0 600k'
		judge
		dup "wide-$w-byte-zeroed" "wide-$w"
		block=$(refblock 0)
		put 8 $((block + 7)) 0; put 8 $((block + 15)) 0; judge
		dup "wide-$w-one-bit" "wide-$w"
		block=$(refblock 0)
		flip $((block + 24)) 34; judge
		dup "wide-$w-entry-twice" "wide-$w"
		put 64 "$(l2_at 0 5)" "$(get 64 "$(l2_at 0 6)")"; judge
		if [ "$w" -ge 4 ]; then # else there is but one block
			dup "wide-$w-block-lost" "wide-$w"
			put 64 "$(rt_at 1)" 0; judge
		fi
		# Too many for a width of 1 or 2 bits.
		dup "wide-$w-entry-five-times" "wide-$w"
		for block in 1 2 3 4; do
			put 64 "$(l2_at 0 $((block + 10)))" "$(get 64 "$(l2_at 0 10)")"
		done
		judge
	done
}

# Tables that a dozen snapshots share.
damage_shared() {
	local i

	img many 1M -o cluster_size=512
	io 'write -P 1 0 100k' 'write -c -P 2 200k 512' 'write -c -P 3 201k 512'
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		snap "s$i"
		io "write -P $i $((i * 8))k 1k"
	done
	judge
	dup many-entry-zeroed many; put 64 "$(l2_at 6 16)" 0; judge
	dup many-entry-twice many; put 64 "$(l2_at 0 60)" "$(get 64 "$(l2_at 0 1)")"; judge
	dup many-l1-zeroed many; put 64 "$(l1_at 0)" 0; judge
	dup many-l1-twice many; put 64 "$(l1_at 30)" "$(get 64 "$(l1_at 6)")"; judge
	dup many-l2-wiped many; wipe "$(l2_table 6)" 512; judge
	dup many-refcount-down many; add 16 "$(rc_at "$(l2_table 6)")" -1; judge
	dup many-refcount-packed-up many; add 16 "$(rc_at "$(data_at 6 16)")" 1; judge
	dup many-snapshot-lost many; wipe "$(get 64 "$(snap_at 4)")" 64; judge
	dup many-snapshots-fewer many; put 32 snapshots 7; judge
	dup many-snapshot-entry many
	put 64 "$(get 64 "$(snap_at 8)")" "$(get 64 "$(get 64 "$(snap_at 2)")")"; judge
}

damage_snapshots() {
	dup snapshots-none shared; put 32 snapshots 0; judge
	dup snapshots-one-less shared; add 32 snapshots -1; judge
	dup snapshots-one-more shared; add 32 snapshots 1; judge
	dup snapshots-too-many shared; put 32 snapshots 65537; judge
	dup snapshots-unaligned shared; add 64 snapshot-table 512; judge
	dup snapshots-unaligned-none std; put 64 snapshot-table 512; judge
	dup snapshots-past-end shared; put 64 snapshot-table $((1 << 30)); judge
	dup snapshots-at-zero shared; put 64 snapshot-table 0; judge
	dup snapshots-extra-0 shared; put 32 $(($(snap_at 1) + 36)) 0; judge
	dup snapshots-extra-8 shared; put 32 $(($(snap_at 0) + 36)) 8; judge
	dup snapshots-extra-huge shared; put 32 $(($(snap_at 0) + 36)) 2000; judge
	dup snapshots-name-long shared; put 16 $(($(snap_at 0) + 14)) 60000; judge
	dup snapshots-same-id shared; put 8 $(($(snap_at 1) + 64)) 0x31; judge
	dup snapshot-l1-unaligned shared; add 64 "$(snap_at 0)" 512; judge
	dup snapshot-l1-past-end shared; put 64 "$(snap_at 0)" $((1 << 30)); judge
	dup snapshot-l1-huge shared; put 32 $(($(snap_at 0) + 8)) 5000000; judge
	dup snapshot-l1-empty shared; put 32 $(($(snap_at 0) + 8)) 0; judge
	dup snapshot-l1-is-active shared; put 64 "$(snap_at 0)" "$(get 64 l1)"; judge
	dup snapshot-l1-zeroed shared; wipe "$(get 64 "$(snap_at 0)")" 16; judge
	dup snapshot-l1-reserved shared; flip "$(get 64 "$(snap_at 0)")" 57; judge
	dup snapshot-l1-copied shared; flip "$(get 64 "$(snap_at 0)")" copied; judge
	dup snapshot-disk-size shared; put 64 $(($(snap_at 0) + 48)) $((1 << 40)); judge
	local l2
	dup snapshot-entry-reserved shared
	l2=$(($(get 64 "$(get 64 "$(snap_at 0)")") & MASK)); flip "$l2" 60; judge
	dup snapshot-entry-zeroed shared
	l2=$(($(get 64 "$(get 64 "$(snap_at 0)")") & MASK)); put 64 "$l2" 0; judge
}

damage_others() {
	local table

	dup bitmap-stale marked; flip autoclear 0; judge
	dup bitmap-flag-in-use marked; flip $(($(bitmap_at) + 8)) 0; judge
	dup bitmap-flag-unknown marked; flip $(($(bitmap_at) + 8)) 7; judge
	dup bitmap-type-2 marked; put 8 $(($(bitmap_at) + 16)) 2; judge
	dup bitmap-granularity-8 marked; put 8 $(($(bitmap_at) + 17)) 8; judge
	dup bitmap-granularity-10 marked; put 8 $(($(bitmap_at) + 17)) 10; judge
	dup bitmap-table-unaligned marked; add 64 "$(bitmap_at)" 512; judge
	dup bitmap-table-past-end marked; put 64 "$(bitmap_at)" $((1 << 30)); judge
	dup bitmap-directory-past-end marked; put 64 $(($(ext_at 0x23852875) + 16)) $((1 << 30)); judge
	dup bitmap-count marked; add 32 "$(ext_at 0x23852875)" 1; judge
	dup bitmap-data-reserved marked; table=$(get 64 "$(bitmap_at)"); flip "$table" 3; judge
	dup bitmap-data-lost marked; table=$(get 64 "$(bitmap_at)"); put 64 "$table" 0; judge
	dup bitmap-data-past-end marked; table=$(get 64 "$(bitmap_at)"); put 64 "$table" $((1 << 30)); judge
	dup bitmap-data-on-guest marked; table=$(get 64 "$(bitmap_at)")
	put 64 "$table" "$(data_at 0 3)"; judge

	dup external-copied-cleared outside; flip "$(l2_at 0 3)" copied; judge
	dup external-elsewhere outside; flip "$(l2_at 0 3)" 12; judge
	dup external-unaligned outside; flip "$(l2_at 0 3)" 9; judge
	dup external-compressed outside; flip "$(l2_at 0 3)" compressed; judge
	dup external-past-end outside; flip "$(l2_at 0 3)" 30; judge
}

damage_file() {
	local n

	dup file-half-a-cluster-short std; n=$(stat -c %s "$f"); cut_at $((n - 2048)); judge
	dup file-a-cluster-short std; n=$(stat -c %s "$f"); cut_at $((n - 4096)); judge
	dup file-halved std; n=$(stat -c %s "$f"); cut_at $((n / 2 & ~4095)); judge
	dup file-in-tables std; cut_at 14000; judge
	dup file-header-only std; cut_at 4096; judge
	dup file-100-bytes std; cut_at 100; judge
	dup file-20-bytes std; cut_at 20; judge
	dup file-packed-short packed; n=$(stat -c %s "$f"); cut_at $((n - 8192)); judge
	dup file-shared-short shared; n=$(stat -c %s "$f"); cut_at $((n - 8192)); judge
	dup file-longer std; cut_at 3000000; judge
}
