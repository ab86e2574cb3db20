#!/usr/bin/env bash
# survey.sh - qcow2-map layout, space and snapshots: by construction on the golden
# cases, and against what qemu-img does when it deletes or reverts.
# SPDX-License-Identifier: MIT
#
# usage: survey.sh BUILD_DIR
# shellcheck disable=SC2154  # cur and f are set by make.sh
set -eu
export LC_ALL=C TZ=UTC
umask 022
PATH=$PATH:/usr/sbin:/sbin

build=$(cd "${1:?usage: survey.sh BUILD_DIR}" && pwd)
map=$build/bin/qcow2-map
mk=$build/tests/q2mk
here=$(cd "$(dirname "$0")" && pwd)
for part in make poke images-snapshot images-content; do
	# shellcheck source=/dev/null
	. "$here/../diff/$part.sh"
done

# In memory if possible: qemu-img syncs a lot.
dir=$(mktemp -d -p "${TMPDIR:-/dev/shm}" 2>/dev/null || mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
passed=0
failed=0

verdict() { # name status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $1" >&2
	fi
}

# ------------------------------------------------------------ every byte once
# Rows follow each other without a gap, to the file's end, in whole clusters.
each_byte_once='
	(reduce .layout[] as $r ({at: 0, ok: true};
		.ok = (.ok and $r.host == .at and $r.length > 0) | .at += $r.length)) as $sum
	| $sum.ok and $sum.at == ."file-size"
	and (."cluster-size" as $cs | .layout | map(.host % $cs == 0) | all)
	and (.layout | map(.stored <= .length) | all)'

# The file by construction: what q2mk says lies where.
constructed() { # recipe
	local header rt l1
	read -r header rt l1 <<<"$("$mk" -e @header -e @rt -e @l1 "$1" 2>/dev/null | tr '\n' ' ')"
	jq -e --argjson h "$header" --argjson r "$rt" --argjson l "$l1" '
		def use_at($o): .layout[] | select(.host <= $o and $o < .host + .length) | .use;
		use_at($h) == "header" and use_at($r) == "refcount-table"
			and use_at($l) == "l1-table"' layout.json >/dev/null
}

# golden REMAINDER: every second case.
golden() {
	local case name rc ok n=0
	for case in "$here"/../cases/*/; do
		n=$((n + 1))
		[ $((n % 2)) = "$1" ] || continue
		name=$(basename "$case")
		[ -f "$case/recipe" ] || continue
		rm -rf golden
		mkdir golden
		"$mk" "$case/recipe" golden/image.qcow2 2>/dev/null || continue
		rc=0
		"$map" layout --output=json golden/image.qcow2 >layout.json 2>err || rc=$?
		if [ $((rc & 8)) != 0 ]; then
			# No usable header, or too much of something: it says so.
			[ -s err ] && [ $((rc & ~12)) = 0 ] && ok=0 || ok=1
			verdict "layout of $name: exit status $rc, without a reason" $ok
			continue
		fi
		jq -e "$each_byte_once" layout.json >/dev/null && [ $((rc & ~4)) = 0 ] && ok=0 || ok=1
		verdict "layout of $name: not each byte once (exit status $rc)" $ok
		"$map" space --output=json golden/image.qcow2 >space.json 2>err || :
		jq -e --slurpfile l layout.json '
			([.space[][] | .bytes] | add) == ."file-size" and .total.bytes == ."file-size"
			and ([.space[][] | .stored] | add) == ([$l[0].layout[] | .stored] | add)' \
			space.json >/dev/null && ok=0 || ok=1
		verdict "space of $name: sums to the file" $ok
		case $name in
		000-luks | 000-trailing-space-1t) ;;
		000-* | 050-*)
			constructed "$case/recipe" && ok=0 || ok=1
			verdict "layout of $name: header, tables" $ok
			verdict "layout of $name: exit status $rc" "$rc"
			;;
		esac
	done
}

# The picture of an image in which q2mk tells where everything lies.
picture() {
	local want=() got i rc=0 end
	cat >picture.recipe <<-'END'
		size 64K
		write 0 1K
		snapshot one
		gap 2
		write 512 512
		compress 8K 512
	END
	"$mk" picture.recipe picture.qcow2
	end=$(($(stat -c %s picture.qcow2) / 512))
	for ((i = 0; i < end; i++)); do
		want[i]=.
	done
	while read -r letter place; do
		want[$(($("$mk" -e "$place" picture.recipe) / 512))]=$letter
	done <<-'END'
		H @header
		R @rt
		r @rb[0]
		1 @l1
		2 @l2[0]
		2 @snapl2[0][0]
		s @snapl1[0]
		S @snaptab
		* @data[0]
		o @snapdata[0][512]
		# @data[512]
		c @data[8192]
	END
	got=$("$map" layout --output=blocks picture.qcow2 | awk '$1 == "0" {print $2}')
	[ "$got" = "$(printf %s "${want[@]}")" ] || rc=1
	verdict "picture: $got, not $(printf %s "${want[@]}")" $rc
	# A larger file: each character for several clusters, and all of them.
	img large 64M -o cluster_size=4k
	io 'write -P 1 0 20M'
	got=$("$map" layout --output=blocks "$f" | grep -oE '^ +(0|0x[0-9a-f]+)  .*' | awk '{print $2}' | tr -d '\n' | wc -c)
	[ "$got" -gt 700 ] && [ "$got" -le 1536 ] || rc=1
	verdict "picture: $got characters" $rc
}

# -------------------------------------------------- deleting and reverting
# The cost must be what really becomes free. A last cluster that is there only in
# part counts as whole.
whole_used() {
	"$map" layout --output=json "$1" | jq '."cluster-size" as $cs |
		[.layout[] | select(.use != "free") | (.length + $cs - 1) / $cs | floor * $cs] | add'
}

# deleted I...: deletes those snapshots of a copy, by their names; prints the bytes
# that are in use then.
deleted() {
	local i
	cp --sparse=always "$f" deleted.qcow2
	for i; do
		qemu-img snapshot -d "${names[i]}" deleted.qcow2
	done
	whole_used deleted.qcow2
}

deletions() {
	local i before after frees ids names
	"$map" snapshots --output=json "$f" >costs.json
	mapfile -t names < <(jq -r '.snapshots[].name' costs.json)
	[ "${#names[@]}" -gt 0 ] || return 0
	before=$(whole_used "$f")
	for ((i = 0; i < ${#names[@]} && i < 5; i++)); do
		after=$(deleted "$i")
		frees=$(jq ".snapshots[$i].\"frees-if-deleted\"" costs.json)
		rc=0
		[ $((before - after)) = "$frees" ] || rc=1
		verdict "$cur: deleting ${names[i]} frees $((before - after)), not $frees" "$rc"
	done
	for some in "${!names[*]}" '0 1'; do
		[ "$some" != '0 1' ] || [ "${#names[@]}" -gt 2 ] || continue
		# shellcheck disable=SC2086
		after=$(deleted $some)
		ids=$(jq -r --arg some "$some" '[.snapshots[($some / " " | .[] | tonumber)].id] | join(",")' costs.json)
		frees=$("$map" snapshots --delete="$ids" --output=json "$f" | jq .deleting.frees)
		rc=0
		[ $((before - after)) = "$frees" ] || rc=1
		verdict "$cur: deleting $ids frees $((before - after)), not $frees" "$rc"
	done
}

# The guest's sectors that two maps of qemu-img place differently.
differing='
	def sectors: [.[] | . as $e | range(0; $e.length / 512) |
		if $e | has("offset") then "\($e.data) \($e.zero) \($e.offset + . * 512)"
		else "\($e.data) \($e.zero) \($e.present)" end];
	($a[0] | sectors) as $x | ($b[0] | sectors) as $y |
	[range(0; [($x | length), ($y | length)] | max) |
		select($x[.] != $y[.])] | length * 512'

# Compressed clusters have no offset in their map: images without any.
deltas() {
	local first second theirs ours
	first=$(jq -r '.snapshots[0].id // empty' costs.json)
	second=$(jq -r '.snapshots[-1].id // empty' costs.json)
	[ -n "$first" ] || return 0
	for pair in "$first,active" "$first,$second"; do
		for id in ${pair//,/ }; do
			cp --sparse=always "$f" "side-$id.qcow2"
			# Where refcounts are full there is no going back.
			[ "$id" = active ] || qemu-img snapshot -a "$id" "side-$id.qcow2" 2>/dev/null ||
				continue 2
			qemu-img map --output=json -f qcow2 "side-$id.qcow2" >"side-$id.json"
		done
		theirs=$(jq -n --slurpfile a "side-${pair%,*}.json" --slurpfile b "side-${pair#*,}.json" "$differing")
		ours=$("$map" snapshots --delta="$pair" --output=json "$f" | jq .bytes)
		[ "$theirs" = "$ours" ] && ok=0 || ok=1
		verdict "$cur: delta $pair: $theirs bytes, not $ours" $ok
		rm -f side-*
	done
}

# Each way from guest to host and back.
addresses() {
	local host guest back
	"$map" layout --output=json "$f" >layout.json
	while read -r host guest; do
		back=$("$map" layout --guest="$guest" --output=json "$f" | jq .host)
		[ "$back" = "$host" ] && ok=0 || ok=1
		verdict "$cur: guest $guest is at $back, not $host" $ok
		"$map" layout --host="$host" --output=json "$f" | jq -e --argjson g "$guest" \
			'any(.references[]; .active and .guest == $g)' >/dev/null && ok=0 || ok=1
		verdict "$cur: host $host is not guest $guest" $ok
	done < <(jq -r '.layout[] | select(.use == "data" and .active) | "\(.host) \(.guest)"' layout.json | head -n 3)
}

judge() {
	deletions
	case $cur in
	*compressed* | *many*) ;;
	*) deltas ;;
	esac
	addresses
}

# Streams that share clusters with others than their neighbours on the disk: all of
# the file is referred to but header, refcounts and L1 table, a cluster each.
shuffled_streams() {
	local i want have
	img shuffled 2M -o cluster_size=4k
	for i in $(seq 0 2 510) $(seq 1 2 511); do
		echo "write -c -P 7 $((i * 4))k 4k"
	done | qemu-io -f qcow2 "$f" >/dev/null
	want=$((($(stat -c %s "$f") + 4095) / 4096 * 4096 - 4 * 4096))
	have=$("$map" snapshots --output=json "$f" | jq '."active-disk".referenced')
	[ "$want" = "$have" ] && ok=0 || ok=1
	verdict "$cur: $want bytes are referred to, not $have" $ok
}

snapshots() {
	picture
	shuffled_streams
	images_snapshot
	img compressed-snapshots 4M -o cluster_size=4k
	pack 1 0 64
	snap one two
	io 'write -P 2 16k 32k'
	pack 3 1024 16
	snap three
	judge
	img extended-snapshots 3M -o extended_l2=on,cluster_size=16k
	io 'write -P 1 0 40k' 'write -P 1 1M 512'
	snap one
	io 'write -P 2 1k 512' 'write -z 20k 1k'
	snap two
	judge
}

# part NAME COMMAND...: in a folder of its own, beside the others.
part() {
	(
		trap - EXIT
		mkdir "$dir/$1"
		cd "$dir/$1"
		"${@:2}"
		echo "$passed $failed" >"$dir/$1.counts"
	) 2>"$dir/$1.log" >&2 &
}

part golden-0 golden 0
part golden-1 golden 1
wait
part snapshots snapshots
wait
for name in golden-0 golden-1 snapshots; do
	if [ -f "$dir/$name.counts" ]; then
		read -r p f <"$dir/$name.counts"
		passed=$((passed + p)) failed=$((failed + f))
		[ "$f" = 0 ] || cat "$dir/$name.log" >&2
	else
		tail -n 5 "$dir/$name.log" >&2
		verdict "$name did not end" 1
	fi
done
echo "map-survey: $passed passed, $failed failed"
[ "$failed" = 0 ]
