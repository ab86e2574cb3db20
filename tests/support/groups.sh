# groups.sh - groups of images, each made and compared in a folder of its own,
# some at a time; to be sourced by a differential test.
# SPDX-License-Identifier: MIT
#
# Wants run_group NAME; where a test holds more than files, it defines let_go()
# to give it back.  Environment: KEEP=1 keeps the images, JOBS is how many groups
# run at a time (2).
# shellcheck shell=bash

dir=$(mktemp -d)
let_go() { :; }
clean_up() {
	let_go
	if [ "${KEEP-}" = 1 ]; then
		echo "images kept in $dir" >&2
	else
		rm -rf "$dir"
	fi
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# run_groups NAME...: each leaves its log in $dir/NAME.log.
run_groups() {
	local group running=0
	for group; do
		if [ "$running" -ge "${JOBS:-2}" ]; then
			wait -n || :
			running=$((running - 1))
		fi
		(
			trap - EXIT
			run_group "$group"
		) 2>"$dir/$group.log" >&2 &
		running=$((running + 1))
	done
	wait
}
