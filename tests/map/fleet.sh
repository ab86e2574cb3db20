#!/usr/bin/env bash
# fleet.sh - qcow2-map graph and audit on folders full of images.
# SPDX-License-Identifier: MIT
#
# usage: fleet.sh MAP
#
# The sums are held against du and stat, the worst case against images that are
# really filled, and the metrics against promtool and a node exporter.
set -u
export LC_ALL=C TZ=UTC

map=$(readlink -f "${1:?usage: fleet.sh MAP}")
dir=$(mktemp -d) || exit 1
exporter=
shared=
full=
loops=()
trap '[ $BASHPID != $$ ] || { [ -z "$exporter" ] || kill "$exporter"
	[ -z "$full" ] || umount "$full"
	for loop in "${loops[@]}"; do losetup -d "$loop"; done
	rm -rf "$dir" ${shared:+"$shared"}; }' EXIT
cd "$dir" || exit 1
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
		echo "FAILED: $name" >&2
	fi
}

run() {
	timeout 60 "$map" "$@" >"$dir/out" 2>"$dir/err"
	status=$?
}

json() { jq -e "$@" "$dir/out" >/dev/null; }
out_has() { grep -qF -- "$1" "$dir/out"; }

over() { # NAME BASE FORMAT
	qemu-img create -q -f qcow2 -u -b "$2" -F "$3" "$1" 8M
}

# ------------------------------------------------- 500 images, shared bases
fleet() {
	local i
	mkdir fleet fleet/a fleet/b
	qemu-img create -q -f qcow2 -o cluster_size=4k fleet/base.qcow2 8M
	qemu-io -c 'write -P 1 0 3M' fleet/base.qcow2 >/dev/null
	truncate -s 5M fleet/base.raw
	over top1.qcow2 ../base.qcow2 qcow2
	over top2.qcow2 ../base.raw raw
	for ((i = 0; i < 249; i++)); do
		cp top1.qcow2 fleet/a/$i.qcow2
		cp top2.qcow2 fleet/b/$i.qcow2
	done
	rm top1.qcow2 top2.qcow2

	run audit --output=json fleet
	check 'audit: exit status' test "$status" = 0
	check 'audit: 500 files' json '.files | length == 500'
	check 'audit: lengths' json --argjson n "$(find fleet -type f -printf '%s\n' | awk '{s += $1} END {print s}')" \
		'[.files[].length] | add == $n'
	check 'audit: allocation as stat has it' json \
		--argjson n "$(find fleet -type f -printf '%b\n' | awk '{s += $1 * 512} END {print s}')" \
		'.volumes | map(.allocation) | add == $n'
	check 'audit: allocation as du has it' json \
		--argjson n "$(find fleet -type f -print0 | du -c -B1 --files0-from=- | tail -n 1 | cut -f 1)" \
		'.volumes | map(.allocation) | add == $n'
	check 'audit: a base that others have does not grow' json '.files[] |
		select(.filename == "fleet/base.qcow2") | .overlays == 249 and .commitment == .allocation'
	check 'audit: the sum is that of the files' json \
		'([.files[].commitment] | add) == (.volumes | map(.commitment) | add)'
	check 'audit: free space' json --argjson n "$(($(stat -f -c '%a * %S' fleet)))" '.volumes[0].free as $f |
		($f - $n | fabs) < 1e9'
	run audit --output=json fleet fleet/a fleet/base.qcow2
	check 'audit: what is given twice counts once' json '.files | length == 500'
	run audit --output=ndjson fleet
	check 'audit: ndjson' test "$(jq -s 'map(select(.filename)) | length' out)" = 500
	run audit --no-headings -b -o file,allocation fleet
	check 'audit: the table has a line each' test "$(wc -l <out)" = 500
	check 'audit: the table in bytes' test "$(awk '{s += $2} END {print s}' out)" = \
		"$(find fleet -type f -printf '%b\n' | awk '{s += $1 * 512} END {print s}')"
	run audit --tree fleet
	check 'audit: a tree' out_has '|-fleet/a/0.qcow2'
	run graph --dependants fleet/base.raw fleet
	check 'graph: dependants' test "$(wc -l <out)" = 249
}

