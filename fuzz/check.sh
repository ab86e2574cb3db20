#!/usr/bin/env bash
# check.sh - every target over the corpus, the cases and generated images.
#
# SPDX-License-Identifier: MIT
#
# usage: check.sh BUILD_DIR             prints "fuzz: N passed, N failed"
set -u

build=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
fuzz=$build/fuzz/q2fuzz
gen=$build/fuzz/q2gen
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
passed=0
failed=0
# Sanitizers cost ten times as much: generated images are fewer there, and of the images
# that a target takes long for, one of so many is tried.
count=200
every=6
repaired=1
patience=20
slow=none
case $build in
*asan | *tsan)
	count=40 every=16 repaired=4 patience=100
	slow='repair crash-repair rescue plan keep write dump report'
	;;
*cov) patience=300 ;; # nothing is optimised there
esac
is_slow() { [[ " $slow " == *" $1 "* ]]; }

verdict() { # what status [errors]
	local errors=${3:-err}
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "fuzz: $1" >&2
		[ ! -s "$errors" ] || head -n 5 "$errors" >&2
	fi
}

# As many at a time as there are processors; what they say is told in order.
jobs=${JOBS:-$(nproc)}
n=0
names=()
job() { # what status command...
	local what=$1 want=$2
	shift 2
	n=$((n + 1))
	names[n]=$what
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
	(
		"$@" >"out.$n" 2>"err.$n" </dev/null
		echo $(($? != want)) >"status.$n"
	) &
}

all_jobs() {
	local i
	wait
	for ((i = 1; i <= n; i++)); do
		verdict "${names[i]}" "$(cat "status.$i" 2>/dev/null)" "err.$i"
	done
	n=0
}

run() { # what arguments...
	local what=$1
	shift
	job "$what (q2fuzz $*)" 0 "$fuzz" "$1" -T $patience "${@:2}"
}

every() { # number file... ; the files, one of so many
	local of=$1 i=0 file
	shift
	for file in "$@"; do
		i=$((i + 1))
		[ $((i % of)) != 0 ] || echo "$file"
	done
}

# Images of all golden cases, and of the corpus.
mkdir cases small
for recipe in "$root"/tests/cases/[0-9]*/recipe; do
	name=$(basename "$(dirname "$recipe")")
	"$build/tests/q2mk" "$recipe" "cases/$name" 2>err || verdict "recipe of $name" 1
done
find cases -size +2M -delete
find cases -size -17 -exec cp {} small \;
[ "$(ls small | wc -l)" -gt 300 ]
verdict 'hundreds of small images' $?
bash "$root/fuzz/corpus.sh" build "$build/tests/q2mk" corpus 2>err
verdict 'the corpus is built' $?
find corpus/regress corpus/field -name '*.qcow2' -size -17 -exec cp {} small \;
jq 'del(.images[] | .sha256, .bytes)' corpus/MANIFEST.json >a.json
jq 'del(.images[] | .sha256, .bytes)' "$root/corpus/MANIFEST.json" | cmp -s - a.json
verdict 'the manifest is that of the recipes' $?
[ "$(du -sm corpus | cut -f1)" -le 10 ]
verdict 'the corpus is small' $?
job 'what the corpus promises of each image' 0 bash "$root/fuzz/corpus.sh" verify "$build" corpus
# What was found and is not mended yet must fail, or take too long, and only there.
while read -r target file; do
	("$fuzz" "$target" -T 1 "corpus/$file") >out 2>&1
	[ $? = 134 ]
	verdict "no longer open, remove the line: $target $file" $?
	mkdir -p "without/$target"
	echo "$file" >>"without/$target/files"
