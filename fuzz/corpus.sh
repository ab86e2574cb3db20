#!/usr/bin/env bash
# corpus.sh - builds the images of corpus/ from their recipes.
#
# SPDX-License-Identifier: MIT
#
# usage: corpus.sh build Q2MK OUT       OUT/KIND/ID.qcow2 and OUT/MANIFEST.json, and
#                                       OUT/inputs/TARGET/N.in of corpus/inputs.list
#        corpus.sh verify BUILD OUT     our verdicts, and qemu-img's, as expected;
#                                       prints "corpus: N passed, N failed"
# What a fuzzer found and no recipe can say is there as ID.qcow2 with a file
# ID.cause in the form of a recipe's head.
# A recipe starts with "# class C", "# expect VERDICT", "# from TEXT", and perhaps
# "# qemu STATUS": what qemu-img check returns.  "# open TARGET...": fuzz targets
# that it still fails in; they have to fail, so that the line goes when they do not.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)

field() { # recipe name
	sed -n "s/^# $2 //p" "$1" | head -n 1
}

# The lines of inputs.list as "TARGET IMAGE TRAILERS", these for printf: for each word
# behind the image one of fuzz/q2fuzz.h.
trailers() {
	awk '
	function be(v, n) { return (n > 1 ? be(int(v / 256), n - 1) : "") sprintf("\\%o", v % 256) }
	BEGIN { split("data full all rescue free sector ask each", name); for (i in name) flag[name[i]] = 2 ^ (i - 1) }
	/^#/ || !NF { next }
	{
		all = ""
		for (i = 3; i <= NF; i++) {
			split("", v)
			v["flags"] = 0
			n = split($i, word, "+")
			for (k = 1; k <= n; k++) {
				split(word[k], pair, ":")
				v[pair[1]] = pair[2]
				if (pair[1] in flag) v["flags"] += flag[pair[1]]
			}
			if ("sector" in v) v["read"] = v["sector"]
			if ("one-not" in v) v["pick"] += 1024 + v["one-not"]
			all = all "Q2CT\\1" be(v["flags"], 1) be(v["pick"], 2) be(v["alloc"], 4) be(v["read"], 4) \
				be(v["write"], 4) be(v["hole"], 8) be(v["stop"], 4)
		}
		print $1, $2, all
	}' "$root/corpus/inputs.list"
}

# Several images of the corpus as one input: see fuzz/world.h.
pack() { # out image+image...
	local out=$1 parts part n octets=
	IFS=+ read -ra parts <<<"$2"
	for part in "${parts[@]}"; do cat "$out/$part.qcow2" || return 1; done
	for part in "${parts[@]:1}"; do
		n=$(stat -c %s "$out/$part.qcow2")
		octets+=$(printf '\\%03o' $((n >> 24 & 255)) $((n >> 16 & 255)) $((n >> 8 & 255)) $((n & 255)))
	done
	# shellcheck disable=SC2059
	printf "$octets\\$(printf %o $((${#parts[@]} - 1)))Q2PACK\\0"
}

