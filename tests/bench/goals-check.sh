# shellcheck shell=bash
# goals-check.sh - the goals of `qcow2-fsck -n`, for bench.sh: against qemu-img
# check, against the floor, and on hostile images.
#
# SPDX-License-Identifier: MIT

# check_part KIND: one part in how much of qemu-img's time a check may take.
check_part() {
	case $1 in
	seq1t) echo 10 ;;
	rand64g) echo 300 ;;
	snap1t) echo 100 ;;
	esac
}

# check_row KEY FIGURE UNIT WHAT REFERENCE LIMIT GOAL
# A row about three commands: the peer, ours and the floor.
check_row() {
	row "$4" "$3" "$(figure "$1" 1 "$2")" "$(figure "$1" 2 "$2")" \
		"$(figure "$1" 3 "$2")" "$5" "$6" "$7"
}

check_warm() {
	local kind=$1 key=check-$1 part limit

	timed "$key" '0 0 0' -- qemu-img check "$IMAGE" ::: \
		"$FSCK" -n "$IMAGE" ::: "$FLOOR" "$IMAGE"
	part=$(check_part "$kind")
	limit=$(awk -v n="$part" 'BEGIN { printf "%.9f", 1 / n }')
	check_row "$key" wall s "$kind check: wall" \
		peer "$limit" "<= 1/$part of qemu-img"
	check_row "$key" cpu s "$kind check: CPU" floor 2 '<= 2 x floor'
	limit=$(($(fact host_clusters) / 1024 + 16384)) # one byte for each
	check_row "$key" rss KiB "$kind check: memory" \
		- "$limit" "<= $((limit / 1024)) MiB (clusters + 16)"
	[[ $kind == seq1t ]] || return 0
	check_row "$key" rss KiB "$kind check: memory" \
		- $((24 * 1024)) '<= 24 MiB'
}

check_cold() {
	local kind=$1 key=cold-$1 limit=- goal='(shown)'
	local what="$kind check: cold, wall"

	[[ $kind != seq1t ]] || limit=1.3 goal='<= 1.3 x plain read'
	if ! can_drop_caches; then
		row "$what" s - - - floor "$limit" "$goal (not possible here)"
		return
	fi
	timed "$key" '0 0 0' -c -w 0 -- qemu-img check "$IMAGE" ::: \
		"$FSCK" -n "$IMAGE" ::: "$FLOOR" --read "$IMAGE"
	check_row "$key" wall s "$what" floor "$limit" "$goal"
}

# What is said about them is a matter for the tests.
check_hostile() {
	local kind=$1 key=hostile-$1

	timed "$key" any -n $((RUNS < 3 ? RUNS : 3)) -t 10 -- \
		"$FSCK" -n "$IMAGE"
	row "hostile $kind: wall" s - "$(figure "$key" 1 wall)" - \
		- 2 '<= 2 s'
	row "hostile $kind: memory" KiB - "$(figure "$key" 1 rss)" - \
		- $((64 * 1024)) '<= 64 MiB'
}

goals_check() {
	local kind

	for kind in seq1t rand64g snap1t; do
		wanted "$kind" || continue
		image "$kind"
		check_warm "$kind"
		check_cold "$kind"
		rm -f -- "$IMAGE"
	done
	for kind in l1max sparse8e snaps65535 rt8m l1alias l2alias; do
		wanted "$kind" || continue
		image "$kind"
		check_hostile "$kind"
		rm -f -- "$IMAGE"
	done
}
