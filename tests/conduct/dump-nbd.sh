# dump-nbd.sh - images on NBD servers, of two makers.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# serve COMMAND...: starts a server on the socket "nbd", in the background.
serve() {
	rm -f nbd
	"$@" >/dev/null 2>server.err &
	server=$!
	wait_for listening
}

# The socket is there before anybody listens at it.
listening() { grep -q " 00010000 .* $work/nbd\$" /proc/net/unix; }

unserve() {
	kill "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	rm -f nbd
}

test_nbd() {
	local server uri="nbd+unix:///?socket=nbd" flat

	run --digest nbd+unix:///?socket=nowhere
	check 'NBD: nobody there: exit 8' test "$status" -eq 8
	if err_has 'built without libnbd'; then
		echo 'conduct-dump: built without libnbd, so no server is read' >&2
		return
	fi
	qemu-img convert -O qcow2 -c top.qcow2 served.qcow2
	# The library is loaded when a server is named, not before.
	mkdir none
	: >none/libnbd.so.0
	LD_LIBRARY_PATH=$work/none exits 8 --no-sandbox --digest 'nbd+unix:///?socket=nowhere'
	check 'no libnbd: said' err_has 'libnbd.so.0 cannot be loaded'
	LD_LIBRARY_PATH=$work/none exits 0 --no-sandbox --digest top.qcow2
	rm -r none
	for flat in qemu nbdkit; do
		if [[ $flat == qemu ]]; then
			serve qemu-nbd -r -t -f raw -k "$work/nbd" served.qcow2
		else
			serve nbdkit -f -r -U "$work/nbd" file served.qcow2
		fi
		exits 0 "$uri" new.raw
		check "NBD, $flat: the bytes" cmp want.raw new.raw
		rm -f new.raw
		exits 0 --digest "$uri"
		check "NBD, $flat: checked" "$build/bin/qcow2-fsck" -q "$uri" >out 2>err
		check "NBD, $flat: a copy" diff <("$dump" -f raw "$uri" - | sha256sum) <(sha256sum <served.qcow2)
		unserve
	done
	# A sparse raw disk: what the server calls zeros is not read.
	truncate -s 1T huge.raw
	printf data | dd of=huge.raw bs=1 seek=500G conv=notrunc status=none
	serve qemu-nbd -r -t -f raw -k "$work/nbd" huge.raw
	exits 0 --digest -f raw "$uri"
	check 'NBD: a sparse disk' test "$(cut -c 1-32 out)" = "$("$dump" --digest -f raw huge.raw | cut -c 1-32)"
	unserve
	# Servers that are asked for whole sectors only.
	serve nbdkit -f -r -U "$work/nbd" --filter=blocksize-policy file served.qcow2 \
		blocksize-minimum=512 blocksize-error-policy=error
	exits 0 "$uri" new.raw
	check 'NBD, whole sectors: the bytes' cmp want.raw new.raw
	rm -f new.raw
	unserve
	# And for little at once.
	serve nbdkit -f -r -U "$work/nbd" --filter=blocksize-policy file served.qcow2 \
		blocksize-minimum=512 blocksize-preferred=4096 blocksize-maximum=5120 blocksize-error-policy=error
	exits 0 "$uri" new.raw
	check 'NBD, small requests: the bytes' cmp want.raw new.raw
	rm -f new.raw
	unserve
	# A server that fails, and one that goes away.
	serve nbdkit -f -r -U "$work/nbd" --filter=error file served.qcow2 error-pread=EIO error-pread-rate=100%
	refused '' "$uri" new.raw
	unserve
	test_nbd_target "$uri"
	test_nbd_gone "$uri"
	test_nbd_tls
	rm -f served.qcow2 huge.raw
}

# written NAME: what the server has must be the disk, and behind it what was there.
written() {
	check "NBD target, $1: the bytes" cmp -n 4194304 want.raw disk
	check "NBD target, $1: what is behind stays" \
		test "$(tail -c 1048576 disk | tr -d '\377' | wc -c)" -eq 0
}

