#!/usr/bin/env bash
# kinds.sh - damage of images that are more than plain: encrypted ones, compressed
# ones, those with an external data file; and --rescue where hardly anything is lost.
#
# SPDX-License-Identifier: MIT
#
# usage: kinds.sh BUILD_DIR             prints "kinds: N passed, N failed"
set -u
part=kinds
# shellcheck source=tests/repair/damage.sh
. "$(dirname "$0")/damage.sh"

bytes() { # file offset; writes what comes in
	dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
repair() { # options; of d.qcow2 into r.qcow2, or what is left of that
	cp d.qcow2 r.qcow2
	# shellcheck disable=SC2086
	${WRAP:-} "$fsck" $1 --no-journal r.qcow2 >said 2>&1
	[ $? -lt 8 ]
}
repaired() { # options; nothing is left
	cp d.qcow2 r.qcow2
	# shellcheck disable=SC2086
	${WRAP:-} "$fsck" $1 --no-journal r.qcow2 >said 2>&1
	[ $? = 1 ]
}
same_disk() {
	qemu-img compare -f qcow2 -F qcow2 o.qcow2 r.qcow2
}

# --- a search of the file, where one bit of a table is wrong -----------------------

for options in cluster_size=64k cluster_size=4k compat=0.10; do
	qemu-img create -q -f qcow2 -o $options o.qcow2 2M
	qemu-io -f qcow2 -c 'write -P 1 0 1M' o.qcow2 >io
	for damage in 1 6 text; do
		cp o.qcow2 d.qcow2
		case $damage in
		text) yes 'a line of a log' | head -c 64 | bytes d.qcow2 "$(entry 500)" ;;
		*) put64 d.qcow2 "$(entry 3)" $(($(u64 o.qcow2 "$(entry 3)") ^ 1 << damage)) ;;
		esac
		check "$options, $damage in the L2 table, --rescue" repair '-y --rescue'
		check "$options, $damage in the L2 table, --rescue: the disk" same_disk
	done
done

# --- compressed data ---------------------------------------------------------------

# A table that was wiped: what the youngest snapshot has comes back, not what an older
# one has.
qemu-img create -q -f qcow2 o.qcow2 4M
qemu-io -f qcow2 -c 'write -c -P 1 0 64k' -c 'write -c -P 2 64k 64k' -c 'write -c -P 3 128k 64k' \
	-c 'write -c -P 4 192k 64k' o.qcow2 >io
qemu-img snapshot -c one o.qcow2
qemu-io -f qcow2 -c 'write -P 5 64k 64k' o.qcow2 >io
qemu-img snapshot -c two o.qcow2
qemu-io -f qcow2 -c 'write -P 6 1M 64k' o.qcow2 >io
cp o.qcow2 d.qcow2
head -c 512 /dev/zero | bytes d.qcow2 "$(entry 0)"
check 'a table of compressed data wiped, -y' repair -y
check 'a table of compressed data wiped: as the youngest snapshot has it' \
	qemu-io -r -f qcow2 -c 'read -P 1 0 64k' -c 'read -P 5 64k 64k' -c 'read -P 3 128k 64k' r.qcow2
check 'a table of compressed data wiped: not called certain' \
	grep -q 'What may be wrong' said
check 'a table of compressed data wiped: qemu-img agrees' qemu-img check r.qcow2

# --- encrypted images, without the key ---------------------------------------------

secret=(--object "secret,id=s,data=abc")
make_encrypted() { # format option...
	local format=$1
	shift
	# QEMU measures the CPU for the key derivation, and at times cannot.
	for _ in {1..60}; do
		rm -f o.qcow2
		qemu-img create -q -f qcow2 "${secret[@]}" -o encrypt.format="$format" \
			-o encrypt.key-secret=s "$@" o.qcow2 4M 2>io && break
	done
	guest o.qcow2 -c 'write -P 1 0 256k' -c 'write -P 2 1M 64k' >io
}
guest() { # image qemu-io-argument...
	local image=$1
	shift
	qemu-io "${secret[@]}" --image-opts "driver=qcow2,file.filename=$image,encrypt.key-secret=s" "$@"
}
stays() { # nothing is moved, and that is said
	cp d.qcow2 r.qcow2
	"$fsck" -y --no-journal r.qcow2 >said 2>&1
	[ $? = 4 ] && grep -q 'encrypted data that would have to move stays' said
}

make_encrypted luks -o encrypt.iter-time=10,cluster_size=4k
extension=112
l1=$(u64 o.qcow2 40)
for damage in "the extension's type:printf '\166'|3" "its length:printf '\17'|7" \
	"its offset, on the L1 table:printf %016x $l1 | xxd -r -p|8" \
	"its offset, outside:printf '\1\0\0\0'|8" "the area's length, 0:head -c 8 /dev/zero|16" \
	"crypt_method, 1:printf '\1'|-77" "crypt_method, 255:printf '\377'|-77" \
	"the magic:head -c 8 /dev/zero|$(($(u64 o.qcow2 $((extension + 8))) - extension))" \
	"all of the extension:head -c 24 /dev/zero|0"; do
	IFS=: read -r name rest <<<"$damage"
	cp o.qcow2 d.qcow2
	[ $extension = 112 ] && [ "$(xxd -p -s 112 -l 4 o.qcow2)" = 0537be77 ] || exit 1
	eval "${rest%|*}" | bytes d.qcow2 $((extension + ${rest##*|}))
	# Where all is gone other extensions may follow: then nothing is done.
	case $name in all*) head -c 400 /dev/zero | bytes d.qcow2 112 ;; esac
	check "LUKS, $name, -y" repaired -y
	case $name in
	all*) check "LUKS, $name: the disk" guest r.qcow2 -r -c 'read -P 1 0 256k' -c 'read -P 2 1M 64k' ;;
	*) check "LUKS, $name: as it was" cmp o.qcow2 r.qcow2 ;;
	esac
