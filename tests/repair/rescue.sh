#!/usr/bin/env bash
# rescue.sh - images that lost their L1 table, their header or all refcounts: what
# --rescue brings back, judged by the guest's content and by qemu-img check.
#
# SPDX-License-Identifier: MIT
#
# usage: rescue.sh BUILD_DIR [NAME...]     prints "rescue: N passed, N failed"
#
# Each image is damaged three times.  An image counts as recovered if qemu-img check
# exits with 0, and the disk and every snapshot read as before the damage (a disk whose
# size is a guess: as far as the old one reaches, with nothing but zeros behind).
# The test holds the figures; what is not recovered is named with the reason.
set -u
export LC_ALL=C

build=$(cd "${1:?usage: rescue.sh BUILD_DIR [NAME...]}" && pwd)
fsck=$build/bin/qcow2-fsck
shift
tmp=$(mktemp -d)
trap '[[ $BASHPID != "$$" ]] || rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1

# --- disks -----------------------------------------------------------------------

# Bytes that no compressor makes much of, and always the same.
make_pool() {
	awk 'BEGIN {
		for (s = 7; i < 2000000; i++) {
			s = s * 16807 % 2147483647
			printf "%c", s % 255 + 1
		}
	}' >pool
}

noise() { # skip length
	dd if=pool bs=64K iflag=skip_bytes,count_bytes skip="$1" count="$2" status=none
}

tree() { # directory
	mkdir -p "$1/d/e"
	for i in 1 2 3 4 5 6 7 8; do
		noise "$((i * 100000))" 400001 >"$1/d/n$i"
		seq "$i" "$((i * 9000))" >"$1/d/e/t$i"
	done
}

ext4() { # file size [option...]
	local file=$1 size=$2
	shift 2
	rm -f "$file"
	truncate -s "$size" "$file"
	mke2fs -q -F -t ext4 -d tree -E no_copy_xattrs -U 01234567-89ab-cdef-0123-456789abcdef "$@" "$file" ||
		mke2fs -q -F -t ext4 -d tree -U 01234567-89ab-cdef-0123-456789abcdef "$@" "$file"
} 2>/dev/null

fat() { # file size
	rm -f "$1"
	truncate -s "$2" "$1"
	mkfs.vfat -i 01234567 "$1" >/dev/null
	MTOOLS_SKIP_CHECK=1 mcopy -s -i "$1" tree/d ::
}

# A disk with one partition at 1 MiB: label is dos or gpt.
partitioned() { # file label file-system
	rm -f "$1"
	truncate -s "$(($(stat -c %s "$3") + 2097152))" "$1"
	printf 'label: %s\nstart=2048, size=%d\n' "$2" "$(($(stat -c %s "$3") / 512))" |
		sfdisk -q "$1" >/dev/null
	dd if="$3" of="$1" bs=1M seek=1 conv=notrunc,sparse status=none
}

make_disks() {
	make_pool
	tree tree
	export E2FSPROGS_FAKE_TIME=1000000000
	ext4 ext4.raw 48M -b 1024
	ext4 small.raw 12M -b 1024
	ext4 big.raw 1200M -b 4096
	fat fat.raw 40M
	partitioned dos.raw dos ext4.raw
	partitioned gpt.raw gpt ext4.raw
	partitioned dosfat.raw dos fat.raw
}

# --- images ----------------------------------------------------------------------

convert() { # image raw option...
	local image=$1 raw=$2
	shift 2
	qemu-img convert -O qcow2 -f raw "$@" "$raw" "$image"
}

create() { # image size option...
	local image=$1 size=$2
	shift 2
	qemu-img create -q -f qcow2 "$@" "$image" "$size"
}

io() { # image command...
	local image=$1 args=() c
	shift
	for c in "$@"; do args+=(-c "$c"); done
	qemu-io -f qcow2 "${args[@]}" "$image" >/dev/null
}

# The same clusters, written in an order of their own.
scattered() { # image raw chunk-bytes option...
	local image=$1 raw=$2 chunk=$3 size n args=() i at
	shift 3
	size=$(stat -c %s "$raw")
	create "$image" "$size" "$@"
	n=$((size / chunk))
	for ((i = 0; i < n; i++)); do
		at=$((i * 7919 % n))
		cmp -s -n "$chunk" -i "$((at * chunk)):0" "$raw" /dev/zero && continue
		dd if="$raw" of="piece$at" bs="$chunk" skip="$at" count=1 status=none
		args+=(-c "write -q -s piece$at $((at * chunk)) $chunk")
	done
	qemu-io -f qcow2 "${args[@]}" "$image" >/dev/null
	rm -f piece*
}

