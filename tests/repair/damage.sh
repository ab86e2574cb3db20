# damage.sh - what the tests of images that are damaged on purpose have in common; to be
# sourced.
#
# SPDX-License-Identifier: MIT
#
# Wants $part, its name, and the build's folder as the script's argument.  Works in a
# folder of its own, which is removed at the end.
# shellcheck shell=bash

export LC_ALL=C
build=$(cd "${1:?usage: ${part:?}.sh BUILD_DIR}" && pwd)
# shellcheck disable=SC2034 # they use it
fsck=$build/bin/qcow2-fsck
passed=0
failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

# What it is, and a command that must end well.
check() { # name command...
	local name=$1
	shift
	if "$@" >out 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "$part: $name: $(tail -n 3 out | head -c 300)" >&2
	fi
}

u64() { # file offset
	echo $((16#$(xxd -p -s "$2" -l 8 "$1")))
}
put64() { # file offset value
	printf '%016x' "$3" | xxd -r -p | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
put8() { # file offset value
	printf '%02x' "$3" | xxd -r -p | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Where an L2 entry of the active disk of o.qcow2, as it was before, is in the file.
entry() { # guest cluster
	local size=$((8 << ($(u64 o.qcow2 72) >> 4 & 1)))
	[ "$(xxd -p -s 4 -l 4 o.qcow2)" = 00000003 ] || size=8
	echo $((($(u64 o.qcow2 "$(u64 o.qcow2 40)") & 0xfffffffffffe00) + size * $1))
}

# The last line, and the status of the script.
sum_up() {
	echo "$part: $passed passed, $failed failed"
	[ $failed = 0 ] && [ $passed -gt 0 ]
}