# --------------------------------------------------- the worst case, for real
worst_case() {
	local o size after
	for o in cluster_size=512 cluster_size=4k cluster_size=64k extended_l2=on,cluster_size=16k \
		cluster_size=4k,refcount_bits=64 grown,cluster_size=512 \
		grown,cluster_size=512,refcount_bits=64; do
		size=6291456
		# So much that the refcount table has to grow, again and again.
		[ "${o#grown,}" = "$o" ] || size=33554432
		o=${o#grown,}
		qemu-img create -q -f qcow2 -o "$o" full.qcow2 $size
		run audit --output=json full.qcow2
		cp out before.json
		qemu-io -t unsafe -c "write -P 7 0 $size" full.qcow2 >/dev/null
		after=$(stat -c %s full.qcow2)
		check "worst case of $o: $after bytes" test "$after" -le "$(jq '.files[0].commitment' before.json)"
		check "worst case of $o: no more than a tenth too much" \
			test "$(jq '.files[0].commitment * 10' before.json)" -le $((after * 11 + 655360))
		run audit --output=json full.qcow2
		# What it takes is counted in blocks of the file system.
		check "worst case of $o: the same when full" test "$(jq '.files[0].commitment' out)" -le \
			"$(jq '.files[0].commitment + 4096' before.json)"
	done
	# What is neither data nor a table of them: bitmaps, and the LUKS header.
	for o in cluster_size=512 cluster_size=64k; do
		qemu-img create -q -f qcow2 -o "$o" full.qcow2 $size
		for _ in 1 2 3; do
			qemu-img bitmap --add -g 512 full.qcow2 "b$_"
		done
		run audit --output=json full.qcow2
		cp out before.json
		qemu-io -t unsafe -c "write -P 7 0 $size" full.qcow2 >/dev/null
		after=$(stat -c %s full.qcow2)
		check "worst case of $o with bitmaps: $after bytes" test "$after" -le "$(jq '.files[0].commitment' before.json)"
		check "worst case of $o with bitmaps: no more than a tenth too much" \
			test "$(jq '.files[0].commitment * 10' before.json)" -le $((after * 11 + 655360))
		# QEMU measures the CPU for the key derivation, and at times cannot.
		for _ in {1..60}; do
			qemu-img create -q --object secret,id=key,data=sesame -f qcow2 \
				-o "$o,encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10" \
				full.qcow2 $size 2>err && break
		done
		run audit --output=json full.qcow2
		cp out before.json
		qemu-io -t unsafe --object secret,id=key,data=sesame -c "write -P 7 0 $size" \
			--image-opts driver=qcow2,encrypt.key-secret=key,file.filename=full.qcow2 >/dev/null
		after=$(stat -c %s full.qcow2)
		check "worst case of $o with LUKS: $after bytes" test "$after" -le "$(jq '.files[0].commitment' before.json)"
		check "worst case of $o with LUKS: no more than a tenth too much" \
			test "$(jq '.files[0].commitment * 10' before.json)" -le $((after * 11 + 655360))
	done
	truncate -s 3M sparse.raw
	run audit --output=json sparse.raw
	check 'raw: all of it' json '.files[0] | .commitment == 3145728 and .allocation == 0'
	rm -f full.qcow2 sparse.raw
}

# -------------------------------------------------------------- odd families
# has FILE FLAG
has() {
	json --arg f "$1" --arg flag "$2" '.files[] | select(.filename == $f) | .flags | index($flag)'
}

families() {
	local name
	mkdir kin kin/sub elsewhere
	qemu-img create -q -f qcow2 kin/base.qcow2 8M
	qemu-img create -q -f qcow2 elsewhere/far.qcow2 8M
	over kin/one.qcow2 base.qcow2 qcow2
	over kin/two.qcow2 base.qcow2 qcow2
	over kin/sub/three.qcow2 ../one.qcow2 qcow2
	over kin/gone.qcow2 nowhere.qcow2 qcow2
	over kin/far.qcow2 ../elsewhere/far.qcow2 qcow2
	mkdir away
	over away/lost.qcow2 ../elsewhere/lost.qcow2 qcow2
	over away/lost-folder.qcow2 ../elsewhere/no/such/folder/lost.qcow2 qcow2
	over away/lost-root.qcow2 /no-such-file-here.qcow2 qcow2
	over away/lost-here.qcow2 ./sub/lost.qcow2 qcow2
	over away/lost-back.qcow2 ../away/lost.raw raw
	over away/through-file.qcow2 lost.qcow2/x qcow2
	over kin/remote.qcow2 nbd://localhost/x raw
	over kin/wrong.qcow2 base.qcow2 raw
	over kin/loop-a.qcow2 loop-b.qcow2 qcow2
	over kin/loop-b.qcow2 loop-link.qcow2 qcow2
	ln -s loop-a.qcow2 kin/loop-link.qcow2
	over kin/on-loop.qcow2 loop-a.qcow2 qcow2
	over kin/self.qcow2 self.qcow2 qcow2 2>/dev/null || {
		over kin/self.qcow2 x qcow2
		qemu-img rebase -q -u -f qcow2 -F qcow2 -b self.qcow2 kin/self.qcow2
	}
	qemu-img create -q -f qcow2 -u -b base.qcow2 -F qcow2 kin/larger.qcow2 9M
	ln kin/one.qcow2 kin/same.qcow2
	touch -d 2001-01-01 kin/two.qcow2
	printf 'QFI\373\0\0\0\3' >kin/stub.qcow2
	mkfifo kin/fifo

	run graph --output=json kin
	check 'graph: broken chains, and a file that is none' test "$status" = 12
	check 'graph: missing base' has kin/gone.qcow2 missing-base
	check 'graph: outside' has kin/far.qcow2 outside
	check 'graph: outside is not opened' json '[.files[].filename] | index("elsewhere/far.qcow2") | not'
	check 'graph: over a protocol' has kin/remote.qcow2 not-a-file
	check 'graph: wrong format' has kin/wrong.qcow2 base-format
	check 'graph: loop by a link' has kin/loop-a.qcow2 loop
	check 'graph: loop, the other one' has kin/loop-b.qcow2 loop
	check 'graph: loop of one' has kin/self.qcow2 loop
	check 'graph: on a loop is not in it' json '.files[] |
		select(.filename == "kin/on-loop.qcow2") | .flags | index("loop") | not'
	check 'graph: shared base' has kin/base.qcow2 shared-base
	check 'graph: smaller base' has kin/larger.qcow2 base-smaller
	check 'graph: newer base' has kin/two.qcow2 base-newer
	check 'graph: one file of two names' json '.files[] | select(.inode == '"$(stat -c %i kin/one.qcow2)"') | .paths == 2'
	check 'graph: a stub' json '.files[] | select(.filename == "kin/stub.qcow2") | .format == "unreadable" and .error'
	check 'graph: sorted' json '[.files[].filename] | . == sort'
	run graph --output=json away
	for name in lost lost-folder lost-root; do
		check "graph: $name is missing" has away/$name.qcow2 missing-base
		check "graph: $name is outside as well" has away/$name.qcow2 outside
	done
	for name in lost-here lost-back through-file; do
		check "graph: $name is missing" has away/$name.qcow2 missing-base
		check "graph: $name is inside" json --arg f "away/$name.qcow2" \
			'.files[] | select(.filename == $f) | .flags | index("outside") | not'
	done
	run graph --dependants elsewhere/far.qcow2 away elsewhere
	check 'graph: dependants: a file that is missing is not another one' test ! -s err
	(cd away && timeout 60 "$map" graph --output=json .) >out 2>err
	check 'graph: from the folder itself, outside' has ./lost.qcow2 outside
	check 'graph: from the folder itself, inside' json \
		'.files[] | select(.filename == "./lost-here.qcow2") | .flags | index("outside") | not'
	run graph kin elsewhere
	check 'graph: with its folder it is inside' test -z "$(grep 'far.*outside' out)"
	check 'graph: the tree' out_has '|  `- kin/sub/three.qcow2'
	check 'graph: every file once' test "$(grep -c '^[|` -]*kin/' out)" = 14
	run graph --dependants kin/base.qcow2 kin
	check 'graph: dependants of dependants' out_has kin/sub/three.qcow2
	# A name in JSON leads to a file, too, and one that does not is told of.
	mkdir json
	cp kin/base.qcow2 json/base.qcow2
	qemu-img create -q -u -f qcow2 -F qcow2 -b \
		"json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$PWD/json/base.qcow2\"}}" \
		json/over.qcow2 1M
	run graph --dependants json/base.qcow2 json
	check 'graph: dependants by JSON' test "$status $(cat out)" = '0 json/over.qcow2'
	qemu-img create -q -u -f qcow2 -F raw -b nbd://localhost/x json/far.qcow2 1M
	run graph --dependants json/base.qcow2 json
	check 'graph: dependants: there may be more' test "$status" = 4
	check 'graph: dependants: it is said' grep -q 'there may be more' err
	run graph --dependants elsewhere/far.qcow2 kin
	check 'graph: dependants of a stranger' test "$status" != 0

	run audit --output=json kin
	check 'audit: with loops' json '.files | length == 14'
	run audit --tree kin
	check 'audit: a tree with loops' test "$(grep -c '^[|` -]*kin/' out)" = 14
}

# A chain of thousands, a loop of thousands, and one that stands on that loop.
long_chains() {
	local n=6000 base
	qemu-img create -q -f qcow2 -o cluster_size=512 -u -b xxxxx -F qcow2 one.qcow2 4K
	mkdir long loop
	base=$(grep -obUaF xxxxx one.qcow2 | cut -d: -f1)
	python3 - "$n" "$base" <<-'END'
		import sys
		n, at = int(sys.argv[1]), int(sys.argv[2])
		image = open("one.qcow2", "rb").read()
		for i in range(n):
		    for folder, base in ("long", i + 1), ("loop", (i + 1) % n):
		        name = b"%05d" % base
		        with open("%s/%05d" % (folder, i), "wb") as f:
		            f.write(image[:at] + name + image[at + 5:])
	END
	cp loop/00000 loop/on-it
	printf 00001 | dd of=loop/on-it bs=1 seek="$base" conv=notrunc status=none
	qemu-img create -q -f qcow2 -o cluster_size=512 long/06000 4K
	run graph --output=json long
	check 'long chain: no loop' json 'all(.files[]; .flags | index("loop") | not) and (.files | length == 6001)'
	run graph --dependants long/06000 long
	check 'long chain: all depend on its base' test "$(wc -l <out)" = $n
	run graph --dependants long/01234 long
	check 'long chain: and some on one in between' diff out <(printf 'long/%05d\n' $(seq 0 1233))
	run audit -b -o capacity,file long
	check 'long chain: audited' test "$(grep -c ' long/' out)" = $((n + 1))
	run graph --output=json loop
	check 'long loop: all are in it' json '[.files[] | select(.flags | index("loop"))] | length == 6000'
	check 'long loop: what stands on it is not' json \
		'.files[] | select(.filename == "loop/on-it") | .flags | index("loop") | not'
	run graph --dependants loop/00042 loop
	check 'long loop: all depend on each' test "$(wc -l <out)" = $n
	run graph --dependants loop/on-it loop
	check 'long loop: none on what stands on it' test "$status" = 4 -a ! -s out
	rm -rf long loop
	# In the tree bases come before their overlays, whatever their names are.
	mkdir tall
	qemu-img create -q -f qcow2 tall/m.qcow2 8M
	over tall/z.qcow2 m.qcow2 qcow2
	over tall/c.qcow2 m.qcow2 qcow2
	over tall/b.qcow2 z.qcow2 qcow2
	over tall/a.qcow2 b.qcow2 qcow2
	qemu-img create -q -f qcow2 tall/n.qcow2 8M
	run audit --tree --no-headings -o file tall
	check 'a tree against the order of names' diff <(sed 's/ *$//' out) <(printf '%s\n' tall/m.qcow2 \
		'|-tall/c.qcow2' '`-tall/z.qcow2' '  `-tall/b.qcow2' '    `-tall/a.qcow2' tall/n.qcow2)
}

# ------------------------------------------------- names, rights, vanishing
# As root, permission bits count only without the capabilities to override.
unreadable() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --bounding-set=-dac_override,-dac_read_search \
			--inh-caps=-dac_override,-dac_read_search "$@"
	else
		"$@"
	fi
}

