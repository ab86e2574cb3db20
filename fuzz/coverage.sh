#!/usr/bin/env bash
# coverage.sh - lines and branches of lib/ that fuzz targets run, as tables.
#
# SPDX-License-Identifier: MIT
#
# usage: coverage.sh Q2FUZZ CORPUS OUT   Q2FUZZ is built with VARIANT=llvmcov
# What each step adds is in OUT/coverage.md, and in the README between its markers:
# the corpus by itself, then the images of the golden cases, then with each allocation,
# read and write failing in turn, then with generated images.
set -u
cd "$(dirname "$0")/.." || exit 1
q2fuzz=$1
corpus=$2
out=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export LLVM_PROFILE_FILE=/dev/null # unless a step says where

step() { # name arguments...
	local name=$1
	shift
	LLVM_PROFILE_FILE=$tmp/raw/${name%%-*}-%4m.profraw "$q2fuzz" "$@" -T 300 >/dev/null 2>&1
}

# A run that aborts leaves nothing: then each file by itself.
batch() { # name target option file...
	local name=$1 target=$2 option=$3 file
	shift 3
	# shellcheck disable=SC2086
	step "$name" "$target" $option "$@" && return
	# shellcheck disable=SC2086
	for file in "$@"; do step "$name-$(basename "$file")" "$target" $option "$file"; done
}

# Two processes at a time, each with some files.
over() { # name target option folder...
	local name=$1 target=$2 option=$3 files n=0 i size=24
	[ "$option" != -f ] || size=4
	shift 3
	mapfile -t files < <(find "$@" -type f \( -name '*.qcow2' -o -name '*.in' -o -path '*seeds-chain*' -o -path '*pack*' \) | sort)
	for ((i = 0; i < ${#files[@]}; i += size)); do
		batch "$name-$target-$i" "$target" "$option" "${files[@]:i:size}" &
		n=$((n + 1))
		[ $((n % 2)) = 1 ] || wait
	done
	wait
}

all_targets=$("$q2fuzz" --help | sed -n '/^targets:/,$s/^  \([a-z-]*\) .*/\1/p')

table() { # name; of everything so far
	find "$tmp/raw" -name '*.profraw' >"$tmp/list"
	llvm-profdata merge -sparse -f "$tmp/list" -o "$tmp/$1.profdata" || exit 1
	llvm-cov export -summary-only -instr-profile "$tmp/$1.profdata" "$q2fuzz" 2>/dev/null |
		jq -r '.data[0].files[] | select(.filename | test("lib/(?!cli/|report/)[a-z]+/[a-z0-9_]+\\.c$")) |
			[(.filename | sub(".*/lib/"; "lib/")), .summary.lines.count, .summary.lines.covered,
			.summary.branches.count, .summary.branches.covered] | @tsv' | sort >"$tmp/$1.tsv"
}

mkdir -p "$tmp/raw"
for target in $all_targets; do
	over corpus "$target" '' "$corpus"/{seeds,security,field,regress}
	[ ! -d "$corpus/inputs/$target" ] || over corpus "$target" '' "$corpus/inputs/$target"
done
over corpus chain '' "$out/seeds-chain"
over corpus dump '' "$out/seeds-chain"
table corpus
for target in $all_targets; do over cases "$target" '' "$out/cases"; done
table cases
# Each place of the code where something can fail does so once, with the image that
# gets there first.
mapfile -t small < <(find "$corpus"/{field,regress,seeds,security} "$out/cases" -name '*.qcow2' -size -17 ! -name 'bomb-*' | sort)
for target in $all_targets; do
	case $target in report | crash-repair) continue ;; esac # these take none
	[ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
	mapfile -t inputs < <(find "$corpus/inputs/$target" -type f -size -17 2>/dev/null | sort)
	case $target in
	keep) depth=4 ;; # that makes many plans each time
	repair | rescue | plan | write) depth=8 ;;
	*) depth=12 ;;
	esac
	step "faults-$target" "$target" "-F$depth" "${small[@]}" "${inputs[@]}" &
done
wait
# Of bytes in packs, and what a writer does, in turn.
over faults write -f "$corpus"/seeds/{aes,bitmap,data-file-raw,v3-512-r4,v3-512-r64}.qcow2
over faults chain -f "$corpus/inputs/pack"
over faults dump -f "$corpus/inputs/pack"
table faults
for target in $all_targets; do
	[ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
	step "gen-$target" "$target" -n "${COUNT:-300}" &
done
wait
table generated
cp "$tmp/faults.profdata" "$out/faults.profdata"

# Files that need a file system, a network, keys, threads or a clock: no target may
# touch these.
outside='lib/(io/(file|device|loop|lock|create|target|target_path|nbd|nbd_load)|map/(disk|scan|link|folder|lint)|dump/(inplace.*|journal|raw|dump|guest|crew|pace)|check/chk_chain|image/allow|repair/(journal|stored|discard|export)|crypt/.*)\.c'
join -t "$(printf '\t')" -j 1 "$tmp/corpus.tsv" "$tmp/cases.tsv" | join -t "$(printf '\t')" -j 1 - "$tmp/faults.tsv" |
	join -t "$(printf '\t')" -j 1 - "$tmp/generated.tsv" |
	awk -F '\t' -v outside="$outside" '
	function p(a, b) { return b ? sprintf("%.1f", 100 * a / b) : "-" }
	function row(name, v) {
		printf "| %s | %d | %s | %s | %s | %s | %d | %s | %s | %s | %s |\n", name, v[2], p(v[3], v[2]), p(v[7], v[6]), p(v[11], v[10]), p(v[15], v[14]), v[4], p(v[5], v[4]), p(v[9], v[8]), p(v[13], v[12]), p(v[17], v[16])
	}
	{
		out = $1 ~ outside
		for (i = 2; i <= 17; i++) { all[i] += $i; one[i] = $i; if (!out) mem[i] += $i }
		row($1 (out ? " *" : ""), one)
	}
	END {
		row("**in memory**", mem)
		row("**all of lib/**", all)
	}' >"$tmp/rows"
{
	echo '| file | lines | corpus % | + cases % | + faults % | + generated % | branches | corpus % | + cases % | + faults % | + generated % |'
	echo '|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|'
	tail -n 2 "$tmp/rows"
	head -n -2 "$tmp/rows"
} >"$out/coverage.md"
cat "$out/coverage.md"
awk -v table="$out/coverage.md" '
	/^<!-- coverage: end -->/ { skip = 0 }
	!skip { print }
	/^<!-- coverage: made by/ { skip = 1; while ((getline line < table) > 0) print line }
' fuzz/README.md >"$tmp/readme" && cp "$tmp/readme" fuzz/README.md
