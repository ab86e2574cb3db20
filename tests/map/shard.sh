#!/usr/bin/env bash
# shard.sh - qcow2-map audit by several workers: all parts joined are one audit;
# and what is refused when results are joined.
# SPDX-License-Identifier: MIT
#
# usage: shard.sh MAP
set -u
export LC_ALL=C TZ=UTC

map=$(readlink -f "${1:?usage: shard.sh MAP}")
dir=$(mktemp -d) || exit 1
trap '[ $BASHPID != $$ ] || rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0
failed=0

check() { # name command...
	local name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $name" >&2
		sed 's/^/    /' err 2>/dev/null | head -n 3 >&2
	fi
}

over() { # NAME BASE FORMAT
	qemu-img create -q -f qcow2 -u -b "$2" -F "$3" "$1" 8M
}

# ---------------------------------------------------------------- a shared pool
# Bases that many have, a chain, one that no scan would take for an image, loops,
# broken chains, hard links, and names that JSON cannot hold.
pool() {
	local i
	mkdir pool pool/a pool/b pool/deep
	qemu-img create -q -f qcow2 pool/base.qcow2 8M
	qemu-io -c 'write -P 1 0 3M' pool/base.qcow2 >/dev/null
	truncate -s 5M pool/base.blob
	truncate -s 1M pool/plain.raw
	for ((i = 0; i < 25; i++)); do
		over "pool/a/$i.qcow2" ../base.qcow2 qcow2
		over "pool/b/$i.qcow2" ../a/../base.blob raw
	done
	over pool/deep/0.qcow2 ../base.qcow2 qcow2
	for ((i = 1; i < 12; i++)); do
		over "pool/deep/$i.qcow2" $((i - 1)).qcow2 qcow2
	done
	over pool/loop-a.qcow2 loop-b.qcow2 qcow2
	over pool/loop-b.qcow2 loop-a.qcow2 qcow2
	over pool/on-loop.qcow2 loop-b.qcow2 qcow2
	over pool/gone.qcow2 nowhere.qcow2 qcow2
	over pool/wrong.qcow2 base.blob qcow2
	over pool/out.qcow2 ../outside.qcow2 qcow2
	over pool/url.qcow2 nbd://localhost/x raw
	qemu-img create -q -f qcow2 outside.qcow2 8M
	qemu-img create -q -f qcow2 -o data_file=pool/data.bin pool/data.qcow2 4M
	qemu-img create -q -f qcow2 -u -b base.qcow2 -F qcow2 pool/larger.qcow2 16M
	touch -d 2001-01-01 pool/larger.qcow2
	ln pool/a/1.qcow2 pool/b/same.qcow2
	cp pool/a/2.qcow2 pool/$'x\xff\n"\\.qcow2'
	cp pool/a/2.qcow2 pool/$'x\xfe\n"\\.qcow2'
	printf 'QFI\373\0\0\0\3' >pool/stub.qcow2
}

# What is free changes while others use the file system.
still() {
	sed -E 's/"(free|headroom)": [0-9]+/"\1": 0/g
		s/(volume_free_bytes.*\}) [0-9]+/\1 0/
		s/; free .*//'
}

# work PATH... N: N workers, one after the other; leaves part.I and $parts.
work() {
	local n=${*: -1} i
	parts=()
	for ((i = 1; i <= n; i++)); do
		"$map" audit --shard="$i/$n" --output=ndjson "${@:1:$#-1}" >"part.$i" 2>"err.$i"
		worst=$((worst | $?))
		parts+=("part.$i")
	done
}

