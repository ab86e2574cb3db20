#!/usr/bin/env bash
# lint.sh - qcow2-map lint: each rule on an image made for it, and the gate.
# SPDX-License-Identifier: MIT
#
# usage: lint.sh BUILD_DIR
set -u

build=$(cd "${1:?usage: lint.sh BUILD_DIR}" && pwd)
map=$build/bin/qcow2-map
tool=$map
# shellcheck source=tests/support/conduct.sh
. "$(dirname "$0")/../support/conduct.sh"
seen=

# notes NAME "ID..." [OPTION...]: the notes on image.qcow2, made from the recipe on
# standard input, are exactly these.
notes() {
	local name=$1 expected=$2
	shift 2
	rm -f image.qcow2
	if ! "$build/tests/q2mk" - image.qcow2 >out 2>err; then
		check "$name: the image was made" false
		return
	fi
	"$map" lint --output=json "$@" image.qcow2 >out 2>err
	check "$name: $expected" test "$(jq -r '[.notes[].id] | join(" ")' out)" = "$expected"
	seen="$seen $expected"
}

# names WHAT ID EXTENSION: a data file's name.
data_name() {
	notes "data file $1" "data-file $2 needs-version-3" <<-END
		ext 0x44415441 "$1"
		feature incompat 2
	END
}

# backing NAME "ID...": a backing file's name, which is not opened.
backing_name() {
	qemu-img create -q -f qcow2 -u -b "$1" -F raw -o compat=0.10 image.qcow2 1M
	"$map" lint --output=json image.qcow2 >out 2>err
	check "backing file $1: status" test $? = 4
	check "backing file $1: $2" test "$(jq -r '[.notes[].id] | join(" ")' out)" = "$2"
	check "backing file $1: shown" jq -e --arg n "$1" '.notes[0].value == $n' out >/dev/null
	seen="$seen $2"
}

notes 'version 2' '' <<<'version 2'
notes 'version 3' needs-version-3 <<<'write 0 4K'
backing_name base.raw backing-file
backing_name sub/base.raw backing-file
backing_name /etc/passwd 'backing-file backing-absolute'
backing_name file:/etc/passwd 'backing-file backing-absolute'
backing_name ../base.raw 'backing-file backing-parent-folder'
backing_name /srv/../etc/passwd 'backing-file backing-absolute backing-parent-folder'
backing_name nbd://localhost/x 'backing-file backing-protocol'
backing_name 'json:{"driver":"null-co"}' 'backing-file backing-json'
notes 'no format' 'backing-file backing-no-format needs-version-3' <<'END'
rawfile base.img 64K
backing base.img
END
notes 'a name out of range' 'backing-name-invalid needs-version-3' <<'END'
rawfile base.img 64K
backing base.img raw
set header.backing_file_offset = 600
END
notes 'data file' 'data-file needs-version-3' <<'END'
data-file image.data
END
data_name /etc/passwd data-file-absolute
data_name ../x data-file-parent-folder
data_name nbd://localhost/x data-file-protocol
data_name 'json:{}' data-file-json
notes 'data file without a name' 'data-file needs-version-3' <<<'feature incompat 2'
notes corrupt 'marked-corrupt needs-version-3' <<<corrupt
notes dirty 'dirty needs-version-3' <<<dirty
notes 'an offset that is not aligned' 'header-faults needs-version-3 damaged-tables' <<'END'
set header.l1_table_offset += 8
END
notes AES 'aes needs-version-3' <<<aes
notes LUKS 'luks needs-version-3' <<<'luks 4K'
notes snapshots 'snapshots needs-version-3' <<<'snapshot one'
notes bitmaps 'bitmaps needs-version-3' <<<'bitmap one'
notes 'compatible feature' 'unknown-compatible needs-version-3' <<<'feature compat 5'
notes 'autoclear feature' 'unknown-autoclear needs-version-3' <<<'feature autoclear 9'
notes 'refcounts' 'needs-version-3 needs-refcount-width' <<<'refcount 8'
notes zstd 'needs-version-3 needs-zstd needs-compression' <<'END'
compression zstd
compress 0 512
END
notes 'extended L2' 'needs-version-3 needs-extended-l2' <<'END'
cluster 16K
extl2
END
notes 'zeros' 'needs-version-3 needs-zero-clusters' <<'END'
version 3
zero 0 4K
END
notes 'an L2 table behind the end' 'needs-version-3 damaged-tables' <<'END'
write 0 4K
set l1[0].offset = 1M
END
notes 'a reader' 'needs-version-3 reader' --require-reader=qemu-1.0 <<<'write 0 4K'
notes 'size' 'needs-version-3 size-limit' --max-size=1M <<<'size 1025K'
notes 'size at the limit' needs-version-3 --max-size=1M <<<'size 1M'
notes 'ratio' 'needs-version-3 ratio-limit' --max-ratio=100 <<<'size 1M'
notes 'ratio below the limit' needs-version-3 --max-ratio=100000 <<<'size 1M'
notes 'raw' raw-looks-qcow2 --raw <<<'size 1M'

# Every rule had its image.
while read -r id _; do
	check "rule $id: no image shows it" grep -qw -- "$id" <<<"$seen"
done < <("$map" lint --list-rules)

# ------------------------------------------------------------------ the gate
status() { # expected argument...
	local expected=$1
	shift
	"$map" lint "$@" >out 2>err
	check "exit $expected: lint $*" test $? = "$expected"
}

qemu-img create -q -f qcow2 -u -b ../base.raw -F raw over.qcow2 1M
qemu-img create -q -f qcow2 plain.qcow2 1M
status 0 plain.qcow2
status 4 over.qcow2
status 4 --allow=backing-file over.qcow2
status 0 --allow=backing-file,backing-parent-folder over.qcow2
status 0 --allow=backing-file --allow=backing-parent-folder over.qcow2
status 0 --allow=all over.qcow2
status 4 --refuse=needs-version-3 plain.qcow2
status 4 --allow=all --refuse=needs-version-3 plain.qcow2
status 16 --allow=backing-fiel over.qcow2
status 16 --allow=backing-file, over.qcow2
status 16 --refuse= over.qcow2
status 16
status 0 --list-rules
printf 'some bytes' >raw
status 8 raw
status 0 --raw raw
status 8 missing
status 8 --raw missing
# Unknown features that readers must not ignore.
"$build/tests/q2mk" - image.qcow2 <<<'feature incompat 9'
status 8 image.qcow2
check 'unknown features: named' grep -q 'feature bits 0x200' err
# A name that tries to fool a terminal.
qemu-img create -q -f qcow2 -u -b $'a\033[2Jb' -F raw escape.qcow2 1M
status 4 escape.qcow2
check 'control characters are escaped' test -z "$(grep -P '\x1b' out)"

sum_up map-lint
