# images-deep.sh - long chains, raw bases with holes, layers of unlike sizes.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

# A number below $1, the same in every run.
draw() {
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	drawn=$((seed / 65536 % $1))
}

# some_io SIZE COUNT: writes, zeros and discards at places drawn by lot.
some_io() {
	local i at len
	for ((i = 0; i < $2; i++)); do
		draw $(($1 / 512 - 64))
		at=$((drawn * 512))
		draw 60
		len=$(((drawn + 1) * 512))
		draw 5
		case $drawn in
		0) echo "write -z $at $len" ;;
		1) echo "write -zu $at $len" ;;
		2) echo "discard $at $len" ;;
		*) echo "write -P 5 $at $len" ;;
		esac
	done | script
}

images_deep() {
	local i size opts base format
	seed=1

	# A raw base with holes whose length is not that of whole sectors.
	truncate -s 3000001 holes.raw
	for i in 0 5 9 40; do
		noise 70000 | dd of=holes.raw bs=65536 seek="$i" conv=notrunc status=none
	done
	img over-holes 4M -b holes.raw -F raw
	some_io 4194304 20
	judge
	use holes holes.raw
	judge_probed

	base=holes.raw format=raw
	for ((i = 1; i <= 20; i++)); do
		case $((i % 5)) in
		0) opts=cluster_size=512 ;;
		1) opts=cluster_size=64k ;;
		2) opts=extended_l2=on,cluster_size=16k ;;
		3) opts=cluster_size=4k,compat=0.10 ;;
		4) opts=cluster_size=2M ;;
		esac
		size=$((2000000 + i * 777777 % 3000000))
		size=$((size / 512 * 512))
		img "deep-$i" "$size" -b "$base" -F "$format" -o "$opts"
		some_io "$size" 12
		if [ $((i % 3)) = 0 ]; then
			io 'write -c -P 1 1M 512' || :
		fi
		judge
		base=deep-$i.qcow2 format=qcow2
	done

	# The base is preallocated, so that QEMU asks for holes in the middle.
	img prealloc-base 4M -o preallocation=metadata
	io 'write -P 1 1M 100k'
	img prealloc-top 4M -b prealloc-base.qcow2 -F qcow2 -o cluster_size=4k
	some_io 4194304 10
	judge
	img prealloc-random 64M -o cluster_size=4k,preallocation=metadata
	some_io 67108864 150
	judge
	img prealloc-extended 8M -o extended_l2=on,cluster_size=32k,preallocation=metadata
	some_io 8388608 50
	judge

	# Compressed beside plain data, with and without sub-clusters.
	for i in 4k 64k; do
		img "mixed-$i" 4M -o "cluster_size=$i"
		io "write -c -P 1 0 $i" "write -P 2 $i 128k" "write -c -P 3 1M $i" 'write -z 2M 1M'
		judge
	done
	for ((i = 1; i <= 12; i++)); do
		img "random-$i" 8M -o "cluster_size=$((512 << (i % 8)))"
		some_io 8388608 60
		[ "$i" -lt 7 ] || snap one
		some_io 8388608 30
		judge
	done
}
