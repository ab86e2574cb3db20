#!/usr/bin/env bash
# bitflip.sh - flips every bit of the metadata of images that qemu-img made, repairs,
# and holds the share that reads as before against what was promised.
#
# SPDX-License-Identifier: MIT
#
# usage: bitflip.sh BUILD_DIR [table|beside]
#
# Prints "bitflip: N passed, N failed".  With "table", the table as well.  With "beside",
# nothing but a table in Markdown: every STRIDEth (101) flip is given to
# `qemu-img check -r all` and to `qcow2-fsck -y`, and qemu-img reads and checks both
# results.
set -u

build=$(cd "$1" && pwd)
mode=${2:-}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
passed=0
failed=0

verdict() { # what bad
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "bitflip: $1" >&2
	fi
}

io() { # image commands...
	local image=$1 args=()
	shift
	for command in "$@"; do args+=(-c "$command"); done
	qemu-io "${args[@]}" "$image" >/dev/null
}

make_images() {
	qemu-img create -q -f qcow2 plain.qcow2 1G
	io plain.qcow2 'write -P 1 0 256k' 'write -P 2 100M 128k' 'write -P 7 600M 192k' 'write -z 700M 64k'
	qemu-img create -q -f qcow2 -o cluster_size=4k small.qcow2 4M
	io small.qcow2 'write -P 1 0 40k' 'write -P 2 100k 12k' 'write -P 7 600k 20k' 'write -P 9 3M 64k'
	qemu-img create -q -f qcow2 -o cluster_size=4k snapshots.qcow2 1M
	io snapshots.qcow2 'write -P 1 0 40k' 'write -P 2 100k 12k'
	qemu-img snapshot -c one snapshots.qcow2
	io snapshots.qcow2 'write -P 3 8k 8k' 'write -P 9 700k 30k'
	qemu-img snapshot -c two snapshots.qcow2
	io snapshots.qcow2 'write -P 4 16k 4k'
	seq 1 40000 | head -c 262144 >text.raw
	qemu-img convert -c -f raw -O qcow2 -o cluster_size=4k text.raw compressed.qcow2
	qemu-img create -q -f qcow2 -o cluster_size=16k,extended_l2=on extended.qcow2 1M
	io extended.qcow2 'write -P 1 0 64k' 'write -P 2 100k 2k' 'write -P 3 200k 48k' 'write -z 210k 1k'
	qemu-img create -q -f qcow2 -o cluster_size=4k bitmaps.qcow2 2M
	io bitmaps.qcow2 'write -P 1 0 64k'
	qemu-img bitmap --add -g 4k bitmaps.qcow2 first
	qemu-img bitmap --add -g 64k bitmaps.qcow2 second
	io bitmaps.qcow2 'write -P 2 256k 32k'
	qemu-img snapshot -c one bitmaps.qcow2
	io bitmaps.qcow2 'write -P 3 16k 8k'
}

