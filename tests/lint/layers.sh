#!/usr/bin/env bash
# layers.sh - a directory is a layer, and includes point down.
#
# SPDX-License-Identifier: MIT
#
# Also: the library neither prints nor exits.
# Prints "lint layers: N passed, N failed".
set -u
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 1
passed=0
failed=0

verdict() { # what list-of-offenders
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'lint: %s:\n%s\n' "$1" "$2" >&2
	fi
}

# Which layers each one may include; q2.h is the types that all of them share.
allowed() {
	case $1 in
	base) echo base ;;
	io) echo base io ;;
	format) echo base format ;;
	image) echo base io format image ;;
	crypt) echo base io crypt ;;
	check) echo base io format image check ;;
	repair) echo base io format image check repair ;;
	dump) echo base io format image crypt check dump ;;
	map) echo base io format image check map ;;
	report) echo base crypt check repair report ;;
	cli) echo base cli ;;
	*) echo "$1: not a layer" ;;
	esac
}

for dir in lib/*/; do
	layer=$(basename "$dir")
	may=" $(allowed "$layer") "
	bad=$(grep -nE '^#include "' "$dir"*.[ch] | while IFS=: read -r file line text; do
		name=${text#*\"}
		name=${name%%\"*}
		[ "$name" = q2.h ] && continue
		case $may in *" ${name%%/*} "*) ;; *) echo "$file:$line: $text" ;; esac
	done)
	verdict "$layer includes what lies above it" "$bad"
done

bad=$(grep -nE '^#include "' fsck/*.[ch] | grep -vE '"(q2|cli/cli|fsck)\.h"')
verdict 'a tool includes more than q2.h and cli.h' "$bad"
bad=$(grep -nE '^#include "' dump/*.[ch] | grep -vE '"(q2|cli/cli|dump)\.h"')
verdict 'qcow2-dump includes more than q2.h and cli.h' "$bad"
bad=$(grep -nE '^#include "' map/*.[ch] | grep -vE '"(q2|cli/cli|map|plaincols)\.h"')
verdict 'qcow2-map includes more than q2.h and cli.h' "$bad"

bad=$(git ls-files 'lib/*.c' 'lib/*.h' | grep -v '^lib/cli/' |
	xargs grep -nE '\b(printf|fprintf|puts|putchar|perror|exit|abort|_exit|setjmp|longjmp)\(' |
	grep -v 'format(printf')
verdict 'the library prints or exits' "$bad"

bad=$(for object in lib/*/*.c; do
	case $object in lib/cli/*) continue ;; esac
	grep -nE '^(static )?[a-z][a-z0-9_ ]*\**[a-z_0-9]+(\[[^]]*\])? *(=|;)' "$object" |
		grep -vE '\b(const|typedef|extern)\b|return|struct [a-z0-9_]+;|enum [a-z0-9_]+;' | sed "s|^|$object:|"
done)
verdict 'the library has variables of file scope' "$bad"

bad=$(git ls-files '*.c' '*.h' '*.sh' | while read -r file; do
	head -n 40 "$file" | grep -q 'SPDX-License-Identifier: MIT' || echo "$file"
done)
verdict 'files without a licence line' "$bad"

bad=$(git ls-files | cut -d/ -f1 | sort -u |
	grep -vxE 'Makefile|README\.md|LICENSE|fsck|map|dump|lib|fuzz|tests|corpus|\..*')
verdict 'top level entries that are not in the design' "$bad"

# q2.h and the version script list the same functions.
declared=$(sed -e ':a;/[^;]$/{N;ba}' lib/q2.h | tr '\n' ' ' | grep -oE 'Q2_PUBLIC [^;(]*\(' |
	grep -oE 'q2_[a-z0-9_]+' | grep -vE '^q2_(status|io|problem|finding|report|in_use|severity|fix|kind|verdict|err|check_opts|check_result|progress)$' | sort -u)
declared=$(printf '%s\nq2_check\n' "$declared" | sort -u)
listed=$(grep -oE '^\s+q2_[a-z0-9_]+;' lib/q2.map | tr -d '\t ;' | sort -u)
verdict 'q2.h and q2.map differ' "$(diff <(echo "$declared") <(echo "$listed"))"
if [ -n "${1:-}" ]; then
	exported=$(nm -D --defined-only "$1/libq2.so.0" | awk '$2 == "T" {sub(/@.*/, "", $3); print $3}' | sort -u)
	verdict 'libq2.so.0 exports something else' "$(diff <(echo "$listed") <(echo "$exported"))"
fi

echo "lint layers: $passed passed, $failed failed"
[ $failed = 0 ]
