#!/bin/bash
# bench.sh - measures qcow2-progs against its goals and prints one table, a row
# per goal.
#
#     bench.sh BUILD_DIR [-n RUNS] [-g GROUP] [-i KIND]
#
#   -n  measured runs of each command (5), after one warm-up
#   -g  only the goals in goals-GROUP.sh
#   -i  only the images of this kind (see mkbig.c)
#
# BUILD_DIR holds bin/qcow2-fsck, tests/mkbig, tests/floor and tests/timeit;
# nothing is built here. The images go into a new directory under $BENCH_TMP
# (else $TMPDIR, else /tmp), which is removed at the end; they need 300 MB.
# The commands of one comparison take turns, and the figures are medians. The
# table also goes to BUILD_DIR/bench.json, with every measurement behind it.
# Times are never asserted: the exit status is 0 unless something could not be
# run or returned the wrong status.
#
# The goals are in goals-*.sh beside this file. Each defines goals_GROUP, which
# calls the functions of measure.sh; FSCK, MAP, DUMP and FLOOR are the programs.
#
# SPDX-License-Identifier: MIT
set -euo pipefail
export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export ONLY_KIND=''
RUNS=5 ONLY_GROUP='' BUILD=''

say() { printf 'bench: %s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

usage() {
	echo 'usage: bench.sh BUILD_DIR [-n RUNS] [-g GROUP] [-i KIND]' >&2
	exit 2
}

while (($#)); do
	case $1 in
	-n) RUNS=${2:-} && shift ;;
	-g) ONLY_GROUP=${2:-} && shift ;;
	-i) ONLY_KIND=${2:-} && shift ;;
	-*) usage ;;
	*)
		[[ -z $BUILD ]] || usage
		BUILD=$1
		;;
	esac
	shift || usage
done
[[ -n $BUILD && $RUNS =~ ^[1-9][0-9]{0,2}$ ]] || usage

FSCK=$BUILD/bin/qcow2-fsck MAP=$BUILD/bin/qcow2-map
export DUMP=$BUILD/bin/qcow2-dump
MKBIG=$BUILD/tests/mkbig FLOOR=$BUILD/tests/floor TIMEIT=$BUILD/tests/timeit
for tool in "$FSCK" "$MAP" "$DUMP" "$MKBIG" "$FLOOR" "$TIMEIT"; do
	[[ -x $tool ]] || die "$tool is missing"
done
for tool in qemu-img jq awk; do
	command -v "$tool" >/dev/null || die "$tool is not installed"
done

DIR=$(mktemp -d "${BENCH_TMP:-${TMPDIR:-/tmp}}/qcow2-bench.XXXXXX")
trap 'rm -rf -- "$DIR"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$DIR/tsv"
touch "$DIR/rows" "$DIR/commands" "$DIR/failed"

# shellcheck source=/dev/null
. "$HERE/measure.sh"
# shellcheck source=/dev/null
. "$HERE/report.sh"
for goals in "$HERE"/goals-*.sh; do
	group=${goals##*/goals-}
	group=${group%.sh}
	[[ -z $ONLY_GROUP || $ONLY_GROUP == "$group" ]] || continue
	# shellcheck source=/dev/null
	. "$goals"
	"goals_$group"
done
[[ -s $DIR/rows ]] || die 'no goals for these options'

judge
describe
json >"$DIR/bench.json"
table
cp "$DIR/bench.json" "$BUILD/bench.json"
[[ ! -s $DIR/failed ]]
