#!/usr/bin/env bash
# dump.sh - how qcow2-dump conducts itself: options, bad input, targets, signals,
# policy; and whether its documentation is complete.
# SPDX-License-Identifier: MIT
#
# usage: dump.sh BUILD_DIR
set -u
PATH=$PATH:/usr/sbin:/sbin

build=$(readlink -f "${1:?usage: dump.sh BUILD_DIR}")
dump=$build/bin/qcow2-dump
tool=$dump
sources=$(readlink -f "$(dirname "$0")/../../dump")
support=$(readlink -f "$(dirname "$0")")
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"
mounted=
loops=()
let_go() {
	[[ -z $mounted ]] || umount "$mounted"
	for loop in "${loops[@]}"; do
		losetup -d "$loop"
	done
}

# refused TEXT ARGUMENT...: exit 8, the text on stderr, and no file new.raw.
refused() {
	local text=$1
	shift
	exits 8 "$@"
	check "$*: says '$text'" err_has "$text"
	check "$*: no file" absent new.raw new.raw.part
	rm -f new.raw new.raw.part
}

for part in targets policy names bitmaps digests known range resume nbd; do
	# shellcheck source=/dev/null
	. "$support/dump-$part.sh"
done

make_images() {
	qemu-img create -q -f qcow2 base.qcow2 4M
	qemu-io -c 'write -P 1 0 1M' -c 'write -c -P 2 2M 64k' base.qcow2 >/dev/null
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
	qemu-io -c 'write -P 3 100k 100k' -c 'write -z 512k 64k' top.qcow2 >/dev/null
	qemu-img convert -O raw top.qcow2 want.raw
	: >empty
	head -c 65536 "$dump" >foreign
	mkdir folder
	mkfifo fifo
	sha256sum base.qcow2 top.qcow2 empty foreign >hashes
}

test_usage() {
	exits 16
	exits 16 top.qcow2
	exits 16 top.qcow2 a b
	exits 16 --nonsense top.qcow2 new.raw
	exits 16 --digest
	exits 16 --digest top.qcow2 more
	exits 16 --digest --compare top.qcow2 base.qcow2
	exits 16 --ranges=x top.qcow2 new.raw
	exits 16 --map=x top.qcow2 new.raw
	exits 16 --range=1x top.qcow2 new.raw
	exits 16 --cluster-size=4K top.qcow2 new.raw
	exits 16 -O qcow2 --cluster-size=3000 top.qcow2 new.raw
	exits 16 -O qcow2 --cluster-size=4M top.qcow2 new.raw
	exits 16 -O qcow2 --cluster-size=0 top.qcow2 new.raw
	exits 16 --cluster-size=0 top.qcow2 new.raw
	exits 16 -O qcow2 --refcount-bits=0 top.qcow2 new.raw
	exits 16 -O qcow2 --refcount-bits=128 top.qcow2 new.raw
	exits 16 -O qcow2 -c zstd:23 top.qcow2 new.raw
	exits 16 -O qcow2 --compat=0.10 --refcount-bits=8 top.qcow2 new.raw
	exits 16 -O qcow2 --preallocate=full top.qcow2 new.raw
	exits 16 -O qcow2 -c lzma top.qcow2 new.raw
	exits 16 -O qcow2 -c zlib:0 top.qcow2 new.raw
	exits 16 -O vmdk top.qcow2 new.raw
	exits 16 --compare --snapshot=x top.qcow2 base.qcow2
	# No option is ignored.
	local option
	for option in -Oqcow2 --cluster-size=64K --refcount-bits=16 --extended-l2 \
		-czlib --compat=0.10 --keep-backing=1 --bitmaps --drop-bitmaps --verify \
		--no-sync --preallocate=full --assume-zeroed --force; do
		exits 16 --digest "$option" top.qcow2
		exits 16 --check-digest=empty "$option" top.qcow2
		exits 16 --compare "$option" top.qcow2 base.qcow2
	done
	exits 16 -C 1 top.qcow2 -
	check '-C 1 beside an image: nothing on stdout' test ! -s out
	exits 16 --compare --resume top.qcow2 base.qcow2
	check '--compare --resume: told what can be' err_has '--digest --resume --ranges'
	exits 16 --check-digest=empty --resume top.qcow2
	check '--check-digest --resume: told what can be' err_has '--digest --resume --ranges'
	exits 16 -F raw top.qcow2 new.raw
	exits 16 -O qcow2 --keep-backing=0 top.qcow2 new.raw
	exits 8 --data-file=want.raw top.qcow2 new.raw
	check 'no data file: said' err_has 'no external data file'
	exits 16 -O qcow2 -c zlib:13 top.qcow2 new.raw
	exits 16 -O qcow2 --refcount-bits=3 top.qcow2 new.raw
	exits 16 -O qcow2 --compat=0.10 -c zstd top.qcow2 new.raw
	exits 16 -O qcow2 --compat=0.10 --extended-l2 top.qcow2 new.raw
	exits 16 -O qcow2 --extended-l2 --cluster-size=8K top.qcow2 new.raw
	exits 8 -O qcow2 --keep-backing=2 top.qcow2 new.raw
	check 'wrong usage makes no file' absent new.raw new.raw.part x
	exits 0 --help
	exits 0 --version
}

