#!/usr/bin/env bash
# valgrind.sh - the check of golden cases and of the corpus under memcheck: no
# error, and not a byte that is not given back.
#
# SPDX-License-Identifier: MIT
#
# usage: valgrind.sh BUILD_DIR [EVERY]     every n-th image; prints
#                                          "valgrind: N passed, N failed"
set -u

build=$(cd "$1" && pwd)
every=${2:-1}
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/images"

# Images as all tests make them, and with what options a case is checked.
bash "$here/../fuzz/corpus.sh" build "$build/tests/q2mk" "$tmp/corpus" >"$tmp/log" 2>&1 || {
	cat "$tmp/log" >&2
	echo 'valgrind: 0 passed, 1 failed'
	exit 1
}
n=0
find "$tmp/corpus" -name '*.qcow2' | sort | while read -r image; do
	n=$((n + 1))
	[ $((n % every)) = 0 ] && printf '%s\t-n\n' "$image"
done >"$tmp/todo"
for recipe in "$here"/cases/[0-9]*/recipe; do
	n=$((n + 1))
	[ $((n % every)) = 0 ] || continue
	folder=$(dirname "$recipe")
	options=$(sed -n 's/^options //p' "$folder/expect.check")
	printf '%s\t-n %s\n' "$recipe" "$options" >>"$tmp/todo"
done

# One image; what memcheck says is what counts, not what is wrong with the image.
one() { # image-or-recipe options
	local image=$1 status place
	place=$(mktemp -d "$tmp/XXXXXX")
	if [ "${image##*/}" = recipe ]; then
		image=$place/image.qcow2
		"$build/tests/q2mk" "$1" "$image" 2>"$place/log" || {
			cat "$place/log" >&2
			return 1
		}
	fi
	# Memcheck makes system calls that the sandbox would not allow.
	# shellcheck disable=SC2086
	(cd "$place" && valgrind -q --error-exitcode=99 --leak-check=full \
		--show-leak-kinds=all --errors-for-leak-kinds=all --track-fds=yes \
		--log-file="$place/log" "$build/bin/qcow2-fsck" --no-sandbox $2 \
		"$image" >/dev/null 2>&1)
	status=$?
	if [ $status -ge 64 ]; then
		echo "valgrind: $1: status $status" >&2
		head -n 40 "$place/log" >&2
		status=99
	fi
	rm -rf "$place"
	[ $status -lt 64 ]
}
export -f one
export build tmp

# Memcheck itself has to be seen to work.
cat >"$tmp/leak.c" <<'END'
#include <stdlib.h>
int main(int argc, char **argv)
{
	char *p = malloc(argc + 8);
	(void)argv;
	return p[3] == 'x' ? 1 : 0;
}
END
passed=0
failed=0
${CC:-cc} -g -o "$tmp/leak" "$tmp/leak.c" &&
	valgrind -q --error-exitcode=99 --leak-check=full "$tmp/leak" >"$tmp/log" 2>&1
if [ $? = 99 ]; then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
	echo 'valgrind: does not notice an error' >&2
fi

# Each prints a dot or an F.
tr '\t' '\n' <"$tmp/todo" | tr '\n' '\0' | xargs -0 -n 2 -P "$(nproc)" bash -c \
	'one "$1" "$2" && printf . || printf F' one >"$tmp/dots"
passed=$((passed + $(tr -cd . <"$tmp/dots" | wc -c)))
failed=$((failed + $(tr -cd F <"$tmp/dots" | wc -c)))
[ $((passed + failed - 1)) = "$(wc -l <"$tmp/todo")" ] || failed=$((failed + 1))
echo "valgrind: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 1 ]
