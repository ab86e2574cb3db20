#!/usr/bin/env python3
# told.py - damage after which a repair cannot know all: what it leaves wrong of what the
# guest reads stands in its report, and nothing that stood in the file is gone.
#
# SPDX-License-Identifier: MIT
#
# usage: told.py BUILD_DIR            prints "told: N passed, N failed"
#
# Each sector of guest data carries a mark of its own.  The undamaged image, as
# qemu-img reads it, says what should be read; the damaged file, what there is.
import json
import os
import re
import subprocess
import sys
import tempfile

FSCK = os.path.join(os.path.abspath(sys.argv[1]), "bin", "qcow2-fsck")
OFFSET = 0x00FFFFFFFFFFFE00
COPIED = 1 << 63
MARK = re.compile(rb"mark-[0-9a-f]{8}-[0-9a-f]{8}")
K = 1024
counts = {True: 0, False: 0}


def run(*command, ok=(0,)):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if ok is not None and p.returncode not in ok:
        raise RuntimeError("%s: %d %s" % (command, p.returncode, p.stderr[-200:]))
    return p


def check(name, good, why=""):
    counts[bool(good)] += 1
    if not good:
        print("told: %s %s" % (name, why), file=sys.stderr)


class Image(bytearray):
    """The bytes of an image, and where its tables are."""

    def u(self, at, n=8):
        return int.from_bytes(self[at:at + n], "big")

    def put(self, at, value, n=8):
        self[at:at + n] = value.to_bytes(n, "big")

    @property
    def cs(self):
        return 1 << self.u(20, 4)

    @property
    def l1(self):
        return self.u(40)

    def snap_l1(self, n):
        at = self.u(64)
        for _ in range(n):
            at += 40 + self.u(at + 36, 4) + self.u(at + 12, 2) + self.u(at + 14, 2)
            at = (at + 7) & ~7
        return self.u(at)

    def l2(self, slot, l1=None):
        return self.u((l1 or self.l1) + 8 * slot) & OFFSET

    def swap(self, a, b):
        n = self.cs
        self[a:a + n], self[b:b + n] = self[b:b + n], self[a:a + n]

    def swap64(self, a, b):
        x, y = self.u(a), self.u(b)
        self.put(a, y)
        self.put(b, x)


def marks(salt, first, n):
    sectors = []
    for i in range(first, first + n):
        text = b"mark-%08x-%08x " % (salt, i)
        sectors.append((text * 32)[:512])
    return b"".join(sectors)


