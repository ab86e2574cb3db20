#!/bin/bash
# map.sh - how qcow2-map conducts itself: options, bad input, damaged images,
# output that cannot be written, signals; and whether its documentation is
# complete.
# SPDX-License-Identifier: MIT
#
# usage: map.sh MAP_BINARY
set -u
map=$(readlink -f "${1:?usage: map.sh MAP_BINARY}")
tool=$map
sources=$(readlink -f "$(dirname "$0")/../../map")
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"

# In these images of qemu-img: the header at cluster 0, the refcount table at
# 1, its block at 2, the L1 table at 3, the L2 table at 4.
make_images() {
	qemu-img create -q -f qcow2 clean.qcow2 8M
	qemu-io -c 'write -P 1 0 64k' -c 'write -P 2 64k 64k' -c 'write -z 1M 64k' \
		-c 'write -c -P 3 2M 64k' clean.qcow2 >/dev/null
	qemu-img snapshot -c first clean.qcow2
	cp clean.qcow2 corrupt.qcow2
	l2=$(($(od -An -tx8 --endian=big -j $((0x30000)) -N 8 clean.qcow2 | sed 's/ */0x/') & 0xffffffffffff))
	poke corrupt.qcow2 $((l2 + 6)) '\2\0'
	qemu-img create -q -f qcow2 -b clean.qcow2 -F qcow2 over.qcow2 9M
	mkdir sub
	qemu-img create -q -f qcow2 -b ../clean.qcow2 -F qcow2 -u sub/out.qcow2 8M
	qemu-img create -q -f qcow2 -b corrupt.qcow2 -F qcow2 -u damaged-over.qcow2 8M
	qemu-img create -q -f qcow2 -b clean.qcow2 -F qcow2 -u gone.qcow2 8M
	qemu-img rebase -q -u -f qcow2 -F qcow2 -b nowhere.qcow2 gone.qcow2
	cp over.qcow2 loop.qcow2
	qemu-img rebase -q -u -f qcow2 -F qcow2 -b loop.qcow2 loop.qcow2
	qemu-img create -q -f qcow2 -b nbd://localhost/x -F raw -u remote.qcow2 8M
	: >empty
	printf 'Q' >one-byte
	printf 'QFI\373' >magic-only
	head -c 65536 "$map" >foreign
	truncate -s 1T sparse
	mkdir directory
	mkfifo fifo
	sha256sum ./*.qcow2 sub/*.qcow2 empty one-byte magic-only foreign >hashes
}

# Sizes and numbers as qemu-img understands them.
test_numbers() {
	local size bad
	for size in 1.5K 1.5k 1.K 1.0005K 1.0001K 1.00045K 0.1M 0.3G 0.7T 0.3P 1.000000001T \
		2.99999999999G 0.00000000000001K 1G 1536 0x600; do
		exits 0 measure -O raw --output=qemu --size=$size
		check "$size: as qemu-img takes it" cmp out <(qemu-img measure -O raw --output=json --size $size)
	done
	for bad in 1.5 .5K 1e3 0x1.8K -1 1.5X 1..5K 1,5K 1.5.5K 16E 20000000000000000000 ''; do
		exits 16 measure -O raw --size="$bad"
		check "'$bad': what it takes" err_has '--size takes a size'
	done
	exits 0 -s 0.5M -l 0.5M --output=qemu clean.qcow2
	check '-s with a fraction' cmp out <(qemu-img map -s 0.5M -l 0.5M --output=json clean.qcow2)
	exits 0 measure -O qcow2 -o size=1.5G --output=qemu clean.qcow2
	check '-o size=' cmp out <(qemu-img measure -O qcow2 -o size=1.5G --output=json clean.qcow2)
	exits 16 measure -O qcow2 -o size=x clean.qcow2
	exits 16 forecast flatten -o size=1G over.qcow2
	for bad in 0.5 x 1K 0x10 ''; do
		exits 16 lint --max-ratio="$bad" clean.qcow2
		check "--max-ratio=$bad: what it takes" err_has '--max-ratio takes a whole number'
		exits 16 forecast flatten --sample="$bad" over.qcow2
		check "--sample=$bad: what it takes" err_has '--sample takes a whole number'
	done
}

# Verbs that take one image.
image_verbs=(extents layout space snapshots measure lint)

test_usage() {
	local verb bad option
	exits 0 --help
	check 'help: on stdout' out_has 'Usage: qcow2-map'
	exits 0 --version
	check 'version: one line' grep -qE '^qcow2-map .*[0-9]+\.[0-9]+$' out
	exits 16
	check 'no operand: nothing on stdout' test ! -s out
	exits 0 --list-verbs
	cp out verbs
	check 'verbs: extents is one' grep -qx extents verbs
	while read -r verb; do
		"$map" --help >out
		check "$verb: in --help" grep -qE "^  $verb +[a-z]" out
		exits 0 "$verb" --help
		check "$verb: its own help" out_has "Usage: qcow2-map $verb "
		for bad in --nonsense -Z --output= --output=xml --max-memory=1KB -C77 --quiet=1; do
			exits 16 "$verb" "$bad"
			check "$verb $bad: nothing on stdout" test ! -s out
			check "$verb $bad: named on stderr" grep -q '^qcow2-map' err
		done
	done <verbs
	for verb in "${image_verbs[@]}"; do
		exits 16 "$verb"
		exits 16 "$verb" clean.qcow2 over.qcow2
	done
	exits 16 graph
	exits 16 audit
	# What would be ignored is refused.
	for bad in '' --output=json --output=prom --output=html --nagios; do
		exits 16 audit -o '' $bad clean.qcow2
		[ -n "$bad" ] || continue
		for option in -ofile -b --tree --no-headings; do
			exits 16 audit $option $bad clean.qcow2
		done
	done
	exits 16 layout --snapshot=first clean.qcow2
	exits 16 layout --snapshot=first --host=0 clean.qcow2
	for option in --order=rows --order=hilbert; do
		for bad in text json ndjson blocks; do
			exits 16 layout $option --output=$bad clean.qcow2
			exits 16 extents $option --output=$bad clean.qcow2
		done
		exits 16 layout $option --host=0 clean.qcow2
		exits 16 layout $option --guest=0 clean.qcow2
	done
	for option in --snapshot=first --chain --raw --allow-probe --allow-any-path --allow-path=.; do
		exits 16 measure --size=1G $option
	done
	for option in --allow-path=. --allow-any-path --allow-probe --backing-format=raw; do
		for verb in extents measure snapshots; do
			exits 16 $verb $option clean.qcow2
			check "$verb $option: what it is for" err_has --chain
		done
	done
	exits 16 lint --max-ratio=0 clean.qcow2
	exits 16 lint --max-size=0 clean.qcow2
	exits 16 graph --dependants=clean.qcow2 --output=json clean.qcow2
	exits 16 audit --nagios --output=json clean.qcow2
	exits 16 --snapshot
	cp clean.qcow2 extents
	exits 0 ./extents
	exits 0 extents extents
	exits 0 -q -- clean.qcow2
	rm extents
	exits 16 measure --size=1G clean.qcow2
	exits 0 measure --size=1G
	for bad in refcount_bits=x compat=9 nonsense=1 compat; do
		exits 16 measure -O qcow2 -o "$bad" clean.qcow2
	done
	# As qemu-img does, which has these for any file.
	for bad in cluster_size=4k compat=1.1 refcount_bits=16 preallocation=off,cluster_size=64k; do
		exits 16 measure -O raw -o "$bad" clean.qcow2
	done
	exits 0 measure -O raw -o preallocation=full,nocow=on clean.qcow2
	for bad in cluster_size=3 cluster_size=3k refcount_bits=3 extended_l2=on,cluster_size=4k \
		compat=0.10,refcount_bits=1; do
		exits 8 measure -O qcow2 -o "$bad" clean.qcow2
	done
}

test_bad_input() {
	local name verb
	for verb in "${image_verbs[@]}"; do
		for name in empty one-byte magic-only foreign sparse missing directory fifo \
			directory/missing /dev/null ''; do
			exits 8 "$verb" "$name"
			check "$verb '$name': on stderr" grep -q "^qcow2-map $verb: $name" err
			check "$verb '$name': nothing on stdout" test ! -s out
		done
		cp clean.qcow2 locked
		chmod 000 locked
		unreadable "$map" "$verb" locked >out 2>err
		check "$verb, no permission: exit 8" test $? -eq 8
		check "$verb, no permission: the reason" err_has 'Permission denied'
		rm -f locked
	done
	exits 0 --raw foreign
	exits 8 --raw missing
	exits 8 --snapshot=nothing clean.qcow2
	check 'no such snapshot: named' err_has nothing
	exits 8 --raw --snapshot=first clean.qcow2
	exits 8 --max-memory=1K clean.qcow2
}

test_policy() {
	exits 0 over.qcow2
	check 'not followed: says so' out_has '--chain'
	exits 0 --chain over.qcow2
	check 'followed: its file' out_has clean.qcow2
	exits 0 gone.qcow2
	exits 8 --chain gone.qcow2
	check 'missing base: named' err_has nowhere.qcow2
	exits 8 --chain sub/out.qcow2
	check 'outside: the option' err_has "--allow-path=$PWD"
	exits 0 --chain --allow-path="$PWD" sub/out.qcow2
	exits 0 --chain --allow-path=/nowhere --allow-path=. sub/out.qcow2
	exits 0 --chain --allow-any-path sub/out.qcow2
	exits 8 --chain loop.qcow2
	check 'loop: called one' err_has loop
	exits 0 loop.qcow2
	exits 8 --chain --allow-any-path remote.qcow2
	check 'URL: not followed' err_has 'it is on a server'
	exits 0 remote.qcow2
	cp over.qcow2 probe.qcow2
	qemu-img rebase -q -u -f qcow2 -b clean.qcow2 -F '' probe.qcow2 2>/dev/null ||
		qemu-img create -q -f qcow2 -b clean.qcow2 -F qcow2 -u probe.qcow2 8M
	# Its extension that states the format gets a type that nobody knows.
	at=$(grep -obUaP '\xe2\x79\x2a\xca' probe.qcow2 | head -n 1 | cut -d: -f1)
	[[ -z $at ]] || poke probe.qcow2 "$at" '\0\0\1\1'
	exits 8 --chain probe.qcow2
	check 'no format: the option' err_has '--allow-probe'
	exits 0 --chain --allow-probe probe.qcow2
	exits 0 --chain --backing-format=qcow2 probe.qcow2
	exits 0 --chain --backing-format=raw --output=json probe.qcow2
	check 'no format: as it is told' json '.layers[1].format == "raw"'
	exits 0 --chain --backing-format=raw --output=json over.qcow2
	check 'a format that is stated: that one' json '.layers[1].format == "qcow2"'
}

test_damage() {
	exits 4 corrupt.qcow2
	check 'damage: shown' grep -q 'unreadable .*L2_UNALIGNED' out
	check 'damage: goes on' out_has compressed
	exits 4 --output=json corrupt.qcow2
	check 'damage: in JSON' json '.extents[0] |
		.state == "unreadable" and .problem == "L2_UNALIGNED" and .length == 65536'
	check 'damage: its sum' json '.summary.unreadable.bytes == 65536'
	exits 4 --output=qemu corrupt.qcow2
	check 'damage: as qemu' json '.[0] |
		(.present or .zero or .data | not) and (has("offset") | not)'
	check 'damage: on stderr, for want of another place' err_has 'damaged; qcow2-fsck tells more: L2_UNALIGNED'
	for form in ndjson blocks svg html; do
		exits 4 --output=$form corrupt.qcow2
		check "damage: in $form" out_has L2_UNALIGNED
	done
	# Damage that leaves the map as it is, and a map of another part of the disk.
	cp clean.qcow2 harmless.qcow2
	poke harmless.qcow2 105 '\1'
	poke harmless.qcow2 $((0x30000)) '\100'
	poke harmless.qcow2 $((l2 + 8)) '\1'
	exits 4 harmless.qcow2
	check 'harmless damage: its row' grep -q ' data .*L2_RESERVED$' out
	check 'harmless damage: all of it' out_has \
		'It is damaged; qcow2-fsck tells more:  HEADER_PADDING, L1_RESERVED, L2_RESERVED'
	exits 4 --output=json harmless.qcow2
	check 'harmless damage: JSON' json '.problems == ["HEADER_PADDING", "L1_RESERVED", "L2_RESERVED"]'
	exits 4 --output=qemu harmless.qcow2
	check 'harmless damage: the map is what qemu-img says' cmp out <(qemu-img map --output=json harmless.qcow2)
	exits 4 --output=json -s 1M harmless.qcow2
	check 'harmless damage: what was looked at' json '.problems == ["HEADER_PADDING", "L1_RESERVED"]'
	rm harmless.qcow2
	exits 12 measure -O qcow2 corrupt.qcow2
	check 'measure: says why' err_has qcow2-fsck
	exits 0 measure -O raw corrupt.qcow2
}

test_json() {
	local name quote='a"b\c' newline=$'a\nb' bytes=$'a\xff\xc0b' esc=$'a\033b'
	for name in "$quote" "$newline" "$bytes" "$esc"; do
		cp clean.qcow2 "./$name"
	done
	exits 0 --output=json "$quote"
	check 'JSON: quote' json '.filename == "a\"b\\c" and .schema == 1'
	exits 0 --output=json "$newline"
	check 'JSON: newline' json '.layers[0].filename == "a\nb"'
	exits 0 --output=json "$bytes"
	check 'JSON: not UTF-8' json '.filename == "a\ufffd\ufffdb"'
	exits 0 "$esc"
	check 'text: no control characters' test -z "$(grep -P '\x1b' out)"
	check 'text: C escapes' out_has 'a\x1bb'
	rm -f -- "$quote" "$newline" "$bytes" "$esc"
	exits 0 --output=json clean.qcow2
	check 'JSON: sums to the disk' json '[.extents[].length] | add == 8388608'
	check 'JSON: summary agrees' json '[.summary[].bytes] | add == 8388608'
	exits 0 --output=ndjson clean.qcow2
	check 'ndjson: a line each' test "$(wc -l <out)" -eq "$(jq -s length out)"
	check 'ndjson: sums at the end' ndjson '.[-1].summary.data.bytes == 131072'
	exits 0 measure --output=json -O qcow2 clean.qcow2
	check 'measure: JSON' json '.schema == 1 and .required > 0 and ."fully-allocated" > .required'
}

test_survey() {
	local verb
	for verb in layout space snapshots; do
		exits 4 "$verb" corrupt.qcow2
		check "$verb, damage: named" out_has L2_UNALIGNED
		exits 4 "$verb" --output=json corrupt.qcow2
		check "$verb, damage: in JSON" json '.problems.L2_UNALIGNED == 1 and .schema == 1'
		exits 0 "$verb" --output=json clean.qcow2
		check "$verb: JSON" json '.filename == "clean.qcow2" and .verdict == "clean"'
		exits 8 "$verb" --max-memory=20K clean.qcow2
	done
	exits 16 layout --host=0 --guest=0 clean.qcow2
	for verb in blocks svg html; do
		exits 16 layout --host=0 --output=$verb clean.qcow2
		exits 16 layout --guest=0 --output=$verb clean.qcow2
	done
	exits 16 snapshots --delta=first,active --output=html clean.qcow2
	exits 0 layout --output=blocks clean.qcow2
	check 'layout: a picture' grep -q '^ *0  HRr1' out
	exits 4 layout --output=blocks corrupt.qcow2
	exits 0 layout --host=0 clean.qcow2
	check 'layout --host: the header' out_has header
	exits 8 layout --host=1T clean.qcow2
	exits 0 layout --guest=0x10000 --output=json clean.qcow2
	check 'layout --guest: its references' json '.use == "data" and
		(.references | length) == 2 and (.references | map(.guest == 65536) | all)'
	exits 0 layout --guest=0x10000 --snapshot=first clean.qcow2
	exits 8 layout --guest=1M clean.qcow2
	check 'layout --guest: nowhere' err_has zero
	exits 8 layout --guest=1G clean.qcow2
	qemu-img create -q -f qcow2 -o data_file=outside.raw outside.qcow2 1M
	qemu-io -c 'write -P 1 64k 64k' outside.qcow2 >/dev/null
	exits 8 layout --guest=70000 outside.qcow2
	check 'layout --guest: in the data file' err_has 'in the data file, at byte 70000'
	rm outside.qcow2 outside.raw
	exits 4 layout --guest=0 corrupt.qcow2
	exits 0 layout --output=ndjson clean.qcow2
	check 'layout: a line each' test "$(wc -l <out)" -eq "$(jq -s length out)"
	exits 16 snapshots --delete=first --delta=first,active clean.qcow2
	exits 8 snapshots --delete=nothing clean.qcow2
	check 'snapshots --delete: named' err_has nothing
	exits 8 snapshots --delta=first clean.qcow2
	exits 8 snapshots --delta=first,nothing clean.qcow2
	exits 0 snapshots --delta=first,active --output=json clean.qcow2
	check 'snapshots --delta: the same' json '.bytes == 0 and .differing == []'
	exits 0 snapshots --delete=1 --delete=first --output=json clean.qcow2
	check 'snapshots --delete: once' json '.deleting.ids == ["1"]'
}

# What a browser makes of them is told by tests/pictures.
test_pictures() {
	local verb form
	for verb in layout extents; do
		for form in blocks svg html; do
			exits 4 $verb --output=$form corrupt.qcow2
			exits 8 $verb --output=$form missing
			check "$verb --output=$form, missing: no output" test ! -s out
			exits 0 $verb --output=$form clean.qcow2
			cp out first
			exits 0 $verb --output=$form clean.qcow2
			check "$verb --output=$form: the same again" cmp -s first out
			"$map" $verb --output=$form clean.qcow2 >/dev/full 2>err
			check "full: $verb --output=$form" test $? -eq 8
		done
		exits 16 $verb --order=diagonal --output=svg clean.qcow2
		exits 0 $verb --order=hilbert --output=svg clean.qcow2
	done
	for verb in space snapshots audit; do
		exits 0 $verb --output=html clean.qcow2
		check "$verb: a page" test "$(head -n 1 out)" = '<!DOCTYPE html>'
		check "$verb: has a policy" out_has "default-src 'none'"
		check "$verb: its end" test "$(tail -n 1 out)" = '</html>'
		check "$verb: no addresses of others" test -z "$(grep -oE 'https?://' out)"
		"$map" $verb --output=html clean.qcow2 >/dev/full 2>err
		check "full: $verb --output=html" test $? -eq 8
	done
	for verb in space snapshots; do
		exits 4 $verb --output=html corrupt.qcow2
		check "$verb, damage: on its page" out_has L2_UNALIGNED
	done
	exits 0 audit --output=html --to=page.html clean.qcow2
	check 'audit --to: a page' grep -q '^</html>' page.html
	rm page.html first
}

test_forecast() {
	local what bad
	for what in commit flatten compress; do
		exits 0 forecast $what over.qcow2
		exits 0 forecast $what --output=json over.qcow2
		check "forecast $what: JSON" json ".schema == 1 and .forecast == \"$what\" and .filename == \"over.qcow2\""
		exits 16 forecast $what
		exits 16 forecast $what over.qcow2 clean.qcow2
		for bad in empty one-byte magic-only foreign sparse missing directory fifo /dev/null ''; do
			exits 8 forecast $what "$bad"
			check "forecast $what '$bad': on stderr" grep -q "^qcow2-map forecast: $bad" err
			check "forecast $what '$bad': nothing on stdout" test ! -s out
		done
		exits 8 forecast $what gone.qcow2
		check "forecast $what, no base: named" err_has nowhere.qcow2
		exits 8 forecast $what loop.qcow2
		exits 8 forecast $what sub/out.qcow2
		check "forecast $what, outside: the option" err_has "--allow-path=$PWD"
		exits 0 forecast $what --allow-path="$PWD" sub/out.qcow2
		exits 0 forecast $what --allow-any-path sub/out.qcow2
		exits 8 forecast $what --allow-any-path remote.qcow2
		exits 8 forecast $what probe.qcow2
		exits 0 forecast $what --allow-probe probe.qcow2
		exits 0 forecast $what --backing-format=qcow2 probe.qcow2
		exits 8 forecast $what --max-memory=1K over.qcow2
		exits 12 forecast $what damaged-over.qcow2
		check "forecast $what, damage: nothing on stdout" test ! -s out
		"$map" forecast $what over.qcow2 >/dev/full 2>err
		check "full: forecast $what" test $? -eq 8
	done
	exits 16 forecast
	exits 16 forecast nonsense over.qcow2
	exits 16 forecast flatten --base=1 over.qcow2
	exits 16 forecast flatten --keep-top over.qcow2
	exits 16 forecast commit --read over.qcow2
	exits 16 forecast commit --secret=empty over.qcow2
	exits 8 forecast flatten --read --secret=missing over.qcow2
	check 'forecast, no such secret: named' err_has 'missing: No such file'
	exits 16 forecast commit --sample=5 over.qcow2
	exits 16 forecast commit -O raw over.qcow2
	exits 16 forecast commit -o cluster_size=4k over.qcow2
	exits 16 forecast compress -O raw over.qcow2
	exits 16 forecast flatten -c zlib over.qcow2
	exits 16 forecast flatten -O raw -o cluster_size=4k over.qcow2
	exits 16 forecast flatten --read --sample=5 over.qcow2
	for bad in 0 100 -1 x; do
		exits 16 forecast flatten --sample="$bad" over.qcow2
	done
	for bad in lzma zlib:0 zlib:x zlib: :9; do
		exits 16 forecast compress -c "$bad" over.qcow2
	done
	exits 8 forecast compress -c zlib:50 over.qcow2
	exits 8 forecast flatten -o cluster_size=3 over.qcow2
	exits 8 forecast flatten -o refcount_bits=3 over.qcow2
	exits 8 forecast commit clean.qcow2
	check 'forecast commit, no base: says so' err_has 'no backing file'
	exits 8 forecast commit --base=7 over.qcow2
	exits 0 forecast commit --base=clean.qcow2 over.qcow2
	check 'forecast commit: the base is named' out_has clean.qcow2

	cp clean.qcow2 bitmaps.qcow2
	qemu-img bitmap --add bitmaps.qcow2 b0
	qemu-img create -q -f qcow2 -b bitmaps.qcow2 -F qcow2 over-bitmaps.qcow2
	qemu-io -c 'write -q -P 9 0 1M' over-bitmaps.qcow2
	exits 0 forecast commit over-bitmaps.qcow2
	check 'forecast commit: an objection' out_has 'would refuse: the image has 1 enabled bitmap'
	exits 0 forecast commit --output=json over-bitmaps.qcow2
	check 'forecast commit: an objection in JSON' json '.objection and .exact and ."grows-by" > 0'
	rm bitmaps.qcow2 over-bitmaps.qcow2
}

test_layers() {
	exits 0 snapshots --chain over.qcow2
	check 'layers: each file' out_has clean.qcow2
	exits 0 snapshots --chain --output=json over.qcow2
	check 'layers: JSON' json '.schema == 1 and (.layers | length) == 2 and
		.layers[0].mapped == 0 and .layers[1].visible == 196608 and (.layers[1] | has("frees-if-merged") | not)'
	exits 0 snapshots --chain clean.qcow2
	exits 4 snapshots --chain damaged-over.qcow2
	check 'layers, damage: no merging' grep -q ' 0 .* -  damaged-over' out
	exits 8 snapshots --chain gone.qcow2
	exits 8 snapshots --chain loop.qcow2
	exits 8 snapshots --chain sub/out.qcow2
	check 'layers, outside: the option' err_has "--allow-path=$PWD"
	exits 0 snapshots --chain --allow-path="$PWD" sub/out.qcow2
	exits 8 snapshots --chain empty
	exits 16 snapshots --chain --delete=first clean.qcow2
	exits 0 snapshots --chain --delta=0,clean.qcow2 over.qcow2
	exits 0 snapshots --chain --delta=over.qcow2,./clean.qcow2 --output=json over.qcow2
	# The larger disk has a mebibyte more, and that is all.
	check 'layers: delta' json '.differing == [{"start": 8388608, "length": 1048576}]'
	for bad in 0 0,7 0,first ','; do
		exits 8 snapshots --chain --delta="$bad" over.qcow2
	done
	"$map" snapshots --chain over.qcow2 >/dev/full 2>err
	check 'full: layers' test $? -eq 8
}

# With a reader that has gone, a full device, and no stdout at all.
test_output() {
	local verb
	for verb in "${image_verbs[@]}" graph audit; do
		"$map" "$verb" clean.qcow2 >/dev/full 2>err
		check "full: $verb" test $? -eq 8
		check "full: $verb, the reason" err_has 'No space left'
		"$map" "$verb" clean.qcow2 >&- 2>err
		check "closed: $verb" test $? -eq 8
		mkfifo pipe
		exec 7<>pipe
		exec 8>pipe
		exec 7>&-
		"$map" "$verb" clean.qcow2 >&8 2>err
		check "broken pipe: $verb" test $? -eq 8
		exec 8>&-
		rm pipe
		"$map" "$verb" clean.qcow2 <&- >out 2>&-
		check "closed stdin and stderr: $verb" test $? -eq 0
	done
}

test_signals() {
	local signal
	for signal in INT TERM HUP; do
		hold_and_signal $signal clean.qcow2
		check "SIG$signal: exit 32 (was $status)" test $status -eq 32
	done
	hold_and_signal USR1 clean.qcow2
	check "SIGUSR1: goes on (was $status)" test $status -eq 0
	check 'SIGUSR1: what it says' grep -qE \
		'^qcow2-map.*: clean.qcow2: .*[0-9]+ of [0-9]+' err
	check '-C: lines of three words' test -s progress -a -z \
		"$(grep -vE '^[^ ]+ [0-9]+ [0-9]+$' progress)"
}

# A reader of the output who takes his time, and a signal meanwhile.
test_slow_reader() {
	local pid verb i
	qemu-img create -q -f qcow2 -o cluster_size=512,preallocation=metadata many.qcow2 128M
	mkfifo slow
	for verb in extents layout; do
		exec 8<>slow
		env --default-signal=TERM "$map" "$verb" --output=ndjson many.qcow2 >&8 8>&- 2>err &
		pid=$!
		# Until it sleeps at the full pipe, which it would never leave.
		for ((i = 0; i < 1000; i++)); do
			sleep 0.02
			! dd if=/dev/zero of=slow bs=4096 count=1 oflag=nonblock status=none 2>/dev/null &&
				grep -q '^State:.S' "/proc/$pid/status" && break
		done
		check "slow reader: $verb waits" test $i -lt 1000
		kill -TERM $pid
		tr -d '\0' <slow >out 8>&- &
		exec 8>&-
		status=0
		wait $pid || status=$?
		wait
		check "slow reader: $verb: exit 32 (was $status)" test $status -eq 32
		check "slow reader: $verb: not all is written" test "$(wc -l <out)" -lt \
			"$("$map" "$verb" --output=ndjson many.qcow2 | wc -l)"
	done
	rm slow many.qcow2
}

# What the manual page and completion say of each verb's options.
test_documents() {
	local page=$sources/qcow2-map.1 verb
	grep '^\.It Fl' "$page" | grep -oP 'Fl Fl \K[a-z-]+' | sed 's/^/--/' | sort -u >paged
	while read -r verb; do
		check "$verb: has a section" grep -qx ".Ss $verb" "$page"
		"$map" "$verb" --long-options | sed 's/=.*//' | sort >options
		check "$verb: has options" test -s options
		check "$verb: all in the manual page" test -z "$(comm -23 options paged)"
		"$map" "$verb" --help | grep -oP '^ +(-[A-Za-z], )?\K--[a-z-]+' | sort >help
		check "$verb: options in --help" diff options help
		completed "$verb" -- | sed 's/=$//' | sort >offered
		check "$verb: completion" diff options offered
	done <verbs
	while read -r verb; do
		"$map" "$verb" --long-options | sed 's/=.*//'
	done <verbs | sort -u >options
	check 'manual page: no other options' test -z "$(comm -13 options paged)"
	grep -oP '^\.Ss \K.*' "$page" | sort >sections
	check 'manual page: no other verbs' diff <(sort verbs) sections
	completed ext >offered
	check 'completion: verbs' grep -qx extents offered
	for verb in commit flatten compress; do
		completed forecast "${verb:0:3}" >offered
		check "completion: forecast $verb" grep -qx "$verb" offered
	done
	completed forecast commit fla >offered
	check 'completion: one word of forecast' test -z "$(<offered)"
	completed layout com >offered
	check 'completion: no words of layout' test -z "$(<offered)"
	completed clean >offered
	check 'completion: files' grep -qx clean.qcow2 offered
	completed --output = n >offered
	check 'completion: values' grep -qx ndjson offered
	check 'manual page: mandoc' test -z "$(mandoc -Tlint -W warning "$page" 2>&1)"
}

make_images
test_usage
test_numbers
test_bad_input
test_policy
test_damage
test_survey
test_pictures
test_forecast
test_layers
test_json
test_output
test_signals
test_slow_reader
test_documents
check 'no input was written to' sha256sum --quiet -c hashes

sum_up map-conduct
