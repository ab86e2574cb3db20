#!/usr/bin/env bash
# musl.sh - every source of the library and the tools compiles with musl, too.
#
# SPDX-License-Identifier: MIT
#
# usage: musl.sh                        prints "musl: N passed, N failed"
#
# Debian has musl, but none of the libraries that we need for it, so nothing is
# linked: their headers, and no others, are taken from where those for the other C
# library are.
set -u
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
triplet=$(gcc -print-multiarch)
passed=0
failed=0

for name in zlib.h zconf.h libdeflate.h zstd.h zstd_errors.h xxhash.h seccomp.h \
	seccomp-syscalls.h libnbd.h openssl nettle json-c linux asm-generic asm; do
	for folder in /usr/include "/usr/include/$triplet"; do
		[ ! -e "$folder/$name" ] || cp -rL "$folder/$name" "$tmp"
	done
done
flags="-std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror -Ilib"
[ ! -e "$tmp/seccomp.h" ] || flags+=" -DHAVE_LIBSECCOMP"
[ ! -e "$tmp/libnbd.h" ] || flags+=" -DHAVE_LIBNBD"
for file in lib/*/*.c fsck/*.c map/*.c dump/*.c; do
	# shellcheck disable=SC2086
	if musl-gcc $flags -isystem "$tmp" -isystem "$tmp/json-c" -fsyntax-only "$file" >"$tmp/log" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "musl: $file:" >&2
		head -n 5 "$tmp/log" >&2
	fi
done
echo "musl: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
