# dump-nbd.sh - images on NBD servers, of two makers.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154  # set there, used here

# serve COMMAND...: starts a server on the socket "nbd", in the background.
serve() {
	rm -f nbd
	"$@" >/dev/null 2>server.err &
	server=$!
	wait_for test -S nbd
}

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
	for flat in qemu nbdkit; do
		if [[ $flat == qemu ]]; then
			serve qemu-nbd -r -t -f raw -k "$work/nbd" served.qcow2
		else
			serve nbdkit -f -r -U nbd file served.qcow2
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
	serve nbdkit -f -r -U nbd --filter=blocksize-policy file served.qcow2 \
		blocksize-minimum=512 blocksize-error-policy=error
	exits 0 "$uri" new.raw
	check 'NBD, whole sectors: the bytes' cmp want.raw new.raw
	rm -f new.raw
	unserve
	# A server that fails, and one that goes away.
	serve nbdkit -f -r -U nbd --filter=error file served.qcow2 error-pread=EIO error-pread-rate=100%
	refused '' "$uri" new.raw
	unserve
	exits 8 top.qcow2 "$uri"
	check 'NBD: no target' err_has 'only read'
	rm -f served.qcow2 huge.raw
}
