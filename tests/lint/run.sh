#!/usr/bin/env bash
# run.sh - every lint; ends with "total: N passed, N failed".
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh BUILD_DIR
set -u

build=$(cd "$1" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
# Without the list of files most lints would pass; who owns the clone is no matter.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
git ls-files --error-unmatch Makefile >/dev/null || {
	echo 'lint: needs git, and a clone made with it' >&2
	exit 1
}
passed=0
failed=0

verdict() { # what status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "lint: $1 failed" >&2
	fi
}

bash tests/lint/layers.sh "$build"
verdict layers $?
make -s VARIANT=nonsense 2>&1 | grep -q "unknown VARIANT 'nonsense': release, .* or armhf"
verdict 'make names the variants' $?
bash tests/lint/cases.sh
verdict cases $?
python3 tests/lint/options.py "$build"
verdict options $?
git ls-files '*.c' '*.h' | xargs python3 tests/lint/sizes.py
verdict sizes $?
git ls-files '*.c' '*.h' '*.sh' | xargs python3 tests/lint/duplicates.py
verdict duplicates $?
bash tests/lint/analyse.sh
verdict analyse $?
python3 tests/lint/abi.py check "$build" "${CC:-cc}"
verdict abi $?
# Findings of style (SC2086 and the like are meant where they stand).
git ls-files '*.sh' '.ci/run' | xargs shellcheck -x -S warning
verdict shellcheck $?
git ls-files | grep -vE '^(corpus/|LICENSE)|\.abi$' | xargs codespell -q 3 -L 'ot,ba,fo,te,nd,clen,inout,truns,upto'
verdict codespell $?
for page in fsck/*.8 fsck/*.7 map/*.1 dump/*.1 "$build/man/q2.3"; do
	mandoc -Tlint -W warning "$page"
	verdict "mandoc $page" $?
done
"$build/tests/q2problems" | cmp - fsck/q2problems.7
verdict 'fsck/q2problems.7 is what the catalogue says' $?
echo "total: $passed passed, $failed failed"
[ $failed = 0 ]
