#!/usr/bin/env bash
# campaign.sh - fuzzing with AFL++ or libFuzzer, coverage, and triage.
#
# SPDX-License-Identifier: MIT
#
# usage: campaign.sh run afl|libfuzzer TARGET SECONDS
#        campaign.sh campaign SECONDS
#                               all targets by turns, one worker for each processor
#        campaign.sh gate       a fixed number of runs for each target: the same
#                               runs every time, so that a failure can be repeated
#        campaign.sh speed      executions for each second of processor time
#        campaign.sh cov        what the corpus reaches, file by file
#        campaign.sh triage     crashes found, sorted by what they violate
# A campaign keeps what it has in build/fuzz/afl-TARGET, or in the folder SYNC, and goes
# on from there; machines with the same SYNC join. AFL_ROLE="-M main" or "-S name" lets
# a run join one.
set -u
cd "$(dirname "$0")/.." || exit 1
corpus=build/corpus
out=build/fuzz
sync=${SYNC:-$out}
export AFL_NO_AFFINITY=1 AFL_SKIP_CPUFREQ=1 AFL_NO_UI=1
export AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1
gate_seed=${SEED:-7}
gate_runs=${RUNS:-10000}
all_targets=${TARGETS:-open walk check snapshot bitmap compressed map chain dump report write repair crash-repair rescue plan keep}
speed_targets=${TARGETS:-open walk check map chain repair write dump}

need() {
	command -v "$1" >/dev/null || {
		echo "campaign: '$1' is missing; 'make deps-fuzz' installs it" >&2
		exit 2
	}
}

seconds() { # text
	case $1 in
	'' | *[!0-9]* | 0)
		echo "campaign: '$1' is not a number of seconds" >&2
		exit 2
		;;
	esac
}

targets() {
	build/release/fuzz/q2fuzz --help | sed -n '/^targets:/,$s/^  \([a-z-]*\) .*/\1/p'
}

seeds() { # small ones, and quick ones, are what fuzzers like; packs are for chain
	local image entries
	rm -rf "$out/seeds" "$out/seeds-chain"
	mkdir -p "$out/seeds" "$out/seeds-chain"
	find "$corpus" -name '*.qcow2' -size -17 ! -name 'bomb-*' | sort | while read -r image; do
		# An L1 table that claims much is read over and over.
		entries=$(od -An -t u4 --endian=big -j 36 -N 4 "$image")
		[ "${entries:-0}" -gt 4096 ] || cp "$image" "$out/seeds"
	done
	build/release/fuzz/q2fuzz chain -m -n 40 -O "$out/seeds-chain" >/dev/null
}

cases() { # the golden cases' images
	local recipe
	rm -rf "$out/cases"
	mkdir -p "$out/cases"
	for recipe in tests/cases/[0-9]*/recipe; do
		build/release/tests/q2mk "$recipe" "$out/cases/$(basename "$(dirname "$recipe")").qcow2" || exit 1
	done
	find "$out/cases" -type f \( -size +2M -o ! -name '*.qcow2' \) -delete
}

seeds_of() { # target
	if [ "$1" = chain ]; then echo "$out/seeds-chain"; else echo "$out/seeds"; fi
}

# Linking with this compiler takes half a minute for each target, and what it makes is a
# tenth faster: not for a gate that runs each one for a few seconds.
afl_cc=afl-clang-lto
afl_dir=build/afl-lto
linked_quickly() {
	afl_cc=afl-clang-fast
	afl_dir=build/afl
}
command -v $afl_cc >/dev/null || linked_quickly

