# shellcheck shell=bash
# measure.sh - what the goals of bench.sh are written with: makes images,
# measures commands, notes a row for the table.
#
# Works in $DIR, with $MKBIG and $TIMEIT, $RUNS times; say and die are
# bench.sh's.
#
# SPDX-License-Identifier: MIT

declare -A FACT

# wanted KIND: whether goals about this kind of image are to be measured.
wanted() { [[ -z $ONLY_KIND || $ONLY_KIND == "$1" ]]; }

# image KIND: makes it and sets IMAGE to its path.
image() {
	local name value

	say "$1: making the image"
	IMAGE=$DIR/$1.qcow2
	FACT=()
	"$MKBIG" "$1" "$IMAGE" >"$DIR/facts" || die "mkbig $1 failed"
	while IFS='=' read -r name value; do
		FACT[$name]=$value
	done <"$DIR/facts"
	sync "$IMAGE"
}

# fact NAME: what mkbig told about the image, such as host_clusters.
fact() { echo "${FACT[$1]}"; }

# can_drop_caches: whether runs with a cold cache are possible here. It takes
# root, and a file system that has something below its cache.
can_drop_caches() {
	[[ $(stat -f -c %T "$DIR") != tmpfs ]] && "$TIMEIT" -c 2>/dev/null
}

# timed KEY STATUSES [timeit option...] -- COMMAND ::: COMMAND...
# Measures the commands under the name KEY. STATUSES: for each, the exit status
# that is right, or "any" for all but a crash. One that timeit's -t had to end
# (142) is slow, not wrong.
timed() {
	local key=$1 number status
	local -a want

	read -ra want <<<"$2"
	shift 2
	say "$key: measuring"
	"$TIMEIT" -n "$RUNS" "$@" >"$DIR/tsv/$key" ||
		die "$key: could not be measured"
	note_commands "$key" "$@"
	while read -r number _ status _; do
		((status == 142)) && continue
		case ${want[number - 1]} in
		any) ((status < 126)) && continue ;;
		"$status") continue ;;
		esac
		echo "$key.$number $status" >>"$DIR/failed"
		say "$key: command $number returned $status"
	done < <(tail -n +2 "$DIR/tsv/$key")
}

# The text of the commands, for the JSON; names without their directories.
note_commands() {
	local key=$1 i=0 word
	local -a words=()

	while [[ $1 != -- ]]; do shift; done
	shift
	for word in "$@" :::; do
		if [[ $word != ::: ]]; then
			words+=("${word##*/}")
			continue
		fi
		printf '%s\t%d\t%s\n' "$key" $((++i)) "${words[*]}"
		words=()
	done >>"$DIR/commands"
}

# figure KEY NUMBER wall|cpu|rss
# The median (seconds, seconds, KiB) of that command, or "exit N" when its
# status was wrong. CPU and memory of one that had to be ended say nothing.
figure() {
	awk -v key="$1.$2" '$1 == key { print "exit " $2; wrong = 1 }
		END { exit !wrong }' "$DIR/failed" ||
		awk -F '\t' -v n="$2" -v name="$3_med" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) f = i }
		NR > 1 && $1 == n {
			print $3 == 142 && name !~ /wall/ ? "timeout" : $f
		}' "$DIR/tsv/$1"
}

# row WHAT UNIT PEER OURS FLOOR REFERENCE LIMIT GOAL
#   UNIT               s or KiB
#   PEER, OURS, FLOOR  figures or "-"
#   REFERENCE          "peer" or "floor" when LIMIT is for the ratio of ours to
#                      it, "-" when it is for ours itself
#   LIMIT              a number, or "-" when the row is only shown
#   GOAL               the limit in words
row() {
	local IFS=$'\t'

	printf '%s\n' "$*" >>"$DIR/rows"
}