joined() {
	local n form status want
	"$map" audit --output=ndjson pool >whole.ndjson 2>/dev/null
	for n in 1 2 3 8 40; do
		worst=0
		work pool "$n"
		for form in --output=json --output=prom '' --tree '-b --no-headings' \
			'-o file,format,capacity,length,allocation,commitment,growth,ratio,snapshots,overlays,base,flags'; do
			# shellcheck disable=SC2086
			"$map" audit $form pool 2>one.err >one
			want=$?
			# shellcheck disable=SC2086
			"$map" audit --merge $form "${parts[@]}" 2>err >all
			status=$?
			check "$n parts $form: as one" cmp <(still <one) <(still <all)
			check "$n parts $form: status $status, not $want" test "$status" = "$want"
			check "$n parts $form: the same complaints" cmp one.err err
		done
		check "$n parts: all statuses together are that of the whole" test "$worst" = "$want"
		mapfile -t backwards < <(printf '%s\n' "${parts[@]}" | tac)
		"$map" audit --merge --output=json "${backwards[@]}" 2>/dev/null >all
		check "$n parts: in any order" cmp <("$map" audit --output=json pool 2>/dev/null | still) <(still <all)
		# Each file that is looked for is in exactly one part.
		check "$n parts: each file in one" cmp \
			<(jq -r 'select(.kind == "file" and (."only-named" | not)).filename | @json' "${parts[@]}" | sort) \
			<(jq -r 'select(.kind == "file" and (."only-named" | not)).filename | @json' whole.ndjson | sort)
		check "$n parts: the same again" cmp <(still <part.1) \
			<("$map" audit --shard="1/$n" --output=ndjson pool 2>/dev/null | still)
	done
	check '40 parts: none has it all' test "$(jq -s 'map(select(.kind == "file")) | length' part.1)" -lt \
		"$(($(jq -s 'map(select(.kind == "file")) | length' whole.ndjson) / 2))"
	"$map" audit --merge --output=json whole.ndjson 2>/dev/null >all
	check 'a whole one is merged to itself' cmp <("$map" audit --output=json pool 2>/dev/null | still) <(still <all)
	check 'shared bases count once' test \
		"$(jq '[.volumes[].allocation] | add' all)" = \
		"$(find pool -type f -printf '%i %b\n' | sort -u | awk '{s += $2 * 512} END {print s}')"
}

# Limits see the whole.
limits() {
	local o
	worst=0
	work pool 3
	for o in --warn=0.0000000001 --crit=1000000T '--warn=1000 --crit=1K'; do
		# shellcheck disable=SC2086
		"$map" audit $o pool >/dev/null 2>&1
		want=$?
		# shellcheck disable=SC2086
		"$map" audit --merge $o "${parts[@]}" >/dev/null 2>&1
		check "limits $o" test $? = "$want"
	done
	"$map" audit --merge --nagios --warn=0.0000000001 --crit=100000 "${parts[@]}" >out 2>err
	check 'nagios' test $? = 1
	check 'nagios: its line' grep -q '^QCOW2 WARNING: ' out
	"$map" audit --merge --output=prom --to=all.prom "${parts[@]}" 2>/dev/null
	check 'prom: promtool finds nothing wrong' promtool check metrics <all.prom
	check 'prom: no sample twice' test -z "$(grep -v '^#' all.prom | sed 's/ [0-9]*$//' | sort | uniq -d)"
}

# ------------------------------------------------------------- several hosts
# As they would come from another host: other names, boots and device numbers.
elsewhere() { # NAME FILE
	jq -c --arg h "$1" '
		if .kind == "audit" then .host = $h | .boot = $h + "-boot"
		else (if has("device") then .device += 7000 else . end)
			| (if has("base-device") then ."base-device" += 7000 else . end)
			| (if has("data-device") then ."data-device" += 7000 else . end) end' "$2"
}

hosts() {
	local one two
	elsewhere beta whole.ndjson >beta.ndjson
	"$map" audit --merge --output=json whole.ndjson beta.ndjson >all 2>/dev/null
	one=$("$map" audit --output=json pool 2>/dev/null | jq '[.volumes[].commitment] | add')
	check 'hosts: disks of their own are added' test "$(jq '[.volumes[].commitment] | add' all)" = $((2 * one))
	check 'hosts: two file systems' jq -e '.volumes | length == 2 and (map(.host) | unique | length) == 2' all >/dev/null
	"$map" audit --merge --output=prom whole.ndjson beta.ndjson >all.prom 2>/dev/null
	check 'hosts: promtool finds nothing wrong' promtool check metrics <all.prom
	check 'hosts: no sample twice' test -z "$(grep -v '^#' all.prom | sed 's/ [0-9]*$//' | sort | uniq -d)"
	check 'hosts: their names are labels' grep -q 'qcow2_length_bytes{path="pool/base.qcow2",format="qcow2",host="beta"}' all.prom

	# The same network file system on both: all is there once.
	worst=0
	work pool 2
	for i in 1 2; do
		jq -c 'if .kind == "volume" then .shared = "nfs nas:/pool" else . end' "part.$i" >"nfs.$i"
	done
	elsewhere beta nfs.2 >nfs.beta
	"$map" audit --merge --output=json nfs.1 nfs.beta >all 2>/dev/null
	two=$(jq '[.volumes[].commitment] | add' all)
	check "hosts: a shared pool counts once ($two, $one)" test "$two" = "$one"
	check 'hosts: one file system' jq -e '.volumes | length == 1' all >/dev/null
	# One host has the base, the other one the overlays, which say: outside.
	"$map" audit --output=ndjson pool/base.qcow2 >base.ndjson 2>/dev/null
	mkdir alone
	cp pool/a/3.qcow2 alone/top.qcow2
	qemu-img rebase -q -u -f qcow2 -F qcow2 -b ../pool/base.qcow2 alone/top.qcow2
	"$map" audit --output=ndjson alone >alone.ndjson 2>/dev/null
	check 'apart: outside' jq -es 'any(.[]; .flags? | index("outside"))' alone.ndjson >/dev/null
	"$map" audit --merge --output=json base.ndjson alone.ndjson >all 2>/dev/null
	check 'together: its base' jq -e '.files[] | select(.filename == "alone/top.qcow2") |
		.base == "pool/base.qcow2" and (.flags | index("outside") | not)' all >/dev/null
	check 'together: the base does not grow' jq -e '.files[] | select(.filename == "pool/base.qcow2") |
		.commitment == .allocation and .overlays == 1' all >/dev/null
}

