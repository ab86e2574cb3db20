#!/bin/sh
# sysroot.sh - the libraries that programs for another machine are linked with,
# unpacked into a folder; nothing is installed.
#
# SPDX-License-Identifier: MIT
#
# usage: sysroot.sh ARCH OUT      ARCH as Debian calls it; OUT is made anew
set -eu

arch=$1
rm -rf "$2"
mkdir -p "$2"
out=$(cd "$2" && pwd)
mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial" "$out/debs"
: >"$out/apt/status"
cat >"$out/apt/conf" <<END
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
Dir::State "$out/apt";
Dir::State::lists "$out/apt/lists";
Dir::State::status "$out/apt/status";
Dir::Cache "$out/apt/cache";
Acquire::Languages "none";
END
APT_CONFIG=$out/apt/conf
export APT_CONFIG
# One list that cannot be had does not matter, if the packages can.
apt-get update -qq >"$out/apt/log" 2>&1 || true
cd "$out/debs"
apt-get download -qq zlib1g-dev libdeflate-dev libzstd-dev libxxhash-dev \
	libssl-dev libjson-c-dev libseccomp-dev check libsubunit-dev >>"$out/apt/log" 2>&1 || {
	tail -n 5 "$out/apt/log" >&2
	exit 1
}
for package in *.deb; do
	dpkg-deb -x "$package" "$out"
done
rm -rf "$out/debs" "$out/apt"
: >"$out/complete"
