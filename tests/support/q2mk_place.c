/* q2mk_place.c: where things lie in the finished image: the @symbols, and reading a place. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <string.h>

/* All lookups follow the image as built, so that damage does not move a name's meaning. */

static void bound(const char *what, uint64_t i, uint64_t n)
{
    if (i >= n)
        fail("%s[%llu]: there are only %llu", what, (unsigned long long)i, (unsigned long long)n);
}

static uint64_t present(uint64_t off, const char *what)
{
    if (off == 0)
        fail("%s: the image has none", what);
    return off;
}

const struct snapshot *get_snapshot(const struct image *im, uint64_t s)
{
    bound("snap", s, im->nsnaps);
    return &im->snaps[s];
}

uint64_t at_l2(const struct image *im, uint64_t l1_off, uint64_t l1_size, uint64_t i)
{
    bound("l1", i, l1_size);
    return present(st_get(&im->built, l1_off + i * 8, 8) & OFF_MASK, "l2");
}

uint64_t at_snapshot(const struct image *im, uint64_t s)
{
    uint64_t at = im->snap_table.off;

    bound("snap", s, im->nsnaps);
    while (s--)
        at += round_up(40 + st_get(&im->built, at + 36, 4) + st_get(&im->built, at + 12, 2) +
                           st_get(&im->built, at + 14, 2),
                       8);
    return at;
}

uint64_t at_bitmap(const struct image *im, uint64_t b)
{
    uint64_t at = im->bm_dir.off;

    bound("bmdir", b, im->nbitmaps);
    while (b--)
        at += round_up(24 + st_get(&im->built, at + 20, 4) + st_get(&im->built, at + 18, 2), 8);
    return at;
}

uint64_t at_ext(const struct image *im, uint64_t n)
{
    bound("ext", n, im->nexts);
    return im->exts[n].off;
}

static uint64_t bitmap_entry(const struct image *im, uint64_t b, uint64_t i)
{
    bound("bmdir", b, im->nbitmaps);
    bound("bmtab", i, im->bitmaps[b].table_size);
    return present(st_get(&im->built, im->bitmaps[b].table_off + i * 8, 8) & OFF_MASK, "bmdata");
}

static uint64_t data_at(const struct image *im, uint64_t l1_off, uint64_t l1_size, uint64_t guest)
{
    uint64_t n = guest / im->cs;
    uint64_t table = at_l2(im, l1_off, l1_size, n / im->l2n);
    struct entry v = {st_get(&im->built, table + n % im->l2n * l2_entry_size(im), 8), 0};

    if (!entry_allocated(im, v))
        fail("guest offset %llu has no host cluster", (unsigned long long)guest);
    if (v.e & F_COMPRESSED)
        return v.e & ((UINT64_C(1) << (70 - im->set.cluster_bits)) - 1);
    return v.e & OFF_MASK;
}

static uint64_t block_at(const struct image *im, uint64_t i)
{
    bound("rb", i, im->al.rt_clusters * im->cs / 8);
    return present(st_get(&im->built, im->al.rt_off + i * 8, 8), "rb");
}

static uint64_t bitmap_table(const struct image *im, uint64_t b)
{
    bound("bmtab", b, im->nbitmaps);
    return im->bitmaps[b].table_off;
}

enum sym {
    S_HEADER, S_L1, S_L2, S_RT, S_RB, S_SNAPTAB, S_SNAP, S_SNAPL1, S_SNAPL2, S_BMDIR, S_BMTAB,
    S_BMDATA, S_LUKS, S_EXT, S_BACKING, S_DATA, S_SNAPDATA, S_FREE
};

