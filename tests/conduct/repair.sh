#!/usr/bin/env bash
# repair.sh - how qcow2-fsck conducts itself when it writes: plans, journals, bad
# input, crashes, signals, full disks, images that others hold.
#
# SPDX-License-Identifier: MIT
#
# usage: repair.sh BUILD_DIR            prints "repair: N passed, N failed"
set -u

build=$(cd "${1:?usage: repair.sh BUILD_DIR}" && pwd)
fsck=$build/bin/qcow2-fsck
tool=$fsck
mk=$build/tests/q2mk
preload=$build/tests/faultwrite.so
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"
holder=
let_go() { [ -z "$holder" ] || kill "$holder" 2>/dev/null; }

faulty() { # name-pattern nth:what argument...
	local pattern=$1 at=$2
	shift 2
	# The shell has a word to say about what is killed.
	{
		timeout 60 env FAULT_NAME="$pattern" FAULT_AT="$at" FAULT_COUNT=count \
			LD_PRELOAD="$preload" "$fsck" "$@" >out 2>err </dev/null
	} 2>/dev/null
	status=$?
}

no_leftovers() { [ -z "$(find . -name '*.tmp-*')" ]; }

# A refcount of zero, a wrong COPIED flag, a pointer with a wrong bit, two guest
# clusters in one place, no refcounts: several phases, and the file grows.
cat >recipe <<'END2'
cluster 1K
size 64K
write 0 20K
set refcount[@data[3K]/cs] = 0
set l2[0][4].copied = 0
set l2[0][7] ^= 512
set l2[0][10] = l2[0][11]
set rt[0] = 0
END2
"$mk" recipe damaged.qcow2 || exit 1
cat >recipe.clean <<'END2'
cluster 1K
size 64K
write 0 20K
END2
"$mk" recipe.clean clean.qcow2 || exit 1

fresh() {
	rm -f image.qcow2*
	cp damaged.qcow2 image.qcow2
}

test_clean() {
	cp clean.qcow2 image.qcow2
	touch -d @1000000000 image.qcow2
	for mode in -p -y -i; do
		exits 0 $mode image.qcow2
		check "$mode: a clean image is not written" same image.qcow2 clean.qcow2
		check "$mode: not even its time changes" test "$(stat -c %Y image.qcow2)" = 1000000000
		check "$mode: no journal" absent image.qcow2.q2undo
	done
	exits 0 --plan=nothing image.qcow2
	check 'nothing to plan: no file' absent nothing
}

test_repair() {
	fresh
	exits 1 -y image.qcow2
	check 'repaired: said so' out_has 'repaired with'
	check 'repaired: the file grew' test "$(stat -c %s image.qcow2)" -gt "$(stat -c %s damaged.qcow2)"
	check 'repaired: how to take it back' out_has '--undo=image.qcow2.q2undo'
	cp image.qcow2 repaired.qcow2
	check 'repaired: something was written' test "$(cmp image.qcow2 damaged.qcow2 | wc -l)" = 1
	exits 0 image.qcow2
	qemu-img check -q image.qcow2 >out 2>err
	check 'repaired: qemu-img agrees' test $? = 0
	check 'repaired: the journal is private' test "$(stat -c %a image.qcow2.q2undo)" = 600
	exits 0 -y image.qcow2
	check 'the second repair writes nothing' same image.qcow2 repaired.qcow2
	check 'and leaves the journal of the first' test -e image.qcow2.q2undo -a ! -e image.qcow2.q2undo.1
	exits 0 --show-plan image.qcow2.q2undo
	check 'journal shown: its state' out_has 'finished'
	check 'journal shown: a write' grep -qE 'at 0x[0-9a-f]+: [0-9a-f]+ -> [0-9a-f]+' out
	exits 0 --show-plan image.qcow2.q2undo --output=json
	check 'journal shown as JSON' json '.schema == 1 and .plan.state == "finished" and
		([.plan.actions[].writes] | add) == .plan.writes and .plan.writes > 3'
	exits 0 --undo image.qcow2.q2undo image.qcow2
	check 'undone: every byte' same image.qcow2 damaged.qcow2
	exits 0 --undo image.qcow2.q2undo image.qcow2
	check 'undone twice: every byte' same image.qcow2 damaged.qcow2
	exits 1 --redo image.qcow2.q2undo image.qcow2
	check 'redone: every byte' same image.qcow2 repaired.qcow2
	run --output=json --undo image.qcow2.q2undo image.qcow2
	check 'undo as JSON' json '.images[0].repair.outcome == "done" and (.images[0] | has("verdict") | not)'
	run --output=json -y image.qcow2
	check 'repair as JSON' json '.images[0] | .verdict == "corrupt" and .repair.outcome == "done" and
		.repair.after.verdict == "clean" and .repair.journal == "image.qcow2.q2undo" and .repair.writes > 3'
	check 'a journal that was undone gives way' absent image.qcow2.q2undo.1
	exits 0 --exit=qemu --undo image.qcow2.q2undo image.qcow2
	exits 0 --exit=qemu -y image.qcow2
	fresh
	run --output=ndjson -y image.qcow2
	check 'repair as ndjson' test "$(jq -s 'length > 2 and .[-1].summary.repair.after.verdict == "clean"' out)" = true
	fresh
	cp clean.qcow2 other.qcow2
	exits 1 -y other.qcow2 image.qcow2 other.qcow2
	fresh
	cp damaged.qcow2 other.qcow2
	chmod 444 other.qcow2
	exits 1 -yq image.qcow2
	check 'quiet: no list of findings' test "$(grep -c L2_UNALIGNED out)" = 0
}

