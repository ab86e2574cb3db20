/*
 * guest.c - what a guest reads from an image, cluster by cluster.
 *
 * SPDX-License-Identifier: MIT
 */
#include "guest.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/hash.h"
#include "refcheck_own.h"

#define OFFSET UINT64_C(0x00fffffffffffe00)
#define PACKED UINT64_C(0x4000000000000000)
#define CLUSTERS 65536u
#define EMPTY 1u /* unallocated, and there is a backing file */
#define ZEROS 2u

struct reader {
	const struct q2f_refcheck *r;
	const uint8_t *image;
	size_t size;
	bool strict;
	uint64_t empty; /* what unallocated clusters are */
};

static bool alone(const struct reader *d, uint64_t off)
{
	const struct q2f_refcheck *r = d->r;

	return !d->strict || r->counted[off / r->cs] == 1;
}

static uint64_t digest_of(const uint8_t *p, uint64_t n, uint64_t bitmap)
{
	if (bitmap == 0 && p[0] == 0 && memcmp(p, p + 1, (size_t)n - 1) == 0)
		return ZEROS;
	return q2_hash(p, (size_t)n) ^ bitmap << 3;
}

static uint64_t digest(const struct reader *d, uint64_t from, uint64_t bitmap)
{
	uint64_t cs = d->r->cs, h;
	uint8_t *copy;

	if (from + cs <= d->size)
		return digest_of(d->image + from, cs, bitmap);
	/* The end of the last cluster is not there: zeros. */
	copy = calloc(1, (size_t)cs);
	if (copy == NULL)
		abort();
	memcpy(copy, d->image + from, (size_t)(d->size - from));
	h = digest_of(copy, cs, bitmap);
	free(copy);
	return h;
}

/* 0 if it does not yield a cluster. */
static uint64_t inflated(const struct reader *d, uint64_t from, uint64_t end)
{
	uint8_t *out = malloc((size_t)d->r->cs);
	z_stream z = {.next_out = out, .avail_out = (uInt)d->r->cs};
	uint64_t h = 0;

	if (out == NULL || inflateInit2(&z, -15) != Z_OK)
		abort();
	z.next_in = q2f_unconst(d->image + from);
	z.avail_in = (uInt)((end < d->size ? end : d->size) - from);
	inflate(&z, Z_FINISH);
	if (z.avail_out == 0)
		h = digest_of(out, d->r->cs, 0);
	inflateEnd(&z);
	free(out);
	return h;
}

/* Sectors are shared at the ends of streams only, and a stream is one cluster's. */
static uint64_t packed(const struct reader *d, uint64_t raw, uint64_t guest)
{
	const struct q2f_refcheck *r = d->r;
	unsigned x = 70 - r->bits;
	uint64_t off = raw & ((UINT64_C(1) << x) - 1);
	uint64_t end = off / 512 * 512 +
		       (((raw & (PACKED - 1)) >> x) + 1) * 512;

	if (off >> 56 || end > r->clusters * r->cs || off >= d->size ||
	    r->data_file || (rc_get(r, 72, 8) & 8))
		return 0;
	for (unsigned i = 0; d->strict && i < r->n_refs; i++) {
		const struct rc_ref *o = &r->refs[i];

		/* Its own reference starts where it does. */
		if (o->clu < off / r->cs || o->clu * r->cs >= end)
			continue;
		if (o->kind != RC_STREAM ||
		    (o->start != off && o->start < end && off < o->end) ||
		    (o->start == off && o->guest != guest))
			return 0;
	}
	return inflated(d, off, end);
}

/* Entry i of the table; `guest` is where it is on the disk. */
static uint64_t one(const struct reader *d, uint64_t l2, uint64_t i,
		    uint64_t guest)
{
	const struct q2f_refcheck *r = d->r;
	unsigned width = r->ext_l2 ? 16 : 8;
	uint64_t raw = rc_get(r, l2 + i * width, 8);
	uint64_t bitmap = r->ext_l2 ? rc_get(r, l2 + i * width + 8, 8) : 0;
	uint64_t off = raw & OFFSET;

	if (raw & PACKED)
		return bitmap ? 0 : packed(d, raw, guest);
	if (raw & UINT64_C(0x3f000000000001fe))
		return 0;
	if (!r->ext_l2 && (raw & 1))
		return r->version == 3 && off % r->cs == 0 &&
				       (off == 0 || off < d->size) ?
			       ZEROS : 0;
	if (r->ext_l2 && ((raw & 1) || (bitmap & bitmap >> 32 & 0xffffffff) ||
			  ((bitmap & 0xffffffff) && off == 0)))
		return 0;
	if (off == 0 || r->data_file)
		return bitmap ? bitmap | 4 : d->empty;
	if (off % r->cs || off >= d->size || !alone(d, off))
		return 0;
	return digest(d, off, bitmap);
}

