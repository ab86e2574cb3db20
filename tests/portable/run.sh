#!/usr/bin/env bash
# run.sh - programs for other machines do what those for this one do: unit tests,
# golden cases and the corpus, byte for byte.
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh 'ARCH...' EVERY        every EVERY-th case and image of the corpus;
#                                      prints "portable: N passed, N failed"
#
# Programs for this machine are in build/release; what they say is judged by the
# other tests.  The others are run by an emulator, or by the kernel if it can.
set -u
export LC_ALL=C
# Tests are slow under an emulator, and share nothing but the process.
export CK_FORK=no

cd "$(dirname "$0")/../.." || exit 1
root=$PWD
native=$root/build/release
every=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0
failed=0

verdict() { # what status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "portable: $1" >&2
	fi
}

# What runs programs of that machine.
emulator_of() {
	case $1 in
	s390x) echo qemu-s390x-static ;;
	armhf) echo qemu-arm-static ;;
	i386) "$root/build/i386/tests/test_buf" >/dev/null 2>&1 || echo qemu-i386-static ;;
	esac
}

build() { # arch
	[ -e "build/sysroot/$1/complete" ] ||
		sh tests/portable/sysroot.sh "$1" "build/sysroot/$1" || return 1
	make --no-print-directory -j"$(nproc)" VARIANT="$1" portable-programs >"$tmp/log" 2>&1 || {
		tail -n 20 "$tmp/log" >&2
		return 1
	}
}

# same NAME PROGRAM ARGUMENT...: both say and return the same.
same() {
	local what=$1 program=$2 status
	shift 2
	"$native/$program" "$@" >"$tmp/here" 2>"$tmp/here.err"
	status=$?
	$emulator "$foreign/$program" "$@" >"$tmp/there" 2>"$tmp/there.err"
	[ $? = $status ] && cmp -s "$tmp/here" "$tmp/there" &&
		cmp -s "$tmp/here.err" "$tmp/there.err"
	verdict "$arch: $what ($program $*)" $?
}

# Everything that the tools say of an image, and what they would write.
judge() { # name image options...
	local name=$1 image=$2
	shift 2
	same "$name" bin/qcow2-fsck -n "$@" --output=json --all-findings "$image"
	case $n in *[05]) ;; *) return ;; esac
	same "$name: map" bin/qcow2-map layout --output=json "$image"
	same "$name: digest" bin/qcow2-dump --digest -q --threads=2 "$image"
	rm -f here.plan there.plan
	"$native/bin/qcow2-fsck" -q --plan=here.plan "$image" >/dev/null 2>&1
	$emulator "$foreign/bin/qcow2-fsck" -q --plan=there.plan "$image" >/dev/null 2>&1
	[ ! -e here.plan ] && [ ! -e there.plan ] && return
	"$native/bin/qcow2-fsck" --show-plan=here.plan --output=json >here.json 2>&1
	$emulator "$foreign/bin/qcow2-fsck" --show-plan=there.plan --output=json >there.json 2>&1
	cmp -s here.json there.json && cmp -s here.plan there.plan
	verdict "$arch: $name: the plan" $?
	# Plans are files that travel.
	"$native/bin/qcow2-fsck" --show-plan=there.plan --output=json | cmp -s - here.json
	verdict "$arch: $name: the plan, read here" $?
}

units() {
	local test
	for test in tests/unit/test_*.c; do
		test=$(basename "$test" .c)
		(cd "$tmp" && $emulator "$foreign/tests/$test") >"$tmp/unit" 2>&1
		verdict "$arch: unit $test" $?
	done
}

cases() {
	local recipe options name
	n=0
	for recipe in tests/cases/[0-9]*/recipe; do
		n=$((n + 1))
		[ $((n % every)) = 0 ] || continue
		name=$(basename "$(dirname "$recipe")")
		rm -rf "${tmp:?}/case"
		mkdir "$tmp/case"
		"$native/tests/q2mk" "$recipe" "$tmp/case/image.qcow2" || continue
		options=$(sed -n 's/^options //p' "tests/cases/$name/expect.check")
		cd "$tmp/case" || exit 1
		# shellcheck disable=SC2086
		judge "$name" image.qcow2 $options
		cd "$root" || exit 1
	done
}

corpus() {
	local image
	bash fuzz/corpus.sh build "$native/tests/q2mk" "$tmp/corpus" || return 1
	n=0
	cd "$tmp/corpus" || exit 1
	for image in */*.qcow2; do
		n=$((n + 1))
		[ $((n % every)) = 0 ] || continue
		judge "$image" "$image" --data
	done
	for target in header walk; do
		same "fuzz target $target" fuzz/q2fuzz "$target" seeds
	done
	cd "$root" || exit 1
}

# The tool that makes images for tests, and what is beyond 32 bits.
others() {
	local recipe
	for recipe in tests/cases/0[0-4]0-*/recipe; do
		rm -rf "${tmp:?}/a" "${tmp:?}/b"
		mkdir "$tmp/a" "$tmp/b"
		"$native/tests/q2mk" "$recipe" "$tmp/a/image"
		$emulator "$foreign/tests/q2mk" "$recipe" "$tmp/b/image"
		diff -r "$tmp/a" "$tmp/b" >/dev/null
		verdict "$arch: q2mk makes the same of $recipe" $?
	done
	cd "$tmp" || exit 1
	for recipe in "$root"/tests/portable/*.recipe; do
		rm -f big
		"$native/tests/q2mk" "$recipe" big || verdict "recipe $recipe" 1
		n=0
		judge "$(basename "$recipe" .recipe)" big
		same "$(basename "$recipe")" bin/qcow2-map extents --output=json big
	done
	rm -f big
	cd "$root" || exit 1
}

for arch in $1; do
	foreign=$root/build/$arch
	build "$arch"
	status=$?
	verdict "$arch: cannot be built" $status
	[ $status = 0 ] || continue
	emulator=$(emulator_of "$arch")
	# That it is another machine's is not taken for granted.
	file -b "$foreign/bin/qcow2-fsck" >"$tmp/what"
	case $arch in
	s390x) grep -q 'MSB.*S/390' "$tmp/what" ;;
	*) grep -q '32-bit LSB' "$tmp/what" ;;
	esac
	verdict "$arch: programs of another kind: $(cat "$tmp/what")" $?
	units
	cases
	corpus
	verdict "$arch: the corpus" $?
	others
done
echo "portable: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
