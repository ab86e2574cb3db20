#!/usr/bin/env python3
# options.py - options stand in a table, in --help, in the manual page and in what
# shells offer; all four must say the same, of every tool and every verb.
#
# SPDX-License-Identifier: MIT
#
# usage: options.py BUILD_DIR      from the repository's root
#
# Compared: names, letters, whether there is an argument and, where it is one of
# some words, that the manual page names each.  Then each manual page is falsified
# in several ways, which must be noticed.  Prints "lint options: N passed, N failed".
import os
import re
import subprocess
import sys

TOOLS = (('qcow2-fsck', 'fsck/qcow2-fsck.8'), ('qcow2-map', 'map/qcow2-map.1'),
         ('qcow2-dump', 'dump/qcow2-dump.1'))
COMPLETION = 'lib/cli/completion.bash'
OFFER = ('. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _qcow2 "$1"; '
         'printf "%s\\n" "${COMPREPLY[@]}"')


def lines(*command):
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


def table(command):
    """name -> words of its argument, '' or None; and the letters."""
    options = {}
    for line in lines(*command, '--long-options'):
        name, equals, arg = line.partition('=')
        options[name] = arg if equals else None
    return options, set(lines(*command, '--short-options'))


def from_help(command):
    """name -> (letter or None, has an argument)."""
    found = {}
    for line in lines(*command, '--help'):
        m = re.match(r'  (?:(-[A-Za-z]), |    )(--[a-z0-9-]+)(=)?', line)
        if m:
            found[m.group(2)] = (m.group(1), m.group(3) is not None)
    return found


def offered(command, word):
    got = lines('bash', '-c', OFFER, COMPLETION, *command, word)
    return {w.rstrip('=') for w in got if w.startswith('-')}


def sections(page, verbs):
    """verb, or '' for what all share -> name -> (letter, argument, text)."""
    parts = {'': {}}
    texts = {}
    where, item = '', None
    for line in page.splitlines():
        if line.startswith(('.Ss ', '.Sh ')):
            title = line[4:].strip()
            where, item = title if title in verbs else '', None
            parts.setdefault(where, {})
        m = re.match(r'\.It (?:Fl ([A-Za-z]) (?:Ar \w+ )?, )?'
                     r'Fl Fl ([a-z0-9-]+)( Ns = )?', line)
        if m:
            letter = '-' + m.group(1) if m.group(1) else None
            item = [letter, m.group(3) is not None, []]
            texts.setdefault(m.group(2), []).append(item[2])
            parts[where]['--' + m.group(2)] = item
        elif item is not None:
            if line.startswith(('.It', '.El')) and not line.startswith('.It Sy'):
                item = None
            else:
                item[2].append(line)
    # An item may send the reader to another one of the same name.
    for name, own in texts.items():
        shared = [line for text in own for line in text]
        for text in own:
            if re.search(r'\b[Ss]ee\b', ' '.join(text)):
                text += shared
    return parts


def words_of(arg):
    return re.split(r'\|', re.sub(r'\[.*', '', arg)) if '|' in arg else []


def compare(command, options, letters, paged):
    """What is wrong, as text, with one verb's part of the page."""
    wrong = [f'{name} is not in the manual page'
             for name in options.keys() - paged.keys()]
    wrong += [f'{name} is only in the manual page'
              for name in paged.keys() - options.keys()]
    for name in options.keys() & paged.keys():
        letter, has_arg, text = paged[name]
        if has_arg != (options[name] is not None):
            wrong.append(f'{name}: the manual page differs on its argument')
        if letter is not None and letter not in letters:
            wrong.append(f'{name}: the manual page has a letter {letter}')
        plain = ' '.join(text).replace('\\&', '')
        wrong += [f'{name}: the manual page does not name {word}'
                  for word in words_of(options[name] or '')
                  if not re.search(r'(?<![\w-])' + re.escape(word) +
                                   r'(?![\w-])', plain)]
    known = {paged[name][0] for name in paged} - {None}
    wrong += [f'letter {letter} is not in the manual page'
              for letter in letters - known]
    return wrong


def compare_help(command, options, letters):
    shown = from_help(command)
    wrong = []
    if {n: a is not None for n, a in options.items()} != \
            {n: s[1] for n, s in shown.items()}:
        wrong.append('--help has other options')
    if letters != {s[0] for s in shown.values()} - {None}:
        wrong.append('--help has other letters')
    if offered(command, '--') != set(options):
        wrong.append('shells are offered other options')
    if offered(command, '-') != set(options) | letters:
        wrong.append('shells are offered other letters')
    return wrong


def compare_page(tool, commands, page):
    """The page as a whole, for all verbs of the tool."""
    parts = sections(page, commands)
    wrong = []
    for verb, (options, letters) in commands.items():
        command = (tool, verb) if verb else (tool,)
        # What is said for all counts for a verb that has it.
        paged = {n: i for n, i in parts[''].items() if n in options or not verb}
        paged.update(parts.get(verb, {}))
        wrong += [f'{verb}: {w}' if verb else w
                  for w in compare(command, options, letters, paged)]
    everything = set().union(*(o for o, _ in commands.values()))
    wrong += [f'{name} is only in the manual page'
              for name in parts[''].keys() - everything]
    return wrong


def falsified(page):
    """Pages that are wrong, each in one way."""
    items = re.findall(r'^\.It (?:Fl \w .*?, )?Fl Fl .*$', page, flags=re.M)
    plain = [i for i in items if 'Ns =' not in i][0]
    valued = [i for i in items if 'Ns =' in i][0]
    lettered = [i for i in items if re.match(r'\.It Fl \w', i)][0]
    yield 'a missing option', page.replace(plain + '\n', '', 1)
    yield 'an option too many', page.replace(
        plain, '.It Fl Fl does-not-exist\n' + plain, 1)
    yield 'another name', page.replace(plain, plain + 'x', 1)
    yield 'a missing argument', page.replace(
        valued, valued.split(' Ns =')[0], 1)
    yield 'a missing letter', page.replace(
        lettered, '.It ' + lettered.split(', ', 1)[1])
    yield 'a missing word', re.sub(
        r'^\.It (?:Fl \w .*?, )?Fl Fl (?:output|output-format) .*?'
        r'(?=^\.(?:It|El))', lambda m: re.sub(r'json|qcow2', 'x', m.group(0)),
        page, flags=re.S | re.M)


def main():
    build = sys.argv[1]
    passed, failed = 0, []
    for name, path in TOOLS:
        tool = os.path.join(build, 'bin', name)
        verbs = lines(tool, '--list-verbs') if name == 'qcow2-map' else ['']
        commands = {v: table((tool, v) if v else (tool,)) for v in verbs}
        with open(path, encoding='utf-8') as f:
            page = f.read()
        for verb, (options, letters) in commands.items():
            command = (tool, verb) if verb else (tool,)
            wrong = compare_help(command, options, letters)
            failed += [f'{name} {verb}: {w}' for w in wrong]
            passed += not wrong
        wrong = compare_page(tool, commands, page)
        failed += [f'{path}: {w}' for w in wrong]
        passed += not wrong
        for what, false_page in falsified(page):
            noticed = len(compare_page(tool, commands, false_page)) > len(wrong)
            passed += noticed
            if not noticed:
                failed.append(f'{path}: {what} would not be noticed')
    for line in failed:
        print(f'lint options: {line}', file=sys.stderr)
    print(f'lint options: {passed} passed, {len(failed)} failed')
    return bool(failed) or passed < 20


sys.exit(main())
