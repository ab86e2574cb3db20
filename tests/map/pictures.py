# pictures.py - the pictures of qcow2-map, as a browser and a terminal show them.
#
# SPDX-License-Identifier: MIT
#
# usage: pictures.py BUILD_DIR [KEEP]     KEEP: a folder for the screenshots
#
# Pages are opened in a real Chromium, pointed at and zoomed; what they say of
# addresses is compared with --output=json of the same image.
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
import browser  # noqa: E402
import eyes  # noqa: E402

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


# -------------------------------------------------------------------------- SVG
def parse(path):
    root = ElementTree.parse(path).getroot()
    cells = [(int(r.get("data-at")), int(r.get("data-length")),
              r.find(SVG + "title").text)
             for r in root.iter(SVG + "rect") if r.get("data-at")]
    return root, cells


def test_svg():
    for image in ("main.qcow2", "large.qcow2"):
        layout = report("layout", image)
        for order in ("rows", "hilbert"):
            name = draw("layout.svg", "layout", "--output=svg",
                        "--order=" + order, image)
            root, cells = parse(name)
            check_cells(image + ", " + order, cells, layout["layout"], 0,
                        layout["file-size"], "host", of_layout)
            texts = "\n".join(t.text or "" for t in root.iter(SVG + "text"))
            check("SVG: title", root.find(SVG + "title").text == image)
            check("SVG: the scale", "one cell is " in texts)
            # The legend: bytes for each owner.
            sums, _ = expected(layout["layout"], 0, layout["file-size"],
                               "host", of_layout)
            for meaning, n in sums.items():
                check("SVG legend: " + meaning,
                      meaning + ": " + size(n) in texts, texts)
            check("SVG: no scripts", not list(root.iter(SVG + "script")))
            places = {(r.get("x"), r.get("y")) for r in root.iter(SVG + "rect")
                      if r.get("data-at")}
            check("SVG: no two cells at one place", len(places) == len(cells))
    # Along the curve each cell touches the one before.
    grid = [(int(r.get("x")), int(r.get("y")), int(r.get("width")))
            for r in root.iter(SVG + "rect") if r.get("data-at")]
    apart = [abs(a[0] - b[0]) + abs(a[1] - b[1]) - a[2]
             for a, b in zip(grid, grid[1:])]
    check("Hilbert: neighbours touch", set(apart) == {0}, set(apart))
    rows = report("extents", "--chain", "over.qcow2")
    _, cells = parse(draw("extents.svg", "extents", "--chain", "--output=svg",
                          "over.qcow2"))
    check_cells("extents", cells, rows["extents"], 0, rows["virtual-size"],
                "start", of_extents)
    window = ("extents", "-s", "3000K", "-l", "2M", "over.qcow2")
    rows = report(*window)
    _, cells = parse(draw("window.svg", *window, "--output=svg"))
    check_cells("a window", cells, rows["extents"], 3000 << 10, 5048 << 10,
                "start", of_extents)


