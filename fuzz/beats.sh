#!/usr/bin/env bash
# beats.sh - the mutator beside random bytes: what qemu-img and our check say.
#
# SPDX-License-Identifier: MIT
#
# usage: beats.sh BUILD_DIR COUNT README     from seed 1 on; README -: prints the table
#
# Random: one to four bytes of the same images, undamaged.  A diagnostic is a line of
# qemu-img check without its numbers.
set -u
export LC_ALL=C
build=$(cd "${1:?usage: beats.sh BUILD_DIR COUNT README}" && pwd)
count=${2:?how many}
readme=$(realpath "${3:?README, or -}")
[ "$3" != - ] || readme=-
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
"$build/fuzz/q2gen" --seed 1 --count "$count" --out damaged &&
	"$build/fuzz/q2gen" --seed 1 --count "$count" --profile sound --out random || exit 1
# The same numbers each time, by awk's own arithmetic.
awk -v count="$count" '
	function next_number(below) { x = (x * 16807) % 2147483647; return x % below }
	BEGIN {
		x = 1
		for (i = 1; i <= count; i++) {
			printf "%d", i
			for (n = 1 + next_number(4); n > 0; n--) printf " %d %d", next_number(2147483647), next_number(256)
			print ""
		}
	}' | while read -r i changes; do
	size=$(stat -c %s "random/$i.qcow2")
	# shellcheck disable=SC2086
	set -- $changes
	while [ $# -gt 0 ]; do
		# shellcheck disable=SC2059
		printf "\\$(printf %o "$2")" |
			dd of="random/$i.qcow2" bs=1 seek=$(($1 % size)) conv=notrunc status=none
		shift 2
	done
done

row() { # folder name
	local image opened=0
	: >said
	: >kinds
	for image in "$1"/*; do
		timeout 20 qemu-img info -f qcow2 "$image" >out 2>&1 && opened=$((opened + 1))
		timeout 20 qemu-img check -f qcow2 "$image" 2>&1 | grep -av '% allocated\|^Image end' |
			sed "s|$image||; s/0x[0-9a-f]*/N/g; s/[0-9][0-9]*/N/g" | tr -c '\n -~' '?' >>said
		timeout 20 "$build/bin/qcow2-fsck" --output=json "$image" 2>out | jq -r '.images[].findings[]?.id' >>kinds
	done
	echo "| $2 | $opened | $(grep . said | sort -u | wc -l) | $(sort -u kinds | wc -l) |"
}
{
	echo "| $count images | opened by \`qemu-img\` | distinct diagnostics of \`qemu-img check\` | kinds of problems that ours tells |"
	echo '|---|--:|--:|--:|'
	row random 'random bytes'
	row damaged '`q2gen`'
} >table
if [ "$readme" = - ]; then
	cat table
else
	awk -v table=table '
		/^<!-- beats: end -->/ { skip = 0 }
		!skip { print }
		/^<!-- beats: made by/ { skip = 1; while ((getline line < table) > 0) print line }
	' "$readme" >new && cp new "$readme"
fi
