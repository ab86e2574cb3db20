#!/usr/bin/env bash
# images.sh - differential test: qemu-img map and measure against qcow2-map,
# byte by byte.
# SPDX-License-Identifier: MIT
#
# usage: images.sh MAP [GROUP...]
#
# On images that qemu-img, qemu-io and e2image made: those of tests/diff, and
# chains of up to 20 layers. Of each the whole map, parts of it, the disk of some
# internal snapshots, which are compared with a copy reverted to them, and the
# size of new images.
# shellcheck disable=SC2154  # cur and f are set by make.sh
set -eu
export LC_ALL=C TZ=UTC
umask 022
PATH=$PATH:/usr/sbin:/sbin

MAP=$(realpath "${1:?usage: images.sh MAP [GROUP...]}")
FSCK=$(dirname "$MAP")/qcow2-fsck
shift
diff=$(cd "$(dirname "$0")/../diff" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
for part in make poke images-geometry images-content images-snapshot images-chain \
	images-foreign; do
	# shellcheck source=/dev/null
	. "$diff/$part.sh"
done
# shellcheck source=/dev/null
. "$here/images-deep.sh"

groups=("$@")
[ $# -gt 0 ] || groups=(content geometry deep snapshot key chain external bitmap foreign)

# In memory if possible: qemu-img syncs a lot.
dir=$(mktemp -d -p "${TMPDIR:-/dev/shm}" 2>/dev/null || mktemp -d)
main=$BASHPID
trap '[ $BASHPID != $main ] || rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

passed=0
failed=0
images=0

verdict() { # name status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $group: $1" >&2
	fi
}

# The options that --chain needs for the images of tests/diff.
chain=(--chain --allow-probe)

# What qemu-img takes, too, is told all the same, and is all that status 4 may mean.
is_damaged() {
	local status=0
	"$FSCK" -q "$1" >/dev/null 2>&1 || status=$?
	[ $status = 4 ]
}

# compare NAME IMAGE THEIRS [OURS-ARGUMENT...]: theirs is a file with their map.
compare() {
	local name=$1 image=$2 theirs=$3 rc=0
	shift 3
	"$MAP" extents --output=qemu "${chain[@]}" "$@" "$image" >ours.map 2>ours.err || rc=$?
	[ "$rc" != 4 ] || ! is_damaged "$image" || rc=0
	if [ "$rc" != 0 ] || ! cmp -s ours.map "$theirs"; then
		{
			echo "$name: exit status $rc"
			cat ours.err
			diff "$theirs" ours.map | head -n 6
		} >&2
		verdict "$name" 1
	else
		verdict "$name" 0
	fi
}

# their_map FILE ARGUMENT...: false if they cannot make one.
their_map() {
	local to=$1
	shift
	qemu-img map --output=json "$@" >"$to" 2>theirs.err
}

# What new images are to be like, in turn.
targets=('-O raw' '-O qcow2' '-O qcow2 -o cluster_size=512' '-O qcow2 -o cluster_size=2M'
	'-O qcow2 -o refcount_bits=1,cluster_size=4k' '-O qcow2 -o extended_l2=on,cluster_size=16k'
	'-O qcow2 -o refcount_bits=64' '-O qcow2 -o compat=0.10' '-O qcow2 -o preallocation=falloc'
	'-O qcow2 -o preallocation=metadata,lazy_refcounts=on')

# sizes ARGUMENT...: two of them for each image.
sizes() {
	local target rc i
	for ((i = 0; i < 2; i++)); do
		target=${targets[(images * 2 + i) % ${#targets[@]}]}
		# shellcheck disable=SC2086
		qemu-img measure --output=json $target "$@" >theirs.size 2>theirs.err || continue
		rc=0
		# shellcheck disable=SC2086
		"$MAP" measure --output=qemu "${chain[@]}" $target "$f" >ours.size 2>ours.err || rc=$?
		[ "$rc" != 4 ] || ! is_damaged "$f" || rc=0
		[ "$rc" = 0 ] && cmp -s theirs.size ours.size
		rc=$?
		[ "$rc" = 0 ] || paste theirs.size ours.size >&2
		verdict "$cur: measure $target" "$rc"
	done
}

# all_of ARGUMENT...: the arguments tell qemu-img the image.
all_of() {
	local start length
	# Of this one the whole takes qemu-img a minute.
	if [ "$cur" = size-1E ]; then
		images=$((images + 1))
	elif ! their_map theirs.map "$@"; then
		# They need a base, a data file or a key; ours must not fall over.
		local rc=0
		"$MAP" extents "$f" >/dev/null 2>ours.err || rc=$?
		[ $((rc & ~12)) = 0 ] && grep -q . theirs.err
		verdict "$cur: not theirs, ours ends with $rc" $?
		return
	else
		images=$((images + 1))
		compare "$cur" "$f" theirs.map
		sizes "$@"
	fi
	for window in '65537 100000' '1000 3000000' '1M 512'; do
		read -r start length <<<"$window"
		their_map window.map -s "$start" -l "$length" "$@"
		compare "$cur from $start, $length bytes" "$f" window.map -s "$start" -l "$length"
	done
}

judge() {
	local id
	all_of -f qcow2 "$f"
	for id in $(qemu-img snapshot -l -f qcow2 "$f" 2>/dev/null | awk 'NR > 2 {print $1}' | head -n 6); do
		cp --sparse=always "$f" reverted.qcow2
		qemu-img snapshot -a "$id" reverted.qcow2 2>/dev/null || continue
		their_map theirs.map -f qcow2 reverted.qcow2
		compare "$cur, snapshot $id" "$f" theirs.map --snapshot="$id"
	done
}

judge_probed() {
	their_map theirs.map -f raw "$f"
	compare "$cur as raw" "$f" theirs.map --raw
}

judge_locked() {
	all_of --object secret,id=key,data=sesame \
		--image-opts "driver=qcow2,file.filename=$f,encrypt.key-secret=key"
}

# skip REASON IMAGE...: these cannot be made here; they do not count.
skip() {
	echo "not made: ${*:2} ($1)" >&2
}

run_group() {
	group=$1
	mkdir "$dir/$group"
	cd "$dir/$group"
	: >"$group.tab"
	"images_$group"
	echo "$passed $failed $images" >"$dir/$group.counts"
}

running=0
for group in "${groups[@]}"; do
	if [ "$running" -ge "${JOBS:-2}" ]; then
		wait -n || :
		running=$((running - 1))
	fi
	run_group "$group" 2>"$dir/$group.log" >&2 &
	running=$((running + 1))
done
wait

for group in "${groups[@]}"; do
	if [ -f "$dir/$group.counts" ]; then
		read -r p f n <"$dir/$group.counts"
		passed=$((passed + p)) failed=$((failed + f)) images=$((images + n))
		[ "$f" = 0 ] || cat "$dir/$group.log" >&2
	else
		tail -n 5 "$dir/$group.log" >&2
		verdict 'its images could not all be made' 1
	fi
done
# Disks that are not there yet.
group=size
for target in "${targets[@]}" '-O qcow2 -o preallocation=full' \
	'-O qcow2 -o backing_file=base,backing_fmt=raw'; do
	for size in 0 777 3G; do
		rc=0
		# shellcheck disable=SC2086
		qemu-img measure --output=json $target --size $size >"$dir/theirs" || rc=$?
		# shellcheck disable=SC2086
		"$MAP" measure --output=qemu $target --size $size | cmp -s - "$dir/theirs" || rc=$?
		verdict "measure $target --size $size" $rc
	done
done

# Those that qemu-img wants a secret for.
qemu-img create -q -f qcow2 "$dir/some.qcow2" 64M
qemu-io -c 'write -q 1M 5000K' "$dir/some.qcow2"
for target in encrypt.format=luks encrypt.format=luks,cluster_size={512,4k,2M} encrypt.format=aes \
	encrypt.format=luks,compat=0.10 encrypt.format=luks,preallocation=full \
	encrypt.format=luks,extended_l2=on,cluster_size=16k,encrypt.iter-time=10; do
	for source in '--size 3G' "$dir/some.qcow2"; do
		for _ in {1..60}; do
			rc=0
			# shellcheck disable=SC2086
			qemu-img measure --object secret,id=key,data=sesame --output=json -O qcow2 \
				-o "$target,encrypt.key-secret=key" $source >"$dir/theirs" 2>"$dir/why" || rc=$?
			# A loaded machine is none of our business.
			grep -q 'accurate CPU usage' "$dir/why" || break
		done
		# shellcheck disable=SC2086
		"$MAP" measure --output=qemu -O qcow2 -o "$target,encrypt.key-secret=key" $source |
			cmp -s - "$dir/theirs" || rc=$?
		verdict "measure -o $target $source" $rc
	done
done
for target in data_file=other data_file=other,data_file_raw=on; do
	rc=0
	qemu-img measure --output=json -O qcow2 -o $target "$dir/some.qcow2" >"$dir/theirs" || rc=$?
	"$MAP" measure --output=qemu -O qcow2 -o $target "$dir/some.qcow2" | cmp -s - "$dir/theirs" || rc=$?
	verdict "measure -o $target" $rc
done

if [ $# = 0 ]; then # enough of them to mean something
	[ "$images" -ge 150 ] && few=0 || few=1
	verdict "only $images images were compared" "$few"
fi
echo "map-images: $passed passed, $failed failed"
[ "$failed" = 0 ]
