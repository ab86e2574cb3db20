#!/usr/bin/env bash
# surroundings.sh - a machine that lacks what is mostly there: a folder for temporary
# files, a terminal that knows more than to print, names that are text.
#
# SPDX-License-Identifier: MIT
#
# usage: surroundings.sh BUILD_DIR      prints "surroundings: N passed, N failed"
#
# What else may be missing is tried elsewhere: the kernel's means to confine programs
# in sandbox.sh, libnbd in dump-nbd.sh, room for a journal in repair.sh, for what an
# interrupted run leaves in dump-targets.sh, dump-known.sh and state.sh, a stdout in
# fsck.sh, map.sh and dump-targets.sh.
set -u
PATH=$PATH:/usr/sbin:/sbin

build=$(readlink -f "${1:?usage: surroundings.sh BUILD_DIR}")
tool=$build/bin/qcow2-fsck
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"
mounted=
let_go() { [[ -z $mounted ]] || umount "$mounted"; }

make_images() {
	qemu-img create -q -f qcow2 -o preallocation=metadata many.qcow2 1G
	qemu-img create -q -f qcow2 -o preallocation=metadata,cluster_size=4k pieces.qcow2 256M
	# A reserved bit in each entry of each L2 table; every other cluster of zeros.
	python3 - many.qcow2 4 4 pieces.qcow2 1 0 <<'END'
import struct, sys
for name, even, odd in zip(*[iter(sys.argv[1:])] * 3):
    with open(name, "r+b") as f:
        head = f.read(104)
        bits, = struct.unpack(">I", head[20:24])
        size, offset = struct.unpack(">IQ", head[36:48])
        f.seek(offset)
        for table in struct.unpack(">%dQ" % size, f.read(8 * size)):
            f.seek(table & 0x00fffffffffffe00)
            entries = list(struct.unpack(">%dQ" % (1 << bits - 3), f.read(1 << bits)))
            entries[::2] = [e | int(even) for e in entries[::2]]
            entries[1::2] = [e | int(odd) for e in entries[1::2]]
            f.seek(-(1 << bits), 1)
            f.write(struct.pack(">%dQ" % len(entries), *entries))
END
	qemu-img create -q -f qcow2 data.qcow2 2M
	qemu-io -c 'write -P 1 0 2M' data.qcow2 >/dev/null
	qemu-img convert -O raw data.qcow2 data.raw
	sha256sum many.qcow2 pieces.qcow2 data.qcow2 >hashes
}

# same_without NAME PROGRAM ARGUMENT...: a long document, where no temporary file can be
# made: by its name, or as the whole system is read-only.
same_without() {
	local name=$1 want
	shift
	"$build/bin/$1" "${@:2}" >want 2>want.err
	want=$?
	check "$name: long enough" test "$(stat -c %s want)" -gt $((4 << 20))
	for place in /proc/self /nowhere "$work/read-only"; do
		TMPDIR=$place "$build/bin/$1" "${@:2}" >out 2>err
		check "$name, TMPDIR=$place: the status" test $? -eq $want
		check "$name, TMPDIR=$place: the same" cmp want out
		check "$name, TMPDIR=$place: as quiet" cmp want.err err
	done
}

test_temporary() {
	mkdir read-only
	if mount -t tmpfs -o ro,size=64k none read-only 2>/dev/null; then
		mounted=$work/read-only
		check 'the folder is read-only' test ! -w read-only
	else
		chmod 555 read-only
	fi
	same_without 'fsck' qcow2-fsck --output=json --all-findings many.qcow2
	same_without 'map' qcow2-map extents --output=json pieces.qcow2
	[[ -z $mounted ]] || umount "$mounted"
	mounted=
	rmdir read-only
	rm want want.err
}

# on_terminal TERM COMMAND...: leaves in out what the terminal got.
on_terminal() {
	local term=$1 command
	shift
	printf -v command '%q ' "$@"
	if [[ $term ]]; then
		TERM=$term script -qec "$command" /dev/null >out 2>err </dev/null
	else
		env -u TERM script -qec "$command" /dev/null >out 2>err </dev/null
	fi
	status=$?
}

escapes() { grep -q $'\e' out; }

