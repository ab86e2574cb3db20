/* q2mk_snap.c: internal snapshots: a copy of the L1 table, shared clusters, the snapshot table. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <string.h>

static void table_entry(const struct snapshot *s, struct buf *b)
{
    size_t id = strlen(s->id), name = strlen(s->name);
    struct buf extra = {NULL, 0, 0};
    struct pattern filler = {PAT_RANDOM, s->extra};
    unsigned char c;

    buf_int(&extra, 8, s->vmstate);
    buf_int(&extra, 8, s->disk);
    buf_int(&extra, 8, UINT64_MAX); /* icount: none */
    while (extra.len < s->extra) {
        pat_fill(&filler, extra.len, &c, 1);
        buf_mem(&extra, &c, 1);
    }
    buf_int(b, 8, s->l1_off);
    buf_int(b, 4, s->l1_size);
    buf_int(b, 2, id);
    buf_int(b, 2, name);
    buf_int(b, 4, s->sec);
    buf_int(b, 4, s->nsec);
    buf_int(b, 8, s->clock);
    buf_int(b, 4, s->vmstate > UINT32_MAX ? 0 : s->vmstate);
    buf_int(b, 4, s->extra);
    buf_mem(b, extra.mem, (size_t)s->extra);
    buf_mem(b, s->id, id);
    buf_mem(b, s->name, name);
    buf_pad(b, 8);
}

static void write_table(struct image *im)
{
    struct buf b = {NULL, 0, 0};
    size_t i;

    for (i = 0; i < im->nsnaps; i++)
        table_entry(&im->snaps[i], &b);
    region_store(im, &im->snap_table, &b);
}

/* The VM's state lies behind the disk, from the next L1 entry on, and only in the snapshot. */
static uint64_t state_write(struct image *im, uint64_t bytes, uint64_t seed)
{
    uint64_t at = l1_needed(im, im->set.size) * im->l2n * im->cs;
    struct pattern p = {PAT_RANDOM, seed};

    guest_write(im, at, bytes, &p);
    return at;
}

static void state_discard(struct image *im, uint64_t at, uint64_t bytes)
{
    uint64_t end = at + round_up(bytes, im->cs);

    st_zero(&im->guest, at, end - at);
    for (; at < end; at += im->cs)
        discard_cluster(im, at, false);
}

void snapshot_take(struct image *im, struct snapshot *s, uint64_t seed)
{
    uint64_t state = 0, bytes, i;

    if (im->data_file)
        fail("an image with a data file has no internal snapshots");
    if (s->vmstate)
        state = state_write(im, s->vmstate, seed);
    s->size = im->set.size;
    s->l1_size = im->l1_size;
    bytes = im->l1_size * 8;
    s->l1_off = alloc_clusters(im, bytes ? div_up(bytes, im->cs) : 1);
    for (i = 0; i < bytes; i += 8)
        st_put(&im->disk, s->l1_off + i, 8, st_get(&im->disk, im->l1_off + i, 8));
    tables_share(im);
    st_clone(&s->guest, &im->guest);
    im->snaps = grab_more(im->snaps, im->nsnaps * sizeof(*s), (im->nsnaps + 1) * sizeof(*s));
    im->snaps[im->nsnaps++] = *s;
    write_table(im);
    if (s->vmstate)
        state_discard(im, state, s->vmstate);
}
