# shellcheck shell=bash
# goals-product.sh - what a run of each program costs before it does anything, and how
# large the static ones are, for bench.sh.
#
# SPDX-License-Identifier: MIT

# start_rows NAME PROGRAM ARGUMENT...: with the sandbox, which is the default, and
# without.  The floor of the one is the other.
start_rows() {
	local name=$1 key=start-$1 plain more
	local RUNS=$((10 * RUNS + 1)) # a run is short
	shift

	timed "$key" '0 0' -- "$@" ::: "$1" --no-sandbox "${@:2}"
	plain=$(figure "$key" 2 wall)
	row "$name, 1 MiB: wall" s - "$(figure "$key" 1 wall)" "$plain" - 0.005 '<= 5 ms'
	more=$(awk -v a="$(figure "$key" 1 wall)" -v b="$plain" \
		'BEGIN { printf "%.6f", (a > b) ? a - b : 0 }')
	row "$name: its sandbox" s - "$more" - - 0.003 '<= 3 ms'
}

goals_product() {
	local small=$DIR/small.qcow2 program static=${BUILD%/*}/static/bin

	wanted small || return 0
	qemu-img create -q -f qcow2 "$small" 1M
	start_rows qcow2-fsck "$FSCK" "$small"
	start_rows qcow2-map "$MAP" "$small"
	start_rows qcow2-dump "$DUMP" --digest "$small"
	rm -f -- "$small"
	for program in "$static"/qcow2-*; do
		[[ ! -f $program ]] || row "static ${program##*/}: size" KiB - \
			$(($(stat -c %s "$program") / 1024)) - - 4096 '<= 4 MiB'
	done
}