test_terminals() {
	local term
	for term in xterm dumb ''; do
		on_terminal "$term" "$build/bin/qcow2-fsck" many.qcow2
		check "fsck on '$term': status" test "$status" -eq 4
		check "fsck on '$term': the report" out_has 'L2_RESERVED'
		if [[ $term = xterm ]]; then
			check "fsck on '$term': escapes" escapes
		else
			check "fsck on '$term': no escapes" test -z "$(grep $'\e' out)"
		fi
		on_terminal "$term" "$build/bin/qcow2-dump" --rate=1M data.qcow2 new.raw
		check "dump on '$term': status" test "$status" -eq 0
		check "dump on '$term': the bytes" cmp data.raw new.raw
		rm -f new.raw
		if [[ $term = xterm ]]; then
			check "dump on '$term': progress" out_has 'MiB/s'
		else
			check "dump on '$term': nothing" test -z "$(grep -v ' sandbox: ' out)"
		fi
		on_terminal "$term" env LC_ALL=C.UTF-8 "$build/bin/qcow2-map" layout --output=blocks data.qcow2
		check "map on '$term': status" test "$status" -eq 0
		if [[ $term = xterm ]]; then
			check "map on '$term': escapes" escapes
		else
			check "map on '$term': printable alone" test -z "$(tr -d '[:print:]\r\n\t' <out)"
		fi
	done
	# Nobody there at all: no session, no terminal.
	setsid "$build/bin/qcow2-fsck" many.qcow2 </dev/null >out 2>err
	check 'no terminal: status' test $? -eq 4
	check 'no terminal: nothing on stderr' test ! -s err
	setsid "$build/bin/qcow2-fsck" -i many.qcow2 </dev/null >out 2>err
	check 'no terminal, -i: asks nobody' test $? -ne 0
	check 'no terminal, -i: said' test -s err
}

# Whoever waits is told how long it will take.
test_time_left() {
	local l1 table program
	qemu-img create -q -f qcow2 -o preallocation=metadata long.qcow2 40G
	l1=$(xxd -s 40 -l 8 -p long.qcow2)
	table=$(xxd -s $((0x$l1 + 8 * 40)) -l 8 -p long.qcow2)
	for program in fsck 'map layout' 'dump --digest'; do
		FAULT_FILE=long.qcow2 FAULT_SLEEP=$((0x$table & 0xfffffffffffe00)):65536:2 LD_PRELOAD=$build/tests/faultio.so \
			on_terminal xterm sh -c "$build/bin/qcow2-$program long.qcow2 >/dev/null"
		check "time left: $program: status" test "$status" -eq 0
		check "time left: $program" grep -qE 'long.qcow2: [a-zA-Z0-9 ]+ [0-9]+ %, ([0-9.]+ MiB/s, )?([0-9]+ (h|min) )*[0-9]+ s left' out
	done
	rm long.qcow2
}

