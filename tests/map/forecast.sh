#!/usr/bin/env bash
# forecast.sh - qcow2-map forecast, by really committing and really exporting.
#
# SPDX-License-Identifier: MIT
#
# usage: forecast.sh BUILD_DIR
set -u
export LC_ALL=C

build=$(cd "${1:?usage: forecast.sh BUILD_DIR}" && pwd)
map=$build/bin/qcow2-map
dump=$build/bin/qcow2-dump
fsck=$build/bin/qcow2-fsck

# In memory if possible: qemu-img syncs a lot.
dir=$(mktemp -d -p "${TMPDIR:-/dev/shm}" 2>/dev/null || mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cd "$dir" || exit 1
passed=0
failed=0

ok() { # what command...
	local what=$1
	shift
	if "$@" >"$dir/log" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "forecast: $what" >&2
		head -n 5 "$dir/log" >&2
	fi
}

same() { # what is should-be
	ok "$1: $2, not $3" [ "$2" = "$3" ]
}

at_most() { # what is limit
	ok "$1: $2, more than $3" [ "$2" -le "$3" ]
}

field() { # file expression
	jq -r "$2" "$1"
}

# --- images -----------------------------------------------------------------------

# Writes of a guest: image, seed, disk size in KiB, how many.
guest() {
	local i off len args=() n=$2
	for ((i = 0; i < $4; i++)); do
		n=$(((n * 1103515245 + 12345) % 2147483648))
		off=$((n / 7 % $3 / 2 * 2))
		len=$((n / 911 % 120 + 1))
		[ $((off + len)) -le "$3" ] || len=$(($3 - off))
		case $((n / 13 % 7)) in
		0) args+=(-c "write -z ${off}K ${len}K") ;;
		1) args+=(-c "discard ${off}K ${len}K") ;;
		*) args+=(-c "write -P $((n / 31 % 250 + 1)) ${off}K ${len}K") ;;
		esac
	done
	qemu-io -d unmap "${args[@]}" "$1" >/dev/null
}

# make_base KIND OPTIONS KIB
make_base() {
	case $1 in
	raw)
		head -c $(($3 * 1024 + 512)) </dev/zero >base
		truncate -s $(($3 * 1024 + 512)) base
		qemu-io -f raw -c "write -P 77 4K $(($3 / 3))K" base >/dev/null
		;;
	sparse)
		truncate -s "$3K" base
		qemu-io -f raw -c "write -P 77 4K 50K" base >/dev/null
		;;
	compressed)
		qemu-img create -q -f qcow2 -o "$2" plain "$3K"
		guest plain 5 "$3" 20
		qemu-img convert -c -O qcow2 -o "$2" plain base
		rm plain
		;;
	backed)
		qemu-img create -q -f qcow2 -o "$2" ground "$3K"
		guest ground 3 "$3" 15
		qemu-img create -q -f qcow2 -o "$2" -b ground -F qcow2 base "$3K"
		guest base 4 "$3" 8
		;;
	*)
		qemu-img create -q -f qcow2 -o "$2" base "$3K"
		;;
	esac
	case $1 in
	plain) guest base 6 "$3" 20 ;;
	snapshots)
		guest base 6 "$3" 14
		qemu-img snapshot -c one base
		guest base 11 "$3" 6
		;;
	holes)
		# Clusters that a snapshot had, and gave back.
		guest base 6 "$3" 20
		qemu-img snapshot -c gone base
		guest base 7 "$3" 20
		qemu-img snapshot -c two base
		guest base 8 "$3" 5
		qemu-img snapshot -d gone base
		qemu-img snapshot -d two base
		;;
	esac
}

# chain KIND BASE-OPTIONS TOP-OPTIONS BASE-KIB TOP-KIB SEED [WRITES]: makes base, mid
# and top in a new folder `made`.
chain() {
	local format=qcow2
	rm -rf made
	mkdir made
	(
		cd made || exit 1
		make_base "$1" "$2" "$4"
		case $1 in raw | sparse) format=raw ;; esac
		qemu-img create -q -f qcow2 -o "$3" -b base -F $format mid "$4K"
		guest mid $(($6 + 1)) "$4" 4
		qemu-img create -q -f qcow2 -o "$3" -b mid -F qcow2 top "$5K"
		guest top "$6" "$5" "${7:-16}"
	)
}

