# dump-bitmaps.sh - persistent bitmaps: kept, left out when told, never lost silently.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# dirty IMAGE BITMAP: the ranges of the bitmap, as QEMU's server tells them.
dirty() {
	serve qemu-nbd -r -t -f qcow2 -k "$work/nbd" -B "$2" "$1"
	nbdinfo --map="qemu:dirty-bitmap:$2" nbd+unix:///?socket=nbd
	unserve
}

bitmaps_of() {
	qemu-img info --output=json "$1" |
		jq -c '.["format-specific"].data.bitmaps | sort_by(.name)'
}

names_of() {
	qemu-img info --output=json "$1" |
		jq -r '(.["format-specific"].data.bitmaps // [])[].name'
}

# A disk that ends in the middle of every granule, and bitmaps over all kinds of
# granularity: dirty in places, all over, nowhere; enabled and disabled.
make_bitmaps() {
	qemu-img create -q -f qcow2 -o "$1" -b base.qcow2 -F qcow2 marked.qcow2 40000512
	qemu-img bitmap --add -g 64k marked.qcow2 b0
	qemu-img bitmap --add -g 512 marked.qcow2 fine
	qemu-io -c 'write -P 3 100k 100k' -c 'write 10M 12M' -c 'write 39990272 512' \
		marked.qcow2 >/dev/null
	qemu-img bitmap --add --disable marked.qcow2 off
	qemu-img bitmap --add -g 2M marked.qcow2 'a "name"'
	qemu-io -c 'write -P 4 1234k 100k' -c 'write -P 4 40000000 512' marked.qcow2 >/dev/null
	qemu-img bitmap --merge fine marked.qcow2 off
	qemu-img bitmap --add -g 1k marked.qcow2 all
	qemu-io -c 'write -z 0 40000512' marked.qcow2 >/dev/null
	qemu-img bitmap --clear marked.qcow2 b0
	qemu-img bitmap --merge off marked.qcow2 b0
	qemu-img bitmap --add marked.qcow2 empty
}

test_bitmaps() {
	local options name
	make_bitmaps cluster_size=4k
	for name in b0 fine off 'a "name"' all empty; do
		dirty marked.qcow2 "$name" >"dirty.$name"
		check "bitmap $name: read" test -s "dirty.$name"
	done
	check 'bitmaps: not all alike' test "$(md5sum dirty.* | cut -d ' ' -f 1 | sort -u | wc -l)" -ge 4
	for options in '' --cluster-size=512 --cluster-size=2M '-c zstd' '--extended-l2' \
		'--refcount-bits=1 -c zlib' --keep-backing=1; do
		# shellcheck disable=SC2086
		exits 0 -O qcow2 --bitmaps --verify $options marked.qcow2 new.qcow2
		check "bitmaps, $options: nothing to say" test ! -s err
		check "bitmaps, $options: the same" test "$(bitmaps_of marked.qcow2)" = "$(bitmaps_of new.qcow2)"
		check "bitmaps, $options: qemu-img check" qemu-img check -q new.qcow2
		check "bitmaps, $options: qcow2-fsck" "$build/bin/qcow2-fsck" -q --strict new.qcow2 >out
		check "bitmaps, $options: the disk" qemu-img compare -q marked.qcow2 new.qcow2
		for name in b0 fine off 'a "name"' all empty; do
			dirty new.qcow2 "$name" >got
			check "bitmap $name, $options: the ranges" cmp "dirty.$name" got
		done
		# A guest's writes go on being recorded.
		qemu-io -c 'write 30M 1M' new.qcow2 >/dev/null
		dirty new.qcow2 empty >got
		check "bitmaps, $options: go on" grep -qE ' 31457280 +1048576 +1 ' got
		rm -f new.qcow2
	done
	make_bitmaps cluster_size=2M
	for name in b0 fine off 'a "name"' all empty; do
		dirty marked.qcow2 "$name" >"dirty.$name"
	done
	exits 0 -O qcow2 --bitmaps --cluster-size=1k marked.qcow2 new.qcow2
	for name in b0 fine off 'a "name"' all empty; do
		dirty new.qcow2 "$name" >got
		check "bitmap $name, from 2 MiB: the ranges" cmp "dirty.$name" got
	done
	check 'bitmaps, from 2 MiB: qemu-img check' qemu-img check -q new.qcow2
	rm -f new.qcow2 dirty.* got
	test_bitmaps_refused
	test_wrong_writes
	rm -f marked.qcow2
}

