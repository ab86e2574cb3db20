#!/usr/bin/env bash
# big.sh - images of more than 2^31 clusters, host offsets past 2^42, guest offsets
# past 2^47, on sparse files: as qemu-img, and the book, have it.
#
# SPDX-License-Identifier: MIT
#
# usage: big.sh BUILD_DIR               prints "big: N passed, N failed"
#
# run.sh has other machines' programs say the same of these images.
set -u

build=$(readlink -f "${1:?usage: big.sh BUILD_DIR}")
recipes=$(readlink -f "$(dirname "$0")")
tool=$build/bin/qcow2-fsck
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"
map=$build/bin/qcow2-map
dump=$build/bin/qcow2-dump

# xxh: the XXH3-128 digest of standard input, in hexadecimal; hex: such text as bytes.
xxh() { xxhsum -H128 - | cut -c -32; }
hex() { xxd -r -p; }
digest() { "$dump" --digest "$@" | cut -c -32; }
as_qemu_maps() { # image
	"$map" extents --output=qemu "$1" >out 2>err &&
		qemu-img map --output=json "$1" | cmp - out
}

# Host clusters past 2^31.
test_host() {
	"$build/tests/q2mk" "$recipes/beyond-31-bits.recipe" big.qcow2
	check 'host: more than 2^31 clusters' test "$(stat -c %s big.qcow2)" -gt $((4096 << 31))
	exits 0 --output=json big.qcow2
	check 'host: 2 + 2 + 1 clusters' json '.images[0]["allocated-clusters"] == 5'
	check 'host: map' as_qemu_maps big.qcow2
	check 'host: past 2^31 clusters' json "any(.offset != null and .offset > $((4096 << 31)))"
	qemu-img convert -O raw big.qcow2 big.raw
	check 'host: digest' test "$(digest big.qcow2)" = "$(digest -f raw big.raw)"
	qemu-img convert -O raw -l far big.qcow2 far.raw
	check 'host: digest of a snapshot' test "$(digest --snapshot=far big.qcow2)" = "$(digest -f raw far.raw)"
	check 'host: not the same' test "$(digest -f raw far.raw)" != "$(digest -f raw big.raw)"
	"$dump" big.qcow2 new.raw >out 2>err
	check 'host: dump' qemu-img compare -q -f raw -F raw new.raw big.raw
	"$dump" -O qcow2 big.qcow2 new.qcow2 >out 2>err
	check 'host: dump to QCOW2' qemu-img compare -q -f qcow2 -F raw new.qcow2 big.raw
	rm -f big.qcow2 big.raw far.raw new.raw new.qcow2
}

# Faults there: found where they are, and mended.
test_faults() {
	local at
	"$build/tests/q2mk" "$recipes/beyond-31-bits-broken.recipe" broken.qcow2
	qemu-img map --output=json broken.qcow2 >want
	at=$(jq '.[] | select(.start == 549755813888) | .offset' want)
	check 'faults: past 2^31 clusters' test "$at" -gt $((4096 << 31))
	exits 4 --output=json broken.qcow2
	cp out found
	for finding in "REFCOUNT_ZERO 549755813888 $at" "L2_COPIED 549755817984 $((at + 4096))" \
		"LEAK null $((at + 8192))"; do
		read -r code guest host <<<"$finding"
		check "faults: $finding" jq -e --arg code "$code" \
			"any(.images[0].findings[]; .id == \$code and .[\"guest-offset\"] == $guest and
				.[\"host-offset\"] == $host)" found >jq.out
	done
	exits 1 -y --no-journal broken.qcow2
	exits 0 broken.qcow2
	check 'faults: mended, the same guest' cmp want <(qemu-img map --output=json broken.qcow2)
	rm -f broken.qcow2 want found jq.out
}

# Guest clusters past 2^31.
test_guest() {
	"$build/tests/q2mk" "$recipes/guest-beyond-31-bits.recipe" guest.qcow2
	exits 0 guest.qcow2
	check 'guest: qemu-img agrees' qemu-img check -q guest.qcow2
	check 'guest: map' as_qemu_maps guest.qcow2
	# The digest by the book: blocks of 4 KiB in chunks of 1 MiB.
	for byte in 1 2 3; do
		head -c 4096 /dev/zero | tr '\0' "\\$byte" | xxh >block$byte
	done
	{
		printf 'qcow2-progs disk digest 1'
		printf '%016x' $((256 << 40)) | hex
		printf '%016x' 0 | hex
		{ printf '0000'; cat block1; } | hex | xxh | hex
		printf '%016x' $((200 << 20)) | hex
		for n in {0..15}; do
			printf '%04x' "$n"
			cat block2
		done | hex | xxh | hex
		printf '%016x' $(((256 << 20) - 1)) | hex
		{ printf '00ff'; cat block3; } | hex | xxh | hex
	} >book
	check 'guest: digest, by the book' test "$(digest guest.qcow2)" = "$(xxh <book)"
	"$dump" --range=200T+64K guest.qcow2 new.raw >out 2>err
	check 'guest: a range of it' cmp new.raw <(head -c 65536 /dev/zero | tr '\0' '\2')
	rm -f guest.qcow2 new.raw book block?
}

test_host
test_faults
test_guest
sum_up big
