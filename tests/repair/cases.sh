#!/usr/bin/env bash
# cases.sh - repairs every golden case: what must hold of any repair, and what
# qemu-img says of the result.
#
# SPDX-License-Identifier: MIT
#
# usage: cases.sh BUILD_DIR [CASE...]     prints "repair-cases: N passed, N failed"
#
# A case may have a file expect.repair with lines "left ID": what is left although the
# catalogue has a repair for it, with the reason as a comment; and "qemu no": the
# result is nothing that qemu-img can check (a key or another file would be needed).
set -u

build=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/../cases" || exit 1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0
failed=0
stops=0
# shellcheck source=tests/support/share.sh
. ../support/share.sh
CRASHES=${CRASHES:-3000} # places where the writing of one plan stops, at the most

complain() { # case text
	echo "repair case $1: $2" >&2
	ok=0
}

# After a repair that calls itself complete, qemu-img has nothing to object to.
ask_qemu() { # case
	local status said
	cp --sparse=always "$tmp/image.qcow2" "$tmp/fixed.qcow2"
	said=$(cd "$tmp" && ${WRAP:-} "$build/bin/qcow2-fsck" -y --no-journal fixed.qcow2 2>&1)
	status=$?
	[ $status = 0 ] || [ $status = 1 ] || return
	said=$(cd "$tmp" && timeout 20 qemu-img check -f qcow2 fixed.qcow2 2>&1) && return
	status=$?
	case $said in
	*'requires'*'encrypt.key-secret'* | *'key'*'secret'* | *'Could not open'*'No such file'* | \
		*'data-file'* | *'backing file'*) return ;;
	esac
	complain "$1" "qemu-img check exits with $status: $(echo "$said" | tail -n 3 | head -c 300)"
}

run_case() { # case
	local name=$1 known limit rooms n
	ok=1
	rm -rf "${tmp:?}"/*
	"$build/tests/q2mk" "$name/recipe" "$tmp/image.qcow2" 2>"$tmp/err" || {
		complain "$name" "recipe: $(cat "$tmp/err")"
		return
	}
	known=$(sed -n 's/^left //p' "$name/expect.repair" 2>/dev/null | tr '\n' ,)
	limit=$CRASHES
	rooms=4
	# A snapshot table of 64 MiB that is written anew, nearly all of it into space that
	# nothing names; and thousands of blocks for a million clusters, all of which each
	# check counts.  To look at each state of these would take hours.
	case $name in 505-table-too-long | 811-l1-tables-in-holes) limit=12 rooms=0 ;; esac
	${WRAP:-} "$build/tests/fixpoint" -l "$known" -r $rooms "$tmp/image.qcow2" >/dev/null 2>"$tmp/err" ||
		complain "$name" "$(sed 's/^[^:]*: //' "$tmp/err" | head -c 400)"
	${WRAP:-} "$build/tests/crash" -m "$limit" "$tmp/image.qcow2" >"$tmp/states" 2>"$tmp/err" ||
		complain "$name" "$(sed 's/^[^:]*: //' "$tmp/err" | head -c 400)"
	read -r _ n _ <"$tmp/states"
	stops=$((stops + n))
	[ "$(stat -c %s "$tmp/image.qcow2")" -gt 4000000000 ] ||
		grep -qs '^qemu no' "$name/expect.repair" || ask_qemu "$name"
}

if [ $# = 0 ]; then
	share_cases ../repair/cases.sh
	stops=$(awk '/places where writing stopped$/ {n += $2} END {print n + 0}' "$tmp/shared")
fi
for name in "$@"; do
	name=${name%/}
	run_case "$name"
	if [ $ok = 1 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "repair-cases: $stops places where writing stopped"
echo "repair-cases: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
