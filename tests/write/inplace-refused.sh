# shellcheck shell=bash disable=SC2154
# inplace-refused.sh - what is not flattened in place, and why.
#
# SPDX-License-Identifier: MIT
#
# Sourced by inplace.sh.

# --- what is refused --------------------------------------------------------------

# Nothing in the current folder changes, and the reason is told.
refused() { # what text arguments...
	local what=$1 text=$2 before
	shift 2
	before=$(find . -type f ! -name '*.log' ! -name err.txt -exec sha256sum {} +)
	if "$flat" run "$@" >out.log 2>err.txt; then
		ok "$what: was not refused" false
	else
		ok "$what: $(cat err.txt)" grep -q -- "$text" err.txt
	fi
	ok "$what: something has changed" [ "$before" = "$(
		find . -type f ! -name '*.log' ! -name err.txt -exec sha256sum {} +)" ]
}

small_chain() {
	qemu-img create -q -f qcow2 base 1M
	qemu-io -c 'write -P 1 0 512K' base >/dev/null
	qemu-img create -q -f qcow2 -b base -F qcow2 mid.q2
	qemu-io -c 'write -P 2 64K 64K' mid.q2 >/dev/null
	qemu-img create -q -f qcow2 -b mid.q2 -F qcow2 top.q2
	qemu-io -c 'write -P 3 256K 64K' top.q2 >/dev/null
}

refuse_siblings() {
	mkdir siblings siblings/deep
	(cd siblings && small_chain)
	cd siblings || return
	cp top.q2 deep/copy.q2
	ok 'siblings: none of them' "$flat" run commit top.q2 dry siblings=.
	qemu-img create -q -f qcow2 -b ../mid.q2 -F qcow2 deep/other.q2
	refused 'siblings: in a folder' 'deep/other.q2. is another overlay' commit top.q2 siblings=.
	refused 'siblings: a file' 'another overlay' commit top.q2 siblings=deep/other.q2
	refused 'siblings: through others' 'another overlay' commit top.q2 base=base siblings=deep
	ok 'siblings: the top only' "$flat" run absorb top.q2 dry siblings=deep
	qemu-img create -q -f qcow2 -b "$PWD/top.q2" -F qcow2 deep/over.q2
	refused 'siblings: of the top' 'over.q2. is another overlay' absorb top.q2 siblings=deep
	rm deep/o*.q2
	qemu-img create -q -u -f qcow2 -b 'json:{"driver":"qcow2","file":{"driver":"file","filename":"mid.q2"}}' -F qcow2 deep/json.q2 1M
	refused 'siblings: JSON' 'in JSON' commit top.q2 siblings=deep
	qemu-img create -q -u -f qcow2 -b "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$PWD/mid.q2\"}}" \
		-F qcow2 deep/json.q2 1M
	refused 'siblings: JSON that can be followed' 'another overlay' commit top.q2 siblings=deep
	qemu-img rebase -u -b "json:{\"driver\":\"raw\",\"file.filename\":\"$PWD/elsewhere\"}" -F raw deep/json.q2
	ok 'siblings: JSON that leads elsewhere' "$flat" run commit top.q2 dry siblings=deep
	refused 'siblings: missing' 'no such file' commit top.q2 siblings=nowhere
	# One that hangs in a loop of its own is none of ours.
	rm deep/json.q2
	qemu-img create -q -u -f qcow2 -b b.q2 -F qcow2 deep/a.q2 1M
	qemu-img create -q -u -f qcow2 -b a.q2 -F qcow2 deep/b.q2 1M
	ok 'siblings: a loop elsewhere' "$flat" run commit top.q2 dry siblings=deep
	cd ..
}

refuse_use() {
	local member job i=0
	mkdir use
	cd use || return
	small_chain
	for member in top.q2 mid.q2 base; do
		for job in 'commit top.q2' 'commit top.q2 base=base' 'absorb top.q2'; do
			# Read by somebody, as the base of another guest is.
			i=$((i + 1))
			mkfifo "hold$i"
			qemu-io -r -f qcow2 $member <"hold$i" >/dev/null 2>&1 &
			exec 7>"hold$i"
			for _ in {1..200}; do
				"$bin/bin/qcow2-fsck" $member | grep -q IN_USE && break
				sleep 0.05
			done
			case $member:$job in
			base:'commit top.q2' | mid.q2:absorb* | base:absorb*)
				# Reading what is only read is no harm.
				# shellcheck disable=SC2086
				ok "use: $member read, $job" "$flat" run $job dry
				;;
			*)
				# shellcheck disable=SC2086
				refused "use: $member, $job" 'use' $job
				;;
			esac
			exec 7>&-
			wait
			rm "hold$i"
		done
	done
	cd ..
}

