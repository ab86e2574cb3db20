#!/usr/bin/env bash
# cases.sh - are the golden cases complete?  Every problem of the catalogue is
# raised by a case or by another test, every ID in a case exists, and every rule
# of the format is held by a problem and a case, or left unchecked for a reason.
#
# SPDX-License-Identifier: MIT
#
# usage: tests/lint/cases.sh     from the repository's root
set -u
export LC_ALL=C

catalogue=lib/check/problem.def
cases=tests/cases

# What no case can raise: ID, the test that proves it instead, why.
elsewhere='
UNREADABLE	tests/conduct/faults.sh	needs a read that fails
IN_USE	tests/conduct/faults.sh	needs a process that holds the image
NOT_JUDGED	tests/conduct/faults.sh	the runner lists all findings, and so judges all
'

# How many rules of each letter there are, numbered from 01.
families='H 54 X 16 L 14 E 20 Z 15 S 8 R 14 N 22 B 19 K 7 D 11 F 8 G 7'

passed=0
failed=0

ok() {
	passed=$((passed + 1))
}

bad() { # what
	failed=$((failed + 1))
	echo "lint cases: $1" >&2
}

declare -A known=() raised=() other=() wanted=() seen=()

read_catalogue() {
	local id
	while read -r id; do
		[ -z "${known[$id]+x}" ] || bad "$catalogue: $id stands there twice"
		known[$id]=1
	done < <(sed -n 's/^Q2_PROBLEM([0-9]*, *\([A-Z0-9_]*\),.*/\1/p' "$catalogue")
	[ ${#known[@]} -gt 0 ] || bad "$catalogue: no problem found"
}

# Lines of an expect.check that are no IDs.
is_statement() { # word
	case $1 in
	verdict | exit | options | partial | qemu) return 0 ;;
	esac
	return 1
}

# One case: both files, a verdict, and no ID that the catalogue lacks.
read_case() { # folder
	local id count rest name=${1#"$cases"/} good=1
	if [ ! -s "$1/recipe" ] || [ ! -s "$1/expect.check" ]; then
		bad "$name: recipe or expect.check is missing"
		return
	fi
	grep -q '^verdict [a-z]' "$1/expect.check" || {
		bad "$name: no verdict is expected"
		good=0
	}
	while read -r id count rest; do
		case $id in '' | \#*) continue ;; esac
		is_statement "$id" && continue
		if [ -z "${known[$id]+x}" ]; then
			bad "$name: there is no problem $id"
			good=0
		elif ! [[ $count =~ ^[0-9]+$ ]]; then
			bad "$name: $id lacks its count"
			good=0
		elif [ "$count" -gt 0 ]; then
			raised[$id]=$name
		fi
	done <"$1/expect.check"
	[ $good = 0 ] || ok
}

read_cases() {
	local folder n=0
	for folder in "$cases"/[0-9]*/; do
		[ -d "$folder" ] || continue
		n=$((n + 1))
		read_case "${folder%/}"
	done
	[ $n -gt 0 ] || bad "$cases: no case found"
}

read_elsewhere() {
	local id test why
	while IFS=$'\t' read -r id test why; do
		[ -n "$id" ] || continue
		other[$id]=$test
		if [ -z "${known[$id]+x}" ]; then
			bad "there is no problem $id, which is said to need ${test}"
		elif [ -n "${raised[$id]+x}" ]; then
			bad "$id is raised by ${raised[$id]}; the exception ($why) is stale"
		elif ! grep -qw -- "$id" "$test" 2>/dev/null; then
			bad "$id: $test does not mention it ($why)"
		else
			ok
		fi
	done <<<"$elsewhere"
}

judge_problems() {
	local id
	for id in "${!known[@]}"; do
		[ -z "${other[$id]+x}" ] || continue # judged above
		if [ -n "${raised[$id]+x}" ]; then
			ok
		else
			bad "no case raises $id"
		fi
	done
}

expect_rules() {
	local letter n i word=''
	for n in $families; do
		case $n in
		[A-Z]) letter=$n ;;
		*)
			for ((i = 1; i <= n; i++)); do
				printf -v word '%s%02d' "$letter" "$i"
				wanted[$word]=1
			done
			;;
		esac
	done
}

# A rule that is checked: each case exists, and each ID is raised by one of them.
judge_rule() { # where ids cases
	local id name good=1 files=()
	for name in ${3//,/ }; do
		files+=("$cases/$name/expect.check")
		[ -f "$cases/$name/expect.check" ] || {
			bad "$1: there is no case $name"
			return
		}
	done
	for id in ${2//,/ }; do
		if [ -z "${known[$id]+x}" ]; then
			bad "$1: there is no problem $id"
			good=0
		elif [ -z "${other[$id]+x}" ] &&
			! grep -qE "^$id +[1-9]" "${files[@]}"; then
			bad "$1: $3 does not raise $id"
			good=0
		fi
	done
	[ $good = 0 ] || ok
}

read_rules() {
	local file rule ids what line where
	for file in "$cases"/rules-*.tsv; do
		[ -f "$file" ] || continue
		line=0
		while IFS=$'\t' read -r rule ids what; do
			line=$((line + 1))
			where="${file#"$cases"/}:$line"
			case $rule in '' | \#*) continue ;; esac
			if [ -z "${wanted[$rule]+x}" ]; then
				bad "$where: there is no rule $rule"
			elif [ -n "${seen[$rule]+x}" ]; then
				bad "$where: rule $rule stands in ${seen[$rule]} already"
			elif [ -z "$ids" ] || [ -z "$what" ]; then
				bad "$where: rule $rule needs three columns"
			elif [ "$ids" = - ]; then
				ok
			else
				judge_rule "$where" "$ids" "$what"
			fi
			seen[$rule]=$where
		done <"$file"
	done
}

judge_rules() {
	local rule
	for rule in "${!wanted[@]}"; do
		[ -n "${seen[$rule]+x}" ] || bad "no $cases/rules-*.tsv has rule $rule"
	done
}

read_catalogue
read_cases
read_elsewhere
judge_problems
expect_rules
read_rules
judge_rules
echo "lint cases: $passed passed, $failed failed"
[ $failed = 0 ]
