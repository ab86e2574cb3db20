#!/bin/sh
# musl-libs.sh - static libraries for musl, of the sources of Debian's packages.
#
# SPDX-License-Identifier: MIT
#
# usage: musl-libs.sh OUT        OUT is made anew; nothing is installed
#
# What qcow2-progs needs and no more.  The sources are verified by apt.
set -eu

rm -rf "$1"
mkdir -p "$1"
out=$(cd "$1" && pwd)
jobs=$(nproc)
mkdir -p "$out/apt/lists/partial" "$out/src" "$out/lib/pkgconfig" "$out/include"
sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$out/apt/sources.list" 2>/dev/null || :
if [ -d /etc/apt/sources.list.d ]; then
	cp /etc/apt/sources.list.d/*.sources "$out/apt" 2>/dev/null || :
	sed -i 's/^Types: .*/Types: deb-src/' "$out"/apt/*.sources 2>/dev/null || :
fi
mkdir "$out/apt/parts"
mv "$out"/apt/*.sources "$out/apt/parts" 2>/dev/null || :
cat >"$out/apt/conf" <<END
APT::Sandbox::User "root";
Dir::State::lists "$out/apt/lists";
Dir::Etc::sourcelist "$out/apt/sources.list";
Dir::Etc::sourceparts "$out/apt/parts";
Acquire::Languages "none";
END
APT_CONFIG=$out/apt/conf
export APT_CONFIG
apt-get update -qq >"$out/apt/log" 2>&1 || :
cd "$out/src"
apt-get source -qq zlib libdeflate libzstd json-c nettle xxhash >>"$out/apt/log" 2>&1 || {
	tail -n 5 "$out/apt/log" >&2
	exit 1
}
unset APT_CONFIG

# The kernel's interface, which musl does not have.
triplet=$(gcc -print-multiarch)
for name in linux asm-generic asm; do
	for folder in /usr/include "/usr/include/$triplet"; do
		[ ! -e "$folder/$name" ] || cp -rL "$folder/$name" "$out/include"
	done
done
CC=musl-gcc
CFLAGS="-O2 -fPIC -isystem $out/include"
export CC CFLAGS

pc() { # name version libs
	printf 'Name: %s\nDescription: %s\nVersion: %s\nCflags: -isystem %s\nLibs: -L%s %s\n' \
		"$1" "$1" "$2" "$out/include" "$out/lib" "$3" >"$out/lib/pkgconfig/$1.pc"
}

(
	cd zlib-*/
	./configure --static --prefix="$out"
	make -j"$jobs" libz.a
	cp libz.a "$out/lib"
	cp zlib.h zconf.h "$out/include"
	pc zlib 1.2.13 -lz
)
(
	cd libdeflate-*/
	for file in lib/*.c lib/x86/*.c; do
		# shellcheck disable=SC2086
		$CC $CFLAGS -I. -c -o "$(basename "$file" .c)-${file%/*}.o" "$file" 2>/dev/null ||
			$CC $CFLAGS -I. -c -o "$(echo "$file" | tr / -).o" "$file"
	done
	ar rcs "$out/lib/libdeflate.a" ./*.o
	cp libdeflate.h "$out/include"
	pc libdeflate 1.14 -ldeflate
)
(
	cd libzstd-*/lib
	make -j"$jobs" libzstd.a
	cp libzstd.a "$out/lib"
	cp zstd.h zstd_errors.h "$out/include"
	pc libzstd 1.5.4 -lzstd
)
(
	cd xxhash-*/
	cp xxhash.h xxh3.h "$out/include"
	pc libxxhash 0.8.1 ''
)
(
	cd json-c-*/
	mkdir build
	cd build
	cmake -DCMAKE_C_COMPILER=musl-gcc -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTING=OFF \
		-DDISABLE_EXTRA_LIBS=ON -DCMAKE_C_FLAGS="$CFLAGS" -DCMAKE_INSTALL_PREFIX="$out" \
		-DCMAKE_INSTALL_LIBDIR=lib ..
	make -j"$jobs" json-c
	cp libjson-c.a "$out/lib"
	mkdir "$out/include/json-c"
	cp ./*.h ../*.h "$out/include/json-c"
	pc json-c 0.16 -ljson-c
	sed -i "s|^Cflags: .*|& -isystem $out/include/json-c|" "$out/lib/pkgconfig/json-c.pc"
)
(
	cd nettle-*/
	./configure --prefix="$out" --libdir="$out/lib" --disable-shared --disable-public-key \
		--disable-documentation --disable-openssl --enable-fat
	make -j"$jobs" libnettle.a
	make install-headers install-static
	pc nettle 3.8 -lnettle
)
rm -rf "$out/src" "$out/apt"
: >"$out/complete"
