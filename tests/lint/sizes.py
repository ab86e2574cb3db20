#!/usr/bin/env python3
# sizes.py - how long files, functions and structs are: the design's numbers.
#
# SPDX-License-Identifier: MIT
#
# usage: sizes.py FILE...      of C; prints "lint sizes: N passed, N failed"
#
# The public header is one file, however long it gets.
import re
import statistics
import sys

FILE_MEDIAN, FILE_MOST = 220, 500
BODY_MEDIAN, BODY_P90, BODY_MOST = 18, 55, 110
MEMBERS_MOST = 25
PUBLIC = 'lib/q2.h'
# One member for each option of a program is what these are for.
MIRRORS = {'options'}
# Larger than they should be; they may shrink, and must not grow.
LARGE = {'q2_repair': 34, 'q2f_refcheck': 29}


def bodies(lines):
    """(first line, length) of each function: from { to } in column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith('{'):
            start = number
        elif line.startswith('}') and start is not None:
            yield start, number - start - 1
            start = None


def structs(text):
    """(name, members) of each struct; a nested one counts as its members."""
    text = re.sub(r'/\*.*?\*/', '', text, flags=re.S)
    for found in re.finditer(r'^struct (\w+) \{$(.*?)^\}', text,
                             flags=re.S | re.M):
        yield found.group(1), len(re.findall(r';', found.group(2)))


def main():
    sizes, lengths, bad = [], [], []
    for path in sys.argv[1:]:
        with open(path, encoding='utf-8') as f:
            text = f.read()
        lines = text.splitlines()
        if path != PUBLIC:
            sizes.append(len(lines))
            if len(lines) > FILE_MOST:
                bad.append(f'{path}: {len(lines)} lines')
        for start, length in bodies(lines):
            lengths.append(length)
            if length > BODY_MOST:
                bad.append(f'{path}:{start}: a function of {length} lines')
        for name, members in structs(text):
            if name not in MIRRORS and \
                    members > LARGE.get(name, MEMBERS_MOST):
                bad.append(f'{path}: struct {name} has {members} members')
    lengths.sort()
    for what, found, most in (
            ('median of files', statistics.median(sizes), FILE_MEDIAN),
            ('median of functions', statistics.median(lengths), BODY_MEDIAN),
            ('90th percentile of functions',
             lengths[len(lengths) * 9 // 10], BODY_P90)):
        print(f'lint sizes: {what}: {found:g} lines, {most} at the most')
        if found > most:
            bad.append(f'{what} is {found:g}')
    for line in bad:
        print(f'lint sizes: {line}', file=sys.stderr)
    print(f'lint sizes: {len(sizes)} passed, {len(bad)} failed')
    return bool(bad)


sys.exit(main())
