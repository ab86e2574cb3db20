# alone.sh - what the tests of programs without shared libraries have in common; to be
# sourced.
#
# SPDX-License-Identifier: MIT
#
# Wants $part, the name of the test, and its two arguments: the folder that they were
# built into, $alone, and that of the others, $build.
# shellcheck shell=bash

export LC_ALL=C
# shellcheck disable=SC2034 # they use these
here=$(cd "$(dirname "$0")" && pwd)
alone=$(cd "${1:?usage: ${part:?}.sh FOLDER BUILD_DIR}" && pwd)
# shellcheck disable=SC2034
build=$(cd "${2:?usage: ${part:?}.sh FOLDER BUILD_DIR}" && pwd)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
passed=0
failed=0

verdict() { # what status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "$part: $1" >&2
	fi
}

# What is said of both.
stands_alone() { # program
	local most=$((4 << 20))
	file -b "$alone/bin/$1" | grep -q 'statically linked'
	verdict "$1 is not static: $(file -b "$alone/bin/$1")" $?
	! ldd "$alone/bin/$1" >/dev/null 2>&1
	verdict "$1: ldd finds libraries" $?
	[ "$(stat -c %s "$alone/bin/$1")" -le $most ]
	verdict "$1 is larger than $most bytes" $?
}

# same_as_ours STATUS COMMAND...: what it said, in here and here.err, is what the
# command says, and so is its status.
same_as_ours() {
	local status=$1
	shift
	"$@" >there 2>there.err
	[ $? = "$status" ] && cmp -s here there && cmp -s here.err there.err && [ -s there ]
	verdict "${*##*/}: not the same as ours: $(head -n 1 there.err)" $?
}

# An image encrypted in the old way, which few programs read.
make_old() { # name bytes
	qemu-img create -q -f qcow2 --object secret,id=key,data=sesame \
		-o encrypt.format=aes,encrypt.key-secret=key "$1" "$2" 2>/dev/null
	verdict 'qemu-img makes an image encrypted in the old way' $?
	qemu-io --object secret,id=key,data=sesame -c 'write -P 5 64k 100k' --image-opts \
		"driver=qcow2,file.filename=$1,encrypt.key-secret=key" >/dev/null
}

# The last line, and the status of the script.
sum_up() {
	echo "$part: $passed passed, $failed failed"
	[ $failed = 0 ] && [ $passed -gt 0 ]
}
