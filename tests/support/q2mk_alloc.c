/* q2mk_alloc.c: hands out host clusters and keeps their refcounts, refcount blocks and table. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#define RT_MAX_BYTES (UINT64_C(8) << 20)
#define POOL 32u

uint64_t refs_per_block(const struct image *im)
{
    return (im->cs * 8) >> im->set.refcount_order;
}

uint64_t ref_get(const struct image *im, uint64_t cluster)
{
    return st_get(&im->refs, cluster * 8, 8);
}

void ref_up(struct image *im, uint64_t cluster)
{
    unsigned width = 1u << im->set.refcount_order;
    uint64_t v = ref_get(im, cluster);

    if (v == UINT64_MAX >> (64 - width))
        fail("host cluster %llu: one more reference than %u refcount bits can count",
             (unsigned long long)cluster, width);
    st_put(&im->refs, cluster * 8, 8, v + 1);
}

void ref_down(struct image *im, uint64_t cluster)
{
    uint64_t v = ref_get(im, cluster);

    if (v == 0)
        fail("internal: host cluster %llu freed twice", (unsigned long long)cluster);
    st_put(&im->refs, cluster * 8, 8, v - 1);
}

/* The next cluster number; with `shuffle`, out of a pool of POOL neighbours in random order. */
static uint64_t pick(struct image *im)
{
    struct alloc *al = &im->al;
    unsigned i;

    if (!al->shuffle)
        return al->next++;
    if (al->pool_n == 0) {
        for (i = 0; i < POOL; i++)
            al->pool[i] = al->next++;
        for (i = POOL - 1; i > 0; i--) {
            unsigned j = (unsigned)((al->rng = mix64(al->rng)) % (i + 1));
            uint64_t t = al->pool[i];

            al->pool[i] = al->pool[j];
            al->pool[j] = t;
        }
        al->pool_n = POOL;
    }
    return al->pool[--al->pool_n];
}

static void claim(struct image *im, uint64_t cluster);

/* Moves the refcount table to a place where it has room for block number idx and for itself. */
static void rt_grow(struct image *im, uint64_t idx)
{
    struct alloc *al = &im->al;
    uint64_t old = al->rt_off, old_n = al->rt_clusters, n = old_n, base = al->next, i;

    do {
        n++;
        if (n * im->cs > RT_MAX_BYTES)
            fail("the refcount table would be larger than 8 MiB");
    } while (n * im->cs / 8 <= idx || n * im->cs / 8 <= (base + n + POOL) / refs_per_block(im) + 2);
    al->next += n;
    for (i = 0; i < old_n * im->cs; i += 8)
        st_put(&im->disk, base * im->cs + i, 8, st_get(&im->disk, old + i, 8));
    al->rt_off = base * im->cs;
    al->rt_clusters = n;
    for (i = 0; i < n; i++)
        claim(im, base + i);
    for (i = 0; i < old_n; i++)
        ref_down(im, old / im->cs + i);
}

/* First reference to a cluster; whatever refcount block it needs is made. */
static void claim(struct image *im, uint64_t cluster)
{
    struct alloc *al = &im->al;
    uint64_t idx = cluster / refs_per_block(im), c;

    ref_up(im, cluster);
    if (cluster > al->high)
        al->high = cluster;
    if (idx >= al->rt_clusters * im->cs / 8)
        rt_grow(im, idx);
    if (st_get(&im->disk, al->rt_off + idx * 8, 8))
        return;
    c = pick(im);
    st_put(&im->disk, al->rt_off + idx * 8, 8, c * im->cs);
    claim(im, c);
}

void alloc_init(struct image *im)
{
    struct alloc *al = &im->al;
    uint64_t i;

    al->rt_clusters = im->set.rt_clusters ? im->set.rt_clusters : 1;
    if (al->rt_clusters > RT_MAX_BYTES / im->cs && al->rt_clusters > 1)
        fail("the refcount table would be larger than 8 MiB");
    al->rt_off = im->cs;
    al->next = 1 + al->rt_clusters;
    for (i = 0; i <= al->rt_clusters; i++)
        claim(im, i);
}

uint64_t alloc_clusters(struct image *im, uint64_t n)
{
    uint64_t first, i;

    if (n > 1) {
        first = im->al.next;
        im->al.next += n;
    } else {
        first = pick(im);
    }
    if (first + n > (UINT64_C(1) << 56) / im->cs)
        fail("a cluster beyond host offset 2^56 cannot be referred to");
    for (i = 0; i < n; i++)
        claim(im, first + i);
    return first * im->cs;
}

/*
 * Streams are packed back to back and may run on into the following cluster if that is the next
 * one handed out. A cluster whose refcount is at its maximum takes no further stream.
 */
uint64_t alloc_bytes(struct image *im, uint64_t n)
{
    struct alloc *al = &im->al;
    unsigned width = 1u << im->set.refcount_order;
    uint64_t off = al->free_byte, room = 0;

    if (off && ref_get(im, off / im->cs) == UINT64_MAX >> (64 - width))
        off = 0;
    if (off)
        room = im->cs - off % im->cs;
    if (room < n) {
        uint64_t fresh = alloc_clusters(im, 1);

        if (off && round_up(off, im->cs) == fresh)
            ref_up(im, off / im->cs);
        else
            off = fresh;
    } else {
        ref_up(im, off / im->cs);
    }
    al->free_byte = (off + n) % im->cs ? off + n : 0;
    return off;
}

void free_clusters(struct image *im, uint64_t off, uint64_t n)
{
    uint64_t i;

    for (i = 0; i < n; i++)
        ref_down(im, off / im->cs + i);
}

void region_store(struct image *im, struct region *r, const struct buf *b)
{
    uint64_t need = div_up(b->len, im->cs);

    if (need > r->clusters) {
        if (r->clusters)
            free_clusters(im, r->off, r->clusters);
        r->off = alloc_clusters(im, need);
        r->clusters = need;
    }
    st_zero(&im->disk, r->off, r->clusters * im->cs);
    st_write(&im->disk, r->off, b->mem, b->len);
}

static void put_count(struct image *im, uint64_t block, uint64_t i, uint64_t v)
{
    unsigned width = 1u << im->set.refcount_order;
    uint64_t byte = block + i * width / 8;

    if (width >= 8)
        st_put(&im->disk, byte, width / 8, v);
    else /* the first count of a byte is in its lowest bits */
        st_put(&im->disk, byte, 1, st_get(&im->disk, byte, 1) | v << (i * width % 8));
}

/* Writes all counts into their blocks. */
void alloc_finish(struct image *im)
{
    struct alloc *al = &im->al;
    uint64_t per = refs_per_block(im), idx, i;

    for (idx = 0; idx < al->rt_clusters * im->cs / 8; idx++) {
        uint64_t block = st_get(&im->disk, al->rt_off + idx * 8, 8);

        for (i = 0; block && i < per && idx * per + i <= al->high; i++)
            if (ref_get(im, idx * per + i))
                put_count(im, block, i, ref_get(im, idx * per + i));
    }
    im->disk.len = (al->high + 1) * im->cs;
}
