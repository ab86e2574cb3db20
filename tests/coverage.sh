#!/usr/bin/env bash
# coverage.sh - which lines and branches of the library the tests reach.
#
# SPDX-License-Identifier: MIT
#
# usage: coverage.sh BUILD_DIR [PART...]     the parts of tests/run.sh; default: all
#
# BUILD_DIR is of the variant cov.  Prints a line a layer, and leaves
# coverage.txt with every file and coverage.html in BUILD_DIR.  The goals are
# 98 % of the lines and 92 % of the branches.  The exit status is 1 if a test
# failed: what it did not reach is missing then.
set -u

build=$1
shift
cd "$(dirname "$0")/.." || exit 1
# Without optimisation all takes longer.
export CK_TIMEOUT_MULTIPLIER=10
find "$build" -name '*.gcda' -delete
bash tests/run.sh "$build" "$@" >"$build/coverage.log" 2>&1
status=$?
tail -n 1 "$build/coverage.log"
[ $status = 0 ] || grep -aE 'FAILED|[1-9][0-9]* failed' "$build/coverage.log" | head -n 40
# Counts of a program that was killed may not add up, and a branch then is taken -2 times.
gcovr --root . --filter 'lib/' --object-directory "$build" --exclude-throw-branches \
	--exclude-unreachable-branches --gcov-ignore-parse-errors \
	--json-summary "$build/coverage.json" --html-details "$build/coverage.html" \
	--txt "$build/coverage.txt" "$build" >>"$build/coverage.log" 2>&1 || exit 1
jq -r '.files | map(. + {layer: (.filename | split("/")[1])}) | group_by(.layer)[] |
	[.[0].layer, (map(.line_covered) | add), (map(.line_total) | add),
	(map(.branch_covered) | add), (map(.branch_total) | add)] | @tsv' "$build/coverage.json" |
	awk -F'\t' '
		function row(name, a, b, c, d) {
			printf "%-8s %6d lines %5.1f %%  %6d branches %5.1f %%\n",
				name, b, 100 * a / b, d, d ? 100 * c / d : 100
		}
		{ row($1, $2, $3, $4, $5); a += $2; b += $3; c += $4; d += $5 }
		END { row("lib", a, b, c, d) }'
exit $status
