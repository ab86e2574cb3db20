# shellcheck shell=bash
# goals-dump.sh - the goals of `qcow2-dump`, for bench.sh: against qemu-img
# convert and cp, on a disk of real files.
#
# SPDX-License-Identifier: MIT

# BENCH_DISK is the size of the disk in bytes; the images need five times that.
: "${BENCH_DISK:=$((2 << 30))}"

# dump_row KEY FIGURE UNIT WHAT LIMIT GOAL: a row about a peer and ours.
dump_row() {
	row "$4" "$3" "$(figure "$1" 1 "$2")" "$(figure "$1" 2 "$2")" - \
		peer "$5" "$6"
}

# both KEY OPTIONS LIMIT GOAL OUT PEER... ::: OURS...
# Times two commands that write OUT, which is removed before each run.
both() {
	local key=$1 options=$2 limit=$3 goal=$4 out=$5
	local -a peer=()

	shift 5
	while [[ $1 != ::: ]]; do
		peer+=("$1")
		shift
	done
	shift
	# shellcheck disable=SC2016,SC2086
	timed "$key" '0 0' $options -- \
		sh -c 'rm -f "$0"; exec "$@"' "$out" "${peer[@]}" ::: \
		sh -c 'rm -f "$0"; exec "$@"' "$out" "$@"
	dump_row "$key" wall s "${key#dump-}: wall" "$limit" "$goal"
	row "${key#dump-}: memory" KiB - "$(figure "$key" 2 rss)" - - \
		$((64 * 1024)) '<= 64 MiB'
	rm -f -- "$out"
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

dump_compress() { # METHOD PART
	local theirs=$DIR/theirs-$1.qcow2 ours=$DIR/ours.qcow2

	both "dump-to-$1" '-n 2 -w 0' "$(awk -v n="$2" 'BEGIN { print 1 / n }')" \
		"<= 1/$2 of qemu-img" "$ours" \
		qemu-img convert -f raw -O qcow2 -c -o "compression_type=$1" \
		"$DIR/disk.raw" "$ours" ::: \
		"$DUMP" --no-sync -f raw -O qcow2 -c "$1" "$DIR/disk.raw" "$ours"
	qemu-img convert -f raw -O qcow2 -c -o "compression_type=$1" "$DIR/disk.raw" "$theirs"
	"$DUMP" --no-sync -f raw -O qcow2 -c "$1" "$DIR/disk.raw" "$ours"
	size_row "to-$1: size" "$theirs" "$ours"
	rm -f -- "$ours"
}

dump_inflate() { # METHOD LIMIT GOAL
	both "dump-from-$1" '' "$2" "$3" "$DIR/out.raw" \
		qemu-img convert -W -m 16 -f qcow2 -O raw "$DIR/theirs-$1.qcow2" "$DIR/out.raw" ::: \
		"$DUMP" --no-sync "$DIR/theirs-$1.qcow2" "$DIR/out.raw"
	rm -f -- "$DIR/theirs-$1.qcow2"
}

dump_plain() {
	local plain=$DIR/plain.qcow2

	qemu-img convert -f raw -O qcow2 "$DIR/disk.raw" "$plain"
	both dump-plain '' 0.769 '<= 1/1.3 of qemu-img' "$DIR/out.raw" \
		qemu-img convert -f qcow2 -O raw "$plain" "$DIR/out.raw" ::: \
		"$DUMP" --no-sync "$plain" "$DIR/out.raw"
	both dump-cp '' 1 '<= cp' "$DIR/out.raw" \
		cp --sparse=always "$DIR/disk.raw" "$DIR/out.raw" ::: \
		"$DUMP" --no-sync "$plain" "$DIR/out.raw"
	both dump-synced '' - '(shown: cp and sync)' "$DIR/out.raw" \
		sh -c 'cp --sparse=always "$0" "$1" && sync "$1"' "$DIR/disk.raw" "$DIR/out.raw" ::: \
		"$DUMP" "$plain" "$DIR/out.raw"
	rm -f -- "$plain"
}

# 1 GiB of data in a sparse disk of 1 TiB; the peer hashes a file of 1 GiB.
dump_digest() {
	local sparse=$DIR/sparse.qcow2 flat=$DIR/flat.raw i

	head -c 1G "$DIR/disk.raw" >"$flat"
	qemu-img create -q -f qcow2 "$sparse" 1T
	for ((i = 0; i < 1024; i++)); do
		echo "write -P $((i % 250 + 1)) $((i * 1024 + i % 7 * 3))M 1M"
	done | qemu-io -f qcow2 -t unsafe "$sparse" >/dev/null
	timed dump-digest '0 0' -- xxhsum -H128 "$flat" ::: "$DUMP" --digest "$sparse"
	dump_row dump-digest wall s 'digest of 1 TiB: wall' 1.3 '<= 1.3 x xxhsum of 1 GiB'
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
	rm -f -- "$DIR/disk.raw"
	dump_digest
}