done

# Two guest clusters in one place: a copy would decrypt as noise.
cp o.qcow2 d.qcow2
put64 d.qcow2 "$(entry 9)" "$(u64 o.qcow2 "$(entry 300)")"
put64 d.qcow2 "$(entry 40)" 0
put64 d.qcow2 "$(entry 41)" "$(u64 o.qcow2 "$(entry 300)")"
check 'LUKS, cross-links, -y' repair -y
check 'LUKS, cross-links, -y: the rest of the disk' \
	guest r.qcow2 -r -c 'read -P 1 0 36k' -c 'read -P 1 44k 84k' -c 'read -P 2 1M 64k'
put64 o.qcow2 "$(entry 500)" "$(u64 o.qcow2 "$(entry 3)")"
cp o.qcow2 d.qcow2
check 'LUKS, a cross-link, -y' stays
check 'LUKS, a cross-link, -y: the disk' guest r.qcow2 -r -c 'read -P 1 0 256k' -c 'read -P 2 1M 64k'

# The older method hangs on the guest offset: there it may move.
make_encrypted aes -o cluster_size=4k
cp o.qcow2 d.qcow2
put64 d.qcow2 "$(entry 500)" "$(u64 o.qcow2 "$(entry 3)")"
check 'AES, a cross-link, -y' repaired -y
check 'AES, a cross-link, -y: the disk' guest r.qcow2 -r -c 'read -P 1 0 256k' -c 'read -P 2 1M 64k'
cp o.qcow2 d.qcow2
for i in 0 1 2 3 4 5; do put64 d.qcow2 "$(entry $i)" 0; done
check 'AES, orphans, -y' repaired -y
check 'AES, orphans, -y: what they are worth is said' grep -q 'reads as noise' said

# --- external data files -----------------------------------------------------------

# Each cluster lies where the guest has it: nothing but the zero flags can get lost.
for options in data_file_raw=on data_file_raw=on,cluster_size=4k \
	data_file_raw=on,extended_l2=on,cluster_size=16k data_file_raw=off,cluster_size=4k; do
	rm -f data o.qcow2
	qemu-img create -q -f qcow2 -o data_file=data,$options o.qcow2 16M
	qemu-io -f qcow2 -c 'write -P 1 0 256k' -c 'write -P 2 9M 256k' o.qcow2 >io
	l1=$(u64 o.qcow2 40)
	table=$(($(u64 o.qcow2 "$l1") & 0xfffffffffffe00))
	for damage in half-a-table table L1 shifted on-metadata; do
		cp o.qcow2 d.qcow2
		case $damage in
		half-a-table) head -c 1024 /dev/zero | bytes d.qcow2 $table ;;
		table) head -c 4096 /dev/zero | bytes d.qcow2 $table ;;
		L1) put64 d.qcow2 "$l1" 0xfffffffff000 ;;
		shifted) dd if=o.qcow2 bs=1 skip=$table count=1024 status=none | bytes d.qcow2 $((table + 64)) ;;
		on-metadata) put64 d.qcow2 "$l1" $(($(u64 o.qcow2 48) | 1 << 63)) ;;
		esac
		case $options,$damage in *raw=off*,*table) continue ;; esac
		cp data data.was
		cp d.qcow2 r.qcow2
		"$fsck" -p --no-journal r.qcow2 >said 2>&1
		check "$options, $damage, -p: the raw bit stays" \
			test "$(xxd -p -s 95 -l 1 r.qcow2)" = "$(xxd -p -s 95 -l 1 o.qcow2)"
		check "$options, $damage, -y" repaired -y
		check "$options, $damage, -y: the disk" \
			qemu-io -r -f qcow2 -c 'read -P 1 0 256k' -c 'read -P 2 9M 256k' r.qcow2
		check "$options, $damage, -y: features" \
			cmp -n 40 -i 72 o.qcow2 r.qcow2
		check "$options, $damage, -y: the data file is not written" cmp data data.was
		check "$options, $damage, -y: qemu-img agrees" qemu-img check r.qcow2
	done
done
# Without its header nothing tells the cluster size: none is made up.
cp o.qcow2 d.qcow2
head -c 112 /dev/zero | bytes d.qcow2 0
repair '-y --rescue'
check 'no header, --rescue: untouched' cmp d.qcow2 r.qcow2
# A bit alone, on an image of which little is allocated, does not show what the data
# file holds elsewhere.
cp o.qcow2 d.qcow2
printf '\2' | bytes d.qcow2 95
check 'the raw bit, set by chance, -y' repaired -y
check 'the raw bit, set by chance, -y: as it was' cmp o.qcow2 r.qcow2

sum_up
