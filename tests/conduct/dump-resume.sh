# dump-resume.sh - runs that are interrupted or killed, and go on.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# A run with --resume that is interrupted halfway.
interrupt() {
	local pid
	rm -f new.raw*
	env --default-signal=INT "$dump" --resume --rate=24M long.qcow2 new.raw >out 2>err </dev/null &
	pid=$!
	wait_for grep -qs ^done new.raw.part.journal
	kill -INT "$pid"
	wait "$pid"
	check 'interrupted: exit 32' test $? -eq 32
	check 'interrupted: no file of that name' absent new.raw
	check 'interrupted: a temporary one' test -s new.raw.part
}

# A run that is interrupted, and goes on.
test_resume() {
	local pid
	qemu-img create -q -f qcow2 long.qcow2 96M
	qemu-io -c 'write -P 1 0 48M' -c 'write -P 2 48M 48M' long.qcow2 >/dev/null
	qemu-img convert -O raw long.qcow2 long.raw
	interrupt
	exits 0 --resume --verify long.qcow2 new.raw
	check 'resumed: the bytes' cmp long.raw new.raw
	check 'resumed: nothing left' absent new.raw.part new.raw.part.journal
	# What is done is not done again: a byte changed there stays, and --verify
	# finds it.
	interrupt
	printf x | dd of=new.raw.part bs=1 seek=1000 conv=notrunc status=none
	cp new.raw.part kept.part
	cp new.raw.part.journal kept.journal
	exits 0 --resume long.qcow2 new.raw
	check 'resumed: not from the start' test "$(cmp -l long.raw new.raw | wc -l)" -eq 1
	rm -f new.raw
	mv kept.part new.raw.part
	mv kept.journal new.raw.part.journal
	exits 8 --resume --verify long.qcow2 new.raw
	check 'resumed and verified: said' err_has 'reads back differently'
	check 'resumed and verified: no file' absent new.raw
	exits 0 --resume --verify long.qcow2 new.raw
	check 'the run after that starts anew' cmp long.raw new.raw
	# The image has changed: refused, also if its time says that it has not.
	interrupt
	printf x | dd of=new.raw.part bs=1 seek=1000 conv=notrunc status=none
	cp -p long.qcow2 stamp
	qemu-io -c 'write -P 3 0 64k' long.qcow2 >/dev/null
	touch -r stamp long.qcow2
	qemu-img convert -O raw long.qcow2 long.raw
	exits 8 --resume long.qcow2 new.raw
	check 'changed: said' err_has 'changed since: --force starts anew'
	check 'changed: no file' absent new.raw
	check 'changed: what is left stays' test -s new.raw.part -a -s new.raw.part.journal
	for options in --range=1M '-O qcow2' --preallocate=full; do
		# shellcheck disable=SC2086
		exits 8 --resume $options long.qcow2 new.raw
		check "$options: another form: said" err_has '--force starts anew'
	done
	exits 0 --resume --force long.qcow2 new.raw
	check 'changed, --force: the bytes' cmp long.raw new.raw
	# Less is there than the journal vouches for.
	rm -f new.raw
	interrupt
	truncate -s 1000 new.raw.part
	# The run that notices may be killed before it has noted anything itself.
	{
		env LD_PRELOAD="$build/tests/faultwrite.so" FAULT_NAME='new.raw.part' FAULT_AT=3:KILL \
			"$dump" --resume long.qcow2 new.raw >out 2>err
	} 2>/dev/null
	check 'shorter, killed: no file' absent new.raw
	check 'shorter, killed: there is a part' test -s new.raw.part
	exits 0 --resume long.qcow2 new.raw
	check 'shorter: the bytes' cmp long.raw new.raw
	# The journal is damaged: all from the start.
	interrupt
	printf x | dd of=new.raw.part bs=1 seek=1000 conv=notrunc status=none
	sed -i '/^done/s/[0-9a-f]$/z/' new.raw.part.journal
	exits 0 --resume long.qcow2 new.raw
	check 'a damaged journal: the bytes' cmp long.raw new.raw
	rm -f new.raw
	exits 8 --resume --salvage long.qcow2 new.raw
	check 'a salvage is not continued: said' err_has 'cannot be continued'
	exits 8 --resume long.qcow2 -
	# Two runs do not continue one file.
	env --default-signal=INT "$dump" --resume --rate=1M long.qcow2 new.raw >out 2>err </dev/null &
	pid=$!
	wait_for test -e new.raw.part
	exits 8 --resume long.qcow2 new.raw
	check 'two runs: said' err_has 'another run'
	kill -INT "$pid"
	wait "$pid"
	rm -f new.raw* long.raw long.qcow2 stamp
}

