#!/usr/bin/env bash
# orphans.sh - orphans that no snapshot can hold are saved in a side file before they
# are freed, or nothing is freed.
#
# SPDX-License-Identifier: MIT
#
# usage: orphans.sh BUILD_DIR           prints "orphans: N passed, N failed"
set -u
export LC_ALL=C

build=$(cd "${1:?usage: orphans.sh BUILD_DIR}" && pwd)
fsck=$build/bin/qcow2-fsck
preload=$build/tests/faultwrite.so
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=1
passed=0
failed=0

check() { # name command...
	local name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'orphans: FAILED: %s\n' "$name" >&2
		tail -n 3 out err >&2
	fi
}
run() {
	timeout 60 ${WRAP:-} "$fsck" "$@" >out 2>err </dev/null
	status=$?
}
exits() { # status argument...
	local expected=$1
	shift
	run "$@"
	check "exit $expected: $* (was $status)" test "$status" -eq "$expected"
}
faulty() { # name-pattern nth:what argument...
	local pattern=$1 at=$2
	shift 2
	{
		timeout 60 env FAULT_NAME="$pattern" FAULT_AT="$at" LD_PRELOAD="$preload" \
			"$fsck" "$@" >out 2>err </dev/null
	} 2>/dev/null
	status=$?
}
same() { cmp -s "$1" "$2"; }
absent() { ! [ -e "$1" ]; }

