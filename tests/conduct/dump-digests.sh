# dump-digests.sh - digests, what has changed since, comparisons.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# xxh: the XXH3-128 digest of standard input, as bytes.
xxh() {
	xxhsum -H128 - | cut -c 1-32 | xxd_r
}
xxd_r() {
	local hex
	read -r hex
	printf '%b' "$(sed 's/../\\x&/g' <<<"$hex")"
}

# digest ARGUMENT...: only the digest.
digest() {
	"$dump" --digest "$@" | cut -c 1-32
}

test_digests() {
	local block chunk
	# Two blocks of 4 KiB in the second MiB of a disk of 3 MiB, by the book.
	head -c 4096 /dev/zero | tr '\0' '\1' >one
	head -c 4096 /dev/zero | tr '\0' '\2' >two
	truncate -s 3M small.raw
	dd if=one of=small.raw bs=4096 seek=256 conv=notrunc status=none
	dd if=two of=small.raw bs=4096 seek=260 conv=notrunc status=none
	{
		printf '\0\0'
		xxh <one
		printf '\0\4'
		xxh <two
	} >chunk
	{
		printf 'qcow2-progs disk digest 1'
		printf '\0\0\0\0\0\60\0\0'
		printf '\0\0\0\0\0\0\0\1'
		xxh <chunk
	} >disk.digests
	check 'the digest, by the book' test "$(digest -f raw small.raw)" = \
		"$(xxhsum -H128 - <disk.digests | cut -c 1-32)"
	# However it is stored.
	qemu-img convert -f raw -O qcow2 -c -o cluster_size=4k small.raw small.qcow2
	check 'the digest of compressed data' test "$(digest small.qcow2)" = "$(digest -f raw small.raw)"
	qemu-img convert -f raw -O qcow2 -S 0 small.raw full.qcow2
	check 'the digest of written zeros' test "$(digest full.qcow2)" = "$(digest -f raw small.raw)"
	check 'the digest with one thread' test "$(digest --threads=1 full.qcow2)" = "$(digest -f raw small.raw)"
	check 'the digest of a chain' test "$(digest top.qcow2)" = "$(digest -f raw want.raw)"
	truncate -s 4M longer.raw
	dd if=small.raw of=longer.raw conv=notrunc,sparse status=none
	check 'the digest of another size' test "$(digest -f raw longer.raw)" != "$(digest -f raw small.raw)"

	# What changed.
	exits 0 --digest --ranges=small.digests small.qcow2
	exits 8 --digest --ranges=small.digests small.qcow2
	exits 0 --check-digest=small.digests -f raw small.raw
	check 'nothing changed: nothing said' test ! -s out
	qemu-img convert -f qcow2 -O qcow2 small.qcow2 changed.qcow2
	qemu-io -c 'write -P 9 2M 4k' changed.qcow2 >/dev/null
	exits 4 --check-digest=small.digests changed.qcow2
	check 'new data' diff <(echo 'was zeros: 2097152 to 3145727') out
	qemu-io -c 'write -P 9 1044k 512' changed.qcow2 >/dev/null
	exits 4 --check-digest=small.digests changed.qcow2
	check 'changed data' diff <(printf '%s\n' 'changed: 1048576 to 2097151' 'was zeros: 2097152 to 3145727') out
	qemu-io -c 'write -z 0 3M' changed.qcow2 >/dev/null
	exits 4 --check-digest=small.digests changed.qcow2
	check 'gone data' diff <(echo 'now zeros: 1048576 to 2097151') out
	exits 4 --check-digest=small.digests -f raw longer.raw
	check 'another size: said' err_has 'another size'
	head -n 3 small.digests >cut.digests
	exits 8 --check-digest=cut.digests small.qcow2
	# What the rest of it would have said is not made up.
	head -c 3M /dev/zero | tr '\0' '\3' >longer.raw
	exits 0 --digest --ranges=long.digests -f raw longer.raw
	head -n 3 long.digests >cut.digests
	exits 8 --check-digest=cut.digests -f raw longer.raw
	check 'half a list: no difference told' test ! -s out
	exits 8 --check-digest=want.raw small.qcow2
	exits 8 --check-digest=missing small.qcow2
	rm -f one two chunk ./*.digests longer.raw full.qcow2
}

# same_as_qemu NAME A FORMAT B FORMAT: its exit status is ours.
same_as_qemu() {
	local theirs=0
	qemu-img compare -q -f "$3" -F "$5" "$2" "$4" >/dev/null 2>&1 || theirs=$?
	run --compare -f "$3" -F "$5" "$2" "$4"
	check "compare, $1: $theirs (was $status)" test "$status" -eq "$theirs"
}

test_compare() {
	same_as_qemu 'the same' top.qcow2 qcow2 want.raw raw
	same_as_qemu 'itself' top.qcow2 qcow2 top.qcow2 qcow2
	same_as_qemu 'others' top.qcow2 qcow2 base.qcow2 qcow2
	check 'compare: where' diff <(printf '%s\n' 'differ: 102400 to 204799 (102400 bytes)' \
		'differ: 524288 to 589823 (65536 bytes)') out
	cp want.raw longer.raw
	truncate -s 6M longer.raw
	same_as_qemu 'zeros behind' top.qcow2 qcow2 longer.raw raw
	same_as_qemu 'zeros behind, turned' longer.raw raw top.qcow2 qcow2
	printf x | dd of=longer.raw bs=1 seek=5000000 conv=notrunc status=none
	same_as_qemu 'data behind' top.qcow2 qcow2 longer.raw raw
	check 'compare: the sector' diff <(echo 'differ: 4999680 to 5000191 (512 bytes)') out
	same_as_qemu 'missing' top.qcow2 qcow2 missing raw
	rm -f longer.raw
}

# QEMU cannot always tell how fast this machine is, and then says so.
convert_luks() { # SECRET
	local i
	for i in {1..60}; do
		rm -f "$1.qcow2"
		qemu-img convert -O qcow2 --object "secret,id=key,data=$1" \
			-o encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=50 top.qcow2 "$1.qcow2" 2>err &&
			return
	done
	return 1
}

# Two images that different passwords open.
test_compare_secrets() {
	local secret
	mkdir keys
	for secret in one two; do
		printf %s "$secret" >"keys/$secret"
		check "an image with the password '$secret'" convert_luks "$secret"
	done
	exits 0 --compare --secret=keys/one --second-secret=keys/two one.qcow2 two.qcow2
	exits 0 --compare --secret=0=keys/one --second-secret=0=keys/two one.qcow2 two.qcow2
	exits 0 --compare --second-secret=keys/two want.raw -f raw two.qcow2
	exits 0 --compare --secret=keys/one one.qcow2 one.qcow2
	exits 2 --compare --secret=keys/one one.qcow2 two.qcow2
	check 'one password for two: which image' err_has two.qcow2
	exits 2 --compare --secret=keys/two --second-secret=keys/one one.qcow2 two.qcow2
	exits 2 --compare --second-secret=keys/two one.qcow2 two.qcow2
	exits 2 --compare --secret=keys/one --second-secret=1=keys/two one.qcow2 two.qcow2
	exits 2 --compare --secret=keys/one --second-secret=keys/missing one.qcow2 two.qcow2
	qemu-io --object secret,id=key,data=two --image-opts -c 'write -P 9 1M 512' \
		driver=qcow2,file.filename=two.qcow2,encrypt.key-secret=key >/dev/null
	exits 1 --compare --secret=keys/one --second-secret=keys/two one.qcow2 two.qcow2
	check 'two passwords: where they differ' out_has 'differ: 1048576 to 1049087 (512 bytes)'
	exits 16 --second-secret=keys/two --plaintext two.qcow2 new.raw
	exits 16 --digest --second-secret=keys/two two.qcow2
	exits 16 --absorb --second-secret=keys/two two.qcow2
	rm -rf keys one.qcow2 two.qcow2
}
