#!/bin/bash
# fsck.sh - how qcow2-fsck conducts itself: options, bad input, output that
# cannot be written, signals; and whether its documentation is complete.
# SPDX-License-Identifier: MIT
#
# usage: fsck.sh FSCK_BINARY
set -u
fsck=$(readlink -f "${1:?usage: fsck.sh FSCK_BINARY}")
tool=$fsck
sources=$(readlink -f "$(dirname "$0")/../../fsck")
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"

# In these images of qemu-img: the header at cluster 0, the refcount table at
# 1, its block at 2, the L1 table at 3.
make_images() {
	qemu-img create -q -f qcow2 clean.qcow2 1M
	cp clean.qcow2 leaky.qcow2
	truncate -s 327680 leaky.qcow2
	poke leaky.qcow2 0x20008 '\0\1'
	cp clean.qcow2 corrupt.qcow2
	poke corrupt.qcow2 0x30000 '\200\0\0\0\0\0\2\0'
	cp clean.qcow2 advice.qcow2
	poke advice.qcow2 79 '\1'
	: >empty
	printf 'Q' >one-byte
	printf 'QFI\373' >magic-only
	head -c 65536 "$fsck" >foreign
	truncate -s 1T sparse
	mkdir directory
	mkfifo fifo
	sha256sum ./*.qcow2 empty one-byte magic-only foreign >hashes
}

test_usage() {
	exits 0 --help
	check 'help: on stdout' out_has 'Usage: qcow2-fsck'
	exits 0 -h
	exits 0 --version
	check 'version: one line' lines out 1
	check 'version: a number' grep -qE '^qcow2-fsck .*[0-9]+\.[0-9]+' out
	exits 0 -V
	exits 16
	check 'no operand: on stderr' err_has 'no image'
	check 'no operand: nothing on stdout' test ! -s out
	local bad
	for bad in --nonsense -Z --output --output=xml --output= --exit=3 \
		--quiet=1 -C --progress-fd=x -C77 -C0 --max-memory=1KB \
		--max-memory=-1 --max-memory= --max-memory=99999999999G \
		--explain; do
		exits 16 "$bad"
		check "$bad: nothing on stdout" test ! -s out
		check "$bad: named on stderr" grep -q '^qcow2-fsck: ' err
	done
	exits 16 --explain=NO_SUCH_PROBLEM
	exits 16 --list-problems clean.qcow2
	exits 16 clean.qcow2 --nonsense
	exits 16 -nqx clean.qcow2
	check 'a letter in a cluster: named' err_has '-x'
	exits 0 -nqv clean.qcow2
	exits 0 --max-memory=64M -- clean.qcow2
	exits 0 --max-memory=1GiB clean.qcow2
	cp clean.qcow2 ./--data
	exits 0 -- --data
	rm -- --data
}

test_bad_input() {
	local name
	for name in empty one-byte foreign sparse; do
		exits 8 "$name"
		check "$name: called raw" out_has 'raw, not QCOW2'
		exits 63 --exit=qemu "$name"
		run --output=json "$name"
		check "$name: raw in JSON" json '.images[0] |
			.format == "raw" and .verdict == "unreadable" and .error'
	done
	run magic-only
	check 'magic only: not usable' test $((status & 8)) -eq 8
	check 'magic only: not a crash' test "$status" -lt 64
	check 'magic only: not raw' test -z "$(grep 'raw, not' out)"
	for name in missing directory fifo directory/missing /dev/null ''; do
		exits 8 "$name"
		check "'$name': on stderr" grep -q "^qcow2-fsck: $name" err
		check "'$name': nothing on stdout" test ! -s out
		exits 1 --exit=qemu "$name"
		run --output=json "$name"
		check "'$name': error in JSON" json '.images[0].error'
	done
	name=$(printf 'x%.0s' {1..300})
	exits 8 "$name"
	check 'long name: the reason' err_has 'File name too long'
	exits 8 /proc/self/mem

	cp clean.qcow2 locked
	chmod 000 locked
	unreadable cat locked >/dev/null 2>&1
	check 'unreadable: the test is able to make it so' test $? -ne 0
	unreadable "$fsck" locked >out 2>err
	check 'unreadable: exit 8' test $? -eq 8
	check 'unreadable: the reason' err_has 'locked: cannot open: Permission denied'
	unreadable "$fsck" --output=json locked >out 2>err
	check 'unreadable: in JSON' json '.images[0].error == "cannot open: Permission denied"'
	rm -f locked
}

test_status() {
	exits 0 clean.qcow2
	check 'clean: says so' out_has 'clean.qcow2: clean'
	exits 4 leaky.qcow2
	check 'leaky: says so' out_has 'leaky.qcow2: leaks: 1 leaked cluster'
	exits 4 corrupt.qcow2
	check 'corrupt: says so' out_has 'corrupt.qcow2: corrupt: '
	check 'corrupt: the problem' out_has 'L1_UNALIGNED'
	exits 0 advice.qcow2
	check 'advice: says so' out_has 'DIRTY'
	exits 4 --strict advice.qcow2
	exits 0 --strict clean.qcow2
	exits 0 clean.qcow2 clean.qcow2
	exits 4 clean.qcow2 corrupt.qcow2 clean.qcow2
	exits 12 missing corrupt.qcow2
	exits 12 leaky.qcow2 empty
	check 'after a failure: goes on' out_has 'leaky.qcow2: leaks'
	exits 8 clean.qcow2 missing
	exits 0 --exit=qemu clean.qcow2
	exits 2 --exit=qemu corrupt.qcow2
	exits 3 --exit=qemu leaky.qcow2
	exits 3 --exit=qemu leaky.qcow2 clean.qcow2
	exits 2 --exit=qemu --strict advice.qcow2
	exits 63 --exit=qemu empty corrupt.qcow2
	exits 4 -q leaky.qcow2 clean.qcow2 corrupt.qcow2
	check 'quiet: a line for each image' lines out 3
	check 'quiet: nothing on stderr' test ! -s err
}

test_json() {
	local name quote='a"b\c' newline=$'a\nb' bytes=$'a\xff\xc0b' esc=$'a\033b'
	for name in "$quote" "$newline" "$bytes" "$esc"; do
		cp corrupt.qcow2 "./$name"
	done
	exits 4 --output=json "$quote" "$newline" "$bytes"
	check 'JSON: one document' json '.schema == 1 and (.images|length) == 3'
	check 'JSON: quote' json '.images[0].filename == "a\"b\\c"'
	check 'JSON: newline' json '.images[1].filename == "a\nb"'
	check 'JSON: not UTF-8' json '.images[2].filename == "a\ufffd\ufffdb"'
	check 'JSON: nothing on stderr' test ! -s err
	check 'JSON: counts' json '.images[0].counts |
		.corruptions >= 1 and ."by-problem".L1_UNALIGNED == 1'
	check 'JSON: finding' json '.images[0].findings |
		map(select(.id == "L1_UNALIGNED")) | .[0] |
		.number == 302 and .severity == "corrupt" and
		.found == "0x200" and .tree == "active" and
		."l1-index" == 0 and ."guest-offset" == 0 and
		(has("snapshot") or has("kind") or has("text") | not) and
		(.message | type) == "string"'
	exits 12 --output=json missing leaky.qcow2
	check 'JSON: with an error' json '.images[0].error and
		.images[1].verdict == "leaks"'
	exits 4 --output=ndjson "$newline" leaky.qcow2
	check 'ndjson: objects' ndjson 'map(type == "object") | all'
	check 'ndjson: a line each' test "$(wc -l <out)" -eq \
		"$(jq -s length out)"
	check 'ndjson: summaries' ndjson 'map(select(.summary)) | length == 2 and
		.[1].summary.counts.leaks == 1'
	check 'ndjson: file names' ndjson 'map(.filename // .summary.filename) |
		unique == ["a\nb", "leaky.qcow2"]'
	run "$esc" "$newline"
	check 'text: no control characters' test -z "$(grep -P '\x1b' out)"
	check 'text: C escapes' out_has 'a\x1bb: corrupt'
	check 'text: newline' out_has 'a\nb: corrupt'
	run "$quote/missing"
	rm -f -- "$quote" "$newline" "$bytes" "$esc"

	for name in clean leaky; do
		run --output=qemu $name.qcow2
		jq -S . out >ours
		qemu-img check --output=json $name.qcow2 2>/dev/null |
			jq -S . >theirs
		check "qemu: the same for $name" cmp ours theirs
		check "qemu: four blanks" grep -q '^    "filename"' out
	done
	run --output=qemu missing empty
	check 'qemu: nothing for a failure' test ! -s out
}

test_catalogue() {
	local id number rest
	exits 0 --list-problems
	cp out list
	check 'list: sorted' sort -c -n -u <(awk 'NR > 1 {print $1}' list)
	while read -r number id rest; do
		run --explain="$id"
		check "explain $id" test "$status" -eq 0 -a \
			"$(head -1 out)" = "$id"
		check "explain $id: $number" grep -qw "$number" out
		check "q2problems(7): $id ($rest)" \
			grep -q "^.It Sy $id Pq $number " "$sources/q2problems.7"
	done < <(tail -n +2 list)
	check 'list: as long as q2problems(7)' test \
		"$(grep -c '^.It Sy [A-Z0-9_]* Pq' "$sources/q2problems.7")" -eq \
		"$(($(wc -l <list) - 1))"
	exits 0 --explain=l2-unaligned,801
	check 'explain: several' test "$(grep -c '^[A-Z]' out)" -eq 2
	exits 0 --list-problems --output=json
	check 'list: JSON' json "length == $(($(wc -l <list) - 1)) and
		(map(.id and .number and .message and .explanation) | all)"
	exits 0 --explain=LEAK --output=json
	check 'explain: JSON' json '.[0].severity == "leak"'
}

# Streamed output may fail before the image is judged.
failed_with() { (($1 == 12 || $1 == 8)); }

# With a reader that has gone, a full device, and no stdout at all.
test_output() {
	local format args
	for format in text json ndjson qemu; do
		args="--output=$format"
		"$fsck" "$args" corrupt.qcow2 >/dev/full 2>err
		check "full: $format" failed_with $?
		check "full: $format, the reason" err_has 'No space left'
		"$fsck" "$args" corrupt.qcow2 >&- 2>err
		check "closed: $format" failed_with $?
		check "closed: $format, the reason" err_has 'standard output'
		mkfifo pipe
		exec 7<>pipe
		exec 8>pipe
		exec 7>&-
		"$fsck" "$args" clean.qcow2 >&8 2>err
		check "broken pipe: $format" test $? -eq 8
		check "broken pipe: $format, the reason" err_has 'Broken pipe'
		exec 8>&-
		rm pipe
	done
	for args in --help --version --list-problems --explain=LEAK; do
		"$fsck" $args >/dev/full 2>err
		check "full: $args" test $? -eq 8
		"$fsck" $args >&- 2>err
		check "closed: $args" test $? -eq 8
	done
	"$fsck" --exit=qemu clean.qcow2 >/dev/full 2>err
	check 'full: --exit=qemu' test $? -eq 1
	"$fsck" clean.qcow2 <&- >out 2>err
	check 'closed stdin' test $? -eq 0
	"$fsck" clean.qcow2 >out 2>&-
	check 'closed stderr' test $? -eq 0
	"$fsck" clean.qcow2 <&- >&- 2>&-
	check 'all closed' test $? -eq 8
	"$fsck" missing 2>/dev/full
	check 'full stderr' test $? -eq 8
}

test_signals() {
	local signal
	for signal in INT TERM HUP; do
		hold_and_signal $signal clean.qcow2
		check "SIG$signal: exit 32 (was $status)" test $status -eq 32
		check "SIG$signal: said on stderr" err_has 'interrupted'
		check "SIG$signal: no verdict" test ! -s out
	done
	hold_and_signal INT --output=json clean.qcow2 corrupt.qcow2
	check "SIGINT, JSON: exit 32 (was $status)" test $status -eq 32
	check 'SIGINT, JSON: whole' json '.images | length == 1 and
		.[0].error == "interrupted" and .[0].verdict != "clean"'
	hold_and_signal INT --exit=qemu clean.qcow2
	check "SIGINT, --exit=qemu: 1 (was $status)" test $status -eq 1
	hold_and_signal USR1 clean.qcow2
	check "SIGUSR1: goes on (was $status)" test $status -eq 0
	check 'SIGUSR1: one line' lines err 1
	check 'SIGUSR1: what it says' grep -qE \
		'^qcow2-fsck: clean.qcow2: .*[0-9]+ of [0-9]+' err
	check '-C: lines of three words' test -s progress -a -z \
		"$(grep -vE '^[^ ]+ [0-9]+ [0-9]+$' progress)"

	"$fsck" -C 3 clean.qcow2 3>progress >out 2>err
	check '-C: to a file' test $? -eq 0 -a -s progress
	check '-C: its form' test -z \
		"$(grep -vE '^[^ ]+ [0-9]+ [0-9]+$' progress)"
	"$fsck" -C 3 clean.qcow2 3>/dev/full >out 2>err
	check '-C: nobody listens' test $? -eq 0
	check 'no progress without a terminal' test ! -s err
}

test_terminal() {
	local command
	command=$(printf '%q corrupt.qcow2' "$fsck")
	TERM=xterm script -qec "$command" /dev/null >out 2>err </dev/null
	check 'terminal: exit' test $? -eq 4
	check 'terminal: colours' grep -qP '\x1b\[1' out
	TERM=xterm script -qec "NO_COLOR=1 $command" /dev/null >out 2>err </dev/null
	check 'NO_COLOR' test -z "$(grep -P '\x1b' out)"
	run corrupt.qcow2
	check 'no terminal: no colours' test -z "$(grep -P '\x1b' out)"
}

# A writer of QEMU's own has the image open.
test_in_use() {
	local pid i
	mkfifo commands
	qemu-io clean.qcow2 <commands >/dev/null 2>&1 &
	pid=$!
	exec 6>commands
	for ((i = 0; i < 200; i++)); do
		run --output=json clean.qcow2
		if json '.images[0]."in-use"' 2>/dev/null; then
			break
		fi
		sleep 0.05
	done
	check 'in use: in JSON' json '.images[0] |
		."in-use" and ."used-by" == "writer" and .verdict == "clean"'
	run clean.qcow2
	check 'in use: in text' out_has 'another process'
	exec 6>&-
	wait "$pid"
	rm commands
	run --output=json clean.qcow2
	check 'not in use' json '.images[0]."in-use" == false'
}

# --help, the manual page and completion must name the same options.
test_documents() {
	local page=$sources/qcow2-fsck.8
	"$fsck" --long-options | sed 's/=.*//' | sort >options
	check 'options: there are some' test -s options
	"$fsck" --help | grep -oP '^ +(-[A-Za-z], )?\K--[a-z-]+' | sort >help
	check 'options: --help' diff options help
	grep '^\.It Fl' "$page" | grep -oP 'Fl Fl \K[a-z-]+' |
		sed 's/^/--/' | sort >paged
	check 'options: manual page' diff options paged
	"$fsck" --short-options | sort >letters
	"$fsck" --help | grep -oP '^  \K-[A-Za-z](?=, )' | sort >help
	check 'letters: --help' diff letters help
	grep -oP '^\.It Fl \K[A-Za-z](?= )' "$page" | sed 's/^/-/' | sort >paged
	check 'letters: manual page' diff letters paged
	completed -- | sed 's/=$//' | sort >offered
	check 'options: completion' diff options offered
	"$fsck" --long-options | grep -oP '^--output=\K.*' | tr '|' '\n' >words
	completed --output = '' >offered
	check 'completion: values' diff words offered
	completed --explain = L2_UN >offered
	check 'completion: problems' grep -qx L2_UNALIGNED offered
	completed --explain = LEAK,L2_UN >offered
	check 'completion: more problems' grep -qx LEAK,L2_UNALIGNED offered
	completed --explain = '$(>expanded),L' >offered
	check 'completion: nothing is executed' test ! -e expanded
	completed clean >offered
	check 'completion: files' grep -qx clean.qcow2 offered
	check 'manual page: mandoc' test -z \
		"$(mandoc -Tlint -W warning "$page" "$sources/q2problems.7" 2>&1)"
}

make_images
test_usage
test_bad_input
test_status
test_json
test_catalogue
test_output
test_signals
test_terminal
test_in_use
test_documents
check 'no input was written to' sha256sum --quiet -c hashes

sum_up conduct