build_afl() {
	need $afl_cc
	# Edges are those of the library, not of what judges it.
	printf 'src: *fuzz/*\nsrc: *tests/*\n' >"$out/denylist"
	# shellcheck disable=SC2046
	AFL_LLVM_DENYLIST=$PWD/$out/denylist AFL_QUIET=1 MAKEFLAGS='' make -j"$(nproc)" --no-print-directory \
		CC=$afl_cc VARIANT=afl B=$afl_dir \
		$(printf "$afl_dir/fuzz/q2fuzz-afl-%s " "$@") >"$out/build.log" 2>&1 || {
		cat "$out/build.log"
		exit 1
	}
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

afl() { # target, folder, arguments...; false if it did not run
	local target=$1 folder=$2
	shift 2
	AFL_CUSTOM_MUTATOR_LIBRARY=$PWD/build/release/fuzz/q2mut.so afl-fuzz -i "$(seeds_of "$target")" -o "$folder" \
		-G 65536 -t 2000 -m none -x fuzz/qcow2.dict "$@" -- "$afl_dir/fuzz/q2fuzz-afl-$target" \
		>"$out/$target.log" 2>&1 || {
		tail -n 5 "$out/$target.log" >&2
		return 1
	}
	grep -hE '^(execs_done|execs_per_sec|corpus_count|saved_crashes|saved_hangs|stability) ' \
		"$folder"/*/fuzzer_stats | tr -s ' ' | tr '\n' ';'
	echo
}

# Repairs take longer.
runs_of() { # target
	local looks
	# Each seed is run eight times before anything is made of it.
	looks=$((8 * $(find "$(seeds_of "$1")" -type f | wc -l)))
	case $1 in
	repair | crash-repair | rescue | plan | keep) echo $((looks + gate_runs / 4)) ;;
	*) echo $((looks + gate_runs)) ;;
	esac
}

descendants() { # pid
	local child
	for child in $(pgrep -P "$1"); do
		echo "$child"
		descendants "$child"
	done
}

# Ticks of processor time of a fuzzer, its server, and what that has run so far.
ticks_of() { # pid of the shell that started the fuzzer
	local pid sum=0 line
	for pid in $(descendants "$1"); do
		{ read -r -a line <"/proc/$pid/stat"; } 2>/dev/null || continue
		sum=$((sum + line[13] + line[14]))
		case ${line[1]} in *q2fuzz*) sum=$((sum + line[15] + line[16])) ;; esac
	done
	echo $sum
}

# Fuzzer and server on one processor: to wake another one costs more than a target.
one_processor() {
	unset AFL_NO_AFFINITY
	export AFL_TRY_AFFINITY=1
}

measured() { # seconds between two looks, target, folder, arguments...; prints ticks
	local pause=$1 ticks=0 now
	shift
	afl "$@" >/dev/null &
	while kill -0 $! 2>/dev/null; do
		sleep "$pause"
		now=$(ticks_of $!)
		ticks=$((now > ticks ? now : ticks))
	done
	wait
	echo "$ticks"
}

executions() { # a fuzzer's folder
	cat "$1/fuzzer_stats" 2>/dev/null | awk '/^execs_done/ { n = $3 } END { print n + 0 }'
}

# Takes the next target that no worker of this machine is at, SLICE seconds of it each
# time; one line for each slice: target, executions, ticks.  A fuzzer that executes
# nothing ends it.
worker() { # number, end in seconds of bash
	local name=$1 end=$2 slice=${SLICE:-300} target left before ticks runs
	name=$(hostname)-$name
	while left=$((end - SECONDS)) && [ "$left" -gt 0 ]; do
		target=$(flock "$out/turns.lock" sed -i -e '1{w /dev/stdout' -e 'd}' "$out/turns")
		before=$(executions "$sync/afl-$target/$name")
		ticks=$(AFL_AUTORESUME=1 measured 1 "$target" "$sync/afl-$target" \
			-b $((($1 - 1) % $(nproc))) -S "$name" -V $((left < slice ? left : slice)))
		runs=$(($(executions "$sync/afl-$target/$name") - before))
		echo "$target $runs $ticks"
		[ "$runs" -gt 0 ] || return
		flock "$out/turns.lock" sh -c "echo $target >>$out/turns"
	done
}

crashes() { # folders; prints them, false if there are none
	find "$@" -path '*/crashes*/id:*' -o -path '*/hangs*/id:*' | grep .
}

case ${1:-} in
run)
	case $2 in
	afl | libfuzzer) ;;
	*)
		echo "campaign: '$2' is neither afl nor libfuzzer" >&2
		exit 2
		;;
	esac
	mkdir -p "$out" "$sync"
	make --no-print-directory test-programs >/dev/null
	target=$3
	seconds "$4"
	targets | grep -qx -e "$target" || {
		echo "campaign: there is no target '$target'; 'build/release/fuzz/q2fuzz --help' lists them" >&2
		exit 2
	}
	[ -n "${AFL_ROLE:-}" ] && [ -d "$out/seeds" ] || seeds
	if [ "$2" = afl ]; then
		build_afl "$target"
		[ -n "${AFL_ROLE:-}" ] || rm -rf "$sync/afl-$target"
		# shellcheck disable=SC2086
		afl "$target" "$sync/afl-$target" -V "$4" ${AFL_ROLE:-} || exit 1
		! crashes "$sync/afl-$target"
	else
		build_libfuzzer
		mkdir -p "$out/lf-$target"
		ASAN_OPTIONS=detect_leaks=0 "build/lf/fuzz/q2fuzz-lf-$target" -max_total_time="$4" -max_len=65536 -print_final_stats=1 \
			-artifact_prefix="$out/lf-$target." "$out/lf-$target" "$(seeds_of "$target")" 2>&1 |
			tail -n 8
		[ "${PIPESTATUS[0]}" = 0 ]
	fi
	;;