odd_files() {
	local quote='odd/a"b\c.qcow2' newline=$'odd/a\nb.qcow2' bytes=$'odd/a\xffb.qcow2'
	local name
	mkdir odd odd/closed
	qemu-img create -q -f qcow2 odd/plain.qcow2 1M
	cp odd/plain.qcow2 "$quote"
	cp odd/plain.qcow2 "$newline"
	cp odd/plain.qcow2 "$bytes"
	run graph --output=json odd
	check 'names: JSON' json --arg q "$quote" --arg n "$newline" \
		'[.files[].filename] | index($q) != null and index($n) != null and index("odd/a\ufffdb.qcow2") != null'
	run graph --output=dot odd
	check 'names: DOT' out_has 'label="odd/a\"b\\c.qcow2"'
	check 'names: DOT, a newline' out_has 'label="odd/a\\nb.qcow2"'
	check 'names: DOT is UTF-8' iconv -f UTF-8 -t UTF-8 -o /dev/null out
	run audit --output=prom odd
	check 'names: metrics' out_has 'path="odd/a\"b\\c.qcow2"'
	check 'names: metrics, a newline' out_has 'path="odd/a\nb.qcow2"'
	check 'names: metrics, a line each' test "$(grep -c '^qcow2_capacity_bytes{' out)" = 4
	check 'names: metrics, bytes that are no text' out_has \
		$'path="odd/a\xef\xbf\xbdb.qcow2",bytes="6f64642f61ff622e71636f7732"'
	run graph odd
	check 'names: text' out_has 'odd/a\nb.qcow2'

	# What would steer a terminal, and what looks like an escape.
	mkdir odder
	for name in $'a\033[2Jb' $'a\tb' $'a\x7fb' $'a\xc2\x9bb' $'a\xe2\x80\xaeb' 'a\x41b' 'a\b' $'\xc3\xa9' $'a\nb' $'\xff'; do
		cp odd/plain.qcow2 "odder/$name"
	done
	run audit --no-headings -o file odder
	check 'odd names: a line each' test "$(wc -l <out)" = 10
	check 'odd names: escaped once' diff \
		<(find odder -type f -print0 | sort -z) \
		<(sed 's/ *$//' out | while IFS= read -r name; do printf '%b\0' "$name"; done | sort -z)
	check 'odd names: text is text' out_has $'odder/\xc3\xa9'
	check 'odd names: no control characters' test -z "$(grep -aP '[^\x20-\x7e\xc3\xa9]' out)"
	run graph --output=dot odder
	check 'odd names: DOT, no control characters' test -z "$(grep -aP '[\x00-\x1f\x7f]|\xc2\x9b|\xe2\x80\xae' out)"
	check 'odd names: DOT, escaped' out_has 'label="odder/a\\x1b[2Jb"'
	check 'odd names: DOT, what looks like an escape' out_has 'label="odder/a\\x41b"'

	mkdir lost
	head -c 65536 /dev/zero >lost/wiped.qcow2
	cp lost/wiped.qcow2 lost/notes.txt
	run audit --output=json lost
	check 'a header that is lost: the file is there' json '.files |
		length == 1 and .[0].filename == "lost/wiped.qcow2" and .[0].format == "raw"'

	chmod 000 odd/closed odd/plain.qcow2
	unreadable "$map" graph --output=json odd >out 2>err
	check 'rights: exit status' test $? = 8
	check 'rights: the file' json '.files[] | select(.filename == "odd/plain.qcow2") | .error == "cannot open: Permission denied"'
	check 'rights: the folder' json '.files[] | select(.filename == "odd/closed") | .error'
	check 'rights: the others' json '[.files[] | select(.format == "qcow2")] | length == 3'
	chmod 700 odd/closed
	run graph missing odd/closed
	check 'a folder without images' test "$status" = 8
	check 'a path that is none' grep -q '^qcow2-map graph: missing: cannot open' err
	run audit odd/closed
	check 'an empty folder' test "$status" = 0

	# Files come and go while the scan is under way.
	mkdir busy
	(while :; do
		cp "$quote" busy/x.qcow2
		mv busy/x.qcow2 busy/y.qcow2
		rm busy/y.qcow2
	done) 2>/dev/null &
	churn=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		run graph --output=json busy
		check 'vanishing files: ends' test $((status & ~12)) = 0
		check 'vanishing files: JSON' json .schema
	done
	kill "$churn"
	wait "$churn" 2>/dev/null
}