def write(image, salt, guest, length):
    with open("part.raw", "wb") as f:
        f.write(marks(salt, guest // 512, length // 512))
    run("qemu-io", "-f", "qcow2", "-c", "write -s part.raw %d %d" % (guest, length), image)


def make(name, options, snapshots=True):
    """16 MiB with data in four places; two snapshots, and what was written since."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, name, "16M")
    for guest, length in ((0, 256 * K), (K * K, 128 * K), (5 * K * K, 192 * K), (12 * K * K, 256 * K)):
        write(name, 1, guest, length)
    if snapshots:
        run("qemu-img", "snapshot", "-c", "one", name)
        write(name, 2, K * K, 64 * K)
        run("qemu-img", "snapshot", "-c", "two", name)
        write(name, 3, 9 * K * K, 64 * K)
        run("qemu-io", "-f", "qcow2", "-c", "write -z 5M 64k", name)


def disks(image):
    """What qemu-img reads: the active disk, and those of the snapshots."""
    found = []
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, "disk.raw")
    found.append(open("disk.raw", "rb").read())
    info = run("qemu-img", "info", "-f", "qcow2", "--output=json", image)
    for s in json.loads(info.stdout).get("snapshots", []):
        run("qemu-img", "convert", "-f", "qcow2", "-l", "snapshot.id=" + s["id"], "-O", "raw",
            image, "disk.raw")
        found.append(open("disk.raw", "rb").read())
    return found


def untold(actions, had, has):
    """Sectors of the active disk that are not as they were, and of which the report is
    silent.  What reads as zeros may be what is kept, and has no place any more."""
    ranges = []
    kept = any(a["effect"] == "kept" for a in actions)
    for a in actions:
        for key in ("guest-offset", "other-guest-offset"):
            if key in a and a["effect"] in ("suspect", "loss"):
                ranges.append((a[key], a[key] + a.get("length", 512)))
    size = max(len(had), len(has))
    had, has = had.ljust(size, b"\0"), has.ljust(size, b"\0")
    wrong = [i for i in range(0, size, 512) if had[i:i + 512] != has[i:i + 512]]
    silent = [hex(i) for i in wrong if not any(a <= i < b for a, b in ranges) and
              not (kept and not any(has[i:i + 512]))]
    return len(wrong), silent


def case(name, base, damage, expect):
    """expect: "same": all reads as before; "told": what does not is in the report."""
    original = open(base, "rb").read()
    image = Image(original)
    damage(image)
    if bytes(image) == original:
        check(name, False, "no damage done")
        return
    with open("d.qcow2", "wb") as f:
        f.write(image)
    had = disks(base)
    p = run(FSCK, "--output=json", "-y", "--journal=d.undo", "d.qcow2", ok=None)
    check(name + ": status", p.returncode == 1, "is %d: %s" % (p.returncode, p.stderr[-200:]))
    if p.returncode != 1:
        return
    check(name + ": qemu-img check", run("qemu-img", "check", "-q", "d.qcow2", ok=None).returncode == 0)
    after = open("d.qcow2", "rb").read()
    gone = set(MARK.findall(image)) - set(MARK.findall(after))
    check(name + ": all stands that stood in the file", not gone, "%d marks are gone" % len(gone))
    has = disks("d.qcow2")
    reach = set(m for d in had for m in MARK.findall(d)) & set(MARK.findall(image))
    reach -= set(m for d in has for m in MARK.findall(d))
    check(name + ": all can be read", not reach, "%d marks cannot" % len(reach))
    n, silent = untold(json.loads(p.stdout)["images"][0]["repair"]["actions"], had[0], has[0])
    if expect == "same":
        check(name + ": the disk", n == 0, "%d sectors differ" % n)
        check(name + ": the snapshots", has[1:len(had)] == had[1:])
    check(name + ": what is wrong is told", not silent, "%d sectors are not, from %s" %
          (len(silent), silent[:1]))
    run(FSCK, "-q", "--undo=d.undo", "d.qcow2", ok=None)
    check(name + ": undo", open("d.qcow2", "rb").read() == bytes(image))
    for f in ("d.qcow2", "d.undo"):
        os.path.exists(f) and os.unlink(f)


# A table in another one's place: what it names is no table, but a guest's data.

def snapshot_l1_and_l2(b):
    b.swap(b.snap_l1(1), b.l2(0))


def part_of_l1_and_l2(b):
    b.swap(b.l1 + b.cs, b.l2(288))


def swapped():
    make("small.qcow2", "cluster_size=1k,refcount_bits=64")
    make("tiny.qcow2", "cluster_size=512,refcount_bits=2")
    case("a snapshot's L1 and an L2 swapped", "small.qcow2", snapshot_l1_and_l2, "told")
    case("a part of the L1 and an L2 swapped", "tiny.qcow2", part_of_l1_and_l2, "told")


# The size of the disk, where what is mapped contradicts it.

def sizes():
    make("old.qcow2", "compat=0.10,cluster_size=4k")
    make("plain.qcow2", "cluster_size=4k", snapshots=False)
    for size in (0x4000, 0xfd000, 0x200000, 0x800000):
        def shrink(b, size=size):
            b.put(24, size)
        case("a disk of %#x bytes by its header" % size, "old.qcow2", shrink, "same")
    case("a disk cut in an L2 table, without a snapshot", "plain.qcow2",
         lambda b: b.put(24, 0xfd000), "same")


# Entries that a snapshot tells about.

def l1_moved(b, swapped):
    b.swap64(b.l1, b.l1 + 8 * 6)
    if not swapped:
        b.put(b.l1 + 8 * 6, 0)


def older_table(b):
    """What a snapshot's table names stands in the active one; zeros are written there."""
    n = b.cs
    b[b.l2(2):b.l2(2) + n] = b[b.l2(2, b.snap_l1(1)):b.l2(2, b.snap_l1(1)) + n]


def entries():
    make("snaps.qcow2", "cluster_size=4k")
    case("an L1 entry in another slot", "snaps.qcow2", lambda b: l1_moved(b, False), "same")
    case("two L1 entries swapped", "snaps.qcow2", lambda b: l1_moved(b, True), "same")
    case("zeros where a snapshot has data", "snaps.qcow2", lambda b: b.put(b.l2(2) + 8 * 281, 1), "told")
    case("an older table in version 2", "old.qcow2", older_table, "told")
    case("a cross-link", "snaps.qcow2", lambda b: b.put(b.l2(6) + 8 * 6, b.u(b.l2(6) + 8 * 35)), "told")


# The end of the file is gone, and with it the active L2 table, but no snapshot's.

def cut(b):
    del b[b.l2(0):]


def cut_files():
    make("big.qcow2", "cluster_size=2M")
    case("a file without its end", "big.qcow2", cut, "told")


# Structures on one another, of which all is known.

def bitmap_directory(b):
    at = b.u(100, 4)
    while b.u(at, 4) != 0x23852875:
        at += 8 + (b.u(at + 4, 4) + 7 & ~7)
    return b.u(at + 24)


def older_l1_entry(b):
    b.put(b.l1, b.u(b.l1) & ~OFFSET | b.l2(0, b.snap_l1(0)))


def bitmap_table_on_l2(b):
    b.put(bitmap_directory(b), b.l2(6))


def bitmap_data_on_l2(b):
    b.put(b.u(bitmap_directory(b)), b.l2(6))


def overlaps():
    make("bitmaps.qcow2", "cluster_size=4k")
    run("qemu-img", "bitmap", "--add", "bitmaps.qcow2", "changes")
    write("bitmaps.qcow2", 4, 7 * K * K, 64 * K)
    case("the active L1 names a snapshot's table", "bitmaps.qcow2", older_l1_entry, "same")
    case("a bitmap's table on an L2 table", "bitmaps.qcow2", bitmap_table_on_l2, "same")
    case("a bitmap's data on an L2 table", "bitmaps.qcow2", bitmap_data_on_l2, "same")


# Who says yes to a block that leads nowhere gets one that leads somewhere.

def answers():
    b = Image(open("plain.qcow2", "rb").read())
    b.put(b.u(48), 0x7fff0000)
    with open("d.qcow2", "wb") as f:
        f.write(b)
    p = subprocess.run([FSCK, "-i", "--no-journal", "d.qcow2"], input=b"y\n" + 9 * b"n\n",
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    asked = re.findall(r": ([A-Z0-9_]+) \(", p.stderr.decode())
    check("-i: the questions", asked[:1] == ["REFBLOCK_OUTSIDE"] and
          "REFBLOCK_MISSING" not in asked, str(asked))
    check("-i: all is counted", run("qemu-img", "check", "-q", "d.qcow2", ok=None).returncode in (0, 3))
    check("-i: the disk", disks("d.qcow2") == disks("plain.qcow2"))


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for part in (swapped, sizes, entries, cut_files, overlaps, answers):
            part()
        os.chdir("/")
    print("told: %d passed, %d failed" % (counts[True], counts[False]))
    return 0 if counts[True] and not counts[False] else 1


sys.exit(main())
