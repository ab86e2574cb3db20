# selftest_more.sh: backing chains, data files, bitmaps, random recipes, damage and refusals;
# shellcheck disable=SC2046,SC2154  # sourced; words are meant to split
# selftest.sh reads this file.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash

# Backing chains: longer, shorter and raw bases; growth must not let an old base shine through.
for cluster in 512 64K; do
    for version in 2 3; do
        for base in 300 50; do
            image "chain $cluster v$version $base" s <<END
version $version
cluster $cluster
size cs*200+512
rawfile root.img cs*100+1 seed:4
file base.img
  cluster $cluster*2
  size $cluster*$base
  backing root.img raw
  write cs*3 cs*4
  compress cs*10 cs*3
end
backing base.img qcow2
write cs*5+9 3
write cs*20 cs*5
snapshot s
write cs*21+100 cs*2
compress cs*22 cs
resize cs*250
resize cs*30+512
resize cs*100+512
END
        done
    done
    image "chain with zeros $cluster" s <<END
cluster $cluster
size cs*120
rawfile base.img cs*100 0x5a
backing base.img raw
zero 0 cs*3
zero cs*4 cs*2 plain
zero cs*7 cs*2 alloc
zero cs*10+7 cs*2
discard cs*20 cs*4
write cs*30 cs*2
discard cs*30 cs
discard cs*31 cs full
snapshot s
prealloc cs*40 cs*3
write cs*8+1 2
END
done
image "chain extl2" s <<END
cluster 16K
extl2
size cs*60+512
rawfile base.img cs*50 seed:9
backing base.img raw
write cs/32*3 cs/32
write cs*2+5 7
prealloc cs*3 cs*2
write cs*4+cs/32 cs/32
zero cs*5+cs/32 cs/32*4
zero cs*6 cs
discard cs*7 cs
snapshot s
write cs/32*9 cs/32
zero cs/32*3 cs/32
write cs*3 cs/32
resize cs*200
END
image "chain with equal names in text" <<END
rawfile "a base.img" 64K
backing "a base.img" raw
write 0 512
END

# Data files.
for cluster in 512 64K; do
    for kind in '' raw; do
        image "data file $cluster $kind" <<END
cluster $cluster
size cs*90+512
data-file x.data $kind
write 0 cs*4
write cs*10+7 cs*3
zero cs*2 cs
zero cs*20 cs*2
zero cs*30 cs*2 alloc
discard cs*11 cs
prealloc cs*40 cs*4
write cs*90 512
resize cs*200
write cs*150 cs
resize cs*120
END
        [ -z "$kind" ] || try "raw data file $cluster" cmp x.data g.raw
    done
done
image "data file extl2" <<END
cluster 16K
extl2
size cs*90+512
data-file x.data
write 0 cs/32
write cs*2+cs/32 cs/32*5
zero cs*2+cs/32*2 cs/32
prealloc cs*5 cs
END

# Bitmaps.
for cluster in 512 64K; do
    image "bitmaps $cluster" s <<END
cluster $cluster
size 64M+512
bitmap none gran=16
write 0 1M
bitmap some gran=9 set=0:512 set=1M:1K set=64M:512
bitmap all gran=12 flags=2 set=0:64M+512
snapshot s
bitmap coarse gran=20 set=5M+1:1
END
    bitmap "bitmaps $cluster" none ""
    bitmap "bitmaps $cluster" some "0+512 1048576+1024 67108864+512 "
    bitmap "bitmaps $cluster" all "0+67109376 "
    bitmap "bitmaps $cluster" coarse "5242880+1048576 "
done
image "large bitmap" <<END
cluster 512
size 4G
bitmap big gran=9 set=1G:2G set=3G+1M:4K
END
bitmap "large bitmap" big "1073741824+2147483648 3222274048+4096 "

