#!/usr/bin/env bash
# state.sh - qcow2-fsck --state: checks and searches that are interrupted or killed, and
# go on.
#
# SPDX-License-Identifier: MIT
#
# usage: state.sh BUILD_DIR              prints "state: N passed, N failed"
#
# That every state of every golden case leads to the same findings is tested with
# those, by q2keep; that of searches to the same plans with the images of rescue.sh.
set -u
build=$(readlink -f "${1:?usage: state.sh BUILD_DIR}")
tool=$build/bin/qcow2-fsck
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"

devices=()
let_go() {
	local i
	for ((i = ${#devices[@]} - 1; i >= 0; i--)); do losetup -d "${devices[i]}"; done
	devices=()
}

# with VARIABLE=VALUE... -- ARGUMENT...: the tool, its reads of image.qcow2 disturbed.
with() {
	local set=()
	while [[ $1 != -- ]]; do
		set+=("$1")
		shift
	done
	shift
	env --default-signal=INT,TERM FAULT_FILE=image.qcow2 LD_PRELOAD="$build/tests/faultio.so" \
		"${set[@]}" "$tool" "$@" >out 2>err </dev/null
	status=$?
}

# Where the L2 table of a slot is.
table_of() { # slot
	local l1
	l1=$(xxd -s 40 -l 8 -p image.qcow2)
	echo $((0x$(xxd -s $((0x$l1 + 8 * $1)) -l 8 -p image.qcow2) & 0xfffffffffffe00))
}

# Interrupted at the table of a slot, by a signal.
interrupt() { # slot signal [option...]
	rm -f kept
	with "FAULT_SIGNAL=$(table_of "$1"):65536:$2" -- --state=kept "${@:3}" image.qcow2
	check "signal $2: exit 32" test $status -eq 32
	check "signal $2: a state" grep -aq 'kept 0*[1-9]' kept
}

same_report() { # what
	check "$1: the same report" cmp want out
	check "$1: no state is left" absent kept
}

refused() { # what text [argument...]
	cp kept before
	exits 8 --output=json --state=kept "${@:3}"
	check "$1: said" err_has "$2"
	check "$1: in the report" json '.images[0].error'
	check "$1: the file is as it was" cmp before kept
}

# Ten tables, each followed by its data; leaks, a wrong refcount and two clusters that
# are shared, which the walk has to remember.
make_image() {
	make_sound
	poke image.qcow2 "$(table_of 1)+14" '\2'
	dd if=image.qcow2 of=image.qcow2 bs=8 count=1 conv=notrunc status=none \
		skip=$(($(table_of 1) / 8)) seek=$((($(table_of 2) / 8) + 1))
	exits 4 --output=json --all-findings image.qcow2
	check 'the image: several problems' json '.images[0].findings | length > 3'
	cp out want
}
make_sound() {
	local slot args=()
	qemu-img create -q -f qcow2 image.qcow2 5G
	for slot in {0..9}; do
		args+=(-c "write -q -P $((slot + 1)) $((slot * 512))M 192k")
	done
	qemu-io "${args[@]}" image.qcow2
}

test_interrupted() {
	exits 4 --output=json --all-findings --state=kept image.qcow2
	same_report 'not interrupted'
	for signal in 2 15; do
		interrupt 5 $signal --all-findings
		exits 4 --output=json --all-findings --state=kept image.qcow2
		same_report "signal $signal"
	done
	# Again and again, each time a little later.
	interrupt 1 2 --all-findings
	for slot in 3 4 8 9; do
		cp kept before
		with "FAULT_SIGNAL=$(table_of $slot):65536:2" -- --state=kept --all-findings image.qcow2
		check "once more: exit 32" test $status -eq 32
		check "once more: another state" test -n "$(cmp kept before)"
	done
	exits 4 --output=json --all-findings --state=kept image.qcow2
	same_report 'five times'
	# Nothing is known before the first table.
	rm -f kept
	with "FAULT_SIGNAL=$(table_of 0):1:2" -- --state=kept image.qcow2
	check 'first table: exit 32' test $status -eq 32
	check 'first table: a state' grep -aq 'kept 0*1 ' kept
	rm kept
	with "FAULT_SIGNAL=0:1:2" -- --state=kept image.qcow2
	check 'early: exit 32' test $status -eq 32
	check 'early: no state' absent kept
}

# What is done is not read again: it could not be.  That is so where there is nothing
# whose owners are to be found.
test_not_again() {
	mv image.qcow2 broken.qcow2
	cp want broken.want
	make_sound
	exits 0 --output=json image.qcow2
	cp out want
	interrupt 5 2
	with "FAULT_EIO=$(table_of 4):65536" -- --output=json image.qcow2
	check 'a place that cannot be read' test $status -ge 8
	with "FAULT_EIO=$(table_of 4):65536" -- --output=json --state=kept image.qcow2
	check 'going on: no error' test $status -eq 0
	same_report 'going on: it is not read again'
	# Killed after some seconds: what was kept by then is of use.
	{
		with "FAULT_SLEEP=$(table_of 4):65536:6" "FAULT_SIGNAL=$(table_of 8):65536:9" -- \
			--state=kept image.qcow2
	} 2>/dev/null
	check 'killed' test $status -eq 137
	with "FAULT_EIO=$(table_of 3):65536" -- --output=json --state=kept image.qcow2
	check 'killed: goes on' test $status -eq 0
	same_report 'killed'
	mv broken.qcow2 image.qcow2
	mv broken.want want
}

# Inside of a table: streams are many to a table.
test_streams() {
	local at
	seq 1 1200000 >text
	mv image.qcow2 plain.qcow2
	cp want plain.want
	qemu-img convert -c -f raw -O qcow2 text image.qcow2
	exits 0 --output=json --data image.qcow2
	cp out want
	at=$(($(stat -c %s image.qcow2) * 2 / 3))
	rm -f kept
	with "FAULT_SIGNAL=$at:4096:2" -- --state=kept --data image.qcow2
	check 'streams: exit 32' test $status -eq 32
	with "FAULT_EIO=$((at / 2)):65536" -- --output=json --state=kept --data image.qcow2
	check 'streams: not read again' test $status -eq 0
	same_report 'streams'
	mv plain.qcow2 image.qcow2
	mv plain.want want
}

test_refused() {
	local size at
	interrupt 5 2 --all-findings
	cp kept state
	size=$(stat -c %s state)
	# Any byte that is another one: it is refused, or of no account.
	for ((at = 0; at < size; at += at < 300 ? 7 : 61)); do
		cp state kept
		poke kept $at "\\$(printf %o $((0x$(xxd -s $at -l 1 -p state) ^ 1)))"
		run --output=json --all-findings --state=kept image.qcow2
		[[ $status = 8 ]] || { [[ $status = 4 ]] && cmp -s want out; } || break
	done
	check "a byte that is another one, at $at" test $at -ge "$size"
	for at in 1 20 36 130 250 300 512 600 $((size - 1)); do
		head -c $at state >kept
		run --output=json --all-findings --state=kept image.qcow2
		[[ $status = 8 ]] || { [[ $status = 4 ]] && cmp -s want out; } || break
	done
	check "cut to $at" test $at -eq $((size - 1))
	cp state kept
	poke kept 600 '\377\377\377'
	refused 'altered' 'was damaged or altered: remove it' --all-findings image.qcow2
	sed '1s/state 1/state 2/' state >kept
	refused 'another version' 'is not what an interrupted run left' --all-findings image.qcow2
	cp state kept
	refused 'other options' 'or other options' image.qcow2
	refused 'more options' 'or other options' --all-findings --data image.qcow2
	cp image.qcow2 other.qcow2
	refused 'another image' 'is of another image' --all-findings other.qcow2
	cp -p image.qcow2 stamp
	poke image.qcow2 "$(table_of 9)+100" '\0'
	touch -r stamp image.qcow2
	refused 'an image that was written to' 'has changed since' --all-findings image.qcow2
	printf 'mine\n' >kept
	refused 'no state' 'is not what an interrupted run left' image.qcow2
	cp image.qcow2 kept
	refused 'an image' 'is not what an interrupted run left' image.qcow2
	sha256sum image.qcow2 >sum
	exits 8 --state=image.qcow2 image.qcow2
	check 'the image itself: as it was' sha256sum -c --quiet sum
	: >empty
	ln empty link
	exits 8 --state=link empty
	check 'an empty image, by another name: stays' test -e link
	exits 8 --state=empty empty
	check 'an empty image: stays' test -e empty
	rm -f empty link
	rm kept
	mkdir kept
	exits 8 --state=kept image.qcow2
	rmdir kept
	ln -s state kept
	exits 8 --state=kept image.qcow2
	rm kept
	exits 8 --state=nowhere/kept image.qcow2
	cp state kept
	exits 8 --state=kept missing.qcow2
	check 'no image: the state stays' cmp state kept
	rm kept
	exits 8 --state=kept missing.qcow2
	check 'no image: no state' absent kept
	exits 16 --state=kept image.qcow2 image.qcow2
	exits 16 --state=kept -y image.qcow2
	exits 16 --state=kept --plan=plan image.qcow2
	exits 16 --state=kept -i --rescue image.qcow2
	exits 16 --state
	check 'misused: no state' absent kept
}

test_disk_full() {
	local pid
	for nth in 1 2 3 4; do
		rm -f kept
		FAULT_NAME=kept FAULT_AT=$nth:ENOSPC with \
			"LD_PRELOAD=$build/tests/faultio.so:$build/tests/faultwrite.so" \
			"FAULT_SIGNAL=$(table_of 5):65536:2" -- --state=kept image.qcow2
		check "full disk, write $nth: exit 32" test $status -eq 32
		check "full disk, write $nth: said" err_has 'No space left on device: an interrupted run'
		exits 4 --output=json --all-findings --state=fresh image.qcow2
		rm -f kept
	done
	FAULT_NAME=kept FAULT_AT=1:ENOSPC with \
		"LD_PRELOAD=$build/tests/faultwrite.so" -- --output=json --all-findings --state=kept image.qcow2
	check 'full disk: the check goes on' test $status -eq 4
	check 'full disk: it is said' err_has 'No space left on device'
	# Two runs at a time.
	with "FAULT_SLEEP=$(table_of 4):65536:2" -- --state=kept image.qcow2 &
	pid=$!
	while [[ ! -s kept ]]; do sleep 0.02; done
	timeout 60 "$tool" --state=kept image.qcow2 >out2 2>err2
	check 'two runs: exit 8' test $? -eq 8
	check 'two runs: said' grep -q 'another run' err2
	wait $pid
}

# Searches for the tables of an image without a header: each reader of the file past
# what the check of such a file looks at is one.  Interrupted, and gone on with, where
# the first bytes of a cluster, or others, are read.
searched() { # what offset-in-KiB signal status option...
	with "FAULT_SIGNAL=$(($2 * 1024)):512:$3" -- --output=json --rescue --state=kept "${@:5}" image.qcow2
	check "$1: exit $4" test $status -eq "$4"
}
same_plan() { # what
	check "$1: the same plan" cmp want.plan plan
	same_report "$1"
	rm -f plan
}
test_searches() {
	local mib=1024
	rm -f image.qcow2 kept plan
	qemu-img create -q -f qcow2 -o cluster_size=4k image.qcow2 100M
	qemu-io -c 'write -q -P 1 0 80M' image.qcow2
	cp image.qcow2 sound
	dd if=/dev/zero of=image.qcow2 bs=512 count=1 conv=notrunc status=none
	exits 12 --output=json --rescue --plan=want.plan image.qcow2
	cp out want
	exits 12 --output=json --rescue --plan=plan --state=kept image.qcow2
	same_plan 'not interrupted'
	# Clusters are looked at by their first bytes, the file as a whole before.
	searched 'the file' $((70 * mib + 3)) 2 32 --plan=plan
	check 'the file: a state' grep -aq 'kept 0*1 ' kept
	check 'the file: no plan' absent plan
	cp kept first
	searched 'the file, not read again' $((66 * mib + 3)) 2 12 --plan=plan
	same_plan 'the file'
	cp first kept
	searched 'its clusters' $((68 * mib)) 15 32 --plan=plan
	check 'its clusters: another state' test -n "$(cmp kept first)"
	cp kept second
	searched 'a plan that cannot be saved' $((66 * mib)) 2 12 --plan=nowhere/plan
	check 'a plan that cannot be saved: the state stays' cmp second kept
	searched 'its clusters, not read again' $((66 * mib)) 2 12 --plan=plan
	same_plan 'its clusters'
	cp second kept
	poke kept "$(($(stat -c %s kept) - 2))" '\377'
	exits 12 --output=json --rescue --plan=plan --state=kept image.qcow2
	same_plan 'from the state before the last'
	cp second kept
	poke kept "$(($(stat -c %s kept) - 2))" '\377'
	poke kept 514 '\377'
	refused 'altered search' 'was damaged or altered' --rescue --plan=plan image.qcow2
	cp second kept
	refused 'a check, by a search' 'or other options' image.qcow2
	refused 'other rescue' 'or other options' --rescue --free-orphans --plan=plan image.qcow2
	rm kept
	FAULT_NAME=kept FAULT_AT=1:ENOSPC with "LD_PRELOAD=$build/tests/faultio.so:$build/tests/faultwrite.so" \
		"FAULT_SIGNAL=$((70 * mib * 1024 + 3072)):512:2" -- --rescue --state=kept --plan=plan image.qcow2
	check 'search, full disk: exit 32' test $status -eq 32
	check 'search, full disk: said' err_has 'No space left on device: an interrupted run'
	cp second kept
	exits 1 --rescue -y --no-journal --state=kept image.qcow2
	check 'repaired: no state is left' absent kept
	check 'repaired: sound' qemu-img check -q image.qcow2
	check 'repaired: the disk' qemu-img compare -q sound image.qcow2
}

# A new loop device for a file, or for a device.
attach() { # file
	device=$(losetup --show -f "$@") && devices+=("$device")
}

# Interrupted on the device, a state is left in `state`.
interrupt_device() {
	rm -f kept
	with "FAULT_FILE=$device" "FAULT_SIGNAL=$(table_of 5):65536:2" -- --state=kept "$device"
	check "$device: exit 32" test $status -eq 32
	check "$device: nothing to be told yet" test "$(wc -l <err)" = 1
	cp kept state
}

same_findings() { # but for the name
	jq -e --slurpfile want want '.images[0] * {filename: ""} == $want[0].images[0] * {filename: ""}' out >json
}

# Goes on, without what was read.
goes_on_device() { # what
	with "FAULT_FILE=$device" "FAULT_EIO=$(table_of 4):65536" -- --output=json --state=kept "$device"
	check "$1: goes on" test $status -eq 0
	check "$1: the same report" same_findings
	check "$1: no state is left" absent kept
}

# Whoever can write to a device, here and in another way, is noticed or told.
test_devices() {
	local front probe major minor
	if ! probe=$(losetup -f 2>&1); then
		echo "state: no loop devices here ($probe): states of devices are not tested" >&2
		return
	fi
	make_sound
	truncate -s %64K image.qcow2
	exits 0 --output=json image.qcow2
	cp out want

	# A loop device is as its file is: wherever that is shown, and whoever writes to it.
	attach image.qcow2
	interrupt_device
	goes_on_device 'loop device'
	check 'loop device: nothing to be told' lines err 0
	cp state kept
	losetup -d "$device"
	devices=()
	cp image.qcow2 other.qcow2
	attach other.qcow2
	attach image.qcow2
	cp state kept
	goes_on_device 'another loop device'
	cp state kept
	dd if=/dev/zero of="$device" bs=512 count=1 seek=$(($(table_of 9) / 512 + 100)) conv=notrunc status=none
	exits 8 --state=kept "$device"
	check 'written through it: said' err_has 'has changed since'
	check 'written through it: the state stays' cmp kept state
	interrupt_device
	dd if=/dev/zero of=image.qcow2 bs=512 count=1 seek=$(($(table_of 9) / 512 + 100)) conv=notrunc status=none
	exits 8 --state=kept "$device"
	check 'written to its file: said' err_has 'has changed since'

	# One that shows a device: what goes through it is counted, and no more.
	front=$device
	attach "$front"
	interrupt_device
	goes_on_device 'device'
	check 'device: told' err_has 'would not have been noticed'
	cp state kept
	dd if=/dev/zero of="$device" bs=512 count=1 seek=$(($(table_of 9) / 512 + 100)) conv=notrunc status=none
	exits 8 --state=kept "$device"
	check 'device, written to: said' err_has 'has changed since'
	check 'device, written to: the next start, too' err_has 'until the system is started anew'
	interrupt_device
	losetup -d "$device"
	unset "devices[-1]"
	attach "$front"
	exits 8 --state=kept "$device"
	check 'device, a new one: said' err_has 'has changed since'

	# Where the system does not count, or does not say.
	rm kept
	echo 0 >"/sys/block/${device#/dev/}/queue/iostats"
	exits 8 --state=kept "$device"
	check 'device, not counted: said' err_has 'could not be told'
	echo 1 >"/sys/block/${device#/dev/}/queue/iostats"
	unshare -m sh -c 'mount -t tmpfs none /sys && exec "$@"' sh \
		"$tool" --state=kept "$front" >out 2>err
	check 'loop device without /sys: exit 8' test $? -eq 8
	check 'loop device without /sys: said' err_has 'could not be told'
	check 'not counted: no state' absent kept

	# What a plan is made of is looked at by somebody; -y would write.
	dd if=/dev/zero of="$device" bs=512 count=1 conv=notrunc status=none
	exits 8 --rescue -y --no-journal --state=kept "$device"
	check 'device, -y: said' err_has 'goes with --plan'
	check 'device, -y: nothing was written' cmp "$device" image.qcow2
	check 'device, -y: no state' absent kept
	exits 12 --rescue --plan=other.plan "$device"
	exits 12 --rescue --plan=device.plan --state=kept "$device"
	check 'device, --plan: the same' cmp other.plan device.plan
	exits 1 --rescue -y --no-journal --state=kept "$front"
	check 'loop device, -y: no state is left' absent kept

	# Nothing counts for a partition alone.
	dd if=/dev/zero of=disk bs=1M count=1 status=none
	cat image.qcow2 >>disk
	printf 'start=2048\n' | sfdisk -q disk
	attach disk
	partx -a "$device" # not every kernel looks for them itself
	IFS=: read -r major minor <"/sys/class/block/${device#/dev/}p1/dev"
	mknod partition b "$major" "$minor"
	exits 0 partition
	exits 8 --state=kept partition
	check 'partition: said' err_has 'could not be told'
	check 'partition: no state' absent kept
	partx -d "$device"
	let_go
}

make_image
test_interrupted
test_streams
test_not_again
test_disk_full
test_refused
test_devices
test_searches
sum_up state
