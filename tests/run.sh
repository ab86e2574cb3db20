#!/usr/bin/env bash
# run.sh - runs every test on the programs in a build folder; one closing line.
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh BUILD_DIR [PART...]     the parts are named below; default: all
# JOBS=N parts run beside each other (default: one for each processor).
set -u

build=$(cd "$1" && pwd)
shift
# The longest come first, so that none is left to run alone.
parts=(fuzz bitflip dump unit builder cases conduct faults diff
	repair orphans repair-cases hostile astray kinds told counts found rescue
	conduct-dump write writer inplace
	map-conduct map-images map-survey map-fleet
	map-lint map-faults docs sandbox map-shard map-pictures map-forecast
	map-readers map-damage calls state pool surroundings big valgrind)
[ $# -gt 0 ] || set -- "${parts[@]}"
here=$(cd "$(dirname "$0")" && pwd)
jobs=${JOBS:-$(nproc)}
logs=$(mktemp -d)
set -m # a group for each part, and no signal ignored in it
trap 'rm -rf "$logs"' EXIT
stop() {
	local group
	for group in $(jobs -rp); do kill -- -"$group"; done
	exit 1
}
trap stop INT TERM HUP
passed=0
failed=0
# No time is asserted: a unit test has 4 seconds else, which is little on a busy machine.
export CK_DEFAULT_TIMEOUT=${CK_DEFAULT_TIMEOUT:-60}

unit() {
	local program p=0 f=0
	for program in "$here"/unit/test_*.c; do
		program=$build/tests/$(basename "$program" .c)
		if ${WRAP:-} "$program" >"$logs/program" 2>&1; then
			p=$((p + 1))
		else
			f=$((f + 1))
			echo "unit: $(basename "$program"):" >&2
			cat "$logs/program" >&2
		fi
	done
	rm -f "$logs/program"
	echo "unit: $p passed, $f failed"
	[ $f = 0 ]
}

part() { # name; each prints its own "NAME: N passed, N failed"
	case $1 in
	unit) unit ;;
	builder) bash "$here/support/selftest.sh" "$build/tests/q2mk" ;;
	cases) bash "$here/cases/run.sh" "$build" ;;
	conduct) bash "$here/conduct/fsck.sh" "$build/bin/qcow2-fsck" ;;
	orphans) bash "$here/conduct/orphans.sh" "$build" ;;
	repair) bash "$here/conduct/repair.sh" "$build" ;;
	repair-cases) bash "$here/repair/cases.sh" "$build" ;;
	hostile) bash "$here/repair/hostile.sh" "$build" ;;
	astray) bash "$here/repair/astray.sh" "$build" ;;
	kinds) bash "$here/repair/kinds.sh" "$build" ;;
	counts) bash "$here/repair/counts.sh" "$build" ;;
	found) bash "$here/repair/found.sh" "$build" ;;
	told) python3 "$here/repair/told.py" "$build" ;;
	rescue) bash "$here/repair/rescue.sh" "$build" ;;
	bitflip) bash "$here/repair/bitflip.sh" "$build" ;;
	faults) bash "$here/conduct/faults.sh" "$build" ;;
	calls) bash "$here/calls/run.sh" "$build" ;;
	fuzz) bash "$here/../fuzz/check.sh" "$build" ;;
	conduct-dump) bash "$here/conduct/dump.sh" "$build" ;;
	dump) bash "$here/dump/run.sh" "$build" ;;
	diff) bash "$here/diff/run.sh" "$build/bin/qcow2-fsck" ;;
	write) bash "$here/write/run.sh" "$build" ;;
	writer) bash "$here/write/single.sh" "$build" ;;
	inplace) bash "$here/write/inplace.sh" "$build" ;;
	map-conduct) bash "$here/conduct/map.sh" "$build/bin/qcow2-map" ;;
	map-images) bash "$here/map/images.sh" "$build/bin/qcow2-map" ;;
	map-survey) bash "$here/map/survey.sh" "$build" ;;
	map-fleet) bash "$here/map/fleet.sh" "$build/bin/qcow2-map" ;;
	map-shard) bash "$here/map/shard.sh" "$build/bin/qcow2-map" ;;
	map-lint) bash "$here/map/lint.sh" "$build" ;;
	docs) bash "$here/docs/run.sh" "$build" ;;
	sandbox) bash "$here/conduct/sandbox.sh" "$build" ;;
	map-pictures) python3 "$here/pictures/run.py" "$build" ;;
	map-forecast) bash "$here/map/forecast.sh" "$build" ;;
	map-readers) bash "$here/map/readers.sh" "$build" ;;
	map-damage) bash "$here/map/damage.sh" "$build" ;;
	valgrind) bash "$here/valgrind.sh" "$build" 25 ;;
	map-faults) bash "$here/map/faults.sh" "$build" ;;
	surroundings) bash "$here/conduct/surroundings.sh" "$build" ;;
	big) bash "$here/portable/big.sh" "$build" ;;
	state) bash "$here/conduct/state.sh" "$build" ;;
	pool) bash "$here/conduct/pool.sh" "$build" ;;
	*) echo "run.sh: no part '$1'" >&2 && return 2 ;;
	esac
}

# Parts run beside each other; what one says is printed whole when it has ended.
one() { # name
	local start=$SECONDS
	part "$1" </dev/null >"$logs/$1.out" 2>&1
	echo $? >"$logs/$1.status"
	flock "$logs" sed "\$s/\$/ ($((SECONDS - start)) s)/" "$logs/$1.out"
}

for name in "$@"; do
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
	one "$name" &
done
wait
for name in "$@"; do
	status=$(cat "$logs/$name.status")
	counts=$(tail -n 1 "$logs/$name.out" | grep -oE '[0-9]+ passed, [0-9]+ failed' | grep -oE '[0-9]+' | tr '\n' ' ')
	read -r p f <<<"$counts"
	# A part that ends without its counts has failed, whatever it says.
	if [ -z "${f:-}" ] || { [ "$status" != 0 ] && [ "$f" = 0 ]; }; then
		echo "$name: ended with status $status" >&2
		f=$((${f:-0} + 1))
	fi
	passed=$((passed + ${p:-0}))
	failed=$((failed + f))
done
echo "total: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