static const struct {
    const char *name;
    enum sym id;
    unsigned n;
} symbols[] = {
    {"header", S_HEADER, 0},   {"l1", S_L1, 0},         {"l2", S_L2, 1},
    {"rt", S_RT, 0},           {"rb", S_RB, 1},         {"snaptab", S_SNAPTAB, 0},
    {"snap", S_SNAP, 1},       {"snapl1", S_SNAPL1, 1}, {"snapl2", S_SNAPL2, 2},
    {"bmdir", S_BMDIR, 0},     {"bmtab", S_BMTAB, 1},   {"bmdata", S_BMDATA, 2},
    {"luks", S_LUKS, 0},       {"ext", S_EXT, 1},       {"backing", S_BACKING, 0},
    {"data", S_DATA, 1},       {"snapdata", S_SNAPDATA, 2}, {"free", S_FREE, 0},
};

static uint64_t active_symbol(const struct image *im, enum sym id, const uint64_t *i)
{
    switch (id) {
    case S_L1:
        return im->l1_off;
    case S_L2:
        return at_l2(im, im->l1_off, im->l1_size, i[0]);
    case S_RT:
        return im->al.rt_off;
    case S_RB:
        return block_at(im, i[0]);
    case S_LUKS:
        return present(im->luks_off, "@luks");
    case S_EXT:
        return at_ext(im, i[0]);
    case S_BACKING:
        return present(im->backing_off, "@backing");
    case S_DATA:
        return data_at(im, im->l1_off, im->l1_size, i[0]);
    case S_FREE:
        return round_up(im->built.len, im->cs);
    default:
        return 0;
    }
}

uint64_t symbol_value(const struct image *im, const struct path *p)
{
    const uint64_t *i = p->idx;
    const struct snapshot *s;
    size_t k;

    for (k = 0; k < sizeof(symbols) / sizeof(symbols[0]); k++)
        if (strcmp(symbols[k].name, p->name) == 0 && symbols[k].n == p->n)
            break;
    if (k == sizeof(symbols) / sizeof(symbols[0]))
        fail("@%s with %u indices is no symbol", p->name, p->n);
    switch (symbols[k].id) {
    case S_SNAPTAB:
        return present(im->snap_table.off, "@snaptab");
    case S_SNAP:
        return at_snapshot(im, i[0]);
    case S_SNAPL1:
        return get_snapshot(im, i[0])->l1_off;
    case S_SNAPL2:
        s = get_snapshot(im, i[0]);
        return at_l2(im, s->l1_off, s->l1_size, i[1]);
    case S_SNAPDATA:
        s = get_snapshot(im, i[0]);
        return data_at(im, s->l1_off, s->l1_size, i[1]);
    case S_BMDIR:
        return present(im->bm_dir.off, "@bmdir");
    case S_BMTAB:
        return bitmap_table(im, i[0]);
    case S_BMDATA:
        return bitmap_entry(im, i[0], i[1]);
    default:
        return active_symbol(im, symbols[k].id, i);
    }
}

uint64_t place_get(const struct image *im, const struct place *pl)
{
    uint64_t v = st_get(&im->disk, pl->off, pl->bytes);

    if (pl->mask)
        return v & pl->mask;
    return v >> pl->shift & (UINT64_MAX >> (64 - pl->bits));
}

/* Negative numbers fit if their bits above the field are all set. */
void place_put(struct image *im, const struct place *pl, uint64_t v)
{
    uint64_t ones = UINT64_MAX >> (64 - pl->bits), old = st_get(&im->disk, pl->off, pl->bytes);
    uint64_t above = pl->bits == 64 ? 0 : v >> pl->bits;

    if (pl->mask) { /* bits below an address field may be set: that is how to misalign it */
        if (v & ~(pl->mask | 511))
            fail("%llu does not fit into the offset field", (unsigned long long)v);
        st_put(&im->disk, pl->off, pl->bytes, (old & ~pl->mask) | v);
        return;
    }
    if (above != 0 && above != UINT64_MAX >> pl->bits)
        fail("%llu does not fit into %u bits", (unsigned long long)v, pl->bits);
    st_put(&im->disk, pl->off, pl->bytes,
           (old & ~(ones << pl->shift)) | (v & ones) << pl->shift);
}