# Random recipes: any order of commands must stay sound.
random_recipe() {
    local i at len clusters=200 op
    RANDOM=$1
    echo "cluster $2"
    echo "${3-}"
    echo "size cs*$clusters+512"
    for i in $(seq 60); do
        at=$((RANDOM % 180))
        len=$((RANDOM % 12 + 1))
        op=$((RANDOM % 24))
        case $op in
        0 | 1 | 2 | 3) echo "write cs*$at cs*$len" ;;
        4 | 5) echo "write cs*$at+$((RANDOM % 512)) $((RANDOM * 3))%(cs*20)" ;;
        6 | 7) echo "write cs*$at+cs/32*$((RANDOM % 32)) cs/32*$((RANDOM % 40))" ;;
        8 | 9 | 10) echo "compress cs*$at cs*$len" ;;
        11) echo "zero cs*$at cs*$len" ;;
        12) echo "zero cs*$at cs*$len plain" ;;
        13) echo "zero cs*$at cs*$len alloc" ;;
        14) echo "zero cs*$at+cs/32*$((RANDOM % 32)) cs/32*$((RANDOM % 40))" ;;
        15 | 16) echo "discard cs*$at cs*$len" ;;
        17) echo "discard cs*$at cs*$len full" ;;
        18) echo "prealloc cs*$at cs*$len" ;;
        19) echo "gap $len" ;;
        20) [ $((RANDOM % 2)) -eq 0 ] || echo "snapshot s$i" ;;
        21) [ $((RANDOM % 3)) -ne 0 ] || echo "snapshot v$i vmstate=cs*$len+9" ;;
        22) echo "resize cs*$((200 + RANDOM % 400))+$((RANDOM % 2 * 512))" ;;
        23) [ $((RANDOM % 5)) -ne 0 ] || echo "shuffle $i" ;;
        esac
    done
}
for seed in 1 2 3 4 5 6 7 8; do
    for cluster in 512 4K 64K; do
        for more in '' 'refcount 64' 'compression zstd'; do
            random_recipe $seed $cluster "$more" >q
            image "random $seed $cluster $more" $(sed -n 's/^snapshot \([a-z0-9]*\).*/\1/p' q) <q
        done
    done
    random_recipe $seed 16K extl2 >q
    image "random $seed extl2" $(sed -n 's/^snapshot \([a-z0-9]*\).*/\1/p' q) <q
    { random_recipe $seed 16K extl2 && echo 'resize cs*700'; } |
        sed '/^size/a rawfile base.img cs*230+77 seed:3\nbacking base.img raw' >q
    image "random $seed extl2 chain" $(sed -n 's/^snapshot \([a-z0-9]*\).*/\1/p' q) <q
    random_recipe $seed 512 |
        sed '/^size/a rawfile base.img cs*230+77 seed:3\nbacking base.img raw' >q
    image "random $seed chain" $(sed -n 's/^snapshot \([a-z0-9]*\).*/\1/p' q) <q
    random_recipe $seed 4K | sed '/^snapshot/d; /^compress/d; /^size/a data-file x.data' >q
    image "random $seed data file" <q
done

# Damage changes what it says, symbols stay where they were built, and qemu-img sees it.
# verdict NAME STATUS TEXT <recipe: the exit status and a line of qemu-img check
verdict() {
    local status=0
    cat >r
    "$q2mk" r x.img >log 2>&1 || true
    qemu-img check -f qcow2 x.img >log 2>&1 || status=$?
    if [ $status -eq "$2" ] && grep -q "$3" log; then ok; else bad "$1: status $status"; fi
}
base='write 0 2K
compress 8K 1K
write 40K 512'
verdict "refcount 0" 2 "ERROR cluster 6 refcount=0 reference=1" <<END
$base
set refcount[@data[512]/cs] = 0
END
for bits in 1 2 4 8 32 64; do
    verdict "lost data $bits" 3 "^Leaked cluster 6 refcount=1 reference=0" <<END
refcount $bits
write 0 2K
set l2[0][1] = 0
END
    verdict "count of $bits bits" 2 "^ERROR cluster 7 refcount=0 reference=1" <<END
refcount $bits
write 0 2K
set refcount[7] ^= 1
END
done
verdict "L1 entry" 3 "^5 leaked clusters" <<END
write 0 2K
set l1[0] = 0
END
verdict "COPIED" 2 "^1 errors were found" <<END
$base
set l2[0][0].copied = 0
END
verdict "misaligned" 2 "offset=600 is not properly aligned\|reserved\|^1 errors" <<END
$base
set l2[0][0].offset += 8
END
verdict "compressed and COPIED" 2 "copied flag must never be set" <<END
$base
set l2[0][16].copied = 1
END
verdict "snapshot table" 3 "leaked clusters" <<END
$base
snapshot s
set header.nb_snapshots = 0
END
verdict "snapshot's table" 3 "leaked cluster" <<END
$base
snapshot s
write 0 512
set snapl1[0][1] = 0
set snapl2[0][0][0] = 0
set refcount[@snapdata[0][0]/cs] -= 1
END
verdict "behind the end" 2 "ERROR" <<END
$base
truncate end - cs*2
END
verdict "LUKS area" 3 "^3 leaked clusters" <<END
luks 1030
write 0 2K
set header.crypt_method = 0
set ext[0].type = 0x7777
END
verdict "AES" 0 "^No errors" <<END
aes
write 0 2K
set header.crypt_method -= 1
END
verdict "bitmap extension" 3 "leaked clusters" <<END
bitmap b gran=9 set=0:512
set header.autoclear_features = 0
END
verdict "bitmap clusters" 3 "^1 leaked clusters" <<END
bitmap b gran=9 set=0:512
set bmtab[0][0] = 1
END