# -------------------------------------------------- limits, and who reads them
limits() {
	mkdir small
	qemu-img create -q -f qcow2 small/a.qcow2 1M
	run audit --warn=0.0000000001 small
	check 'limits: ratio' test "$status" = 1
	run audit --crit=1000000T small
	check 'limits: headroom' test "$status" = 2
	run audit --warn=1000000T --crit=1000000T small
	check 'limits: the worse' test "$status" = 3 -o "$status" = 2
	run audit --warn=1000 --crit=1K small
	check 'limits: kept' test "$status" = 0
	run audit --warn=x small
	check 'limits: neither' test "$status" = 16
	run audit --nagios --warn=1000 --crit=10000 small
	check 'nagios: OK' test "$status" = 0
	check 'nagios: its line' grep -qE '^QCOW2 OK: 1 files, .*\|ratio=[0-9.]+ free=[0-9]+B growth=[0-9]+B$' out
	run audit --nagios --warn=0.0000000001 --crit=10000 small
	check 'nagios: WARNING' test "$status" = 1 -a "$(cut -d: -f1 out)" = 'QCOW2 WARNING'
	run audit --nagios --crit=0.0000000001 small
	check 'nagios: CRITICAL' test "$status" = 2 -a "$(cut -d: -f1 out)" = 'QCOW2 CRITICAL'
	run audit --nagios missing
	check 'nagios: UNKNOWN' test "$status" = 3 -a "$(cut -d: -f1 out)" = 'QCOW2 UNKNOWN'
	run audit --to=x small
	check '--to: not for tables' test "$status" = 16
	run audit -o nonsense small
	check 'columns: unknown' test "$status" = 16
}

