# images-snap.sh - internal snapshots, each at its own size.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

# judge_snaps: every snapshot, against a copy that was reverted to it: exporting
# one directly, qemu-img gives it the size that the disk has now.
judge_snaps() {
	local s
	while IFS= read -r s; do
		cp --sparse=always "$f" reverted.qcow2
		qemu-img snapshot -a "$s" reverted.qcow2
		rm -f got.raw want.raw
		qemu-img convert -f qcow2 -O raw reverted.qcow2 want.raw
		try "--snapshot $s" "$DUMP" --snapshot "$s" "$f" got.raw
		try "--snapshot $s: bytes" cmp want.raw got.raw
		rm -f fresh.qcow2
		try "--snapshot $s as QCOW2" "$DUMP" -O qcow2 -c zlib --verify --snapshot "$s" "$f" fresh.qcow2
		try "--snapshot $s as QCOW2: the same" qemu-img compare -q fresh.qcow2 reverted.qcow2
	done < <(qemu-img info --output=json "$f" | jq -r '.snapshots[].name')
}

images_snap() {
	local rc=0

	img grown 2M -o cluster_size=4k
	io 'write -P 1 0 2M'
	snap small
	resize 9M
	io 'write -P 2 8M 64k' 'write -P 2 0 64k'
	snap large
	io 'discard 0 1M'
	judge_snaps
	judge
	img shrunk 9M -o cluster_size=4k
	io 'write -P 1 0 1M' 'write -P 1 8M 1M'
	snap large
	resize --shrink 2M
	io 'write -P 2 0 64k'
	snap small
	judge_snaps
	judge
	img extended 3M -o extended_l2=on
	io 'write -P 1 0 1k' 'write -z 4k 2k'
	snap one
	resize 4M
	io 'write -P 2 512 512' 'write -P 3 3500k 64k'
	snap two
	judge_snaps
	rc=0
	"$DUMP" --snapshot nobody "$f" out.raw 2>err || rc=$?
	verdict "$([ $rc = 8 ] && grep -q "no snapshot 'nobody'" err && [ ! -e out.raw ] && echo 0 || echo 1)" "unknown snapshot: $rc"
}
