# drawings.py - SVG, pictures of characters, and how large they get.
#
# SPDX-License-Identifier: MIT
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import xml.etree.ElementTree as ElementTree

import eyes
from common import (MAP, SVG, check, check_cells, draw, env, expected, make,
                    of_extents, of_layout, parse, report, run, size)
from pages import rgb


def check_shapes(name, root):
    """Each cell is filled, by parts that do not overlap."""
    boxes = {(int(r.get("x")), int(r.get("y"))): int(r.get("width"))
             for r in root.iter(SVG + "rect") if r.get("data-at")}
    side = set(boxes.values()).pop()
    parts = {}
    for path in root.iter(SVG + "path"):
        if "k" not in path.get("class").split():
            continue
        for m in re.finditer(r"M(\d+) ([\d.]+)h\d+v([\d.]+)h-\d+z",
                             path.get("d")):
            y = float(m[2])
            parts.setdefault((int(m[1]), int(y) // side * side), []).append(
                (y, float(m[3])))
    wrong = []
    for cell in boxes:
        at, several = cell[1], sorted(parts.get(cell, []))
        for y, height in several:
            if abs(y - at) > 0.02 or height <= 0:
                wrong.append((cell, several))
            at = y + height
        if abs(at - cell[1] - side + 1) > 0.02:
            wrong.append((cell, several))
    check(name + ": cells are filled", not wrong and set(parts) == set(boxes),
          wrong[:1])
    check(name + ": some are divided", name != "dense.qcow2" or
          max(len(p) for p in parts.values()) > 4)


def test_svg():
    for image in ("dense.qcow2", "main.qcow2", "large.qcow2"):
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
        check_shapes(image, root)
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
    make("named", "cluster 512\nsize 8M\nwrite 0 2M\nsnapshot \"" +
         "<&>" * 10000 + "\"\nwrite 0 512\n")
    make("wide", "cluster 4K\nsize 1M\nwrite 0 64K\nextend 1T\n")
    for name, arguments in {
            "1 TiB": ("extents", "tib.qcow2"),
            "8 EiB": ("extents", "--raw", "sparse.raw"),
            "a file of 1 TiB": ("layout", "wide.qcow2"),
            "a name of 30000": ("layout", "named.qcow2")}.items():
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
    for name, utf8 in (("en_GB.utf8", True), ("C.UTF-8@euro", True),
                       ("POSIX", False), ("de_DE.ISO-8859-1", False)):
        text = run(*blocks, LC_ALL="", LC_CTYPE=name, LANG="C.UTF-8").decode()
        check("LC_CTYPE=" + name, text.isascii() != utf8)
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
