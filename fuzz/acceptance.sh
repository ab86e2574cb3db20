#!/usr/bin/env bash
# acceptance.sh - what qemu-img check and qcow2-fsck say of each class of the corpus.
#
# SPDX-License-Identifier: MIT
#
# usage: acceptance.sh BUILD_DIR CORPUS README [QEMU-JSONL OUR-JSONL]
# Writes the table between its markers in README (-: prints it).  The two files are
# what q2corpus run --jsonl wrote, where that was done already.
set -u
export LC_ALL=C
build=$(cd "${1:?usage: acceptance.sh BUILD_DIR CORPUS README}" && pwd)
corpus=$(cd "$2" && pwd)
readme=$3
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
if [ $# -gt 3 ]; then
	cp "$4" "$tmp/qemu" && cp "$5" "$tmp/ours" || exit 1
else
	export Q2GUARD=$build/fuzz/q2guard
	# Violations are in the table, too.
	bash "$here/q2corpus" run --corpus "$corpus" --cmd 'qemu-img check -f qcow2 @@' --jsonl "$tmp/qemu" >"$tmp/out"
	bash "$here/q2corpus" run --corpus "$corpus" --cmd "$build/bin/qcow2-fsck @@" --jsonl "$tmp/ours" >"$tmp/out"
fi
[ -s "$tmp/qemu" ] && [ -s "$tmp/ours" ] || exit 1
{
	echo '| class | images | `qemu-img check` | opened | `qcow2-fsck` | opened |'
	echo '|---|--:|---|--:|---|--:|'
	jq -rn --slurpfile q "$tmp/qemu" --slurpfile o "$tmp/ours" '
		def sums: group_by(.status) | map("\(.[0].status): \(length)") | join(", ");
		def seen: map(select(.canary)) | length;
		def row($name; $a; $b): "| \($name) | \($a | length) | \($a | sums) | \($a | seen) | \($b | sums) | \($b | seen) |";
		("valid", "valid-odd", "external-ref", "refuse", "corrupt-repairable", "corrupt-lossy", "bomb") as $c |
		row($c; $q | map(select(.class == $c)); $o | map(select(.class == $c)))'
	jq -rn --slurpfile q "$tmp/qemu" --slurpfile o "$tmp/ours" '
		def seen: map(select(.canary)) | length;
		"| all | \($q | length) | | \($q | seen) | | \($o | seen) |"'
} >"$tmp/table" || exit 1
if [ "$readme" = - ]; then
	cat "$tmp/table"
else
	awk -v table="$tmp/table" '
		/^<!-- acceptance: end -->/ { skip = 0 }
		!skip { print }
		/^<!-- acceptance: made by/ { skip = 1; while ((getline line < table) > 0) print line }
	' "$readme" >"$tmp/readme" && cp "$tmp/readme" "$readme"
fi
