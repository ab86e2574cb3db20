/*
 * prealloc.c - telling an image whose metadata were allocated beforehand.
 *
 * SPDX-License-Identifier: MIT
 *
 * QEMU 5.1 and later: if more clusters have a refcount than a ninth above what
 * the file stores (or two above), most data clusters must be holes.
 */
#include "base/endian.h"
#include "format/refcount.h"
#include "image/extents.h"

struct counting {
	const struct q2_image *img;
	uint8_t *block; /* a cluster */
	struct q2_holes holes;
	uint64_t count;
	uint64_t enough;
};

static enum q2_status count_block(struct counting *c, uint64_t at, uint64_t n,
				  struct q2_err *err)
{
	const struct q2_geom *g = &c->img->geom;
	enum q2_status st;

	if (q2_holes_covers(&c->holes,
			    (struct q2_range){at, g->cluster_size}))
		return Q2_OK;
	st = q2_pread_zero(c->img->io, c->block, (size_t)g->cluster_size, at,
			   err);
	for (uint64_t i = 0; st == Q2_OK && i < n && c->count < c->enough; i++)
		c->count += q2_refcount(c->block, g->ref_order, i) != 0;
	return st;
}

static enum q2_status count_all(struct counting *c, struct q2_err *err)
{
	const struct q2_geom *g = &c->img->geom;
	uint64_t left = g->file_clusters;
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; st == Q2_OK && left && c->count < c->enough &&
			     i < g->reftable_bytes / 8; i++) {
		uint64_t n = q2_min(left, UINT64_C(1) << g->block_bits);
		uint8_t entry[8];
		uint64_t at;

		st = q2_pread_zero(c->img->io, entry, sizeof(entry),
				   g->reftable_offset + 8 * i, err);
		at = q2_be64(entry) & ~UINT64_C(511);
		if (st == Q2_OK && at && at < g->file_size)
			st = count_block(c, at, n, err);
		left -= n;
	}
	return st;
}

enum q2_status q2_map_preallocated(const struct q2_image *img, bool *yes,
				   struct q2_err *err)
{
	const struct q2_geom *g = &img->geom;
	uint64_t stored = img->io->stored >> g->cluster_bits;
	struct counting c = {.img = img,
			     .enough = q2_max(stored * 10 / 9, stored + 2)};
	enum q2_status st;
	void *block;

	*yes = false;
	/* There cannot be so many. */
	if (g->file_clusters < c.enough)
		return Q2_OK;
	st = q2_get(img->budget, g->cluster_size, &block, err);
	if (st != Q2_OK)
		return st;
	c.block = block;
	q2_holes_init(&c.holes, img->io, g->file_clusters);
	st = count_all(&c, err);
	q2_put(img->budget, block, g->cluster_size);
	*yes = st == Q2_OK && c.count >= c.enough;
	return st;
}