# One bit of one write is wrong: --verify finds out, or it was of no account.
test_wrong_writes() {
	local i n name
	local -x LD_PRELOAD=$build/tests/faultwrite.so FAULT_NAME='new.qcow2*' FAULT_FAST=1
	make_bitmaps cluster_size=4k
	for name in fine off empty; do
		dirty marked.qcow2 "$name" >"dirty.$name"
	done
	FAULT_COUNT=$work/count "$dump" -O qcow2 --bitmaps --verify marked.qcow2 new.qcow2 >out 2>err
	n=$(<count)
	rm -f new.qcow2
	check 'wrong writes: there are some' test "$n" -ge 10
	for ((i = 1; i <= n; i++)); do
		FAULT_AT=$i:FLIP "$dump" -O qcow2 --bitmaps --verify marked.qcow2 new.qcow2 >out 2>err
		if [[ $? -ne 0 ]]; then
			check "wrong write $i: no file" absent new.qcow2 new.qcow2.part
			continue
		fi
		check "wrong write $i: qcow2-fsck" "$build/bin/qcow2-fsck" -q new.qcow2 >out
		check "wrong write $i: the disk" qemu-img compare -q marked.qcow2 new.qcow2
		for name in fine off empty; do
			dirty new.qcow2 "$name" >got
			check "wrong write $i: bitmap $name" cmp "dirty.$name" got
		done
		rm -f new.qcow2
	done
	# Of bitmaps alone, where the digest of the disk says nothing.
	printf 'cluster 4096\nsize 1M\nbitmap good set=64K:512\n' >recipe
	"$build/tests/q2mk" recipe good.qcow2
	FAULT_AT=1:FLIP "$dump" -O qcow2 --bitmaps --verify good.qcow2 new.qcow2 >out 2>err
	check 'a wrong bitmap: exit 8' test $? -eq 8
	check 'a wrong bitmap: said' err_has 'the bitmaps that were written read back differently'
	check 'a wrong bitmap: no file' absent new.qcow2 new.qcow2.part
	rm -f good.qcow2 count dirty.* got recipe
}

test_bitmaps_refused() {
	local damage
	# Nothing is lost without a word, even a quiet one.
	refused '--drop-bitmaps' -O qcow2 marked.qcow2 new.raw
	exits 0 -O qcow2 --drop-bitmaps marked.qcow2 new.raw
	check '--drop-bitmaps: nothing to say' test ! -s err
	check '--drop-bitmaps: none' test "$(names_of new.raw)" = ''
	exits 0 --force -q marked.qcow2 new.raw
	check 'bitmaps: said of a raw image, too' err_has 'its bitmaps are not in the result'
	exits 0 --force --drop-bitmaps marked.qcow2 new.raw
	check 'bitmaps: not if it was asked for' test ! -s err
	rm -f new.raw
	refused 'version 3' -O qcow2 --bitmaps --compat=0.10 marked.qcow2 new.raw
	refused 'whole disk' -O qcow2 --bitmaps --range=1M marked.qcow2 new.raw
	refused 'whole disk' -O qcow2 --bitmaps --layer=0 marked.qcow2 new.raw
	exits 16 --bitmaps marked.qcow2 new.raw
	exits 16 --absorb --bitmaps marked.qcow2
	exits 0 -O qcow2 --bitmaps base.qcow2 new.raw
	rm -f new.raw
	# Of one that is in use nobody knows what it holds; damaged ones likewise.
	while read -r damage; do
		printf 'cluster 4096\nsize 1M\nwrite 0 1M\nbitmap good set=64K:512\n%b\n' "$damage" >recipe
		"$build/tests/q2mk" recipe bad.qcow2
		refused "bitmap 'bad'" -O qcow2 --bitmaps bad.qcow2 new.raw
		exits 0 -O qcow2 --bitmaps --drop-bitmaps -q bad.qcow2 new.raw
		check "$damage: said" err_has 'of its bitmaps, in use or damaged, are not in the result'
		check "$damage: the others" test "$(names_of new.raw)" = good
		check "$damage: qemu-img check" qemu-img check -q new.raw
		rm -f new.raw bad.qcow2
	done <<'END'
bitmap bad flags=1 set=0:512
bitmap bad flags=3 set=0:512
bitmap bad flags=8 set=0:512
bitmap bad\nset bmtab[1][0] = 2
bitmap bad set=0:512\nset bmtab[1][0] = 64M
bitmap bad set=0:512\nset bmtab[1][0].offset += 512
bitmap bad set=0:512\nset bmdir[1].table_offset = 64M
bitmap bad set=0:512\nset bmdir[1].table_size = 2
bitmap bad set=0:512\nset bmdir[1].table_size = 0
bitmap bad gran=12\nbitmap bad gran=13
END
	for damage in 'set bmdir[1].type = 2' 'set bmdir[1].gran = 8' 'set bmdir[1].extra_size = 8'; do
		printf 'cluster 4096\nsize 1M\nbitmap good set=64K:512\nbitmap bad\n%s\n' "$damage" >recipe
		"$build/tests/q2mk" recipe bad.qcow2
		refused 'list of bitmaps is damaged' -O qcow2 --bitmaps bad.qcow2 new.raw
		exits 0 -O qcow2 --bitmaps --drop-bitmaps bad.qcow2 new.raw
		check "$damage: said" err_has '1 of its bitmaps'
		check "$damage: the others" test "$(names_of new.raw)" = good
		rm -f new.raw bad.qcow2
	done
	# All are left out, so there is no extension, either.
	printf 'cluster 4096\nsize 1M\nbitmap bad flags=1\n' >recipe
	"$build/tests/q2mk" recipe bad.qcow2
	exits 0 -O qcow2 --bitmaps --drop-bitmaps bad.qcow2 new.raw
	check 'no bitmap left: qcow2-fsck' "$build/bin/qcow2-fsck" -q --strict new.raw >out
	check 'no bitmap left: none' test "$(names_of new.raw)" = ''
	rm -f new.raw bad.qcow2
	# A disk of the server's making breaks in the middle of a bitmap.
	make_bitmaps cluster_size=4k
	for damage in 1 2 3; do
		LD_PRELOAD=$build/tests/faultwrite.so FAULT_NAME='new.raw.part' FAULT_AT=$damage:ENOSPC \
			"$dump" -O qcow2 --bitmaps marked.qcow2 new.raw >out 2>err
		check "bitmaps, full disk at $damage: exit 8" test $? -eq 8
		check "bitmaps, full disk at $damage: no file" absent new.raw new.raw.part
	done
}