# Where the new file does not fit, the old one stays, and nothing else is left.
full_disk() {
	local form
	mkdir full
	if ! mount -t tmpfs -o size=8k none full 2>/dev/null; then
		echo 'not made: a full disk (nothing can be mounted here)' >&2
		return
	fi
	full=$dir/full
	for form in prom json html; do
		echo old >full/report
		run audit --output=$form --to=full/report odd odder
		check "--to: $form on a full disk" test "$status" = 8
		check "--to: $form on a full disk, the reason" grep -q \
			'^qcow2-map audit: full/report: No space left on device$' err
		check "--to: $form on a full disk, the old file stays" test "$(cat full/report)" = old
		check "--to: $form on a full disk, nothing else is left" test "$(ls -A full)" = report
	done
	umount full
	full=
}

metrics() {
	mkdir collect
	run audit --output=prom --to=collect/qcow2.prom small odd
	check '--to: written' test -s collect/qcow2.prom
	check '--to: nothing else is left' test "$(ls collect)" = qcow2.prom
	check '--to: readable for all' test "$(stat -c %a collect/qcow2.prom)" = 644
	run audit --output=prom --to=missing/qcow2.prom small
	check '--to: no such folder' test "$status" = 8
	check 'promtool finds nothing wrong' promtool check metrics <collect/qcow2.prom
	prometheus-node-exporter --web.listen-address=127.0.0.1:19736 --collector.disable-defaults \
		--collector.textfile --collector.textfile.directory="$dir/collect" >exporter.log 2>&1 &
	exporter=$!
	for _ in $(seq 100); do
		curl -s http://127.0.0.1:19736/metrics >scraped 2>/dev/null && [ -s scraped ] && break
		sleep 0.1
	done
	kill "$exporter"
	wait "$exporter" 2>/dev/null
	exporter=
	check 'a node exporter passes them on' grep -q '^qcow2_commitment_bytes{.*path="small/a.qcow2"' scraped
	# What it must not be put in place of: an image, what it was made of, a device.
	cp small/a.qcow2 whole.qcow2
	run audit --output=prom --to=small/a.qcow2 small
	check '--to: an image' test "$status" = 8
	check '--to: an image stays' cmp -s small/a.qcow2 whole.qcow2
	run audit --output=ndjson --to=small.ndjson small
	run audit --merge --output=prom --to=small.ndjson small.ndjson
	check '--to: what is joined' test "$status" = 8
	check '--to: what is joined stays' grep -q '^{' small.ndjson
	mkfifo collect/pipe
	run audit --output=prom --to=collect/pipe small
	check '--to: a pipe' test "$status" = 8
	check '--to: a pipe stays' test -p collect/pipe
	full_disk
	check 'a node exporter takes all names' grep -qF 'path="odd/a\"b\\c.qcow2"' scraped
	check 'a node exporter finds no error' grep -q '^node_textfile_scrape_error 0' scraped
}