# -p leaves what is not safe, and says that it is left.
test_preen() {
	fresh
	run -p image.qcow2
	check "preen: problems are left (was $status)" test $status = 4
	check 'preen: the wrong pointer stays' out_has 'L2_UNALIGNED'
	if [ -e image.qcow2.q2undo ]; then
		exits 0 --undo image.qcow2.q2undo image.qcow2
		check 'preen: undone' same image.qcow2 damaged.qcow2
	fi
}

test_plan() {
	fresh
	rm -f plan
	exits 4 --plan plan image.qcow2
	check 'planned: nothing is written' same image.qcow2 damaged.qcow2
	check 'planned: no journal' absent image.qcow2.q2undo
	cp plan plan.kept
	exits 12 --plan plan image.qcow2
	check 'a plan is not overwritten' same plan plan.kept
	exits 12 --plan image.qcow2 image.qcow2
	check 'nor is the image by a plan' same image.qcow2 damaged.qcow2
	exits 12 --plan missing/plan image.qcow2
	exits 0 --show-plan plan
	check 'plan shown: as a plan' out_has 'plan for an image of'
	exits 1 --apply plan image.qcow2
	check 'applied: as -y does' same image.qcow2 repaired.qcow2
	exits 8 --apply plan image.qcow2
	check 'applied again: refused' err_has 'changed since'
	check 'applied again: nothing written' same image.qcow2 repaired.qcow2
	check 'applied again: the journal stays' test -e image.qcow2.q2undo
	exits 0 --undo image.qcow2.q2undo image.qcow2
	check 'applied and undone: every byte' same image.qcow2 damaged.qcow2
}

refuses() { # what plan-file
	fresh
	for mode in --apply --undo --redo; do
		run $mode "$2" image.qcow2
		check "$1: $mode refused (was $status)" test $((status & 8)) = 8 -a $status -lt 16
		check "$1: $mode says why" test -s err
		check "$1: $mode writes nothing" same image.qcow2 damaged.qcow2
		check "$1: $mode leaves no journal" absent image.qcow2.q2undo
	done
	exits 8 --show-plan "$2"
}

test_bad_plans() {
	local size name
	fresh
	run -y image.qcow2
	cp image.qcow2.q2undo journal
	for name in plan journal; do
		size=$(stat -c %s $name)
		for at in 0 7 95 96 $((size / 2)) $((size - 1)); do
			head -c $at $name >bad
			refuses "$name cut to $at bytes" bad
			cp $name bad
			printf '\252' | dd of=bad bs=1 seek=$at conv=notrunc status=none
			refuses "$name with byte $at altered" bad
		done
		cp $name bad
		printf x >>bad
		refuses "$name with a byte too many" bad
		cp $name bad
		printf '\0\0\0\2' | dd of=bad bs=1 seek=8 conv=notrunc status=none
		refuses "$name of a later format" bad
		check 'a later format is called so' err_has 'format 2'
	done
	refuses 'an image as plan' clean.qcow2
	refuses 'an empty plan' /dev/null
	refuses 'a folder' .
	refuses 'a missing file' missing
	fresh
	for mode in --undo --redo; do
		exits 8 $mode plan image.qcow2
		check "$mode of a plan: told apart" err_has 'not a journal'
	done
	exits 8 --apply journal image.qcow2
	check '--apply of a journal: told apart' err_has 'a journal, not a plan'
	check 'none of it was written' same image.qcow2 damaged.qcow2
}

# The image changes between planning and applying, or after the repair.
test_changed() {
	fresh
	printf x >>image.qcow2
	cp image.qcow2 now
	exits 8 --apply plan image.qcow2
	check 'grown: says so' err_has 'bytes, the plan expects'
	check 'grown: nothing written' same image.qcow2 now
	check 'grown: no journal' absent image.qcow2.q2undo
	cp clean.qcow2 image.qcow2
	exits 8 --apply plan image.qcow2
	check 'replaced: nothing written' same image.qcow2 clean.qcow2
	check 'replaced: no journal' absent image.qcow2.q2undo
	fresh
	poke=$("$mk" -e '@l2[0]+8*7' recipe)
	printf '\1' | dd of=image.qcow2 bs=1 seek="$poke" conv=notrunc status=none
	cp image.qcow2 now
	exits 8 --apply plan image.qcow2
	check 'one byte: says where' err_has "offset $poke"
	check 'one byte: nothing written' same image.qcow2 now
	# A guest wrote to the repaired image, where the plan has nothing to say.
	fresh
	run -y image.qcow2
	qemu-io -f qcow2 -c 'write 0 1k' image.qcow2 >out 2>&1
	touch -d '1 hour' image.qcow2
	cp image.qcow2 now
	exits 8 --undo image.qcow2.q2undo image.qcow2
	check 'used since: says so' err_has 'changed since'
	check 'used since: nothing written' same image.qcow2 now
	exits 8 --redo image.qcow2.q2undo image.qcow2
}

