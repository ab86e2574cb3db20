#!/usr/bin/env bash
# damage.sh - qcow2-map on damaged images: it says what the check says, and no more
# than the file holds.
# SPDX-License-Identifier: MIT
#
# usage: damage.sh BUILD_DIR
#
# On every golden case, and on images of the fuzzer's generator.
set -u
export LC_ALL=C

build=$(cd "${1:?usage: damage.sh BUILD_DIR}" && pwd)
map=$build/bin/qcow2-map
fsck=$build/bin/qcow2-fsck
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d -p "${TMPDIR:-/dev/shm}" 2>/dev/null || mktemp -d) || exit 1
trap '[ $BASHPID != $$ ] || rm -rf "$dir"' EXIT
cd "$dir" || exit 1

# What must hold of a map, $f being the report of the check and $c the exit status:
# a row that is not readable has a name; the problems that are told are those of rows
# and more, all of which the check has found, too; of what stands in header,
# extensions and the entries of the active disk none is left out; all rows that have a
# place have it in the file; every byte is in one row; and the status tells of
# problems.
# shellcheck disable=SC2016
extents_hold='
	# Header and extensions, but for what takes the tables, or the bitmaps, to see; L1
	# and L2 entries by themselves.
	def seen: range(102; 141), range(201; 210), 214, 301, 302, 303, 304,
		401, 402, 403, 406, 407, 409, 410, 411, 412, 416, 417, 418, 419, 420;
	# Of a snapshot, whose place in the table $s is, what its record says of its table.
	def shown: if $s == null then .tree == "active" else .snapshot == $s end;
	($f[0].images[0].findings | map(select(.severity == "corrupt"))) as $found
	| ."virtual-size" as $bytes
	| [$found[] | select(.number < 300 or (shown and ."guest-offset" < $bytes) or
			($s != null and .index == $s and (.number | IN(506, 507, 509, 511))))
		| select(.number | IN(seen, 506, 507, 509, 511))] as $near
	| [.extents[] | select(.state == "unreadable")] as $lost
	| ($lost | map(.problem != null) | all)
	and ([.extents[].problem // empty] - .problems) == []
	and (.problems - ($found | map(.id))) == []
	and ([$near[].id] - .problems) == []
	and (($c == 4) == ((.problems | length) > 0))
	and ([.extents[] | .length] | add // 0) == ."virtual-size"
	and (reduce .extents[] as $e ({at: 0, ok: true};
		.ok = (.ok and $e.start == .at and $e.length > 0) | .at += $e.length) | .ok)
	and ([.extents[] | select(has("offset") and (.state == "data" or .state == "compressed")) | .offset]
		| map(. < $size) | all)'

# The layout: the same problems but for advice, and the same verdict; space and
# snapshots are made of the same survey.
# shellcheck disable=SC2016
survey_holds='
	($f[0].images[0].findings | map(select(.severity != "advice").id) | unique) as $ids
	| ((.problems | keys) - $ids) == [] and ($ids - (.problems | keys)) == []
	and .verdict == $f[0].images[0].verdict
	and (($c == 4) == (.verdict == "corrupt"))'

# image NAME FILE: one line "ok" or "FAILED: …" for each check.
image() {
	local name=$1 file=$2 rc size id
	"$fsck" --output=json --all-findings "$file" >f.json 2>/dev/null
	rc=$?
	[ $((rc & 8)) = 0 ] || return 0
	size=$(stat -L -c %s "$file")
	# A data file is another one: it may be longer.
	[ ! -f "${file%/*}/$(basename "$file").data" ] && ! grep -qx 'data-file.*' "${3:-/dev/null}" ||
		size=9223372036854775807
	"$map" --output=json "$file" >out 2>err
	rc=$?
	jq -e --slurpfile f f.json --argjson c $rc --argjson size "$size" --argjson s null "$extents_hold" \
		out >/dev/null && echo ok || echo "FAILED: extents of $name (status $rc)"
	# What is counted by the same walk tells of the same damage.
	"$map" measure -O qcow2 "$file" >out 2>err
	[ $(($? & 4)) = $((rc & 4)) ] && echo ok || echo "FAILED: measure of $name tells other than $rc"
	for id in $("$map" snapshots --output=json "$file" 2>err |
		jq -r '.snapshots as $s | $s[:3][] | select(.id as $i | $s | map(select(.id == $i)) |
			length == 1 and ($i | test("^[0-9]+$"))) | .id'); do
		"$map" --snapshot="$id" --output=json "$file" >out 2>err
		rc=$?
		[ $((rc & 8)) = 0 ] || continue
		jq -e --slurpfile f f.json --argjson c $rc --argjson size "$size" --argjson s $((id - 1)) \
			"$extents_hold" out >/dev/null && echo ok || echo "FAILED: snapshot $id of $name (status $rc)"
	done
	"$map" layout --output=json "$file" >out 2>err
	rc=$?
	# More owners than can be told apart are refused.
	if [ $((rc & 8)) != 0 ]; then
		[ -s err ] && [ ! -s out ] && echo ok || echo "FAILED: layout of $name (status $rc)"
		return 0
	fi
	jq -e --slurpfile f f.json --argjson c $rc "$survey_holds" out >/dev/null &&
		echo ok || echo "FAILED: layout of $name (status $rc)"
}

# golden REMAINDER: every second case.
golden() {
	local case n=0
	for case in "$here"/../cases/*/; do
		n=$((n + 1))
		[ $((n % 2)) = "$1" ] && [ -f "$case/recipe" ] || continue
		rm -rf golden
		mkdir golden
		"$build/tests/q2mk" "$case/recipe" golden/image.qcow2 2>/dev/null || continue
		image "$(basename "$case")" golden/image.qcow2 "$case/recipe"
	done
}

generated() { # SEED
	local file
	"$build/fuzz/q2gen" --seed "$1" --count 25 --out gen >/dev/null 2>&1
	for file in gen/*; do
		image "generated ${file#gen/}" "$file" <(echo data-file)
	done
}

for part in 0 1; do
	(
		trap - EXIT
		mkdir $part
		cd $part || exit 1
		golden $part
		generated $((part + 1))
	) >"$part.log" 2>/dev/null &
done
wait
cat 0.log 1.log >all
grep FAILED all | head -n 20 >&2
passed=$(grep -c '^ok$' all)
failed=$(grep -c FAILED all)
[ "$passed" -gt 1000 ] || failed=$((failed + 1))
echo "map-damage: $passed passed, $failed failed"
[ "$failed" = 0 ]