# Bytes of whole clusters that have a use.
used() {
	"$map" layout --output=json "$1" | jq '."cluster-size" as $cs |
		[.layout[] | select(.use != "free") | (.length + $cs - 1) / $cs | floor * $cs] | add'
}

# --- commit -----------------------------------------------------------------------
equal=0 less=0 more=0

# committed NAME [FORECAST-OPTIONS]: what was foretold, against what happens to copies.
committed() {
	local name=$1 args=("${@:2}") to=base raw before after file
	case " ${args[*]} " in *' --base=1 '* | '  ') to=mid ;; esac
	rm -rf ours theirs
	cp -r --sparse=always made ours
	cp -r --sparse=always made theirs
	"$map" forecast commit --output=json "${args[@]}" ours/top >cost.json 2>err
	same "$name: exit status: $(cat err)" $? 0
	for file in made/*; do
		ok "$name: $file is as before" cmp -s "$file" "ours/${file#made/}"
	done
	raw=$(field cost.json '."base-format"')
	before=$(stat -c %b ours/$to)
	ok "$name: qcow2-dump --commit" "$dump" -q --commit "${args[@]}" ours/top
	same "$name: its base" "$(field cost.json .base)" ours/$to
	same "$name: exact" "$(field cost.json .exact)" true
	same "$name: length of the base before" \
		"$(field cost.json '."file-length".before')" "$(stat -c %s made/$to)"
	same "$name: length of the base" \
		"$(field cost.json '."file-length".after')" "$(stat -c %s ours/$to)"
	same "$name: length of the top image" \
		"$(field cost.json '."top-length".after')" "$(stat -c %s ours/top)"
	after=$(stat -c %b ours/$to)
	at_most "$name: space" $(((after - before) * 512)) "$(field cost.json .needed)"
	# Of a raw base it bounds the space, not the length.
	at_most "$name: bound" "$(field cost.json 'if ."base-format" == "raw" then .needed else ."grows-by" end')" \
		"$(field cost.json .bound)"
	# qemu-img's word on where the image ends, and how large the disk is.
	qemu-img info --output=json -f "$raw" ours/$to >info.json
	same "$name: disk" "$(field cost.json '."virtual-size".after')" \
		"$(field info.json '."virtual-size"')"
	[ "$raw" = raw ] || {
		qemu-img check --output=json ours/$to >check.json
		same "$name: end" "$(field cost.json '."end-offset".after')" \
			"$(field check.json '."image-end-offset"')"
		same "$name: what is in use" \
			$(($(used made/$to) + $(field cost.json '[."in-free-clusters", ."behind-the-end" | add] | add') - $(field cost.json .freed))) \
			"$(used ours/$to)"
		# What lies behind the old end is what it grew by.
		before=$(field cost.json '."cluster-size" as $c | (."file-length".before + $c - 1) / $c | floor * $c')
		same "$name: sum of what is new behind the end" \
			$((before + $(field cost.json '."behind-the-end" | add'))) \
			"$(field cost.json '."cluster-size" as $c | [(."file-length".after + $c - 1) / $c | floor * $c, '"$before"'] | max')"
	}
	beside "$name" $to
}

# The same by qemu-img: never beyond the bound.
beside() { # name layer
	local after ours
	(cd theirs && qemu-img commit -q -f qcow2 -b $2 top) >log 2>&1 || {
		ok "$1: qemu-img commit: $(cat log)" false
		return
	}
	after=$(stat -c %s "theirs/$2")
	ours=$(stat -c %s "ours/$2")
	if [ "$(field cost.json '."base-format"')" = raw ]; then
		same "$1: qemu-img commit" "$after" "$ours"
		return
	fi
	at_most "$1: qemu-img commit" $((after - $(stat -c %s "made/$2"))) "$(field cost.json .bound)"
	if [ "$after" = "$ours" ]; then
		equal=$((equal + 1))
	elif [ "$after" -lt "$ours" ]; then
		less=$((less + 1))
	else
		more=$((more + 1))
	fi
}

# each NAME chain-arguments...
each() {
	chain "${@:2}"
	committed "$1, to the next" --base=1
	committed "$1, to the base" --base=2
}

# --- the layers of a chain ----------------------------------------------------------

# What the maps of qemu-img say of each sector, and of which file.
sectors='
	def sectors($up): [.[] | . as $e | range(0; $e.length / 512) |
		if $e.data then "\($e.depth + $up) \(if $e.offset then $e.offset + . * 512 else "c" end)"
		elif $e.offset and $e.zero and $e.present then "z \($e.depth + $up) \($e.offset + . * 512)"
		else "-" end];
	def owned: [.[] | . as $e | range(0; $e.length / 512) | $e.data and $e.depth == 0];'

# layered NAME: with the chain in `made`.
layered() {
	local name=$1 i j file files=(top mid base) before after claimed
	for i in 0 1 2; do
		file=made/${files[i]}
		qemu-img map --output=json -f "$(qemu-img info --output=json made/mid |
			jq -r "if $i == 2 then .\"backing-filename-format\" else \"qcow2\" end")" "$file" >map$i.json
	done
	"$map" snapshots --chain --output=json made/top >layers.json
	jq -n --slurpfile a map0.json --slurpfile b map1.json --slurpfile c map2.json "$sectors"'
		[$a[0], $b[0], $c[0]] as $m | [$m[] | owned] as $o |
		($o | map(length) | max) as $n | [range(0; 3) as $i |
			{mapped: ($o[$i] | map(select(.)) | length * 512),
			visible: ([$m[0][] | select(.data and .depth == $i) | .length] | add // 0),
			exclusive: ([range(0; $n) as $s | select($o[$i][$s] and
				([$o[] | select(.[$s])] | length) == 1)] | length * 512)}]' >theirs.json
	ok "$name: layers: $(jq -c '[.layers[] | {mapped, visible, exclusive}]' layers.json), not $(jq -c . theirs.json)" \
		jq -e --slurpfile t theirs.json '[.layers[] | {mapped, visible, exclusive}] == $t[0]' layers.json
	ok "$name: shadowed" jq -e 'all(.layers[]; .shadowed == .mapped - .visible)' layers.json
	for i in '0 1' '0 2' '1 2'; do
		j=${i#* } i=${i% *}
		same "$name: delta of $i and $j" \
			"$("$map" snapshots --chain --output=json --delta "$i,made/${files[j]}" made/top | jq .bytes)" \
			"$(jq -n --slurpfile a map$i.json --slurpfile b map$j.json "$sectors"'
				($a[0] | sectors('"$i"')) as $x | ($b[0] | sectors('"$j"')) as $y |
				[range(0; [$x, $y | length] | max) | select($x[.] != $y[.])] | length * 512')"
	done
	# Merging, and then doing without the file.
	for i in 0 1; do
		rm -rf ours
		cp -r --sparse=always made ours
		before=$(($(stat -c %b ours/top) + $(stat -c %b ours/mid) + $(stat -c %b ours/base)))
		claimed=$("$map" snapshots --chain --output=json ours/top |
			jq ".layers[$i] | .\"frees-if-merged\" // -.\"takes-if-merged\"")
		ok "$name: merging ${files[i]}" "$dump" -q --commit --base=1 "ours/${files[i]}"
		rm "ours/${files[i]}"
		[ "$i" = 1 ] || ok "$name: the rest is sound" "$fsck" ours/mid
		after=$(stat -c %b ours/top ours/mid ours/base 2>/dev/null | awk '{n += $1} END {print n}')
		at_most "$name: merging ${files[i]} frees" "$claimed" $(((before - after) * 512))
	done
}

layers() {
	chain plain cluster_size=4k cluster_size=64k 2048 3000 41
	layered 'layers'
	chain compressed cluster_size=64k cluster_size=4k 3000 2048 42
	layered 'layers, shorter above compressed'
	chain raw - cluster_size=64k 2048 2048 43
	layered 'layers above raw'
	chain plain extended_l2=on,cluster_size=16k extended_l2=on,cluster_size=16k 2048 2500 44
	layered 'layers with subclusters'
	chain holes cluster_size=512 cluster_size=512 1000 1200 45 30
	layered 'layers of small clusters'
}

# --- one new image ------------------------------------------------------------------

# Bytes that do not compress.
noise() { # LENGTH FILE
	printf 'rawfile noise.raw %s seed:7\n' "$1" | "$build/tests/q2mk" - noise.q2
	mv noise.raw "$2"
	rm noise.q2
}

# A chain with data that compress well, badly, not at all; with zeros that were
# written, and streams.
mixed() { # CLUSTER-SIZE
	rm -rf made
	mkdir made
	(
		cd made || exit 1
		head -c 2M "$dump" >code
		noise 1M noise
		qemu-img create -q -f qcow2 -o "cluster_size=$1" plain 12M
		qemu-io -c 'write -q -s code 0 2M' -c 'write -q -s noise 3M 1M' \
			-c 'write -q -P 0 5M 700K' -c 'write -q -P 7 8M 1M' plain
		qemu-img convert -c -O qcow2 -o "cluster_size=$1" plain ground
		qemu-img create -q -f qcow2 -o "cluster_size=$1" -b ground -F qcow2 base 14M
		qemu-io -c 'write -q -s noise 9M 800K' -c 'write -q -P 0 1M 100K' \
			-c 'write -q -z 3M 64K' base
		qemu-img create -q -f qcow2 -b base -F qcow2 top 15M
		qemu-io -c 'write -q -s code 12M 1500K' -c 'write -q -P 0 2500K 300K' top
		rm plain
	)
}

# flattened NAME VERB "MAP-OPTIONS" "DUMP-OPTIONS"
flattened() {
	local name=$1 real bound
	# shellcheck disable=SC2086
	"$map" forecast "$2" --output=json $3 made/top >bound.json
	# shellcheck disable=SC2086
	"$map" forecast "$2" --read --output=json $3 made/top >exact.json
	# shellcheck disable=SC2086
	"$map" forecast "$2" --sample=30 --output=json $3 made/top >sample.json
	rm -f real
	# shellcheck disable=SC2086
	ok "$name: qcow2-dump" "$dump" -q $4 made/top real
	real=$(stat -c %s real)
	bound=$(field bound.json .bound)
	case "$3" in
	*raw*)
		same "$name: length" "$(field exact.json '."file-length"')" "$real"
		real=$(($(stat -c %b real) * 512))
		;;
	esac
	same "$name: exact" "$(field exact.json .exact)" "$real"
	at_most "$name: bound" "$real" "$bound"
	same "$name: bound, when read" "$(field exact.json .bound)" "$bound"
	at_most "$name: estimate" "$(field sample.json '.estimate // 0')" "$bound"
	ok "$name: an estimate is called so" jq -e 'has("exact") | not' sample.json
	ok "$name: a bound is called so" jq -e '(has("exact") or has("estimate")) | not' bound.json
	ok "$name: only a part is looked at" jq -e '."looked-at" < ."data-by-tables"' sample.json
}

# by_qemu NAME "MAP-OPTIONS" "QEMU-OPTIONS"
by_qemu() {
	local theirs
	rm -f theirs
	# shellcheck disable=SC2086
	"$map" forecast flatten --output=json $2 made/top >bound.json
	# shellcheck disable=SC2086
	qemu-img convert -O qcow2 $3 made/top theirs
	theirs=$(stat -c %s theirs)
	at_most "$1: qemu-img convert" "$theirs" "$(field bound.json '."qemu-img-required"')"
	at_most "$1: qemu-img convert, our bound" "$theirs" "$(field bound.json .bound)"
	# shellcheck disable=SC2086
	same "$1: qemu-img measure" "$(field bound.json '[."qemu-img-required", ."fully-allocated"] | @csv')" \
		"$(qemu-img measure -O qcow2 $3 --output=json made/top | jq -r '[.required, ."fully-allocated"] | @csv')"
}

flattens() {
	local cs o
	for cs in 512 4k 64k; do
		mixed $cs
		flattened "flatten $cs to raw" flatten '-O raw' '-O raw'
		for o in 512 4k 64k 2M; do
			flattened "flatten $cs to $o" flatten "-o cluster_size=$o" "-O qcow2 --cluster-size=$o"
			by_qemu "flatten $cs to $o" "-o cluster_size=$o" "-o cluster_size=$o"
		done
		flattened "compress $cs" compress '' '-O qcow2 -c zlib'
		flattened "compress $cs, the same" compress "-o cluster_size=$cs" "-O qcow2 -c zlib --cluster-size=${cs/k/K}"
		flattened "compress $cs, zstd" compress '-c zstd:5' '-O qcow2 -c zstd:5'
	done
	mixed 4k
	for o in 1 2 8 64; do
		flattened "refcounts of $o" flatten "-o cluster_size=512,refcount_bits=$o" \
			"-O qcow2 --cluster-size=512 --refcount-bits=$o"
		flattened "compress, refcounts of $o" compress "-o cluster_size=4k,refcount_bits=$o" \
			"-O qcow2 --cluster-size=4K --refcount-bits=$o -c zlib"
		by_qemu "refcounts of $o" "-o cluster_size=512,refcount_bits=$o" "-o cluster_size=512,refcount_bits=$o"
	done
	flattened 'subclusters' flatten '-o extended_l2=on,cluster_size=32k' \
		'-O qcow2 --extended-l2 --cluster-size=32K'
	flattened 'version 2' flatten '-o compat=0.10' '-O qcow2 --compat=0.10'
}

# Of what reads as zeros everywhere, and what is noise everywhere, a part tells all.
estimated() {
	rm -rf made
	mkdir made
	qemu-img create -q -f qcow2 made/top 64M
	qemu-io -c 'write -q -P 0 0 40M' made/top
	"$map" forecast flatten --sample=10 --output=json made/top >sample.json
	"$dump" -q -O qcow2 made/top real
	# There might have been an L2 table.
	at_most 'estimate: zeros that were written' "$(field sample.json .estimate)" $(($(stat -c %s real) + 65536))
	noise 40M noise
	qemu-io -c 'write -q -s noise 0 40M' made/top
	"$map" forecast compress --sample=10 --output=json made/top >sample.json
	rm -f real
	"$dump" -q -O qcow2 -c zlib made/top real
	same 'estimate: noise' "$(field sample.json .estimate)" "$(stat -c %s real)"
	rm -f noise real
}

# commits KIND...
commits() {
	local kind cs
	for kind; do
		for cs in 512 4k 64k; do
			chain "$kind" cluster_size=$cs cluster_size=$cs 2048 3000 21
			committed "$kind $cs" --base=2
		done
		case $kind in backed | snapshots | empty) continue ;; esac
		chain "$kind" cluster_size=4k cluster_size=64k 2048 2048 22
		committed "$kind, larger in smaller" --base=2
		chain "$kind" cluster_size=64k cluster_size=4k 2048 5000 23
		committed "$kind, smaller in larger" --base=2
		chain "$kind" compat=0.10,cluster_size=4k cluster_size=4k 2048 2048 24
		committed "$kind, old" --base=2
	done
}

others() {
	local kind bits
	for bits in 1 2 8 64; do
		chain plain refcount_bits=$bits,cluster_size=512 cluster_size=4k 4096 4096 25 30
		committed "refcounts of $bits" --base=2
	done
	for kind in plain snapshots holes compressed backed; do
		chain $kind extended_l2=on,cluster_size=16k extended_l2=on,cluster_size=16k 3000 5000 26
		committed "$kind, subclusters" --base=2
	done
	chain plain cluster_size=16k extended_l2=on,cluster_size=64k 3000 3000 27
	committed 'subclusters in plain' --base=1
	for kind in metadata falloc full; do
		chain plain preallocation=$kind,cluster_size=4k cluster_size=4k 2048 3000 28
		committed "preallocated: $kind" --base=2
	done
	chain plain cluster_size=2M cluster_size=64k 9000 9000 29
	committed 'clusters of 2 MiB'
	chain raw - cluster_size=4k 2048 4000 30
	committed raw --base=2
	committed 'above raw'
	chain sparse - cluster_size=64k 2048 2048 31
	committed 'sparse raw' --base=2
	committed 'sparse raw, keeping' --base=2 --keep-top
}

# A base of which nobody wrote down what it is.
unstated() {
	local at
	chain sparse - cluster_size=64k 2048 2048 32
	at=$(grep -obUaP '\xe2\x79\x2a\xca' made/mid | head -n 1 | cut -d: -f1)
	printf '\0\0\1\1' | dd of=made/mid bs=1 seek="$at" conv=notrunc status=none
	same 'no format: refused' "$("$map" forecast commit --base=2 made/top 2>&1 >/dev/null |
		grep -c 'no format is stated')" 1
	committed 'no format, told' --base=2 --backing-format=raw
	same 'no format, told: raw' "$(field cost.json '."base-format"')" raw
}

# Of an encrypted image the tables tell the bound; the rest takes its key.
encrypted() {
	local object=secret,id=key,data=sesame
	local top="driver=qcow2,file.filename=made/top,encrypt.key-secret=key"
	rm -rf made
	mkdir made
	printf sesame >key
	printf other >wrong
	# QEMU measures the CPU for the key derivation, and at times cannot.
	for _ in {1..60}; do
		qemu-img create -q --object $object -f qcow2 \
			-o encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10,cluster_size=4k \
			made/top 8M 2>log && break
	done
	noise 1M noise
	qemu-io --object $object --image-opts -c 'write -q -s noise 0 1M' -c 'write -q -P 0 2M 1M' \
		-c 'write -q -P 5 4M 300K' "$top" >/dev/null
	same 'encrypted: the bound takes no key' \
		"$("$map" forecast flatten --output=json made/top | jq 'has("bound") and (has("exact") | not)')" true
	"$map" forecast flatten --read made/top >out 2>err
	same 'encrypted, read without its key' "$? $(grep -c -- '--secret' err) $(wc -c <out)" '8 1 0'
	"$map" forecast flatten --read --secret=wrong made/top >out 2>err
	same 'encrypted, read with another key' "$? $(wc -c <out)" '8 0'
	flattened 'encrypted' flatten '--secret=key -o cluster_size=4k' \
		'-O qcow2 --cluster-size=4K --secret=key --plaintext'
	flattened 'encrypted, by its layer' compress '--secret=0=key' '-O qcow2 -c zlib --secret=key --plaintext'
	rm -f noise real
}

# part NAME COMMAND...: in a folder of its own, beside the others.
part() {
	(
		trap - EXIT
		mkdir "$dir/$1"
		cd "$dir/$1" || exit 1
		dir=$PWD
		"${@:2}"
		echo "$passed $failed $equal $less $more" >"$dir/../$1.counts"
	) 2>"$dir/$1.log" >&2 &
}

part one commits plain snapshots compressed
part two commits holes backed empty
wait
part others others
part flatten flattens
wait
part estimate estimated
part layers layers
wait
part unstated unstated
part encrypted encrypted
wait
for name in one two others flatten estimate layers unstated encrypted; do
	if [ -f "$name.counts" ]; then
		read -r p f e l m <"$name.counts"
		passed=$((passed + p)) failed=$((failed + f))
		equal=$((equal + e)) less=$((less + l)) more=$((more + m))
		[ "$f" = 0 ] || cat "$name.log" >&2
	else
		tail -n 5 "$name.log" >&2
		ok "$name did not end" false
	fi
done
echo "forecast: after qemu-img commit the base is as long in $equal cases, shorter in $less, longer in $more"
echo "map-forecast: $passed passed, $failed failed"
[ "$failed" = 0 ]
