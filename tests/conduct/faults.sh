#!/usr/bin/env bash
# faults.sh - qcow2-fsck when reading fails, the file shrinks, or the image is in
# use; and that it opens no file that it was not given.
#
# SPDX-License-Identifier: MIT
#
# usage: faults.sh BUILD_DIR            prints "faults: N passed, N failed"
# Proves the problems UNREADABLE, IN_USE and NOT_JUDGED, which no case can raise.
set -u

build=$(cd "$1" && pwd)
fsck=$build/bin/qcow2-fsck
mk=$build/tests/q2mk
preload=$build/tests/faultio.so
here=$(cd "$(dirname "$0")" && pwd)
cases=$here/../cases
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
export ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=1
passed=0
failed=0

verdict() { # what status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "faults: $1" >&2
		[ ! -s err ] || head -n 5 err >&2
	fi
}

# A sound image with every structure, in recipe and file.
cp "$here/../support/every-structure.recipe" recipe
"$mk" recipe image.qcow2 || exit 1
"$fsck" image.qcow2 >out 2>err
verdict 'the image itself is clean' $?

at() {
	"$mk" -e "$1" recipe
}

run_eio() { # offset length
	LD_PRELOAD=$preload FAULT_FILE=image.qcow2 FAULT_EIO=$1:$2 \
		"$fsck" --output=json image.qcow2 >out 2>err
}

# A table that cannot be read is one finding; the rest is still judged: here, a
# refcount that is wrong elsewhere.
cp image.qcow2 sound.qcow2
cat recipe - >damaged <<'END'
set refcount[@header/cs] = 3
END
"$mk" damaged image.qcow2 || exit 1
for what in '@l1' '@l2[0]' '@l2[4]' '@rt' '@snaptab' '@snapl1[0]' '@snapl2[0][0]' '@bmdir' '@bmtab[0]' '@bmdata[0][0]'; do
	offset=$(at "$what") || exit 1
	run_eio "$offset" 512
	status=$?
	[ $status = 12 ]
	verdict "EIO at $what: exit status $status, not 12" $?
	jq -e --argjson at "$offset" '.images[0] | .partial and
		any(.findings[]; .id == "UNREADABLE" and .["host-offset"] <= $at and
			$at < .["host-offset"] + .length)' out >/dev/null
	verdict "EIO at $what: UNREADABLE names the place" $?
	[ "$what" = @rt ] || jq -e 'any(.images[0].findings[]; .id == "REFCOUNT_HIGH")' out >/dev/null
	verdict "EIO at $what: the rest is still judged" $?
done
# The refcount block that covers the header, and the first cluster.
run_eio "$(at '@rb[0]')" 512
verdict "EIO at a refcount block: exit status" $(($? != 12))
cp sound.qcow2 image.qcow2
run_eio 0 1
verdict 'EIO in the header: an operational error' $(($? != 8))
jq -e '.images[0] | .verdict == "unreadable" and (.error | length > 0)' out >/dev/null
verdict 'EIO in the header: told in JSON' $?

# Compressed data that cannot be read.
offset=$(at 'l2[2][0].coffset') || exit 1
LD_PRELOAD=$preload FAULT_FILE=image.qcow2 FAULT_EIO=$offset:1 "$fsck" --data --output=json image.qcow2 >out 2>err
verdict 'EIO in compressed data: exit status' $(($? != 12))

# The file gets shorter at every possible read.
# What the library does for the test, the sandbox would not let it do.
for nth in $(seq 1 40); do
	cp sound.qcow2 image.qcow2
	LD_PRELOAD=$preload FAULT_FILE=image.qcow2 FAULT_CUT=$nth:5000 "$fsck" --no-sandbox --data --output=json image.qcow2 >out 2>err
	status=$?
	case $status in
	0) # fewer reads than that
		[ "$(stat -c %s image.qcow2)" != 5000 ] || [ "$nth" -gt 20 ]
		;;
	4 | 8 | 12) jq -e . out >/dev/null ;;
	*) false ;;
	esac
	verdict "file cut before read $nth: status $status" $?
done

# Nothing that the image names is opened.
cat >named <<'END'
version 3
cluster 512
size 64K
file canary-backing
size 64K
write 0 4K
end
backing canary-backing qcow2
write 0 4K
END
"$mk" named image.qcow2 || exit 1
LD_PRELOAD=$preload FAULT_OPENS=opened "$fsck" --no-sandbox image.qcow2 >out 2>err
verdict 'an image with a backing file is checked alone' $?
grep -q image.qcow2 opened && ! grep -q canary opened
verdict 'its backing file is not opened' $?
LD_PRELOAD=$preload FAULT_OPENS=opened "$fsck" --no-sandbox --chain image.qcow2 >out 2>err
grep -q canary opened
verdict 'with --chain it is (the test can fail)' $?

# Past a cap leaks are counted, not looked into, unless everything is asked for.
"$mk" "$cases/903-not-judged/recipe" image.qcow2 || exit 1
"$fsck" --output=json image.qcow2 >out 2>err
jq -e '[.images[0].findings[] | select(.id == "NOT_JUDGED") | .count] == [4096]' out >/dev/null
verdict 'leaks past the cap: NOT_JUDGED says how many' $?
"$fsck" --all-findings --output=json image.qcow2 >out 2>err
jq -e 'all(.images[0].findings[]; .id != "NOT_JUDGED")' out >/dev/null
verdict 'with --all-findings there is no cap' $?

# Another process has it open.
in_use() { # qemu-io's options, expected in-use
	cp sound.qcow2 image.qcow2
	# shellcheck disable=SC2086
	qemu-io $1 -c 'sleep 20000' image.qcow2 >/dev/null 2>&1 &
	holder=$!
	for _ in $(seq 100); do
		"$fsck" --output=json image.qcow2 >out 2>err
		status=$?
		jq -e 'any(.images[0].findings[]; .id == "IN_USE")' out >/dev/null && break
		sleep 0.05
	done
	kill $holder
	wait $holder 2>/dev/null
	jq -e --arg use "$2" '.images[0]["in-use"] and
		any(.images[0].findings[]; .id == "IN_USE" and (.message | contains($use)))' out >/dev/null
	verdict "in use ($1): reported as $2" $?
	[ $status = 0 ]
	verdict "in use ($1): still checked" $?
}
in_use '-f qcow2' 'for writing'
in_use '-f qcow2 -r' 'for reading'
echo "faults: $passed passed, $failed failed"
[ $failed = 0 ]