# ---------------------------------------------------------------------- hostile
# refused NAME TEXT FILE...: status 8, the reason on one line, nothing on stdout.
refused() {
	local name=$1 text=$2
	shift 2
	timeout 20 "$map" audit --merge --output=json "$@" >out 2>err
	check "$name: status $?" test $? = 8
	check "$name: nothing on stdout" test ! -s out
	check "$name: '$text'" grep -qF -- "$text" err
	check "$name: one line" test "$(wc -l <err)" = 1
}

# edited NAME TEXT JQ: whole.ndjson, its lines changed.
edited() {
	jq -c "$3" whole.ndjson >edited.ndjson
	refused "$1" "$2" edited.ndjson
}

hostile() {
	local n
	"$map" audit --output=ndjson pool/base.qcow2 pool/a >whole.ndjson
	n=$(wc -c <whole.ndjson)
	refused 'no such file' 'No such file' missing
	refused 'a folder' 'Is a directory' pool
	: >edited.ndjson
	refused 'empty' 'it is empty' edited.ndjson
	head -c $((n / 2)) whole.ndjson >edited.ndjson
	refused 'cut in a line' 'ends too early' edited.ndjson
	sed '$d' whole.ndjson >edited.ndjson
	refused 'cut behind a line' 'ends too early' edited.ndjson
	head -c $((n - 1)) whole.ndjson >edited.ndjson
	refused 'no newline at the end' 'ends too early' edited.ndjson
	sed 5d whole.ndjson >edited.ndjson
	refused 'a line is missing' 'lines of files are missing' edited.ndjson
	sed 1d whole.ndjson >edited.ndjson
	refused 'no head' 'does not begin' edited.ndjson
	sed 2d whole.ndjson >edited.ndjson
	refused 'no file system' 'not told of' edited.ndjson
	sed -n '1p;2p;2p;3,$p' whole.ndjson >edited.ndjson
	refused 'a file system twice' 'twice' edited.ndjson
	sed -n '1,5p;5,$p' whole.ndjson >edited.ndjson
	refused 'a file twice' ':6: a file is there twice' edited.ndjson
	cat whole.ndjson whole.ndjson >edited.ndjson
	refused 'two in a row' 'begins here' edited.ndjson
	{ cat whole.ndjson && echo '{"kind":"end","files":0}'; } >edited.ndjson
	refused 'two ends' 'behind the end' edited.ndjson
	edited 'another schema' 'another schema than 1' 'if .kind == "audit" then .schema = 2 else . end'
	edited 'no schema' 'a member is missing' 'if .kind == "audit" then del(.schema) else . end'
	edited 'another kind' 'no line of an audit' 'if .kind == "file" then .kind = "row" else . end'
	edited 'text for a number' 'whole number' 'if .kind == "file" then .length |= tostring else . end'
	edited 'a negative number' 'whole number' 'if .kind == "file" then .capacity = -1 else . end'
	edited 'a fraction' 'whole number' 'if .kind == "file" then .capacity = 1.5 else . end'
	edited 'a number for text' 'a text is missing' 'if .kind == "file" then .filename = 7 else . end'
	edited 'null' 'a text is missing' 'if .kind == "file" then .filename = null else . end'
	edited 'flags are no list' 'a list is missing' 'if .kind == "file" then .flags = "loop" else . end'
	edited 'an unknown flag' 'flag that is unknown' 'if .kind == "file" then .flags = ["x"] else . end'
	edited 'an unknown format' 'format that is unknown' 'if .kind == "file" then .format = "vmdk" else . end'
	edited 'no name' 'without a name' 'if .kind == "file" then .filename = "" else . end'
	edited 'no length' 'a member is missing' 'if .kind == "file" then del(.length) else . end'
	edited 'takes more than it may' 'cannot come to take' 'if .kind == "file" then .allocation = 99999999999 else . end'
	edited 'no part 0' 'no such part' 'if .kind == "audit" then .part = 0 else . end'
	edited 'part 3 of 2' 'no such part' 'if .kind == "audit" then .part = 3 | .parts = 2 else . end'
	edited 'parts without end' 'part 2 of 4000000000' 'if .kind == "audit" then .parts = 4000000000 else . end'
	edited 'bytes that are no name' 'make no sense' 'if .kind == "file" then ."filename-bytes" = "6z" else . end'
	edited 'bytes with a NUL' 'make no sense' 'if .kind == "file" then ."filename-bytes" = "6100" else . end'
	sed 's/"capacity": [0-9]*/"capacity": 18446744073709551616/' whole.ndjson >edited.ndjson
	refused 'more than 64 bits' 'too large' edited.ndjson
	sed 's/"length": [0-9]*/"length": 9300000000000000000/' whole.ndjson >edited.ndjson
	refused 'a length that no file has' 'out of range' edited.ndjson
	sed '3s/"inode"/"length": 1, "inode"/' whole.ndjson >edited.ndjson
	refused 'a member twice' ':3: a member is there twice' edited.ndjson
	sed '3s/base/b\xff/' whole.ndjson >edited.ndjson
	refused 'not UTF-8' 'not UTF-8' edited.ndjson
	{ head -n 2 whole.ndjson && head -c 300000 /dev/zero | tr '\0' x; } >edited.ndjson
	refused 'a line without end' ':3: the line is too long' edited.ndjson
	head -c 65536 "$map" >edited.ndjson
	refused 'a program' 'no JSON object' edited.ndjson
	printf 'a\033[31mb' >$'a\033b'
	refused 'control characters in its name' 'a\x1bb' $'a\033b'

	# Numbers as large as they go: sums do not wrap.
	jq -c 'if .kind == "file" then .capacity = 0 | ."commitment-alone" = 0 else . end' whole.ndjson |
		sed 's/"capacity":0,/"capacity":18446744073709551615,/
			s/"commitment-alone":0,/"commitment-alone":18446744073709551615,/' >edited.ndjson
	"$map" audit --merge --output=json edited.ndjson >out 2>err
	check 'the largest numbers: taken' test $? = 0
	check 'the largest numbers: sums stay there' grep -q '"commitment": 18446744073709551615,' out
	"$map" audit --merge --crit=1.0 edited.ndjson >out 2>err
	check 'the largest numbers: over the limit' test $? = 2

	worst=0
	work pool 3
	refused 'a part is missing' 'part 2 of 3' part.1 part.3
	refused 'the first one is missing' 'part 1 of 3' part.2 part.3
	refused 'the last one is missing' 'part 3 of 3' part.1 part.2
	refused 'a part is there twice' 'part' part.1 part.1 part.2 part.3
	"$map" audit --shard=3/3 --output=ndjson pool/a >part.other
	refused 'a part of another scan' 'part' part.1 part.2 part.other
	# All of them twice is as good as once.
	"$map" audit --merge --output=json part.1 part.2 part.3 part.1 part.2 part.3 >all 2>/dev/null
	check 'all parts twice' cmp <(still <all) <("$map" audit --output=json pool 2>/dev/null | still)
}

usage() {
	local bad
	for bad in 0/2 3/2 2 /2 1/ 1/0 a/b 1/2x -1/2 1/99999999 ''; do
		"$map" audit --shard="$bad" --output=ndjson pool >out 2>err
		check "--shard=$bad" test $? = 16 -a ! -s out
	done
	for bad in '--shard=1/2' '--shard=1/2 --output=json' '--merge --output=ndjson' \
		'--shard=1/2 --merge --output=ndjson' '--shard=1/2 --output=ndjson --warn=2'; do
		# shellcheck disable=SC2086
		"$map" audit $bad pool >out 2>err
		check "$bad: status $?" test $? = 16 -a ! -s out
	done
}

pool
joined
limits
hosts
hostile
usage
echo "map-shard: $passed passed, $failed failed"
[ "$failed" = 0 ]