# What nobody vouches for is neither continued nor overwritten.
test_left_behind() {
	local pid i
	echo precious >mine
	cp mine new.raw.part
	refuse_left() { # WHAT
		exits 8 --resume top.qcow2 new.raw
		check "$1: --force is named" err_has '--force starts anew'
		check "$1: no file" absent new.raw
		check "$1: what is there stays" cmp mine new.raw.part
	}
	refuse_left 'no journal'
	check 'no journal: none is made' absent new.raw.part.journal
	for i in '' foreign 'qcow2-dump 1 ' $'qcow2-dump 1 0123\n'; do
		printf %s "$i" >new.raw.part.journal
		refuse_left "journal '$i'"
		check "journal '$i': stays" cmp <(printf %s "$i") new.raw.part.journal
	done
	exits 0 --resume --force --verify top.qcow2 new.raw
	check 'with --force: the bytes' cmp want.raw new.raw
	check 'with --force: nothing left' absent new.raw.part new.raw.part.journal
	rm -f new.raw

	# A run that keeps no journal makes the one of an earlier run untrue.
	qemu-img create -q -f qcow2 long.qcow2 96M
	qemu-io -c 'write -P 1 0 48M' -c 'write -P 2 48M 48M' long.qcow2 >/dev/null
	for i in --force ''; do
		interrupt
		[[ -n $i ]] || rm -f new.raw.part
		# shellcheck disable=SC2086
		"$dump" $i --rate=1M long.qcow2 new.raw >out 2>err </dev/null &
		pid=$!
		wait_for absent new.raw.part.journal
		wait_for test -s new.raw.part
		kill -KILL "$pid"
		wait "$pid" 2>/dev/null
		check "killed, '$i': a part" test -s new.raw.part
		check "killed, '$i': no journal of another run" absent new.raw.part.journal
		exits 8 --resume long.qcow2 new.raw
		check "killed, '$i': nobody vouches for it" err_has 'no journal'
	done
	echo mine >new.raw.part.journal
	exits 0 --force long.qcow2 new.raw
	check 'what is no journal stays' test "$(<new.raw.part.journal)" = mine
	rm -f new.raw* long.qcow2 mine
}

# Killed at any write, resize or flush of the file or its journal, a run leaves no file
# of that name, and the next one makes what an undisturbed one does.
test_kills() {
	local form i n seed
	local -x LD_PRELOAD=$build/tests/faultwrite.so FAULT_NAME='new.img.part*' FAULT_FAST=1
	qemu-img create -q -f qcow2 long.qcow2 112M
	# Data that compress, do not, and are not there.
	seed=$work/random
	openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c 24M >"$seed"
	qemu-io -c 'write -P 2 4M 30M' -c "write -s $seed 40M 24M" -c 'write -P 7 80M 30M' long.qcow2 >/dev/null
	for form in '-O raw' '-O qcow2' '-O qcow2 -c zstd:1 --refcount-bits=1' \
		'-O qcow2 --cluster-size=512' '-O qcow2 --extended-l2 --cluster-size=2M'; do
		rm -f want new.img*
		# shellcheck disable=SC2086
		"$dump" $form long.qcow2 want
		counting $form
		check "killed, $form: the same with a journal" cmp want new.img
		n=$(<count)
		for ((i = 1; i <= n; i += n / 4 + 1)); do
			killed_at "$i" $form
		done
		killed_at "$n" $form
		killed_at $((n - 1)) $form
	done
	# Killed again and again, until it gets through.
	rm -f new.img*
	for ((i = 1; i < 60; i++)); do
		FAULT_AT=400:KILL \
			"$dump" --resume -O qcow2 --extended-l2 --cluster-size=2M long.qcow2 new.img >out 2>err &&
			break
	done 2>/dev/null
	check "killed again and again: done at last" cmp want new.img
	check 'killed again and again: more than once' test "$i" -gt 1
	rm -f want new.img* long.qcow2 "$seed" count
}

counting() {
	rm -f new.img*
	FAULT_COUNT=$work/count \
		"$dump" --resume "$@" long.qcow2 new.img >out 2>err
}

killed_at() { # OPERATION OPTION...
	local at=$1
	shift
	rm -f new.img*
	{
		FAULT_AT=$at:KILL \
			"$dump" --resume "$@" long.qcow2 new.img >out 2>err
		status=$?
	} 2>/dev/null
	check "killed at $at, $*: SIGKILL" test "$status" -eq 137
	check "killed at $at, $*: no file" absent new.img
	exits 0 --resume "$@" long.qcow2 new.img
	check "killed at $at, $*: the bytes" cmp want new.img
	check "killed at $at, $*: nothing left" absent new.img.part new.img.part.journal new.img.part.journal.new
}