# ---------------------------------------------------------------------- bounded
def test_bounds(chromium):
    """However large a disk or a file is, a picture stays small."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o",
                    "cluster_size=2M", "tib.qcow2", "1T"], check=True)
    subprocess.run(["qemu-io", "-c", "write -P 1 700G 64k", "tib.qcow2"],
                   check=True, stdout=subprocess.DEVNULL)
    with open("sparse.raw", "wb") as f:
        os.truncate(f.fileno(), largest())
    make("wide", "cluster 4K\nsize 1M\nwrite 0 64K\nextend 1T\n")
    for name, arguments in {
            "1 TiB": ("extents", "tib.qcow2"),
            "8 EiB": ("extents", "--raw", "sparse.raw"),
            "a file of 1 TiB": ("layout", "wide.qcow2")}.items():
        for form in ("svg", "html"):
            for order in ("rows", "hilbert"):
                path = draw("big." + form, *arguments, "--output=" + form,
                            "--order=" + order)
                with open(path, encoding="utf-8") as f:
                    text = f.read()
                check("%s as %s: bounded" % (name, form),
                      len(text) < 1 << 20 and text.count("<rect") > 1000
                      and text.count("<") / 2 < 5000,
                      len(text), text.count("<"))
        check(name + ": blocks", len(run(*arguments, "--output=blocks"))
              < 4096)
        chromium.open("big.html")
        check(name + ": as a page", chromium.run(
            "document.querySelectorAll('*').length") < 5000
            and not chromium.problems, chromium.problems)
    rows = report("extents", "tib.qcow2")
    _, cells = parse(draw("tib.svg", "extents", "tib.qcow2", "--output=svg"))
    check_cells("1 TiB", cells, rows["extents"], 0, 1 << 40, "start",
                of_extents)
    # A disk without bytes, and one without clusters.
    make("nothing", "size 0\n")
    for form in ("svg", "html", "blocks"):
        run("extents", "--output=" + form, "nothing.qcow2")
    parse(draw("nothing.svg", "extents", "--output=svg", "nothing.qcow2"))


def largest():
    """The longest file that the file system here can have: 8 EiB at best."""
    for n in ((1 << 63) - (1 << 20), 1 << 60, 1 << 43):
        try:
            with open("probe.raw", "wb") as f:
                os.truncate(f.fileno(), n)
            os.unlink("probe.raw")
            return n
        except OSError:
            pass
    raise RuntimeError("no large files here")


# ------------------------------------------------------------------------ pages
TIP = "document.getElementById('tip')"


def tip(chromium):
    return chromium.run("%s.hidden ? '' : %s.textContent" % (TIP, TIP))


def quiet(name, chromium, url):
    """Nothing was logged, thrown, or asked for but the page itself."""
    check(name + ": no errors", not chromium.problems, chromium.problems)
    check(name + ": loads nothing", set(chromium.requests) == {url},
          chromium.requests)


def test_layout_page(chromium):
    for image in ("main.qcow2", "large.qcow2"):
        layout = report("layout", image)
        path = draw("layout.html", "layout", "--output=html", image)
        url = chromium.open(path)
        check("page: its heading", chromium.run(
            "document.querySelector('h1').textContent").startswith(image))
        n = chromium.run("document.querySelectorAll('rect.c').length")
        for i in (0, 1, 5, n // 3, n // 2, n - 2, n - 1):
            chromium.hover("rect.c", i)
            at, length = (int(chromium.run(
                "document.querySelectorAll('rect.c')[%d].dataset.%s" % (i, w)))
                for w in ("at", "length"))
            sums, rows = expected(layout["layout"], at, length, "host",
                                  of_layout)
            text = tip(chromium)
            begin, extent, parts = said(text)
            check("hover: address", (begin, extent) == (at, length), text)
            check("hover: owners", set(parts) == set(sums), text, sums)
            guests = [r["guest"] + (max(0, at - r["host"])
                                    if r["use"] == "data" else 0)
                      for r in rows if "guest" in r and
                      r["use"] in ("data", "compressed", "l2-table")]
            check("hover: guest address", not guests or text.split("\n")[-1]
                  .endswith("guest address " + hex(guests[0])), text, guests)
            names = {r.get("snapshot") for r in rows} - {None}
            check("hover: snapshots", all("snapshot " + s in text
                                          for s in names), text)
        quiet(image, chromium, url)


def box(chromium):
    return [float(v) for v in chromium.run(
        "document.querySelector('.view svg').getAttribute('viewBox')"
    ).split(" ")]


def test_zoom(chromium):
    url = chromium.open(draw("zoom.html", "layout", "--output=html",
                             "large.qcow2"))
    whole = box(chromium)
    chromium.click(*chromium.centre("[data-do=in]"))
    check("zoom in", abs(box(chromium)[2] * 2 - whole[2]) < 0.01)
    check("zoom: its factor is told", chromium.run(
        "document.querySelector('.zoom').textContent") == "2.0:1")
    chromium.click(*chromium.centre("[data-do=out]"))
    check("zoom out", box(chromium) == whole)
    # What is pointed at stays where it is.
    x, y = chromium.hover("rect.c", 660)
    before = tip(chromium)
    for _ in range(6):
        chromium.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120, modifiers=2)
    check("wheel: zooms", box(chromium)[2] < whole[2] / 4, box(chromium))
    chromium.mouse("mouseMoved", x + 1, y)
    check("wheel: around the pointer", tip(chromium) == before, before,
          tip(chromium))
    # Dragging moves the map along with the pointer.
    chromium.mouse("mousePressed", x, y, button="left", clickCount=1)
    for step in range(1, 9):
        chromium.mouse("mouseMoved", x + 10 * step, y + 5 * step,
                       button="left", buttons=1)
    check("drag: the map moves", tip(chromium) == before, before,
          tip(chromium))
    chromium.mouse("mouseReleased", x + 80, y + 40, button="left",
                   clickCount=1)
    moved = box(chromium)
    chromium.mouse("mouseMoved", x, y)
    check("drag: ends", box(chromium) == moved and tip(chromium) != before)
    chromium.click(*chromium.centre("[data-do=all]"))
    check("zoom: all again", box(chromium) == whole)
    x, y = chromium.centre("rect.c", 100)
    chromium.click(x, y, 1)
    chromium.click(x, y, 2)
    check("double click", box(chromium)[2] < whole[2])
    quiet("zoom", chromium, url)


def test_keys(chromium):
    url = chromium.open(draw("keys.html", "layout", "--output=html",
                             "main.qcow2"))
    whole = box(chromium)
    about = "document.querySelector('.about').textContent"
    for _ in range(8):
        chromium.key("Tab")
        if chromium.run("document.activeElement.className") == "view":
            break
    check("keys: Tab comes to the map", chromium.run(
        "document.activeElement.className") == "view")
    chromium.key("ArrowRight")
    check("keys: the first cell", said(chromium.run(about))[0] == 0)
    chromium.key("ArrowRight")
    step = said(chromium.run(about))[1]
    check("keys: right", said(chromium.run(about))[0] == step == 4096)
    columns = chromium.run("""(() => {
        const y = document.querySelector('rect.c').getAttribute('y');
        return Array.from(document.querySelectorAll('rect.c')).filter(
            r => r.getAttribute('y') === y).length; })()""")
    chromium.key("ArrowDown")
    check("keys: down", said(chromium.run(about))[0] == step * (columns + 1))
    chromium.key("ArrowLeft")
    chromium.key("ArrowLeft")
    check("keys: on from the row's beginning",
          said(chromium.run(about))[0] == step * (columns - 1))
    check("keys: the tooltip, too", tip(chromium) == chromium.run(about))
    chromium.key("End")
    check("keys: the end", sum(said(chromium.run(about))[:2]) ==
          os.path.getsize("main.qcow2"))
    chromium.key("+", "+")
    chromium.key("+", "+")
    check("keys: +", abs(box(chromium)[2] * 2.25 - whole[2]) < 0.01)
    chromium.key("Home")
    check("keys: the cell comes into view", box(chromium)[:2] == [0, 0])
    chromium.key("0", "0")
    check("keys: 0", box(chromium) == whole)
    chromium.key("Escape")
    check("keys: Escape", tip(chromium) == "")
    quiet("keys", chromium, url)


def test_legend(chromium):
    layout = report("layout", "main.qcow2")
    url = chromium.open(draw("legend.html", "layout", "--output=html",
                             "main.qcow2"))
    sums, _ = expected(layout["layout"], 0, layout["file-size"], "host",
                       of_layout)
    legend = chromium.run("""Array.from(document.querySelectorAll(
        '.legend tbody tr')).map(r => [r.cells[1].textContent,
        Number(r.cells[2].dataset.v), r.dataset.k])""")
    check("legend: bytes for each owner", {r[0]: r[1] for r in legend} == sums,
          legend, sums)
    chromium.click(*chromium.centre(".legend button", 0))
    shown = chromium.run("""Array.from(document.querySelectorAll('.view .k'))
        .filter(k => Number(getComputedStyle(k).opacity) === 1)
        .map(k => k.getAttribute('class'))""")
    check("legend: a press shows one alone",
          len(shown) == 1 and legend[0][2] in shown[0].split(" "), shown)
    chromium.click(*chromium.centre(".legend button", 0))
    check("legend: and all again", chromium.run("""Array.from(
        document.querySelectorAll('.view .k')).every(
        k => Number(getComputedStyle(k).opacity) === 1)"""))
    quiet("legend", chromium, url)


# --------------------------------------------------------------- light and dark
def rgb(text):
    return tuple(int(v) for v in re.findall(r"\d+", text)[:3])


def luminance(colour):
    parts = [v / 255 for v in colour]
    parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
             for v in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_schemes(chromium):
    path = draw("scheme.html", "layout", "--output=html", "main.qcow2")
    for scheme in ("light", "dark"):
        url = chromium.open(path, scheme)
        pixels = chromium.screenshot(keep and "%s/layout-%s.png" % (keep,
                                                                     scheme))
        ground = rgb(chromium.run(
            "getComputedStyle(document.body).backgroundColor"))
        ink = rgb(chromium.run("getComputedStyle(document.body).color"))
        soft = rgb(chromium.run(
            "getComputedStyle(document.querySelector('.scale')).color"))
        check(scheme + ": the ground", pixels.at(3, 3) == ground and
              (luminance(ground) > 0.5) == (scheme == "light"), ground)
        check(scheme + ": text can be read", contrast(ink, ground) > 7 and
              contrast(soft, ground) > 4.5, ink, soft, ground)
        seen = set()
        for i in range(0, 700, 9):
            k, x, y = chromium.run("""(() => {
                const c = document.querySelectorAll('rect.c')[%d];
                const r = c.getBoundingClientRect();
                return [c.dataset.k, r.left + r.width / 2,
                    r.top + r.height / 2]; })()""" % i)
            fill = chromium.run("getComputedStyle(document.querySelector("
                                "'.view .%s')).fill" % k)
            if "url" in fill or y > 990:
                continue
            seen.add(fill)
            if pixels.at(x, y) != rgb(fill):
                check(scheme + ": a cell's colour", False, i, k, fill,
                      pixels.at(x, y))
        check(scheme + ": cells have their colours", len(seen) >= 4, seen)
        quiet(scheme, chromium, url)
    # On paper: no tools, and the light colours.
    chromium.open(path, "dark")
    chromium.media("dark", "print")
    check("print: no tools", chromium.run("Array.from(document."
          "querySelectorAll('.tools,.about')).every(e => getComputedStyle(e)"
          ".display === 'none')"))
    check("print: light", luminance(rgb(chromium.run(
        "getComputedStyle(document.body).backgroundColor"))) > 0.9)
    printed = chromium.call("Page.printToPDF", printBackground=False)["data"]
    check("print: makes a PDF", printed.startswith("JVBERi0"))


def test_colours():
    """No two marks of a picture look alike, to whichever eyes."""
    root = ElementTree.parse("layout.svg").getroot()
    light, dark = root.find(SVG + "style").text.split("@media", 1)
    hatch = {int(p.get("id")[1:]): p.find(SVG + "path").get("d")
             for p in root.iter(SVG + "pattern")}
    hatched = set(re.findall(r"\.k(\d+)\{fill:url\(#p", light))
    check("each hatch has its pattern", hatched == {str(m) for m in hatch},
          hatched, hatch)
    # Marks from 0 on are of files, from 19 on of disks, the last of charts.
    files, disks = range(0, 19), range(19, 28)
    for name, text in (("light", light), ("dark", dark)):
        fill = {int(m[0]): rgb(str(tuple(bytes.fromhex(m[1]))))
                for m in re.findall(r"\.[kb](\d+)\{fill:#([0-9a-f]{6})\}",
                                    text)}
        check(name + ": a colour for each mark", len(fill) == 29, len(fill))
        for group in (files, disks):
            plain = [m for m in group if str(m) not in hatched]
            for kind in ("normal", "protan", "deutan"):
                check_alike("%s, %s: plain colours" % (name, kind), plain,
                            fill, kind, 15)
                for shape in set(hatch.values()):
                    check_alike("%s, %s: hatched so" % (name, kind),
                                [m for m in group if hatch.get(m) == shape],
                                fill, kind, 9)


def check_alike(name, marks, fill, kind, least):
    alike = [(a, b, round(eyes.distance(fill[a], fill[b], kind)))
             for a in marks for b in marks
             if a < b and eyes.distance(fill[a], fill[b], kind) < least]
    check(name + " differ", not alike, alike)


# ---------------------------------------------------------------- other reports
def numbers(chromium, columns):
    return chromium.run("""Array.from(document.querySelectorAll(
        'table.sort tbody tr')).map(r => [r.cells[0].textContent,
        ...%s.map(i => Number(r.cells[i].dataset.v))])""" % columns)


def test_space_page(chromium):
    space = report("space", "main.qcow2")
    url = chromium.open(draw("space.html", "space", "--output=html",
                             "main.qcow2"))
    want = [[use, *[sum(p[k]["bytes"] for k in group) for group in (
        ("active", "snapshots", "shared"), ("active",), ("snapshots",),
        ("shared",))]] for use, p in space["space"].items()
        if any(v["bytes"] for v in p.values())]
    check("space: the table", numbers(chromium, [1, 2, 3, 4]) == want,
          numbers(chromium, [1, 2, 3, 4]), want)
    bars = chromium.run("Array.from(document.querySelectorAll('rect.c'))"
                        ".map(r => Number(r.dataset.bytes))")
    half = len(bars) // 2
    check("space: the bars", sum(bars[:half]) == sum(bars[half:]) ==
          space["file-size"], bars)
    chromium.hover("rect.c", half)
    check("space: hover", tip(chromium).startswith("header\n4 KiB in 1 range"),
          tip(chromium))
    # Sorting by size, the largest first.
    chromium.click(*chromium.centre("table.sort th button", 1))
    sizes = [r[1] for r in numbers(chromium, [1])]
    check("space: sorts", sizes == sorted(sizes, reverse=True) and
          sizes[0] > sizes[-1], sizes)
    quiet("space", chromium, url)


def test_snapshots_page(chromium):
    costs = report("snapshots", "--delete=1,2", "many.qcow2")
    url = chromium.open(draw("costs.html", "snapshots", "--delete=1,2",
                             "--output=html", "many.qcow2"))
    want = [[s["id"], s["referenced"], s["exclusive"], s["shared"],
             s["frees-if-deleted"], s["virtual-size"]]
            for s in costs["snapshots"]]
    check("snapshots: the table", numbers(chromium, [2, 3, 4, 5, 6]) == want,
          numbers(chromium, [2, 3, 4, 5, 6]), want)
    check("snapshots: --delete", "(%d bytes)" % costs["deleting"]["frees"] in
          chromium.run("document.querySelector('.notes').textContent"))
    chromium.hover("rect.c", 1)
    text = tip(chromium)
    check("snapshots: hover", text == "active disk\nshared: " +
          size(costs["active-disk"]["shared"]), text)
    if keep:
        chromium.screenshot(keep + "/snapshots.png")
    quiet("snapshots", chromium, url)


def test_audit_page(chromium):
    os.makedirs("fleet/sub", exist_ok=True)
    shutil.copy("main.qcow2", "fleet/base.qcow2")
    for i in range(6):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b",
                        "../base.qcow2", "-F", "qcow2",
                        "fleet/sub/over%d.qcow2" % i, "%dM" % (16 + i)],
                       check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b",
                    "gone.qcow2", "-F", "qcow2", "fleet/broken.qcow2", "9M"],
                   check=True)
    audit = report("audit", "fleet", status=4)
    run("audit", "fleet", "--output=html", "--to=audit.html", status=4)
    url = chromium.open("audit.html")
    want = {f["filename"]: [f.get(k, 0) for k in (
        "capacity", "length", "allocation", "commitment")]
            for f in audit["files"]}
    got = numbers(chromium, [2, 3, 4, 5])
    check("audit: the table", {r[0]: r[1:] for r in got} == want, got, want)
    check("audit: the largest first", [r[4] for r in got] ==
          sorted((r[4] for r in got), reverse=True))
    n = chromium.run("document.querySelectorAll('.map').length")
    check("audit: a chart for the file system, one for the files",
          n == 1 + len(audit["volumes"]), n)
    promised = chromium.run("""Array.from(document.querySelectorAll(
        '.map')[0].querySelectorAll('.k%d')).map(
        r => Number(r.dataset.bytes))""" % 28)
    check("audit: what is promised", promised ==
          [audit["volumes"][0]["growth"]], promised)
    bar = chromium.run("Array.from(document.querySelectorAll('rect.c')).findIndex("
                       "r => r.closest('.map') === document.querySelectorAll('.map')[1])")
    chromium.hover("rect.c", bar)
    check("audit: hover", tip(chromium).startswith(got[0][0] + "\ntakes now: " +
                                                   size(got[0][3])),
          tip(chromium), got[0])
    if keep:
        chromium.screenshot(keep + "/audit.png")
    quiet("audit", chromium, url)


# --------------------------------------------------------------- hostile content
HOSTILE = ("<img src=x onerror=pwned()>", "</script><script>pwned()</script>",
           "]]><svg onload=pwned()>", "'\"><b>&lt;&amp;", "a\\nb")


def test_hostile(chromium):
    folder = "<img src=x onerror='window.pwned=1'>&\"]]>"
    name = "x<\n\x01\u202e%s" % "</script><script>window.pwned=1<"
    os.makedirs(os.path.join(folder, os.path.dirname(name + "/script>")),
                exist_ok=True)
    recipe = "cluster 512\nsize 64K\n"
    for i, text in enumerate(HOSTILE):
        recipe += "write %dK 1K\nsnapshot \"%s\"\n" % (
            i, text.replace("\\", "\\\\").replace('"', '\\"')
            if False else text.replace('"', "'"))
    image = make("hostile", recipe)
    path = os.fsencode(os.path.join(folder, name + "/script>")) + b"\xff\xc0.qcow2"
    shutil.copy(image, path)
    shown = (folder.replace("\\", "\\\\") + "/" +
             name.replace("\n", "\\n").replace("\x01", "\\x01")
             .replace("\u202e", "\\xe2\\x80\\xae") + "/script>\\xff\\xc0.qcow2")
    for verb in ("layout", "space", "snapshots", "extents", "audit"):
        with open("hostile.html", "wb") as f:
            f.write(run(verb, "--output=html", path))
        with open("hostile.html", "rb") as f:
            f.read().decode("utf-8")
        url = chromium.open("hostile.html")
        text = chromium.run("document.body.textContent")
        check(verb + ", hostile: the name is shown", shown in text, text[:300])
        check(verb + ", hostile: stays text", chromium.run("""
            typeof window.pwned === 'undefined' &&
            document.querySelectorAll('img,b,iframe,object').length === 0 &&
            document.querySelectorAll('script').length === 1"""))
        quiet(verb + ", hostile", chromium, url)
        n = chromium.run("document.querySelectorAll('rect.c').length")
        for i in range(0, n, max(1, n // 5)):
            chromium.hover("rect.c", i)
        check(verb + ", hostile: pointed at", chromium.run("""
            typeof window.pwned === 'undefined' &&
            document.querySelectorAll('#tip *').length === 0"""))
        # Whatever might get in does not run, for the page's own policy.
        chromium.run("""(() => { const s = document.createElement('script');
            s.textContent = 'window.pwned = 2'; document.body.append(s);
            const d = document.createElement('div');
            d.innerHTML = '<img src=x onerror="window.pwned=3">';
            document.body.append(d); return 0; })()""")
        check(verb + ", hostile: the policy holds", chromium.run(
            "typeof window.pwned === 'undefined'")
            and "Content Security Policy" in str(chromium.problems))
    for verb in ("layout", "extents"):
        with open("hostile.svg", "wb") as f:
            f.write(run(verb, "--output=svg", path))
        root, _ = parse("hostile.svg")
        check(verb + ", hostile: SVG", root.find(SVG + "title").text == shown and
              {e.tag for e in root.iter()} <= {SVG + t for t in (
                  "svg", "title", "style", "defs", "pattern", "rect", "path",
                  "text", "g")})
    # A name in the image with bytes that are neither UTF-8 nor XML's.
    with open("bytes.recipe", "w", encoding="utf-8") as f:
        f.write("cluster 512\nsize 64K\nwrite 0 1K\nsnapshot abcdefgh\n"
                "write 0 512\npoke @snap[0]+41+16 hex:ff0108efbfbf1b3c\n")
    name_at = int(subprocess.run(
        [MK, "-e", "@snap[0] + 40 + snap[0].extra_size + snap[0].id_len",
         "bytes.recipe"], check=True, stdout=subprocess.PIPE).stdout)
    with open("bytes.recipe", "r+", encoding="utf-8") as f:
        text = f.read().replace("@snap[0]+41+16", str(name_at))
        f.seek(0)
        f.truncate()
        f.write(text)
    subprocess.run([MK, "bytes.recipe", "bytes.qcow2"], check=True)
    for verb in ("layout", "snapshots"):
        chromium.open(draw("bytes.html", verb, "--output=html", "bytes.qcow2"))
        said_so = chromium.run("""Array.from(document.querySelectorAll(
            'rect.c')).length && (document.body.textContent)""")
        if verb == "layout":
            n = next(i for i, c in enumerate(parse(draw(
                "bytes.svg", "layout", "--output=svg", "bytes.qcow2"))[1])
                if "snapshot 1" in c[2])
            chromium.hover("rect.c", n)
            said_so = tip(chromium)
        check(verb + ": bytes of a name", "\\xff\\x01\\b\ufffd\\x1b<" in said_so,
              repr(said_so))


def test_damage(chromium):
    image = make("damaged", "cluster 4K\nsize 64K\nwrite 0 16K\n"
                 "set l2[0][1].offset += 512\n")
    layout = report("layout", image, status=4)
    ids = list(layout["problems"])
    for verb in ("layout", "space", "snapshots"):
        chromium.open(draw("damaged.html", verb, "--output=html", image,
                           status=4))
        text = chromium.run("document.querySelector('.bad').textContent")
        check(verb + ": damage is named", ids[0] in text, text, ids)
    root, _ = parse(draw("damaged.svg", "layout", "--output=svg", image,
                         status=4))
    check("SVG: damage is named", any(ids[0] in (t.text or "") for t in
                                      root.iter(SVG + "text")))
    chromium.open(draw("damaged.html", "extents", "--output=html", image,
                       status=4))
    chromium.hover("rect.c", 1)
    check("extents: the problem's id", "unreadable" in tip(chromium) and
          "L2_UNALIGNED" in tip(chromium), tip(chromium))


def test_without_scripts(chromium):
    """The map, its owners as tooltips of the browser, and the legend."""
    url = chromium.open(draw("still.html", "layout", "--output=html",
                             "main.qcow2"), scripts=False)
    found = chromium.call("DOM.getDocument", depth=-1)
    text = json.dumps(found)
    check("without scripts: titles", "data of the active disk: 100 %" in text)
    check("without scripts: tools are hidden", '"hidden"' in text)
    quiet("without scripts", chromium, url)
    chromium.call("Emulation.setScriptExecutionDisabled", value=False)
    # The SVG by itself, in the browser: the cell that a pointer finds.
    url = chromium.open(draw("alone.svg", "layout", "--output=svg",
                             "main.qcow2"))
    x, y = chromium.centre("rect.hit", 40)
    check("SVG alone: pointed at", said(chromium.run(
        "document.elementFromPoint(%f, %f).textContent" % (x, y)))[0] ==
        40 * 4096)
    check("SVG alone: a tooltip", chromium.run(
        "document.querySelectorAll('rect.hit > title').length") > 100)
    for scheme in ("light", "dark"):
        chromium.open("alone.svg", scheme)
        pixels = chromium.screenshot(keep and "%s/svg-%s.png" % (keep, scheme))
        check("SVG alone: " + scheme, (luminance(pixels.at(3, 3)) > 0.5) ==
              (scheme == "light"))
    quiet("SVG alone", chromium, url)


# --------------------------------------------------------------------- terminals
def on_terminal(columns, *arguments, **more):
    """What the tool writes to a terminal so wide."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ,
                struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen([MAP, *arguments], stdin=subprocess.DEVNULL,
                               stdout=child, stderr=subprocess.DEVNULL,
                               env=dict(env, **more))
    os.close(child)
    out = b""
    while True:
        try:
            data = os.read(parent, 65536)
        except OSError:
            break
        if not data:
            break
        out += data
    os.close(parent)
    process.wait()
    return out.decode("utf-8").replace("\r\n", "\n")


