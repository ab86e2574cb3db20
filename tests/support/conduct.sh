# conduct.sh - what the tests of a tool's conduct have in common; to be sourced.
# SPDX-License-Identifier: MIT
#
# Wants $tool, the program.  Works in a folder of its own, which is removed at the
# end; where a test holds more, it defines let_go() to give it back.
# shellcheck shell=bash

: "${tool:?the program to test}"
export LC_ALL=C
unset NO_COLOR POSIXLY_CORRECT
export ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=1
# Before the folder changes: this may have been called by a relative path.
completion=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../../lib/cli/completion.bash")
work=$(mktemp -d) || exit 1
let_go() { :; }
trap '[[ $BASHPID != "$$" ]] || { let_go; rm -rf "$work"; }' EXIT
cd "$work" || exit 1

passed=0
failed=0

# check NAME COMMAND...: the command must succeed.
check() {
	local name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAILED: %s\n' "$name" >&2
		sed 's/^/    stdout: /' out 2>/dev/null | head -5 >&2
		sed 's/^/    stderr: /' err 2>/dev/null | head -5 >&2
	fi
}

# run ARGUMENT...: runs the tool; leaves out, err and $status.
run() {
	timeout 60 "$tool" "$@" >out 2>err </dev/null
	status=$?
}

# exits STATUS ARGUMENT...: the exit status must be this one.
exits() {
	local expected=$1 name=${*:2}
	shift
	run "$@"
	check "exit $expected: ${name//$'\n'/ } (was $status)" \
		test "$status" -eq "$expected"
}

out_has() { grep -qF -- "$1" out; }
err_has() { grep -qF -- "$1" err; }
lines() { [[ $(wc -l <"$1") -eq $2 ]]; }
json() { jq -e "$1" out >/dev/null; }
ndjson() { jq -es "$1" out >/dev/null; }
same() { cmp -s "$1" "$2"; }
absent() { for name; do [[ ! -e $name && ! -L $name ]] || return 1; done; }

# poke FILE OFFSET BYTES: overwrites bytes, which are escapes of printf.
poke() {
	# shellcheck disable=SC2059
	printf "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

# As root, permission bits count only without the capabilities to override.
unreadable() {
	if [[ $(id -u) -eq 0 ]]; then
		setpriv --bounding-set=-dac_override,-dac_read_search \
			--inh-caps=-dac_override,-dac_read_search "$@"
	else
		"$@"
	fi
}

# caught PID: the mask of the signals that the process handles.
caught() {
	awk '/^SigCgt/ {mask = $2} END {print "0x0" mask}' \
		"/proc/$1/status" 2>/dev/null
}

# hold_and_signal SIGNAL ARGUMENT...: sends the signal while the tool is held
# up by a pipe for -C that is full; leaves out, err and $status.
hold_and_signal() {
	local signal=$1 pid i
	shift
	mkfifo held
	exec 9<>held
	dd if=/dev/zero of=held bs=4096 oflag=nonblock status=none 2>/dev/null
	# A shell that is not interactive has its children ignore SIGINT.
	env --default-signal=INT "$tool" -C 9 "$@" >out 2>err </dev/null &
	pid=$!
	# Not before the tool has taken the shell's place, and catches SIGINT and
	# SIGUSR1, which are these bits.
	for ((i = 0; i < 1000; i++)); do
		if [[ ! /proc/$pid/exe -ef /proc/$$/exe ]] &&
			((($(caught "$pid") & 0x202) == 0x202)); then
			break
		fi
		sleep 0.02
	done
	kill "-$signal" "$pid"
	timeout 30 tr -d '\0' <held >progress 9>&- &
	i=$!
	wait "$pid"
	status=$?
	exec 9>&-
	wait "$i"
	rm held
}

# completed WORD...: what bash would offer for the last word.
completed() {
	# shellcheck disable=SC2016
	bash -c '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
		_qcow2 "$1"; printf "%s\n" "${COMPREPLY[@]}"' \
		"$completion" "$tool" "$@"
}

# The last line, and the status of the script.
sum_up() { # name
	echo "$1: $passed passed, $failed failed"
	[[ $failed -eq 0 && $passed -gt 0 ]]
}
