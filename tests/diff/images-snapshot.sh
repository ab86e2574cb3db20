# images-snapshot.sh - internal snapshots and persistent bitmaps.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

images_snapshot() {
	local i

	img snapshot-one 4M -o cluster_size=4k
	io 'write -P 1 0 1M'
	snap one
	judge
	img snapshot-written 4M -o cluster_size=4k
	io 'write -P 1 0 1M'
	snap one
	io 'write -P 2 0 100k' 'write -P 2 3M 100k'
	snap two
	io 'write -P 3 50k 100k' 'discard 0 16k' 'write -z 512k 64k'
	judge
	dup snapshot-first-gone snapshot-written
	unsnap one
	judge
	dup snapshot-last-gone snapshot-written
	unsnap two
	judge
	dup snapshot-all-gone snapshot-written
	unsnap one two
	judge
	dup snapshot-reverted snapshot-written
	qemu-img snapshot -a one "$f"
	io 'write -P 4 1M 10k'
	judge
	dup snapshot-long-name snapshot-written
	snap "$(printf '%0200d' 7)" 'with blanks, and "quotes"'
	judge
	img snapshot-empty-disk 4M
	snap one two three
	unsnap two
	judge
	img snapshot-size-0 0
	snap one
	judge
	img snapshot-v2 4M -o compat=0.10,cluster_size=4k
	io 'write -P 1 0 1M'
	snap one
	io 'write -P 2 0 100k'
	snap two
	unsnap one
	judge
	# 3 of 4: a refcount of two bits is full.
	img snapshot-width-2 1M -o cluster_size=512,refcount_bits=2
	io 'write -P 1 0 300k'
	snap one two
	io 'write -P 2 10k 100k'
	judge
	img snapshot-many 1M -o cluster_size=4k
	for ((i = 1; i <= 40; i++)); do
		echo "write -P $i $((i * 16384)) 8k" | script
		snap "s$i"
	done
	judge
	dup snapshot-many-thinned snapshot-many
	for ((i = 2; i <= 40; i += 3)); do
		unsnap "s$i"
	done
	judge
	img snapshot-grown 2M -o cluster_size=4k
	io 'write -P 1 0 2M'
	snap small
	resize 9M
	io 'write -P 2 8M 64k' 'write -P 2 0 64k'
	snap large
	judge
	img snapshot-shrunk 9M -o cluster_size=4k
	io 'write -P 1 0 1M' 'write -P 1 8M 1M'
	snap large
	resize --shrink 2M
	io 'write -P 2 0 64k'
	snap small
	judge
	dup snapshot-sizes-deleted snapshot-shrunk
	unsnap large
	judge
	dup snapshot-sizes-reverted snapshot-shrunk
	qemu-img snapshot -a large "$f"
	judge
	img snapshot-l1-clusters 20M -o cluster_size=512
	io 'write -P 1 0 64k' 'write -P 1 19M 64k'
	snap one
	io 'write -P 2 10M 64k'
	snap two
	judge
	img snapshot-lazy 4M -o cluster_size=4k,lazy_refcounts=on
	io 'write -P 1 0 1M'
	snap one
	io 'write -P 2 0 1M'
	unsnap one
	judge
	img snapshot-prealloc 2M -o cluster_size=4k,preallocation=metadata
	snap one
	io 'write -P 2 0 64k'
	judge
}

images_bitmap() {
	img bitmap-one 16M
	bm --add b0
	judge
	img bitmap-written 16M
	bm --add b0
	io 'write -P 1 0 1M' 'write -P 2 10M 100k'
	judge
	img bitmap-granular 16M -o cluster_size=4k
	bm --add -g 512 fine
	bm --add -g 1M coarse
	bm --add -g 2147483648 coarsest
	io 'write -P 1 0 1M' 'write -P 2 10M 100k'
	judge
	img bitmap-512 2M -o cluster_size=512
	bm --add -g 512 b0
	io 'write -P 1 0 1M' 'discard 512k 10k' 'write -z 1500k 100k'
	judge
	img bitmap-disabled 4M -o cluster_size=4k
	bm --add b0
	io 'write -P 1 0 1M'
	bm --disable b0
	io 'write -P 1 2M 1M'
	judge
	dup bitmap-enabled bitmap-disabled
	bm --enable b0
	io 'write -P 1 3M 1M'
	judge
	dup bitmap-merged bitmap-enabled
	bm --add --disable b1
	bm --merge b0 b1
	judge
	dup bitmap-cleared bitmap-enabled
	bm --clear b0
	judge
	dup bitmap-removed bitmap-enabled
	bm --remove b0
	judge
	img bitmap-many 4M -o cluster_size=1k
	local i
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		bm --add -g 4k "bitmap number $i"
	done
	io 'write -P 1 0 1M'
	bm --remove 'bitmap number 3'
	judge
	img bitmap-in-use 4M -o cluster_size=4k
	bm --add b0
	io 'write -P 1 0 1M'
	crash 'write -P 2 1M 64k' 'flush'
	judge
	img bitmap-snapshot 4M -o cluster_size=4k
	bm --add b0
	io 'write -P 1 0 1M'
	snap one
	io 'write -P 2 0 1M'
	judge
	img bitmap-extended 8M -o extended_l2=on
	bm --add -g 2k b0
	io 'write -P 1 0 2k' 'write -P 2 5M 2k'
	judge
	img bitmap-grown 4M -o cluster_size=4k
	bm --add -g 4k b0
	io 'write -P 1 0 1M'
	resize 9M
	io 'write -P 2 8M 1M'
	judge
	img bitmap-width-1 4M -o cluster_size=4k,refcount_bits=1
	bm --add b0
	io 'write -P 1 0 1M'
	judge
	img bitmap-copied-from 4M
	bm --add b0
	io 'write -P 1 0 1M'
	conv bitmap-copied bitmap-copied-from.qcow2 --bitmaps -o cluster_size=4k
	judge
}
