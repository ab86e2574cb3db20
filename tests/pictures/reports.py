# reports.py - the other HTML pages; what is hostile or damaged.
#
# SPDX-License-Identifier: MIT
import json
import os
import shutil
import subprocess

from common import (MK, SVG, check, draw, keep, make, parse, report, run, said,
                    size)
from pages import luminance, quiet, tip


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
    bar = chromium.run("""Array.from(document.querySelectorAll('rect.c'))
        .findIndex(r => r.closest('.map') ===
                   document.querySelectorAll('.map')[1])""")
    chromium.hover("rect.c", bar)
    check("audit: hover", tip(chromium).startswith(got[0][0] + "\ntakes now: " +
                                                   size(got[0][3])),
          tip(chromium), got[0])
    if keep:
        chromium.screenshot(keep + "/audit.png")
    quiet("audit", chromium, url)


# --------------------------------------------------------------- hostile content
HOSTILE = ("<img src=x onerror=pwned()>", "</script><script>pwned()</script>",
           "]]><svg onload=pwned()>", "'><b>&lt;&amp;\u202e", "a\\nb")


def hostile_base(chromium):
    """What an image calls its base stays text, too."""
    base = (b"</script><img src=x onerror='window.pwned=1'>\x1b[2J\"\xff\n&lt;"
            b".qcow2")
    os.makedirs("strangers", exist_ok=True)
    subprocess.run([b"qemu-img", b"create", b"-q", b"-u", b"-f", b"qcow2",
                    b"-F", b"qcow2", b"-b", base, b"strangers/over.qcow2",
                    b"1M"], check=True)
    with open("strangers.html", "wb") as f:
        f.write(run("audit", "--output=html", "strangers", status=4))
    url = chromium.open("strangers.html")
    text = chromium.run("document.body.textContent")
    check("audit, hostile base: is shown",
          "</script><img src=x onerror='window.pwned=1'>\\x1b[2J\"\\xff\\n&lt;"
          ".qcow2" in text, text[-600:])
    check("audit, hostile base: stays text", chromium.run("""
        typeof window.pwned === 'undefined' &&
        document.querySelectorAll('img').length === 0 &&
        document.querySelectorAll('script').length === 1"""))
    quiet("audit, hostile base", chromium, url)


def test_hostile(chromium):
    folder = "<img src=x onerror='window.pwned=1'>&\"]]>"
    name = "x<\n\x01\x1b[2J\u202e%s" % "</script><script>window.pwned=1<"
    os.makedirs(os.path.join(folder, os.path.dirname(name + "/script>")),
                exist_ok=True)
    recipe = "cluster 512\nsize 64K\n"
    for i, text in enumerate(HOSTILE):
        recipe += "write %dK 1K\nsnapshot \"%s\"\n" % (i, text)
    image = make("hostile", recipe)
    path = os.fsencode(os.path.join(folder, name + "/script>")) + b"\xff\xc0.qcow2"
    shutil.copy(image, path)
    shown = (folder.replace("\\", "\\\\") + "/" +
             name.replace("\n", "\\n").replace("\x01", "\\x01").replace("\x1b", "\\x1b")
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
    hostile_base(chromium)
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