# Killed at every operation that writes; half of the write got through.
test_crashes() {
	local n last where
	fresh
	faulty image.qcow2 0:none -y image.qcow2
	last=$(cat count)
	check "operations were counted ($last)" test "$last" -gt 6
	# The first one is before the journal, and writes nothing.
	fresh
	faulty image.qcow2 1:KILL -y image.qcow2
	check 'killed at 1: killed' test $status = 137
	check 'killed at 1: untouched' same image.qcow2 damaged.qcow2
	check 'killed at 1: no journal' absent image.qcow2.q2undo
	for ((n = 2; n <= last; n++)); do
		fresh
		faulty image.qcow2 $n:KILL -y image.qcow2
		check "killed at $n: killed" test $status = 137
		check "killed at $n: there is a journal" test -e image.qcow2.q2undo
		cp image.qcow2 crashed
		cp image.qcow2.q2undo crashed.q2undo
		for mode in -y -p -i '--plan=crash' '--apply=plan'; do
			run $mode image.qcow2
			check "killed at $n: $mode is refused (was $status)" test $status = 8
			check "killed at $n: $mode names redo and undo" grep -q -- '--redo=.*--undo=' err
			check "killed at $n: $mode writes nothing" same image.qcow2 crashed
		done
		run --output=json -y image.qcow2
		check "killed at $n: refused in JSON, too" json '.images[0].error'
		run -n image.qcow2
		check "killed at $n: -n tells" err_has '--redo=image.qcow2.q2undo'
		check "killed at $n: -n writes nothing" same image.qcow2 crashed
		exits 0 --undo image.qcow2.q2undo image.qcow2
		check "killed at $n: undone" same image.qcow2 damaged.qcow2
		cp crashed image.qcow2
		cp crashed.q2undo image.qcow2.q2undo
		exits 1 --redo image.qcow2.q2undo image.qcow2
		check "killed at $n: redone" same image.qcow2 repaired.qcow2
		# And now while it is undone; the first operation is before that.
		where=$((n < last ? n : 2))
		faulty image.qcow2 $where:KILL --undo image.qcow2.q2undo image.qcow2
		if [ $status = 137 ]; then
			exits 8 -y image.qcow2
			exits 0 --undo image.qcow2.q2undo image.qcow2
		fi
		check "killed at $where while undoing: undone" same image.qcow2 damaged.qcow2
	done
}

# Each operation fails, or a signal comes.
test_failures() {
	local n last what
	fresh
	faulty image.qcow2 0:none -y image.qcow2
	last=$(cat count)
	for what in EIO ENOSPC INT TERM; do
		for ((n = 1; n <= last; n++)); do
			fresh
			faulty image.qcow2 $n:$what -y image.qcow2
			case $what in
			E*) check "$what at $n: status $status" test $((status & 8)) = 8 -a $status -lt 16 ;;
			*) check "$what at $n: status $status" test $((status & 32)) = 32 ;;
			esac
			if [ -e image.qcow2.q2undo ]; then
				run --undo image.qcow2.q2undo image.qcow2
				check "$what at $n: the journal leads back" same image.qcow2 damaged.qcow2
			else
				check "$what at $n: told" grep -q 'as it was\|nothing was written' err
				check "$what at $n: the image is as it was" same image.qcow2 damaged.qcow2
			fi
			check "$what at $n: nothing left over" no_leftovers
		done
	done
	# The same for the journal's own writes, and for its last mark.
	for what in EIO ENOSPC; do
		for n in 1 2; do
			fresh
			faulty '*.tmp-*' $n:$what -y image.qcow2
			check "journal, $what at $n: status $status" test $((status & 8)) = 8
			check "journal, $what at $n: the image is untouched" same image.qcow2 damaged.qcow2
			check "journal, $what at $n: no journal" absent image.qcow2.q2undo
			check "journal, $what at $n: nothing left over" no_leftovers
		done
		fresh
		faulty '*.q2undo' 1:$what -y image.qcow2
		check "mark, $what: status $status" test $((status & 8)) = 8
		check "mark, $what: told" err_has 'cannot be marked'
		check "mark, $what: the image is repaired" same image.qcow2 repaired.qcow2
		exits 8 -y image.qcow2
		exits 1 --redo image.qcow2.q2undo image.qcow2
		exits 0 -y image.qcow2
	done
}

# The same while a repair is undone or redone: what was done by then counts, and either
# way stays open.
test_failures_back() {
	local n last what way
	interrupted_or_done() {
		case $way,$status in
		undo,0) same image.qcow2 damaged.qcow2 ;;
		redo,1) same image.qcow2 repaired.qcow2 ;;
		*) test $((status & 32)) = 32 ;;
		esac
	}
	for way in undo redo; do
		prepare() {
			fresh
			run -y image.qcow2
			[ $way = undo ] || run --undo image.qcow2.q2undo image.qcow2
		}
		prepare
		faulty image.qcow2 0:none --$way image.qcow2.q2undo image.qcow2
		last=$(cat count)
		check "$way: operations were counted ($last)" test "$last" -gt 6
		for what in EIO ENOSPC INT TERM; do
			for ((n = 1; n <= last; n++)); do
				prepare
				faulty image.qcow2 $n:$what --$way image.qcow2.q2undo image.qcow2
				# A signal may come too late: then all was done.
				case $what in
				E*) check "$way, $what at $n: status $status" test $((status & 8)) = 8 -a $status -lt 16 ;;
				*) check "$way, $what at $n: status $status" interrupted_or_done ;;
				esac
				cp -p image.qcow2 stopped
				cp -p image.qcow2.q2undo stopped.q2undo
				run --redo image.qcow2.q2undo image.qcow2
				check "$way, $what at $n: redone" same image.qcow2 repaired.qcow2
				cp -p stopped image.qcow2
				cp -p stopped.q2undo image.qcow2.q2undo
				run --undo image.qcow2.q2undo image.qcow2
				check "$way, $what at $n: undone" same image.qcow2 damaged.qcow2
			done
		done
	done
	# A journal of another image, of the same size.
	prepare
	cp clean.qcow2 image.qcow2
	truncate -s "$(stat -c %s repaired.qcow2)" image.qcow2
	cp image.qcow2 now
	for way in undo redo; do
		exits 8 --$way image.qcow2.q2undo image.qcow2
		check "$way of another image's journal: nothing written" same image.qcow2 now
	done
}