names="plain v2 c512 c4k c2m zlib zstd zlib4k ext-l2 ext-l2-16k snapshots snapshots4k
snapshots-v2 dos dos4k gpt4k fat dosfat4k scattered scattered-slots refcount1
refcount64 prealloc bitmap"

make_image() { # name: makes NAME.qcow2, and prints the disk it holds if that is a file
	local i=$1.qcow2
	case $1 in
	plain) convert "$i" ext4.raw ;;
	v2) convert "$i" ext4.raw -o compat=0.10 ;;
	c512) convert "$i" small.raw -o cluster_size=512 ;;
	c4k) convert "$i" ext4.raw -o cluster_size=4k ;;
	c2m) convert "$i" big.raw -o cluster_size=2M ;;
	zlib) convert "$i" ext4.raw -c ;;
	zstd) convert "$i" ext4.raw -c -o compression_type=zstd ;;
	zlib4k) convert "$i" small.raw -c -o cluster_size=4k ;;
	ext-l2) convert "$i" ext4.raw -o extended_l2=on ;;
	ext-l2-16k)
		create "$i" 64M -o extended_l2=on,cluster_size=16k
		io "$i" "write -P 1 0 1M" "write -P 2 1057280 512" "write -P 3 15M 5M" \
			"write -z 2M 512" "write -P 4 34M 30M"
		;;
	snapshots)
		convert "$i" ext4.raw
		qemu-img snapshot -c one "$i"
		io "$i" "write -P 7 40M 1M" "write -P 8 300k 64k"
		qemu-img snapshot -c two "$i"
		io "$i" "write -P 9 41M 1M"
		;;
	snapshots4k)
		convert "$i" small.raw -o cluster_size=4k
		qemu-img snapshot -c one "$i"
		io "$i" "write -P 7 40k 8k" "write -P 8 5M 64k" "write -P 9 11M 512"
		;;
	snapshots-v2)
		convert "$i" ext4.raw -o compat=0.10
		qemu-img snapshot -c one "$i"
		io "$i" "write -P 7 20M 100k"
		;;
	dos) convert "$i" dos.raw ;;
	dos4k) convert "$i" dos.raw -o cluster_size=4k ;;
	gpt4k) convert "$i" gpt.raw -o cluster_size=4k ;;
	fat) convert "$i" fat.raw ;;
	dosfat4k) convert "$i" dosfat.raw -o cluster_size=4k ;;
	scattered) scattered "$i" ext4.raw 65536 ;;
	scattered-slots) scattered "$i" big.raw 1048576 ;;
	refcount1) convert "$i" ext4.raw -o refcount_bits=1,cluster_size=8k ;;
	refcount64) convert "$i" ext4.raw -o refcount_bits=64,cluster_size=16k ;;
	prealloc)
		create "$i" 24M -o cluster_size=4k,preallocation=metadata
		io "$i" "write -P 5 3M 2M" "write -P 6 20M 100k"
		;;
	bitmap)
		convert "$i" ext4.raw -o cluster_size=32k
		qemu-img bitmap --add "$i" dirty
		io "$i" "write -P 5 3M 2M"
		;;
	esac
}

# --- damage ----------------------------------------------------------------------

field() { # file offset bytes
	od -An -v -t "u$3" --endian=big -j "$2" -N "$3" "$1" | tr -d ' '
}

wipe() { # file offset length zero|noise
	if [ "$4" = zero ]; then cat /dev/zero; else cat pool; fi 2>/dev/null |
		head -c "$3" | dd of="$1" bs=64K oflag=seek_bytes seek="$2" conv=notrunc status=none
}

round_up() { echo $((($1 + $2 - 1) / $2 * $2)); }

