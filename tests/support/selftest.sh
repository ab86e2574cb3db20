#!/bin/bash
# selftest.sh Q2MK: builds a matrix of images and lets qemu-img judge them: every image must be
# clean, and its contents must be what q2mk says that the guest sees.
# SPDX-License-Identifier: MIT
set -eu

q2mk=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
dir=$(mktemp -d "${TMPDIR:-/tmp}/q2mk-selftest.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
passed=0
failed=0

ok() {
    passed=$((passed + 1))
}

bad() {
    failed=$((failed + 1))
    printf 'FAIL %s\n' "$*"
    sed 's/^/    /' log
}

# try NAME COMMAND...: the command must succeed
try() {
    local name=$1
    shift
    if "$@" >log 2>&1; then ok; else bad "$name: $*"; fi
}

# refuse NAME TEXT: the recipe r must be refused with TEXT in the message
refuse() {
    if "$q2mk" r x.img >log 2>&1 || ! grep -qF -- "$2" log; then bad "refuse $1"; else ok; fi
}

# equals NAME EXPR VALUE: an expression over the recipe r
equals() {
    "$q2mk" -e "$2" r >log 2>&1 || true
    if [ "$(cat log)" = "$3" ]; then ok; else bad "$1: $2 is not $3"; fi
}

# qemu-img shows a snapshot with the size that the disk has now: the common part must be equal.
same_snapshot() {
    local old new
    "$q2mk" -g s.raw -s "$1" r x.img && qemu-img convert -f qcow2 -O raw -l "$1" x.img s.out
    old=$(stat -c %s s.raw)
    new=$(stat -c %s s.out)
    truncate -s $((old < new ? old : new)) s.raw s.out
    same s.raw s.out
}

# A bitmap as qemu-nbd serves it: "start+length" of every dirty range.
dirty() {
    local pid
    qemu-nbd -t -r -f qcow2 -B "$1" -k "$dir/nbd" --pid-file="$dir/pid" --fork x.img
    qemu-img map --output=json --image-opts \
        "driver=nbd,server.type=unix,server.path=$dir/nbd,x-dirty-bitmap=qemu:dirty-bitmap:$1" |
        sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\),.*"data": false.*/\1+\2/p' |
        tr '\n' ' '
    pid=$(cat pid)
    kill "$pid"
    while grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$pid/status" 2>/dev/null; do sleep 0.01; done
}

# bitmap NAME BITMAP RANGES: the dirty ranges of a bitmap in x.img
bitmap() {
    local got
    command -v qemu-nbd >log || return 0
    got=$(dirty "$2" 2>log)
    if [ "$got" = "$3" ]; then ok; else bad "$1: bitmap $2 is '$got'"; fi
}

# same A B: equal files; qemu-img knows how to skip the holes of large ones
same() {
    if [ "$(stat -c %s "$1")" -lt 16777216 ]; then
        cmp "$1" "$2"
    else
        [ "$(stat -c %s "$1")" -eq "$(stat -c %s "$2")" ] &&
            qemu-img compare -f raw -F raw "$1" "$2"
    fi
}

twice() {
    "$q2mk" r y.img && same x.img y.img
}

# image NAME [SNAPSHOT...] <recipe: build, check, compare contents, build again
image() {
    local name=$1 snap
    shift
    rm -f -- *.img *.raw *.out *.data
    cat >r
    try "$name" "$q2mk" -g g.raw r x.img
    try "$name" qemu-img check -q -f qcow2 x.img
    try "$name" qemu-img convert -f qcow2 -O raw x.img x.out
    try "$name" same g.raw x.out
    for snap in "$@"; do
        try "$name" same_snapshot "$snap"
    done
    try "$name" twice
    rm -f y.img
}

# shellcheck source=selftest_matrix.sh
. "$here/selftest_matrix.sh"
# shellcheck source=selftest_more.sh
. "$here/selftest_more.sh"

printf 'builder: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
