#!/usr/bin/env bash
# run.sh - differential test: qemu-img check against qcow2-fsck on real images.
# SPDX-License-Identifier: MIT
#
# usage: run.sh FSCK [GROUP...]
#
# Makes a few hundred images with qemu-img, qemu-io and e2image, sound, crashed
# and damaged; has both tools check each, and compares the exit status and the
# numbers. Also: our run leaves the image as it was, our two JSON forms agree.
# What differs must stand in the list "disagreements" beside this script, and
# what stands there must differ.
#
# Environment: KEEP=1 keeps the images, JOBS is how many groups run at a time
# (2), LIMIT the seconds either tool has for an image (20), DISAGREEMENTS
# another list, TABLE a file to which all comparisons are copied.
# Exit status: 0 all as expected, 1 not, 77 a tool is missing.
set -eu
export LC_ALL=C TZ=UTC
umask 022
PATH=$PATH:/usr/sbin:/sbin

if [ $# -lt 1 ]; then
	echo "usage: $0 FSCK [GROUP...]" >&2
	exit 2
fi
FSCK=$(realpath "$1")
shift
if [ ! -x "$FSCK" ]; then
	echo "$0: $FSCK is not a program" >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
for tool in qemu-img qemu-io e2image mkfs.ext4 jq; do
	if ! command -v "$tool" >/dev/null; then
		echo "$0: skipped, there is no $tool" >&2
		exit 77
	fi
done

for part in make poke compare images-geometry images-content images-snapshot \
	images-chain images-foreign images-crash images-damage; do
	# shellcheck source=/dev/null
	. "$here/$part.sh"
done

# The longest first, so that none is left over at the end.
all=(key content damage geometry snapshot crash chain external bitmap foreign device)
groups=("$@")
[ $# -gt 0 ] || groups=("${all[@]}")
some=$*

# shellcheck source=tests/support/groups.sh
. "$here/../support/groups.sh"
let_go() {
	cat "$dir"/*/loop-devices 2>/dev/null | xargs -r -n 1 losetup -d
}

# run_group NAME: make its images and check them, in a directory of its own.
run_group() {
	group=$1
	mkdir "$dir/$group"
	cd "$dir/$group"
	: >"$group.raw"
	: >"$group.tab"
	set -x
	"images_$group"
	tabulate
	set +x
	mv "$group.tab" ..
}

run_groups "${groups[@]}"

broken=0
for group in "${groups[@]}"; do
	[ -f "$dir/$group.tab" ] && continue
	broken=1
	echo "FAIL the images of group $group could not all be made; the log ends:"
	tail -n 5 "$dir/$group.log"
done
if [ -n "${TABLE-}" ]; then
	cat "$dir"/*.tab >"$TABLE"
fi
[ "$broken" = 0 ] || exit 1
tables=("${groups[@]/#/$dir/}")
weigh "${DISAGREEMENTS:-$here/disagreements}" "$some" "${tables[@]/%/.tab}"
