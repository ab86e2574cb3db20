#!/bin/sh
# deps.sh - installs the packages that the Makefile lists, with the system's own
# package manager.  Arguments: the lists for Debian, Fedora, Alpine and Arch.
#
# SPDX-License-Identifier: MIT
set -eu

debian() {
	missing=
	for package in $1; do
		dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null |
			grep -q 'ok installed' || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "deps: packages are missing; as root run: apt-get install$missing" >&2
		exit 1
	fi
	echo "deps: installing$missing"
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
		--no-install-recommends $missing >"$log" 2>&1 </dev/null || {
		cat "$log" >&2
		echo "deps: failed; is 'apt-get update' needed first?" >&2
		exit 1
	}
}

# shellcheck disable=SC2086
if command -v apt-get >/dev/null; then
	debian "$1"
elif command -v dnf >/dev/null; then
	dnf install -y $2
elif command -v apk >/dev/null; then
	apk add $3
elif command -v pacman >/dev/null; then
	pacman -S --needed --noconfirm $4
else
	echo "deps: no known package manager; needed are (Debian's names): $1" >&2
	exit 1
fi