damage() { # file L1|header|refcounts|both number: the number decides how
	local cs=$((1 << $(field "$1" 20 4))) how=zero at block
	(($3 % 2)) && how=noise
	case $2 in
	both)
		damage "$1" L1 "$3"
		damage "$1" refcounts "$3"
		;;
	L1) wipe "$1" "$(field "$1" 40 8)" "$(round_up $((8 * $(field "$1" 36 4))) $cs)" $how ;;
	header)
		case $(($3 % 3)) in
		0) wipe "$1" 0 112 $how ;;
		1) wipe "$1" 0 512 $how ;;
		2) wipe "$1" 0 $cs $how ;;
		esac
		;;
	refcounts)
		at=$(field "$1" 48 8)
		for block in $(od -An -v -t u8 -w8 --endian=big -j "$at" \
			-N $((cs * $(field "$1" 56 4))) "$1"); do
			[ "$block" = 0 ] || (($3 % 3 == 2)) || wipe "$1" "$block" $cs zero
		done
		(($3 % 3)) && wipe "$1" "$at" $((cs * $(field "$1" 56 4))) zero
		;;
	esac
	return 0
}

# --- judging ---------------------------------------------------------------------

snapshots() { qemu-img snapshot -l "$1" | awk 'NR > 2 && $2 !~ /^lost.found/ {print $2}'; }

recovered() { # name damage
	local s
	qemu-img check -q -f qcow2 "$1.$2" >"$1.$2.why" 2>&1 || return
	qemu-img compare -f raw -F qcow2 "$1.disk" "$1.$2" >"$1.$2.why" 2>&1 || return
	for s in $(cat "$1.snapshots"); do
		qemu-img convert -q -l "$s" -O raw "$1.$2" "$1.$2.snap" >"$1.$2.why" 2>&1 || return
		cmp "$1.$s.snap" "$1.$2.snap" >"$1.$2.why" 2>&1 || return
		rm -f "$1.$2.snap"
	done
}

# Those whose search is interrupted at many places, and gone on with to the same plan.
kept=" prealloc.L1 prealloc.header refcount64.both dosfat4k.L1 dosfat4k.header zlib4k.L1 "

try() { # name number
	local s what
	make_image "$1" || { echo "$1: not made"; return; }
	qemu-img convert -O raw "$1.qcow2" "$1.disk"
	snapshots "$1.qcow2" >"$1.snapshots"
	for s in $(cat "$1.snapshots"); do
		qemu-img convert -l "$s" -O raw "$1.qcow2" "$1.$s.snap"
	done
	for what in sound L1 header refcounts both; do
		if [ $what = sound ]; then
			sound "$1"
			says "$1" sound $?
			continue
		fi
		cp --sparse=always "$1.qcow2" "$1.$what"
		damage "$1.$what" $what "$2"
		if [[ $kept == *" $1.$what "* ]]; then
			"$build/tests/q2keep" --rescue "$1.$what" >"$1.kept" 2>&1
			says "$1" "$what-kept" $?
		fi
		${WRAP:-} "$fsck" --rescue -y --no-journal "$1.$what" >"$1.$what.said" 2>&1
		echo "$?" >"$1.$what.status"
		if recovered "$1" $what; then
			echo "$1 $what yes"
		else
			echo "$1 $what no"
			[ -z "${VERBOSE:-}" ] || { echo "== $1 $what: $(cat "$1.$what.why")" >&2; head -40 "$1.$what.said" >&2; }
		fi
		[ -z "${KEEP:-}" ] || { mkdir -p "$KEEP"; cp --sparse=always "$1.$what" "$1.$what.said" "$1.qcow2" "$KEEP"; }
		rm -f "$1.$what"
	done >"$1.result"
	rm -f "$1.qcow2" "$1.disk" "$1".*.snap
}

# --- what else must hold ---------------------------------------------------------

says() { echo "$1 $2 $([ "$3" = 0 ] && echo yes || echo no)"; }

# A sound image: the search finds nothing to do.
sound() { # name
	local before
	before=$(sha256sum <"$1.qcow2")
	${WRAP:-} "$fsck" --rescue -y --no-journal "$1.qcow2" >/dev/null 2>&1
	[ "$before" = "$(sha256sum <"$1.qcow2")" ]
}

# Slots written in disorder, with nothing on the disk that tells: no table may be put
# where it does not belong, and none may be lost.
disorder() {
	create disorder 8M -o cluster_size=4k
	io disorder "write -P 3 6M 64k" "write -P 1 256k 64k" "write -P 2 4M 64k" "write -P 4 2M 64k"
	damage disorder "$1" 1
	"$fsck" --rescue -y --no-journal disorder >disorder.said 2>&1
	qemu-img check -q disorder >/dev/null 2>&1 || return
	[ "$(qemu-img map disorder | wc -l)" = 1 ] || return
	qemu-img convert -l lost+found-1 -O raw disorder disorder.snap || return
	for b in 1 2 3 4; do
		[ "$(LC_ALL=C tr -dc "\\00$b" <disorder.snap | wc -c)" = 65536 ] || return
	done
}

