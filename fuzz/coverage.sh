#!/usr/bin/env bash
# coverage.sh - lines and branches of lib/ that were run, as a table.
#
# SPDX-License-Identifier: MIT
#
# usage: coverage.sh BUILD_DIR (of VARIANT=cov, after its programs ran)
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
find "$build/lib" -name '*.gcno' | grep -vE '/lib/(cli|report)/' | while read -r note; do
	gcov -b -n -o "$(dirname "$note")" "${note%.gcno}.o" 2>/dev/null
done | awk '
	/^File / {file = $2; gsub("\047", "", file); next}
	file ~ /^lib\// && /^Lines executed/ {split($2, a, ":"); p[file] = a[2] + 0; n[file] = $4}
	file ~ /^lib\// && /^Branches executed/ {b[file] = $4}
	file ~ /^lib\// && /^Taken at least once/ {split($4, a, ":"); t[file] = a[2] + 0}
	END {
		for (f in p) {
			if (f !~ /\.c$/) continue
			lines += n[f]; run += p[f] * n[f] / 100
			branches += b[f]; taken += t[f] * b[f] / 100
			printf "| %s | %d | %.1f | %d | %.1f |\n", f, n[f], p[f], b[f], t[f]
		}
		printf "| zzz all | %d | %.1f | %d | %.1f |\n", lines, 100 * run / lines, branches, 100 * taken / branches
	}' | sort >"$tmp/rows"
echo '| file | lines | run % | branches | taken % |'
echo '|---|--:|--:|--:|--:|'
sed 's/zzz //' "$tmp/rows"
