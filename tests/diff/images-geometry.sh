# images-geometry.sh - cluster sizes, refcount widths, versions, disk sizes.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

# A little of everything that does not depend on the geometry.
touch_up() {
	io 'write -P 1 0 5000' 'write -P 2 100k 70k' 'write -z 64k 8k' \
		'write -P 3 1020k 4k' 'discard 128k 16k'
}

images_geometry() {
	local c w s

	for c in 512 1k 2k 4k 8k 16k 32k 64k 128k 256k 512k 1M 2M; do
		img "cluster-$c" 1M -o "cluster_size=$c"
		touch_up
		judge
	done
	for c in 512 4k 64k 2M; do
		img "v2-$c" 1M -o "compat=0.10,cluster_size=$c"
		io 'write -P 1 0 5000' 'write -P 2 100k 70k' 'write -z 64k 8k' 'discard 128k 16k'
		judge
	done

	# Small clusters: many refcounts, several blocks, in the wide formats
	# several table clusters. Large ones: one block with one entry in use.
	for w in 1 2 4 8 16 32 64; do
		img "width-$w-512" 2M -o "cluster_size=512,refcount_bits=$w"
		io 'write -P 1 0 600k' 'write -c -P 2 1M 512' 'write -P 3 1536k 100k'
		judge
		img "width-$w-64k" 4M -o "refcount_bits=$w"
		touch_up
		judge
	done
	for w in 2 4 8 32 64; do
		img "width-$w-snapshots" 512k -o "cluster_size=1k,refcount_bits=$w"
		io 'write -P 1 0 200k'
		snap a b
		io 'write -P 2 50k 20k'
		judge
	done

	for c in 16k 32k 64k 256k 2M; do
		img "extended-$c" 5M -o "extended_l2=on,cluster_size=$c"
		touch_up
		io 'write -zu 1024 2048' 'write -P 4 3M 1k' 'discard 3M 512' 'write -P 5 4M 512'
		judge
	done
	img extended-prealloc 3M -o extended_l2=on,preallocation=metadata
	io 'write -P 1 100k 2k' 'write -z 1M 64k' 'discard 2M 128k'
	judge
	img extended-snapshot 3M -o extended_l2=on,cluster_size=16k
	io 'write -P 1 0 40k' 'write -P 1 1M 512'
	snap one
	io 'write -P 2 1k 512' 'write -z 20k 1k'
	judge

	for s in 0 512 1024 65024 65536 66048 1048064; do
		img "size-$s" "$s"
		[ "$s" = 0 ] || io "write -P 7 0 512" "write -P 8 $((s - 512)) 512"
		judge
	done
	# No tool of QEMU makes these: the size field of a finished image.
	for s in 1 511 1000 65537 1048575; do
		img "size-poked-$s" 1M
		io 'write -P 1 0 512'
		put 64 size "$s"
		judge
	done
	img size-100T 100T
	io 'write -P 1 99T 4k' 'write -P 2 0 4k'
	judge
	img size-1E 1E -o cluster_size=2M
	io 'write -P 1 512P 4k'
	judge
	img size-64G-512 64G -o cluster_size=512
	io 'write -P 1 63G 512'
	judge

	for s in off metadata falloc full; do
		img "prealloc-$s" 2M -o "preallocation=$s"
		judge
		img "prealloc-$s-4k" 2M -o "cluster_size=4k,preallocation=$s"
		io 'write -P 1 100k 10k' 'discard 1M 64k' 'write -z 512k 128k'
		judge
	done
	img prealloc-metadata-v2 2M -o compat=0.10,preallocation=metadata
	judge

	img grown 1M -o cluster_size=4k
	io 'write -P 1 0 1M'
	resize 30M
	io 'write -P 2 29M 64k'
	judge
	img grown-prealloc 1M -o cluster_size=4k
	resize --preallocation=metadata 5M
	judge
	img grown-falloc 1M -o cluster_size=4k
	resize --preallocation=falloc 3M
	judge
	img shrunk 9M -o cluster_size=4k
	io 'write -P 1 0 64k' 'write -P 2 8M 1M'
	resize --shrink 3M
	judge
	img shrunk-odd 9M -o cluster_size=4k
	io 'write -P 1 0 5M'
	resize --shrink 1049088
	judge
	img shrunk-to-sector 4M
	io 'write -P 1 0 1M'
	resize --shrink 512
	judge
	img shrunk-grown 9M -o cluster_size=512
	io 'write -P 1 0 1M'
	resize --shrink 100k
	resize 2M
	io 'write -P 2 1M 64k'
	judge
	img lazy 4M -o lazy_refcounts=on
	io 'write -P 1 0 1M' 'discard 0 64k'
	judge
	img amended 4M
	io 'write -P 1 0 100k' 'write -z 1M 64k'
	qemu-img amend -f qcow2 -o compat=0.10 "$f"
	judge
	img amended-width 1M -o cluster_size=1k
	io 'write -P 1 0 100k'
	qemu-img amend -f qcow2 -o refcount_bits=64 "$f"
	judge
	img amended-lazy 1M -o cluster_size=1k
	qemu-img amend -f qcow2 -o lazy_refcounts=on "$f"
	io 'write -P 1 0 100k'
	judge
}