# The base grows, with what it notes of itself.
bitmaps_that_grow() {
	local options
	for options in cluster_size=64k cluster_size=512,refcount_bits=64; do
		qemu-img create -q -f qcow2 -o $options grows 1M
		qemu-img bitmap --add -g 64k grows on
		qemu-io -c 'write -P 5 64K 64K' grows >/dev/null
		qemu-img bitmap --add -g 64k --disable grows off
		qemu-img bitmap --merge on grows off
		qemu-img create -q -f qcow2 -b grows -F qcow2 longer.q2 100M
		qemu-io -c 'write -P 4 90M 64K' longer.q2 >/dev/null
		refused "bitmap, $options: one is enabled" 'enabled bitmap' commit longer.q2
		qemu-img convert -O raw longer.q2 longer.raw
		ok "bitmaps grow, $options" "$flat" run commit longer.q2 stale
		ok "bitmaps grow, $options: size" [ "$(info grows '."virtual-size"')" = $((100 << 20)) ]
		ok "bitmaps grow, $options: disk" qemu-img compare -f qcow2 -F raw grows longer.raw
		clean "bitmaps grow, $options" grows longer.q2
		ok "bitmaps grow, $options: flags" [ "$(info grows '[."format-specific".data.bitmaps | sort_by(.name)[].flags | join(" ")] | join(",")')" = ',in-use auto' ]
		# It is still true of what it was about, and can be gone on with.
		qemu-nbd -r -t -f qcow2 -k "$PWD/nbd" -B off grows &
		server=$!
		for _ in {1..200}; do [ -S nbd ] && nbdinfo --size "nbd+unix:///?socket=nbd" >/dev/null 2>&1 && break; sleep 0.05; done
		nbdinfo --map=qemu:dirty-bitmap:off 'nbd+unix:///?socket=nbd' >map.log
		kill $server
		wait $server 2>/dev/null
		ok "bitmaps grow, $options: $(cat map.log)" [ "$(awk '$3 { print $1, $2 }' map.log)" = '65536 65536' ]
		qemu-img bitmap --remove grows on
		qemu-img bitmap --enable grows off
		qemu-io -c 'write -P 6 80M 1M' grows >/dev/null
		clean "bitmaps grow, $options: gone on with" grows
		rm -f grows longer.q2 longer.raw nbd
	done
	# 4096 bits for each cluster of them.
	qemu-img create -q -f qcow2 -o cluster_size=512 grows 1M
	qemu-img bitmap --add --disable -g 512 grows off
	qemu-img create -q -f qcow2 -b grows -F qcow2 longer.q2 2M
	ok 'bitmap: as many as there is room for' "$flat" run commit longer.q2 dry
	qemu-img create -q -f qcow2 -b grows -F qcow2 longer.q2 2049K
	refused 'bitmap: too many' "bitmap 'off' would need a larger table" commit longer.q2
	rm -f grows longer.q2
}

# Bytes of data that the file system has for the file.  What stat counts may have a
# block more, for a list of many extents.
stored() { # file
	sync "$1"
	filefrag -b1 -v "$1" | awk -F: '/^ *[0-9]+:/ { n += $4 } END { print n + 0 }'
}

# What fits to the byte is done, what does not is not.
room_to_the_byte() {
	local before grown options
	for options in cluster_size=64k cluster_size=4k compat=0.10; do
		qemu-img create -q -f qcow2 roomy 4M
		qemu-io -c 'write -P 1 0 300K' -c 'write -P 0 512K 512K' -c 'write -P 2 3M 10K' roomy >/dev/null
		qemu-img create -q -f qcow2 -o $options -b roomy -F qcow2 room.q2
		qemu-io -c 'write -P 3 100K 2K' -c 'write -z 3M 64K' room.q2 >/dev/null
		cp room.q2 room.copy
		before=$(stored room.q2)
		"$flat" run absorb room.q2 >room.log
		grown=$(($(stored room.q2) - before))
		ok "room, $options: zeros take none" [ $grown -lt $((512 << 10)) ]
		cp room.copy room.q2
		refused "room, $options: a byte too little" "needs $grown bytes more, and there is room for $((grown - 1))" \
			absorb room.q2 available=$((grown - 1))
		ok "room, $options: enough" "$flat" run absorb room.q2 available=$grown
		clean "room, $options" room.q2
		rm -f room*
	done
}

# Of a hole nothing is read, and nothing becomes of it: else this would take minutes.
holes_below() {
	qemu-img create -q -f qcow2 -o preallocation=metadata hollow 400G
	qemu-io -c 'write -P 5 300G 64K' hollow >/dev/null
	qemu-img create -q -f qcow2 -b hollow -F qcow2 over-hollow.q2
	ok 'holes below' timeout 60 "$flat" run absorb over-hollow.q2 available=1000000
	ok 'holes below: the size' [ "$(stat -c %s over-hollow.q2)" -lt 2000000 ]
	ok 'holes below: the data' qemu-io -r -c 'read -P 5 300G 64K' -c 'read -P 0 299G 1M' over-hollow.q2
	clean 'holes below' over-hollow.q2
	rm -f hollow over-hollow.q2
}

