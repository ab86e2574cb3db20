# images-layers.sh - chains of many kinds.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

# layer NAME BASE FORMAT SIZE [argument...]: an empty overlay becomes current.
layer() {
	cur=$1
	f=$cur.qcow2
	qemu-img create -q -f qcow2 -b "$2" -F "$3" "${@:5}" "$f" "$4"
}

images_layers() {
	local c base n

	pattern 3000000 >text
	for n in 1 511 512 513 65536 1000001 2999999; do
		head -c "$n" text >"base-$n.raw"
		layer "raw-$n" "base-$n.raw" raw 1M
		judge
		io 'write -P 1 100k 3k' 'write -z 500k 100k'
		judge
	done
	# Every size of clusters over every other.
	img mixed-base 3M -o cluster_size=64k
	io 'write -P 11 0 3M' 'write -z 1M 64k' 'discard 2M 256k'
	base=$f
	for c in 512 1k 4k 16k 128k 2M; do
		layer "mixed-$c" "$base" qcow2 3M -o "cluster_size=$c"
		io "write -P 3 $((RANDOM % 1)) 700" 'write -P 4 1000k 100k' 'write -z 2500k 200k' \
			'write -c -P 5 2M 2M' 2>/dev/null || io 'write -P 3 0 700' 'write -P 4 1000k 100k' 'write -z 2500k 200k'
		base=$f
		judge
	done
	for c in 16k 64k 2M; do
		layer "mixed-extended-$c" "$base" qcow2 3M -o "extended_l2=on,cluster_size=$c"
		io 'write -P 3 512 512' 'write -P 4 1000k 100k' 'write -z 2500k 2k' 'write -z 512k 512k'
		base=$f
		judge
	done
	# Twenty layers.
	qemu-img convert -f raw -O qcow2 -c text deep-0.qcow2
	for n in $(seq 1 20); do
		layer "deep-$n" "deep-$((n - 1)).qcow2" qcow2 3M -o "cluster_size=$((n % 2 ? 4 : 64))k"
		io "write -P $n $((n * 100))k 70k" "write -z $((n * 130))k 5k"
	done
	judge
	# Layers that end before the next one begins to matter.
	layer short-mid deep-20.qcow2 qcow2 1M
	io 'write -P 1 0 4k'
	layer short-top short-mid.qcow2 qcow2 4M
	judge
	io 'write -P 2 2M 64k'
	judge
	# Compressed clusters that are covered in part.
	for c in zlib zstd; do
		qemu-img convert -f raw -O qcow2 -c -o "compression_type=$c,cluster_size=128k" text "packed-$c.qcow2"
		layer "over-packed-$c" "packed-$c.qcow2" qcow2 3M -o cluster_size=4k
		io 'write -P 1 60k 8k' 'write -P 2 1M 4k' 'write -z 1500k 100k'
		judge
	done
	# Names with a colon, a protocol, a folder.
	mkdir -p sub
	cp deep-0.qcow2 "sub/with:colon.qcow2"
	layer colon "./sub/with:colon.qcow2" qcow2 3M
	judge
	layer protocol "file:deep-0.qcow2" qcow2 3M
	judge
	(cd sub && qemu-img create -q -f qcow2 -b "./with:colon.qcow2" -F qcow2 in-sub.qcow2)
	layer relative sub/in-sub.qcow2 qcow2 3M
	judge
	keep_backing
}

# The upper part of a chain, over the lower one.
keep_backing() {
	local n options rc

	for n in 1 2 7 20; do
		for options in '' '--cluster-size 512' '--cluster-size 2M' '--extended-l2' '--compat 0.10' '-c zstd'; do
			cur="keep-$n$options"
			rm -f kept.qcow2
			# shellcheck disable=SC2086
			try "--keep-backing $n $options" "$DUMP" -O qcow2 --verify --keep-backing "$n" $options deep-20.qcow2 kept.qcow2
			try "qemu-img check, $n $options" qemu-img check -q kept.qcow2
			try "our check, $n $options" "$FSCK" -q kept.qcow2
			try "the same, $n $options" qemu-img compare -q kept.qcow2 deep-20.qcow2
			verdict "$([ "$(qemu-img info --output=json kept.qcow2 | jq -r '."backing-filename"')" = "deep-$((20 - n)).qcow2" ] &&
				echo 0 || echo 1)" 'another backing file'
		done
	done
	# By its file, whatever the path or link to it.
	cur=keep-by-name
	ln -s ../deep-18.qcow2 sub/link.qcow2
	ln -s deep-18.qcow2 7
	for n in deep-18.qcow2 ./sub/../deep-18.qcow2 "$PWD/deep-18.qcow2" sub/link.qcow2 ./7; do
		rm -f kept.qcow2
		try "--keep-backing=$n" "$DUMP" -O qcow2 --keep-backing="$n" deep-20.qcow2 kept.qcow2
		try "the same, $n" qemu-img compare -q kept.qcow2 deep-20.qcow2
		verdict "$([ "$(qemu-img info --output=json kept.qcow2 | jq -r '."backing-filename"')" = deep-18.qcow2 ] &&
			echo 0 || echo 1)" "another backing file, $n"
	done
	rm -f 7 kept.qcow2
	for n in deep-20.qcow2 nowhere.qcow2 21 ''; do
		rc=0
		"$DUMP" -O qcow2 --keep-backing="$n" deep-20.qcow2 kept.qcow2 2>err || rc=$?
		verdict "$([ $rc = 8 ] && grep -q 'is not a layer' err && [ ! -e kept.qcow2 ] && echo 0 || echo 1)" "'$n': $(cat err)"
	done
	# The result finds it from another folder, too.
	cur=keep-elsewhere
	mkdir -p elsewhere/deeper
	try 'into another folder' "$DUMP" -O qcow2 --keep-backing 2 deep-20.qcow2 elsewhere/deeper/kept.qcow2
	try 'the same, from another folder' qemu-img compare -q elsewhere/deeper/kept.qcow2 deep-20.qcow2
	cp deep-1.qcow2 elsewhere/deep-1.qcow2
	cp deep-0.qcow2 elsewhere/a:b.qcow2
	(cd elsewhere && qemu-img rebase -u -f qcow2 -b ./a:b.qcow2 -F qcow2 deep-1.qcow2)
	try 'beside a name with a colon' "$DUMP" -O qcow2 --keep-backing 1 elsewhere/deep-1.qcow2 elsewhere/kept.qcow2
	try 'the same, beside a name with a colon' qemu-img compare -q elsewhere/kept.qcow2 deep-1.qcow2
	# In the middle a layer is too short: what is below must stay hidden.
	cur=keep-short
	for options in '' '--compat 0.10' '--extended-l2'; do
		rm -f kept.qcow2
		# shellcheck disable=SC2086
		try "short, $options" "$DUMP" -O qcow2 --keep-backing 2 $options short-top.qcow2 kept.qcow2
		try "the same, short, $options" qemu-img compare -q kept.qcow2 short-top.qcow2
	done
}
