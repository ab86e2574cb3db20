#!/usr/bin/env bash
# run.sh - each call of the library to the system fails in turn; see q2calls.c.
#
# SPDX-License-Identifier: MIT
#
# usage: run.sh BUILD_DIR [SCENE...]     prints "calls: N passed, N failed"
set -u

build=$(cd "${1:?usage: run.sh BUILD_DIR}" && pwd)
shift
mk=$build/tests/q2mk
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
mkdir -p given/pool/given/pool given/given given/work work

image() { # name; the recipe is on stdin
	cat >recipe && "$mk" recipe "given/$1" || exit 1
}
base='file base.qcow2
version 3
cluster 4K
size 96K
write 0 24K
compress 40K 8K
zero 64K 8K
bitmap old set=0:8K
end'
top='backing base.qcow2 qcow2
write 16K 12K
compress 48K 8K
zero 72K 4K
write 120K 4K
bitmap new set=16K:12K'
image top.qcow2 <<END
version 3
cluster 4K
size 128K
$base
$top
END
image above.qcow2 <<END
version 3
cluster 4K
size 128K
$base
file top.qcow2
version 3
cluster 4K
size 128K
$top
end
backing top.qcow2 qcow2
write 20K 8K
write 80K 4K
zero 0 4K
END
# Snapshots in the way of a commit, and others that are not.
image shot.qcow2 <<END
version 3
cluster 4K
size 128K
$base
file mid.qcow2
version 3
cluster 4K
size 128K
backing base.qcow2 qcow2
write 16K 12K
snapshot old
write 96K 8K
end
backing mid.qcow2 qcow2
write 80K 4K
zero 0 4K
snapshot new
write 88K 4K
END
image short.qcow2 <<END
version 3
cluster 4K
size 64K
$base
file long.qcow2
version 3
cluster 4K
size 128K
backing base.qcow2 qcow2
write 4K 8K
snapshot old
write 96K 8K
end
backing long.qcow2 qcow2
write 8K 4K
END
image full.qcow2 <<'END'
version 3
cluster 4K
size 64K
file under.qcow2
version 3
cluster 4K
size 64K
write 0 8K
snapshot under
end
backing under.qcow2 qcow2
write 0 64K
snapshot all
write 16K 4K
END
image over.qcow2 <<'END'
version 2
cluster 512
size 96K
refcount 16
rawfile raw.img 64K seed:7
backing raw.img raw
write 4K 3K
write 80K 2K
END
image data.qcow2 <<'END'
version 3
cluster 4K
size 64K
rawfile raw.img 64K seed:7
backing raw.img raw
data-file work/data.bin
write 8K 8K
zero 32K 8K
END
# Their refcount tables are all but full.
image growing.qcow2 <<'END'
version 3
cluster 512
size 4M
refcount 64
rawfile raw.img 64K seed:7
backing raw.img raw
prealloc 64K 1936K
write 2016K 2K
END
image upper.qcow2 <<'END'
version 3
cluster 512
size 4M
file lower.qcow2
version 3
cluster 512
size 4M
refcount 64
prealloc 64K 1936K
snapshot old
write 2016K 2K
end
backing lower.qcow2 qcow2
write 3M 40K
write 64K 1K
END
image packed.qcow2 <<'END'
version 3
cluster 4K
size 256K
compress 0 64K
write 96K 8K
END
image large.qcow2 <<'END'
version 3
cluster 64K
size 200M
write 0 256K
write 40M 128K
compress 100M 128K
write 180M 128K
END
# So many tables that there may be too little memory to rehearse with.
form='version 3
cluster 512
size 112M'
for version in 2 3; do
	image "wide$version.qcow2" <<END
