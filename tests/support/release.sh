#!/usr/bin/env bash
# release.sh - the source archive, and Debian packages made from it.
#
# SPDX-License-Identifier: MIT
#
# usage: release.sh dist|deb|debcheck OUT VERSION
#
# dist      OUT/qcow2-progs_VERSION.orig.tar.xz, of what is committed
# deb       OUT/*.deb, *.dsc ...; lintian must have nothing to say
# debcheck  builds them twice, in folders of other names: the same bytes; then
#           installs, uses and purges them in a fresh Debian (as root)
set -eu

verb=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
version=$3
name=qcow2-progs
archive=$out/${name}_$version.orig.tar.xz

dist() {
	git archive --format=tar --prefix="$name-$version/" HEAD |
		xz -6 -T1 >"$archive"
	echo "$archive"
}

build() { # folder
	rm -rf "$1"
	mkdir -p "$1"
	cp "$archive" "$1"
	tar -C "$1" -xf "$archive"
	mv "$1/$name-$version/.debian" "$1/$name-$version/debian"
	(cd "$1/$name-$version" &&
		SOURCE_DATE_EPOCH=$(git -C "$OLDPWD" log -1 --format=%ct) \
			DEB_BUILD_OPTIONS="parallel=$(nproc)" \
			dpkg-buildpackage -us -uc >../log 2>&1) || {
		tail -n 20 "$1/log" >&2
		exit 1
	}
}

deb() {
	dist
	build "$out/first"
	find "$out/first" -maxdepth 1 -type f ! -name log -exec cp -t "$out" {} +
	# No bug of Debian's asks for the package.
	lintian --allow-root --fail-on error,warning \
		--suppress-tags initial-upload-closes-no-bugs \
		"$out/${name}_$version"-*.changes
	ls "$out"/*.deb
}

debcheck() {
	local root=$out/root package
	deb
	build "$out/second/under-another-name"
	for package in "$out"/first/*.deb; do
		cmp "$package" "$out/second/under-another-name/$(basename "$package")"
	done
	echo 'two builds: the same bytes'
	rm -rf "$out/second" "$root"
	debootstrap --variant=minbase --include=qemu-utils,gcc,libc6-dev,pkg-config \
		bookworm "$root" >"$out/debootstrap.log"
	find "$root" -xdev | sort >"$out/before"
	mkdir "$root/packages"
	cp "$out"/*.deb "$root/packages"
	rm -f "$root"/packages/*dbgsym*
	chroot "$root" sh -euc '
		export DEBIAN_FRONTEND=noninteractive
		apt-get install -y -q /packages/*.deb >/dev/null
		cd /packages
		qemu-img create -q -f qcow2 a.qcow2 1G
		qemu-io -c "write -P 1 0 1M" a.qcow2 >/dev/null
		qcow2-fsck -q a.qcow2
		qcow2-map a.qcow2 >/dev/null
		qcow2-dump -q -O qcow2 a.qcow2 b.qcow2
		/usr/libexec/qcow2-progs/pool-check --nagios /packages
		[ -z "$(find /etc -name "qcow2*")" ] # an administrator enables it
		qemu-img compare -q a.qcow2 b.qcow2
		cc -Wall -Werror -o check /usr/share/doc/libq2-dev/examples/check.c \
			$(pkg-config --cflags --libs q2)
		./check <a.qcow2
		apt-get purge -y -q qcow2-progs libq2-0 libq2-dev >/dev/null
		for file in $(dpkg -c /packages/qcow2-progs_*.deb | grep -v "/$" |
			grep -oE "\./[^ ]+"); do
			[ ! -e "/$file" ] || { echo "left behind: $file"; exit 1; }
		done'
	rm -rf "$root"
	echo 'installed, used and purged in a fresh Debian'
}

$verb
