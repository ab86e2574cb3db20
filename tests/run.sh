#!/usr/bin/env bash
# run.sh - runs every test on the programs in a build folder; one closing line.
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh BUILD_DIR [PART...]     parts: unit builder cases conduct faults diff
set -u

build=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- unit builder cases conduct faults diff
here=$(cd "$(dirname "$0")" && pwd)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0

unit() {
	local program p=0 f=0
	for program in "$here"/unit/test_*.c; do
		program=$build/tests/$(basename "$program" .c)
		if ${WRAP:-} "$program" >"$log.unit" 2>&1; then
			p=$((p + 1))
		else
			f=$((f + 1))
			echo "unit: $(basename "$program"):" >&2
			cat "$log.unit" >&2
		fi
	done
	rm -f "$log.unit"
	echo "unit: $p passed, $f failed"
	[ $f = 0 ]
}

part() { # name; each prints its own "NAME: N passed, N failed"
	case $1 in
	unit) unit ;;
	builder) bash "$here/support/selftest.sh" "$build/tests/q2mk" ;;
	cases) bash "$here/cases/run.sh" "$build" ;;
	conduct) bash "$here/conduct/fsck.sh" "$build/bin/qcow2-fsck" ;;
	faults) bash "$here/conduct/faults.sh" "$build" ;;
	diff) bash "$here/diff/run.sh" "$build/bin/qcow2-fsck" ;;
	*) echo "run.sh: no part '$1'" >&2 && return 2 ;;
	esac
}

for name in "$@"; do
	part "$name" | tee "$log"
	status=${PIPESTATUS[0]}
	counts=$(tail -n 1 "$log" | grep -oE '[0-9]+ passed, [0-9]+ failed' | grep -oE '[0-9]+' | tr '\n' ' ')
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