# Stored results are what we say they are: clean for qemu-img, too, and readable.
ask_qemu() { # folder
	local image bad=0 n=0
	for image in "$1"/*.qcow2; do
		[ -e "$image" ] || continue
		n=$((n + 1))
		timeout 20 qemu-img check -q -f qcow2 "$image" >/dev/null 2>&1 || {
			bad=$((bad + 1))
			echo "bitflip: qemu-img check objects to $(basename "$image")" >&2
		}
		timeout 20 qemu-img convert -f qcow2 -O raw "$image" out.raw 2>/dev/null || {
			bad=$((bad + 1))
			echo "bitflip: qemu-img convert cannot read $(basename "$image")" >&2
		}
	done
	verdict "$1: $bad of $n results are bad for qemu-img" "$bad"
}

one() { # name
	mkdir -p "stored-$1"
	${WRAP:-} "$build/tests/bitflip" "$1.qcow2" -d "stored-$1" -e 97 >"$1.out" 2>"$1.err" ||
		echo "failed 1 0 1 0 1 1" >>"$1.out"
	cat "$1.err" >&2
}

# The promise, for each image and each kind of structure of all its disks: 97 % of L1,
# L2 and refcount structures and 85 % of the header read as before; what does not is
# told, but for a zero flag, one bit of each L2 entry, that is set; nothing intact is
# erased; all ends clean.  The bitmaps of subclusters and of changed blocks have no
# redundancy: they are only listed.
promise() {
	awk '
		function wrong(what) {print FILENAME ", " $1 ": " what; bad = 1}
		$1 == "failed" {wrong("did not end"); next}
		{differs = $4 - $5}
		$1 ~ /^(L1|snapshot-L1|L2|refcount-table|refcount-block)$/ {
			f += $2
			if ($3 < 0.97 * $2) wrong($3 " of " $2 " flips read as before")
			if (differs > ($1 == "L2" ? $2 / 64 : 0)) wrong(differs " differ without a word")
		}
		$1 == "header" && $3 < 0.85 * $2 {wrong($3 " of " $2 " flips read as before")}
		$6 {wrong($6 " times intact data was freed")}
		$7 {wrong($7 " results are not clean")}
		END {
			if (f < 9000) {print "only " f " flips of tables"; bad = 1}
			exit bad
		}' ./*.out >promise.txt
	status=$?
	verdict "$(cat promise.txt)" $status
}

# What QEMU reads of all disks of an image.
all_disks() { # image
	local name
	timeout 20 qemu-img convert -f qcow2 -O raw "$1" disk.tmp 2>/dev/null || return
	sha256sum <disk.tmp
	timeout 20 qemu-img snapshot -l "$1" 2>/dev/null | awk 'NR > 2 {print $2}' | grep -v '^lost+found' |
		while read -r name; do
			timeout 20 qemu-img convert -f qcow2 -l "snapshot.name=$name" -O raw "$1" disk.tmp 2>/dev/null || return
			sha256sum <disk.tmp
		done
}

# "KIND TOOL same erased unclean" of one result, of which the first says more.
judge_result() { # original result kind tool
	local same=0 erased=0 unclean=0
	[ "$(all_disks "$2")" = "$(cat "$1.disks")" ] && same=1
	"$build/tests/bitflip" "$1.qcow2" -j "$2" 2>/dev/null || erased=1
	timeout 20 qemu-img check -q -f qcow2 "$2" >/dev/null 2>&1 || unclean=1
	echo "$3 $4 $same $erased $unclean"
}

beside() {
	local name image kind
	for name in "${images[@]}"; do
		mkdir "damaged-$name"
		all_disks "$name.qcow2" >"$name.disks"
		"$build/tests/bitflip" "$name.qcow2" -f "damaged-$name" -e "${STRIDE:-101}" >/dev/null
		for image in "damaged-$name"/*.qcow2; do
			kind=$(basename "$image")
			kind=${kind%-*-*}
			cp --sparse=always "$image" qemu.tmp
			timeout 20 qemu-img check -q -r all -f qcow2 qemu.tmp >/dev/null 2>&1
			judge_result "$name" qemu.tmp "$kind" qemu
			cp --sparse=always "$image" ours.tmp
			timeout 20 "$build/bin/qcow2-fsck" -q -y --no-journal ours.tmp >/dev/null 2>&1
			judge_result "$name" ours.tmp "$kind" ours
			rm -f "$image" ours.tmp* qemu.tmp
		done
	done >beside.txt
	echo "Every ${STRIDE:-101}th flip of a bit in the metadata of ${#images[@]} images, as \`qemu-img\` reads the results:"
	echo
	echo "| the flip is in | flips | \`qemu-img check -r all\`: as before | intact data freed | not clean | \`qcow2-fsck -y\`: as before | intact data freed | not clean |"
	echo "|---|--:|--:|--:|--:|--:|--:|--:|"
	awk '{n[$1, $2]++; same[$1, $2] += $3; erased[$1, $2] += $4; unclean[$1, $2] += $5; kind[$1] = 1}
		function part(k) {
			return sprintf(" %d (%.0f %%) | %d | %d |", same[k], 100 * same[k] / n[k], erased[k], unclean[k])
		}
		END {for (k in kind) print "| " k " | " n[k, "qemu"] " |" part(k SUBSEP "qemu") part(k SUBSEP "ours")}' beside.txt | sort
}

make_images || exit 1
images=(plain small snapshots compressed extended bitmaps)
if [ "$mode" = beside ]; then
	# The first has a gigabyte to be read after each flip, and the second is alike.
	images=("${images[@]:1}")
	beside
	exit
fi
for name in "${images[@]}"; do
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
	one "$name" &
done
wait
for name in "${images[@]}"; do ask_qemu "stored-$name"; done
promise
if [ "$mode" = table ]; then
	echo "structure flips same differs admitted erased unclean"
	cat ./*.out | awk '{for (i = 2; i <= 7; i++) t[$1, i] += $i; n[$1] = 1}
		END {for (k in n) print k, t[k, 2], t[k, 3], t[k, 4], t[k, 5], t[k, 6], t[k, 7]}' | sort
fi
echo "bitflip: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
