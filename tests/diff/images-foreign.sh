# images-foreign.sh - images of e2image, on block devices, with a key, not ours.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

images_foreign() {
	local b

	mkdir tree
	pattern 300000 >tree/text
	noise 100000 >tree/noise
	mkdir tree/sub
	echo hello >tree/sub/greeting
	for b in 1024 4096; do
		# The fixed UUID and hash seed make the file system the same every time.
		mkfs.ext4 -q -F -b "$b" -d tree -U 6f1d2b1e-3c55-4a6c-9a0e-0123456789ab \
			-E hash_seed=6f1d2b1e-3c55-4a6c-9a0e-0123456789ab "ext4-$b.raw" 8M
		use "e2image-meta-$b"
		e2image -Q "ext4-$b.raw" "$f" 2>/dev/null
		judge
		use "e2image-all-$b"
		e2image -aQ "ext4-$b.raw" "$f" 2>/dev/null
		judge
	done

	# What lies behind the last cluster on a block device is nobody's concern.
	img tail-zeros 4M
	io 'write -P 1 0 1M'
	cut_at 9M
	judge
	dup tail-garbage tail-zeros
	fill 1700000 3000000
	judge
	img tail-one-byte 4M -o cluster_size=512
	io 'write -P 1 0 100k'
	printf x >>"$f"
	judge
	img tail-sector 4M
	io 'write -P 1 0 100k'
	noise 512 >>"$f"
	judge
	img tail-compressed 4M
	io 'write -c -P 1 0 64k' 'write -c -P 1 1M 64k'
	pattern 70000 >>"$f"
	judge

	pattern 200000 >not-qcow2
	use raw not-qcow2
	judge_probed
	: >empty
	use raw-empty empty
	judge_probed
	img raw-magic 1M
	put 32 magic 0
	judge_probed
}

# on_device NAME: a block device longer than the image on it becomes the
# current one. run.sh detaches what stands in loop-devices, whatever happens.
on_device() {
	truncate -s 9M "$1.disk"
	use "$1" "$(losetup -f --show "$1.disk")"
	echo "$f" >>loop-devices
	qemu-img create -q -f qcow2 -o cluster_size=4k "$f" 4M
}

images_device() {
	local probe

	truncate -s 1M probe.disk
	if ! probe=$(losetup -f --show probe.disk 2>/dev/null); then
		skip 'no loop devices here' device device-written device-garbage
		return
	fi
	losetup -d "$probe"

	on_device device
	judge
	on_device device-written
	io 'write -P 1 0 1M' 'write -c -P 2 2M 4k'
	judge
	on_device device-garbage
	io 'write -P 1 0 1M'
	fill 3000000 5000000
	judge
}

images_key() {
	local i

	# QEMU measures the CPU for the key derivation, and at times cannot.
	cur=luks
	f=luks.qcow2
	for i in {1..60}; do
		qemu-img create -q -f qcow2 --object secret,id=key,data=sesame \
			-o encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10 \
			"$f" 4M 2>luks.err && break
		[ "$i" -lt 60 ]
	done
	judge_locked
	dup luks-written luks
	locked_io 'write -P 1 0 1M' 'write -P 2 3M 64k' 'write -z 2M 64k'
	judge_locked
	dup luks-snapshot luks-written
	snap_locked one
	locked_io 'write -P 3 0 64k'
	judge_locked
	dup luks-compressed luks
	locked_io 'write -c -P 3 0 64k' 'write -P 3 1M 64k'
	judge_locked
	dup luks-no-key luks-written
	judge
	dup luks-long-extension luks-written
	flip $(($(ext_at 0x0537be77) + 8)) 28
	judge_locked
	dup luks-header-leaked luks-written
	add 16 "$(rc_at "$(get 64 "$(ext_at 0x0537be77)")")" 1
	judge_locked
	dup luks-header-free luks-written
	put 16 "$(rc_at "$(get 64 "$(ext_at 0x0537be77)")")" 0
	judge_locked

	cur=aes
	f=aes.qcow2
	if ! qemu-img create -q -f qcow2 --object secret,id=key,data=sesame \
		-o encrypt.format=aes,encrypt.key-secret=key,cluster_size=4k "$f" 4M 2>aes.err; then
		skip 'this qemu-img makes no AES images' aes aes-v2
		return
	fi
	locked_io 'write -P 1 0 1M'
	judge_locked
	use aes-v2
	qemu-img create -q -f qcow2 --object secret,id=key,data=sesame \
		-o compat=0.10,encrypt.format=aes,encrypt.key-secret=key "$f" 4M 2>aes.err
	locked_io 'write -P 1 0 1M'
	judge_locked
}

# The verbs io and snap for images with a key.
locked_io() {
	local args=() c
	for c; do
		args+=(-c "$c")
	done
	qemu-io -t unsafe -d unmap --object secret,id=key,data=sesame --image-opts "${args[@]}" \
		"driver=qcow2,file.filename=$f,encrypt.key-secret=key" >/dev/null
}

snap_locked() {
	qemu-img snapshot --object secret,id=key,data=sesame --image-opts -c "$1" \
		"driver=qcow2,file.filename=$f,encrypt.key-secret=key"
}