def lines_of(text):
    return [m[1] for m in re.finditer(r"^ +(?:0|0x[0-9a-f]+)  (.+)$", text,
                                      re.M)]


def test_terminals():
    blocks = ("layout", "--output=blocks", "large.qcow2")
    xterm = {"TERM": "xterm-256color", "NO_COLOR": ""}
    plain = run(*blocks).decode("ascii")
    check("pipe: 64 columns", {len(x) for x in lines_of(plain)[:-1]} == {64})
    check("pipe, UTF-8: blocks, no colours",
          "\u2588" in run(*blocks, LC_ALL="C.UTF-8").decode() and
          "\x1b" not in run(*blocks, LC_ALL="C.UTF-8", **xterm).decode())
    for columns in (40, 80, 133, 200):
        text = on_terminal(columns, *blocks, LC_ALL="C.UTF-8", **xterm)
        bare = re.sub(r"\x1b\[\d+m", "", text)
        widths = {len(x) for x in lines_of(bare)[:-1]}
        check("terminal of %d columns" % columns,
              widths == {(columns - 16) // 8 * 8}, widths)
        check("terminal: colours, which end", "\x1b[34m" in text and
              all(re.findall(r"\x1b\[(\d+)m", line)[-1:] in ([], ["0"])
                  for line in text.split("\n")))
        check("terminal: blocks", "\u2588" in text)
        check("terminal: no more than 24 lines", len(lines_of(bare)) <= 24)
    text = on_terminal(80, *blocks, LC_ALL="C.UTF-8", TERM="xterm",
                       NO_COLOR="1")
    check("NO_COLOR", "\x1b" not in text and "\u2588" in text)
    text = on_terminal(80, *blocks, LC_ALL="C.UTF-8", TERM="dumb", NO_COLOR="")
    check("TERM=dumb", text.isascii() and "\x1b" not in text)
    text = on_terminal(80, *blocks, LC_ALL="C", TERM="xterm", NO_COLOR="")
    check("LC_ALL=C", text.isascii() and "\x1b[34m" in text)
    # The legend's sums, and one character for each cell, as the list has them.
    layout = report("layout", "main.qcow2")
    text = run("layout", "--output=blocks", "main.qcow2").decode()
    sums, _ = expected(layout["layout"], 0, layout["file-size"], "host",
                       of_layout)
    legend = {m[3]: (m[1], m[2]) for m in re.finditer(
        r"^  (\S) +(\d[\d.]* \w+)  (.*)$", text, re.M)}
    check("blocks: legend", {k: v[1] for k, v in legend.items()} ==
          {k: size(v) for k, v in sums.items()}, legend, sums)
    drawn = "".join(lines_of(text))
    want = "".join(legend[of_layout(r)][0] * -(-r["length"] // 4096)
                   for r in layout["layout"])
    check("blocks: a character for each cluster", drawn == want, drawn, want)
    rows = report("extents", "--chain", "over.qcow2")
    text = run("extents", "--chain", "--output=blocks", "over.qcow2").decode()
    sums, _ = expected(rows["extents"], 0, rows["virtual-size"], "start",
                       of_extents)
    check("blocks of a disk: legend", all(
        re.search("^  \\S +%s  %s$" % (re.escape(size(n)), re.escape(k)), text,
                  re.M) for k, n in sums.items()), text, sums)


MAIN = """cluster 4K
size 16M
write 0 2M
snapshot one vmstate=10K
write 0 256K
compress 4M 64K
zero 6M 64K
gap 20
write 8M 512K
bitmap b gran=16 set=0:64K
set refcount[@free/cs-1] = 1
"""


def make_images():
    make("main", MAIN)
    make("many", "cluster 512\nsize 1M\nwrite 0 100K\nsnapshot a\n"
         "write 0 20K\nsnapshot b\nwrite 10K 20K\nsnapshot c\nwrite 0 5K\n")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o",
                    "cluster_size=4k", "large.qcow2", "64M"], check=True)
    commands = ["write -P 1 0 20M", "write -P 2 40M 8M", "write -c -P 3 30M 4k"]
    io = ["qemu-io"]
    for command in commands:
        io += ["-c", command]
    subprocess.run([*io, "large.qcow2"], check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["qemu-img", "snapshot", "-c", "one", "large.qcow2"],
                   check=True)
    subprocess.run(["qemu-io", "-c", "write -P 4 1M 3M", "-c",
                    "write -P 5 60M 1M", "large.qcow2"], check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b",
                    "main.qcow2", "-F", "qcow2", "over.qcow2", "18M"],
                   check=True)
    subprocess.run(["qemu-io", "-c", "write -P 4 1M 1M", "-c",
                    "write -z 3M 1M", "over.qcow2"], check=True,
                   stdout=subprocess.DEVNULL)


