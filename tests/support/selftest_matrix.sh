# selftest_matrix.sh: the recipes of selftest.sh, which reads this file.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash

# Cluster sizes, refcount widths and versions, with everything that a plain image can hold.
for cluster in 512 1K 2K 4K 8K 16K 32K 64K 128K 256K 512K 1M 2M; do
    widths='1 2 4 8 16 32 64'
    case $cluster in 256K | 512K | 1M) widths=16 ;; 2M) widths='1 64' ;; esac
    for refcount in $widths; do
        image "plain $cluster/$refcount" <<END
cluster $cluster
refcount $refcount
size 100*cs + 1536
write 0 cs
write cs*2+100 cs*3
compress cs*10 cs*8
compress cs*20 cs*3 0
zero cs*30 cs*2
zero cs*33 cs*2 alloc
zero cs*2 cs
zero cs*3 cs plain
write cs*33+7 9
write cs*11 20
compress cs*40 cs seed:7
discard cs*12 cs*2
prealloc cs*50 cs*4
write cs*99 cs+1536
END
    done
done

# Version 2.
for cluster in 512 4K 64K 2M; do
    image "version 2 $cluster" s1 s2 <<END
version 2
cluster $cluster
size cs*70
write 0 cs*3
compress cs*4 cs*5
snapshot s1
write cs cs
discard cs*2 cs
compress cs*5 cs
snapshot s2 extra=0
write cs*60 cs*10
END
done

# Snapshots: copy-on-write of clusters and tables, for every refcount width that can count them.
for cluster in 512 1K 16K 64K; do
    for refcount in 2 4 8 16 32 64; do
        image "snapshots $cluster/$refcount" one two <<END
cluster $cluster
refcount $refcount
size cs*200+512
write 0 cs*4
write cs*150 cs*2 text
zero cs*6 cs
zero cs*7 cs alloc
snapshot one
write cs*1+17 cs
zero cs*2 cs alloc
zero cs*3 cs plain
write cs*7 5
discard cs*6 cs
write cs*151 512
snapshot two id=xx nsec=7
write 0 cs
write cs*199 cs+512
compress cs*100 cs*2
END
    done
done

# More compressed streams and snapshots than a narrow refcount can count in one cluster.
image "shared streams" a b <<END
cluster 4K
size 4M
compress 0 64K
snapshot a
compress 32K 64K
snapshot b
write 40K 8K
compress 16K 8K seed:3
END

# State of a virtual machine behind the disk; the active table grows for it.
for cluster in 512 4K 64K; do
    for version in 2 3; do
        image "vmstate $cluster v$version" s t <<END
version $version
cluster $cluster
size cs*100
write 0 cs*5
snapshot s vmstate=cs*3+100
write cs*4 cs*4
snapshot t vmstate=cs*70
write 0 100
resize cs*600
write cs*550 cs*50
END
    done
done

# Growing and shrinking, also within a cluster.
for cluster in 512 4K 64K; do
    image "resize $cluster" <<END
cluster $cluster
size cs*100+512
write 0 cs*100+512
snapshot s
resize cs*5000
write cs*4000 cs*2
resize cs*50+512
resize cs*60
write cs*59 cs
resize cs*300
write cs*290 cs*10
END
    image "shrink $cluster" <<END
cluster $cluster
size cs*400
write 0 cs*400
snapshot s
write cs*100 cs*300
resize cs*10
END
done

# Extended L2 entries.
for cluster in 16K 64K 256K 2M; do
    for compression in zlib zstd; do
        image "extl2 $cluster $compression" s <<END
cluster $cluster
compression $compression
extl2
size cs*300+512
write 0 cs/32
write cs*2+cs/32*3 cs/32*5
write cs*4+1 1
prealloc cs*5 cs*2
write cs*6+cs/2 cs/2
zero cs*7 cs
zero cs*2+cs/32*4 cs/32
zero cs*8+cs/32 cs/32
zero cs*9+cs/32 cs/32 alloc
zero cs*10 cs*2 alloc
compress cs*20 cs*5
write cs*21+cs/32 cs/32
zero cs*22+cs/32 cs/32
snapshot s
write cs*2+cs/32*9 cs/32
write cs*4+cs/32*9 cs/32
zero 0 cs/32
zero cs*4 cs
write cs*10+cs/32 cs/32
write cs*300 512
discard cs*11 cs
discard cs*23 cs
END
    done
done

# zstd in plain images; one-bit refcounts, where streams cannot share a cluster.
for cluster in 512 4K 64K 1M; do
    for refcount in 1 16; do
        image "zstd $cluster/$refcount" <<END
cluster $cluster
refcount $refcount
compression zstd
size cs*90
compress 0 cs*30
compress cs*40 cs*20 seed:5
write cs*44 cs
compress cs*60 cs*3 0x77
END
    done
done

# Sizes that are no multiple of anything, none at all, and tables longer than needed.
for size in 0 512 1536 5120 33280 1000448; do
    for more in '' 'l1-entries 300' 'rt-clusters 3' 'header-length 104' 'header-length 160'; do
        image "size $size $more" <<END
$more
size $size
write $((size / 1024 * 512)) $((size / 3))
END
    done
done

# A refcount table that has to move, clusters far away, and clusters in disorder.
image "moving refcount table" s <<END
refcount 64
size 8M
write 0 300K
gap 9000
write 1M 300K
snapshot s
gap 100K
write 1M 512K
END
image "far away" <<END
cluster 64K
size 1G
write 0 1M
gap 100000
write 512M 1M
compress 600M 1M
END
for seed in 1 2 3; do
    for cluster in 512 64K; do
        image "shuffle $cluster $seed" s <<END
cluster $cluster
size cs*300
shuffle $seed
write 0 cs*90
compress cs*100 cs*40
snapshot s
write cs*50 cs*70
END
    done
done

# Huge but sparse disks.
image "sparse 100G" <<END
cluster 64K
size 100G
write 0 64K
write 99G 1M
write 100G-512 512
END

# Header extensions, features that everybody may ignore, and the flags of the header.
for cluster in 512 4K; do
    image "extensions $cluster" s <<END
cluster $cluster
lazy
feature compat 17
ext 0x12345678 "hello # world"
ext 0x11111111 hex:00ff10
write 0 4K
snapshot s
END
done
image "featuretable 512" <<END
featuretable
write 0 4K
END
image "dirty" <<END
lazy
dirty
write 0 4K
END
image "corrupt" <<END
corrupt
write 0 4K
END
