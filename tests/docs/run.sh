#!/usr/bin/env bash
# run.sh - what the guide and the README show is what the programs say.
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh BUILD_DIR               prints "docs: N passed, N failed"
#
# The README's image is that of the demo, which has other contents on each machine: here
# it is made so that all lies where the README has it, and damaged in the same way.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

cat >"$tmp/readme.md" <<'END'
## The README: what it says

    $ qemu-img create -q -f qcow2 damaged.qcow2 1G
    $ qemu-io -c 'write -q -P 1 0 241500160' -c 'write -q -P 2 512M 192k' damaged.qcow2
    $ put() { printf "$2" | dd of=damaged.qcow2 bs=1 seek=$(($1)) conv=notrunc status=none; }
    $ put 0x30008 '\0\0\0\0\0\0\0\0'
    $ put 0x40000+8*100+5 '\x68'
    $ put 0x20000+2*3 '\0\0'

END
sed -n '/^    \$ qcow2-fsck damaged/,/^`/p' "$here/../../README.md" | sed '$d' >>"$tmp/readme.md"
cat >>"$tmp/readme.md" <<'END'

And of qemu-img:

    $ qemu-img check damaged.qcow2 2>&1 | grep -c '^ERROR cluster'
    2
    $ qemu-img check damaged.qcow2 2>/dev/null | tail -n 4 | head -n 2
    5 leaked clusters were found on the image.
    This means waste of disk space, but no harm to data.
    $ cp damaged.qcow2 theirs.qcow2
    $ qemu-img check -r all theirs.qcow2 2>&1 | grep -o 'No errors.*'
    No errors were found on the image.
    $ cmp -n 65536 -i 0xe6a0000 damaged.qcow2 theirs.qcow2
    damaged.qcow2 theirs.qcow2 differ: byte 1, line 1
    $ qemu-io -c 'read -q -P 0 512M 192k' theirs.qcow2
    $ qcow2-fsck -y damaged.qcow2 | tail -n 1
    damaged.qcow2: clean
    $ qemu-io -c 'read -q -P 1 0 241500160' -c 'read -q -P 2 512M 192k' damaged.qcow2
END
python3 "$here/guide.py" "$1" "$here/../../fsck/recovery.md" "$tmp/readme.md"