test_bad_input() {
	refused 'No such file' missing.qcow2 new.raw
	refused 'not a regular file' folder new.raw
	refused 'not a regular file' fifo new.raw
	refused '' empty new.raw
	refused '' foreign new.raw
	# Loops, and members that are not there.
	cp base.qcow2 a.qcow2
	qemu-img rebase -u -b b.qcow2 -F qcow2 a.qcow2
	cp a.qcow2 b.qcow2
	qemu-img rebase -u -b a.qcow2 -F qcow2 b.qcow2
	refused 'loop' a.qcow2 new.raw
	qemu-img rebase -u -b nowhere.qcow2 -F qcow2 a.qcow2
	refused 'nowhere.qcow2' a.qcow2 new.raw
	qemu-img rebase -u -b folder -F raw a.qcow2
	refused 'folder' a.qcow2 new.raw
	qemu-img rebase -u -b foreign -F qcow2 a.qcow2
	refused 'foreign' a.qcow2 new.raw
	exits 8 --layer=2 top.qcow2 new.raw
	exits 8 --snapshot=none top.qcow2 new.raw
	exits 8 --secret=missing top.qcow2 new.raw
	rm a.qcow2 b.qcow2
}

# An entry that leads nowhere; see q2mk for the words.
test_salvage() {
	cat >damaged.recipe <<'END'
cluster 4096
size 64K
write 0 16384 1
write 32768 4096 2
set l2[0][1].offset = 0x7fff000
END
	"$build/tests/q2mk" damaged.recipe damaged.qcow2
	refused 'guest range 4096 to 8191' damaged.qcow2 new.raw
	check 'the name of the problem' err_has 'L2_ENTRY_OUTSIDE'
	exits 4 --salvage --map=lost.map damaged.qcow2 new.raw
	check 'salvaged: what is left is said' err_has '4096 bytes'
	head -c 4096 /dev/zero | tr '\0' '\1' >block
	{
		cat block
		head -c 4096 /dev/zero
		cat block block
		head -c 16384 /dev/zero
		tr '\1' '\2' <block
		head -c 28672 /dev/zero
	} >expected
	check 'salvaged: bytes' cmp expected new.raw
	grep -v '^#' lost.map >lines
	cat >expected <<'END'
0x00000000     +               1
0x00000000  0x00001000  +
0x00001000  0x00001000  -
0x00002000  0x00002000  +
0x00004000  0x00004000  +
0x00008000  0x00001000  +
0x00009000  0x00007000  +
END
	check 'salvaged: map' diff expected lines
	# What ddrescue's own tool makes of it: blocks of 4 KiB from 0 on.
	ddrescuelog -t lost.map >lines
	check 'ddrescuelog: the sum of what was read' grep -qE ' rescued: +61440 B' lines
	ddrescuelog -b 4096 -l- lost.map >lines
	check 'ddrescuelog: the lost block' diff <(echo 1) lines
	ddrescuelog -b 4096 -l+ lost.map >lines
	check 'ddrescuelog: the others' diff <(seq 0 15 | grep -vx 1) lines
	ddrescuelog -b 4096 -l'?*/' lost.map >lines
	check 'ddrescuelog: nothing is open' test ! -s lines
	# To have the block tried again from another copy, marked as not tried yet.
	ddrescuelog -a '-,?' lost.map >part.map
	ddrescuelog -b 4096 -l'?' part.map >lines
	check 'ddrescuelog: makes another of it' diff <(echo 1) lines
	rm part.map
	exits 0 --salvage --map=good.map top.qcow2 good.raw
	check 'ddrescuelog: a whole disk is done' ddrescuelog -q -D good.map
	ddrescuelog -b 65536 -l+ good.map >lines
	check 'ddrescuelog: and has all blocks' diff <(seq 0 63) lines
	exits 0 --force --salvage --range=1M+128K --map=part.map top.qcow2 good.raw
	ddrescuelog -b 65536 -l+ part.map >lines
	check 'ddrescuelog: of a part' diff <(seq 16 17) lines
	rm -f good.raw good.map part.map
	check 'salvaged: why' grep -q '^# lost: .*L2_ENTRY_OUTSIDE' lost.map
	# A digest of what is not all there says so.
	exits 8 --digest damaged.qcow2
	"$dump" --digest -f raw new.raw | cut -c 1-32 >digest
	exits 4 --digest --salvage --ranges=lost.digests damaged.qcow2
	check 'salvaged digest: of the same bytes' test "$(cut -c 1-32 out)" = "$(<digest)"
	check 'salvaged digest: what is lost is said' err_has '4096 bytes'
	exits 0 --check-digest=lost.digests -f raw new.raw
	exits 4 --check-digest=lost.digests --salvage damaged.qcow2
	exits 0 --digest --salvage top.qcow2
	rm -f digest lost.digests
	exits 8 --salvage --map=lost.map --force damaged.qcow2 /nowhere/new.raw
	rm -f new.raw lost.map
	exits 0 --salvage --map=lost.map top.qcow2 new.raw
	check 'nothing lost: no such line' test -z "$(grep -E ' -$' lost.map)"
	check 'nothing lost: bytes' cmp want.raw new.raw
	rm -f new.raw lost.map

	# A disk that cannot be read in one place.
	head -c 1M /dev/zero | tr '\0' '\5' >flat.raw
	env LD_PRELOAD="$build/tests/faultio.so" FAULT_FILE=flat.raw FAULT_EIO=524288:4096 \
		"$dump" -f raw flat.raw new.raw >out 2>err
	check "I/O error: exit 8" test $? -eq 8
	check 'I/O error: where' err_has 'guest range'
	check 'I/O error: no file' absent new.raw new.raw.part
	env LD_PRELOAD="$build/tests/faultio.so" FAULT_FILE=flat.raw FAULT_EIO=524288:4096 \
		"$dump" --salvage --map=lost.map -f raw flat.raw new.raw >out 2>err
	check "I/O error, salvaged: exit 4" test $? -eq 4
	dd if=/dev/zero of=flat.raw bs=4096 seek=128 count=1 conv=notrunc status=none
	check 'I/O error, salvaged: bytes' cmp flat.raw new.raw
	check 'I/O error, salvaged: map' grep -q '^0x00080000  0x00001000  -$' lost.map
	rm -f new.raw lost.map flat.raw
}

