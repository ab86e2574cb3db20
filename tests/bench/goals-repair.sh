# shellcheck shell=bash
# goals-repair.sh - the goals of repairing with `qcow2-fsck`, for bench.sh, against
# qemu-img check -r.
#
# SPDX-License-Identifier: MIT
#
# Each run damages the image, or a fresh copy of one, and repairs it: both programs
# pay for that alike.

# zeros FILE OFFSET BYTES: a command that overwrites this part.
zeros() { echo "head -c $3 /dev/zero | dd of=$1 bs=1 seek=$2 conv=notrunc status=none"; }

be64() { # FILE OFFSET
	od -An -tu8 --endian=big -j "$2" -N 8 "$1" | tr -d ' '
}

# repair_row KEY FIGURE UNIT WHAT LIMIT GOAL: peer, ours and no floor.
repair_row() {
	row "$4" "$3" "$(figure "$1" 1 "$2")" "$(figure "$1" 2 "$2")" - \
		"${7:-peer}" "$5" "$6"
}

repair_refcounts() {
	local key=rebuild-seq1t theirs=$DIR/theirs.qcow2 ours=$DIR/ours.qcow2 limit

	cp --sparse=always "$IMAGE" "$theirs"
	cp --sparse=always "$IMAGE" "$ours"
	# What qemu-img returns is its own matter: where it gives up, its time is
	# what it took until then.
	timed "$key" 'any 1' -n $((RUNS < 3 ? RUNS : 3)) -- \
		sh -c "$(zeros "$theirs" 48 8); exec qemu-img check -q -r all $theirs" ::: \
		sh -c "$(zeros "$ours" 48 8); exec $FSCK -q -y --no-journal $ours"
	repair_row "$key" wall s 'all refcounts of 1 TiB made anew: wall' 0.2 '<= 1/5 of qemu-img'
	# The new blocks are 32 MiB, held as pages and as edits.
	limit=$(((64 + 2 * 32) * 1024))
	row 'all refcounts of 1 TiB made anew: memory' KiB "$(figure "$key" 1 rss)" \
		"$(figure "$key" 2 rss)" - - "$limit" '<= 64 MiB and the plan'
	rm -f -- "$theirs" "$ours"
}

repair_leaks() {
	local key=leaks-rand64g theirs=$DIR/theirs.qcow2 ours=$DIR/ours.qcow2 l1

	l1=$(be64 "$IMAGE" 40)
	sh -c "$(zeros "$IMAGE" "$l1" $((8 * $(od -An -tu4 --endian=big -j 36 -N 4 "$IMAGE"))))"
	timed "$key" '0 1' -n $((RUNS < 3 ? RUNS : 3)) -- \
		sh -c "cp --sparse=always $IMAGE $theirs; exec qemu-img check -q -r leaks $theirs" ::: \
		sh -c "cp --sparse=always $IMAGE $ours; exec $FSCK -q -y --free-orphans --no-journal $ours"
	repair_row "$key" wall s '1,000,000 leaks freed: wall' 0.05 '<= 1/20 of qemu-img'
	rm -f -- "$theirs" "$ours"
}

goals_repair() {
	if wanted seq1t; then
		image seq1t
		repair_refcounts
		rm -f -- "$IMAGE"
	fi
	if wanted rand64g; then
		image rand64g
		repair_leaks
		rm -f -- "$IMAGE"
	fi
}