# A header that is gone: what to do about it is said, and nothing written.
test_headless() {
	local mode
	cp clean.qcow2 headless.qcow2
	dd if=/dev/zero of=headless.qcow2 bs=512 count=1 conv=notrunc status=none
	for mode in -p -y; do
		rm -f image.qcow2*
		cp headless.qcow2 image.qcow2
		run $mode image.qcow2
		check "headless, $mode: status $status" test $status = 12
		check "headless, $mode: --rescue is named" err_has '-y --rescue'
		check "headless, $mode: nothing written" same image.qcow2 headless.qcow2
	done
	exits 1 -y --rescue image.qcow2
	check 'headless: that brings the disk back' qemu-img compare -q -F qcow2 -f qcow2 image.qcow2 clean.qcow2
	printf 'not an image' >image.qcow2
	run -y image.qcow2
	check 'no image: nobody is sent to search it' test "$(grep -c rescue err)" = 0
}

# A signal while the journal is written: nothing has begun yet.
test_signals_early() {
	local n what
	for what in INT TERM; do
		for n in 1 2; do
			fresh
			faulty '*.tmp-*' $n:$what -y image.qcow2
			check "journal, $what at $n: status $status" test $((status & 32)) = 32
			check "journal, $what at $n: untouched" same image.qcow2 damaged.qcow2
			check "journal, $what at $n: no journal" absent image.qcow2.q2undo
			check "journal, $what at $n: nothing left over" no_leftovers
		done
		rm -f plan.signal
		fresh
		faulty '*.tmp-*' 1:$what --plan plan.signal image.qcow2
		check "planning, $what: untouched" same image.qcow2 damaged.qcow2
		check "planning, $what: nothing left over" no_leftovers
	done
}

# Each allocation fails, one in a run.  Sanitizers have an allocator of their own, and
# libseccomp may try again for ever.
test_allocations() {
	local n first last bad=0 refused=0
	! grep -q __asan_init "$fsck" || return 0
	starved() { # number argument...
		local n=$1
		shift
		timeout -k 5 60 env FAULT_ALLOC="$n" FAULT_COUNT=count \
			LD_PRELOAD="$build/tests/faultalloc.so" "$fsck" --no-sandbox "$@" >out 2>err </dev/null
		status=$?
	}
	# One of which little is to be repaired.
	cat >recipe.few <<END2
cluster 1K
size 64K
write 0 20K
set refcount[@data[3K]/cs] = 0
END2
	"$mk" recipe.few few.qcow2 || exit 1
	rm -f image.qcow2*
	cp few.qcow2 image.qcow2
	starved 0 -y image.qcow2
	last=$(cat count)
	# Libraries allocate before our first line runs; what they do without is
	# their affair.
	starved 0 --version
	first=$(cat count)
	check "allocations were counted ($first to $last)" test "$last" -gt $((first + 50))
	for ((n = first + 1; n <= last; n++)); do
		rm -f image.qcow2*
		cp few.qcow2 image.qcow2
		starved $n -y image.qcow2
		[ $status -lt 64 ] || {
			check "allocation $n: status $status" false
			bad=1
		}
		[ $((status & 8)) = 0 ] || refused=$((refused + 1))
		if [ -e image.qcow2.q2undo ]; then
			run --undo image.qcow2.q2undo image.qcow2
		fi
		same image.qcow2 few.qcow2 || {
			check "allocation $n: the image is as it was, or the journal leads back" false
			bad=1
		}
		no_leftovers || {
			check "allocation $n: nothing left over" false
			bad=1
		}
	done
	check 'no allocation that fails does harm' test $bad = 0
	check "most are told of ($refused of $((last - first)))" test $refused -gt $(((last - first) / 2))
}

hold() { # qemu-io options
	# shellcheck disable=SC2086
	qemu-io $1 -c 'sleep 60000' image.qcow2 >/dev/null 2>&1 &
	holder=$!
	for _ in $(seq 200); do
		run --output=json image.qcow2
		json '.images[0]["in-use"]' && return
		sleep 0.05
	done
}

release() {
	kill "$holder"
	wait "$holder" 2>/dev/null
	holder=
}