cat >r <<'END'
size 64K
refcount 4
write 0 2K
compress 8K 1K
snapshot first id=xy vmstate=600 nsec=5
snapshot second extra=40
write 0 512
luks 1000
ext 0x55 "12345"
bitmap longer gran=9 set=0:512
bitmap b gran=10 set=1K:1K
set l1[0] = 0
set l1[1] = 17
fill @data[0] 512 0xaa
copy @header @free 16
poke @free+16 hex:0102 
poke @free+18 "text"
extend 1M
END
"$q2mk" r x.img
equals places '@header + @rt - cs' 0
equals places 'u64[@rt] - @rb[0]' 0
equals places 'l1[0]' 0
equals places 'l1[1]' 17
equals places 'u64[@l2[0]] & ~(1<<63)' "$("$q2mk" -e '@data[5]' r)"
equals places 'u32[@snaptab+40+24+2+5+1+36]' 40
equals places '@snap[1]-@snap[0]' 72
equals places 'snap[0].nsec' 5
equals places 'snap[0].vmsize64' 600
equals places 'snap[1].l1_offset-@snapl1[1]' 0
equals places 'u8[@luks+5]' $((0xbe))
equals places 'luks.length' 1000
equals places 'ext[1].len' 5
equals places '@ext[2]-@ext[1]' 16
equals places 'bmdir[1].gran' 10
equals places '@bmtab[1]-bmdir[1].table_offset' 0
equals places 'u8[@bmdata[1][0]]' 2
equals places 'refcount[@data[0]/cs]' 1
equals places 'refcount[@data[512]/cs]' 3
equals places 'u8[@data[0]+511]' 170
equals places 'u32[@free]' $((0x514649fb))
equals places 'u64[@free+14] & 0xffffffffffff' $((0x010274657874))
equals places 'end' 1048576
equals arithmetic '2+3*4<<1|1' 29
equals arithmetic '(7-8)>>60' 15
equals arithmetic '~0 ^ -1' 0
equals arithmetic '8E-1' 9223372036854775807
equals arithmetic '0x1F % 7 / 3' 1
printf '{ "a": {header.version}, "b": {"c": {cs*2+(1-1)}}, "d": {}, "e": "{x:l1[1]+cs}" }\n' >t
printf '{ "a": 3, "b": {"c": 1024}, "d": {}, "e": "0x211" }\n' >want
"$q2mk" -r t r >got
try text cmp want got

while IFS='|' read -r line text; do
    { printf 'write 0 2K\n' && printf '%s\n' "$line"; } >r
    refuse "$line" "q2mk: r:2: $text"
done <<'END'
cluster 4K|cluster comes too late here
frob|unknown command
write 64K 1|the range ends behind
write 0 1 256|256 is no byte
write 0 1 2 3|write: '3' is too much
write 0|expected a name
write 0 4Q|
compress 0 512 seed:1 x|
discard 1 512|a discard must cover
backing x|backing must come before
bitmap b gran=8|gran= is
snapshot s what=1|snapshot: unknown option
set header.foo = 1|header has no field 'foo'
set l2[1][0] = 1|l2: the image has none
set l2[0][64] = 1|l2: an L2 table has only 64
set snap[0].sec = 1|snap[0]: there are only 0
set l1[0].offset = 1<<60|1152921504606846976 does not fit
set header.version = 1<<32|4294967296 does not fit
set header.size = 1/0|division by zero
set header.size|expected one of
poke 0 hex:0|hex: wants pairs
truncate 1G|the file is only
file ../x|files are made beside OUT
end|unknown command 'end'
END