fresh_disk() { tr '\0' '\377' </dev/zero | head -c 5M >disk; }

test_nbd_target() {
	local uri=$1 filter
	fresh_disk
	serve qemu-nbd -t -f raw -k "$work/nbd" disk
	exits 0 --verify top.qcow2 "$uri"
	unserve
	written qemu-nbd
	# One that takes a single connection, and is gone after it.
	fresh_disk
	serve qemu-nbd -f raw -k "$work/nbd" disk
	exits 0 --verify top.qcow2 "$uri"
	wait_for absent nbd
	unserve
	written 'qemu-nbd, once'
	for filter in '' --filter=nozero --filter=noextents --filter=error; do
		fresh_disk
		# shellcheck disable=SC2086,SC2046
		serve nbdkit -f -U "$work/nbd" $filter file disk \
			$([[ $filter == *error ]] && echo error-zero=EIO error-zero-rate=100%)
		exits 0 --verify top.qcow2 "$uri"
		unserve
		written "nbdkit $filter"
	done
	fresh_disk
	serve nbdkit -f -U "$work/nbd" --filter=blocksize-policy file disk \
		blocksize-minimum=4096 blocksize-error-policy=error
	exits 0 --verify --range=512+1M top.qcow2 "$uri"
	check 'NBD target, whole blocks: the bytes' cmp -n 1048576 -i 512:0 want.raw disk
	check 'NBD target, whole blocks: what is behind stays' \
		test "$(tail -c +1048577 disk | tr -d '\377' | wc -c)" -eq 0
	exits 0 -O qcow2 --verify top.qcow2 "$uri"
	unserve
	check 'NBD target: a QCOW2 image' qemu-img compare -q -f qcow2 -F qcow2 disk top.qcow2
	# Zeros by the server's own means: nothing is written where nothing was.
	qemu-img create -q -f qcow2 none.qcow2 1G
	serve nbdkit -f -U "$work/nbd" --filter=stats memory 1G "statsfile=$work/stats"
	exits 0 none.qcow2 "$uri"
	unserve
	check 'NBD target: zeros' grep -q '^zero: ' stats
	check 'NBD target: no data' test -z "$(grep '^write: ' stats)"
	serve nbdkit -f -U "$work/nbd" --filter=stats memory 1G "statsfile=$work/stats"
	exits 0 --assume-zeroed none.qcow2 "$uri"
	unserve
	check 'NBD target, --assume-zeroed: nothing' test -z "$(grep -E '^(write|zero|trim): ' stats)"
	rm -f none.qcow2 stats
	test_nbd_refused "$uri"
}

test_nbd_refused() {
	local uri=$1
	serve nbdkit -f -U "$work/nbd" memory 3M
	exits 8 top.qcow2 "$uri"
	check 'NBD target, too small: said' err_has 'too small: 4194304 bytes are needed, it has 3145728'
	exits 8 --resume top.qcow2 "$uri"
	check 'NBD target: not continued' err_has 'only a file'
	unserve
	serve nbdkit -f -r -U "$work/nbd" memory 5M
	exits 8 top.qcow2 "$uri"
	check 'NBD target, read-only: said' err_has 'read-only'
	unserve
	for error in ENOSPC EIO; do
		serve nbdkit -f -U "$work/nbd" --filter=error memory 5M "error-pwrite=$error" error-pwrite-rate=100%
		exits 8 top.qcow2 "$uri"
		unserve
	done
	# What is read is not written, by whatever name of the socket.
	cp base.qcow2 served2.qcow2
	serve nbdkit -f -U "$work/nbd" file served2.qcow2
	ln -s nbd nbd2
	exits 8 "$uri" 'nbd+unix:///?socket=nbd2'
	check 'NBD target: what is read is none' err_has 'files that are read'
	unserve
	check 'NBD target: what is read is untouched' cmp base.qcow2 served2.qcow2
	# Nor is anything on a server changed in place, above or below.
	serve nbdkit -f -U "$work/nbd" file served2.qcow2
	qemu-img create -q -f qcow2 -b "$uri" -F qcow2 above.qcow2
	qemu-io -c 'write -P 7 0 64k' above.qcow2 >/dev/null
	exits 8 --absorb "$uri"
	check 'NBD, in place: said' err_has 'only files and devices'
	exits 8 --commit --allow-path="$uri" above.qcow2
	check 'NBD base, in place: said' err_has 'only files and devices'
	unserve
	check 'NBD, in place: untouched' cmp base.qcow2 served2.qcow2
	rm -f nbd2 served2.qcow2 above.qcow2
}

