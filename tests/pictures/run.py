# run.py - the pictures of qcow2-map, as a browser and a terminal show them.
#
# SPDX-License-Identifier: MIT
#
# usage: run.py BUILD_DIR [KEEP]     KEEP: a folder for the screenshots
#
# Pages are opened in a real Chromium, pointed at and zoomed; what they say of
# addresses is compared with --output=json of the same image.
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

sys.dont_write_bytecode = True
import browser  # noqa: E402
import drawings  # noqa: E402
import pages  # noqa: E402
import reports  # noqa: E402
from common import check, counts, make  # noqa: E402

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
    make("dense", "cluster 512\nsize 16M\n" + "".join(
        "write %d 512\nsnapshot s%d vmstate=600\nwrite %d 512\n"
        "compress %d 512\ngap 1\nbitmap b%d gran=12 set=0:4K\n" % (
            i << 16, i, i << 16, (i << 16) + 4096, i) for i in range(9)) +
         "write 4M 5M\n")
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
    drawings.test_svg()
    drawings.test_colours()
    drawings.test_terminals()
    chromium = browser.Browser(folder)
    try:
        for test in (pages.test_layout_page, pages.test_zoom,
                     pages.test_keys, pages.test_legend, pages.test_schemes,
                     reports.test_space_page, reports.test_snapshots_page,
                     reports.test_audit_page, reports.test_hostile,
                     reports.test_damage, reports.test_without_scripts,
                     drawings.test_bounds):
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
