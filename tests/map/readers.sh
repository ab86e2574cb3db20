#!/usr/bin/env bash
# readers.sh - qcow2-map lint: what it says about readers, held against readers.
# SPDX-License-Identifier: MIT
#
# usage: readers.sh BUILD_DIR
#
# Images with and without each feature are read by libqcow, as a library and through
# its qcowinfo, and by qemu-img; lint must have foretold what comes of it.
set -u
export LC_ALL=C

build=$(cd "${1:?usage: readers.sh BUILD_DIR}" && pwd)
map=$build/bin/qcow2-map
mk=$build/tests/q2mk
dir=$(mktemp -d -p "${TMPDIR:-/dev/shm}" 2>/dev/null || mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0
failed=0

check() { # name command...
	local name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $name" >&2
		sed 's/^/    /' said err 2>/dev/null | head -n 12 >&2
	fi
}

io() { # IMAGE COMMAND...
	local image=$1 command
	shift
	for command; do
		qemu-io -f qcow2 -c "$command" "$image" >/dev/null || echo "$image: $command" >&2
	done
}

create() { # NAME OPTIONS [ARGUMENT...]
	local name=$1 options=$2
	shift 2
	qemu-img create -q -f qcow2 ${options:+-o "$options"} "$@" "$name" 4M
}

images() {
	create plain ''
	create v2 compat=0.10
	create small-clusters cluster_size=512
	create large-clusters cluster_size=2M
	create narrow refcount_bits=1
	create wide refcount_bits=64
	create lazy lazy_refcounts=on
	create zstd compression_type=zstd
	create extended extended_l2=on
	create external data_file=external.raw
	for image in plain v2 small-clusters large-clusters narrow wide lazy zstd extended external; do
		io $image 'write -P 5 0 300k' 'write -P 6 1M 512'
	done
	create compressed ''
	create compressed-v2 compat=0.10
	create compressed-small cluster_size=4k
	for image in compressed compressed-v2 compressed-small; do
		io $image 'write -P 5 0 300k' 'write -c -P 6 1M 64k' 'write -c -P 7 1088k 64k'
	done
	create zeros ''
	io zeros 'write -P 9 2M 128k' 'write -z 2M 64k'
	create zeros-unmapped ''
	io zeros-unmapped 'write -P 9 2M 128k' 'write -zu 2M 64k'
	create snapshots ''
	io snapshots 'write -P 1 0 64k'
	qemu-img snapshot -c one snapshots
	io snapshots 'write -P 2 0 64k'
	create bitmaps ''
	io bitmaps 'write -P 1 0 64k'
	qemu-img bitmap --add bitmaps b
	create over '' -b plain -F qcow2
	io over 'write -P 1 0 64k'
	for bit in 0 1; do
		"$mk" - "incompatible-$bit" <<<"write 0 4K
			feature incompat $bit"
	done
	"$mk" - compatible <<<'write 0 4K
		feature compat 5'
	"$mk" - autoclear <<<'write 0 4K
		feature autoclear 9'
	for length in 104 112 120; do
		"$mk" - "header-$length" <<<"header-length $length
			write 0 4K"
	done
}

# reads NAME VERSION: whether lint says that it can.
reads() {
	"$map" lint --allow=all --refuse=reader --require-reader="$1" "$2" >said 2>err
}

# What qemu-img sees; the key is for those that have one.
raw_of() {
	case $1 in
	aes) qemu-img convert --object secret,id=k,data=geheim -O raw --image-opts \
		"driver=qcow2,file.filename=$1,encrypt.key-secret=k" "$1.img" ;;
	*) qemu-img convert -f qcow2 -O raw "$1" "$1.img" ;;
	esac
}

libqcow() { # NAME [PASSWORD]
	local can=no says=no
	raw_of "$1" 2>err || cp /dev/null "$1.img"
	"$build/tests/qcowread" "$@" >"$1.theirs" 2>/dev/null && cmp -s "$1.theirs" "$1.img" && can=yes
	reads libqcow "$1" && says=yes
	check "libqcow reads $1: $can, not $says" test "$can" = "$says"
	check "libqcow and $1: the same in JSON" test "$(
		"$map" lint --output=json "$1" | jq '.readers[] | select(.name == "libqcow").reads')" = \
		"$([ $says = yes ] && echo true || echo false)"
	# What does not even open is told by the header.
	if ! qcowinfo "$1" >/dev/null 2>&1; then
		check "qcowinfo does not open $1" test "$says" = no
	fi
	rm -f "$1.img" "$1.theirs"
}