inputs() { # q2mk out
	local q2mk=$1 out=$2 target image trailers n=0 from
	while read -r target image trailers; do
		n=$((n + 1))
		from=$out/$image.qcow2
		case $image in
		*+*)
			mkdir -p "$out/inputs/case"
			from=$out/inputs/case/pack
			pack "$out" "$image" >"$from" || return 1
			;;
		pack/*)
			from=$out/inputs/$image
			mkdir -p "$out/inputs/pack"
			cp "$root/corpus/inputs/$image" "$from" || return 1
			;;
		case/*)
			from=$out/inputs/$image
			if [ ! -e "$from" ]; then
				mkdir -p "$out/inputs/case"
				"$q2mk" "$root/tests/cases/${image#case/}/recipe" "$from" || return 1
			fi
			;;
		esac
		mkdir -p "$out/inputs/$target"
		if [ -z "$trailers" ] && [ "$from" != "$out/inputs/case/pack" ]; then # one file under many names takes its room once
			ln "$from" "$out/inputs/$target/$n.in" 2>/dev/null || cp "$from" "$out/inputs/$target/$n.in" || return 1
			continue
		fi
		cp "$from" "$out/inputs/$target/$n.in" || return 1
		# shellcheck disable=SC2059
		printf "$trailers" >>"$out/inputs/$target/$n.in" || return 1
	done < <(trailers)
	rm -rf "$out/inputs/case"
	cp -r "$root/corpus/inputs" "$out"
}

build() { # q2mk out
	local q2mk=$1 out=$2 recipe kind id image
	q2mk=$(cd "$(dirname "$q2mk")" && pwd)/$(basename "$q2mk")
	rm -rf "$out"
	mkdir -p "$out"
	for recipe in "$root"/corpus/*/*.recipe "$root"/corpus/*/*.cause; do
		[ -e "$recipe" ] || continue
		kind=$(basename "$(dirname "$recipe")")
		id=$(basename "${recipe%.*}")
		image=$kind/$id.qcow2
		mkdir -p "$out/$kind"
		case $recipe in
		*.cause) cp "${recipe%.cause}.qcow2" "$out/$image" ;;
		*) (cd "$out/$kind" && "$q2mk" "$recipe" "$id.qcow2") || return 1 ;;
		esac
		jq -n -c --arg id "$id" --arg kind "$kind" --arg file "$image" \
			--arg class "$(field "$recipe" class)" --arg expect "$(field "$recipe" expect)" \
			--arg open "$(field "$recipe" open)" --arg qemu "$(field "$recipe" qemu)" --arg from "$(field "$recipe" from)" \
			--arg sha "$(head -c 64M "$out/$image" | sha256sum | cut -d' ' -f1)" \
			--argjson bytes "$(stat -c %s "$out/$image")" \
			--argjson canary "$(if grep -q Q2-CANARY "$recipe"; then echo true; else echo false; fi)" \
			'{id: $id, kind: $kind, file: $file, bytes: $bytes, sha256: $sha, class: $class,
			expect: ({check: $expect} + if $qemu == "" then {} else {"qemu-img": ($qemu | tonumber)} end),
			never_open: (if $canary then ["Q2-CANARY-DO-NOT-OPEN"] else [] end),
			limits: {rss_mb: 512, seconds: 20}, provenance: $from, licence: "MIT"}
			+ if $open == "" then {} else {open: ($open | split(" "))} end' || return 1
	done >"$out/lines" || return 1
	jq -s --tab '{schema_version: 1, images: .}' "$out/lines" >"$out/MANIFEST.json" && rm "$out/lines" &&
		inputs "$q2mk" "$out"
}

verify() { # build out
	local fsck=$1/bin/qcow2-fsck out=$2 passed=0 failed=0 tmp id file expect qemu got ok
	fsck=$(cd "$1" && pwd)/bin/qcow2-fsck
	tmp=$(mktemp -d)
	while IFS=$'\t' read -r id file expect qemu; do
		ok=1
		got=$(cd "$out" && "$fsck" --output=json "$file" 2>/dev/null | jq -r '.images[0].verdict')
		[ "$got" = "$expect" ] || { echo "corpus: $id: verdict $got, not $expect" >&2; ok=0; }
		if [ "$qemu" != - ] && command -v qemu-img >/dev/null; then
			qemu-img check -f qcow2 "$out/$file" >/dev/null 2>&1
			got=$?
			[ $got = "$qemu" ] || { echo "corpus: $id: qemu-img check returns $got, not $qemu" >&2; ok=0; }
		fi
		if [ $ok = 1 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	done < <(jq -r '.images[] | [.id, .file, .expect.check, .expect["qemu-img"] // "-"] | @tsv' "$out/MANIFEST.json")
	rm -rf "$tmp"
	echo "corpus: $passed passed, $failed failed"
	[ $failed = 0 ] && [ $passed -gt 0 ]
}

case ${1:-} in
build) build "$2" "$3" ;;
verify) verify "$2" "$3" ;;
*)
	sed -n 's/^# \{0,1\}//; 6,17p' "$0"
	exit 2
	;;
esac
