/* q2mk_zero.c: guest ranges that read as zeros without data, discards, and resizing the disk. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

/* After an unallocated range shows the backing file again, so must the guest's view. */
static void show_backing(struct image *im, uint64_t off, uint64_t len)
{
    const struct image *b = im->base;

    st_zero(&im->guest, off, len);
    if (b && off < b->set.size)
        st_copy(&im->guest, &b->guest, off, len < b->set.size - off ? len : b->set.size - off);
}

static void raw_data_zero(struct image *im, uint64_t guest, uint64_t len)
{
    if (im->data_raw)
        st_zero(&im->data, guest, len);
}

static void zero_cluster(struct image *im, uint64_t guest, enum zero_how how)
{
    struct entry v = entry_get(im, guest);
    bool comp = (v.e & F_COMPRESSED) != 0;

    if (im->data_raw) /* a raw data file has every cluster */
        how = ZERO_ALLOC;
    l2_ready(im, guest);
    raw_data_zero(im, guest, im->cs);
    if (comp || how == ZERO_PLAIN) {
        entry_unref(im, v);
        v.e = 0;
    }
    if (how == ZERO_ALLOC && !entry_allocated(im, v))
        v.e = (im->data_file ? guest : fresh_cluster(im)) | F_COPIED;
    if (im->set.extl2)
        v.bm = ALL_ZERO_SUBS;
    else
        v.e |= F_ZERO;
    entry_put(im, guest, v);
}

static void zero_subclusters(struct image *im, uint64_t guest, uint64_t subs, enum zero_how how)
{
    struct entry v = entry_get(im, guest);
    uint64_t sub = im->cs / 32, i;

    if (v.e & F_COMPRESSED) {
        put_data(im, guest, ALL_ALLOC_SUBS);
        return;
    }
    l2_ready(im, guest);
    for (i = 0; i < 32; i++)
        if (subs >> i & 1)
            raw_data_zero(im, guest + i * sub, sub);
    if ((how == ZERO_ALLOC || im->data_raw) && !entry_allocated(im, v))
        v.e = (im->data_file ? guest : fresh_cluster(im)) | F_COPIED;
    v.bm = (v.bm & ~subs) | subs << 32;
    entry_put(im, guest, v);
}

/* Whole clusters (or subclusters) become zero ones; a rest at either end is written as zeros. */
void guest_zero(struct image *im, uint64_t off, uint64_t len, enum zero_how how)
{
    uint64_t at;

    if (im->set.version < 3)
        fail("zero clusters need version 3");
    st_zero(&im->guest, off, len);
    for (at = off / im->cs * im->cs; at < off + len; at += im->cs) {
        bool whole = off <= at && (off + len >= at + im->cs || off + len == im->set.size);
        uint64_t subs = subs_of(im, at, off, len);

        if (whole)
            zero_cluster(im, at, how);
        else if (im->set.extl2 && subs != ALL_ALLOC_SUBS)
            zero_subclusters(im, at, subs, how);
        else
            put_data(im, at, ALL_ALLOC_SUBS);
    }
}

/*
 * full: the entry becomes 0. Otherwise, as QEMU does it: zeros that hide the backing file if the
 * version can express it, nothing if there is nothing to discard.
 */
void discard_cluster(struct image *im, uint64_t guest, bool full)
{
    struct entry v = entry_get(im, guest), none = {0, 0};

    if (im->data_raw && !full) {
        st_zero(&im->guest, guest, im->cs);
        zero_cluster(im, guest, ZERO_ALLOC);
        return;
    }
    if (v.e == 0 && v.bm == 0 && (full || !im->backing))
        return;
    if (!full && im->set.version >= 3) {
        st_zero(&im->guest, guest, im->cs);
        zero_cluster(im, guest, ZERO_PLAIN);
        return;
    }
    show_backing(im, guest, im->cs);
    entry_unref(im, v);
    entry_put(im, guest, none);
}

void guest_discard(struct image *im, uint64_t off, uint64_t len, bool full)
{
    uint64_t at;

    if (off % im->cs || (len % im->cs && off + len != im->set.size))
        fail("a discard must cover whole clusters");
    for (at = off; at < off + len; at += im->cs)
        discard_cluster(im, at, full);
}

/* As QEMU: full discard behind the new end, then the L2 tables that are not needed any more. */
static void shrink(struct image *im, uint64_t size)
{
    uint64_t keep = l1_needed(im, size), at = round_up(size, im->cs), i;

    for (i = im->l1_size; i-- > keep;)
        l2_drop(im, i);
    for (; at < keep * im->l2n * im->cs; at += im->cs)
        if (l2_peek(im, at))
            discard_cluster(im, at, true);
    st_truncate(&im->guest, im->data_file ? size : round_up(size, im->cs));
    st_truncate(&im->data, size);
}

/* A backing file longer than the old disk must not shine through in the part that is new. */
static void hide_backing(struct image *im, uint64_t old, uint64_t size)
{
    uint64_t end = im->base && im->base->set.size < size ? im->base->set.size : size;
    uint64_t at = round_up(old, im->cs);

    if (!im->base || end <= old)
        return;
    st_zero(&im->guest, old, end - old);
    if (old % im->cs)
        put_data(im, old / im->cs * im->cs, ALL_ALLOC_SUBS);
    for (; at < end; at += im->cs) {
        if (im->set.version >= 3)
            zero_cluster(im, at, ZERO_PLAIN);
        else
            put_data(im, at, ALL_ALLOC_SUBS);
    }
}

void guest_resize(struct image *im, uint64_t size)
{
    uint64_t old = im->set.size;

    if (im->nbitmaps)
        fail("resize must come before the bitmaps");
    im->set.size = size;
    if (size < old) {
        shrink(im, size);
    } else {
        l1_grow(im, l1_needed(im, size));
        hide_backing(im, old, size);
    }
}