test_in_use() {
	for how in '-f qcow2' '-f qcow2 -r'; do
		fresh
		cat clean.qcow2 >image.qcow2
		hold "$how"
		cat damaged.qcow2 >image.qcow2
		exits 8 -y image.qcow2
		check "held ($how): which lock" grep -qE 'byte [12]0[0-3], .*(write|read|resize)' err
		check "held ($how): by whom" err_has "process $holder (qemu-io)"
		check "held ($how): nothing written" same image.qcow2 damaged.qcow2
		check "held ($how): no journal" absent image.qcow2.q2undo
		exits 8 --apply plan image.qcow2
		run --plan plan.held image.qcow2
		check "held ($how): planning needs no lock (was $status)" test $status = 4
		rm -f plan.held
		release
	done
}

# While we have the image nobody else gets it: neither QEMU, nor we.
test_two() {
	local pid
	fresh
	mkfifo answers
	"$fsck" -i image.qcow2 >out.first 2>err.first <answers &
	pid=$!
	exec 3>answers
	for _ in $(seq 200); do
		grep -q 'Repair' err.first && break
		sleep 0.05
	done
	qemu-io -f qcow2 -r -c 'read 0 512' image.qcow2 >out 2>err
	check 'while asking: QEMU does not even read' test $? -ne 0
	check 'while asking: because of a lock' grep -qi 'lock' err
	exits 8 -y image.qcow2
	check 'while asking: a second process is refused' err_has "process $pid ("
	kill -TERM $pid
	wait $pid
	status=$?
	exec 3>&-
	rm -f answers
	check "interrupted while asking: status $status" test $((status & 32)) = 32
	check 'interrupted while asking: nothing written' same image.qcow2 damaged.qcow2
	check 'interrupted while asking: no journal' absent image.qcow2.q2undo
}

answers() { # text argument...
	local text=$1
	shift
	# shellcheck disable=SC2059
	printf "$text" | timeout 60 "$fsck" "$@" >out 2>err
	status=$?
}

test_questions() {
	fresh
	answers '' -i image.qcow2
	check "no answer: status $status" test $status = 4
	check 'no answer: as good as quitting' same image.qcow2 damaged.qcow2
	answers 'y\nq\n' -i image.qcow2
	check "quit: status $status" test $status = 4
	check 'quit: nothing written' same image.qcow2 damaged.qcow2
	answers 'n\nn\nn\nn\nn\nn\nn\nn\n' -i image.qcow2
	check "no: status $status" test $status = 4
	check 'no: nothing written' same image.qcow2 damaged.qcow2
	answers 'what\na\n' -i image.qcow2
	check "all: status $status" test $status = 1
	check 'all: as -y does' same image.qcow2 repaired.qcow2
	check 'all: the question was asked twice' test "$(grep -c 'Repair.*(y)es' err)" = 2
	fresh
	rm -f plan.asked
	answers 'a\n' -i --plan plan.asked image.qcow2
	check "planned with questions: status $status" test $status = 4
	check 'planned with questions: nothing written' same image.qcow2 damaged.qcow2
	exits 1 --apply plan.asked image.qcow2
}

# As root, permission bits count only without the capabilities to override.
powerless() {
	if [[ $(id -u) -eq 0 ]]; then
		setpriv --bounding-set=-dac_override,-dac_read_search \
			--inh-caps=-dac_override,-dac_read_search "$@"
	else
		"$@"
	fi
}

test_read_only() {
	fresh
	chmod 444 image.qcow2
	powerless "$fsck" -y image.qcow2 >out 2>err
	status=$?
	check "read-only: status $status" test $status = 12
	check 'read-only: says so' err_has 'cannot open for writing: Permission denied'
	check 'read-only: no journal' absent image.qcow2.q2undo
	powerless "$fsck" --apply plan image.qcow2 >out 2>err
	check 'read-only: not applied' test $? = 8
	cp clean.qcow2 readonly.qcow2
	chmod 444 readonly.qcow2
	powerless "$fsck" -p readonly.qcow2 >out 2>err
	check 'read-only and clean: nothing to complain of' test $? = 0
	mkdir locked
	cp damaged.qcow2 locked/image.qcow2
	chmod 555 locked
	powerless "$fsck" -y locked/image.qcow2 >out 2>err
	status=$?
	check "no journal can be made: status $status" test $((status & 8)) = 8
	check 'no journal can be made: says so' err_has 'cannot create'
	check 'no journal can be made: untouched' same locked/image.qcow2 damaged.qcow2
	chmod 755 locked
	powerless "$fsck" -y --journal elsewhere locked/image.qcow2 >out 2>err
	check 'with a journal elsewhere: repaired' same locked/image.qcow2 repaired.qcow2
}