# A server that is killed while it is read from, or written to.
test_nbd_gone() {
	local uri=$1 pid
	qemu-img create -q -f qcow2 long.qcow2 64M
	qemu-io -c 'write -P 5 0 64M' long.qcow2 >/dev/null
	gone() { # ARGUMENT...: with the server killed when some of it is done
		: >progress
		"$dump" --rate=16M -C 3 "$@" 3>progress >out 2>err </dev/null &
		pid=$!
		wait_for grep -q '^dump [1-9]' progress
		kill -KILL "$server"
		wait "$server" 2>/dev/null
		wait "$pid"
	}
	serve nbdkit -f -U "$work/nbd" memory 64M
	gone long.qcow2 "$uri"
	check 'NBD target, gone: exit 8' test $? -eq 8
	check 'NBD target, gone: said' grep -qE "^qcow2-dump: .*(connection|connected)" err
	for option in '' --salvage --resume; do
		serve nbdkit -f -r -U "$work/nbd" file long.qcow2
		# shellcheck disable=SC2086
		gone $option ${option:+--verify} "$uri" new.raw
		check "NBD source, gone, $option: exit 8" test $? -eq 8
		check "NBD source, gone, $option: said" grep -qE 'guest range.*(connection|connected)' err
		check "NBD source, gone, $option: no file" absent new.raw
		[[ $option == --resume ]] || check "NBD source, gone, $option: nothing" absent new.raw.part
		rm -f new.raw*
	done
	serve nbdkit -f -r -U "$work/nbd" file long.qcow2
	gone -O qcow2 "$uri" new.qcow2
	check 'NBD source, gone, to QCOW2: exit 8' test $? -eq 8
	check 'NBD source, gone, to QCOW2: no file' absent new.qcow2 new.qcow2.part
	rm -f long.qcow2
}

# With TLS, and a key that both know.
test_nbd_tls() {
	local uri='nbds+unix://alice@/?socket=nbd'
	if ! nbdkit --dump-config | grep -qx 'tls=yes'; then
		echo 'conduct-dump: this nbdkit has no TLS, so none is read' >&2
		return
	fi
	echo alice:6ba7b8109dad11d180b400c04fd430c8 >keys
	echo alice:00000000000000000000000000000000 >other
	chmod 600 keys other
	serve nbdkit -f -r -U "$work/nbd" --tls=require "--tls-psk=$work/keys" file served.qcow2
	exits 0 "$uri&tls-psk-file=$work/keys" new.raw
	check 'NBD with TLS: the bytes' cmp want.raw new.raw
	check 'NBD with TLS: checked' "$build/bin/qcow2-fsck" -q "$uri&tls-psk-file=$work/keys" >out 2>err
	check 'NBD with TLS: mapped' "$build/bin/qcow2-map" "$uri&tls-psk-file=$work/keys" >out 2>err
	rm -f new.raw
	refused 'nbd_connect_uri' "$uri&tls-psk-file=$work/other" new.raw
	refused 'nbd_connect_uri' 'nbd+unix:///?socket=nbd' new.raw
	unserve
	fresh_disk
	serve nbdkit -f -U "$work/nbd" --tls=require "--tls-psk=$work/keys" file disk
	exits 0 --verify top.qcow2 "$uri&tls-psk-file=$work/keys"
	unserve
	written 'with TLS'
	rm -f keys other disk
}
