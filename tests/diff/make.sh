# make.sh - how a test image is made: thin verbs over qemu-img and qemu-io.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there
#
# Every verb works on the current image: $cur is its name, $f its file. The
# directory is the group's own, so file names are plain and relative, also
# where they are stored in an image.

# img NAME SIZE [qemu-img create argument...]: a new image becomes the current one.
img() {
	cur=$1
	f=$cur.qcow2
	local size=$2
	shift 2
	qemu-img create -q -f qcow2 "$@" "$f" "$size"
}

# dup NAME FROM: a copy of an image made before becomes the current one.
dup() {
	cur=$1
	f=$cur.qcow2
	cp --sparse=always "$2.qcow2" "$f"
}

# use NAME [FILE]: an image made by other means becomes the current one.
use() {
	cur=$1
	f=${2:-$cur.qcow2}
}

# io COMMAND...: run qemu-io commands; any that fails ends the group.
io() {
	local args=() c
	for c; do
		args+=(-c "$c")
	done
	qemu-io -f qcow2 -t unsafe -d unmap "${args[@]}" "$f" >/dev/null
}

# crash COMMAND...: the same, and then die without closing the image. What is
# neither flushed nor driven out of the caches (of $caches) is lost.
crash() {
	local args=() c
	for c; do
		args+=(-c "$c")
	done
	# The subshell takes the "Aborted" message with it.
	(
		ulimit -c 0
		qemu-io -t writeback -d unmap --image-opts "${args[@]}" -c abort \
			"driver=qcow2,file.filename=$f${caches:+,$caches}"
	) >/dev/null 2>&1 || :
}

# script: run the qemu-io commands on standard input (thousands of them).
script() {
	qemu-io -f qcow2 -t unsafe -d unmap "$f" >/dev/null
}

# pack PATTERN KIB COUNT: compressed clusters of 4 KiB, from that offset on. One
# write for all would have them compressed, and placed, in any order.
pack() {
	local i
	for ((i = 0; i < $3; i++)); do
		echo "write -c -P $1 $(($2 + 4 * i))k 4k"
	done | script
}

# snap NAME..., unsnap NAME...: take and delete internal snapshots.
snap() {
	local s
	for s; do
		qemu-img snapshot -c "$s" "$f"
	done
}

unsnap() {
	local s
	for s; do
		qemu-img snapshot -d "$s" "$f"
	done
}

# resize [qemu-img resize option...] SIZE
resize() {
	local opts=()
	while [ $# -gt 1 ]; do
		opts+=("$1")
		shift
	done
	qemu-img resize -q "${opts[@]}" -f qcow2 "$f" "$1"
}

# bm ARGUMENT...: the last argument is the bitmap, the others go to qemu-img bitmap.
bm() {
	qemu-img bitmap "${@:1:$#-1}" -f qcow2 "$f" "${*: -1}"
}

# conv NAME FROM [qemu-img convert argument...]: convert FROM (a file) to a
# new image, which becomes the current one.
conv() {
	cur=$1
	f=$cur.qcow2
	local from=$2
	shift 2
	qemu-img convert "$@" -O qcow2 "$from" "$f"
}

# pattern LENGTH: that many bytes that never repeat within a sector but do
# compress, the same on every machine.
pattern() {
	seq -f '%013.0f;' 1 $((($1 + 14) / 15)) | tr '\n' '.' | head -c "$1"
}

# noise LENGTH: bytes that do not compress, the same on every machine (the
# "minimal standard" generator, exact in awk's doubles).
noise() {
	printf '%b' "$(awk -v n="$1" 'BEGIN {
		for (x = 1; n > 0; n--) {
			x = (x * 16807) % 2147483647
			printf "\\0%03o", int(x / 128) % 256
		}
	}')"
}