test_journals() {
	local long i
	printf -v long 'x%.0s' {1..250}
	fresh
	# That there would be none is known before the work is done.
	for i in nowhere/journal '' "$long$long"; do
		exits 8 -y "--journal=$i" image.qcow2
		check "no journal there: said" err_has 'there would be no journal'
		check "no journal there: $i" same image.qcow2 damaged.qcow2
	done
	cp damaged.qcow2 "$long.q2"
	exits 8 -y "$long.q2"
	check 'a name that is too long: said' err_has 'File name too long'
	check 'a name that is too long: not that one is there' test -z "$(grep 'way' err)"
	rm "$long.q2"
	# Which file could not be opened.
	exits 8 --apply=nowhere/plan image.qcow2
	check 'no plan: which' err_has 'nowhere/plan: cannot open'
	exits 8 --restore-metadata=nowhere/backup image.qcow2
	check 'no backup: which' err_has 'nowhere/backup: cannot open'
	check 'no backup: once' lines err 1
	fresh
	exits 1 -y --no-journal image.qcow2
	check 'no journal was asked for' absent image.qcow2.q2undo
	check 'and it is said' out_has 'no journal was kept'
	fresh
	exits 1 -y image.qcow2
	cp image.qcow2.q2undo first
	cat damaged.qcow2 >image.qcow2
	exits 1 -y image.qcow2
	check 'an earlier journal is moved away' same image.qcow2.q2undo.1 first
	check 'and it is said where to' out_has 'image.qcow2.q2undo.1'
	cat damaged.qcow2 >image.qcow2
	exits 1 -y image.qcow2
	check 'the next one, too' test -e image.qcow2.q2undo.2
	check 'and the first stays' same image.qcow2.q2undo.1 first
	# What was done last is undone first, and then what was done before.
	cat >recipe.two <<END2
cluster 1K
size 64K
write 0 20K
set refcount[@data[3K]/cs] = 3
set l2[0][7] ^= 512
END2
	"$mk" recipe.two two.qcow2 || exit 1
	rm -f image.qcow2*
	cp two.qcow2 image.qcow2
	exits 4 -p image.qcow2
	check 'the safe part is repaired' out_has 'repaired with'
	exits 1 -y image.qcow2
	exits 8 --undo image.qcow2.q2undo.1 image.qcow2
	check 'not in the order in which they were made' err_has 'changed since'
	exits 0 --undo image.qcow2.q2undo image.qcow2
	exits 0 --undo image.qcow2.q2undo.1 image.qcow2
	check 'the last one first: every byte' same image.qcow2 two.qcow2
	fresh
	echo 'not mine' >image.qcow2.q2undo
	exits 8 -y image.qcow2
	check 'a foreign file in its place: refused' err_has 'move it away'
	check 'a foreign file in its place: kept' grep -q 'not mine' image.qcow2.q2undo
	check 'a foreign file in its place: untouched' same image.qcow2 damaged.qcow2
	exits 1 -y --journal mine image.qcow2
	check 'a journal by name' test -s mine
	cp mine kept
	cat damaged.qcow2 >image.qcow2
	exits 8 -y --journal mine image.qcow2
	check 'by name: not overwritten' same mine kept
	exits 8 -y --journal image.qcow2 image.qcow2
	check 'the image is no journal' same image.qcow2 damaged.qcow2
}

# A repair that was begun by one name of the image is found by another one.
test_links() {
	fresh
	mkdir links
	ln -s ../image.qcow2 links/link.qcow2
	faulty image.qcow2 5:KILL -y links/link.qcow2
	check 'by a link, killed: killed' test $status = 137
	check 'by a link, killed: the journal is beside the image' test -e image.qcow2.q2undo
	exits 8 -y image.qcow2
	check 'by a link, killed: found by the name of the file' err_has '--redo=image.qcow2.q2undo'
	exits 8 -y links/link.qcow2
	exits 0 --undo image.qcow2.q2undo image.qcow2
	exits 1 -y links/link.qcow2
	check 'by a link: repaired' same image.qcow2 repaired.qcow2
	check 'by a link: nothing beside it' test "$(ls links)" = link.qcow2
}

test_usage() {
	fresh
	local bad
	for bad in '-p -y' '-n -p' '-n --plan=x' '-p --apply=plan' \
		'--plan=x --apply=plan' '--undo=a --redo=b' '-i -y' '--journal=x' \
		'--no-journal' '-y --journal=x --no-journal' '--free-orphans' \
		'-p --free-orphans' '-p --rescue' '--attach=1=2' '-y --data' \
		'-y --chain' '-y --output=qemu'; do
		# shellcheck disable=SC2086
		exits 16 $bad image.qcow2
		check "$bad: nothing written" same image.qcow2 damaged.qcow2
	done
	exits 16 -y
	exits 16 --plan=x image.qcow2 clean.qcow2
	exits 16 --show-plan=x image.qcow2
	exits 16 -y --journal=x image.qcow2 clean.qcow2
	check 'no file was made' absent x
	for bad in 1 =2 1= 1=x 1=2x 99999999999=1 -1=2 1=-2; do
		run -y --attach "$bad" image.qcow2
		check "attach $bad: status $status" test $status = 16
		check "attach $bad: nothing written" same image.qcow2 damaged.qcow2
	done
	exits 8 -y missing
	exits 8 -y .
	exits 8 --undo missing image.qcow2
}

# Every byte of metadata is overwritten, and comes back.
backup_of() { # name; the recipe comes from standard input
	local offset len
	cat >"recipe.$1"
	"$mk" "recipe.$1" saved.qcow2 || exit 1
	rm -f backup image.qcow2*
	cp saved.qcow2 image.qcow2
	exits 0 --backup-metadata backup image.qcow2
	check "$1: saving writes nothing" same image.qcow2 saved.qcow2
	check "$1: no guest data is saved" test "$(stat -c %s backup)" -lt $(($(stat -c %s image.qcow2) / 2))
	exits 8 --backup-metadata backup image.qcow2
	exits 0 --show-plan backup --output=json --all-findings
	jq -r '.plan.actions[].edits[] | "\(.offset) \(.length)"' out >ranges
	check "$1: there are ranges" test -s ranges
	while read -r offset len; do
		head -c "$len" /dev/zero | tr '\0' '\252' |
			dd of=image.qcow2 bs=64K oflag=seek_bytes seek="$offset" conv=notrunc status=none
	done <ranges
	cp image.qcow2 wiped
	check "$1: the damage shows" test "$("$fsck" image.qcow2 >/dev/null; echo $?)" != 0
	exits 1 --restore-metadata backup image.qcow2
	check "$1: every byte is back" same image.qcow2 saved.qcow2
	# Without the key QEMU does not open an encrypted one.
	[ "$1" = encrypted ] || {
		qemu-img check -q image.qcow2 >out 2>err
		check "$1: qemu-img agrees" test $? = 0
	}
	exits 0 --restore-metadata backup image.qcow2
	check "$1: twice is once" same image.qcow2 saved.qcow2
	exits 0 --undo image.qcow2.q2undo image.qcow2
	check "$1: undone" same image.qcow2 wiped
}

