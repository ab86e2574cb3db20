# common.py - running qcow2-map, and what its pictures should say.
#
# SPDX-License-Identifier: MIT
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

build = os.path.abspath(sys.argv[1])
keep = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
MAP = os.path.join(build, "bin", "qcow2-map")
MK = os.path.join(build, "tests", "q2mk")
SVG = "{http://www.w3.org/2000/svg}"
env = dict(os.environ, LC_ALL="C", TZ="UTC")
counts = {"passed": 0, "failed": 0}


def check(name, good, *about):
    counts["passed" if good else "failed"] += 1
    if not good:
        print("FAILED:", name, *[str(a)[:400] for a in about], file=sys.stderr)


def run(*arguments, status=0, stdout=subprocess.PIPE, **more):
    done = subprocess.run([MAP, *arguments], stdin=subprocess.DEVNULL,
                          stdout=stdout, stderr=subprocess.PIPE,
                          env=dict(env, **more), timeout=120, check=False)
    check("exit status of " + repr(arguments), done.returncode == status,
          done.returncode, done.stderr)
    return done.stdout


def report(*arguments, status=0):
    return json.loads(run(*arguments, "--output=json", status=status))


def draw(name, *arguments, status=0):
    with open(name, "wb") as f:
        f.write(run(*arguments, status=status))
    return name


def make(name, recipe):
    with open(name + ".recipe", "w", encoding="utf-8") as f:
        f.write(recipe)
    subprocess.run([MK, name + ".recipe", name + ".qcow2"], check=True)
    return name + ".qcow2"


# ------------------------------------------------------------- what is expected
MEANING = {
    "free": "free", "leaked": "leaked", "header": "header",
    "l1-table": "L1 table", "l2-table": "L2 tables",
    "refcount-table": "refcount table", "refcount-block": "refcount blocks",
    "snapshot-table": "snapshot table",
    "snapshot-l1-table": "L1 tables of snapshots",
    "bitmap-directory": "bitmap directory", "bitmap-table": "bitmap tables",
    "bitmap-data": "bitmaps", "luks-header": "LUKS header",
    "compressed": "compressed data", "vm-state": "VM state of snapshots",
    "several-uses": "named as two different things",
}
STATE = {
    "zero": "zeros without bytes in the file",
    "zero-allocated": "zeros that keep bytes in the file",
    "unallocated": "unallocated, reads as zeros", "unreadable": "unreadable",
}


def size(n):
    """Sizes as the pages write them: cut after two decimals."""
    unit = 0
    while unit < 6 and n >> (10 * (unit + 1)):
        unit += 1
    if unit == 0:
        return "%d byte%s" % (n, "" if n == 1 else "s")
    whole = n >> (10 * unit)
    rest = (n >> (10 * (unit - 1)) & 1023) * 100 // 1024
    exact = n == whole << (10 * unit)
    return "%d%s %siB" % (whole, "" if exact else ".%02d" % rest,
                          "BKMGTPE"[unit])


def of_layout(row):
    if row["use"] != "data":
        return MEANING[row["use"]]
    if "snapshot" in row or "several-snapshots" in row:
        return ("data shared with snapshots" if row["active"] else
                "data of snapshots only")
    return "data of the active disk"


def of_extents(row):
    below = " in a backing file" if row["depth"] else " in this image"
    if row["state"] == "data":
        return "data" + below
    if row["state"] == "compressed":
        return "compressed" + below
    if row.get("maybe-in-backing"):
        return "in the backing file, if anywhere"
    return STATE[row["state"]]


def expected(rows, at, length, key, meaning):
    """Bytes by meaning of a part, and the rows that have a share in it."""
    sums, inside = {}, []
    for row in rows:
        start = max(row[key], at)
        end = min(row[key] + row["length"], at + length)
        if start < end:
            sums[meaning(row)] = sums.get(meaning(row), 0) + end - start
            inside.append(row)
    return sums, inside


def said(text):
    """The same from a cell's text."""
    lines = text.split("\n")
    first = re.match(r"(?:file|guest) (0x[0-9a-f]+) to (0x[0-9a-f]+), ",
                     lines[0].replace(" 0 to", " 0x0 to"))
    parts = {}
    for line in lines[1:]:
        found = re.match(r"(.*?)(?: \(.*\))?: (?:(.*), )?([0-9.]+|under 0.1) %$",
                         line)
        if found:
            parts[found[1]] = found[2]
    start = int(first[1], 16)
    return start, int(first[2], 16) + 1 - start, parts


def check_cells(name, cells, rows, start, end, key, meaning):
    """Every cell: its address, and the sizes of what it shows."""
    at, wrong = start, []
    for cell_at, length, text in cells:
        begin, extent, parts = said(text)
        sums, _ = expected(rows, cell_at, length, key, meaning)
        want = {k: None if v == length else size(v) for k, v in sums.items()}
        if (cell_at, begin, extent, parts) != (at, cell_at, length, want):
            wrong.append((cell_at, text, want))
        at += length
    check(name + ": every byte is in one cell", at == end, at, end)
    check(name + ": every cell says what is there", not wrong, wrong[:1])
    check(name + ": not too many cells", 0 < len(cells) <= 2048, len(cells))


def parse(path):
    root = ElementTree.parse(path).getroot()
    cells = [(int(r.get("data-at")), int(r.get("data-length")),
              r.find(SVG + "title").text)
             for r in root.iter(SVG + "rect") if r.get("data-at")]
    return root, cells
