/* q2mk_table.c: the L1 and L2 tables of the active disk, and the copying of shared ones. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

unsigned l2_entry_size(const struct image *im)
{
    return im->set.extl2 ? 16 : 8;
}

uint64_t l1_needed(const struct image *im, uint64_t size)
{
    return div_up(size, im->cs * im->l2n);
}

static uint64_t l1_get(const struct image *im, uint64_t i)
{
    return st_get(&im->disk, im->l1_off + i * 8, 8);
}

static void l1_put(struct image *im, uint64_t i, uint64_t v)
{
    st_put(&im->disk, im->l1_off + i * 8, 8, v);
}

static uint64_t copy_clusters(struct image *im, uint64_t from, uint64_t bytes, uint64_t n)
{
    uint64_t to = alloc_clusters(im, n), i;

    for (i = 0; i < bytes; i += 8)
        st_put(&im->disk, to + i, 8, st_get(&im->disk, from + i, 8));
    return to;
}

/* A longer table does not always need more clusters, but QEMU moves it in any case. */
void l1_grow(struct image *im, uint64_t entries)
{
    uint64_t old_n = div_up(im->l1_size * 8, im->cs), old = im->l1_off;

    if (entries <= im->l1_size)
        return;
    if (entries > 4194304)
        fail("the L1 table would have %llu entries, more than 4194304",
             (unsigned long long)entries);
    im->l1_off = copy_clusters(im, old, im->l1_size * 8, div_up(entries * 8, im->cs));
    im->l1_size = entries;
    free_clusters(im, old, old_n);
}

uint64_t l2_peek(const struct image *im, uint64_t guest)
{
    uint64_t i = guest / im->cs / im->l2n;

    return i < im->l1_size ? l1_get(im, i) & OFF_MASK : 0;
}

/* The L2 table for guest, made if there is none, copied if a snapshot has it too. */
static uint64_t l2_own(struct image *im, uint64_t guest)
{
    uint64_t i = guest / im->cs / im->l2n, e, table;

    l1_grow(im, i + 1);
    e = l1_get(im, i);
    table = e & OFF_MASK;
    if (table == 0) {
        table = alloc_clusters(im, 1);
    } else if (!(e & F_COPIED)) {
        uint64_t old = table;

        table = copy_clusters(im, old, im->cs, 1);
        free_clusters(im, old, 1);
    }
    l1_put(im, i, table | F_COPIED);
    return table;
}

void l2_ready(struct image *im, uint64_t guest)
{
    l2_own(im, guest);
}

static struct entry read_entry(const struct image *im, uint64_t table, uint64_t i)
{
    struct entry v = {0, 0};

    v.e = st_get(&im->disk, table + i * l2_entry_size(im), 8);
    if (im->set.extl2)
        v.bm = st_get(&im->disk, table + i * 16 + 8, 8);
    return v;
}

static void write_entry(struct image *im, uint64_t table, uint64_t i, struct entry v)
{
    st_put(&im->disk, table + i * l2_entry_size(im), 8, v.e);
    if (im->set.extl2)
        st_put(&im->disk, table + i * 16 + 8, 8, v.bm);
}

struct entry entry_get(const struct image *im, uint64_t guest)
{
    uint64_t table = l2_peek(im, guest);
    struct entry none = {0, 0};

    return table ? read_entry(im, table, guest / im->cs % im->l2n) : none;
}

void entry_put(struct image *im, uint64_t guest, struct entry v)
{
    write_entry(im, l2_own(im, guest), guest / im->cs % im->l2n, v);
}

bool entry_allocated(const struct image *im, struct entry v)
{
    if (v.e & (F_COMPRESSED | OFF_MASK))
        return true;
    return im->data_file && (v.e & F_COPIED);
}

/* The first and the last host cluster that a compressed stream touches. */
void comp_extent(const struct image *im, uint64_t e, uint64_t *first, uint64_t *last)
{
    unsigned x = 70 - im->set.cluster_bits;
    uint64_t off = e & ((UINT64_C(1) << x) - 1);
    uint64_t sectors = ((e & (F_COMPRESSED - 1)) >> x) + 1;

    *first = off / im->cs;
    *last = ((off & ~UINT64_C(511)) + sectors * 512 - 1) / im->cs;
}

void entry_unref(struct image *im, struct entry v)
{
    uint64_t first, last;

    if (im->data_file)
        return;
    if (v.e & F_COMPRESSED) {
        comp_extent(im, v.e, &first, &last);
        free_clusters(im, first * im->cs, last - first + 1);
    } else if (v.e & OFF_MASK) {
        free_clusters(im, v.e & OFF_MASK, 1);
    }
}

static void share_entry(struct image *im, uint64_t table, uint64_t i)
{
    struct entry v = read_entry(im, table, i);
    uint64_t first, last;

    if (v.e & F_COMPRESSED) {
        for (comp_extent(im, v.e, &first, &last); first <= last; first++)
            ref_up(im, first);
    } else if (v.e & OFF_MASK) {
        ref_up(im, (v.e & OFF_MASK) / im->cs);
        v.e &= ~F_COPIED;
        write_entry(im, table, i, v);
    }
}

/* A snapshot now has the same tables: one more reference to everything, COPIED nowhere. */
void tables_share(struct image *im)
{
    uint64_t i, j;

    for (i = 0; i < im->l1_size; i++) {
        uint64_t table = l1_get(im, i) & OFF_MASK;

        if (!table)
            continue;
        for (j = 0; j < im->l2n; j++)
            share_entry(im, table, j);
        ref_up(im, table / im->cs);
        l1_put(im, i, table);
    }
}

/* Takes a whole L2 table, and what it refers to, out of the active disk. */
void l2_drop(struct image *im, uint64_t l1_index)
{
    uint64_t table = l1_get(im, l1_index) & OFF_MASK, j;

    if (!table)
        return;
    for (j = 0; j < im->l2n; j++)
        entry_unref(im, read_entry(im, table, j));
    free_clusters(im, table, 1);
    l1_put(im, l1_index, 0);
}
