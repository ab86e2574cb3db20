#!/usr/bin/env bash
# single.sh - the writer's single promises: what it refuses, bitmaps, the name of
# the backing file, sizes.
#
# SPDX-License-Identifier: MIT
#
# usage: single.sh BUILD_DIR
set -u
export LC_ALL=C

bin=$(cd "$1" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0
failed=0

ok() { # what command...
	local what=$1
	shift
	if "$@" >log 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "writer: $what" >&2
		head -n 5 log >&2
	fi
}

# The writer refuses, says why, and the file stays as it is.
refused() { # what text image args...
	local what=$1 text=$2 image=$3 before
	shift 3
	before=$(sha256sum "$image")
	if "$bin/tests/q2write" edit "$image" "$@" 2>err.txt; then
		ok "$what: was not refused" false
	else
		ok "$what: $(cat err.txt)" grep -q -- "$text" err.txt
	fi
	ok "$what: the file has changed" [ "$before" = "$(sha256sum "$image")" ]
}

make_image() { # name <recipe
	"$bin/tests/q2mk" -g "$1.view" - "$1"
}

clean() { # image
	ok "$1: check" "$bin/bin/qcow2-fsck" "$1"
	ok "$1: qemu-img check" qemu-img check "$1"
}

info() { # image field
	qemu-img info -U --output=json "$1" | jq -r "$2"
}

refusals() {
	printf 'write 0 4K\ndirty\n' | make_image dirty.q2
	refused dirty 'marked as dirty' dirty.q2 write:0:512:1
	printf 'write 0 4K\ncorrupt\n' | make_image corrupt.q2
	refused corrupt 'marked as corrupt' corrupt.q2 write:0:512:1
	printf 'data-file d.raw\nwrite 0 4K\n' | make_image data.q2
	refused data-file 'data file' data.q2 write:0:512:1
	printf 'luks 64K\nwrite 0 4K\n' | make_image luks.q2
	refused luks 'encrypted' luks.q2 write:0:512:1
	printf 'write 0 4K\nset header.refcount_table_offset += 1\n' | make_image table.q2
	refused header 'damaged' table.q2 write:0:512:1
	printf 'write 0 4K\nset rt[0] += 7\n' | make_image rt.q2
	refused reftable 'damaged' rt.q2 write:0:512:1
	printf 'write 0 4K\nset l1[0] |= 2\n' | make_image l1.q2
	refused l1 'damaged' l1.q2 write:0:512:1
	printf 'write 0 4K\nset l2[0][1] |= 2\n' | make_image l2.q2
	refused l2 'damaged' l2.q2 write:512:512:1
	make_image range.q2 </dev/null
	refused range 'past the disk' range.q2 write:64K:1:1
	refused range 'past the disk' range.q2 zeros:0:65537
	refused range 'past the disk' range.q2 discard:1:64K
	refused shrink 'grow to' range.q2 resize:32K
	refused odd 'grow to' range.q2 resize:65537
	refused huge 'too large' range.q2 resize:1024G
	printf 'version 2\nwrite 0 4K\nsnapshot a extra=0\n' | make_image snap2.q2
	refused snapshot-size 'how large its disk is' snap2.q2 resize:128K
	printf 'write 0 4K\nbitmap off gran=9 set=0:64K\n' | make_image map.q2
	refused bitmap-size "bitmap 'off' would need a larger table" map.q2 resize:4M
	printf '\0%.0s' {1..1000} >raw.q2
	refused raw 'not a QCOW2' raw.q2 write:0:1:1
}

in_use() {
	make_image locked.q2 </dev/null
	mkfifo hold
	qemu-io -f qcow2 locked.q2 <hold >/dev/null 2>&1 &
	exec 7>hold
	# Until the lock is there.
	for _ in {1..200}; do
		"$bin/bin/qcow2-fsck" locked.q2 | grep -q IN_USE && break
		sleep 0.05
	done
	refused in-use 'use' locked.q2 write:0:512:1
	exec 7>&-
	wait
	ok 'free again' "$bin/tests/q2write" edit locked.q2 write:0:512:1
}

bitmaps() {
	printf 'size 1M\nwrite 0 4K\nbitmap on gran=16 flags=2 set=0:64K\nbitmap off gran=16\n' |
		make_image maps.q2
	refused 'enabled bitmap' '1 enabled bitmap,' maps.q2 write:0:512:1
	cp maps.q2 same.q2
	# The caller promises that nothing changes for the guest.
	ok 'same view' "$bin/tests/q2write" edit same.q2 flags=1 discard:512K:64K
	ok 'same view' [ "$(info same.q2 '[."format-specific".data.bitmaps[].flags[]] | join(" ")')" = auto ]
	clean same.q2
	ok 'stale' "$bin/tests/q2write" edit maps.q2 flags=2 write:512K:1K:7
	ok 'stale' [ "$(info maps.q2 '[."format-specific".data.bitmaps[] | .name + "=" + (.flags | join("+"))] | join(" ")')" = 'on=in-use+auto off=' ]
	clean maps.q2
}

autoclear() {
	printf 'feature autoclear 7\nfeature compat 9\nwrite 0 4K\n' | make_image auto.q2
	# Nothing written: nothing changed.
	before=$(sha256sum auto.q2)
	ok 'unknown autoclear bit' "$bin/tests/q2write" edit auto.q2 write:8K:512:5
	ok 'it is cleared' [ "$("$bin/tests/q2mk" -e 1 - <<<'' >/dev/null && xxd -s 88 -l 8 -p auto.q2)" = 0000000000000000 ]
	ok 'the compatible one stays' [ "$(xxd -s 80 -l 8 -p auto.q2)" = 0000000000000200 ]
	ok 'something was written' [ "$before" != "$(sha256sum auto.q2)" ]
}

# Each layout of the first cluster that is common, and some that are not.
backing() {
	local cs layout name n=0 long
	long=$(printf 'd/%.0s' {1..60})base.img
	for cs in 512 4K 64K; do
		for layout in plain featuretable noend unknown; do
			n=$((n + 1))
			name=b$n.q2
			{
				echo "cluster $cs"
				echo 'size 128K'
				echo 'rawfile base.img 64K seed:1'
				case $layout in
				unknown) echo 'ext 0x12345678 "keep me"' ;;
				noend) echo noend ;;
				esac
				echo 'backing base.img raw'
				# Behind the format, as QEMU has it.
				[ $layout != featuretable ] || [ $cs = 512 ] || echo featuretable
				echo 'write 0 4K'
			} | make_image $name
			cp base.img other.raw
			mkdir -p "$(dirname "$long")" && cp base.img "$long"
			ok "$name: another name" "$bin/tests/q2write" edit $name backing:other.raw:raw
			ok "$name: is $(info $name '."backing-filename"')" \
				[ "$(info $name '."backing-filename" + " " + ."backing-filename-format"')" = 'other.raw raw' ]
			ok "$name: another format" "$bin/tests/q2write" edit $name backing:base.img:qcow2
			ok "$name: is" \
				[ "$(info $name '."backing-filename" + " " + ."backing-filename-format"')" = 'base.img qcow2' ]
			ok "$name: a longer name" "$bin/tests/q2write" edit $name "backing:$long:raw"
			ok "$name: is" [ "$(info $name '."backing-filename"')" = "$long" ]
			ok "$name: view" qemu-img compare -f qcow2 -F raw $name $name.view
			ok "$name: none" "$bin/tests/q2write" edit $name backing
			ok "$name: none" [ "$(info $name '."backing-filename" // "none"')" = none ]
			[ $layout != unknown ] ||
				ok "$name: the extension stays" grep -q 'keep me' $name
			clean $name
			ok "$name: a new one" "$bin/tests/q2write" edit $name backing:base.img:raw
			ok "$name: view again" qemu-img compare -f qcow2 -F raw $name $name.view
			clean $name
		done
	done
}

sizes() {
	# A file that QEMU made: grown, emptied, cut.
	qemu-img create -q -f qcow2 big.q2 10M
	qemu-io -c 'write -P 3 0 4M' big.q2 >/dev/null
	qemu-img snapshot -c one big.q2
	ok grow "$bin/tests/q2write" edit big.q2 resize:3000M write:2999M:1M:9
	ok 'new size' [ "$(info big.q2 '."virtual-size"')" = $((3000 << 20)) ]
	ok 'new data' qemu-io -c 'read -P 9 2999M 1M' -c 'read -P 3 0 4M' -c 'read -P 0 4M 1995M' -c 'read -P 0 1999M 1000M' big.q2
	clean big.q2
	ok empty "$bin/tests/q2write" edit big.q2 empty shrink
	ok 'all zeros' qemu-io -c 'read -P 0 0 2000M' big.q2
	ok 'it is short' [ "$(stat -c %s big.q2)" -lt $((5 << 20)) ]
	clean big.q2
	ok 'snapshot' qemu-img snapshot -a one big.q2
	ok 'snapshot' qemu-io -c 'read -P 3 0 4M' big.q2
	clean big.q2
}

refusals
in_use
bitmaps
autoclear
backing
sizes
echo "writer: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
