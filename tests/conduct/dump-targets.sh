# dump-targets.sh - what is written to: files, devices, streams, full disks.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# The files of --map and --ranges: whole, or as they were.
test_asides() {
	local name
	for name in new3.raw new3.raw.part; do
		for how in '' --force; do
			# shellcheck disable=SC2086
			exits 8 --salvage $how --map=$name top.qcow2 new3.raw
			check "map $name: said" err_has 'image that is written'
			check "map $name: nothing is made" absent new3.raw new3.raw.part
		done
	done
	echo precious >precious
	for name in foreign nothing.qcow2; do
		exits 8 --salvage --force --map=precious "$name" new3.raw
		exits 8 --digest --force --ranges=precious "$name"
		check "$name: what is there stays" grep -qx precious precious
		exits 8 --salvage --map=new.map "$name" new3.raw
		exits 8 --digest --ranges=new.map "$name"
		check "$name: nothing is made" absent new.map new3.raw
	done
	exits 8 --salvage --force --map=precious --range=5M top.qcow2 new3.raw
	check 'a wrong range: what is there stays' grep -qx precious precious
	head -c 9999 foreign >precious
	exits 0 --salvage --force --map=precious top.qcow2 new3.raw
	exits 0 --salvage --force --map=new.map top.qcow2 new3.raw
	check 'what is there is replaced' cmp precious new.map
	rm -f precious new.map new3.raw
}

test_targets() {
	exits 0 top.qcow2 new.raw
	check 'the bytes' cmp want.raw new.raw
	check 'no temporary file is left' absent new.raw.part
	# It exists.
	echo precious >precious
	exits 8 top.qcow2 precious
	check 'it exists: said' err_has 'exists'
	check 'it exists: untouched' grep -qx precious precious
	exits 0 --force top.qcow2 precious
	check '--force: the bytes' cmp want.raw precious
	rm -f precious
	# The remains of a run that was killed.
	echo remains >new2.raw.part
	exits 8 top.qcow2 new2.raw
	check 'remains: untouched' grep -qx remains new2.raw.part
	exits 0 --force top.qcow2 new2.raw
	check 'remains: replaced' cmp want.raw new2.raw
	rm -f new2.raw
	# Nothing that is read is written to, by whatever name.
	ln base.qcow2 hard
	ln -s base.qcow2 soft
	for name in top.qcow2 base.qcow2 ./base.qcow2 hard soft; do
		exits 8 --force top.qcow2 "$name"
		check "$name is read: said" err_has 'files that are read'
	done
	for name in top.qcow2 base.qcow2 hard soft; do
		exits 8 --salvage --force --map="$name" top.qcow2 new3.raw
		check "$name as the map: said" err_has 'files that are read'
		for how in '' --resume; do
			# shellcheck disable=SC2086
			exits 8 --digest $how --force --ranges="$name" top.qcow2
			check "$name as the ranges, $how: said" err_has 'files that are read'
		done
	done
	check 'files that are read: untouched' sha256sum --quiet -c hashes
	check 'files that are read: nothing is made' absent new3.raw
	rm -f hard soft
	test_asides
	exits 8 top.qcow2 folder
	exits 8 top.qcow2 ''
	check 'an empty name: said before anything is done' err_has 'empty name'
	exits 8 top.qcow2 nowhere/new.raw
	timeout 10 "$dump" top.qcow2 fifo >out 2>err
	check 'a FIFO: exit 8' test $? -eq 8
	# Through a symbolic link the file that it names is replaced.
	echo old >real
	ln -s real link
	exits 0 --force top.qcow2 link
	check 'a link: stays one' test -L link
	check 'a link: the bytes' cmp want.raw real
	rm -f link real new.raw
	ln -s nowhere link
	for name in '' --force; do
		# shellcheck disable=SC2086
		exits 8 $name top.qcow2 link
		check "a link to nothing, $name: said" err_has 'link to nothing'
	done
	check 'a link to nothing: nothing is made' absent nowhere link.part
	rm -f link new.raw

	"$dump" top.qcow2 - 2>err | cmp - want.raw
	check 'a stream: the bytes' test $? -eq 0
	"$dump" top.qcow2 - 2>err | head -c 10 >/dev/null
	check 'a broken pipe: exit 8' test "${PIPESTATUS[0]}" -eq 8
	"$dump" top.qcow2 - >/dev/full 2>err
	check 'a full device: exit 8' test $? -eq 8
	check 'a full device: said' err_has 'No space'
	"$dump" top.qcow2 - >&- 2>err
	check 'no standard output: exit 8' test $? -eq 8
	exits 8 -O qcow2 top.qcow2 -
	exits 8 --verify top.qcow2 -

	exits 0 --preallocate=falloc top.qcow2 new.raw
	check 'falloc: the bytes' cmp want.raw new.raw
	check 'falloc: all blocks' test "$(stat -c %b new.raw)" -ge 8192
	exits 0 --force --preallocate=full --verify top.qcow2 new.raw
	check 'full: the bytes' cmp want.raw new.raw
	check 'full: all blocks' test "$(stat -c %b new.raw)" -ge 8192
	exits 0 --force --no-sync top.qcow2 new.raw
	check 'sparse: not all blocks' test "$(stat -c %b new.raw)" -lt 4096
	rm -f new.raw
}

