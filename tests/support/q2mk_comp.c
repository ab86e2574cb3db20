/* q2mk_comp.c: compressed guest clusters, deflate or zstd. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

/* Raw deflate with a window of 4 KiB, as QEMU writes it. 0: it does not fit into room bytes. */
static size_t deflate_cluster(unsigned char *in, size_t n, unsigned char *out, size_t room)
{
    z_stream z = {0};
    int end;

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        fail("deflate does not start");
    z.next_in = in;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)room;
    end = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return end == Z_STREAM_END ? room - z.avail_out : 0;
}

static size_t zstd_cluster(const unsigned char *in, size_t n, unsigned char *out, size_t room)
{
    size_t got = ZSTD_compress(out, room, in, n, ZSTD_CLEVEL_DEFAULT);

    return ZSTD_isError(got) ? 0 : got;
}

static void put_compressed(struct image *im, uint64_t guest)
{
    unsigned x = 70 - im->set.cluster_bits;
    size_t cs = (size_t)im->cs, n;
    unsigned char *in = scratch(2 * cs), *out = in + cs;
    struct entry v = entry_get(im, guest);
    uint64_t off;

    st_read(&im->guest, guest, in, cs);
    n = im->set.zstd ? zstd_cluster(in, cs, out, cs - 1) : deflate_cluster(in, cs, out, cs - 1);
    if (n == 0)
        fail("the cluster at guest offset %llu does not become smaller",
             (unsigned long long)guest);
    l2_ready(im, guest);
    entry_unref(im, v);
    off = alloc_bytes(im, n);
    if (off + n > UINT64_C(1) << x)
        fail("a compressed cluster cannot lie beyond host offset 2^%u", x);
    st_write(&im->disk, off, out, n);
    v.e = F_COMPRESSED | ((off + n - 1) / 512 - off / 512) << x | off;
    v.bm = 0;
    entry_put(im, guest, v);
    free(in);
}

/* Every cluster that the range touches is compressed as a whole. */
void guest_compress(struct image *im, uint64_t off, uint64_t len, const struct pattern *p)
{
    uint64_t at;

    if (im->data_file)
        fail("an image with a data file has no compressed clusters");
    pat_store(p, &im->guest, off, len);
    for (at = off / im->cs * im->cs; at < off + len; at += im->cs)
        put_compressed(im, at);
}
