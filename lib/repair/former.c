/*
 * former.c - refcount blocks and tables that are no longer in use.
 *
 * SPDX-License-Identifier: MIT
 *
 * They are leaks, but nobody misses what they say.
 */
#include "base/endian.h"
#include "format/refcount.h"
#include "repair/former.h"

#define ENOUGH 1024u /* right counts, for a block that a table names */

/* What a table would have for a refcount block. */
struct former {
	uint64_t table; /* cluster; 0: no table names the block */
	uint64_t block;
	uint64_t index;
};

/* How many counts are not zero; limit + 1 if there are more than `limit`, or one is above
 * `most`. */
static uint64_t counts_set(const struct q2_geom *g, const uint8_t *bytes,
			   uint64_t most, uint64_t limit)
{
	uint64_t n = UINT64_C(1) << g->block_bits, set = 0;

	/* Bits are not looked at one by one: there are thousands. */
	for (size_t i = 0; i < g->cluster_size && g->ref_order == 0; i += 8) {
		uint64_t word = q2_be64(bytes + i);

		set += word ? (unsigned)__builtin_popcountll(word) : 0u;
		if (set > limit)
			return limit + 1;
	}
	for (uint64_t i = 0; i < n && g->ref_order; i++) {
		i = q2_refcounts_next(bytes, g->ref_order, i, n);
		set += i < n;
		if (set > limit || (i < n && q2_refcount(bytes, g->ref_order,
							 i) > most))
			return limit + 1;
	}
	return set;
}

/* The first cluster from `clu` on of which the bytes, or references, or the table say
 * something; or the first one behind the block. */
static uint64_t next_told(const struct q2_checker *c, const uint8_t *bytes,
			  const struct former *f, uint64_t clu)
{
	unsigned order = c->img.geom.ref_order;
	uint64_t n = UINT64_C(1) << c->img.geom.block_bits;
	uint64_t lo = f->index << c->img.geom.block_bits;
	uint64_t next = lo + q2_refcounts_next(bytes, order, clu - lo, n);

	next = q2_refmap_next(&c->map, clu, next);
	if (f->table >= clu)
		next = q2_min(next, f->table);
	return f->block >= clu ? q2_min(next, f->block) : next;
}

/* Whether the bytes, with so many counts that are not zero, do as that block.  If a table
 * names it, both are counted by it; and what has a count but no reference tells nothing:
 * these may be what is lost. */
static bool counts_right(const struct q2_repair *r, const uint8_t *bytes,
			 uint64_t set, const struct former *f)
{
	const struct q2_checker *c = r->c;
	const struct q2_geom *g = &c->img.geom;
	uint64_t lo = f->index << g->block_bits;
	uint64_t hi = lo + (UINT64_C(1) << g->block_bits);
	uint64_t end = q2_div_up(r->base->size, g->cluster_size);
	uint64_t agree = 0, differ = 0;

	/* Of those that agree there are no more than are set. */
	if (set < 4)
		return false;
	for (uint64_t clu = next_told(c, bytes, f, lo);
	     clu < hi && differ * 4 <= set;
	     clu = next_told(c, bytes, f, clu + 1)) {
		uint64_t v = q2_refcount(bytes, g->ref_order, clu - lo);
		uint64_t refs = q2_refmap_get(&c->map, clu).count;

		if (f->table && (clu == f->table || clu == f->block))
			refs = 1;
		if (v == refs)
			agree += v != 0;
		/* What this repair put behind the end it need not know. */
		else if ((v || clu < end) && (refs || f->table == 0))
			differ++;
		if (f->table && differ == 0 && agree == ENOUGH)
			break;
	}
	return agree >= 4 && differ * 4 <= agree;
}

