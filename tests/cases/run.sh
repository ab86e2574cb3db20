#!/usr/bin/env bash
# run.sh - runs the golden cases: builds each recipe, checks it, compares.
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh BUILD_DIR [CASE...]     prints "cases: N passed, N failed"
set -u

build=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")" || exit 1
fsck=${WRAP:-}\ $build/bin/qcow2-fsck
mk=$build/tests/q2mk
keep=$build/tests/q2keep
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0
failed=0
# shellcheck source=tests/support/share.sh
. ../support/share.sh

complain() {
	echo "case $1: $2" >&2
	ok=0
}

# What jq needs to test one line "ID COUNT field=value...".
one_line() { # case id count fields...
	local name=$1 id=$2 count=$3 field key value got filter
	shift 3
	got=$(jq --arg id "$id" '[.images[0].findings[] | select(.id == $id)] | length' "$tmp/out.json")
	[ "$got" = "$count" ] || complain "$name" "$id: $got findings, not $count"
	[ $# -gt 0 ] || return
	filter='.id == $id'
	for field in "$@"; do
		key=${field%%=*}
		value=${field#*=}
		filter="$filter and (.[\"$key\"] | tostring | gsub(\" \"; \"_\")) == \"$value\""
	done
	jq -e --arg id "$id" "any(.images[0].findings[]; $filter)" "$tmp/out.json" >/dev/null ||
		complain "$name" "$id: no finding with $*"
}

check_expectations() { # case; reads the resolved file
	local name=$1 line verdict='' status=''
	local listed=' '
	while read -r -a line; do
		case ${line[0]:-} in
		'' | \#*) ;;
		verdict) verdict=${line[1]} ;;
		exit) status=${line[1]} ;;
		options) ;;
		partial)
			[ "$(jq '.images[0].partial' "$tmp/out.json")" = "$([ "${line[1]}" = yes ] && echo true || echo false)" ] ||
				complain "$name" "partial is not ${line[1]}"
			;;
		qemu)
			(cd "$tmp" && timeout 20 qemu-img check -f qcow2 image.qcow2 >/dev/null 2>&1)
			[ $? = "${line[1]}" ] || complain "$name" "qemu-img check does not exit with ${line[1]}"
			;;
		*)
			listed="$listed${line[0]} "
			one_line "$name" "${line[@]}"
			;;
		esac
	done <"$tmp/expect"
	[ "$(jq -r '.images[0].verdict' "$tmp/out.json")" = "$verdict" ] ||
		complain "$name" "verdict is not $verdict"
	[ -n "$status" ] || case $verdict in
	clean) status=0 ;;
	unreadable) status=12 ;;
	*) status=4 ;;
	esac
	[ "$got_status" = "$status" ] || complain "$name" "exit status $got_status, not $status"
	jq -r '.images[0].findings[].id' "$tmp/out.json" | sort -u | while read -r id; do
		case $listed in *" $id "*) ;; *) echo "$id" ;; esac
	done >"$tmp/unlisted"
	[ ! -s "$tmp/unlisted" ] || complain "$name" "not expected: $(tr '\n' ' ' <"$tmp/unlisted")"
}

run_case() {
	local name=$1 options before
	ok=1
	rm -rf "${tmp:?}"/*
	"$mk" "$name/recipe" "$tmp/image.qcow2" 2>"$tmp/err" || {
		complain "$name" "recipe: $(cat "$tmp/err")"
		return
	}
	"$mk" -r "$name/expect.check" "$name/recipe" >"$tmp/expect.raw" 2>"$tmp/err" || {
		complain "$name" "expect.check: $(cat "$tmp/err")"
		return
	}
	sed 's/[[:space:]]*#.*//' "$tmp/expect.raw" >"$tmp/expect"
	options=$(sed -n 's/^options //p' "$tmp/expect")
	before=$(stat -c '%s %Y %Z' "$tmp/image.qcow2")
	[ "${before%% *}" -gt 1000000000 ] || before=$(sha256sum "$tmp/image.qcow2")
	# shellcheck disable=SC2086
	(cd "$tmp" && $fsck -n $options --output=json --all-findings image.qcow2) >"$tmp/out.json" 2>"$tmp/err"
	got_status=$?
	jq -e . "$tmp/out.json" >/dev/null 2>&1 || {
		complain "$name" "no valid JSON (exit $got_status): $(head -c 400 "$tmp/err")"
		return
	}
	check_expectations "$name"
	# shellcheck disable=SC2086
	(cd "$tmp" && $fsck -n $options --output=json --all-findings image.qcow2) 2>/dev/null |
		cmp -s - "$tmp/out.json" || complain "$name" "a second check says something else"
	# shellcheck disable=SC2086
	(cd "$tmp" && ${WRAP:-} "$keep" $options image.qcow2) >"$tmp/keep" 2>&1 ||
		complain "$name" "interrupted and gone on with, it says something else: $(head -n 3 "$tmp/keep")"
	if [ "$(stat -c %s "$tmp/image.qcow2")" -gt 1000000000 ]; then
		[ "$(stat -c '%s %Y %Z' "$tmp/image.qcow2")" = "$before" ] || complain "$name" "the image was touched"
	else
		[ "$(sha256sum "$tmp/image.qcow2")" = "$before" ] || complain "$name" "the image was changed"
	fi
}

[ $# -gt 0 ] || share_cases run.sh
for name in "$@"; do
	name=${name%/}
	run_case "$name"
	if [ $ok = 1 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "cases: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