# on_loop FILE: sets `loop` to a device with its bytes; false if there is none.
on_loop() {
	loop=$(losetup -f --show "$1" 2>/dev/null) || return
	loops+=("$loop")
}

test_devices() {
	local loop shown target source
	tr '\0' '\377' </dev/zero | head -c 5M >disk
	if ! on_loop disk; then
		echo 'conduct-dump: no loop devices here, so none is written to' >&2
		return
	fi
	exits 0 --verify top.qcow2 "$loop"
	check 'a device: the bytes' cmp -n 4194304 "$loop" want.raw
	check 'a device: what is behind stays' \
		test "$(tail -c 1048576 "$loop" | tr -d '\377' | wc -c)" -eq 0
	dd if=/dev/zero of="$loop" bs=1M count=5 status=none
	exits 0 --assume-zeroed top.qcow2 "$loop"
	check '--assume-zeroed: the bytes' cmp -n 4194304 "$loop" want.raw
	exits 0 -O qcow2 -c zlib --verify top.qcow2 "$loop"
	check 'QCOW2 on a device' qemu-img compare -q -f qcow2 -F qcow2 "$loop" top.qcow2
	# What is read is not written through a loop device, either.
	cp base.qcow2 shown.qcow2
	truncate -s 5M shown.qcow2
	on_loop shown.qcow2 || return
	shown=$loop
	sha256sum shown.qcow2 >shown.hash
	over shown-top.qcow2 shown.qcow2 qcow2
	for target in "$shown" shown.qcow2; do
		for source in shown-top.qcow2 shown.qcow2 "$shown"; do
			exits 8 --force "$source" "$target"
			check "$source to $target: said" err_has 'files that are read'
		done
	done
	check 'read through a loop device: untouched' sha256sum --quiet -c shown.hash
	on_loop shown.qcow2 || return
	exits 8 --force "$shown" "$loop"
	check 'two loop devices of one file: said' err_has 'files that are read'
	check 'two loop devices of one file: untouched' sha256sum --quiet -c shown.hash
	tr '\0' '\377' </dev/zero | head -c 3M >small
	on_loop small || return
	exits 8 top.qcow2 "$loop"
	check 'too small: said' err_has 'too small'
	check 'too small: untouched' test "$(tr -d '\377' <"$loop" | wc -c)" -eq 0
	test_vanishing
}

