#!/usr/bin/env python3
# guide.py - runs the commands of a guide and holds what it shows against what they say.
#
# SPDX-License-Identifier: MIT
#
# usage: guide.py BUILD_DIR GUIDE.md...        prints "docs: N passed, N failed"
#
# Each section ("## ...") runs in one shell, in an empty folder.  In its indented
# blocks a line that begins with "$ " is a command; the lines up to the next one are
# what it prints, errors too.  A line "..." stands for any lines, "…" within a line
# for any text.  With "--show" what the commands say is printed, for the writer.
import os
import re
import subprocess
import sys
import tempfile

MARK = '\x01-- '


def sections(text):
    """Titles, and their commands with the lines shown after each."""
    title, commands, block = None, [], False
    for line in text.split('\n'):
        if line.startswith('## '):
            if commands:
                yield title, commands
            title, commands = line[3:], []
        if line and not line.startswith('    '):
            block = False
            continue
        block = block or bool(line)
        if not block:
            continue
        if line.startswith('    $ '):
            commands.append((line[6:], []))
        elif line.startswith('    > '):
            commands[-1] = (commands[-1][0] + '\n' + line[6:], commands[-1][1])
        elif commands:
            commands[-1][1].append(line[4:].rstrip())
    if commands:
        yield title, commands


def pattern(shown):
    parts = []
    for line in '\n'.join(shown).rstrip('\n').split('\n'):
        if line == '...':
            parts.append(r'(?:.*\n)*?')
        else:
            parts.append('.*'.join(re.escape(p) for p in line.split('…')) + r'\n')
    return re.compile(''.join(parts) + r'\Z')


def run(commands, build):
    """What each command prints."""
    script = ''.join('printf "%s%d\\n"\n%s\n' % (MARK, i, c)
                     for i, (c, _) in enumerate(commands))
    env = dict(os.environ, LC_ALL='C.UTF-8', TZ='UTC',
               PATH=build + '/bin:' + os.environ['PATH'] + ':/usr/sbin:/sbin')
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(['bash', '-c', script], cwd=folder, env=env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=300)
    said = done.stdout.decode(errors='backslashreplace')
    said = re.sub(r'^bash: line \d+: ', 'bash: ', said, flags=re.M)
    return re.split(MARK + r'\d+\n', said)[1:]


def main():
    show = '--show' in sys.argv
    build, *guides = [a for a in sys.argv[1:] if a != '--show']
    build = os.path.abspath(build)
    passed = failed = 0
    for guide in guides:
        for title, commands in sections(open(guide, encoding='utf-8').read()):
            for (command, shown), said in zip(commands, run(commands, build)):
                if show:
                    print('$ ' + command + '\n' + said, end='')
                    continue
                said = '\n'.join(line.rstrip() for line in said.split('\n'))
                said = said.rstrip('\n') + '\n'
                if pattern(shown).match(said):
                    passed += 1
                    continue
                failed += 1
                print('docs: %s: %s\n$ %s\n%s-- the guide shows:\n%s' %
                      (guide, title, command, said, '\n'.join(shown)),
                      file=sys.stderr)
    print('docs: %d passed, %d failed' % (passed, failed))
    return 0 if passed and not failed else 1


sys.exit(main())
