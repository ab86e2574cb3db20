#!/usr/bin/env bash
# coverage.sh - lines and branches of lib/ that fuzz targets run, as tables.
#
# SPDX-License-Identifier: MIT
#
# usage: coverage.sh Q2FUZZ CORPUS OUT   Q2FUZZ is built with VARIANT=llvmcov
# What each step adds is in OUT/coverage.md, and in the README between its markers:
# the corpus by itself, then with each allocation, read and write failing in turn,
# then with generated images.
set -u
cd "$(dirname "$0")/.." || exit 1
q2fuzz=$1
corpus=$2
out=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
known=R-1,R-2,R-4,R-7,R-8

step() { # name arguments...
	local name=$1
	shift
	LLVM_PROFILE_FILE=$tmp/raw/$name-%p.profraw "$q2fuzz" "$@" -k $known >/dev/null 2>&1
}

# A run that aborts leaves nothing: then each file by itself.
corpus_step() {
	local target file files
	for target in $("$q2fuzz" --help | sed -n '/^targets:/,$s/^  \([a-z-]*\) .*/\1/p'); do
		case $target in
		repair | crash-repair | rescue | plan)
			mapfile -t files < <(jq -r --arg t "$target" '.images[] | select((.open // []) | index($t) | not) | .file' "$corpus/MANIFEST.json" | sed "s|^|$corpus/|")
			step "$target" "$target" "${files[@]}" && continue
			for file in "${files[@]}"; do
				step "$target-$(basename "$file")" "$target" "$file"
			done
			;;
		*) step "$target" "$target" "$corpus" ;;
		esac
	done
	step packs chain "$out/seeds-chain"
	step packs-dump dump "$out/seeds-chain"
}

table() { # name; of everything so far
	find "$tmp/raw" -name '*.profraw' >"$tmp/list"
	llvm-profdata merge -sparse -f "$tmp/list" -o "$tmp/$1.profdata" || exit 1
	llvm-cov export -summary-only -instr-profile "$tmp/$1.profdata" "$q2fuzz" 2>/dev/null |
		jq -r '.data[0].files[] | select(.filename | test("lib/(?!cli/|report/)[a-z]+/[a-z0-9_]+\\.c$")) |
			[(.filename | sub(".*/lib/"; "lib/")), .summary.lines.count, .summary.lines.covered,
			.summary.branches.count, .summary.branches.covered] | @tsv' | sort >"$tmp/$1.tsv"
}

mkdir -p "$tmp/raw"
corpus_step
table corpus
for target in check map write chain; do
	step "faults-$target" $target -f "$corpus/seeds" "$corpus/field" "$corpus/regress"
done
table faults
for target in open walk check snapshot bitmap compressed map chain dump write rescue plan; do
	step "gen-$target" $target -n "${COUNT:-1000}"
done
table generated

# Files that need a file system or a network: no target may touch these.
outside='lib/(io/(file|lock|create|target|nbd)|map/(scan|link|folder|lint)|dump/(inplace.*|journal|raw|dump|guest)|check/chk_chain|image/allow|repair/(journal|stored|discard|backup)|crypt/.*)\.c'
join -t "$(printf '\t')" -j 1 "$tmp/corpus.tsv" "$tmp/faults.tsv" | join -t "$(printf '\t')" -j 1 - "$tmp/generated.tsv" |
	awk -F '\t' -v outside="$outside" '
	function p(a, b) { return b ? sprintf("%.1f", 100 * a / b) : "-" }
	{
		out = $1 ~ outside
		for (i = 2; i <= 13; i++) { all[i] += $i; if (!out) mem[i] += $i }
		printf "| %s%s | %d | %s | %s | %s | %d | %s | %s | %s |\n", $1, out ? " *" : "", $2, p($3, $2), p($7, $6), p($11, $10), $4, p($5, $4), p($9, $8), p($13, $12)
	}
	END {
		printf "| **in memory** | %d | %s | %s | %s | %d | %s | %s | %s |\n", mem[2], p(mem[3], mem[2]), p(mem[7], mem[6]), p(mem[11], mem[10]), mem[4], p(mem[5], mem[4]), p(mem[9], mem[8]), p(mem[13], mem[12])
		printf "| **all of lib/** | %d | %s | %s | %s | %d | %s | %s | %s |\n", all[2], p(all[3], all[2]), p(all[7], all[6]), p(all[11], all[10]), all[4], p(all[5], all[4]), p(all[9], all[8]), p(all[13], all[12])
	}' >"$tmp/rows"
{
	echo '| file | lines | corpus % | + faults % | + generated % | branches | corpus % | + faults % | + generated % |'
	echo '|---|--:|--:|--:|--:|--:|--:|--:|--:|'
	tail -n 2 "$tmp/rows"
	head -n -2 "$tmp/rows"
} >"$out/coverage.md"
cat "$out/coverage.md"
awk -v table="$out/coverage.md" '
	/^<!-- coverage: end -->/ { skip = 0 }
	!skip { print }
	/^<!-- coverage: made by/ { skip = 1; while ((getline line < table) > 0) print line }
' fuzz/README.md >"$tmp/readme" && cp "$tmp/readme" fuzz/README.md
