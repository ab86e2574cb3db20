#!/bin/sh
# install.sh - installs, removes and tries the installation; one manifest.
#
# SPDX-License-Identifier: MIT
#
# usage: install.sh install|uninstall|check BUILD_DIR DESTDIR PREFIX LIBDIR UNITDIR
set -eu
umask 022

verb=$1
build=$2
root=$3$4
libdir=$3$5
unitdir=$3$6

# They end up in makefiles' and shells' words, units and the like, where quoting
# differs.
for path in "$4" "$5" "$6"; do
	case $path in
	*[!A-Za-z0-9/._+~-]* | [!/]*)
		echo "install: PREFIX, LIBDIR and UNITDIR are absolute paths of plain" \
			"letters, digits and ._+~-: not '$path'" >&2
		exit 2
		;;
	esac
done

# mode:source:destination below PREFIX; below LIBDIR if that begins with "lib/", and
# below UNITDIR if with "unit/"
manifest="
755:$build/bin/qcow2-fsck:sbin/qcow2-fsck
755:$build/bin/qcow2-map:bin/qcow2-map
644:map/qcow2-map.1:share/man/man1/qcow2-map.1
644:lib/cli/completion.bash:share/bash-completion/completions/qcow2-map
644:$build/libq2.a:lib/libq2.a
755:$build/libq2.so.0:lib/libq2.so.0
644:$build/q2.pc:lib/pkgconfig/q2.pc
644:lib/q2.h:include/q2.h
644:fsck/qcow2-fsck.8:share/man/man8/qcow2-fsck.8
644:fsck/recovery.md:share/doc/qcow2-progs/recovery.md
644:tests/examples/check.c:share/doc/libq2-dev/examples/check.c
644:tests/examples/extents.c:share/doc/libq2-dev/examples/extents.c
644:tests/examples/plan.c:share/doc/libq2-dev/examples/plan.c
644:$build/man/q2problems.7:share/man/man7/q2problems.7
644:$build/man/q2.3:share/man/man3/q2.3
755:$build/bin/qcow2-dump:bin/qcow2-dump
644:dump/qcow2-dump.1:share/man/man1/qcow2-dump.1
644:lib/cli/completion.bash:share/bash-completion/completions/qcow2-dump
644:lib/cli/completion.bash:share/bash-completion/completions/qcow2-fsck
755:fsck/pool/pool-check.sh:libexec/qcow2-progs/pool-check
644:$build/pool/qcow2-pool.service:unit/qcow2-pool.service
644:fsck/pool/qcow2-pool.timer:unit/qcow2-pool.timer
644:$build/pool/nagios.cfg:share/doc/qcow2-progs/examples/nagios.cfg
644:$build/pool/icinga2.conf:share/doc/qcow2-progs/examples/icinga2.conf
"

