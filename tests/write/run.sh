#!/usr/bin/env bash
# run.sh - the copy-on-write writer on images of every kind.
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh BUILD_DIR
#
# q2mk makes the images, and says what a guest reads in them. q2write does random
# operations (seeds are fixed), and lives through every crash and every failure;
# what comes out is compared by qemu-img, too.
set -u
export LC_ALL=C

bin=$(cd "$1" && pwd)/tests
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0
failed=0

verdict() { # what status log
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "write: $1" >&2
		[ -z "${3-}" ] || head -n 5 "$3" >&2
	fi
}

# make NAME "snapshots" "below" <recipe: makes NAME.q2, NAME.view and NAME.opts
make_image() {
	local name=$1 snap
	cat >"$name.rec"
	"$bin/q2mk" -g "$name.view" "$name.rec" "$name.q2" || return 1
	: >"$name.opts"
	for snap in $2; do
		"$bin/q2mk" -g "$name.snap.$snap" -s "$snap" "$name.rec" "$name.q2" || return 1
		echo "snap=$name.snap.$snap" >>"$name.opts"
	done
	[ -z "$3" ] || echo "below=$3" >>"$name.opts"
}

# The sampled matrix: cluster size, refcount width, other settings, disk size.
settings='
c512-1 512 1 - 100K
c512-2 512 2 - 96K
c512-16v2 512 16 version=2 120K
c512-64 512 64 - 1500K
c512-64v3 512 64 - 2000K
c1k-4 1K 4 - 200K
c1k-32 1K 32 - 260K+512
c2k-8 2K 8 - 300K
c4k-1 4K 1 - 400K
c4k-16 4K 16 - 300K
c4k-16v2 4K 16 version=2 300K
c8k-64 8K 64 - 500K
c16k-2x 16K 2 extl2 700K
c16k-16x 16K 16 extl2 1M
c16k-64x 16K 64 extl2 900K+1K
c32k-8 32K 8 compression=zstd 1M
c64k-16 64K 16 - 1M
c64k-16x 64K 16 extl2 2M
c64k-16v2 64K 16 version=2 1M+3K
c2m-16 2M 16 - 23M
'

recipe() { # cluster width extra size with-base with-snapshots
	local extra
	for extra in ${3//,/ }; do
		[ "$extra" = - ] || echo "${extra//=/ }"
	done
	cat <<-END
		cluster $1
		size $4
		refcount $2
	END
	# Shorter than the disk, longer than it, and not ending with a cluster.
	case $5 in
	short) echo "rawfile $name.base (($4)/2+1K)/512*512 seed:5" ;;
	long) echo "rawfile $name.base ($4)+200K seed:6" ;;
	esac
	[ "$5" = none ] || echo "backing $name.base raw"
	cat <<-END
		write 0 8*512
		compress 4*cs $([ "$2" = 2 ] && echo 1 || echo 6)*cs
		write ($4)/2/512*512 3K
	END
	if [ "$6" = yes ]; then
		echo 'snapshot one'
		echo 'write 512 2K'
		echo 'compress 5*cs cs seed:4'
		[[ $3 = *version* ]] || echo 'zero 6*cs cs alloc'
		[ "$2" = 2 ] || echo 'snapshot two'
		echo 'discard 8*cs cs full'
		# Three references at the most fit in two bits.
		[ "$2" = 2 ] || echo 'snapshot three vmstate=3000'
	fi
	[[ $3 = *version* ]] || echo 'zero 9*cs cs'
	[ "$3" != extl2 ] || echo 'write 12*cs+cs/2 cs/32'
}

# The writer's result as qemu-img sees it.
qemu() { # name out
	local snap i=0
	qemu-img check -q -f qcow2 "$2" >"$2.log" 2>&1 || return 1
	qemu-img compare -q -f qcow2 -F raw "$2" "$2.raw" >>"$2.log" 2>&1 || return 1
	for snap in one two three; do
		[ -e "$1.snap.$snap" ] || continue
		i=$((i + 1))
		qemu-img convert -f qcow2 -l "snapshot.name=$snap" -O raw "$2" "$2.snap" >>"$2.log" 2>&1 || return 1
		# Its disk has the size of that time; qemu-img takes today's.
		cmp -n "$(stat -c %s "$1.snap.$snap")" "$1.snap.$snap" "$2.snap" >>"$2.log" 2>&1 || return 1
	done
}

one_setting() { # name cluster width extra size
	local name base snaps list opts status n=0 batch fixed crash=25 ops=120
	for base in none short long; do
		for snaps in no yes; do
			[ "$3$snaps" != 1yes ] || continue
			n=$((n + 1))
			name=$1-$base-$snaps
			list=
			[ $snaps = no ] || list='one two three'
			[ "$snaps$3" != yes2 ] || list=one
			fixed=
			[[ $4$snaps != *version*yes ]] || fixed=fixed
			if ! recipe "$2" "$3" "$4" "$5" $base $snaps |
				make_image "$name" "$list" "$([ $base = none ] || echo "$name.base")"; then
				echo "$name 1 cannot be made"
				continue
			fi
			mapfile -t opts <"$name.opts"
			batch=$((3000 * n))
			case $2 in 64K | 2M) batch=$((300000 * n)) crash=12 ops=60 ;; esac
			# Large disks take long to compare.
			[ "$2" != 2M ] || ops=12
			"$bin/q2write" random "$name.q2" "$name.view" "${opts[@]}" $fixed \
				seed=$n ops=$ops out="$name.out" 2>"$name.log"
			echo "$name-random $? $name.log"
			qemu "$name" "$name.out"
			echo "$name-qemu $? $name.out.log"
			[ $((n % 2)) = 1 ] || continue
			[ "$2" != 2M ] || continue
			"$bin/q2write" crash "$name.q2" "$name.view" "${opts[@]}" $fixed \
				seed=$((n + 40)) ops=$crash batch=$batch 2>"$name.log"
			echo "$name-crash $? $name.log"
			case $n-$2 in
			*-64K) ;;
			2-*)
				"$bin/q2write" faults "$name.q2" "$name.view" "${opts[@]}" $fixed \
					seed=7 ops=15 batch=$batch 2>"$name.log"
				echo "$name-faults $? $name.log"
				;;
			esac
		done
	done
}

# Two at a time; each group's verdicts are counted here.
matrix() {
	local line i=0
	local -a words
	while read -r line; do
		[ -n "$line" ] || continue
		read -r -a words <<<"$line"
		i=$((i + 1))
		one_setting "${words[@]}" >"group.$i" &
		[ $((i % 2)) = 1 ] || wait
	done <<<"$settings"
	wait
	while read -r name status log; do
		verdict "$name" "$status" "$log"
	done < <(cat group.*)
}

# An enabled bitmap is marked before the first change that it would miss.
bitmaps() {
	local name=bitmaps seed
	make_image $name '' '' <<-END
		size 64K
		write 0 60K
		bitmap on gran=12 flags=2 set=0:8K
		bitmap off gran=9
		bitmap other gran=16 flags=2
	END
	for seed in {1..12}; do
		"$bin/q2write" crash $name.q2 $name.view flags=2 fixed seed=$seed ops=6 2>log
		verdict "$name-crash-$seed" $? log
	done
	"$bin/q2write" faults $name.q2 $name.view flags=2 fixed seed=4 ops=8 2>log
	verdict "$name-faults" $? log
	! "$bin/q2write" random $name.q2 $name.view fixed ops=1 2>log
	verdict "$name-refused" $? log
}

case ${2-all} in
all)
	matrix
	bitmaps
	;;
*) "$2" ;;
esac
echo "write: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