campaign)
	seconds "${2:-}"
	mkdir -p "$out" "$sync"
	make --no-print-directory test-programs >/dev/null
	seeds
	# shellcheck disable=SC2086
	build_afl $all_targets
	one_processor
	printf '%s\n' $all_targets >"$out/turns"
	: >"$out/slices"
	end=$((SECONDS + $2))
	workers=$(printf '%s\n' "${WORKERS:-$(nproc)}" "$(wc -l <"$out/turns")" | sort -n | head -n 1)
	for number in $(seq "$workers"); do
		worker "$number" "$end" >>"$out/slices" &
	done
	wait
	awk '
		{ runs[$1] += $2; ticks[$1] += $3; all += $2; time += $3 }
		$2 <= 0 { failed = 1 }
		END {
			for (target in runs)
				printf "%s: %d executions in %d s of processor time\n", target, runs[target], ticks[target] / 100 | "sort"
			close("sort")
			printf "all: %d executions in %.2f hours of processor time\n", all, time / 360000
			exit failed || all == 0
		}' "$out/slices"
	failed=$?
	! crashes "$sync"/afl-* && [ $failed = 0 ]
	;;
gate)
	mkdir -p "$out"
	linked_quickly
	make --no-print-directory test-programs >/dev/null
	seeds
	# shellcheck disable=SC2086
	build_afl $all_targets
	failed=0
	n=0
	for target in $all_targets; do
		rm -rf "$out/gate-$target"
		n=$((n + 1))
		broken=
		said=$(afl "$target" "$out/gate-$target" -s "$gate_seed" -E "$(runs_of "$target")") || broken=1
		echo "$target: $said"
		if crashes "$out/gate-$target" || [ -n "$broken" ]; then
			failed=$((failed + 1))
			echo "again: SEED=$gate_seed RUNS=$gate_runs TARGETS=$target make fuzz-gate"
		fi
	done
	echo "fuzz-gate: $((n - failed)) passed, $failed failed"
	[ $failed = 0 ]
	;;
speed)
	seconds "${TIME:-10}"
	mkdir -p "$out"
	make --no-print-directory test-programs >/dev/null
	seeds
	# shellcheck disable=SC2086
	build_afl $speed_targets
	one_processor
	# What it comes upon first decides of a run: so there are several.
	for target in $speed_targets; do
		for seed in ${SEEDS:-7 8 9 10 11}; do
			rm -rf "$out/speed-$target"
			cpu=$(measured 0.2 "$target" "$out/speed-$target" -s "$seed" -V "${TIME:-10}")
			awk -v cpu="$cpu" '
				/^execs_done/ { n = $3 } /^edges_found/ { e = $3 } /^total_edges/ { t = $3 }
				END { print int(n / (cpu ? cpu : 1) * 100), e, t }
			' "$out/speed-$target"/default/fuzzer_stats
		done | sort -n | awk -v target="$target" '
			{ rate[NR] = $1; edges = $2 > edges ? $2 : edges; total = $3 }
			END {
				printf "%s: %d a second of processor time, the median of %d (%d to %d); %d of %d edges\n",
					target, rate[int((NR + 1) / 2)], NR, rate[1], rate[NR], edges, total
			}'
	done
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
	cases
	bash fuzz/coverage.sh build/llvmcov/fuzz/q2fuzz "$corpus" "$out"
	;;
triage)
	make --no-print-directory test-programs >/dev/null
	crashes "$out" "$sync" | sort -u | while read -r file; do
		target=$(echo "$file" | sed 's/.*\(afl\|gate\|lf\)-\([a-z-]*\).*/\2/')
		echo "$(timeout 60 build/release/fuzz/q2fuzz "$target" "$file" 2>&1 | head -n 1): $target: $file"
	done | sort | tee "$out/triage.txt"
	;;
*)
	sed -n 's/^# \{0,1\}//; 6,17p' "$0"
	exit 2
	;;
esac