test_backup() {
	backup_of plain <<END2
cluster 512
size 256K
write 0 100K
END2
	backup_of everything <<END2
cluster 4K
size 4M
write 0 1M
compress 1M 256K seed:3
snapshot one
write 0 64K
snapshot two
write 2M 64K
bitmap b gran=9 set=0:64K
END2
	backup_of extended <<END2
cluster 16K
extl2
size 4M
write 0 1M
snapshot one
write 512 512
END2
	backup_of encrypted <<END2
cluster 512
size 64K
luks 5120
write 0 64K
fill @luks+8 584 0
set u32[@luks+104] = 10
set u32[@luks+108] = 64
set u32[@luks+248] = 2
set u32[@luks+252] = 8
set u32[@luks+296] = 3
set u32[@luks+300] = 8
set u32[@luks+344] = 4
set u32[@luks+348] = 8
set u32[@luks+392] = 5
set u32[@luks+396] = 8
set u32[@luks+440] = 6
set u32[@luks+444] = 8
set u32[@luks+488] = 7
set u32[@luks+492] = 8
set u32[@luks+536] = 8
set u32[@luks+540] = 8
set u32[@luks+584] = 9
set u32[@luks+588] = 8
END2
	luks=$("$mk" -e @luks recipe.encrypted)
	dd if=saved.qcow2 bs=1 skip=$((luks + 2000)) count=32 of=key status=none
	check 'encrypted: no key is saved' test "$(grep -cFaf key backup)" = 0
	rm -f backup
	exits 0 --backup-metadata backup --with-keys saved.qcow2
	exits 0 --show-plan backup
	check 'encrypted: keys if they are asked for' out_has 'LUKS'
	# A file that was cut gets its length and its tables back.
	"$mk" recipe.everything image.qcow2
	rm -f backup image.qcow2.q2undo
	exits 0 --backup-metadata backup image.qcow2
	truncate -s 1000000 image.qcow2
	run --restore-metadata backup image.qcow2
	check "cut: status $status" test $((status & ~5)) = 0
	check 'cut: what that may have cost is said' out_has 'bytes shorter than it was'
	check 'cut: the length is back' test "$(stat -c %s image.qcow2)" = "$("$mk" -e end recipe.everything)"
	# An image without a fault: another one's tables would end it.
	"$mk" recipe.plain image.qcow2
	cp image.qcow2 now
	rm -f image.qcow2.q2undo*
	exits 8 --restore-metadata backup image.qcow2
	check "of another image: says so" err_has 'clusters of another size'
	check "of another image: nothing written" same image.qcow2 now
	qemu-img create -q -f qcow2 image.qcow2 1M
	rm -f before
	exits 0 --backup-metadata before image.qcow2
	qemu-io -f qcow2 -c 'write 0 64k' image.qcow2 >out 2>&1
	exits 1 --restore-metadata before image.qcow2
	check "of a sound image: what that costs is said" out_has 'written to it since'
	exits 8 --restore-metadata plan saved.qcow2
	exits 8 --apply backup saved.qcow2
	exits 8 --undo backup saved.qcow2
	head -c 3000 backup >bad
	exits 8 --restore-metadata bad saved.qcow2
	rm -f backup
	exits 8 --backup-metadata backup /dev/null
	check 'nothing to save: no file' absent backup
}

test_discard() {
	cat >recipe.leak <<END2
cluster 64K
size 16M
write 0 4M
write 8M 4M seed:1
copy @data[0] @free 64K
set refcount[@free/cs] = 1
END2
	"$mk" recipe.leak leaky.qcow2 || exit 1
	offset=$("$mk" -e '@free' recipe.leak)
	rm -f image.qcow2*
	cp leaky.qcow2 image.qcow2
	qemu-img convert -O raw image.qcow2 before.raw
	exits 1 -y --free-orphans --discard image.qcow2
	check 'discarded: said so' out_has '65536 bytes were given back'
	check 'discarded: a hole is there' test "$(dd if=image.qcow2 bs=64K skip="$offset" iflag=skip_bytes count=1 status=none | tr -d '\0' | wc -c)" = 0
	qemu-img convert -O raw image.qcow2 after.raw
	check 'discarded: the guest reads the same' same before.raw after.raw
	cp image.qcow2 now
	exits 8 --undo image.qcow2.q2undo image.qcow2
	check 'discarded: not to be undone' err_has 'discarded'
	check 'discarded: nothing is written' same image.qcow2 now
	rm -f image.qcow2*
	cp leaky.qcow2 image.qcow2
	exits 1 -y --free-orphans image.qcow2
	check 'freed only: the bytes stay' test "$(dd if=image.qcow2 bs=64K skip="$offset" iflag=skip_bytes count=1 status=none | tr -d '\0' | wc -c)" != 0
	exits 0 --undo image.qcow2.q2undo image.qcow2
	check 'freed only: undone' same image.qcow2 leaky.qcow2
}

