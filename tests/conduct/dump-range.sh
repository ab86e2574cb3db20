# dump-range.sh - parts of a disk, and single layers of a chain.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

test_range() {
	local range start length
	for range in 0+512 512+1024 100K+1M 1536K+2560K 2M+64K 3M; do
		exits 0 --range="$range" top.qcow2 new.raw
		start=$(numfmt --from=iec "${range%+*}")
		[[ $range == *+* ]] && length=$(numfmt --from=iec "${range#*+}") || length=1048576
		check "--range $range" cmp <(tail -c +$((start + 1)) want.raw | head -c "$length") new.raw
		exits 0 --force --range="$range" -O qcow2 -c zlib --cluster-size=4K --verify top.qcow2 new.qcow2
		rm -f new.raw
		qemu-img convert -O raw new.qcow2 new.raw
		check "--range $range as QCOW2" cmp <(tail -c +$((start + 1)) want.raw | head -c "$length") new.raw
		rm -f new.raw new.qcow2
	done
	for range in 3M+1048577 3M+1049088 3M+9M 4M 4M+512 5M 0+16777215T; do
		exits 8 --range="$range" top.qcow2 new.raw
		check "--range $range: the disk's size is told" err_has 4194304
	done
	exits 0 --range=3M+1M top.qcow2 new.raw
	check '--range to the very end' test "$(stat -c %s new.raw)" -eq 1048576
	rm -f new.raw
	exits 8 --range=100+512 top.qcow2 new.raw
	exits 8 --range=0+100 top.qcow2 new.raw
	check 'a bad range makes no file' absent new.raw new.raw.part

	# A layer alone is what it is without its base.
	cp top.qcow2 alone.qcow2
	qemu-img rebase -u -b '' alone.qcow2
	qemu-img convert -O raw alone.qcow2 alone.raw
	exits 0 --layer=0 top.qcow2 new.raw
	check '--layer 0' cmp alone.raw new.raw
	qemu-img convert -O raw base.qcow2 alone.raw
	exits 0 --force --layer=1 top.qcow2 new.raw
	check '--layer 1' cmp alone.raw new.raw
	# Its base need not be there, but must not be written to if it is.
	cp top.qcow2 moved.qcow2
	qemu-img rebase -u -b gone.qcow2 -F qcow2 moved.qcow2
	cp moved.qcow2 alone.qcow2
	qemu-img rebase -u -b '' alone.qcow2
	qemu-img convert -O raw alone.qcow2 alone.raw
	exits 8 --force moved.qcow2 new.raw
	exits 0 --force --layer=0 moved.qcow2 new.raw
	check '--layer 0 without its base' cmp alone.raw new.raw
	exits 8 --force --layer=1 moved.qcow2 new.raw
	exits 8 --force --layer=0 top.qcow2 base.qcow2
	rm -f new.raw alone.* moved.qcow2
}