refuse_others() {
	mkdir others
	cd others || return
	small_chain
	refused 'no such layer' 'is not a layer' commit top.q2 base=nowhere
	refused 'no such layer' 'is not a layer' absorb top.q2 base=3
	refused 'no backing file' 'has no backing file' commit base
	refused 'room' 'may need [0-9]* bytes more, and there is room for 70000' absorb top.q2 available=70000
	refused 'room' 'and there is room for 1 ' commit top.q2 available=1
	ok 'room' "$flat" run commit top.q2 dry available=700000
	room_to_the_byte
	holes_below
	refused 'memory' 'limit' commit top.q2 memory=100000
	mkdir far
	cp base far/base
	qemu-img create -q -f qcow2 -b ../mid.q2 -F qcow2 far/top.q2
	refused 'outside' 'allow-path' absorb far/top.q2
	ok 'outside, allowed' "$flat" run absorb far/top.q2 dry allow=.
	qemu-img create -q -f qcow2 -u -b two.q2 -F qcow2 one.q2 1M
	qemu-img create -q -f qcow2 -u -b one.q2 -F qcow2 two.q2 1M
	refused 'loop' 'loop' absorb one.q2
	qemu-img create -q -f qcow2 -u -b gone.q2 -F qcow2 gap.q2 1M
	refused 'missing member' 'gone.q2' absorb gap.q2
	head -c 1M </dev/zero >plain.raw
	printf 'size 1M\nbacking plain.raw\n' | "$q2mk" - noformat.q2
	refused 'no format' 'format' absorb noformat.q2
	cp base broken
	printf '\x0f' | dd of=broken bs=1 seek=$((0x40000 + 6)) conv=notrunc 2>/dev/null
	"$bin/bin/qcow2-fsck" broken >broken.log
	id=$("$bin/bin/qcow2-fsck" --output=json broken | jq -r '[.. | objects | select(.severity? == "corrupt") | .id][0]')
	qemu-img create -q -f qcow2 -u -b broken -F qcow2 over.q2 1M
	refused 'corrupt member' "'broken' is corrupt: $id" absorb over.q2
	refused 'corrupt member' "is corrupt: $id" commit over.q2
	# Snapshots that read what would go, or change.
	qemu-img snapshot -c early top.q2
	refused 'snapshot reads the base' "snapshot 'early' of 'top.q2' reads its backing file" absorb top.q2
	ok 'snapshot, still the same' "$flat" run commit top.q2 dry
	qemu-io -c 'write -P 9 0 64K' top.q2 >/dev/null
	refused 'snapshot reads the base' "snapshot 'early' of 'top.q2' reads its backing file" commit top.q2
	qemu-img create -q -f qcow2 -b mid.q2 -F qcow2 deep.q2
	qemu-io -c 'write -P 9 0 64K' deep.q2 >/dev/null
	qemu-img snapshot -c inner mid.q2
	refused 'snapshot in between' "snapshot 'inner' of 'mid.q2' reads its backing" commit deep.q2 base=base
	ok 'snapshot of the base itself' "$flat" run commit deep.q2 dry
	# Bitmaps of the base that are enabled.
	qemu-img create -q -f qcow2 -b base -F qcow2 second.q2
	qemu-io -c 'write -P 4 0 4K' second.q2 >/dev/null
	qemu-img bitmap --add base on
	refused 'bitmap' 'enabled bitmap' commit second.q2
	ok 'bitmap, allowed' "$flat" run commit second.q2 stale
	ok 'bitmap, marked' [ "$(info base '."format-specific".data.bitmaps[0].flags | join(" ")')" = 'in-use auto' ]
	qemu-img create -q -f qcow2 -b base -F qcow2 larger.q2 2M
	bitmaps_that_grow
	qemu-img bitmap --remove base on
	# Bitmaps of the top stay true, as its guest sees no change.
	qemu-img bitmap --add second.q2 kept
	ok 'bitmap of the top' "$flat" run absorb second.q2
	ok 'bitmap of the top' [ "$(info second.q2 '."format-specific".data.bitmaps[0].flags | join(" ")')" = auto ]
	clean 'bitmap of the top' second.q2
	# QEMU measures the CPU for the key derivation, and at times cannot.
	for _ in {1..60}; do
		qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 locked.q2 1M 2>locked.err && break
	done
	qemu-img create -q -f qcow2 -u -b locked.q2 -F qcow2 overlocked.q2 1M
	refused 'encrypted' 'encrypted' absorb overlocked.q2
	cd ..
}
