# dump-known.sh - digests that are interrupted, and go on.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# A run that is interrupted when some of the disk is done.
interrupt_digest() {
	local pid
	# What an earlier run has told is not this one's.
	rm -f new.digests*
	: >progress # before anybody looks into it
	env --default-signal=INT "$dump" --digest --resume --ranges=new.digests --rate=6M -C 3 \
		known.qcow2 3>progress >out 2>err </dev/null &
	pid=$!
	wait_for grep -qE '^digest [0-9]{8}' progress
	kill -INT "$pid"
	wait "$pid"
	check 'digest, interrupted: exit 32' test $? -eq 32
	check 'digest, interrupted: no digest' test ! -s out
	check 'digest, interrupted: no file' absent new.digests
	check 'digest, interrupted: a state' grep -q '^kept [1-9]' new.digests.part
}

# same_digest WHAT: of the run just done.
same_digest() {
	check "$1: the digest" cmp want.out out
	check "$1: the ranges" cmp want.digests new.digests
	check "$1: no state is left" absent new.digests.part
	rm -f new.digests
}

# refused_state WHAT TEXT [OPTION...] IMAGE: and the file stays as it is.
refused_state() {
	cp new.digests.part kept.state
	exits 8 --digest --resume --ranges=new.digests "${@:3}"
	check "$1: said" err_has "$2"
	check "$1: nothing on stdout" test ! -s out
	check "$1: the file is as it was" cmp kept.state new.digests.part
	check "$1: no ranges" absent new.digests
}