bool q2_is_old_block(const struct q2_repair *r, const uint8_t *bytes)
{
	const struct q2_checker *c = r->c;
	const struct q2_geom *g = &c->img.geom;
	uint64_t n = UINT64_C(1) << g->block_bits;
	uint64_t blocks = q2_min(q2_div_up(g->file_clusters, n), 64);
	/* Most other things hold numbers that no count can be, or too many. */
	uint64_t most = (c->trees.n + 1) * (g->cluster_size / 16);
	uint64_t limit = 0, set;

	for (uint64_t b = 0; b < blocks; b++)
		limit = q2_max(limit, q2_refmap_most(&c->map, b * n, n) * 5 / 4);
	set = counts_set(g, bytes, most, limit);
	for (uint64_t b = 0; b < blocks && set <= limit; b++)
		if (set * 4 <= q2_refmap_most(&c->map, b * n, n) * 5 &&
		    counts_right(r, bytes, set,
				 &(struct former){.index = b}))
			return true;
	return false;
}

/* Whether the bytes can be of a refcount table that is no longer in use: offsets
 * of clusters that nothing refers to. */
static bool names_leaks(const struct q2_repair *r, const uint8_t *bytes)
{
	const struct q2_geom *g = &r->c->img.geom;
	bool any = false;

	for (uint64_t i = 0; i < g->cluster_size / 8; i++) {
		uint64_t off = q2_be64(bytes + 8 * i);

		if (off == 0)
			continue;
		if ((off & (g->cluster_size - 1)) || off >= g->file_size ||
		    q2_refmap_get(&r->c->map, off >> g->cluster_bits).count)
			return false;
		any = true;
	}
	return any;
}

/* If that is so, its blocks are known, too.  Nearly all of them must say what is so
 * of the very clusters that their place in the table is for. */
enum q2_status q2_formers_see(struct q2_formers *f, const uint8_t *bytes,
			      uint64_t clu, bool *yes)
{
	struct q2_repair *r = f->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t n = g->cluster_size / 8, base = 0;
	uint64_t named = 0, all = UINT64_C(1) << g->block_bits;
	struct q2_runs blocks = {0};
	enum q2_status st = Q2_OK;

	*yes = names_leaks(r, bytes);
	if (*yes && clu == q2_end(f->table))
		base = f->table.len * n;
	for (uint64_t i = 0; i < n && *yes && st == Q2_OK; i++) {
		uint64_t off = q2_be64(bytes + 8 * i);
		struct former of = {clu, off >> g->cluster_bits, base + i};

		if (off == 0)
			continue;
		named++;
		if (q2_pread_zero(r->io, f->block, (size_t)g->cluster_size, off,
				  NULL) == Q2_OK &&
		    counts_right(r, f->block,
				 counts_set(g, f->block, UINT64_MAX, all), &of))
			st = q2_runs_push(&blocks, &r->budget,
					  (struct q2_run){of.block, 1}, r->err);
		/* Anything else is soon seen not to be one. */
		*yes = named < 4 || blocks.n * 4 >= named * 3;
	}
	*yes &= blocks.n * 4 >= named * 3;
	for (size_t i = 0; i < blocks.n && *yes && st == Q2_OK; i++)
		st = q2_runs_push(&f->blocks, &r->budget, blocks.at[i], r->err);
	if (*yes) {
		q2_runs_tidy(&f->blocks);
		if (base == 0)
			f->table = (struct q2_range){clu, 0};
		f->table.len++;
	}
	q2_runs_free(&blocks, &r->budget);
	return st;
}


enum q2_status q2_formers_open(struct q2_formers *f, struct q2_repair *r)
{
	void *block;
	enum q2_status st = q2_get_raw(&r->budget, r->c->img.geom.cluster_size,
				       &block, r->err);

	*f = (struct q2_formers){.r = r, .block = st == Q2_OK ? block : NULL};
	return st;
}

void q2_formers_close(struct q2_formers *f)
{
	q2_runs_free(&f->blocks, &f->r->budget);
	q2_put(&f->r->budget, f->block, f->r->c->img.geom.cluster_size);
}
