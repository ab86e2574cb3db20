#!/usr/bin/env bash
# run.sh - programs for other machines do what those for this one do: unit tests,
# golden cases and the corpus, byte for byte.
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh 'ARCH...' EVERY OF  every case is checked and its repair planned, every
#                                   image of the corpus is checked; each EVERY-th is
#                                   mapped and digested, too; with an emulator only
#                                   one of OF images is looked at;
#                                   prints "portable: N passed, N failed"
#
# Programs for this machine are in build/release; what they say is judged by the
# other tests.  The others are run by an emulator, or by the kernel if it can.  Each
# processor has its share of the images.
set -u
export LC_ALL=C
# Tests are slow under an emulator, and share nothing but the process.
export CK_FORK=no

cd "$(dirname "$0")/../.." || exit 1
root=$PWD
native=$root/build/release
every=$2
of=$3
shares=$(nproc)
tmp=$(mktemp -d)
trap '[[ $BASHPID != "$$" ]] || rm -rf "$tmp"' EXIT
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
	i386) "$root/build/i386/tests/test_report" >/dev/null 2>&1 || echo qemu-i386-static ;;
	esac
}

build() { # arch
	[ -e "build/sysroot/$1/complete" ] ||
		sh tests/portable/sysroot.sh "$1" "build/sysroot/$1" || return 1
	make --no-print-directory -j"$shares" VARIANT="$1" WERROR=1 portable-programs >"$tmp/log" 2>&1 || {
		tail -n 20 "$tmp/log" >&2
		return 1
	}
}

# same NAME PROGRAM ARGUMENT...: both say and return the same.
same() {
	local what=$1 program=$2 status
	shift 2
	"$native/$program" "$@" >"$own/here" 2>"$own/here.err"
	status=$?
	$emulator "$foreign/$program" "$@" >"$own/there" 2>"$own/there.err"
	[ $? = $status ] && cmp -s "$own/here" "$own/there" &&
		cmp -s "$own/here.err" "$own/there.err"
	verdict "$arch: $what ($program $*)" $?
}

# Everything that the tools say of an image, and what they would write.
judge() { # number name image options...
	local n=$1 name=$2 image=$3
	shift 3
	same "$name" bin/qcow2-fsck -n "$@" --output=json --all-findings "$image"
	rm -f "$own/here.plan" "$own/there.plan"
	grep -q '"verdict": "clean"' "$own/here" || plan "$name" "$image"
	[ $((n % every)) = 0 ] || return
	same "$name: map" bin/qcow2-map layout --output=json "$image"
	same "$name: digest" bin/qcow2-dump --digest -q --threads=2 "$image"
	[ ! -e "$own/here.plan" ] ||
		same "$name: plan" bin/qcow2-fsck --show-plan="$own/here.plan" --output=json
}

# A plan is a file that travels.
plan() { # name image
	local name=$1 image=$2
	"$native/bin/qcow2-fsck" -q --plan="$own/here.plan" "$image" >/dev/null 2>&1
	$emulator "$foreign/bin/qcow2-fsck" -q --plan="$own/there.plan" "$image" >/dev/null 2>&1
	if [ -e "$own/here.plan" ] || [ -e "$own/there.plan" ]; then
		cmp -s "$own/here.plan" "$own/there.plan"
		verdict "$arch: $name: the plan" $?
	fi
}

units() {
	local test n=0
	for test in tests/unit/test_*.c; do
		mine $((n += 1)) || continue
		test=$(basename "$test" .c)
		(cd "$own" && $emulator "$foreign/tests/$test") >"$own/unit" 2>&1
		verdict "$arch: unit $test" $?
	done
}

mine() { # number
	[ $(($1 % shares)) = "$share" ]
}

chosen() { # number of an image
	mine "$1" && { [ -z "$emulator" ] || [ $(($1 % of)) = 0 ]; }
}