place() {
	case $1 in
	lib/*) echo "$libdir/${1#lib/}" ;;
	unit/*) echo "$unitdir/${1#unit/}" ;;
	*) echo "$root/$1" ;;
	esac
}

put() {
	for line in $manifest; do
		from=${line#*:}
		to=$(place "${from#*:}")
		from=${from%%:*}
		mkdir -p "$(dirname "$to")"
		install -m "${line%%:*}" "$from" "$to"
	done
	ln -sf libq2.so.0 "$libdir/libq2.so"
}

take() {
	for line in $manifest; do
		to=${line#*:}
		rm -f "$(place "${to#*:}")"
	done
	rm -f "$libdir/libq2.so"
	# Folders that are ours alone; what an administrator put there stays.
	for own in share/doc/qcow2-progs/examples share/doc/qcow2-progs \
		share/doc/libq2-dev/examples share/doc/libq2-dev libexec/qcow2-progs; do
		rmdir "$root/$own" 2>/dev/null || :
	done
}

# What is built through the installed .pc says what the installed tools say of the
# same image; then nothing may be left after the removal.
try() {
	# Not in /tmp: a system may run no programs from there.
	stage=$(mktemp -d "$(pwd)/$build/stage.XXXXXX")
	trap 'rm -rf "$stage"' EXIT
	for odd in '/a b' relative '/a|b' '/a&b' "/a'b"; do
		if sh "$0" install "$build" "$stage/" "$odd" "$libdir" "$unitdir" 2>/dev/null; then
			echo "installcheck: PREFIX=$odd is not refused" >&2
			exit 1
		fi
	done
	[ -z "$(ls "$stage")" ]
	sh "$0" install "$build" "$stage" "$root" "$libdir" "$unitdir"
	examples=$stage$root/share/doc/libq2-dev/examples
	export PKG_CONFIG_PATH="$stage$libdir/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$stage"
	export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
	mkdir "$stage/try"
	# No program of the build folder is used from here on.
	PATH=$stage$root/sbin:$stage$root/bin:$PATH
	for name in check extents plan; do
		# shellcheck disable=SC2046
		${CC:-cc} -Wall -Wextra -Werror -o "$stage/try/$name" \
			"$examples/$name.c" $(pkg-config --cflags --libs q2)
		# shellcheck disable=SC2046
		${CC:-cc} -o "$stage/try/$name-static" "$examples/$name.c" \
			$(pkg-config --cflags q2) "$stage$libdir/libq2.a" \
			$(sed -n 's/^Libs.private: //p' "$stage$libdir/pkgconfig/q2.pc")
	done
	(cd "$stage/try" && exercise)
	rm -rf "$stage/try"
	sh "$0" uninstall "$build" "$stage" "$root" "$libdir" "$unitdir"
	left=$(find "$stage" ! -type d -o -name qcow2-progs -o -name libq2-dev)
	[ -z "$left" ] || {
		echo "installcheck: left behind: $left" >&2
		exit 1
	}
	echo 'installcheck: installed, used and removed'
}

exercise() {
	export LD_LIBRARY_PATH="$stage$libdir"
	qemu-img create -q -f qcow2 base.qcow2 4M
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
	qemu-io -c 'write -P 1 64k 64k' base.qcow2 >/dev/null
	qemu-io -c 'write -P 1 1M 64k' -c 'write -z 2M 64k' top.qcow2 >/dev/null
	cp top.qcow2 bad.qcow2
	# The only refcount block is lost.
	dd if=/dev/zero of=bad.qcow2 bs=64k seek=2 count=1 conv=notrunc status=none
	for kind in '' -static; do
		./check$kind <top.qcow2 >out
		[ "$(cat out)" = 'clean: 0 corruptions, 0 leaked clusters' ]
		status=0
		./check$kind <bad.qcow2 >out || status=$?
		[ $status = 2 ]
		qcow2-fsck --output=json bad.qcow2 >json || status=$?
		grep -o '"corruptions": *[0-9]*' json | head -n 1 | grep -q \
			"$(tail -n 1 out | grep -oE '[0-9]+ corruptions' | cut -d' ' -f1)"
		./extents$kind top.qcow2 >out
		grep -qx '65536 + 65536: data, at [0-9]* in base.qcow2' out
		grep -qx '1048576 + 65536: data, at [0-9]* in top.qcow2' out
		grep -q '^2097152 + 65536: zero' out
		./plan$kind bad.qcow2 >out
		qcow2-fsck -q --plan=want bad.qcow2 >said || status=$?
		qcow2-fsck --show-plan=want --all-findings >want.text
		cmp out want.text
		rm want
	done
	qcow2-fsck -q -y bad.qcow2 >said || [ $? = 1 ]
	qemu-img compare -q bad.qcow2 top.qcow2
	[ "$(qcow2-dump --digest bad.qcow2 | cut -c -32)" = \
		"$(qcow2-dump --digest top.qcow2 | cut -c -32)" ]
	qcow2-map top.qcow2 >said
}

case $verb in
install) put ;;
uninstall) take ;;
check) try ;;
*) exit 2 ;;
esac