done < <(jq -r '.images[] | select(.open) | .file as $f | .open[] | . + " " + $f' corpus/MANIFEST.json)
over_corpus() { # target
	local not='not-one' of=1
	case $1 in
	# Bombs are for those who read: each of a repair's writes would be one more.
	crash-repair | rescue) not='bomb-*' ;;
	esac
	if is_slow "$1"; then not='bomb-*' of=3; fi
	# Plans are made many times there.
	[ "$1" != keep ] || not='bomb-*' of=$((of + 2))
	find corpus -name '*.qcow2' ! -path '*/inputs/*' ! -name "$not" |
		grep -vFf <(cat "without/$1/files" 2>/dev/null) | sort >"files.$1"
	# What ran code that nothing before it did is left out nowhere.
	[ ! -d "corpus/inputs/$1" ] || set -- "$1" "corpus/inputs/$1"
	# shellcheck disable=SC2046
	run "target $1 over the corpus" "$@" $(every $of $(cat "files.$1"))
}
over_cases() { # target; the repairers take no large ones
	local of=1 images='cases/*'
	case $1 in
	keep) of=$((4 * repaired)) images='small/*' ;;
	plan) of=$((2 * repaired)) images='small/*' ;;
	repair | crash-repair | rescue) of=$repaired images='small/*' ;;
	*) ! is_slow "$1" || of=$repaired ;;
	esac
	# shellcheck disable=SC2046,SC2086
	run "target $1 over all cases" "$1" $(every $of $images)
}
generated() { # target
	local many=$count profile last=6
	case $1 in
	keep) many=$((count / 4)) last=5 ;;
	repair | crash-repair | rescue | plan) many=$((count / 2)) last=5 ;;
	esac
	for ((profile = 0; profile <= last; profile++)); do
		run "target $1, generated" "$1" -n $many -s 1000 -p $profile
	done
	case $1 in
	chain | dump) run "target $1, generated chains" "$1" -m -n $count -s 1000 ;;
	esac
}
for target in $("$fuzz" --help | sed -n '/^targets:/,$s/^  \([a-z-]*\) .*/\1/p'); do
	over_corpus "$target"
	over_cases "$target"
	generated "$target"