cases() {
	local recipe options name n=0
	for recipe in tests/cases/[0-9]*/recipe; do
		chosen $((n += 1)) || continue
		name=$(basename "$(dirname "$recipe")")
		rm -rf "$own/case"
		mkdir "$own/case"
		"$native/tests/q2mk" "$recipe" "$own/case/image.qcow2" || {
			verdict "recipe $name" 1
			continue
		}
		options=$(sed -n 's/^options //p' "tests/cases/$name/expect.check")
		cd "$own/case" || exit 1
		# shellcheck disable=SC2086
		judge "$n" "$name" image.qcow2 $options
		cd "$root" || exit 1
	done
}

corpus() {
	local image n=0
	cd "$tmp/corpus" || exit 1
	for image in */*.qcow2; do
		chosen $((n += 1)) || continue
		# An emulator takes long to plan the repair of a bomb.
		if [ $((n % every)) = 0 ] && [[ $image != security/* ]]; then
			judge $n "$image" "$image" --data
		else
			same "$image" bin/qcow2-fsck -n --data --output=json --all-findings "$image"
		fi
	done
	cd "$root" || exit 1
}

# The same files of the same length; holes of a TiB are not read.
alike() { # folder folder
	(cd "$1" && stat -c '%n %s' -- *) >"$own/sizes"
	(cd "$2" && stat -c '%n %s' -- *) | cmp -s - "$own/sizes" || return 1
	for name in "$1"/*; do
		head -c 64M "$name" | cmp -s - <(head -c 64M "$2/${name##*/}") || return 1
	done
}

# The targets of the fuzzers; the tool that makes images for tests; and what is
# beyond 32 bits.
others() {
	local recipe target
	cd "$tmp/corpus" || exit 1
	for target in open walk check; do
		same "fuzz target $target" fuzz/q2fuzz "$target" seeds
	done
	cd "$root" || exit 1
	for recipe in tests/cases/0[0-4]0-*/recipe; do
		rm -rf "$own/a" "$own/b"
		mkdir "$own/a" "$own/b"
		"$native/tests/q2mk" "$recipe" "$own/a/image"
		$emulator "$foreign/tests/q2mk" "$recipe" "$own/b/image"
		alike "$own/a" "$own/b"
		verdict "$arch: q2mk makes the same of $recipe" $?
	done
	cd "$own" || exit 1
	for recipe in "$root"/tests/portable/*.recipe; do
		rm -f big
		"$native/tests/q2mk" "$recipe" big || verdict "recipe $recipe" 1
		judge 0 "$(basename "$recipe" .recipe)" big
		same "$(basename "$recipe")" bin/qcow2-map extents --output=json big
	done
	rm -f big
	cd "$root" || exit 1
}

# One processor's share of the work on one machine's programs.
work() { # arch share
	arch=$1
	share=$2
	own=$tmp/$arch.$share
	mkdir "$own"
	foreign=$root/build/$arch
	emulator=$(emulator_of "$arch")
	units
	cases
	corpus
	[ "$share" != 0 ] || others
	echo "$passed $failed" >"$own.counts"
}

bash fuzz/corpus.sh build "$native/tests/q2mk" "$tmp/corpus"
verdict 'the corpus' $?
for arch in $1; do
	build "$arch"
	status=$?
	verdict "$arch: cannot be built" $status
	[ $status = 0 ] || continue
	# That it is another machine's is not taken for granted.
	file -b "build/$arch/bin/qcow2-fsck" >"$tmp/what"
	case $arch in
	s390x) grep -q 'MSB.*S/390' "$tmp/what" ;;
	*) grep -q '32-bit LSB' "$tmp/what" ;;
	esac
	verdict "$arch: programs of another kind: $(cat "$tmp/what")" $?
	for ((share = 0; share < shares; share++)); do
		(
			passed=0
			failed=0
			work "$arch" $share
		) &
	done
	wait
	for ((share = 0; share < shares; share++)); do
		read -r p f <"$tmp/$arch.$share.counts" || f=1 # it was killed
		passed=$((passed + ${p:-0}))
		failed=$((failed + ${f:-1}))
		p='' f=''
	done
done
echo "portable: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