# Standard streams that are closed, and no /dev/null to take their place: no image may
# take it, or messages were written into that.
test_no_dev() {
	local pid n i
	cp data.qcow2 base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount -t tmpfs none /dev && exec "$@"' sh \
		"$build/bin/qcow2-dump" --rate=64K --absorb top.qcow2 <&- >&- 2>&- &
	pid=$!
	for ((i = 0; i < 500; i++)); do
		[[ $(readlink /proc/$pid/fd/*) == *top.qcow2* ]] && break
		sleep 0.02
	done
	check 'no /dev: it works' test $i -lt 500
	for n in 0 1 2; do
		check "no /dev: stream $n is a folder" test "$(readlink /proc/$pid/fd/$n)" = /
	done
	kill "$pid"
	wait "$pid"
	check 'no /dev: interrupted' test $? -eq 32
	check 'no /dev: the disk' qemu-img compare -q top.qcow2 data.raw
	rm base.qcow2 top.qcow2
}

# limited KIBIBYTES PROGRAM ARGUMENT...: no file may get longer; messages go into a pipe.
limited() {
	local most=$1 program=$2
	shift 2
	{
		(
			ulimit -f "$most"
			"$build/bin/$program" "$@" 2>&1 >/dev/null </dev/null
			echo "status $?"
		) | cat >out
	} 2>/dev/null
	status=$(sed -n 's/^status //p' out)
}

# A limit on the length of files is no reason to be killed: nothing half done is left.
test_limits() {
	mkdir limits
	cd limits || return
	"$build/tests/q2mk" - leak.qcow2 <<-'END'
		size 64K
		write 0 2K
		set l2[0][1] = 0
		set refcount[@data[0]/cs] = 0
	END
	cp leak.qcow2 leak.was
	limited 1000 qcow2-dump ../data.qcow2 new.raw
	check 'limit: a dump fails' test "$status" = 8
	check 'limit: a dump: said' out_has 'File too large'
	limited 1000 qcow2-dump -O qcow2 ../data.qcow2 new.qcow2
	check 'limit: an image: fails' test "$status" = 8
	check 'limit: an image: said' out_has 'File too large'
	limited 0 qcow2-dump --digest --ranges=new.digests ../data.qcow2
	check 'limit: digests fail' test "$status" = 8
	check 'limit: digests: said' out_has 'File too large'
	limited 0 qcow2-dump --salvage --map=new.map ../data.qcow2 new.raw
	check 'limit: a map fails' test "$status" = 8
	limited 0 qcow2-fsck --plan=new.plan leak.qcow2
	check 'limit: a plan fails' test "$status" = 12
	check 'limit: a plan: said' out_has 'File too large'
	limited 0 qcow2-fsck --backup-metadata=new.meta leak.qcow2
	check 'limit: a backup fails' test "$status" = 12
	limited 0 qcow2-fsck --state=new.state leak.qcow2
	check 'limit: a check goes on without a state' test "$status" = 4
	check 'limit: a state: said' out_has 'File too large'
	limited 1 qcow2-fsck -y leak.qcow2
	check 'limit: a journal fails' test "$status" = 12
	check 'limit: a journal: said' out_has 'nothing was written'
	limited 1 qcow2-fsck -y --no-journal leak.qcow2
	check 'limit: a repair fails' test "$status" = 12
	check 'limit: a repair: taken back' out_has 'taken back'
	check 'limit: the image is as it was' cmp leak.was leak.qcow2
	rm -f leak.qcow2 leak.was out err
	check 'limit: nothing is left' test -z "$(ls -A)"
	cd "$work" || return
	rm -r limits
}

# However few files may be open, that is what is told, and nothing is left behind.
test_few_files() {
	local n
	for n in 4 5 6 7; do
		rm -f few.raw
		if (ulimit -n $n && "$build/bin/qcow2-dump" data.qcow2 few.raw) >out 2>&1; then
			check "$n files: the bytes" cmp data.raw few.raw
			continue
		fi
		check "$n files: said" grep -qi 'too many open files' out
		check "$n files: no other cause" sh -c '! grep -i denied out'
		check "$n files: nothing left" test ! -e few.raw
	done
	rm -f few.raw
}

test_names() {
	local name=$'caf\xe9\xff.qcow2' other=$'o\xfev.qcow2'
	cp data.qcow2 "$name"
	qemu-img create -q -f qcow2 -b "$name" -F qcow2 "$other"
	exits 0 "$name"
	check 'fsck: an escaped name' out_has 'caf\xe9\xff.qcow2'
	exits 0 --output=json "$name"
	check 'fsck: its bytes in JSON' json '.images[0]."filename-bytes" == "636166e9ff2e71636f7732"'
	exits 0 --output=json data.qcow2
	check 'fsck: none of another name' json '.images[0] | has("filename-bytes") | not'
	"$build/bin/qcow2-dump" "$other" $'n\xfd.raw' >out 2>err
	check 'dump: status' test $? -eq 0
	check 'dump: the bytes' cmp data.raw $'n\xfd.raw'
	"$build/bin/qcow2-dump" --digest "$other" >out 2>err
	check 'dump: an escaped name' out_has 'o\xfev.qcow2'
	"$build/bin/qcow2-map" extents --chain --output=json "$other" >out 2>err
	check 'map: status' test $? -eq 0
	check 'map: JSON' jq -e .layers out >/dev/null
	"$build/bin/qcow2-fsck" $'\xff-missing' >out 2>err
	check 'missing: status' test $? -eq 8
	check 'missing: printable' test -z "$(tr -d '[:print:]\n' <err)"
	rm -f "$name" "$other" $'n\xfd.raw'
}

make_images
test_temporary
test_terminals
test_time_left
test_no_dev
test_limits
test_few_files
test_names
check 'no input was written to' sha256sum --quiet -c hashes
sum_up surroundings
