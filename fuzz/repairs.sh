#!/usr/bin/env bash
# repairs.sh - generated damaged images, repaired once, judged by us and by qemu-img.
#
# SPDX-License-Identifier: MIT
#
# usage: repairs.sh BUILD_DIR COUNT [SEED]   COUNT inconsistent images, from seed SEED on
#
# An image counts if our check or qemu-img's has something against it.  Each is repaired
# once, with all that may be lost; what then is called repaired must be clean for both.
# Backing files need not be there: qemu-img is told that there is none; data files are a
# file of zeros.  What it can not open even so, before the repair as after it, is left to
# our own check alone, and what it said is told.  Prints the sums, and as its last
# line "repairs: N passed, N failed".  JOBS=2 runs at a time.
set -u
export LC_ALL=C
build=$(cd "${1:?usage: repairs.sh BUILD_DIR COUNT [SEED]}" && pwd)
count=${2:?how many}
seed=${3:-1}
jobs=${JOBS:-2}
chunk=50
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fsck=$build/bin/qcow2-fsck

judged_by_qemu() { # file; its status in $theirs, what it said in `said`
	timeout 20 qemu-img check -q -f qcow2 "$1" >said 2>&1
	theirs=$?
	[ $theirs = 1 ] || return
	# The name may be damaged; whether its file is there is not the question.
	timeout 20 qemu-img check -q "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"file\",\"filename\":\"$1\"}}" >said 2>&1
	theirs=$?
	grep -q "'data-file' is required" said || return
	timeout 20 qemu-img check -q "json:{\"driver\":\"qcow2\",\"backing\":null,\"file\":{\"driver\":\"file\",\"filename\":\"$1\"},\"data-file\":{\"driver\":\"file\",\"filename\":\"Q2-CANARY-DO-NOT-OPEN\"}}" >said 2>&1
	theirs=$?
}

# One line for each image: seed, what it was for both, how our repair ended, what it is
# for both then.
one() { # file seed
	local ours repaired before
	"$fsck" -n "$1" >/dev/null 2>&1
	ours=$?
	judged_by_qemu "$1"
	before=$theirs
	[ $ours != 0 ] || [ $before = 2 ] || [ $before = 3 ] || return
	timeout 60 "$fsck" -y --no-journal "$1" >/dev/null 2>&1
	repaired=$?
	echo -n "$2 $ours $before $repaired "
	"$fsck" -n "$1" >/dev/null 2>&1
	echo -n "$? "
	judged_by_qemu "$1"
	said=
	[ $theirs = 0 ] || said=$(head -n 1 said | sed 's/json:{.*}/image/; s/^qemu-img: //' | tr -c ' -~' ' ')
	echo "$theirs ${said:-}"
}

worker() { # number
	local dir=$tmp/w$1 at=$((seed + $1 * chunk)) i
	mkdir "$dir"
	cd "$dir" || exit 1
	# What images name: a disk of zeros.
	truncate -s 64M Q2-CANARY-DO-NOT-OPEN
	while [ "$(cat "$tmp"/lines.* | wc -l)" -lt "$count" ]; do
		"$build/fuzz/q2gen" --seed $at --count $chunk --out images || exit 1
		for ((i = at; i < at + chunk; i++)); do
			mv "images/$i.qcow2" image || exit 1
			one image "$i" >>"$tmp/lines.$1"
			rm -f image
		done
		rm -rf images
		at=$((at + jobs * chunk))
	done
}

for ((n = 0; n < jobs; n++)); do : >"$tmp/lines.$n"; done
for ((n = 0; n < jobs; n++)); do worker $n & done
wait
sort -n "$tmp"/lines.* | head -n "$count" >"$tmp/lines"
# Status 1: it cannot be opened, neither before nor after.
awk '($4 == 0 || $4 == 1) && $3 == 1 && $6 == 1' "$tmp/lines" | cut -d ' ' -f 7- |
	sort | uniq -c | sort -rn | sed 's/^ *\([0-9]*\) /\1 not to be opened: /'
awk '
	{ n++ }
	$4 == 0 || $4 == 1 {
		repaired++
		bad = 0
		if ($5 == 0) ours++; else bad = 1
		if ($6 == 0) theirs++; else if ($6 == 1 && $3 == 1) closed++; else bad = 1
		if (bad) { print "repairs: seed " $1 ": before " $2 " and " $3 ", repaired " $4 ", after " $0 > "/dev/stderr"; failed++ }
	}
	END {
		printf "%d inconsistent images; %d called repaired; of these clean for us %d, for qemu-img %d, not to be opened by it %d\n", n, repaired, ours, theirs, closed
		printf "repairs: %d passed, %d failed\n", repaired - failed, failed
		exit failed || repaired == 0
	}' "$tmp/lines"