tells_a_rate() { # pid
	kill -USR1 "$1" 2>/dev/null
	grep -qE '^qcow2-dump: top.qcow2: .*MiB/s, .*left.*[0-9]+ of [0-9]+' err
}

test_signals() {
	local signal pid
	# A shell that is not interactive has its children ignore SIGINT.
	for signal in INT TERM HUP; do
		: >progress
		env --default-signal=INT "$dump" --rate=100K -C 3 top.qcow2 new.raw 3>progress >out 2>err </dev/null &
		pid=$!
		wait_for test -s progress
		kill "-$signal" "$pid"
		wait "$pid"
		check "SIG$signal: exit 32" test $? -eq 32
		check "SIG$signal: no file" absent new.raw new.raw.part
	done
	"$dump" --rate=1M top.qcow2 new.raw >out 2>err </dev/null &
	pid=$!
	wait_for test -e new.raw.part
	# Before the first bytes are there, no rate can be told.
	wait_for tells_a_rate "$pid"
	check 'SIGUSR1: what it says' tells_a_rate "$pid"
	wait "$pid"
	check 'SIGUSR1: goes on' cmp new.raw want.raw
	rm -f new.raw
	"$dump" -C 3 top.qcow2 new.raw 3>progress >out 2>err
	check '-C: lines of three words' test -s progress -a -z \
		"$(grep -vE '^[^ ]+ [0-9]+ [0-9]+$' progress)"
	check 'no progress without a terminal' test ! -s err
	rm -f new.raw
}