def test_all(folder):
    make_images()
    inputs = {n: os.stat(n).st_mtime_ns for n in os.listdir(".")
              if n.endswith(".qcow2")}
    test_svg()
    test_colours()
    test_terminals()
    chromium = browser.Browser(folder)
    try:
        for test in (test_layout_page, test_zoom, test_keys, test_legend,
                     test_schemes, test_space_page, test_snapshots_page,
                     test_audit_page, test_hostile, test_damage,
                     test_without_scripts, test_bounds):
            test(chromium)
    finally:
        chromium.close()
    check("no image was written to", all(os.stat(n).st_mtime_ns == t
                                         for n, t in inputs.items()))


def main():
    folder = tempfile.mkdtemp()
    # On a file system that lives in memory, files of 8 EiB are possible.
    images = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK)
                              else None)
    os.chdir(images)
    try:
        test_all(folder)
    except Exception as error:  # a part that cannot go on has failed
        import traceback
        traceback.print_exc()
        check("cannot go on: %r" % error, False)
    finally:
        os.chdir("/")
        shutil.rmtree(images, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    print("map-pictures: %(passed)d passed, %(failed)d failed" % counts)
    return counts["failed"] != 0 or counts["passed"] == 0


if __name__ == "__main__":
    sys.exit(main())
