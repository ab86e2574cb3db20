#!/usr/bin/env bash
# faults.sh - qcow2-map when reading fails, or the file shrinks or grows; and that
# it opens no file that it was not told to.
#
# SPDX-License-Identifier: MIT
#
# usage: faults.sh BUILD_DIR            prints "map-faults: N passed, N failed"
set -u

build=$(cd "${1:?usage: faults.sh BUILD_DIR}" && pwd)
map=$build/bin/qcow2-map
tool=$map
here=$(cd "$(dirname "$0")" && pwd)
mk=$build/tests/q2mk
preload=$build/tests/faultio.so
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"

cp "$here/../support/every-structure.recipe" recipe
"$mk" recipe image.qcow2 || exit 1
at() { "$mk" -e "$1" recipe; }

eio() { # offset argument...: one unreadable cluster
	local offset=$1
	shift
	LD_PRELOAD=$preload FAULT_FILE=image.qcow2 FAULT_EIO=$offset:512 \
		timeout 60 "$map" "$@" >out 2>err
	status=$?
}

# ----------------------------------------------------------- what cannot be read
# 64 entries of 512 bytes: an L2 table covers 32 KiB of the guest's disk.
eio "$(at '@l2[0]')" extents --output=json image.qcow2
check 'L2 unreadable: exit status' test "$status" = 4
check 'L2 unreadable: its part of the disk, and no more' json \
	'[.extents[] | select(.state == "unreadable")] |
		length == 1 and .[0].start == 0 and .[0].length == 32768 and .[0].problem == "UNREADABLE"'
check 'L2 unreadable: the map goes on' json '.extents | map(select(.start >= 131072 and .state == "data")) |
	map(.length) | add == 8192'
eio "$(at '@l1')" extents --output=json image.qcow2
check 'L1 unreadable: the whole disk' json '.extents | length == 1 and .[0].length == 262144'
eio "$(at '@l2[0]')" measure -O qcow2 image.qcow2
check 'L2 unreadable: nothing is measured' test "$status" = 12 -a ! -s out
eio "$(at '@l2[0]')" layout --output=json image.qcow2
check 'L2 unreadable: layout is partial' json '.partial and .problems.UNREADABLE >= 1'
check 'L2 unreadable: layout says so' test "$status" = 4
eio "$(at '@l2[0]')" snapshots --output=json image.qcow2
check 'L2 unreadable: so are the costs' json .partial
eio 0 extents image.qcow2
check 'header unreadable: exit status' test "$status" = 8
for verb in layout space snapshots lint graph audit measure; do
	eio 0 "$verb" image.qcow2
	check "header unreadable: $verb" test "$status" = 8
done
eio 0 lint --raw image.qcow2
check 'header unreadable: lint --raw' test "$status" = 8
# Any one cluster: whatever it is, it ends well.
for ((cluster = 0; cluster < $(stat -c %s image.qcow2) / 512; cluster += 3)); do
	for verb in extents layout snapshots; do
		eio $((cluster * 512)) "$verb" image.qcow2
		check "cluster $cluster unreadable: $verb ends with $status" test $((status & ~12)) = 0
	done
done

# ---------------------------------------------------- a file that shrinks, or grows
cp image.qcow2 whole.qcow2
# resized NTH LENGTH argument...: the file gets this length before that read.
resized() {
	cp whole.qcow2 image.qcow2
	LD_PRELOAD=$preload FAULT_FILE=image.qcow2 FAULT_CUT=$1:$2 \
		timeout 60 "$map" "${@:3}" --no-sandbox image.qcow2 >out 2>err
	status=$?
}

verbs=(extents layout space snapshots measure lint graph audit
	'forecast flatten' 'forecast flatten --read' 'snapshots --chain')
for nth in 1 2 3 4 5 6 8 10 15 20; do
	for verb in "${verbs[@]}"; do
		for length in 4096 512 0; do
			# shellcheck disable=SC2086
			resized $nth $length $verb
			check "cut to $length at read $nth: $verb ends with $status" test $((status & ~12)) = 0
		done
	done
	for verb in extents layout space snapshots lint graph audit; do
		resized $nth 4096 $verb --output=json
		check "cut at read $nth: $verb, all of its JSON or none" jq empty out
	done
done
# What is behind the end is nobody's: the guest's disk is as it was.
"$map" extents --output=json whole.qcow2 | sed s/whole.qcow2/image.qcow2/ >before
"$map" measure -O qcow2 --output=json whole.qcow2 | sed s/whole.qcow2/image.qcow2/ >before.size
for nth in 1 2 3 5 8 15; do
	resized $nth 1000000 extents --output=json
	check "grown at read $nth: the map is the same" cmp before out
	resized $nth 1000000 measure -O qcow2 --output=json
	check "grown at read $nth: so is its size" cmp before.size out
	for verb in "${verbs[@]}"; do
		# shellcheck disable=SC2086
		resized $nth 1000000 $verb
		check "grown at read $nth: $verb ends with $status" test $((status & ~4)) = 0
	done
done

# ----------------------------------------------------------------- no other file
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-img create -q -f qcow2 -o data_file=top.data data.qcow2 1M
# Opening the shared libraries is not the question.
opened() {
	rm -f opens
	FAULT_FILE=$1 FAULT_OPENS=$work/opens LD_PRELOAD=$preload timeout 60 "$map" "${@:2}" --no-sandbox >out 2>err
	grep -E 'base\.qcow2|top\.data' opens 2>/dev/null
}
for verb in extents layout space snapshots measure lint; do
	check "$verb opens no base" test -z "$(opened top.qcow2 "$verb" top.qcow2)"
	check "$verb opens no data file" test -z "$(opened data.qcow2 "$verb" data.qcow2)"
done
check '--chain opens the base' test -n "$(opened top.qcow2 extents --chain top.qcow2)"

sum_up map-faults
