/* q2mk_guest.c: guest writes and preallocation: cluster allocation, copy-on-write, subclusters. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

/*
 * im->guest always holds what the guest sees, so a cluster that is allocated, or copied because a
 * snapshot shares it, is simply filled from there.
 */

static void junk(struct image *im, uint64_t host)
{
    struct pattern p = {PAT_RANDOM, ~host};

    pat_store(&p, &im->disk, host, im->cs);
}

/* A new cluster with junk in it: what no bit declares to be valid must never be shown. */
uint64_t fresh_cluster(struct image *im)
{
    uint64_t host = alloc_clusters(im, 1);

    junk(im, host);
    return host;
}

static void fill_from_guest(struct image *im, uint64_t host, uint64_t guest, uint64_t n)
{
    struct store *to = im->data_file ? &im->data : &im->disk;
    unsigned char chunk[512];
    uint64_t i;

    for (i = 0; i < n; i += sizeof(chunk)) {
        st_read(&im->guest, guest + i, chunk, sizeof(chunk));
        st_write(to, host + i, chunk, sizeof(chunk));
    }
}

static bool owned(const struct image *im, struct entry v)
{
    if (im->data_file)
        return true;
    return !(v.e & F_COMPRESSED) && (v.e & OFF_MASK) &&
           ref_get(im, (v.e & OFF_MASK) / im->cs) == 1;
}

/* Gives the entry a host cluster of its own; old contents are not carried over. */
static uint64_t own_cluster(struct image *im, uint64_t guest, struct entry v)
{
    uint64_t host;

    if (im->data_file)
        return guest;
    if (owned(im, v))
        return v.e & OFF_MASK;
    host = fresh_cluster(im);
    entry_unref(im, v);
    return host;
}

/* Stores the guest's view of one cluster, or of the subclusters whose bits are set in subs. */
void put_data(struct image *im, uint64_t guest, uint64_t subs)
{
    struct entry v = entry_get(im, guest);
    uint64_t sub = im->cs / 32, host, i;
    bool keep = im->data_file ? entry_allocated(im, v) : owned(im, v);

    l2_ready(im, guest); /* before the data cluster, as QEMU does it */
    if (v.e & F_COMPRESSED)
        subs = ALL_ALLOC_SUBS;
    else if (!keep) /* the subclusters valid so far move along */
        subs |= v.bm & ALL_ALLOC_SUBS;
    host = own_cluster(im, guest, v);
    if (!im->set.extl2) {
        fill_from_guest(im, host, guest, im->cs);
        v.e = host | F_COPIED;
    } else {
        for (i = 0; i < 32; i++)
            if (subs >> i & 1)
                fill_from_guest(im, host + i * sub, guest + i * sub, sub);
        if (v.e & F_COMPRESSED)
            v.bm = 0;
        v.bm = (v.bm | subs) & ~(subs << 32);
        v.e = host | F_COPIED;
    }
    entry_put(im, guest, v);
}

/*
 * The subclusters of one cluster that [off, off + len) covers; all of them if the range is not
 * aligned to subclusters there, or there are none. The end of the disk counts as aligned.
 */
uint64_t subs_of(const struct image *im, uint64_t cluster, uint64_t off, uint64_t len)
{
    uint64_t sub = im->cs / 32, from = off > cluster ? off - cluster : 0;
    uint64_t to = off + len < cluster + im->cs ? off + len - cluster : im->cs;
    uint64_t bits = ALL_ALLOC_SUBS;

    if (!im->set.extl2)
        return bits;
    if (off + len == im->set.size)
        to = round_up(to, sub);
    if (from % sub || to % sub)
        return bits;
    bits = (bits >> (from / sub)) << (from / sub);
    return bits & (to == im->cs ? bits : (UINT64_C(1) << (to / sub)) - 1);
}

void guest_write(struct image *im, uint64_t off, uint64_t len, const struct pattern *p)
{
    uint64_t at;

    if (len == 0)
        return;
    pat_store(p, &im->guest, off, len);
    for (at = off / im->cs * im->cs; at < off + len; at += im->cs)
        put_data(im, at, subs_of(im, at, off, len));
}

/* Host clusters for what has none; what the guest sees does not change. */
void guest_prealloc(struct image *im, uint64_t off, uint64_t len)
{
    uint64_t at;

    for (at = off / im->cs * im->cs; at < off + len; at += im->cs) {
        struct entry v = entry_get(im, at);

        if (entry_allocated(im, v))
            continue;
        l2_ready(im, at);
        if (!im->set.extl2) {
            if (v.e & F_ZERO)
                v.e = (im->data_file ? at : fresh_cluster(im)) | F_COPIED | F_ZERO;
            else
                put_data(im, at, 0);
        } else {
            v.e = (im->data_file ? at : fresh_cluster(im)) | F_COPIED;
        }
        if (im->set.extl2 || (v.e & F_ZERO))
            entry_put(im, at, v);
    }
}
