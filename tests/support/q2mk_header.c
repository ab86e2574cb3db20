/* q2mk_header.c: the image's header, its extensions, and the beginning and end of a build. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <string.h>

struct ext *ext_add(struct image *im, uint64_t type)
{
    struct ext *e;

    im->exts = grab_more(im->exts, im->nexts * sizeof(*e), (im->nexts + 1) * sizeof(*e));
    e = &im->exts[im->nexts++];
    e->type = type;
    return e;
}

struct ext *ext_find(const struct image *im, uint64_t type)
{
    size_t i;

    for (i = 0; i < im->nexts; i++)
        if (im->exts[i].type == type)
            return &im->exts[i];
    return NULL;
}

void ext_feature_table(struct image *im)
{
    static const struct {
        unsigned char type, bit;
        char name[46];
    } known[] = {
        {0, 0, "dirty bit"},          {0, 1, "corrupt bit"},    {0, 2, "external data file"},
        {0, 3, "compression type"},   {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
        {2, 0, "bitmaps"},            {2, 1, "raw external data"},
    };

    buf_mem(&ext_add(im, EXT_FEATURES)->data, known, sizeof(known));
}

static uint64_t header_length(const struct image *im)
{
    if (im->set.version < 3)
        return 72;
    return im->set.header_length ? im->set.header_length : 112;
}

static void put_header(struct image *im, struct buf *b)
{
    const struct settings *s = &im->set;

    buf_int(b, 4, 0x514649fb);
    buf_int(b, 4, s->version);
    buf_int(b, 8, im->backing_off);
    buf_int(b, 4, im->backing ? strlen(im->backing) : 0);
    buf_int(b, 4, s->cluster_bits);
    buf_int(b, 8, s->size);
    buf_int(b, 4, s->crypt);
    buf_int(b, 4, im->l1_size);
    buf_int(b, 8, im->l1_off);
    buf_int(b, 8, im->al.rt_off);
    buf_int(b, 4, im->al.rt_clusters);
    buf_int(b, 4, im->nsnaps);
    buf_int(b, 8, im->snap_table.off);
    if (s->version < 3)
        return;
    buf_int(b, 8, s->incompat);
    buf_int(b, 8, s->compat);
    buf_int(b, 8, s->autoclear);
    buf_int(b, 4, s->refcount_order);
    buf_int(b, 4, header_length(im));
    if (header_length(im) > 104)
        buf_int(b, 8, (uint64_t)s->zstd << 56);
    while (b->len < header_length(im)) /* fields that nobody knows */
        buf_int(b, 1, b->len);
    b->len = (size_t)header_length(im);
}

static void put_extensions(struct image *im, struct buf *b)
{
    size_t i;

    for (i = 0; i < im->nexts; i++) {
        struct ext *e = &im->exts[i];

        e->off = b->len;
        buf_int(b, 4, e->type);
        buf_int(b, 4, e->data.len);
        buf_mem(b, e->data.mem, e->data.len);
        while ((b->len - e->off) % 8)
            buf_int(b, 1, 0);
    }
    if (!im->set.noend && b->len + 8 <= im->cs)
        buf_int(b, 8, 0);
}

void header_finish(struct image *im)
{
    struct buf b = {NULL, 0, 0}, real = {NULL, 0, 0};

    put_header(im, &b);
    put_extensions(im, &b);
    if (im->backing) {
        im->backing_off = b.len;
        buf_mem(&b, im->backing, strlen(im->backing));
    }
    if (b.len > im->cs)
        fail("header, extensions and backing file name do not fit into the first cluster");
    put_header(im, &real); /* once more, now that the name's place is known */
    memcpy(b.mem, real.mem, real.len);
    st_write(&im->disk, 0, b.mem, b.len);
}

static void settings_check(const struct image *im)
{
    const struct settings *s = &im->set;

    if (s->version < 3 && (s->refcount_order != 4 || s->extl2 || s->zstd || s->header_length))
        fail("version 2 has neither refcount widths, extended L2 entries, zstd nor header-length");
    if (s->version < 3 && (s->incompat || s->compat || s->autoclear))
        fail("version 2 has no feature bits");
    if (s->extl2 && s->cluster_bits < 14)
        fail("extended L2 entries need clusters of 16 KiB or more");
    if (s->header_length && s->header_length < (s->zstd ? 105 : 104))
        fail("header-length is too small");
}

void image_init(struct image *im)
{
    uint64_t need;

    if (im->phase != PH_SETTINGS)
        return;
    im->phase = PH_BUILD;
    settings_check(im);
    im->cs = UINT64_C(1) << im->set.cluster_bits;
    im->l2n = im->cs / l2_entry_size(im);
    need = l1_needed(im, im->set.size);
    im->l1_size = im->set.l1_entries > need ? im->set.l1_entries : need ? need : 1;
    if (im->l1_size > 4194304)
        fail("the L1 table would have more than 4194304 entries");
    alloc_init(im);
    im->l1_off = alloc_clusters(im, div_up(im->l1_size * 8, im->cs));
}

void image_finish(struct image *im)
{
    image_init(im);
    if (im->finished)
        return;
    im->finished = true;
    if (im->data_raw)
        guest_prealloc(im, 0, im->set.size);
    st_truncate(&im->data, im->set.size);
    settings_check(im);
    header_finish(im);
    alloc_finish(im);
    st_clone(&im->built, &im->disk);
}
