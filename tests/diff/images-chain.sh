# images-chain.sh - backing files and external data files.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

# over NAME BASE FORMAT [SIZE [argument...]]: an overlay with some data of its own.
over() {
	local name=$1 base=$2 fmt=$3
	shift 3
	cur=$name
	f=$cur.qcow2
	qemu-img create -q -f qcow2 -b "$base" -F "$fmt" "${@:2}" "$f" ${1:+"$1"}
	io 'write -P 9 0 3000' 'write -P 8 100k 64k' 'write -z 200k 4k'
}

images_chain() {
	img base 2M
	io 'write -P 1 0 1M'
	judge
	pattern 1048576 >base.raw
	head -c 1000001 base.raw >odd.raw

	over chain-qcow2 base.qcow2 qcow2
	judge
	over chain-raw base.raw raw
	judge
	over chain-odd-raw odd.raw raw
	judge
	over chain-longer base.qcow2 qcow2 5M -o cluster_size=4k
	io 'write -P 7 4M 64k'
	judge
	over chain-shorter base.qcow2 qcow2 500k -o cluster_size=4k
	judge
	over chain-v2 base.raw raw 2M -o compat=0.10
	judge
	over chain-extended base.raw raw 2M -o extended_l2=on
	io 'write -P 3 1M 1k' 'discard 1M 512' 'write -z 300k 100k'
	judge
	over chain-third chain-qcow2.qcow2 qcow2
	judge
	over chain-grown base.raw raw
	resize 4M
	judge
	over chain-snapshot base.raw raw 2M -o cluster_size=4k
	snap one
	io 'write -P 3 0 10k'
	judge
	over chain-prealloc base.raw raw 2M -o extended_l2=on,preallocation=metadata
	judge

	over commit-top base.qcow2 qcow2 2M -o cluster_size=4k
	dup commit-base base
	qemu-img rebase -u -f qcow2 -F qcow2 -b commit-base.qcow2 commit-top.qcow2
	qemu-img commit -q -f qcow2 commit-top.qcow2
	judge
	use commit-top
	judge
	over commit-kept commit-base.qcow2 qcow2
	qemu-img commit -q -d -f qcow2 "$f"
	judge
	over rebase-safe base.qcow2 qcow2 2M -o cluster_size=4k
	qemu-img rebase -f qcow2 -F raw -b odd.raw "$f"
	judge
	over rebase-none base.qcow2 qcow2 2M -o cluster_size=4k
	qemu-img rebase -f qcow2 -b '' "$f"
	judge
	conv convert-B chain-qcow2.qcow2 -B base.qcow2 -F qcow2
	judge

	# Ours opens no other file. qemu-img does, and gives up.
	over no-base-qcow2 base.qcow2 qcow2
	qemu-img rebase -u -f qcow2 -F qcow2 -b nowhere.qcow2 "$f"
	judge
	over no-base-raw base.raw raw 2M -o cluster_size=4k
	io 'write -P 3 1M 100k'
	qemu-img rebase -u -f qcow2 -F raw -b nowhere.raw "$f"
	judge
	over no-base-below chain-third.qcow2 qcow2
	qemu-img rebase -u -f qcow2 -F qcow2 -b no-base-raw.qcow2 "$f"
	judge
}

# external NAME SIZE OPTIONS: an image with a data file NAME.data.
external() {
	img "$1" "$2" -o "data_file=$1.data,$3"
}

images_external() {
	local c

	for c in 512 64k 2M; do
		external "data-$c" 4M "cluster_size=$c"
		io 'write -P 1 0 100k' 'write -z 1M 64k' 'write -P 2 3M 64k' 'discard 0 16k'
		judge
		external "data-raw-$c" 4M "cluster_size=$c,data_file_raw=on"
		io 'write -P 1 0 100k' 'write -z 1M 64k' 'write -P 2 3M 64k' 'discard 0 16k'
		judge
	done
	external data-empty 4M cluster_size=4k
	judge
	external data-raw-empty 4M data_file_raw=on
	judge
	external data-prealloc 4M cluster_size=4k,preallocation=metadata
	judge
	external data-raw-prealloc 4M data_file_raw=on,preallocation=falloc
	judge
	# The file of the tables is so sparse that holes of the other are looked for.
	external data-raw-sparse 8M cluster_size=1M,data_file_raw=on
	io 'write -P 1 3M 64k'
	fallocate --dig-holes "$f"
	judge
	external data-extended 4M extended_l2=on
	io 'write -P 1 0 3k' 'write -z 1M 2k' 'write -P 2 3M 64k'
	judge
	external data-grown 1M cluster_size=4k
	io 'write -P 1 0 1M'
	resize 6M
	io 'write -P 1 5M 4k'
	judge
	external data-bitmap 4M cluster_size=4k
	bm --add b0
	io 'write -P 1 0 1M'
	judge
	external data-width-1 4M cluster_size=4k,refcount_bits=1
	io 'write -P 1 0 1M'
	judge

	external no-data-file 4M cluster_size=4k
	io 'write -P 1 0 1M'
	rm "$cur.data"
	judge
}
