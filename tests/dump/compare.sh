# compare.sh - dump one image with both tools; judge the differences.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

# Larger disks are not written out as raw files.
RAW_MAX=$((96 << 20))

# Options of the fresh images; each judged image takes the next one.
FRESH=(
	''
	'-c zlib'
	'-c zstd'
	'--cluster-size 512'
	'--cluster-size 4K -c zlib:1'
	'--compat 0.10'
	'--refcount-bits 1 -c zlib'
	'--refcount-bits 64 --cluster-size 512 -c zstd'
	'--extended-l2'
	'--cluster-size 2M'
	'--extended-l2 --cluster-size 16K -c zlib'
	'--cluster-size 2M -c zstd:1'
	'--refcount-bits 2 --cluster-size 1K -c zlib:12'
	'--compat 0.10 -c zlib --cluster-size 8K'
	'--threads 1 -c zlib --cluster-size 128K'
	'--refcount-bits 8 --cluster-size 1M'
)

# verdict STATUS WHAT: counts a test.
verdict() {
	if [ "$1" = 0 ]; then
		echo passed >>results
	else
		echo failed >>results
		echo "dump: $group: $cur: $2" >>complaints
	fi
}

# try WHAT COMMAND...: the command must succeed.
try() {
	local what=$1 rc=0
	shift
	timeout 60 "$@" >try.out 2>&1 || rc=$?
	verdict "$rc" "$what ($rc): $(tail -n 1 try.out | cut -c 1-200)"
}

# The image for qemu-img, and what ours needs to know besides its name.
theirs=()
extra=()

# judge_with: the image that `theirs` and `extra` say.
judge_with() {
	local size rc=0 ours=0
	count=$((count + 1))
	rm -f got.raw want.raw
	size=$(qemu-img info --output=json "${theirs[@]}" 2>/dev/null | jq '."virtual-size"') || size=
	if [ "${size:-0}" -gt $RAW_MAX ]; then
		judge_large
		return
	fi
	timeout 60 qemu-img convert -O raw "${theirs[@]}" want.raw 2>want.err || rc=$?
	timeout 60 "$DUMP" "${extra[@]}" "$f" got.raw 2>got.err || ours=$?
	if [ $rc != 0 ]; then
		judge_refusal "$ours"
	elif [ $ours != 0 ]; then
		judge_stricter
	else
		try 'the raw disks differ' cmp want.raw got.raw
		judge_fresh
	fi
	rm -f got.raw want.raw
}

# qemu-img cannot read it.  If ours can, what it reads must be what there was before
# the damage was done.
judge_refusal() {
	if [ "$1" = 0 ] && [ -n "$origin" ]; then
		qemu-img convert -f qcow2 -O raw "$origin" want.raw
		try "qemu-img refuses it ($(tail -n 1 want.err)), ours reads something else" cmp want.raw got.raw
		return
	fi
	verdict "$([ "$1" = 8 ] && echo 0 || echo 1)" "qemu-img refuses it ($(tail -n 1 want.err)), ours returns $1"
	verdict "$([ ! -e got.raw ] && [ ! -e got.raw.part ] && echo 0 || echo 1)" 'a file was left'
}

# Ours refuses what qemu-img reads without a word: entries that lead out of the
# file, streams that it cuts off.  It must say where, and salvage the same.
judge_stricter() {
	verdict "$(grep -q 'guest range [0-9]* to [0-9]* of .*\.qcow2.: ' got.err && echo 0 || echo 1)" \
		"refused: $(tail -n 1 got.err)"
	verdict "$([ ! -e got.raw ] && [ ! -e got.raw.part ] && echo 0 || echo 1)" 'a file was left'
	local rc=0
	timeout 60 "$DUMP" "${extra[@]}" --salvage "$f" got.raw 2>got.err || rc=$?
	verdict "$([ $rc = 4 ] && echo 0 || echo 1)" "--salvage returns $rc"
	try 'salvaged disks differ' cmp want.raw got.raw
}

judge_fresh() {
	# Every second image will do.
	[ $((count % 2)) = 0 ] || return 0
	local options=${FRESH[$((count / 2 % ${#FRESH[@]}))]} raw
	rm -f fresh.qcow2
	# shellcheck disable=SC2086
	try "-O qcow2 $options" "$DUMP" "${extra[@]}" --drop-bitmaps -O qcow2 $options "$f" fresh.qcow2
	[ -e fresh.qcow2 ] || return 0
	try "qemu-img check of $options" qemu-img check -q -f qcow2 fresh.qcow2
	try "our check of $options" "$FSCK" -q --data fresh.qcow2
	try "qemu-img compare of $options" qemu-img compare -q -f qcow2 -F raw fresh.qcow2 want.raw
	raw=$("$DUMP" --digest -f raw want.raw | cut -c 1-32) || :
	verdict "$([ -n "$raw" ] && [ "$raw" = "$("$DUMP" --digest fresh.qcow2 | cut -c 1-32)" ] && echo 0 || echo 1)" \
		"digests differ, with $options"
}

# A disk that cannot be written as a raw file here.
judge_large() {
	rm -f fresh.qcow2
	try '-O qcow2 of a large disk' "$DUMP" "${extra[@]}" --drop-bitmaps -O qcow2 --cluster-size 2M --verify "$f" fresh.qcow2
	[ -e fresh.qcow2 ] || return 0
	try 'qemu-img check of a large disk' qemu-img check -q -f qcow2 fresh.qcow2
	try 'our check of a large disk' "$FSCK" -q --data fresh.qcow2
	# This would take qemu-img minutes.
	[ "$size" -lt $((200 << 40)) ] || return 0
	try 'qemu-img compare of a large disk' qemu-img compare -q -f qcow2 -F qcow2 fresh.qcow2 "$f"
}

# The verbs that the images call; dup is make.sh's, and remembers what it copies.
origin=
dup() {
	cur=$1
	f=$cur.qcow2
	origin=$2.qcow2
	cp --sparse=always "$origin" "$f"
}

img() {
	cur=$1
	f=$cur.qcow2
	origin=
	local size=$2
	shift 2
	qemu-img create -q -f qcow2 "$@" "$f" "$size"
}

judge() {
	theirs=(-f qcow2 "$f")
	extra=(--allow-probe)
	judge_with
}

judge_probed() {
	theirs=(-f raw "$f")
	extra=(-f raw)
	judge_with
}

judge_locked() {
	printf sesame >secret
	theirs=(--object "secret,id=key,file=secret" --image-opts
		"driver=qcow2,file.filename=$f,encrypt.key-secret=key")
	extra=(--secret secret --plaintext)
	judge_with
}

skip() {
	echo "dump: $group: left out: $*" >>complaints
}
