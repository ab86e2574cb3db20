/* q2mk_bitmap.c: persistent bitmaps: data clusters, tables, the directory and its extension. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <string.h>

/* How much of the bits [first, first + n) is set: 0 none, 1 some, 2 all. */
static int coverage(const struct store *bits, uint64_t first, uint64_t n)
{
    bool any = false, every = true;
    uint64_t i;

    for (i = first; i < first + n; i++) {
        if (st_get(bits, i / 8, 1) >> (i % 8) & 1)
            any = true;
        else
            every = false;
    }
    return every ? 2 : any;
}

static void set_bits(struct store *bits, uint64_t first, uint64_t last)
{
    for (; first <= last; first++)
        st_put(bits, first / 8, 1, st_get(bits, first / 8, 1) | UINT64_C(1) << (first % 8));
}

/* One table entry: 0, the all-ones marker, or the offset of a cluster of bits. */
static uint64_t data_cluster(struct image *im, const struct store *bits, uint64_t i, uint64_t n)
{
    uint64_t per = im->cs * 8, left = n - i * per, host, k;
    int how = coverage(bits, i * per, left < per ? left : per);

    if (how != 1)
        return how == 2;
    host = alloc_clusters(im, 1);
    for (k = 0; k < im->cs; k++)
        st_put(&im->disk, host + k, 1, st_get(bits, i * im->cs + k, 1));
    return host;
}

static void write_directory(struct image *im)
{
    struct buf dir = {NULL, 0, 0}, *x;
    size_t i;

    for (i = 0; i < im->nbitmaps; i++) {
        const struct bitmap *b = &im->bitmaps[i];

        buf_int(&dir, 8, b->table_off);
        buf_int(&dir, 4, b->table_size);
        buf_int(&dir, 4, b->flags);
        buf_int(&dir, 1, b->type);
        buf_int(&dir, 1, b->gran);
        buf_int(&dir, 2, strlen(b->name));
        buf_int(&dir, 4, 0);
        buf_mem(&dir, b->name, strlen(b->name));
        buf_pad(&dir, 8);
    }
    region_store(im, &im->bm_dir, &dir);
    x = &ext_find(im, EXT_BITMAPS)->data;
    x->len = 0;
    buf_int(x, 4, im->nbitmaps);
    buf_int(x, 4, 0);
    buf_int(x, 8, dir.len);
    buf_int(x, 8, im->bm_dir.off);
}

void bitmap_add(struct image *im, struct bitmap *b, const struct bits *set)
{
    struct store bits = {NULL, 0, 0, 0};
    uint64_t n = div_up(im->set.size, UINT64_C(1) << b->gran), i;

    if (im->set.version < 3)
        fail("persistent bitmaps need version 3");
    for (i = 0; i < set->n; i++)
        if (set->len[i])
            set_bits(&bits, set->from[i] >> b->gran, (set->from[i] + set->len[i] - 1) >> b->gran);
    b->table_size = div_up(div_up(n, 8), im->cs);
    if (b->table_size == 0)
        fail("a disk without a byte has no bitmaps");
    b->table_off = alloc_clusters(im, div_up(b->table_size * 8, im->cs));
    for (i = 0; i < b->table_size; i++)
        st_put(&im->disk, b->table_off + i * 8, 8, data_cluster(im, &bits, i, n));
    st_free(&bits);
    if (!ext_find(im, EXT_BITMAPS))
        ext_add(im, EXT_BITMAPS);
    im->set.autoclear |= 1;
    im->bitmaps =
        grab_more(im->bitmaps, im->nbitmaps * sizeof(*b), (im->nbitmaps + 1) * sizeof(*b));
    im->bitmaps[im->nbitmaps++] = *b;
    write_directory(im);
}
