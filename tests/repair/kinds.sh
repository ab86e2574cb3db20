#!/usr/bin/env bash
# kinds.sh - damage of images that are more than plain: encrypted ones, compressed
# ones, those with an external data file; and --rescue where hardly anything is lost.
#
# SPDX-License-Identifier: MIT
#
# usage: kinds.sh BUILD_DIR             prints "kinds: N passed, N failed"
set -u
export LC_ALL=C

build=$(cd "${1:?usage: kinds.sh BUILD_DIR}" && pwd)
fsck=$build/bin/qcow2-fsck
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
passed=0
failed=0

check() { # name command...
	local name=$1
	shift
	if "$@" >out 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "kinds: $name: $(tail -n 3 out | head -c 300)" >&2
	fi
}

u64() { # file offset
	echo $((16#$(xxd -p -s "$2" -l 8 "$1")))
}
put64() { # file offset value
	printf '%016x' "$3" | xxd -r -p | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
bytes() { # file offset; writes what comes in
	dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
repair() { # options; of d.qcow2 into r.qcow2, or what is left of that
	cp d.qcow2 r.qcow2
	# shellcheck disable=SC2086
	${WRAP:-} "$fsck" $1 --no-journal r.qcow2 >said 2>&1
	[ $? -lt 8 ]
}
repaired() { # options; nothing is left
	cp d.qcow2 r.qcow2
	# shellcheck disable=SC2086
	${WRAP:-} "$fsck" $1 --no-journal r.qcow2 >said 2>&1
	[ $? = 1 ]
}
entry() { # L2 entry of the active disk: its offset in the file
	echo $((($(u64 o.qcow2 "$(u64 o.qcow2 40)") & 0xfffffffffffe00) + 8 * $1))
}
same_disk() {
	qemu-img compare -f qcow2 -F qcow2 o.qcow2 r.qcow2
}

# --- a search of the file, where one bit of a table is wrong -----------------------

for options in cluster_size=64k cluster_size=4k compat=0.10; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 2M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' o.qcow2 >io
	for damage in 1 6 text; do
		cp o.qcow2 d.qcow2
		case $damage in
		text) yes 'a line of a log' | head -c 64 | bytes d.qcow2 "$(entry 500)" ;;
		*) put64 d.qcow2 "$(entry 3)" $(($(u64 o.qcow2 "$(entry 3)") ^ 1 << damage)) ;;
		esac
		check "$options, $damage in the L2 table, --rescue" repair '-y --rescue'
		check "$options, $damage in the L2 table, --rescue: the disk" same_disk
	done
done

# --- compressed data ---------------------------------------------------------------

# A table that was wiped: what the youngest snapshot has comes back, not what an older
# one has.
qemu-img create -q -f qcow2 o.qcow2 4M
qemu-io -f qcow2 -c 'write -c -P 1 0 64k' -c 'write -c -P 2 64k 64k' -c 'write -c -P 3 128k 64k' \
	-c 'write -c -P 4 192k 64k' o.qcow2 >io
qemu-img snapshot -c one o.qcow2
qemu-io -f qcow2 -c 'write -P 5 64k 64k' o.qcow2 >io
qemu-img snapshot -c two o.qcow2
qemu-io -f qcow2 -c 'write -P 6 1M 64k' o.qcow2 >io
cp o.qcow2 d.qcow2
head -c 512 /dev/zero | bytes d.qcow2 "$(entry 0)"
check 'a table of compressed data wiped, -y' repair -y
check 'a table of compressed data wiped: as the youngest snapshot has it' \
	qemu-io -r -f qcow2 -c 'read -P 1 0 64k' -c 'read -P 5 64k 64k' -c 'read -P 3 128k 64k' r.qcow2
check 'a table of compressed data wiped: not called certain' \
	grep -q 'What may be wrong' said
check 'a table of compressed data wiped: qemu-img agrees' qemu-img check r.qcow2

echo "kinds: $passed passed, $failed failed"
[ "$failed" = 0 ]
