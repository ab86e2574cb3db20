# shellcheck shell=bash
# goals-map.sh - the goals of qcow2-map, for bench.sh: against qemu-img map and
# measure.
#
# SPDX-License-Identifier: MIT

# map_row KEY FIGURE UNIT WHAT REFERENCE LIMIT GOAL
# A row about three commands: the peer, ours, and the bare loop that only reads.
map_row() {
	row "$4" "$3" "$(figure "$1" 1 "$2")" "$(figure "$1" 2 "$2")" \
		"$(figure "$1" 3 "$2")" "$5" "$6" "$7"
}

# own_row KEY FIGURE UNIT WHAT LIMIT GOAL: there is no peer, and the limit is for
# ours itself.
own_row() {
	row "$4" "$3" - "$(figure "$1" 1 "$2")" "$(figure "$1" 2 "$2")" - "$5" "$6"
}

map_extents() {
	local kind=$1 part=$2 key=map-$1

	timed "$key" '0 0 0' -- qemu-img map --output=json "$IMAGE" ::: \
		"$MAP" --output=qemu "$IMAGE" ::: "$FLOOR" --map "$IMAGE"
	map_row "$key" wall s "$kind map: wall" peer \
		"$(awk -v n="$part" 'BEGIN { printf "%.9f", 1 / n }')" "<= 1/$part of qemu-img"
	map_row "$key" rss KiB "$kind map: memory" - $((16 * 1024)) '<= 16 MiB'
}

map_measure() {
	local kind=$1 key=measure-$1

	timed "$key" '0 0 0' -- qemu-img measure --output=json -O qcow2 "$IMAGE" ::: \
		"$MAP" measure --output=qemu -O qcow2 "$IMAGE" ::: "$FLOOR" --map "$IMAGE"
	map_row "$key" wall s "$kind measure: wall" peer 0.1 '<= 1/10 of qemu-img'
}

# Two bytes for each host cluster, and 16 MiB. qemu-img has nothing of the kind.
map_snapshots() {
	local limit

	timed map-snap1t '0 0' -- "$MAP" snapshots "$IMAGE" ::: "$FLOOR" "$IMAGE"
	own_row map-snap1t wall s 'snap1t snapshots: wall' 0.5 '<= 0.5 s'
	limit=$(($(fact host_clusters) * 2 / 1024 + 16384))
	own_row map-snap1t rss KiB 'snap1t snapshots: memory' "$limit" \
		"<= $((limit / 1024)) MiB (2 x clusters + 16)"
}

# 10,000 small images: 1,000 chains of ten, and one base below them all; then ten
# times that.
map_audit() {
	local folder=$DIR/many chain=$DIR/many/0000 i

	say 'audit: making 10,000 images'
	mkdir -p "$chain"
	qemu-img create -q -f qcow2 -o cluster_size=512 "$folder/base.qcow2" 1M
	for ((i = 0; i < 10; i++)); do
		qemu-img create -q -f qcow2 -u -o cluster_size=512 -F qcow2 \
			-b "$( ((i)) && echo "$((i - 1)).qcow2" || echo ../base.qcow2)" "$chain/$i.qcow2" 1M
	done
	for i in {0001..0999}; do
		cp -r "$chain" "$folder/$i"
	done
	timed map-audit '0 0' -- "$MAP" audit --output=ndjson "$folder" ::: "$FLOOR" --files "$folder"
	own_row map-audit cpu s '10,000 images audit: CPU' 2 '<= 2 s (5,000/s on one core)'
	say 'audit: making 100,000 images'
	for i in {1..9}; do
		cp -r "$folder" "$DIR/many-$i"
	done
	timed map-audit-100k 0 -- "$MAP" audit --output=ndjson "$folder" "$DIR"/many-[1-9]
	row '100,000 images audit: CPU' s - "$(figure map-audit-100k 1 cpu)" - - 20 \
		'<= 20 s (5,000/s on one core)'
	rm -rf "$folder" "$DIR"/many-[1-9]
}

goals_map() {
	local kind part

	for kind in seq1t rand64g; do
		wanted "$kind" || continue
		part=10
		[[ $kind == seq1t ]] || part=6
		image "$kind"
		map_extents "$kind" "$part"
		map_measure "$kind"
		rm -f -- "$IMAGE"
	done
	wanted many && map_audit
	wanted snap1t || return 0
	image snap1t
	map_snapshots
	rm -f -- "$IMAGE"
}
