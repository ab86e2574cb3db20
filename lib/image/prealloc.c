/*
 * prealloc.c - telling an image whose metadata were allocated beforehand.
 *
 * SPDX-License-Identifier: MIT
 *
 * QEMU 5.1 and later: if more clusters have a refcount than a ninth above what
 * the file stores (or two above), most data clusters must be holes.
 */
#include <string.h>

#include "base/endian.h"
#include "format/refcount.h"
#include "image/extents.h"

#define PIECE 512u /* entries of the table that are read at once */

struct counting {
	const struct q2_image *img;
	uint8_t *block; /* a cluster */
	uint8_t piece[8 * PIECE];
	struct q2_holes holes;
	struct q2_holes table_holes;
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
	if (st != Q2_OK)
		return st;
	for (uint64_t i = 0; i < n && c->count < c->enough; i++)
		c->count += q2_refcount(c->block, g->ref_order, i) != 0;
	return Q2_OK;
}

/* Entry i of the table; they are asked for in order. */
static enum q2_status entry(struct counting *c, uint64_t i, uint64_t *raw,
			    struct q2_err *err)
{
	struct q2_range at = {c->img->geom.reftable_offset + 8 * i,
			      sizeof(c->piece)};
	enum q2_status st = Q2_OK;

	if (i % PIECE == 0 && q2_holes_covers(&c->table_holes, at))
		memset(c->piece, 0, sizeof(c->piece));
	else if (i % PIECE == 0)
		st = q2_pread_zero(c->img->io, c->piece, sizeof(c->piece),
				   at.start, err);
	*raw = q2_be64(c->piece + 8 * (i % PIECE));
	return st;
}

static enum q2_status count_all(struct counting *c, struct q2_err *err)
{
	const struct q2_geom *g = &c->img->geom;
	uint64_t left = g->file_clusters;

	for (uint64_t i = 0; left && c->count < c->enough &&
			     i < g->reftable_bytes / 8; i++) {
		uint64_t n = q2_min(left, UINT64_C(1) << g->block_bits);
		uint64_t at;
		enum q2_status st = entry(c, i, &at, err);

		if (st != Q2_OK)
			return st;
		at &= ~UINT64_C(511);
		if (at && at < g->file_size)
			st = count_block(c, at, n, err);
		if (st != Q2_OK)
			return st;
		left -= n;
	}
	return Q2_OK;
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
	q2_holes_init(&c.table_holes, img->io, g->reftable_bytes);
	st = count_all(&c, err);
	q2_put(img->budget, block, g->cluster_size);
	/* So many are never counted before something fails. */
	*yes = c.count >= c.enough;
	return st;
}
