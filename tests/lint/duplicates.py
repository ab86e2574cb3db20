#!/usr/bin/env python3
# duplicates.py - blocks of lines that stand in two places.
#
# SPDX-License-Identifier: MIT
#
# usage: duplicates.py FILE...      prints "lint duplicates: N passed, N failed"
#
# Lines count that say something: comments and empty lines do not, and how a line
# is indented makes no difference.  Twelve of them in a row that are the same
# elsewhere are a copy.
import re
import sys

LEAST = 12


def significant(path):
    """(line number, text) of each line that says something."""
    lines = []
    in_comment = False
    shell = path.endswith('.sh')
    with open(path, encoding='utf-8') as f:
        for number, line in enumerate(f, 1):
            text = ' '.join(line.split())
            if shell:
                if text.startswith('#'):
                    continue
            else:
                if not in_comment:
                    text = re.sub(r'/\*.*?\*/', '', text).strip()
                if in_comment or text.startswith('/*'):
                    in_comment = '*/' not in text
                    continue
            if text:
                lines.append((number, text))
    return lines


def copies(files):
    """Maximal blocks: (lines, file, first line, file, first line)."""
    text = {path: significant(path) for path in files}
    first = {}
    found = []
    covered = set()
    for path in files:
        lines = text[path]
        for i in range(len(lines) - LEAST + 1):
            block = tuple(t for _, t in lines[i:i + LEAST])
            if block not in first:
                first[block] = (path, i)
                continue
            other, j = first[block]
            if other == path and i - j < LEAST:
                continue
            if (path, i - 1, other, j - 1) not in covered:
                n = LEAST
                while (i + n < len(lines) and j + n < len(text[other])
                       and lines[i + n][1] == text[other][j + n][1]):
                    n += 1
                found.append((n, other, text[other][j][0],
                              path, lines[i][0]))
            covered.add((path, i, other, j))
    return found


def main():
    files = sys.argv[1:]
    found = copies(files)
    for n, a, at_a, b, at_b in found:
        print(f'lint duplicates: {a}:{at_a} and {b}:{at_b}: '
              f'the same {n} lines', file=sys.stderr)
    # A copy of a file has to be found, or this test cannot fail.
    longest = max(files, key=lambda path: len(significant(path)))
    ok = len(files) > 1 and bool(copies([longest, './' + longest]))
    if not ok:
        print('lint duplicates: does not find a copy', file=sys.stderr)
    failed = len(found) + (not ok)
    print(f'lint duplicates: {len(files)} passed, {failed} failed')
    return failed != 0


sys.exit(main())
