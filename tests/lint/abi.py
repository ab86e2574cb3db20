#!/usr/bin/env python3
# abi.py - the interface of libq2.so beside the description that is committed:
# symbols, functions and their parameters, values of enumerators and constants, and
# sizes and places of the members of public structs.
#
# SPDX-License-Identifier: MIT
#
# usage: abi.py check|update BUILD_DIR COMPILER...      from the repository's root
#
# A change that is meant: run `make abi-update` and commit the description with the
# change, which then shows what programs built before will meet.  A symbol that is
# gone, or a member that moved, needs another soname.
import difflib
import os
import re
import subprocess
import sys
import tempfile

HEADER = 'lib/q2.h'


def output(*command):
    return subprocess.run(command, check=True, capture_output=True,
                          text=True).stdout


def squeeze(text):
    return re.sub(r'\s*([(),*])\s*', r'\1', ' '.join(text.split()))


def member_names(body):
    """The names that a struct's body declares."""
    for declaration in filter(None, map(str.strip, body.split(';'))):
        pointer = re.search(r'\(\*(\w+)\)\(', declaration)
        if pointer:
            yield pointer.group(1)
            continue
        for declarator in declaration.split(','):
            yield re.search(r'(\w+)\s*(?:\[[^]]*\])*$', declarator).group(1)


def questions(text):
    """A program that prints sizes, places and values."""
    c = ['#include <stdalign.h>', '#include <stddef.h>', '#include <stdio.h>',
         '#include "q2.h"', 'int main(void)', '{']

    def ask(form, *values):
        c.append(f'printf("{form}\\n", {", ".join(values)});')

    for name, body in re.findall(r'^struct (\w+) \{(.*?)^\}', text,
                                 flags=re.S | re.M):
        ask(f'struct {name}: %zu bytes, aligned to %zu',
            f'sizeof(struct {name})', f'alignof(struct {name})')
        for member in member_names(body):
            ask(f'struct {name}.{member}: %zu bytes at %zu',
                f'sizeof(((struct {name} *)0)->{member})',
                f'offsetof(struct {name}, {member})')
    for name, body in re.findall(r'^enum (\w+) \{(.*?)^\}', text,
                                 flags=re.S | re.M):
        ask(f'enum {name}: %zu bytes', f'sizeof(enum {name})')
        for value in body.split(','):
            if value.strip():
                word = value.split()[0]
                ask(f'enum {name}.{word}: %lld', f'(long long){word}')
    for name, value in re.findall(r'^#define (Q2_\w+) (\S.*)$', text,
                                  flags=re.M):
        if re.match(r'\(?(UINT|[0-9])', value):
            ask(f'{name}: %llu', f'(unsigned long long)({name})')
    return '\n'.join(c + ['return 0;', '}', ''])


def describe(text, library, compiler):
    """Sorted lines; those of each struct stay together."""
    lines = []
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, 'q2.h'), 'w', encoding='utf-8') as f:
            f.write(text)
        with open(os.path.join(work, 'ask.c'), 'w', encoding='utf-8') as f:
            f.write(questions(text))
        program = os.path.join(work, 'ask')
        output(*compiler, '-w', '-I', work, '-o', program,
               os.path.join(work, 'ask.c'))
        lines += output(program).splitlines()
    for prototype in re.findall(r'^Q2_PUBLIC (.*?);', text, flags=re.S | re.M):
        prototype = re.sub(r'\bQ2_[A-Z_]+\b', '', prototype)
        lines.append('function ' + squeeze(prototype))
    for line in output('nm', '-D', '--defined-only', library).splitlines():
        lines.append('symbol ' + line.split()[-1])
    return sorted(lines)


def uncommented():
    with open(HEADER, encoding='utf-8') as f:
        return re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)


# Changes that have to be noticed, as expressions on the header.
FALSE = (
    ('a member that moved', r'(struct q2_err \{\s*)(enum q2_status code;)(.*?;)',
     r'\1\3\2'),
    ('a member too many', r'struct q2_finding \{', r'\g<0> int another;'),
    ('another value', r'Q2_E_NOMEM,', r'Q2_E_NOMEM = 77,'),
    ('another parameter', r'(q2_io_size\()const ', r'\1'),
    ('another type', r'uint64_t (q2_io_size\()', r'uint32_t \1'),
    ('another constant', r'(#define Q2_TREE_ACTIVE) .*', r'\1 UINT64_MAX'),
)


def main():
    verb, build, compiler = sys.argv[1], sys.argv[2], sys.argv[3:]
    library = os.path.join(build, 'libq2.so.0')
    machine = output(*compiler, '-dumpmachine').split('-')[0]
    path = f'tests/lint/libq2.{machine}.abi'
    text = uncommented()
    now = describe(text, library, compiler)
    if verb == 'update':
        with open(path, 'w', encoding='utf-8') as f:
            f.write('\n'.join(now) + '\n')
        return 0
    if not os.path.exists(path):
        print(f'abi: there is no {path}; make abi-update writes it',
              file=sys.stderr)
        return 1
    with open(path, encoding='utf-8') as f:
        then = f.read().splitlines()
    passed, failed = 0, 0
    if now == then:
        passed += 1
    else:
        failed += 1
        for line in difflib.unified_diff(then, now, path, 'now', n=0,
                                         lineterm=''):
            print(line, file=sys.stderr)
        print('abi: the interface changed; if it is meant to: make abi-update',
              file=sys.stderr)
    for what, old, new in FALSE:
        false = re.sub(old, new, text, count=1, flags=re.S if 'moved' in what
                       else 0)
        if false == text or describe(false, library, compiler) == now:
            failed += 1
            print(f'abi: {what} would not be noticed', file=sys.stderr)
        else:
            passed += 1
    print(f'abi: {passed} passed, {failed} failed')
    return failed != 0


sys.exit(main())
