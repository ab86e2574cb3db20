# shellcheck shell=bash
# goals-dump.sh - the goals of `qcow2-dump`, for bench.sh: against qemu-img
# convert and cp, on a disk of real files.
#
# SPDX-License-Identifier: MIT

# BENCH_DISK is the size of the disk in bytes; the images need five times that.
: "${BENCH_DISK:=$((2 << 30))}"

# dump_row KEY FIGURE UNIT WHAT LIMIT GOAL: a row about a peer and ours, and the
# floor where one was measured.
dump_row() {
	local floor
	floor=$(figure "$1" 3 "$2")
	row "$4" "$3" "$(figure "$1" 1 "$2")" "$(figure "$1" 2 "$2")" "${floor:--}" \
		peer "$5" "$6"
}

# both KEY OPTIONS LIMIT GOAL SOURCE THEIRS OURS PEER... ::: OURS...
# both -f KEY ...: with the bare loop that copies the same bytes, which are in $BYTES.
# Times two commands that read SOURCE, which is in the page cache when they start,
# and write THEIRS and OURS, which are removed before. In a virtual machine the
# first to use its memory pays for that, so that a run to warm up is needed where
# seconds count. A machine that is busy with other things gives most of it to the
# program with the most threads: the row of processor time is there to tell.
both() {
	local -a peer=() floor=()
	local status='0 0'

	if [[ $1 == -f ]]; then
		# shellcheck disable=SC2016
		floor=(::: sh -c 'rm -f "$0"; exec "$@"' "$8" "$FLOOR" --copy "$BYTES" "$8")
		status='0 0 0'
		shift
	fi
	local key=$1 options=$2 limit=$3 goal=$4 source=$5 theirs=$6 ours=$7

	shift 7
	while [[ $1 != ::: ]]; do
		peer+=("$1")
		shift
	done
	shift
	# shellcheck disable=SC2016,SC2086
	timed "$key" "$status" $options -p "cat '$source' >/dev/null" -- \
		sh -c 'rm -f "$0"; exec "$@"' "$theirs" "${peer[@]}" ::: \
		sh -c 'rm -f "$0"; exec "$@"' "$ours" "$@" "${floor[@]}"
	dump_row "$key" wall s "${key#dump-}: wall" "$limit" "$goal"
	dump_row "$key" cpu s "${key#dump-}: cpu" - '(shown)'
	row "${key#dump-}: memory" KiB - "$(figure "$key" 2 rss)" - - \
		$((64 * 1024)) '<= 64 MiB'
}

# A stream of real files, as compressible as such are.
make_disk() {
	say 'the disk of real files: making it'
	{ tar -C / -cf - usr/lib usr/share usr/bin usr/include 2>/dev/null || :; } |
		head -c "$BENCH_DISK" >"$DIR/disk.raw" || :
	truncate -s %65536 "$DIR/disk.raw"
	sync "$DIR/disk.raw"
}

# size_row WHAT PEER OURS: bytes of two files.
size_row() {
	row "$1" KiB $(($(stat -c %s "$2") / 1024)) $(($(stat -c %s "$3") / 1024)) - \
		peer 1.02 '<= qemu-img + 2 %'
}

# Compressing takes long, and varies little: once or twice will do.
dump_compress() { # METHOD PART
	local theirs=$DIR/theirs-$1.qcow2 ours=$DIR/ours.qcow2

	both "dump-to-$1" "-w 0 -n $((RUNS < 2 ? RUNS : 2))" \
		"$(awk -v n="$2" 'BEGIN { print 1 / n }')" \
		"<= 1/$2 of qemu-img" "$DIR/disk.raw" "$theirs" "$ours" \
		qemu-img convert -f raw -O qcow2 -c -o "compression_type=$1" \
		"$DIR/disk.raw" "$theirs" ::: \
		"$DUMP" --no-sync -f raw -O qcow2 -c "$1" "$DIR/disk.raw" "$ours"
	size_row "to-$1: size" "$theirs" "$ours"
	rm -f -- "$ours"
}

# What qemu-img has compressed.
dump_inflate() { # METHOD LIMIT GOAL
	local from=$DIR/theirs-$1.qcow2 theirs=$DIR/theirs.raw ours=$DIR/ours.raw

	both "dump-from-$1" '' "$2" "$3" "$from" "$theirs" "$ours" \
		qemu-img convert -W -m 16 -f qcow2 -O raw "$from" "$theirs" ::: \
		"$DUMP" --no-sync "$from" "$ours"
	cmp -s "$theirs" "$ours" || die "from $1: the results differ"
	rm -f -- "$theirs" "$ours"
}

# cp reads no image at all.
dump_plain() {
	local plain=$DIR/plain.qcow2 theirs=$DIR/theirs.raw ours=$DIR/ours.raw
	local BYTES=$DIR/disk.raw

	qemu-img convert -f raw -O qcow2 "$DIR/disk.raw" "$plain"
	both dump-plain '' 0.769 '<= 1/1.3 of qemu-img' "$plain" \
		"$theirs" "$ours" \
		qemu-img convert -f qcow2 -O raw "$plain" "$theirs" ::: \
		"$DUMP" --no-sync "$plain" "$ours"
	cmp -s "$theirs" "$ours" || die 'plain: the results differ'
	both -f dump-cp '' 1 '<= cp' "$plain' '$DIR/disk.raw" \
		"$theirs" "$ours" \
		cp --sparse=always "$DIR/disk.raw" "$theirs" ::: \
		"$DUMP" --no-sync "$plain" "$ours"
	rm -f -- "$plain" "$theirs" "$ours"
}

# 1 GiB of data in a sparse disk of 1 TiB; the peer hashes a file of 1 GiB.
dump_digest() {
	local sparse=$DIR/sparse.qcow2 flat=$DIR/flat.raw i

	head -c 1G "$DIR/disk.raw" >"$flat"
	qemu-img create -q -f qcow2 "$sparse" 1T
	for ((i = 0; i < 1024; i++)); do
		echo "write -P $((i % 250 + 1)) $((i * 1024 + i % 7 * 3))M 1M"
	done | qemu-io -f qcow2 -t unsafe "$sparse" >/dev/null
	timed dump-digest '0 0 0' -w 0 -p "cat '$flat' '$sparse' >/dev/null" -- \
		xxhsum -H128 "$flat" ::: "$DUMP" --digest "$sparse" ::: \
		"$FLOOR" --hash "$flat"
	dump_row dump-digest wall s 'digest of 1 TiB: wall' 1.3 '<= 1.3 x xxhsum of 1 GiB'
	dump_row dump-digest cpu s 'digest of 1 TiB: cpu' - '(shown)'
	row 'digest of 1 TiB: memory' KiB - "$(figure dump-digest 2 rss)" - - \
		$((64 * 1024)) '<= 64 MiB'
	rm -f -- "$sparse" "$flat"
}

goals_dump() {
	wanted disk || return 0
	make_disk
	dump_plain
	dump_compress zlib 4
	dump_compress zstd 2
	dump_inflate zlib 0.3334 '<= 1/3 of qemu-img'
	dump_inflate zstd 0.6667 '<= 1/1.5 of qemu-img'
	dump_digest
	rm -f -- "$DIR"/theirs-*.qcow2 "$DIR/disk.raw"
}