test_known() {
	local pid at
	qemu-img create -q -f qcow2 known.qcow2 200M
	qemu-io -c 'write -P 1 0 20M' -c 'write -P 2 22M 27M' -c 'write -P 3 150M 3000k' \
		-c 'write -P 4 199M 1M' known.qcow2 >/dev/null
	exits 0 --digest --ranges=want.digests known.qcow2
	mv out want.out
	exits 16 --digest --resume known.qcow2
	exits 16 --digest --resume --salvage --ranges=new.digests known.qcow2
	exits 0 --digest --resume --ranges=new.digests known.qcow2
	same_digest 'not interrupted'
	# What is said to be done instead of comparing, which cannot be continued.
	qemu-img convert -O raw known.qcow2 known.raw
	exits 0 --digest --resume --ranges=new.digests -f raw known.raw
	check 'the same disk elsewhere: the same file' cmp want.digests new.digests
	rm new.digests
	qemu-io -f raw -c 'write -P 9 23M 1' known.raw >/dev/null
	exits 0 --digest --resume --ranges=new.digests -f raw known.raw
	diff want.digests new.digests >differ
	check 'another disk: the part is shown' test "$(grep '^[<>]' differ | cut -d' ' -f 2,3 | grep -v disk | sort -u)" = \
		"$((23 << 20)) 1048576"
	rm new.digests known.raw differ

	interrupt_digest
	exits 0 --digest --resume --ranges=new.digests known.qcow2
	same_digest 'resumed'
	# What is done is not read again: it could not be.
	interrupt_digest
	at=$(sed -n 's/^kept \([0-9]*\) .*/\1/p' new.digests.part | tail -n 1)
	check 'resumed: some was done' test "$at" -ge 4194304
	cp new.digests.part state
	FAULT_FILE=known.qcow2 FAULT_EIO=$(host_of 1048576):65536 LD_PRELOAD=$build/tests/faultio.so \
		"$dump" --digest known.qcow2 >out 2>err
	check 'a place that cannot be read' test $? -eq 8
	FAULT_FILE=known.qcow2 FAULT_EIO=$(host_of 1048576):65536 LD_PRELOAD=$build/tests/faultio.so \
		"$dump" --digest --resume --ranges=new.digests known.qcow2 >out 2>err
	check 'resumed: it is not read again' test $? -eq 0
	same_digest 'resumed, without reading that'
	# A torn last line, and one that vouches for nothing yet.
	for tail in 'kept 99' '49283072 1048576 0123456789abcdef0123456789abcdef' $'x\n'; do
		cp state new.digests.part
		printf '%s' "$tail" >>new.digests.part
		exits 0 --digest --resume --ranges=new.digests known.qcow2
		same_digest "torn: $tail"
	done
	for cut in 1 5 60 700; do
		head -c -$cut state >new.digests.part
		exits 0 --digest --resume --ranges=new.digests known.qcow2
		same_digest "cut by $cut"
	done
	for size in 0 5 40; do
		head -c $size state >new.digests.part
		exits 0 --digest --resume --ranges=new.digests known.qcow2
		same_digest "cut to $size"
	done

	# Altered: one digit of a digest, an offset, the position; a line less.
	for edit in '3s/[0-9a-f]$/z/' '2s/^0 /1048576 /' '/^kept/s/^kept ./kept 9/' 3d '1s/state 1/state 2/'; do
		sed "$edit" state >new.digests.part
		refused_state "altered, $edit" new.digests.part known.qcow2
	done
	sed '3s/ 1048576 ./ 1048576 0/; 4s/ 1048576 ./ 1048576 1/' state >new.digests.part
	refused_state 'altered' '--force starts anew' known.qcow2
	exits 0 --digest --resume --force --ranges=new.digests known.qcow2
	same_digest 'altered, --force'
	# Of something else: a file that never was a state stays, whatever is said.
	cp want.raw new.digests.part
	refused_state 'no state' 'is not what an interrupted run left' known.qcow2
	exits 8 --digest --resume --force --ranges=new.digests known.qcow2
	check 'no state, --force: it stays' cmp want.raw new.digests.part
	rm new.digests.part
	mkdir new.digests.part
	exits 8 --digest --resume --ranges=new.digests known.qcow2
	rmdir new.digests.part
	ln -s state new.digests.part
	exits 8 --digest --resume --ranges=new.digests known.qcow2
	rm new.digests.part
	: >new.digests
	exits 8 --digest --resume --ranges=new.digests known.qcow2
	check 'ranges that are there: said' err_has 'File exists'
	check 'ranges that are there: no state' absent new.digests.part
	rm new.digests
	cp state new.digests.part
	refused_state 'another image' 'has changed since' top.qcow2
	exits 8 --digest --resume --ranges=new.digests missing.qcow2
	check 'no image: the state stays' cmp state new.digests.part
	refused_state 'a raw disk' 'has changed since' -f raw want.raw

	# The image has changed, also if its time says that it has not.
	cp -p known.qcow2 stamp
	qemu-io -c 'write -P 9 0 64k' known.qcow2 >/dev/null
	touch -r stamp known.qcow2
	refused_state 'changed' 'has changed since' known.qcow2
	cp -p stamp known.qcow2
	rm -f new.digests.part

	# Two runs at a time.
	env --default-signal=INT "$dump" --digest --resume --ranges=new.digests --rate=1M known.qcow2 >/dev/null 2>&1 </dev/null &
	pid=$!
	wait_for test -e new.digests.part
	exits 8 --digest --resume --ranges=new.digests known.qcow2
	check 'two runs: said' err_has 'another run'
	kill -INT "$pid"
	wait "$pid"
	# Killed: what was kept before that is of use.
	rm -f new.digests*
	env --default-signal=INT "$dump" --digest --resume --ranges=new.digests --rate=6M known.qcow2 >/dev/null 2>&1 </dev/null &
	pid=$!
	wait_for grep -qs '^kept' new.digests.part
	kill -KILL "$pid"
	wait "$pid" 2>/dev/null
	check 'killed: a state' grep -q '^kept [1-9]' new.digests.part
	exits 0 --digest --resume --ranges=new.digests known.qcow2
	same_digest 'killed'

	# A full disk: said, and the digest is made nevertheless.
	FAULT_NAME=new.digests.part FAULT_AT=1:ENOSPC LD_PRELOAD=$build/tests/faultwrite.so \
		"$dump" --digest --resume --ranges=new.digests known.qcow2 >out 2>err
	check 'full disk: goes on' test $? -eq 0
	check 'full disk: said' err_has 'No space left'
	same_digest 'full disk'
	: >progress
	env --default-signal=INT FAULT_NAME=new.digests.part FAULT_AT=2:ENOSPC LD_PRELOAD="$build/tests/faultwrite.so" \
		"$dump" --digest --resume --ranges=new.digests --rate=6M -C 3 known.qcow2 3>progress >out 2>err </dev/null &
	pid=$!
	wait_for grep -qE '^digest [0-9]{8}' progress
	kill -INT "$pid"
	wait "$pid"
	check 'full disk at the end: exit 32' test $? -eq 32
	check 'full disk at the end: said' err_has 'No space left'
	exits 0 --digest --resume --ranges=new.digests known.qcow2
	same_digest 'full disk at the end'
	rm -f known.qcow2 stamp state kept.state want.digests want.out progress
}

# The host offset of a guest offset of known.qcow2.
host_of() {
	qemu-img map --output=json known.qcow2 | jq ".[] | select(.start <= $1 and .start + .length > $1) | .offset + $1 - .start"
}