# In place: the disk that a guest sees stays, and so do the bitmaps of the top; those
# of the base would miss what is committed.
test_bitmaps_in_place() {
	local name
	for verb in --absorb --commit; do
		make_bitmaps cluster_size=64k
		cp base.qcow2 low.qcow2
		qemu-img rebase -u -b low.qcow2 -F qcow2 marked.qcow2
		qemu-img convert -O raw marked.qcow2 before.raw
		for name in b0 fine off all empty; do
			dirty marked.qcow2 "$name" >"dirty.$name"
		done
		bitmaps_of marked.qcow2 >listed
		exits 0 $verb marked.qcow2
		bitmaps_of marked.qcow2 >got
		check "$verb: the same bitmaps" cmp listed got
		check "$verb: qemu-img check" qemu-img check -q marked.qcow2
		qemu-img convert -O raw marked.qcow2 after.raw
		check "$verb: the disk" cmp before.raw after.raw
		for name in b0 fine off all empty; do
			dirty marked.qcow2 "$name" >got
			check "$verb: bitmap $name" cmp "dirty.$name" got
		done
		rm -f dirty.* listed got before.raw after.raw low.qcow2
	done
	# Enabled ones of the base.
	qemu-img create -q -f qcow2 low.qcow2 4M
	qemu-img bitmap --add low.qcow2 on
	qemu-img bitmap --add --disable low.qcow2 off
	qemu-img create -q -f qcow2 -b low.qcow2 -F qcow2 high.qcow2
	qemu-io -c 'write -P 3 1M 1M' high.qcow2 >/dev/null
	sha256sum low.qcow2 high.qcow2 >before
	exits 8 --commit high.qcow2
	check 'commit, bitmaps of the base: said' err_has 'bitmap'
	check 'commit, bitmaps of the base: nothing is changed' sha256sum --quiet -c before
	dirty low.qcow2 off >dirty.off
	exits 0 --commit --mark-bitmaps high.qcow2
	check 'commit, marked: they are in use' test "$(bitmaps_of low.qcow2)" = \
		'[{"flags":[],"name":"off","granularity":65536},{"flags":["in-use","auto"],"name":"on","granularity":65536}]'
	dirty low.qcow2 off >got
	check 'commit, marked: the disabled one' cmp dirty.off got
	check 'commit, marked: qemu-img check' qemu-img check -q low.qcow2
	refused "bitmap 'on'" -O qcow2 --bitmaps low.qcow2 new.raw
	# A disabled one does not have to record anything.
	qemu-img bitmap --remove low.qcow2 on
	qemu-img rebase -u -b low.qcow2 -F qcow2 high.qcow2
	qemu-io -c 'write -P 4 2M 1M' high.qcow2 >/dev/null
	exits 0 --commit high.qcow2
	dirty low.qcow2 off >got
	check 'commit, disabled: as it was' cmp dirty.off got
	# The disk grows: the table of the bitmap is large enough, or is not.
	qemu-img resize -q high.qcow2 8M
	qemu-io -c 'write -P 5 6M 1M' high.qcow2 >/dev/null
	exits 0 --commit high.qcow2
	dirty low.qcow2 off | grep dirty >got
	check 'commit that grows: the bitmap' cmp got <(grep dirty dirty.off)
	check 'commit that grows: qemu-img check' qemu-img check -q low.qcow2
	check 'commit that grows: the disk' qemu-io -r -c 'read -P 5 6M 1M' -c 'read -P 0 7M 1M' low.qcow2 >out
	qemu-img resize -q high.qcow2 80G
	qemu-io -c 'write -P 5 70G 1M' high.qcow2 >/dev/null
	sha256sum low.qcow2 high.qcow2 >before
	exits 8 --commit high.qcow2
	check 'commit that grows more: said' err_has "bitmap 'off' would need a larger table"
	check 'commit that grows more: nothing is changed' sha256sum --quiet -c before
	rm -f low.qcow2 high.qcow2 marked.qcow2 before got dirty.off
}