# What is below a device goes away: a part of what is read, the room for what is
# written.
test_vanishing() {
	local options
	head -c 4M /dev/zero | tr '\0' '\6' >gone
	on_loop gone || return
	truncate -s 1M gone
	blockdev --flushbufs "$loop"
	refused 'guest range' -f raw "$loop" new.raw
	refused 'guest range' -f raw -O qcow2 "$loop" new.raw
	exits 8 --digest -f raw "$loop"
	"$dump" -f raw "$loop" - >out 2>err
	check 'a device that ends early, as a stream: exit 8' test $? -eq 8
	exits 4 --salvage --map=gone.map -f raw "$loop" new.raw
	check 'a device that ends early, salvaged: the bytes' \
		cmp new.raw <(head -c 1M gone; head -c 3M /dev/zero)
	check 'a device that ends early, salvaged: the map' grep -q '^0x00100000  0x00300000  -$' gone.map
	rm -f new.raw
	qemu-img create -q -f qcow2 -u -b "$loop" -F raw gone.qcow2 4M
	refused 'guest range' --allow-path="$loop" gone.qcow2 new.raw
	exits 8 --allow-path="$loop" --absorb gone.qcow2
	check 'a device that ends early: its overlay can be opened' test "$(qemu-img info -U --output=json gone.qcow2 | jq -r '."backing-filename"')" = "$loop"
	rm -f new.raw gone.map gone gone.qcow2
	mkdir gone.dir
	mount -t tmpfs -o size=512k none gone.dir 2>/dev/null || return
	mounted=$work/gone.dir
	truncate -s 5M gone.dir/disk
	if on_loop gone.dir/disk; then
		for options in '' --verify '-O qcow2'; do
			# shellcheck disable=SC2086
			exits 8 $options top.qcow2 "$loop"
			check "a device without room, $options: said" test -s err
		done
		losetup -d "$loop"
		unset 'loops[-1]'
	fi
	umount gone.dir
	mounted=
}

# What a virtual machine has open is neither overwritten nor taken its name from.
test_in_use() {
	local server loop
	qemu-img create -q -f qcow2 used.qcow2 4M
	qemu-io -c 'write -P 6 0 64k' used.qcow2 >/dev/null
	sha256sum used.qcow2 >used.hash
	for name in '' -r; do
		# shellcheck disable=SC2086
		serve qemu-nbd $name -t -f qcow2 -k "$work/nbd" used.qcow2
		exits 8 --force top.qcow2 used.qcow2
		check "a file in use, $name: said" err_has 'in use'
		check "a file in use, $name: nothing is left" absent used.qcow2.part
		# It can be read; what that is worth is said.
		exits 0 --quiet --digest used.qcow2
		check "read while in use, $name: said" \
			test "$(grep -c 'may be writing to it' err)" -eq "$([[ $name == -r ]] && echo 0 || echo 1)"
		unserve
	done
	check 'a file in use: untouched' sha256sum --quiet -c used.hash
	exits 0 --force top.qcow2 used.qcow2
	check 'a file no longer in use: the bytes' cmp want.raw used.qcow2
	if on_loop used.qcow2; then
		serve qemu-nbd -t -f raw -k "$work/nbd" "$loop"
		exits 8 -O qcow2 top.qcow2 "$loop"
		check 'a device in use: said' err_has 'in use'
		unserve
		check 'a device in use: untouched' cmp want.raw "$loop"
	fi
	rm -f used.qcow2 used.hash
}