# A real file system that is full, and a real medium that cannot be written, if
# this system lets us have one.
test_media() {
	mkdir disk
	mount -t tmpfs -o size=64k none disk 2>/dev/null || return 0
	cp damaged.qcow2 disk/image.qcow2
	dd if=/dev/zero of=disk/filler bs=4k status=none 2>/dev/null
	run -y disk/image.qcow2
	check "a full disk: status $status" test $((status & 8)) = 8
	check 'a full disk: says so' err_has 'No space left'
	check 'a full disk: the image is untouched' same disk/image.qcow2 damaged.qcow2
	check 'a full disk: nothing is left over' test "$(find disk -type f | wc -l)" = 2
	# Room for what is new in the image, which a snapshot for orphans is a part of.
	truncate -s -20K disk/filler
	run -y --journal away disk/image.qcow2
	check 'a full disk, the journal elsewhere: repaired' same disk/image.qcow2 repaired.qcow2
	mount -o remount,ro disk
	run --undo away disk/image.qcow2
	check "a read-only medium: status $status" test $status = 8
	check 'a read-only medium: says so' err_has 'Read-only file system'
	umount disk
}

# A block device: repaired in place, never made longer.
test_device() {
	local device
	fresh
	# The device is larger than the image: there is room in it.
	truncate -s 1M image.qcow2
	cp image.qcow2 padded.qcow2
	device=$(losetup --show -f image.qcow2 2>/dev/null) || return 0
	exits 12 -y "$device"
	check 'device: no journal beside it' err_has '--journal'
	run -y --journal device.journal "$device"
	check "device: status $status" test $status = 1
	run --plan device.plan "$device"
	check 'device: sound afterwards' test $status = 0
	exits 0 --undo device.journal "$device"
	sync "$device"
	losetup -d "$device"
	check 'device: undone' same image.qcow2 padded.qcow2
	test_full_device
}

# One that ends with the image: two guest ranges share a cluster, of which no copy can be
# made, and a third one's refcount is wrong, which is put right all the same.
test_full_device() {
	local device l1 l2
	qemu-img create -q -f qcow2 -o cluster_size=4k full.qcow2 1M
	qemu-io -f qcow2 -c 'write -P 7 0 64k' full.qcow2 >/dev/null
	truncate -s $((($(stat -c %s full.qcow2) + 4095) / 4096 * 4096)) full.qcow2
	l1=$((16#$(xxd -p -s 40 -l 8 full.qcow2)))
	l2=$((16#$(xxd -p -s $l1 -l 8 full.qcow2) & 0xfffffffffffe00))
	dd if=full.qcow2 of=full.qcow2 bs=8 skip=$((l2 / 8)) seek=$((l2 / 8 + 40)) count=1 \
		conv=notrunc status=none
	# The block of refcounts is the third cluster: 16 bits each, here that of the L1 table.
	printf '\0\5' | dd of=full.qcow2 bs=1 seek=$((8192 + 2 * 3)) conv=notrunc status=none
	device=$(losetup --show -f full.qcow2 2>/dev/null) || return 0
	run -y --free-orphans --no-journal "$device"
	check "a full device: status $status" test $status = 4
	check 'a full device: says what is left' out_has 'left as it is: the device has no room'
	run "$device"
	check 'a full device: what needs room is left' out_has CROSS_LINK
	check 'a full device: the rest is repaired' test "$(grep -c REFCOUNT out)" = 0
	sync "$device"
	losetup -d "$device"
}

# Of what a repair loses all is told, if that is asked for.
test_losses() {
	local i
	{
		printf 'cluster 4K\nsize 1M\nwrite 0 400K\n'
		for ((i = 0; i < 90; i += 3)); do echo "set l2[0][$i].offset = 0xffffffff000000"; done
	} >many
	"$mk" many many.qcow2 || exit 1
	cp many.qcow2 image.qcow2
	exits 4 -y --plan=short image.qcow2
	check 'many losses: some are told' test "$(grep -c 'L2\[0\]\[[0-9]*\] gets back' out)" = 20
	check 'many losses: how many more' out_has 'and 10 more (--all-findings shows them)'
	exits 4 -y --all-findings --plan=long image.qcow2
	check 'many losses: a plan tells all' test "$(grep -c 'L2\[0\]\[[0-9]*\] gets back' out)" = 30
	run -y --no-journal --all-findings image.qcow2
	check 'many losses: all are told' test "$(grep -c 'L2\[0\]\[[0-9]*\] gets back' out)" = 30
	check 'many losses: there are no more' test "$(grep -c 'shows them' out)" = 0
}

for part in test_clean test_losses test_repair test_preen test_plan test_bad_plans test_changed \
	test_crashes test_failures test_failures_back test_headless test_allocations test_signals_early test_in_use test_two test_questions \
	test_read_only test_journals test_links test_usage test_backup test_discard test_media test_device; do
	$part
done
sum_up repair
