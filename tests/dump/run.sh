#!/usr/bin/env bash
# run.sh - differential test: qemu-img convert against qcow2-dump on real images.
# SPDX-License-Identifier: MIT
# shellcheck disable=SC2034  # set here, used there
#
# usage: run.sh BUILD_DIR [GROUP...]
#
# Takes the images of the check's differential test (tests/diff/images-*.sh) and
# some of its own (images-*.sh here).  Of each, the raw disk that we write must be
# the one that qemu-img convert writes, in bytes and in length; a fresh QCOW2 image
# of ours must be sound to qemu-img check and to qcow2-fsck, and the same as the
# original to qemu-img compare; and digests must agree.  What qemu-img cannot read
# we must refuse, and then leave no file.  Prints "dump: N passed, N failed".
#
# Environment: KEEP=1 keeps the images, JOBS is how many groups run at a time (2).
set -eu
export LC_ALL=C TZ=UTC
umask 022
PATH=$PATH:/usr/sbin:/sbin

build=$(realpath "$1")
shift
DUMP=$build/bin/qcow2-dump
FSCK=$build/bin/qcow2-fsck
Q2MK=$build/tests/q2mk
here=$(cd "$(dirname "$0")" && pwd)
diff=$here/../diff

for part in "$diff/make" "$diff/poke" "$diff"/images-{geometry,content,snapshot,chain,foreign,crash,damage} \
	"$here/compare" "$here"/images-{layers,luks,snap,q2mk}; do
	# shellcheck source=/dev/null
	. "${part%.sh}.sh"
done

all=(content layers geometry damage luks snapshot snap crash chain external bitmap foreign q2mk)
groups=("$@")
[ $# -gt 0 ] || groups=("${all[@]}")

# shellcheck source=tests/support/groups.sh
. "$here/../support/groups.sh"

# run_group NAME: make its images and dump them, in a directory of its own.
run_group() {
	group=$1
	mkdir "$dir/$group"
	cd "$dir/$group"
	: >results
	: >complaints
	count=0
	set -x
	"images_$group"
	set +x
	echo complete >>results
}

run_groups "${groups[@]}"

passed=0
failed=0
for group in "${groups[@]}"; do
	passed=$((passed + $(grep -c '^passed$' "$dir/$group/results" || :)))
	failed=$((failed + $(grep -c '^failed$' "$dir/$group/results" || :)))
	cat "$dir/$group/complaints" >&2
	grep -qx complete "$dir/$group/results" && continue
	failed=$((failed + 1))
	echo "dump: the images of group $group could not all be made; the log ends:" >&2
	tail -n 5 "$dir/$group.log" >&2
done
echo "dump: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
