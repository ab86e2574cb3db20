# images-luks.sh - encrypted images, with every cipher that we know.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set here, used there

# locked NAME SIZE OPTIONS: an encrypted image becomes current.  QEMU measures the
# CPU for the key derivation, and at times cannot.
locked() {
	local i
	cur=$1
	f=$cur.qcow2
	for i in {1..60}; do
		qemu-img create -q -f qcow2 --object secret,id=key,data=sesame \
			-o "encrypt.key-secret=key,$3" "$f" "$2" 2>locked.err && return
		grep -q 'CPU usage' locked.err || break
	done
	return 1
}

locked_write() {
	local args=() c
	for c; do
		args+=(-c "$c")
	done
	qemu-io --object secret,id=key,data=sesame "${args[@]}" --image-opts \
		"driver=qcow2,file.filename=$f,encrypt.key-secret=key" >/dev/null
}

# one_locked CIPHER MODE IV HASH: one kind of LUKS image.
one_locked() {
	local iv=$3
	[ "${iv%:*}" = essiv ] && iv=essiv,encrypt.ivgen-hash-alg=${iv#*:}
	if locked "luks-$1-$2-${3/:/-}-$4" 1M \
		"encrypt.format=luks,encrypt.cipher-alg=$1,encrypt.cipher-mode=$2,encrypt.ivgen-alg=$iv,encrypt.hash-alg=$4,encrypt.iter-time=10" &&
		locked_write 'write -P 1 0 100k' 'write -P 2 700k 3000'; then
		judge_locked
	else
		verdict 1 "not made: $(tail -n 1 locked.err)"
	fi
}

images_luks() {
	local spec alg mode iv hash rc

	for spec in aes-256:xts:plain64:sha256 aes-128:xts:plain64:sha1 aes-256:cbc:essiv:sha256 \
		aes-128:cbc:plain64:sha512 aes-256:cbc:plain:sha256 aes-256:xts:plain:sha512; do
		IFS=: read -r alg mode iv hash <<<"$spec"
		[ "$iv" = essiv ] && iv=essiv,encrypt.ivgen-hash-alg=sha256
		locked "luks-$alg-$mode-${iv%%,*}-$hash" 3M "encrypt.format=luks,encrypt.cipher-alg=$alg,encrypt.cipher-mode=$mode,encrypt.ivgen-alg=$iv,encrypt.hash-alg=$hash,encrypt.iter-time=20"
		locked_write 'write -P 1 0 100k' 'write -P 2 1M 3000' 'write -z 2M 64k' 'discard 0 64k' 'write -c -P 3 2560k 64k'
		judge_locked
	done
	# The other hashes, modes and IVs; each takes qemu-img a second or more.
	one_locked aes-128 ecb plain64 md5
	one_locked aes-256 cbc essiv:sha256 sha224
	one_locked aes-256 ecb essiv:md5 sha384
	one_locked aes-128 xts essiv:sha256 ripemd160
	# A key of 24 bytes, 4000 times, is no whole number of sectors: with that qemu-img
	# 7.2 stops at an assertion.  test_crypt has the cipher.
	if locked luks-aes-192 1M encrypt.format=luks,encrypt.cipher-alg=aes-192,encrypt.cipher-mode=cbc,encrypt.iter-time=10; then
		locked_write 'write -P 1 0 100k' 'write -P 2 700k 3000'
		judge_locked
	else
		rc=0
		grep -q 'Assertion .QEMU_IS_ALIGNED(len, sectorsize)' locked.err || rc=1
		verdict $rc "aes-192: not made: $(tail -n 1 locked.err)"
	fi
	# Other ciphers: which it is, and that it is that.
	for alg in serpent-256:serpent twofish-256:twofish cast5-128:cast5; do
		mode=xts
		[ "${alg#*:}" = cast5 ] && mode=cbc
		locked "luks-${alg%:*}" 1M "encrypt.format=luks,encrypt.cipher-alg=${alg%:*},encrypt.cipher-mode=$mode,encrypt.iter-time=10"
		rc=0
		printf sesame >secret
		"$DUMP" --plaintext --secret secret "$f" out.raw 2>err || rc=$?
		verdict "$([ $rc = 8 ] && grep -q "the cipher ${alg#*:}-$mode-plain64 is not supported" err && [ ! -e out.raw ] && echo 0 || echo 1)" \
			"${alg%:*}: $rc, $(cat err)"
	done
	locked luks-4k 3M encrypt.format=luks,cluster_size=4k,encrypt.iter-time=20
	locked_write 'write -P 1 0 100k' 'write -P 2 1M 3000' 'write -z 2M 64k'
	judge_locked
	locked luks-extended 3M encrypt.format=luks,extended_l2=on,encrypt.iter-time=20
	locked_write 'write -P 1 0 3k' 'write -P 2 1M 3000' 'write -z 2M 1k'
	judge_locked
	locked luks-512 1M encrypt.format=luks,cluster_size=512,encrypt.iter-time=20
	locked_write 'write -P 1 0 3k' 'write -P 2 700k 3000'
	judge_locked
	locked luks-data-file 1M encrypt.format=luks,data_file=luks.data,encrypt.iter-time=20
	locked_write 'write -P 1 0 3k' 'write -P 2 700k 3000'
	judge_locked

	# An encrypted layer over a plain one, and over another encrypted one.
	img plain-base 3M
	io 'write -P 9 0 3M'
	locked luks-over-plain 3M encrypt.format=luks,encrypt.iter-time=20
	locked_write 'write -P 1 100k 100k'
	qemu-img rebase -u --object secret,id=key,data=sesame --image-opts -b plain-base.qcow2 -F qcow2 \
		"driver=qcow2,file.filename=$f,encrypt.key-secret=key"
	judge_locked

	# The key: wrong, missing, of one layer only; plaintext not asked for.
	printf wrong >wrong
	printf sesame >secret
	rc=0
	"$DUMP" --plaintext --secret wrong "$f" out.raw 2>err || rc=$?
	verdict "$([ $rc = 8 ] && grep -q 'opens none of' err && [ ! -e out.raw ] && echo 0 || echo 1)" "wrong key: $rc, $(cat err)"
	rc=0
	"$DUMP" --plaintext "$f" out.raw 2>err || rc=$?
	verdict "$([ $rc = 8 ] && grep -q -- '--secret' err && [ ! -e out.raw ] && echo 0 || echo 1)" "no key: $rc, $(cat err)"
	rc=0
	"$DUMP" --secret secret "$f" out.raw 2>err || rc=$?
	verdict "$([ $rc = 8 ] && grep -q -- '--plaintext' err && [ ! -e out.raw ] && echo 0 || echo 1)" "no --plaintext: $rc, $(cat err)"
	try '--secret of layer 0' "$DUMP" --plaintext --secret 0=secret --secret 1=wrong "$f" out.raw
	rc=0
	"$DUMP" --plaintext --secret 1=secret "$f" out2.raw 2>err || rc=$?
	verdict "$([ $rc = 8 ] && echo 0 || echo 1)" "--secret of another layer: $rc"
}
