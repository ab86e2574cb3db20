# images-q2mk.sh - legal images that no tool of QEMU makes, from recipes.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there
#
# What the guest reads comes from the builder of the images (q2mk -g).

# recipe NAME: from standard input.
recipe() {
	cur=$1
	f=$cur.qcow2
	cat >"$cur.recipe"
	"$Q2MK" -g expected.raw "$cur.recipe" "$f"
	rm -f got.raw
	try 'dump' "$DUMP" --allow-probe "$f" got.raw
	try 'what the guest reads' cmp expected.raw got.raw
}

images_q2mk() {
	local c

	for c in 512 4096 65536; do
		recipe "shuffled-$c" <<END
cluster $c
size 40*cs
shuffle 7
write 0 10*cs
zero 3*cs 2*cs alloc
zero 20*cs 2*cs plain
compress 12*cs 6*cs
discard 13*cs cs full
END
		recipe "zstd-$c" <<END
cluster $c
compression zstd
size 40*cs
compress 0 10*cs seed:3
write 20*cs cs
END
	done
	recipe extended-shuffled <<'END'
cluster 16384
extl2
size 20*cs
shuffle 3
write 512 1024
zero 2048 512
write 5*cs 3*cs
prealloc 10*cs 2*cs
write 10*cs+1024 512
compress 12*cs 2*cs
END
	recipe over-raw <<'END'
cluster 4096
size 64K
rawfile base.raw 30001 seed:4
backing base.raw raw
write 4096 4096
zero 12288 4096
END
}