done
# shellcheck disable=SC2046
run 'each allocation and read failing in turn' check -f $(every $every small/*)
for target in walk compressed map chain dump keep; do
	run "each failing in turn, target $target" $target -f corpus/seeds/snapshot.qcow2 corpus/seeds/bitmap.qcow2 corpus/seeds/v3-512-r4.qcow2
done
# One failure in four of each image; with sanitizers each place of the code once, in a
# tenth of the time.
each=-f4 some=-f
[ "$repaired" = 1 ] || each=-F12 some=-f5
run 'each failing in turn, target write' write $each corpus/seeds/{bitmap,data-file,luks,snapshot,v3-512-r4}.qcow2
for target in repair rescue plan; do
	run "each failing in turn, target $target" $target $some corpus/field/cross-link.qcow2 corpus/field/l1-wiped-snapshots.qcow2 corpus/field/roots-lost.qcow2
done
# In each place of the code once, with the image that gets there first: the largest come
# first, as a loop that fails at its only turn does not show whether it ends.
for target in check repair rescue plan map dump; do
	case $target in
	repair | rescue) depth=10 of=$((8 * repaired)) ;; # the corpus has such inputs, too
	plan) depth=12 of=$((4 * repaired)) ;;
	dump) depth=12 of=$((2 * repaired)) ;;
	*) depth=12 of=$repaired ;;
	esac
	# shellcheck disable=SC2012,SC2046
	run "a failure in each place, target $target" $target -F$depth $(every $of $(ls -S small/*))
done

# An image is a function of its seed, and of nothing else.
"$gen" --seed 7 --count 50 --out a && "$gen" --seed 7 --count 25 --out b && "$gen" --seed 32 --count 25 --out b &&
	diff -r a b >err
verdict 'the generator is a function of the seed' $?
# Undamaged images are clean, for others as well.
sound() {
	local image bad=0
	"$gen" --seed 1 --count 40 --profile sound --out sound
	# These had more references than refcounts of two bits can tell.
	for image in 306 499 1575; do "$gen" --seed $image --profile sound --out sound; done
	for image in sound/*; do
		"$build/bin/qcow2-fsck" "$image" || bad=$((bad + 1))
		grep -q CANARY "$image" && continue # a backing file that is not there
		qemu-img check -f qcow2 "$image" || bad=$((bad + 1))
	done
	return $bad
}
job 'sound images that are not sound' 0 sound
# The parsers under test may crash: that is told, and is status 1.
"$gen" --seed 1 --count 3 --cmd 'kill -SEGV $$; : @@' >out 2>err
verdict 'a command that is killed' $(($? != 1))
"$gen" --seed 1 --count 1 --timeout 1 --cmd 'sleep 20; : @@' >out 2>err
verdict 'a command that hangs' $(($? != 3))
# The kit for others, on parsers that are not ours.
export Q2GUARD=$build/fuzz/q2guard
kit() { # what status arguments...
	local what=$1 want=$2
	shift 2
	job "q2corpus: $what" "$want" bash "$root/fuzz/q2corpus" "$@" --corpus corpus
}
case $build in
*asan | *tsan) ;; # others' programs, once, are enough
*)
	mkdir one
	cp corpus/seeds/bitmap.qcow2 corpus/seeds/backing-qcow2.qcow2 one
	kit 'our check' 0 run --cmd "$build/bin/qcow2-fsck @@" --junit out.xml --jsonl out.jsonl
	kit 'qemu-img check opens backing files' 1 run --images one --cmd 'qemu-img check -f qcow2 @@'
	kit 'qemu-img check does nothing else wrong' 0 run --follows --cmd 'qemu-img check -f qcow2 @@' --jsonl qemu.jsonl
	if command -v qcowinfo >/dev/null; then
		kit 'qcowinfo' 0 run --cmd 'qcowinfo @@'
	fi
	mkdir small-one odd
	cp corpus/seeds/bitmap.qcow2 small-one
	cp corpus/seeds/bitmap.qcow2 'odd/a"b&<c>.qcow2'
	cp corpus/seeds/bitmap.qcow2 $'odd/line\nand \xff\x01.qcow2'
	on() { # what status command options...
		kit "$1" "$2" run --images small-one --cmd "$3; : @@" "${@:4}"
	}
	on 'a command that writes' 1 'echo >>@@'
	on 'a command that may write' 0 'echo >>@@' --writes
	on 'a command that removes the image' 1 'rm @@'
	on 'a command that puts a pipe in its place' 1 'rm @@; mkfifo @@'
	on 'a command that puts a device in its place' 1 'rm @@; ln -s /dev/zero @@'
	on 'a command that crashes' 1 'kill -SEGV $$'
	on 'a status that is a crash' 1 'exit 101' --crash '2 101'
	on 'a command that hangs' 3 'trap "" TERM; sleep 20' --timeout 0.2
	on 'a command that leaves a daemon' 1 'setsid sh -c "sleep 20.25 & sleep 20.25" & true'
	on 'a command that forks without end' 1 'b() { b | b & }; b; sleep 5'
	on 'a command that takes memory' 1 'head -c 200M /dev/zero | tail' --rss 60
	on 'a command that fills the disk' 1 'for i in 1 2 3; do head -c 40M /dev/zero >@@.$i; done' --file 60
	on 'files without a name' 1 'for i in 7 8 9; do eval "exec $i>@@.$i"; rm @@.$i; head -c 40M /dev/zero >&$i; done; sleep 5' --file 60
	on 'a file that is too large' 1 'head -c 80M /dev/zero >@@.1' --file 60
	on 'a command that writes elsewhere' 1 "echo >$tmp/elsewhere"
	on 'a command that may write there' 0 "echo >$tmp/one/allowed" --may-write one
	on 'a link that leads elsewhere' 1 "ln -s $tmp/elsewhere @@.l; echo >@@.l"
	on 'a command that removes a folder elsewhere' 1 "rmdir $tmp/one"
	on 'modes of an image elsewhere' 1 "chmod 600 $tmp/one/bitmap.qcow2"
	on 'another root is not to be had' 0 'chroot . /bin/true; [ $? = 125 ] || kill $$'
	on 'memory files' 1 "python3 -c 'import os, time; [os.write(os.memfd_create(n), bytes(40 << 20)) for n in \"ab\"]; time.sleep(5)'" --file 60
	[ "$(uname -m)" != x86_64 ] ||
		on 'times of an image elsewhere, by an old call' 1 "python3 -c 'import ctypes; ctypes.CDLL(None).syscall(132, b\"$tmp/one/bitmap.qcow2\", None)'"
	on 'the canary is opened' 1 'cat Q2-CANARY-DO-NOT-OPEN'
	on 'the canary is found from another folder' 1 'cd /; cat ./tmp/../Q2-CANARY-DO-NOT-OPEN'
	# A second filter that asks is not to be had: then a library is preloaded.
	cp corpus/seeds/bitmap.qcow2 inner.qcow2
	echo "$Q2GUARD inner.qcow2 'cat Q2-CANARY-DO-NOT-OPEN; : @@' | grep -q 'canary\":true.*preload'" >inner.sh
	on 'the canary, by a preloaded library' 0 'sh inner.sh || kill $$' --may-write .
	on 'much output' 0 'head -c 200M /dev/zero; head -c 200M /dev/zero >&2'
	kit 'an image in quotes, by standard input, twice' 0 run --images small-one --strict --cmd 'cmp "@@" - <@@'
	mkdir two later fake
	cp corpus/seeds/bitmap.qcow2 two/1
	cp corpus/seeds/bitmap.qcow2 two/2
	kit 'a status of 127 later on is one' 0 run --images two --may-write later --cmd ': @@; test -e '"$tmp/later/x && exit 127; : >$tmp/later/x"
	cp "$Q2GUARD" fake
	printf '#!/bin/sh\nkill -SEGV $$\n' >fake/q2keeps
	chmod +x fake/q2keeps
	job 'q2corpus: a comparison that crashes' 1 env Q2GUARD="$tmp/fake/q2guard" bash "$root/fuzz/q2corpus" repair \
		--images small-one --check-cmd 'true @@' --repair-cmd 'true @@'
	kit 'names of images' 1 run --images odd --cmd 'kill -SEGV $$; : @@' --junit odd.xml --jsonl odd.jsonl
	kit 'a command that is not there' 2 run --images one --cmd 'no-such-parser @@'
	kit 'a command with a quote that does not end' 2 run --images one --cmd "true '@@"
	kit 'a command without the image' 2 run --images one --cmd 'true'
	kit 'no command' 2 run
	mkdir holes twice twice/a
	printf 'QFI\373' >holes/h
	printf x | dd of=holes/h bs=1 seek=8192 conv=notrunc status=none
	printf y | dd of=holes/h bs=1 seek=24576 conv=notrunc status=none
	truncate -s 64K holes/h
	kit 'a command that fills holes with zeros' 0 run --images holes --cmd 'cat @@ >@@.copy; cat @@.copy >@@'
	cp corpus/seeds/bitmap.qcow2 twice/a-b.qcow2
	cp corpus/seeds/bitmap.qcow2 twice/a/b.qcow2
	cp corpus/seeds/bitmap.qcow2 twice/c
	cp corpus/seeds/bitmap.qcow2 twice/c.qcow2
	kit 'export: names that are the same' 0 export raw out-twice --images twice/
	kit 'a folder that is not there' 2 run --images no-such-folder --cmd 'true @@'
	kit 'a report that cannot be written' 2 run --images one --cmd 'true @@' --junit no-such-folder/x
	kit 'no number' 2 run --images one --cmd 'true @@' --timeout soon
	fixes() { # what status check repair options...
		kit "$1" "$2" repair --images damaged --check-cmd "$3" --repair-cmd "$4" "${@:5}"
	}
	mkdir damaged
	cp corpus/field/cross-link.qcow2 corpus/security/qemu-3cce51c9.qcow2 damaged
	ours="$build/bin/qcow2-fsck"
	fixes 'our repair' 0 "$ours -n @@" "$ours -y @@" --fixed '0 1'
	fixes 'a repair that lies' 1 'false @@' 'true @@'
	fixes 'a repair that lies with status 1' 1 'false @@' 'exit 1; : @@' --fixed '0 1'
	fixes 'a repair that says that it failed' 0 'false @@' 'exit 1; : @@'
	fixes 'a repair that is never done' 1 'true @@' 'echo >>@@'
	fixes 'a repair that grows the file' 1 'true @@' 'truncate -s 8M @@'
	fixes 'a repair that destroys what there was' 1 'qemu-img check -q -f qcow2 @@' 'qemu-img create -q -f qcow2 @@ 1M'
	fixes 'a repair that loses data' 1 'true @@' 'dd of=@@ if=/dev/zero bs=512 seek=5 count=9 conv=notrunc'
	mkdir snapshots
	cp corpus/seeds/snapshot.qcow2 snapshots
	kit 'a repair that removes a snapshot' 1 repair --images snapshots --check-cmd 'true @@' \
		--repair-cmd 'qemu-img snapshot -d one @@; true'
	fixes 'a repair that removes the image' 1 'true @@' 'rm @@'
	fixes 'a check that writes' 1 'echo >>@@' 'true @@'
	fixes 'a check that hangs' 3 'sleep 20; : @@' 'true @@' --timeout 0.2
	fixes 'a repair that is not there' 2 'true @@' 'no-such-repair @@'
	job 'q2gen: a command that is not there' 2 "$gen" --seed 1 --cmd 'no-such-parser @@'
	job 'q2gen: a command without the image' 2 "$gen" --seed 1 --cmd true
	job 'q2gen: a negative count' 2 "$gen" --seed 1 --count -1 --out negative
	job 'q2gen: no number' 2 "$gen" --seed one --out none
	head -c 300000 /dev/zero >long
	job 'q2gen: a file that would be cut' 2 "$gen" --seed 1 --one long
	better() { # the mutator finds more of ours and of qemu-img's than random bytes do
		JOBS=1 bash "$root/fuzz/beats.sh" "$build" 20 - | awk -F '|' '
			{ theirs[NR] = $4; ours[NR] = $5 }
			END { exit !(NR == 4 && theirs[4] > theirs[3] && ours[4] > ours[3]) }'
	}
	job 'the mutator beside random bytes' 0 better
	# What a repair calls repaired is clean, for qemu-img too.
	job 'repairs of generated images' 0 env JOBS=1 bash "$root/fuzz/repairs.sh" "$build" 120 70000
	;;
esac
for form in raw crosvm go oss-fuzz; do
	kit "export as $form" 0 export $form "out-$form"
done
all_jobs
if [ -d one ]; then
	[ -e one/bitmap.qcow2 ] && [ ! -e elsewhere ] && [ -e one/allowed ] && ! pgrep -f '^sleep 20\.25$' >out
	verdict 'q2corpus: what a command does elsewhere is undone' $?
	python3 -c 'import sys, xml.dom.minidom as m; s = m.parse("odd.xml").documentElement
sys.exit(not len(s.getElementsByTagName("failure")) == int(s.getAttribute("failures")) == len(s.getElementsByTagName("testcase")) == 2)' &&
		[ "$(jq -r 'select(.violations == "K-1") | .class' odd.jsonl)" = $'any\nany' ]
	verdict 'q2corpus: names of images in reports' $?
	# ^C: nothing is left behind.
	mkdir away
	rm later/x
	TMPDIR=$tmp/away bash "$root/fuzz/q2corpus" run --images two --may-write later --jsonl known.jsonl \
		--cmd ": @@; test -e $tmp/later/x || exec touch $tmp/later/x; setsid sleep 20.5 & sleep 20.5" >out 2>&1 &
	while ! pgrep -f '^sleep 20\.5$' >out; do sleep 0.1; done
	kill -TERM $!
	wait $!
	[ $? = 143 ] && ! pgrep -f '^sleep 20\.5$' >out && [ -z "$(ls away)" ]
	verdict 'q2corpus: interrupted' $?
	[ "$(wc -l <known.jsonl)" = 1 ]
	verdict 'q2corpus: interrupted, what is known is kept' $?
	[ "$(ls out-twice | wc -l)" = 4 ]
	verdict 'export: an image for each' $?
	[ "$(sed -n 's/^| all | \([0-9]*\) .*/\1/p' "$root/fuzz/README.md")" = "$(jq '.images | length' corpus/MANIFEST.json)" ]
	verdict 'the table of acceptance in the guide is of this corpus: make fuzz-table' $?
	grep -q '^<testsuite .*failures="0"' out.xml && [ "$(jq -s length out.jsonl)" = "$(jq '.images | length' corpus/MANIFEST.json)" ]
	verdict 'q2corpus: JUnit and JSON lines' $?
	bash "$root/fuzz/acceptance.sh" "$build" corpus - qemu.jsonl out.jsonl >out 2>err &&
		[ "$(grep -c '^| [a-z-]* | [0-9]* | .* | 0 |$' out)" = 8 ]
	verdict 'the table of acceptance: we open no named file' $?
fi
for form in raw crosvm go; do
	[ "$(ls out-$form | wc -l)" -gt 150 ]
	verdict "export as $form: files" $?
done
[ "$(python3 -m zipfile -l out-oss-fuzz_seed_corpus.zip | grep -c '\.qcow2 ')" = "$(ls out-raw | wc -l)" ]
verdict 'export as oss-fuzz: an archive of all' $?
[ "$(python3 -c 'import ast; t = open("out-go/bitmap").read().split("\n")
assert t[0] == "go test fuzz v1" and t[1].startswith("[]byte(") and t[2:] == [""]
print(ast.literal_eval("b" + t[1][7:-1]) == open("corpus/seeds/bitmap.qcow2", "rb").read())')" = True ]
verdict 'export as go: the bytes' $?
cmp -s <(tail -c +17 out-crosvm/bitmap) corpus/seeds/bitmap.qcow2
verdict 'export as crosvm: 16 bytes in front' $?
# A trailer with "each" stands for as many failures as there are places.
cp corpus/field/cross-link.qcow2 each
printf 'Q2CT\1\200\0\0\0\0\0\6' >>each
head -c 20 /dev/zero >>each
[ "$("$fuzz" check each | sed -n 's/^q2fuzz: \([0-9]*\) runs.*/\1/p')" -gt 10 ]
verdict 'a failure in each place, by a trailer' $?
# A violation is told with the input, and is no success.
printf 'QFI\373' >broken
"$fuzz" check missing-file >out 2>err
verdict 'a file that is not there' $(($? != 2))
"$fuzz" no-such-target broken >out 2>err
verdict 'a target that is not there' $(($? != 2))
echo "fuzz: $passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
