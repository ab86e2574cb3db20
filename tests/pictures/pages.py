# pages.py - HTML pages of layouts: pointed at, zoomed, by keys, in colours.
#
# SPDX-License-Identifier: MIT
import os
import re

from common import (check, draw, expected, keep, of_layout, report, said)

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
    check("drag: ends", box(chromium) == moved, moved, box(chromium))
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
        pixels = chromium.screenshot(
            keep and "%s/layout-%s.png" % (keep, scheme), 320)
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
            if "url" in fill or y > 319 or x > 999:
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