number() { # file offset length
	echo $((16#$(xxd -p -s "$2" -l "$3" "$1")))
}
put() { # file offset hex
	xxd -r -p <<<"$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# A cluster behind the end that only its refcount tells of.
leak() { # image cluster-size file
	local end
	end=$(($(stat -c %s "$1") / $2))
	truncate -s $((end * $2)) "$1"
	cat "$3" >>"$1"
	put "$1" $(($(number "$1" "$(number "$1" 48 8)" 8) + 2 * end)) 0001
	leaked=$((end * $2))
}

# Each line of the index leads to bytes that have the digest and that the image had.
index_holds() { # side-file image-before
	local offset length at digest kind n=0
	while read -r offset length at digest kind; do
		n=$((n + 1))
		dd if="$1" of=piece bs=64K iflag=skip_bytes,count_bytes skip="$at" count="$length" status=none
		dd if="$2" of=there bs=64K iflag=skip_bytes,count_bytes skip="$offset" count="$length" status=none
		same piece there || return
		[ "$(stat -c %s piece)" = "$length" ] || return
		xxhsum -H3 - <piece | grep -q "$digest" || return
		[ "$kind" = table ] || [ "$kind" = data ] || return
	done < <(sed -n '/^ /p; /^end$/q' "$1")
	[ $n = "$3" ]
}

# An image with as many snapshots as there may be: empty disks, no tables.
full_table() {
	local end
	qemu-img create -q -f qcow2 full.qcow2 1M
	qemu-io -f qcow2 -c 'write -P 1 0 256k' full.qcow2 >/dev/null
	end=$((($(stat -c %s full.qcow2) + 65535) / 65536))
	# L1 table, its size, lengths of id and name, times, 24 bytes of extra data, and
	# the id, which is the name.
	awk 'BEGIN {
		for (i = 1; i <= 65536; i++) {
			digits = sprintf("%05d", i)
			id = ""
			for (k = 1; k <= 5; k++)
				id = id "3" substr(digits, k, 1)
			printf "%024x00050005%032x%08x%08x%032xffffffffffffffff%s%s%012x\n", 0, 0, 0, 24, 0, id, id, 0
		}
	}' | xxd -r -p | dd of=full.qcow2 bs=64K seek=$end conv=notrunc status=none
	put full.qcow2 60 "00010000$(printf %016x $((end * 65536)))"
	put full.qcow2 $(($(number full.qcow2 "$(number full.qcow2 48 8)" 8) + 2 * end)) \
		"$(yes 0001 | head -n 80 | tr -d '\n')"
	qemu-img check -q full.qcow2 || exit 1
}

qemu-img create -q -f qcow2 -o data_file=data.raw,cluster_size=4k outside.qcow2 32M || exit 1
qemu-io -f qcow2 -c 'write -P 1 0 1M' -c 'write -P 2 5M 64k' -c 'write -P 3 20M 64k' outside.qcow2 >out || exit 1
sha256sum data.raw >data.sum

# Tables that lost their slot tell it by themselves: the data file is laid out as the
# guest's disk.
l1=$(number outside.qcow2 40 8)
cp outside.qcow2 image.qcow2
put image.qcow2 $((l1 + 16)) 0000000000000000
put image.qcow2 $((l1 + 80)) 0000000000000000
exits 1 -y image.qcow2
check 'data file: both tables are back' qemu-img compare -q outside.qcow2 image.qcow2
check 'data file: nothing was to be saved' absent image.qcow2.q2orphans
check 'data file: not touched' sha256sum --quiet -c data.sum
rm -f image.qcow2*

# An older copy of a table, the slot of which is taken.
cp outside.qcow2 damaged.qcow2
dd if=outside.qcow2 of=table bs=4096 count=1 skip=$(((0xfffffffffffe00 & $(number outside.qcow2 $((l1 + 16)) 8)) / 4096)) status=none
leak damaged.qcow2 4096 table
cp damaged.qcow2 image.qcow2
cp damaged.qcow2 small.qcow2
exits 4 -p image.qcow2
check 'data file, -p: as it was' same damaged.qcow2 image.qcow2
exits 1 -y image.qcow2
check 'data file: a table is saved' index_holds image.qcow2.q2orphans damaged.qcow2 1
check 'data file: it is called a table' grep -qa " $leaked  *4096 .* table" image.qcow2.q2orphans
qemu-img check -q image.qcow2
check 'data file: qemu-img agrees' test $? = 0
check 'data file: the guest reads as before' qemu-img compare -q outside.qcow2 image.qcow2
check 'data file: not touched by that' sha256sum --quiet -c data.sum
exits 0 --undo=image.qcow2.q2undo image.qcow2
check 'data file: undone' same damaged.qcow2 image.qcow2

# Where a snapshot can hold them: it is named, with what to do about it.
seq 20000 | head -c 65536 >cluster
qemu-img create -q -f qcow2 damaged.qcow2 1M
truncate -s %64K damaged.qcow2
leak damaged.qcow2 65536 cluster
cp damaged.qcow2 image.qcow2
rm -f kept-plan
exits 4 --plan=kept-plan image.qcow2
check 'kept: the plan names the snapshot' grep -q 'orphaned cluster: internal snapshot lost+found-1' out
exits 0 --show-plan=kept-plan
check 'kept: a stored plan, too' grep -q 'kept in case it is needed' out
exits 0 --show-plan=kept-plan --output=json
check 'kept: as JSON' jq -e '[.plan.actions[] | select(.effect == "kept")] | length == 1' out >/dev/null
exits 1 -y image.qcow2
check 'kept: told after the repair' grep -qx '  What is kept in case it is needed:' out
read -r -a show <<<"$(grep -o 'qemu-img convert -l [^ ;]*' out)"
read -r -a remove <<<"$(grep -o 'qemu-img snapshot -d [^ ;]*' out)"
"${show[@]}" -O raw image.qcow2 kept.raw
check 'kept: the first command reads it' cmp -s -n 65536 kept.raw cluster
"${remove[@]}" image.qcow2
qemu-img check -q image.qcow2
check 'kept: the second frees it' test "$?,$(qemu-img snapshot -l image.qcow2)" = 0,
rm -f image.qcow2*

# Data that was the guest's once, in an image with 65536 snapshots.
full_table
cp full.qcow2 damaged.qcow2
leak damaged.qcow2 65536 cluster
fresh() {
	rm -f image.qcow2*
	cp damaged.qcow2 image.qcow2
}
fresh
run -n image.qcow2
check 'full: one cluster leaks' grep -q '1 leaked cluster' out
exits 4 -p image.qcow2
check 'full, -p: as it was' same damaged.qcow2 image.qcow2
rm -f plan
exits 4 --plan=plan image.qcow2
check 'full: the plan says that they are saved' grep -q 'saved in a side file before they are freed: 64 KiB' out
check 'full: planning saves nothing' absent image.qcow2.q2orphans
exits 0 --show-plan=plan
check 'full: shown: what is saved' grep -q "65536 bytes from $(printf %#x "$leaked") on: data" out
check 'full: shown: why' grep -q 'no snapshot can hold them' out
exits 0 --show-plan=plan --output=json
check 'full: shown as JSON' jq -e ".plan.orphans == [{\"offset\": $leaked, \"length\": 65536, \"kind\": \"data\"}]" out >/dev/null
exits 1 --apply=plan image.qcow2
check 'full: applied: saved' index_holds image.qcow2.q2orphans damaged.qcow2 1
check 'full: the bytes are those that leaked' same piece cluster
check 'full: the file is private' test "$(stat -c %a image.qcow2.q2orphans)" = 600
exits 0 image.qcow2
qemu-img check -q image.qcow2
check 'full: qemu-img agrees' test $? = 0
exits 0 -y image.qcow2

# Undone, the image has them again; redone, they are saved again.
exits 0 --undo=image.qcow2.q2undo image.qcow2
check 'full: undone' same damaged.qcow2 image.qcow2
exits 8 --redo=image.qcow2.q2undo image.qcow2
check 'full: redo overwrites no file' grep -q 'File exists' err
check 'full: redo writes nothing then' same damaged.qcow2 image.qcow2
exits 1 --redo=image.qcow2.q2undo --export-orphans=again image.qcow2
check 'full: redone: saved again' index_holds again damaged.qcow2 1

fresh
echo mine >image.qcow2.q2orphans
run -y image.qcow2
check "in the way: status $status" test $((status & 8)) = 8
check 'in the way: told' grep -q 'nothing is freed: .*File exists' err
check 'in the way: kept' grep -qx mine image.qcow2.q2orphans
check 'in the way: nothing is freed' same damaged.qcow2 image.qcow2
check 'in the way: no journal' absent image.qcow2.q2undo
rm -f named
exits 1 -y --export-orphans=named image.qcow2
check 'named: saved' index_holds named damaged.qcow2 1
run --output=json -y image.qcow2
fresh
run --output=json -y image.qcow2
check 'as JSON' jq -e '.images[0].repair.orphans == "image.qcow2.q2orphans"' out >/dev/null
fresh
exits 1 -y --free-orphans image.qcow2
check 'freed as told: nothing is saved' absent image.qcow2.q2orphans
for bad in '-p --export-orphans=x' '-y --free-orphans --export-orphans=x' '-n --export-orphans=x' \
	'--plan=x --export-orphans=y' '--undo=x --export-orphans=y' '-y --export-orphans=x clean.qcow2'; do
	fresh
	# shellcheck disable=SC2086
	exits 16 $bad image.qcow2
	check "$bad: nothing written" same damaged.qcow2 image.qcow2
done

# No space, an error, a signal, a crash while they are saved.
mv small.qcow2 damaged.qcow2
for what in ENOSPC EIO INT TERM KILL; do
	for n in 1 2 3 4; do
		fresh
		faulty '*.q2orphans.tmp-*' $n:$what -y image.qcow2
		case $what in
		E*) check "$what at $n: status $status" test $((status & 8)) = 8 ;;
		KILL) check "$what at $n: status $status" test $status = 137 ;;
		*) check "$what at $n: status $status" test $((status & 32)) = 32 ;;
		esac
		check "$what at $n: nothing is freed" same damaged.qcow2 image.qcow2
		check "$what at $n: nothing is saved" absent image.qcow2.q2orphans
		check "$what at $n: no journal" absent image.qcow2.q2undo
		[ $what = KILL ] || check "$what at $n: nothing left over" test -z "$(find . -name '*.tmp-*')"
		rm -f ./*.tmp-*
		exits 1 -y image.qcow2
		check "$what at $n: the next one saves" index_holds image.qcow2.q2orphans damaged.qcow2 1
	done
done
# What fails afterwards takes the side file with it, as the image still has all; a
# crash does not.
fresh
faulty image.qcow2 3:EIO -y image.qcow2
check 'a write that fails: taken back' same damaged.qcow2 image.qcow2
check 'a write that fails: no file stays' absent image.qcow2.q2orphans
fresh
faulty image.qcow2 3:KILL -y image.qcow2
check 'a crash: saved before' index_holds image.qcow2.q2orphans damaged.qcow2 1
exits 1 --redo=image.qcow2.q2undo image.qcow2
check 'a crash: redone, and still there' index_holds image.qcow2.q2orphans damaged.qcow2 1

# A device that ends where the image does has no room for a snapshot's tables.
qemu-img create -q -f qcow2 damaged.qcow2 1M
qemu-io -f qcow2 -c 'write -P 1 0 256k' damaged.qcow2 >/dev/null
truncate -s %64K damaged.qcow2
qemu-img convert -O raw damaged.qcow2 guest.raw
leak damaged.qcow2 65536 cluster
fresh
device=$(losetup --show -f image.qcow2 2>out)
if [ -n "$device" ]; then
	run -y --no-journal "$device"
	sync "$device"
	check "device: status $status" test $((status & 8)) = 8
	check 'device: told that the file has to be named' grep -q -- '--export-orphans' err
	check 'device: nothing is freed' same damaged.qcow2 image.qcow2
	rm -f device.saved
	exits 1 -y --journal=device.journal --export-orphans=device.saved "$device"
	check 'device: the orphan is saved' index_holds device.saved damaged.qcow2 1
	check 'device: it is the one' same piece cluster
	exits 0 "$device"
	check 'device: the guest reads as before' qemu-img compare -q -f qcow2 -F raw "$device" guest.raw
	exits 0 --undo=device.journal "$device"
	sync "$device"
	losetup -d "$device"
	check 'device: undone' same damaged.qcow2 image.qcow2
fi

check 'data file: never touched' sha256sum --quiet -c data.sum

# A plan whose list is altered is refused whole.
bad=0
size=$(stat -c %s plan)
for ((i = size - 70; i < size; i++)); do
	cp plan altered
	put altered $i "$(printf %02x $(($(number plan $i 1) ^ 1)))"
	run --show-plan=altered
	[ $status = 8 ] || bad=1
done
check 'altered plans are refused' test $bad = 0

echo "orphans: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ $passed -gt 0 ]
