#!/usr/bin/env bash
# analyse.sh - clang-tidy, all warnings of clang, and cppcheck: no finding at all.
#
# SPDX-License-Identifier: MIT
#
# usage: tests/lint/analyse.sh [FILE.c...]     from the repository's root
#
# Of the library and the programs; of what tests them, clang-tidy with fewer rules.
# A file is looked at again only if what the preprocessor makes of it, or the rules,
# changed.  Ends with
# "lint analyse: N passed, N failed".
set -u
export LC_ALL=C

cache=build/analysed
mkdir -p "$cache/cppcheck" || exit 1
if [ "${1:-}" != --one ]; then
	make -s --no-print-directory cflags >"$cache/flags"
fi
read -ra flags <"$cache/flags"
# What other projects' headers do is theirs.
flags=("${flags[@]/#-I\/usr/-isystem/usr}")
[ ${#flags[@]} -gt 3 ] || {
	echo 'lint analyse: make cflags says nothing' >&2
	exit 1
}

# All that clang can warn of, but for:
#   padded                         what the compiler adds between members is no defect
#   declaration-after-statement    C99 allows it, and a `for` needs it
#   switch-enum, covered-switch-default   contradict each other; -Wswitch stays, and
#                                  tells of an enumerator without a case
#   disabled-macro-expansion       of glibc's own macros (stdin, st_mtime)
#   used-but-marked-unused         XXH_INLINE_ALL marks its functions
#   conditional-uninitialized      an out-pointer has a value if the status says so,
#                                  and this looks at no status; gcc and memcheck do
#   bad-function-cast              (enum x)q2_be32(p) is how a number of a file, once
#                                  its range was judged, gets its type
#   overlength-strings             the script of our pages; C99 asks for 4095 bytes
#                                  of a compiler, and all take more
every=(-Weverything -Wno-padded -Wno-declaration-after-statement -Wno-switch-enum
	-Wno-covered-switch-default -Wno-disabled-macro-expansion
	-Wno-used-but-marked-unused -Wno-conditional-uninitialized
	-Wno-bad-function-cast -Wno-overlength-strings)

# What tests may do besides:
#   implicit-widening   offsets in images of some MiB are products of small numbers
#   reserved-identifier, dcl37, dcl51   what the linker's --wrap and sanitizers ask for
#   misplaced-widening-cast   to print a number of 64 bits
#   cert-env33   call a shell
#   cert-msc*    take the same random numbers each time
besides="-clang-analyzer-*,-bugprone-implicit-widening-of-multiplication-result"
besides+=",-bugprone-reserved-identifier,-cert-dcl37-c,-cert-dcl51-cpp"
besides+=",-bugprone-misplaced-widening-cast,-cert-env33-c"
besides+=",-cert-msc30-c,-cert-msc32-c,-cert-msc50-cpp,-cert-msc51-cpp"

# Paths are followed, which takes a second for each file, where bytes that nobody
# vouches for come in and where programs begin; DEEP="*" does it everywhere.
look_at() { # file
	local log checks="-clang-analyzer-*"
	# shellcheck disable=SC2254
	case $1 in
	lib/base/* | lib/format/* | fsck/* | dump/* | ${DEEP:-none}) checks= ;;
	esac
	log=$cache/$(clang "${flags[@]}" -E "$1" 2>&1 | cat "$cache/rules" - <(echo "$checks") | sha256sum | cut -c -40)
	[ ! -e "$log.ok" ] || return 0
	case $1 in
	tests/* | fuzz/*)
		clang-tidy --quiet --checks="$besides" "$1" -- "${flags[@]}" >"$log" 2>/dev/null &&
			: >"$log.ok" && rm "$log" && return 0
		cat "$log" >&2
		rm -f "$log"
		return 1
		;;
	esac
	clang "${flags[@]}" -fsyntax-only -Werror "${every[@]}" "$1" >"$log" 2>&1 &&
		clang-tidy --quiet --checks="$checks" "$1" -- "${flags[@]}" >"$log" 2>/dev/null &&
		: >"$log.ok" && rm "$log" && return 0
	cat "$log" >&2
	rm -f "$log"
	return 1
}

if [ "${1:-}" = --one ]; then
	look_at "$2"
	exit
fi

if [ $# = 0 ]; then
	mapfile -t files < <(git ls-files 'lib/*.c' 'fsck/*.c' 'map/*.c' 'dump/*.c')
	set -- "${files[@]}"
	# drv_afl.c is for AFL's own compiler.
	mapfile -t testers < <(git ls-files 'tests/*.c' 'fuzz/*.c' ':!fuzz/drv_afl.c')
fi
{
	clang --version
	clang-tidy --version
	echo "${flags[@]}" "${every[@]}"
	cat .clang-tidy
	echo "$besides"
} >"$cache/rules"
failed=0
printf '%s\n' "$@" ${testers[@]+"${testers[@]}"} | xargs -P "$(nproc)" -I{} bash "$0" --one {} || failed=1
# It knows the C library by itself, and of no other header.
defines=(-Ilib)
for flag in "${flags[@]}"; do
	case $flag in -D*) defines+=("$flag") ;; esac
done
cppcheck --quiet --error-exitcode=1 -j "$(nproc)" --std=c11 --inline-suppr \
	--enable=warning,performance,portability --cppcheck-build-dir="$cache/cppcheck" \
	"${defines[@]}" "$@" || failed=$((failed + 1))
# Each has to notice what it is there for.
cat >"$cache/false.c" <<'END'
#include <string.h>
int wrong(char *c);
int wrong(char *c)
{
	int x;

	memset(c, 4, 0);
	return x;
}
END
noticed() { # what command...
	if "${@:2}" >/dev/null 2>&1; then
		failed=$((failed + 1))
		echo "lint analyse: $1 notices nothing" >&2
	fi
}
noticed clang clang -fsyntax-only -Werror "${every[@]}" "$cache/false.c"
noticed clang-tidy clang-tidy --quiet "$cache/false.c" -- -w
noticed cppcheck cppcheck --quiet --error-exitcode=1 --enable=warning "$cache/false.c"
echo "lint analyse: $((5 - failed)) passed, $failed failed"
[ $failed = 0 ]