test_full_disk() {
	mkdir tiny
	if ! mount -t tmpfs -o size=512k none tiny 2>/dev/null; then
		echo 'conduct-dump: nothing can be mounted here, so no disk is full' >&2
		return
	fi
	mounted=$work/tiny
	for options in '' '--preallocate=falloc' '-O qcow2' '-O qcow2 --cluster-size=2M' '--resume'; do
		# shellcheck disable=SC2086
		exits 8 $options top.qcow2 tiny/new
		check "full disk, $options: said" err_has 'No space'
		check "full disk, $options: no file" absent tiny/new
		[[ $options == --resume ]] || check "full disk, $options: nothing left" absent tiny/new.part
	done
	rm -f tiny/*
	umount tiny
	mounted=
}

# Where files can share their blocks nothing is copied.
test_sharing() {
	mkdir shared
	truncate -s 320M xfs.disk
	if ! mkfs.xfs -q -m reflink=1 xfs.disk 2>/dev/null || ! mount -o loop xfs.disk shared 2>/dev/null; then
		echo 'conduct-dump: no XFS can be mounted here, so no blocks are shared' >&2
		return
	fi
	mounted=$work/shared
	qemu-img convert -f qcow2 -O qcow2 top.qcow2 shared/plain.qcow2
	qemu-io -c 'write -P 8 3M 100k' shared/plain.qcow2 >/dev/null
	qemu-img convert -O raw shared/plain.qcow2 plain.raw
	exits 0 shared/plain.qcow2 shared/new.raw
	check 'sharing: the bytes' cmp plain.raw shared/new.raw
	check 'sharing: blocks are shared' grep -q shared <(filefrag -v shared/new.raw)
	exits 0 --force --verify shared/plain.qcow2 shared/new.raw
	check 'sharing, verified: the bytes' cmp plain.raw shared/new.raw
	exits 0 --force shared/plain.qcow2 new.raw
	check 'another file system: the bytes' cmp plain.raw new.raw
	rm -f new.raw plain.raw shared/*
	umount shared
	mounted=
}

# No room, or an error, at each write, resize and flush: no file is left, under no
# name, and what is read is as it was.
test_failing_writes() {
	local form what i n
	local -x LD_PRELOAD=$build/tests/faultwrite.so FAULT_NAME='new.img*' FAULT_FAST=1
	for form in '' '--preallocate=full' '--preallocate=falloc' '-O qcow2' '-O qcow2 -c zlib --cluster-size=4k' \
		'-O qcow2 --keep-backing=1'; do
		# shellcheck disable=SC2086
		FAULT_COUNT=$work/count "$dump" $form top.qcow2 new.img >out 2>err
		n=$(<count)
		rm -f new.img
		check "failing writes, $form: there are some" test "$n" -ge 3
		for what in ENOSPC EIO; do
			for ((i = 1; i <= n; i++)); do
				# shellcheck disable=SC2086
				FAULT_AT=$i:$what "$dump" $form top.qcow2 new.img >out 2>err
				check "$what at $i, $form: exit 8" test $? -eq 8 -a -s err
				check "$what at $i, $form: nothing is left" absent new.img new.img.part
			done
		done
	done
	rm -f count
}

# As many layers as are followed, and one more.
test_many_layers() {
	local i
	mkdir layers
	for ((i = 200; i > 0; i--)); do
		printf 'cluster 512\nsize 128K\n%s\nwrite %d 512 %d\nwrite %d 512 %d\n' \
			"$([[ $i == 200 ]] || echo "backing $((i + 1)).qcow2 qcow2")" \
			$((i * 512)) "$i" 0 $((i % 100 + 1)) >recipe
		"$build/tests/q2mk" recipe "layers/$i.qcow2"
	done
	# Of the first sector the top has its own; of each other one a single layer.
	for ((i = 0; i < 256; i++)); do
		head -c 512 /dev/zero | tr '\0' "\\$(printf %o $((i == 0 ? 2 : i <= 200 ? i : 0)))"
	done >layers/want
	exits 0 layers/1.qcow2 new.raw
	check '200 layers: the bytes' cmp layers/want new.raw
	exits 0 -O qcow2 --verify layers/1.qcow2 new.qcow2
	exits 0 --compare -F raw new.qcow2 new.raw
	# Sanitizers reserve more than that.
	grep -q __asan_init "$dump" ||
		check '200 layers: the memory' test -z "$( (ulimit -v 400000; "$dump" --digest layers/1.qcow2) 2>&1 >/dev/null)"
	rm -f new.raw new.qcow2
	over layers/0.qcow2 1.qcow2 qcow2
	refused 'more than 200 layers' layers/0.qcow2 new.raw
	rm -r layers
}