# ------------------------------------------------------------ block devices
# attach FILE OPTION...: sets loop to the device.
attach() {
	loop=$(losetup --show -f "${@:2}" "$1" 2>/dev/null) && loops+=("$loop")
}

devices() {
	local loop whole part size=15728640
	mkdir dev
	truncate -s 16M dev/disk dev/cut
	if ! attach dev/disk; then
		echo 'not made: images on block devices (there are no loop devices here)' >&2
		return
	fi
	whole=$loop
	attach dev/cut -o 1M
	part=$loop
	qemu-img create -q -f qcow2 "$whole" 64M
	qemu-io -f qcow2 -c 'write -P 1 0 3M' "$whole" >/dev/null
	qemu-img create -q -f qcow2 "$part" 64M
	sync dev/disk

	# A device that shows a file takes what the file takes, where that is.
	run audit --output=json "$whole"
	check 'loop: the blocks of its file' json --argjson n "$(($(stat -c %b dev/disk) * 512))" \
		'.files[0] | .allocation == $n and .length == 16777216 and .format == "qcow2"'
	check 'loop: the file system of its file' json --argjson d "$(stat -c %d dev/disk)" \
		'.volumes | length == 1 and .[0].device == $d and .[0].free > 0'
	run audit --output=json dev/disk "$whole" dev
	check 'loop: counts once with its file' json '[.files[] | select(.capacity == 67108864)] |
		length == 1 and .[0].paths == 3'

	# Of any other one nobody knows what it takes.
	run audit --output=json "$part"
	cp out direct.json
	check 'device: what it takes is not known' json '.files[0] |
		."block-device" and (has("allocation") | not) and .format == "qcow2"'
	check 'device: is no part of a file system' json --argjson n $size '.volumes | length == 1 and
		.[0]."block-device" and .[0].size == $n and (.[0] | has("allocation") or has("free") | not)'
	check 'device: what it lacks' json --argjson n $size '.volumes[0] | .commitment > 67108864 and
		.shortfall == .commitment - $n and .growth == .shortfall and .headroom == 0'
	run audit "$part"
	check 'device: text' grep -qE "^block device 7:[0-9]+: 1 file, allocation unknown, commitment 64" out
	check 'device: its line' grep -qE "^$part +qcow2 +64\.0M +15\.0M +unknown +64" out
	run audit --crit=4 "$part"
	check 'device: promised more than four times' test "$status" = 2
	run audit --crit=5 "$part"
	check 'device: but not five times' test "$status" = 0
	run audit --crit=1K "$part"
	check 'device: too small for its image' test "$status" = 2
	run audit --output=prom "$part"
	check 'device: metrics' test "$(grep -c '^qcow2_\(allocation_bytes\|volume_free\|volume_alloc\)' out)" = 0
	check 'device: metrics, the rest' grep -q '^qcow2_commitment_bytes{' out
	check 'device: promtool finds nothing wrong' promtool check metrics <out
	run audit --output=html "$part"
	check 'device: on the page' out_has 'what it takes of a pool below is not known'
	run audit --output=ndjson "$part"
	cp out part.ndjson
	run audit --merge --output=json part.ndjson part.ndjson
	check 'device: the same when merged' diff <(jq -S . direct.json) <(jq -S . out)
	sed 's/"block-device": *true, *//' part.ndjson >forged.ndjson
	run audit --merge forged.ndjson
	check 'device: a line without its mark' test "$status" = 8
	mknod dev/node b 7 "${part#/dev/loop}"
	run audit --output=json "$part" "$PWD/dev/node"
	check 'device: two nodes, one device' json '.files | length == 1 and .[0].paths == 2'
	qemu-img create -q -f qcow2 -u -b "$part" -F qcow2 dev/over.qcow2 64M
	run graph --output=json dev/over.qcow2 "$part"
	check 'device: as a base' json --arg p "$part" '.files[] |
		select(.filename == "dev/over.qcow2") | .base == $p and .flags == []'
	rm dev/disk
	run audit --output=json "$whole"
	check 'loop: a file that was deleted cannot be asked' json '.files[0] |
		."block-device" and (has("allocation") | not) and .length == 16777216'
	dd if=/dev/zero of="$part" bs=1M count=15 status=none
	run audit --warn=1 --crit=1000T --output=json "$part"
	check 'device: a raw disk fills it, as it should' test "$status" = 0
	check 'device: a raw disk' json --argjson n $size '.files[0] | .format == "raw" and .commitment == $n'
}

# 100,000 files, in memory where that can be: a disk would take long to forget them.
many() {
	local size
	shared=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d) || return
	qemu-img create -q -f qcow2 -o cluster_size=512 one.qcow2 4K
	truncate -s %4K one.qcow2
	size=$(stat -c %s one.qcow2)
	for _ in $(seq 1000); do cat one.qcow2; done >thousand
	mkdir "$shared/pool"
	for n in $(seq -w 0 99); do
		split -b "$size" -a 3 -d --additional-suffix=.qcow2 thousand "$shared/pool/$n-"
	done
	(
		ulimit -v 400000
		exec timeout 120 "$map" audit --output=json "$shared/pool"
	) >"$dir/out" 2>"$dir/err"
	check 'many files: all, each once' json '.files | length == 100000 and (map(.filename) | unique | length) == 100000'
	check 'many files: the sum' json ".volumes[0].allocation == $(find "$shared/pool" -type f -printf '%b\n' | awk '{s += $1 * 512} END {printf "%d", s}')"
	rm -rf "$shared"
	shared=
}

fleet
many
worst_case
families
long_chains
odd_files
limits
devices
metrics
echo "map-fleet: $passed passed, $failed failed"
[ "$failed" = 0 ]
