# images-crash.sh - images whose writer died without closing them.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

images_crash() {
	local caches=

	# Without lazy refcounts the order of writes keeps the image usable: what
	# a crash leaves behind is a leak at the worst.
	img crash-unflushed 4M -o cluster_size=4k
	crash 'write -P 1 0 1M'
	judge
	img crash-flushed 4M -o cluster_size=4k
	crash 'write -P 1 0 1M' flush
	judge
	img crash-half-flushed 4M -o cluster_size=4k
	crash 'write -P 1 0 1M' flush 'write -P 2 2M 1M'
	judge
	img crash-written 4M -o cluster_size=4k
	io 'write -P 1 0 2M'
	crash 'write -P 2 1M 2M' 'discard 0 64k'
	judge
	img crash-compressed 4M -o cluster_size=4k
	crash 'write -c -P 1 0 4k' 'write -c -P 2 4k 4k' flush 'write -c -P 3 1M 4k'
	judge
	img crash-snapshot 4M -o cluster_size=4k
	io 'write -P 1 0 1M'
	snap one
	crash 'write -P 2 0 512k' flush 'write -P 3 256k 512k'
	judge
	dup crash-snapshot-deleted crash-snapshot
	unsnap one
	judge
	img crash-snapshot-leaks 4M -o cluster_size=4k
	io 'write -P 1 0 1M' 'write -P 2 3M 512k'
	snap one
	io 'write -P 1 0 64k'
	caches=refcount-cache-size=16384,l2-cache-size=8192
	crash 'write -P 2 0 512k' 'write -P 3 2M 512k' 'write -P 4 3M 64k'
	judge
	dup crash-snapshot-leaks-deleted crash-snapshot-leaks
	unsnap one
	judge

	# Tiny caches: some tables reach the file, others do not.
	caches=refcount-cache-size=2048,l2-cache-size=65536
	img crash-refcounts-first 4M -o cluster_size=512
	crash 'write -P 1 0 2M'
	judge
	caches=refcount-cache-size=2048,l2-cache-size=2048
	img crash-discarded 4M -o cluster_size=512
	crash 'write -P 1 0 2M' 'discard 0 1M'
	judge
	img crash-zeroed 4M -o cluster_size=512
	io 'write -P 1 0 4M'
	crash 'discard 0 1M' 'write -z 2M 1M' 'write -P 2 512k 1M'
	judge
	img crash-wide 4M -o cluster_size=512,refcount_bits=64
	crash 'write -P 1 0 1M' 'write -c -P 2 2M 512' 'discard 0 256k'
	judge
	img crash-narrow 4M -o cluster_size=512,refcount_bits=1
	crash 'write -P 1 0 4M' 'discard 0 1M'
	judge
	caches=l2-cache-size=32768,refcount-cache-size=65536
	img crash-extended 40M -o extended_l2=on,cluster_size=16k
	io 'write -P 1 0 1M'
	crash 'write -P 2 2M 1M' 'write -z 0 64k' 'write -P 3 20M 1M' 'write -P 4 35M 1M'
	judge
	caches=

	# With them the refcounts on disk are those of the last clean close.
	img crash-lazy-unflushed 4M -o cluster_size=4k,lazy_refcounts=on
	crash 'write -P 1 0 1M'
	judge
	img crash-lazy-flushed 4M -o cluster_size=4k,lazy_refcounts=on
	crash 'write -P 1 0 256k' flush
	judge
	img crash-lazy-written 4M -o cluster_size=4k,lazy_refcounts=on
	io 'write -P 1 0 64k'
	crash 'write -P 1 64k 64k' flush
	judge
	img crash-lazy-one 4M -o lazy_refcounts=on
	crash 'write -P 1 0 4k' flush
	judge
	img crash-lazy-snapshot 4M -o cluster_size=4k,lazy_refcounts=on
	io 'write -P 1 0 64k'
	snap one
	crash 'write -P 2 0 32k' flush
	judge
	# Dirty, but nothing was written.
	img crash-lazy-discard 4M -o cluster_size=4k,lazy_refcounts=on
	io 'write -P 1 0 64k'
	crash 'discard 0 64k' flush
	judge
	dup crash-lazy-repaired crash-lazy-flushed
	io 'write -P 2 2M 4k' 2>/dev/null
	judge
	dup crash-lazy-deleted crash-lazy-snapshot
	unsnap one 2>/dev/null
	judge
}
