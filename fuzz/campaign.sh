#!/usr/bin/env bash
# campaign.sh - fuzzing with AFL++ or libFuzzer, coverage, and triage.
#
# SPDX-License-Identifier: MIT
#
# usage: campaign.sh run afl|libfuzzer TARGET SECONDS
#        campaign.sh gate       a fixed number of runs for each target: the same
#                               runs every time, so that a failure can be repeated
#        campaign.sh cov        what the corpus reaches, file by file
#        campaign.sh triage     crashes found, sorted by what they violate
# AFL_ROLE="-M main" or "-S name" with the same build/fuzz folder joins machines.
set -u
cd "$(dirname "$0")/.." || exit 1
corpus=build/corpus
out=build/fuzz
export AFL_NO_AFFINITY=1 AFL_SKIP_CPUFREQ=1 AFL_NO_UI=1
export AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1
gate_seed=${SEED:-7}
gate_runs=${RUNS:-10000}
# Those of repair find plans that do not converge now and then: a campaign is for that.
gate_targets=${TARGETS:-open walk check snapshot bitmap compressed map chain dump write}

need() {
	command -v "$1" >/dev/null || {
		echo "campaign: '$1' is missing; 'make deps-fuzz' installs it" >&2
		exit 2
	}
}

targets() {
	build/release/fuzz/q2fuzz --help | sed -n '/^targets:/,$s/^  \([a-z-]*\) .*/\1/p'
}

seeds() { # small ones are what fuzzers like; packs are for the target chain
	rm -rf "$out/seeds" "$out/seeds-chain"
	mkdir -p "$out/seeds" "$out/seeds-chain"
	find "$corpus" -name '*.qcow2' -size -17 -exec cp {} "$out/seeds" \;
	build/release/fuzz/q2fuzz chain -m -n 40 -O "$out/seeds-chain" >/dev/null
}

seeds_of() { # target
	if [ "$1" = chain ]; then echo "$out/seeds-chain"; else echo "$out/seeds"; fi
}

build_afl() {
	need afl-clang-fast
	AFL_QUIET=1 make --no-print-directory CC=afl-clang-fast VARIANT=afl \
		build/afl/fuzz/q2fuzz-afl build/afl/fuzz/q2mut.so >"$out/build.log" 2>&1 || {
		cat "$out/build.log"
		exit 1
	}
	for target in $(targets); do
		ln -f build/afl/fuzz/q2fuzz-afl "build/afl/fuzz/q2fuzz-afl-$target"
	done
}

build_libfuzzer() {
	need clang
	make --no-print-directory CC=clang VARIANT=lf build/lf/fuzz/q2fuzz-lf \
		>"$out/build.log" 2>&1 || {
		cat "$out/build.log"
		exit 1
	}
	for target in $(targets); do
		ln -f build/lf/fuzz/q2fuzz-lf "build/lf/fuzz/q2fuzz-lf-$target"
	done
}

afl() { # target, folder, arguments...
	local target=$1 folder=$2
	shift 2
	AFL_CUSTOM_MUTATOR_LIBRARY=$PWD/build/release/fuzz/q2mut.so afl-fuzz -i "$(seeds_of "$target")" -o "$folder" \
		-G 65536 -t 2000 -m none -x fuzz/qcow2.dict "$@" -- "build/afl/fuzz/q2fuzz-afl-$target" \
		>"$out/$target.log" 2>&1
	grep -hE '^(execs_done|execs_per_sec|corpus_count|saved_crashes|saved_hangs|stability) ' \
		"$folder"/*/fuzzer_stats | tr -s ' ' | tr '\n' ';'
	echo
}

crashes() { # folder; prints them, false if there are none
	find "$1" -path '*/crashes/id:*' -o -path '*/hangs/id:*' | grep .
}

case ${1:-} in
run)
	mkdir -p "$out"
	make --no-print-directory test-programs >/dev/null
	seeds
	target=$3
	if [ "$2" = afl ]; then
		build_afl
		rm -rf "$out/afl-$target"
		# shellcheck disable=SC2086
		afl "$target" "$out/afl-$target" -V "$4" ${AFL_ROLE:-}
		! crashes "$out/afl-$target"
	else
		build_libfuzzer
		mkdir -p "$out/lf-$target"
		ASAN_OPTIONS=detect_leaks=0 "build/lf/fuzz/q2fuzz-lf-$target" -max_total_time="$4" -max_len=65536 -print_final_stats=1 \
			-artifact_prefix="$out/lf-$target." "$out/lf-$target" "$(seeds_of "$target")" 2>&1 |
			tail -n 8
		[ "${PIPESTATUS[0]}" = 0 ]
	fi
	;;
gate)
	mkdir -p "$out"
	make --no-print-directory test-programs >/dev/null
	seeds
	build_afl
	failed=0
	n=0
	for target in $gate_targets; do
		rm -rf "$out/gate-$target"
		echo "$target: $(afl "$target" "$out/gate-$target" -s "$gate_seed" -E "$gate_runs")"
		n=$((n + 1))
		if crashes "$out/gate-$target"; then
			failed=$((failed + 1))
			echo "again: SEED=$gate_seed RUNS=$gate_runs TARGETS=$target make fuzz-gate"
		fi
	done
	echo "fuzz-gate: $((n - failed)) passed, $failed failed"
	[ $failed = 0 ]
	;;
cov)
	need llvm-cov
	mkdir -p "$out"
	make --no-print-directory CC=clang VARIANT=llvmcov build/llvmcov/fuzz/q2fuzz \
		>"$out/build.log" 2>&1 || {
		cat "$out/build.log"
		exit 1
	}
	make --no-print-directory build/release/fuzz/q2fuzz >/dev/null || exit 1
	seeds
	bash fuzz/coverage.sh build/llvmcov/fuzz/q2fuzz "$corpus" "$out"
	;;
triage)
	make --no-print-directory test-programs >/dev/null
	crashes "$out" | while read -r file; do
		target=$(echo "$file" | sed 's/.*\(afl\|gate\|lf\)-\([a-z-]*\).*/\2/')
		echo "$(timeout 60 build/release/fuzz/q2fuzz "$target" "$file" 2>&1 | head -n 1): $target: $file"
	done | sort | tee "$out/triage.txt"
	;;
*)
	sed -n 's/^# \{0,1\}//; 6,12p' "$0"
	exit 2
	;;
esac
