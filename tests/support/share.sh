# share.sh - all golden cases, by one process for each processor; to be sourced by
# a script that takes cases as operands, in the folder of the cases.
# SPDX-License-Identifier: MIT
#
# Wants $build and $tmp; adds to $passed and $failed.
# shellcheck shell=bash

: "${build:?the build folder}" "${tmp:?a folder for scratch files}"

# share_cases SCRIPT: every n-th case each; leaves what they print in $tmp/shared.
share_cases() {
	local all=([0-9]*/) jobs j i mine p f
	jobs=$(nproc)
	# Sanitizers see them all in fuzz/check.sh: here they look at one of three.
	case $build in
	*asan)
		mine=()
		for ((i = 0; i < ${#all[@]}; i += 3)); do mine+=("${all[i]}"); done
		all=("${mine[@]}")
		;;
	esac
	for ((j = 0; j < jobs; j++)); do
		mine=()
		for ((i = j; i < ${#all[@]}; i += jobs)); do mine+=("${all[i]}"); done
		bash "$1" "$build" "${mine[@]}" >"$tmp/share.$j" &
	done
	wait
	for ((j = 0; j < jobs; j++)); do
		p='' f=''
		read -r _ p _ f _ < <(tail -n 1 "$tmp/share.$j")
		passed=$((passed + ${p:-0}))
		failed=$((failed + ${f:-1}))
		cat "$tmp/share.$j"
	done >"$tmp/shared"
	[ $((passed + failed)) -ge ${#all[@]} ] || failed=$((failed + 1))
}