# A raw disk is none of our business.
raw_disk() {
	cp --sparse=always dos.raw raw.disk
	"$fsck" --rescue -y --no-journal raw.disk >/dev/null 2>&1
	cmp -s dos.raw raw.disk
}

# Only who asks for a search gets one, and what it writes can be undone.
undone() { # damage
	convert undo ext4.raw -o cluster_size=4k
	damage undo "$1" 1
	cp --sparse=always undo undo.was
	[ "$1" != header ] || { "$fsck" -y --no-journal undo >/dev/null 2>&1; cmp -s undo undo.was || return; }
	"$fsck" --rescue -y --journal=undo.journal undo >undo.said 2>&1
	[ $? = 1 ] && ! cmp -s undo undo.was || return
	"$fsck" --undo=undo.journal undo >undo.said 2>&1 && cmp undo undo.was
	status=$?
	rm -f undo undo.journal
	return $status
}

# The key slots are in the file: whoever has the key reads the disk again.
encrypted() { # bytes that are wiped
	local key=(--object "secret,id=s,data=abc")
	local image=(--image-opts "driver=qcow2,file.filename=luks,encrypt.key-secret=s")
	# QEMU measures the CPU for the key derivation, and at times cannot.
	for _ in {1..60}; do
		rm -f luks
		qemu-img create -q -f qcow2 "${key[@]}" -o encrypt.format=luks \
			-o encrypt.key-secret=s,encrypt.iter-time=100 luks 8M 2>/dev/null && break
	done
	qemu-io "${key[@]}" "${image[@]}" -c "write -P 4 1M 1M" >/dev/null
	wipe luks 0 "$1" zero
	"$fsck" --rescue -y --no-journal luks >luks.said 2>&1
	qemu-io -r "${key[@]}" "${image[@]}" -c "read -P 4 1M 1M" 2>&1 | grep -q '^read 1048576/1048576' &&
		! qemu-io -r "${key[@]}" "${image[@]}" -c "read -P 4 1M 1M" 2>&1 | grep -q failed
}

# What is left of the header's cluster names the backing file.
backed() {
	convert base ext4.raw
	rm -f top
	qemu-img create -q -f qcow2 -b base -F qcow2 top
	io top "write -P 4 10M 1M"
	qemu-img convert -O raw top top.raw
	wipe top 0 112 noise
	"$fsck" --rescue -y --no-journal top >top.said 2>&1
	qemu-img compare -q -f raw -F qcow2 top.raw top
}

others() {
	local what
	for what in 112 65536; do
		encrypted $what
		says encrypted $what $?
	done
	backed
	says backed named $?
	for what in L1 both; do
		disorder $what
		says disorder $what $?
	done
	raw_disk
	says raw-disk untouched $?
	for what in L1 header; do
		undone $what
		says undone $what $?
	done
}

# --- running ---------------------------------------------------------------------

# With its refcounts gone as well, the table of a part that only the active disk has
# stands in no order and holds nothing that tells its place: it goes to lost+found.
left="snapshots4k both"

[ $# -gt 0 ] || set -- $names others
make_disks
worker() { # remainder name...
	local r=$1 n=0 name
	shift
	for name in $names; do
		n=$((n + 1))
		[[ " $* " == *" $name "* ]] && ((n % 2 == r)) && try "$name" "$n"
	done
	((r)) && [[ " $* " == *" others "* ]] && others >others.result
	return 0
}
worker 0 "$@" &
worker 1 "$@"
wait
for what in L1 header refcounts both; do
	echo "rescue: $what wiped: $(cat ./*.result | grep -vE '^(disorder|undone) ' | grep -c " $what yes") of $(($(cat ./*.result | grep -vE '^(disorder|undone) ' | grep -c " $what "))) recovered"
done
passed=0
failed=0
while read -r name what yes; do
	wanted=yes
	[ "$name $what" != "$left" ] || wanted=no
	if [ "$yes" = $wanted ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "rescue: $name, $what: $yes, and not $wanted" >&2
	fi
done < <(cat ./*.result)
echo "rescue: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