# wait_for COMMAND...: until it succeeds, for ten seconds at the most.
wait_for() {
	local i
	for ((i = 0; i < 500; i++)); do
		"$@" && return
		sleep 0.02
	done
	return 1
}

# --help, the manual page and completion must name the same options.
test_documents() {
	local page=$sources/qcow2-dump.1
	"$dump" --long-options | sed 's/=.*//' | sort >options
	check 'options: there are some' test -s options
	"$dump" --help | grep -oP '^ +(-[A-Za-z], )?\K--[a-z0-9-]+' | sort >help
	check 'options: --help' diff options help
	grep '^\.It Fl' "$page" | grep -oP 'Fl Fl \K[a-z0-9-]+' |
		sed 's/^/--/' | sort >paged
	check 'options: manual page' diff options paged
	"$dump" --short-options | sort >letters
	grep -oP '^\.It Fl \K[A-Za-z](?= )' "$page" | sed 's/^/-/' | sort >paged
	check 'letters: manual page' diff letters paged
	completed -- | sed 's/=$//' | sort >offered
	check 'options: completion' diff options offered
	completed --preallocate = '' >offered
	check 'completion: values' diff <(printf 'off\nfalloc\nfull\n') offered
	completed -c z >offered
	check 'completion: methods' diff <(printf 'zlib\nzstd\n') offered
	completed top >offered
	check 'completion: files' grep -qx top.qcow2 offered
	check 'manual page: mandoc' test -z "$(mandoc -Tlint -W warning "$page" 2>&1)"
}

# What messages name must be in the catalogue.
test_catalogue() {
	local id
	for id in $(grep -ohP '"\K[A-Z0-9_]{6,}(?=")' "$sources"/../lib/dump/{read,sound}.c) COMPRESSED_BAD_STREAM \
		DATA_FILE_SHORT; do
		check "the catalogue has $id" "$build/bin/qcow2-fsck" --explain="$id" >/dev/null
	done
}

make_images
test_usage
test_bad_input
test_targets
test_devices
test_in_use
test_full_disk
test_failing_writes
test_many_layers
test_sharing
test_policy
test_names
test_short_data_file
test_data_file_in_place
test_bitmaps
test_bitmaps_in_place
test_salvage
test_digests
test_known
test_compare
test_compare_secrets
test_range
test_signals
test_resume
test_left_behind
test_kills
test_nbd
test_documents
test_catalogue
check 'no input was written to' sha256sum --quiet -c hashes

sum_up conduct-dump