# This qemu-img must read all that its version is said to.
qemu() {
	local version
	version=$(qemu-img --version | head -n 1 | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
	reads "qemu-$version" "$1"
	check "qemu-img $version reads $1" test $? = "$(qemu-img map --output=json -f qcow2 "$1" >/dev/null 2>&1 && echo 0 || echo 4)"
}

# since READER VERSION NAME: it can from this version on, not before.
since() {
	local reader=$1 version=$2 name=$3 before
	before=$(awk -F. '{if (NF > 1 && $2 > 0) print $1 "." $2 - 1; else print $1 - 1}' <<<"$version")
	reads "$reader-$version" "$name"
	check "$reader-$version reads $name" test $? = 0
	reads "$reader-$before" "$name"
	check "$reader-$before does not read $name" test $? = 4
}

never() { # READER NAME NEED
	reads "$1" "$2"
	check "$1 does not read $2" test $? = 4
	check "$1 does not read $2: $3" grep -qE "refused +reader '$1: .*$3" said
}

images
names=(plain v2 small-clusters large-clusters narrow wide lazy zstd extended external compressed
	compressed-v2 compressed-small zeros zeros-unmapped snapshots bitmaps over incompatible-0
	incompatible-1 compatible autoclear header-104 header-112 header-120)
for name in "${names[@]}"; do
	qemu "$name"
done
create aes '' --object secret,id=k,data=geheim -o encrypt.format=aes,encrypt.key-secret=k
qemu-io --object secret,id=k,data=geheim -c 'write -P 7 64k 100k' --image-opts \
	driver=qcow2,file.filename=aes,encrypt.key-secret=k >/dev/null
if [ -x "$build/tests/qcowread" ]; then
	for name in "${names[@]}"; do
		libqcow "$name"
	done
	libqcow aes geheim
else
	echo 'readers.sh: without libqcow nothing is compared with it' >&2
fi
"$mk" - luks <<<'luks 4K'
never libqcow luks luks

since qemu 1.1 plain
since qemu 1.2 incompatible-0
since qemu 1.7 incompatible-1
since qemu 2.3 wide
since qemu 2.10 luks
since qemu 4.0 external
since qemu 5.1 zstd
since qemu 5.2 extended
since cloud-hypervisor 50 compressed
since cloud-hypervisor 50 zstd
since cloud-hypervisor 51 narrow
since cloud-hypervisor 51 zeros
for name in external extended aes luks; do
	never cloud-hypervisor "$name" "$(sed 's/external/data-file/; s/extended/extended-l2/' <<<"$name")"
done
qemu-img create -q -f qcow2 huge 17T
never cloud-hypervisor huge disk-over-16T
for base in 'json:{"driver":"raw","file":{"driver":"file","filename":"v2"}}' file:v2 nbd://localhost/v2; do
	qemu-img create -q -u -f qcow2 -F raw -b "$base" driver 1M
	never cloud-hypervisor driver backing-file-driver
done
qemu-img create -q -u -f qcow2 -F qcow2 -b ./a:b path 1M
reads cloud-hypervisor path
check 'cloud-hypervisor reads a path with a colon' test $? = 0
never crosvm huge disk-over-16T
never crosvm v2 version-2
never crosvm zeros zero-clusters
never crosvm compressed compressed-clusters
never hyperkit plain header-length-112
never hyperkit autoclear autoclear-features
never hyperkit compressed-v2 compressed-clusters
for reader in qemu-0.10 qemu-9.2.1 qemu cloud-hypervisor libqcow hyperkit; do
	reads $reader v2
	check "$reader reads v2" test $? = 0
done
reads hyperkit header-104
check 'hyperkit reads version 3' test $? = 0
reads crosvm header-104
check 'crosvm reads version 3' test $? = 0

for bad in qemu-x qemu- qemu-1. qemu-1.2.3.4 qemux libqcow-2020 nobody '' 'qemu,'; do
	"$map" lint --require-reader="$bad" plain >said 2>err
	check "--require-reader=$bad" test $? = 16 -a ! -s said
done
"$map" lint --require-reader=qemu-2.12,libqcow --require-reader=crosvm zstd >said 2>err
check 'several' test $? = 4 -a "$(grep -c 'refused  reader' said)" = 3
"$map" lint zstd >said 2>err
check 'in the text' grep -q 'reader   qemu: from version 5.1 on' said
"$map" lint --raw external.raw >said 2>err
check 'none for raw images' test $? = 0 -a "$(grep -c reader said)" = 0

echo "map-readers: $passed passed, $failed failed"
[ "$failed" = 0 ]