version $version
cluster 512
size 112M
file wide.qcow2
$form
prealloc 0 96M
end
backing wide.qcow2 qcow2
write 8K 1K
END
done
image apart.qcow2 <<END
$form
data-file work/apart.bin
backing wide.qcow2 qcow2
write 8K 1K
END
image deep.qcow2 <<END
$form
file empty.qcow2
$form
end
backing empty.qcow2 qcow2
prealloc 0 96M
END
image snap.qcow2 <<'END'
version 3
cluster 512
size 64K
write 0 16K
snapshot one vmstate=2K
write 4K 4K
compress 20K 4K
snapshot two
write 0 2K
bitmap b set=0:4K
gap 3
write 40K 2K
END
image broken.qcow2 <<'END'
version 3
cluster 512
size 64K
write 0 16K
compress 20K 4K
set l2[0][1].offset += 8
set l2[0][2].copied ^= 1
set refcount[@header/cs] = 3
set refcount[@free/cs] = 1
extend end+512
END
image leaky.qcow2 <<'END'
version 3
cluster 512
size 256K
write 0 20K
gap 2
write 20K 100K
gap 1
write 120K 60K
gap 1
write 180K 10K
set refcount[@data[20K]/cs-1] = 1
set refcount[@data[20K]/cs-2] = 1
set refcount[@data[120K]/cs-1] = 1
set refcount[@data[180K]/cs-1] = 1
set refcount[@free/cs] = 1
set refcount[@free/cs+1] = 1
set refcount[@free/cs+3] = 1
extend end+1K
END
# An older copy of a table, the slot of which is taken.
image orphan.qcow2 <<'END'
version 3
cluster 4K
size 64K
data-file given/orphan.data
write 8K 8K
copy @l2[0] @free 4K
set refcount[@free/cs] = 1
END
mv given/given/orphan.data given/ && rm -r given/given
image pool/lost.qcow2 <<'END'
version 3
size 64K
file nowhere.qcow2
size 64K
end
backing nowhere.qcow2 qcow2
END
rm -f given/pool/nowhere.qcow2
image pool/data.qcow2 <<'END'
version 3
cluster 4K
size 64K
data-file given/pool/data.bin
write 0 8K
END
mv given/pool/given/pool/data.bin given/pool/
rm -r given/pool/given
qemu-img create -q -f qcow2 given/pool/loop.qcow2 64K
qemu-img rebase -u -b loop.qcow2 -F qcow2 given/pool/loop.qcow2
echo 'nothing of use' >given/pool/bad.qcow2
truncate -s 1M given/pool/disk.raw
ln -s ../top.qcow2 given/pool/link.qcow2
ln given/snap.qcow2 given/pool/again.qcow2
# What the kernel tells of a block device.
mkdir -p given/sys/queue
echo 1 >given/sys/queue/iostats
echo 4711 >given/sys/diskseq
echo '1 0 8 0 20 0 160 0 0 0 0 3 0 16 0 0 0' >given/sys/stat
# Over a server's disk.
qemu-img create -q -u -f qcow2 -o cluster_size=4k -b nbd://server/disk -F raw given/far.qcow2 128K
for name in nearer nearest; do
	qemu-img create -q -u -f qcow2 -o cluster_size=4k -b far.qcow2 -F qcow2 given/$name.qcow2 128K
done
qemu-io -c 'write -P 7 8k 4k' \
	'json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"given/far.qcow2"}}' >/dev/null || exit 1
luks() { # name cipher-mode
	# It measures for so short a time that it may find nothing.
	for _ in $(seq 50); do
		qemu-img create -q -f qcow2 --object secret,id=s,data=secret \
			-o "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10,$2" "given/$1.qcow2" 1M 2>err && break
	done
	qemu-io --object secret,id=s,data=secret --image-opts "driver=qcow2,encrypt.key-secret=s,file.filename=given/$1.qcow2" \
		-c 'write -P 5 0 64k' -c 'write -P 6 512k 4k' >/dev/null || exit 1
	qemu-img convert --object secret,id=s,data=secret --image-opts "driver=qcow2,encrypt.key-secret=s,file.filename=given/$1.qcow2" \
		-O raw "given/$1.raw" || exit 1
}
luks luks encrypt.cipher-alg=aes-256
luks aes-luks encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256
qemu-img convert -O raw given/top.qcow2 given/top.raw || exit 1
"$build/bin/qcow2-map" graph --output=ndjson given/pool given/top.qcow2 >given/one.ndjson 2>err
"$build/bin/qcow2-map" graph --output=ndjson given/pool >given/two.ndjson 2>err
# Some of their bases are not there, which is no failure of theirs.
[ -s given/one.ndjson ] && [ -s given/two.ndjson ] || { cat err && exit 1; }
"$build/tests/q2calls" "$@"