/* What most entries of lead nowhere may be no table at all: what one of them leads
 * to is in doubt. */
static bool doubtful(const struct reader *d, uint64_t l2)
{
	uint64_t good = 0, bad = 0;

	for (uint64_t i = 0; d->strict && i < UINT64_C(1) << d->r->l2_bits; i++) {
		uint64_t h = one(d, l2, i, 0);

		good += h != 0 && h != d->empty;
		bad += h == 0;
	}
	return bad >= 4 && bad > good;
}

static void read_table(struct q2f_guest *g, const struct reader *d,
		       uint64_t slot)
{
	const struct q2f_refcheck *r = d->r;
	uint64_t raw = rc_get(r, r->l1_at + 8 * slot, 8);
	uint64_t l2 = raw & OFFSET, per = UINT64_C(1) << r->l2_bits;
	bool sound = l2 % r->cs == 0 && l2 < d->size &&
		     !(raw & UINT64_C(0x7f000000000001ff));

	if (l2 && (!sound || !alone(d, l2) || doubtful(d, l2)))
		return;
	for (uint64_t i = 0; i < per && slot * per + i < g->n; i++)
		g->digest[slot * per + i] = l2 ? one(d, l2, i,
							     (slot * per + i) *
								     r->cs) :
							 d->empty;
}

void q2f_guest_read(struct q2f_guest *g, const uint8_t *image, size_t size,
		    bool strict)
{
	struct q2f_input in = {.image = image, .size = size};
	struct q2f_refcheck *r = q2f_refcheck_new(&in);
	struct reader d = {r, image, size, strict, ZEROS};
	uint64_t n;

	*g = (struct q2f_guest){0};
	if (r == NULL || r->refused || (strict && (r->guess_counts || r->guess)))
		goto out;
	if (rc_get(r, 8, 8) && rc_get(r, 16, 4))
		d.empty = EMPTY;
	n = r->disk / r->cs + (r->disk % r->cs != 0);
	if (n > CLUSTERS)
		goto out;
	g->digest = calloc((size_t)(n ? n : 1), sizeof(*g->digest));
	if (g->digest == NULL)
		abort();
	g->n = (size_t)n;
	g->cluster_size = r->cs;
	g->plain = !r->ext_l2 && r->crypt == 0;
	g->disk = r->disk;
	g->opens = r->l1_n >= r->l1_needed;
	for (uint64_t slot = 0; slot < r->l1_n && slot << r->l2_bits < n;
	     slot++)
		read_table(g, &d, slot);
out:
	q2f_refcheck_free(r);
}

void q2f_guest_free(struct q2f_guest *g)
{
	free(g->digest);
	*g = (struct q2f_guest){0};
}

void q2f_guest_doubt(struct q2f_guest *g, uint64_t start, uint64_t len)
{
	for (size_t i = 0; i < g->n; i++)
		if (i * g->cluster_size < start + len &&
		    (i + 1) * g->cluster_size > start)
			g->digest[i] = 0;
}

void q2f_guest_same(const struct q2f_guest *g, const uint8_t *bytes, size_t n,
		    const char *oracle)
{
	for (size_t i = 0; g->plain && i < g->n && (i + 1) * g->cluster_size <= n;
	     i++) {
		uint64_t is = digest_of(bytes + i * g->cluster_size,
					g->cluster_size, 0);

		if (g->digest[i] > EMPTY && g->digest[i] != is)
			q2f_violation(oracle, "guest cluster %zu of %zu reads otherwise",
				      i, g->n);
	}
}

void q2f_guest_compare(const struct q2f_guest *before,
		       const struct q2f_guest *after, const char *oracle)
{
	/* A repaired root field makes another disk of it. */
	if (before->cluster_size == 0 ||
	    before->cluster_size != after->cluster_size ||
	    before->plain != after->plain || before->disk != after->disk)
		return;
	for (size_t i = 0; i < before->n; i++) {
		/* Nothing there before, and data that was lost comes back. */
		if (before->digest[i] <= ZEROS)
			continue;
		if (before->digest[i] != after->digest[i] &&
		    q2f_open_violation(oracle,
				       "guest cluster %zu of %zu reads otherwise",
				       i, before->n))
			return;
	}
}
