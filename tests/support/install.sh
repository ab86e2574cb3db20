#!/bin/sh
# install.sh - installs, removes and tries the installation; one manifest.
#
# SPDX-License-Identifier: MIT
#
# usage: install.sh install|uninstall|check BUILD_DIR DESTDIR PREFIX
set -eu
umask 022

verb=$1
build=$2
root=$3$4

# mode:source:destination below PREFIX
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
644:$build/man/q2problems.7:share/man/man7/q2problems.7
755:$build/bin/qcow2-dump:bin/qcow2-dump
644:dump/qcow2-dump.1:share/man/man1/qcow2-dump.1
644:lib/cli/completion.bash:share/bash-completion/completions/qcow2-dump
644:lib/cli/completion.bash:share/bash-completion/completions/qcow2-fsck
"

put() {
	for line in $manifest; do
		from=${line#*:}
		to=$root/${from#*:}
		from=${from%%:*}
		mkdir -p "$(dirname "$to")"
		install -m "${line%%:*}" "$from" "$to"
	done
	ln -sf libq2.so.0 "$root/lib/libq2.so"
}

take() {
	for line in $manifest; do
		to=${line#*:}
		rm -f "$root/${to#*:}"
	done
	rm -f "$root/lib/libq2.so"
}

# A program built through the installed .pc checks an image in memory; then
# nothing may be left after the removal.
try() {
	# Not in /tmp: a system may run no programs from there.
	stage=$(mktemp -d "$(pwd)/$build/stage.XXXXXX")
	trap 'rm -rf "$stage"' EXIT
	sh "$0" install "$build" "$stage" "$root"
	cat >"$stage/try.c" <<'END'
#include <q2.h>
int main(void)
{
	static const unsigned char bytes[512];
	struct q2_check_result result;
	struct q2_check_opts opts = {0};
	struct q2_io *io;

	if (q2_io_memory(bytes, sizeof(bytes), &io, 0) != Q2_OK ||
	    q2_check(io, &opts, &result, 0) != Q2_OK)
		return 1;
	q2_io_close(io);
	return result.is_raw ? 0 : 2;
}
END
	export PKG_CONFIG_PATH="$stage$root/lib/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$stage"
	# shellcheck disable=SC2046
	${CC:-cc} -o "$stage/shared" "$stage/try.c" $(pkg-config --cflags --libs q2)
	LD_LIBRARY_PATH="$stage$root/lib" "$stage/shared"
	# shellcheck disable=SC2046
	${CC:-cc} -o "$stage/static" "$stage/try.c" $(pkg-config --cflags q2) \
		"$stage$root/lib/libq2.a" \
		$(sed -n 's/^Libs.private: //p' "$stage$root/lib/pkgconfig/q2.pc")
	"$stage/static"
	rm -f "$stage/shared" "$stage/static" "$stage/try.c"
	"$stage$root/sbin/qcow2-fsck" --version >/dev/null
	"$stage$root/bin/qcow2-dump" --version >/dev/null
	"$stage$root/bin/qcow2-map" --version >/dev/null
	sh "$0" uninstall "$build" "$stage" "$root"
	left=$(find "$stage" ! -type d)
	[ -z "$left" ] || {
		echo "installcheck: left behind: $left" >&2
		exit 1
	}
	echo 'installcheck: installed, used and removed'
}

case $verb in
install) put ;;
uninstall) take ;;
check) try ;;
*) exit 2 ;;
esac
