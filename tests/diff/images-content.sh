# images-content.sh - writes, zeros, discards, compression, convert, fragments.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

images_content() {
	local c i t

	img writes 16M
	io 'write -P 1 0 64k' 'write -P 2 10M 1M' 'write -P 3 65000 3000' 'write -P 4 15M 1M'
	judge
	img zeros 4M -o cluster_size=4k
	io 'write -P 1 0 2M' 'write -z 0 256k' 'write -zu 512k 256k' \
		'write -z 1000k 500' 'write -z 3M 64k' 'write -zu 3500k 512'
	judge
	img zeros-v2 4M -o compat=0.10,cluster_size=4k
	io 'write -P 1 0 2M' 'write -z 0 256k' 'write -zu 512k 256k'
	judge
	img discards 4M -o cluster_size=4k
	io 'write -P 1 0 4M' 'discard 0 1M' 'discard 1026k 100k' 'discard 2M 4k' 'discard 4095k 1k'
	judge
	img discards-v2 4M -o compat=0.10,cluster_size=4k
	io 'write -P 1 0 4M' 'discard 0 1M' 'discard 2M 4k'
	judge
	img rewritten 4M -o cluster_size=4k
	io 'write -P 1 0 4M' 'discard 0 4M' 'write -P 2 1M 1M'
	pack 3 0 16
	io 'write -P 4 8k 100'
	judge

	for c in 512 4k 64k 2M; do
		for t in zlib zstd; do
			img "written-$t-$c" 8M -o "cluster_size=$c,compression_type=$t"
			io "write -c -P 1 0 $c" "write -c -P 2 2M $c" "write -P 3 4M $c" \
				"write -c -P 4 6M $c"
			judge
		done
	done
	img compressed-overwritten 4M -o cluster_size=4k
	pack 1 0 64
	io 'write -P 2 0 16k' 'write -z 64k 16k' 'discard 128k 16k' 'write -P 3 201k 512'
	judge
	img compressed-snapshots 4M -o cluster_size=4k
	pack 1 0 64
	snap one two
	io 'write -P 2 16k 32k'
	pack 3 1024 16
	unsnap one
	judge
	img compressed-shrunk 4M -o cluster_size=4k
	pack 1 0 256
	pack 2 3072 256
	resize --shrink 2M
	judge

	# Text compresses; noise does not and is stored as it is.
	{
		pattern 700000
		noise 150000
		head -c 200000 /dev/zero
		pattern 300001
	} >mixed.raw
	for t in zlib zstd; do
		for c in 512 4k 64k 1M; do
			conv "convert-$t-$c" mixed.raw -c -f raw -o "compression_type=$t,cluster_size=$c"
			judge
		done
	done
	conv convert-v2 mixed.raw -c -f raw -o compat=0.10
	judge
	conv convert-extended mixed.raw -c -f raw -o extended_l2=on
	judge
	conv convert-width-1 mixed.raw -f raw -o refcount_bits=1,cluster_size=4k
	judge
	conv convert-plain mixed.raw -f raw
	judge
	conv convert-S-4k mixed.raw -f raw -S 4k -o cluster_size=4k
	judge
	conv convert-S-0 mixed.raw -f raw -S 0 -o cluster_size=4k
	judge
	# One coroutine: with more, the layout differs from run to run.
	conv convert-W mixed.raw -f raw -W -m 1 -o cluster_size=4k
	judge
	conv convert-W-compressed mixed.raw -f raw -c -W -m 1 -o cluster_size=4k
	judge
	conv convert-prealloc mixed.raw -f raw -o preallocation=falloc
	judge
	conv convert-again convert-zlib-4k.qcow2 -c -o cluster_size=64k
	io 'write -P 5 300k 3k'
	judge

	# Backwards, a cluster at a time: no two neighbours lie side by side.
	img fragments 4M -o cluster_size=512
	for ((i = 4000; i > 0; i--)); do
		echo "write -P 1 $((i * 1024)) 512"
	done | script
	judge
	img fragments-4k 40M -o cluster_size=4k
	for ((i = 2500; i > 0; i--)); do
		echo "write -P 1 $((i * 7919 % 10000 * 4096)) 4k"
	done | script
	judge
	img fragments-compressed 4M -o cluster_size=1k
	for ((i = 2000; i > 0; i--)); do
		echo "write -c -P $((i % 255)) $((i * 1024)) 1k"
	done | script
	judge
	img fragments-extended 40M -o extended_l2=on,cluster_size=16k
	for ((i = 1000; i > 0; i--)); do
		echo "write -P 1 $((i * 37 % 2500 * 16384)) 512"
	done | script
	judge
	img fragments-discarded 4M -o cluster_size=512
	for ((i = 0; i < 3000; i++)); do
		echo "write -P 1 $((i * 512)) 512"
	done | script
	for ((i = 0; i < 3000; i += 3)); do
		echo "discard $((i * 512)) 512"
	done | script
	judge
}
