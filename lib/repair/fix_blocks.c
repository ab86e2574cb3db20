/*
 * fix_blocks.c - the refcount table and its blocks, as structures.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    a table or blocks that are missing, damaged, misplaced or of the wrong
 *           width; always in fresh clusters, the old ones are left as they are.
 * Needs:    references counted by a check; the counts themselves are adjusted by
 *           fix_refcounts.c, but for those of blocks made here.
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/zeros.h"
#include "check/reftable.h"
#include "format/refcount.h"
#include "repair/judge_blocks.h"
#include "repair/refcounts.h"

#define AT_TABLE 48u  /* of the header: offset, and length in clusters */
#define AT_ORDER 96u
#define MANY 32768u

/* The table as it is, and the blocks that it lacks. */
struct blocks {
	struct q2_repair *r;
	struct q2_ref_entries table;
	struct q2_runs missing; /* indices, as runs of one */
	uint32_t action;
};

static uint64_t used_clusters(const struct q2_repair *r)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t end = r->io->is_device ?
			       r->result.image_end_offset >> g->cluster_bits :
			       g->file_clusters;

	return q2_max(end, r->fresh.next >> g->cluster_bits);
}

/* Table clusters for so many host clusters, with the table and the blocks counted
 * in, and some room to grow. */
static uint64_t table_clusters(const struct q2_geom *g, unsigned order,
			       uint64_t clusters)
{
	unsigned block_bits = g->cluster_bits + 3 - order;
	uint64_t per_block = UINT64_C(1) << block_bits;
	uint64_t n = 1, blocks;

	for (;;) {
		blocks = q2_div_up(clusters + n, per_block);
		blocks = q2_div_up(clusters + n + blocks + 2, per_block) + 1;
		if (blocks * 8 <= n << g->cluster_bits)
			return n;
		n = q2_div_up(blocks * 8, g->cluster_size);
	}
}

/* Lets the header name a table.  `order` is what its blocks will have. */
static enum q2_status name_table(struct q2_repair *r, uint32_t action,
				 uint64_t off, uint64_t clusters,
				 unsigned order)
{
	uint8_t bytes[12];
	enum q2_status st;

	q2_put_be64(bytes, off);
	q2_put_be32(bytes + 8, (uint32_t)clusters);
	st = q2_change(r, Q2_C_REFTABLE, action, AT_TABLE, bytes,
		       sizeof(bytes));
	if (st == Q2_OK && r->c->header.version == 3 &&
	    order != r->c->header.refcount_order)
		st = q2_change_u32(r, Q2_C_REFTABLE, action, AT_ORDER, order);
	return st;
}

/* What a new table must not forget: leaks that are not to be freed. */
static enum q2_status keep_leaks(struct q2_repair *r)
{
	const struct q2_leaks *leaks = &r->c->leaks;
	enum q2_status st = Q2_OK;

	q2_runs_tidy(&r->worthless);
	q2_runs_tidy(&r->released);
	for (size_t i = 0; i < leaks->n && st == Q2_OK; i++)
		for (uint64_t k = 0; k < leaks->at[i].n && st == Q2_OK; k++) {
			struct q2_run run = {leaks->at[i].first + k, 1};

			if (!q2_may_free(r, run.first))
				st = q2_runs_push(&r->keep, &r->budget, run,
						  r->err);
		}
	q2_runs_tidy(&r->keep);
	return st;
}

/* A table of its own place and no blocks; what is missing is then added. */
static enum q2_status new_table(struct q2_repair *r, enum q2_problem_id why,
				unsigned order)
{
	uint64_t n = table_clusters(&r->c->img.geom, order, used_clusters(r));
	uint32_t action;
	uint64_t off;
	enum q2_status st = keep_leaks(r);

	r->recounted = why == Q2_P_REFCOUNT_OVERFLOW && !q2_counts_lost(r);
	if (st == Q2_OK && !r->recounted)
		st = q2_keep_range(r, 0, UINT64_MAX);
	if (st == Q2_OK)
		st = q2_act_bulk(r, why, 1,
				 "the refcount table and all blocks are made "
				 "anew from the references", &action);
	if (st == Q2_OK)
		st = q2_fresh(r, action, n, &off);
	if (st == Q2_OK)
		st = name_table(r, action, off, n, order);
	return st;
}

enum q2_status q2_reftable_get(struct q2_repair *r, struct q2_ref_entries *table)
{
	const struct q2_geom *g = &r->c->img.geom;
	size_t bytes = (size_t)q2_reftable_there(g, r->io) * 8;
	void *block;
	enum q2_status st = q2_get_raw(&r->budget, bytes, &block, r->err);

	*table = (struct q2_ref_entries){.at = block, .room = bytes};
	if (st != Q2_OK)
		return st;
	st = q2_pread_zero(r->io, block, bytes, g->reftable_offset, r->err);
	if (st != Q2_OK)
		return st;
	table->n = q2_used_bytes(block, bytes) / 8;
	for (uint64_t i = 0; i < table->n; i++)
		table->at[i] = q2_be64((uint8_t *)block + 8 * i);
	return Q2_OK;
}

void q2_reftable_put(struct q2_repair *r, struct q2_ref_entries *table)
{
	q2_put(&r->budget, table->at, table->room);
	*table = (struct q2_ref_entries){0};
}

/* The same entries in a longer table. */
static enum q2_status grow_table(struct blocks *b)
{
	struct q2_repair *r = b->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t n = table_clusters(g, g->ref_order, used_clusters(r));
	uint64_t used = b->table.n, off;
	enum q2_status st;

	/* Not as long as it says, but as far as it is used. */
	while (used && b->table.at[used - 1] == 0)
		used--;
	n = q2_max(n, q2_div_up(used * 8, g->cluster_size));
	st = q2_fresh(r, b->action, n, &off);

	for (uint64_t i = 0; i < used && st == Q2_OK; i++)
		if (b->table.at[i])
			st = q2_change_u64(r, Q2_C_FRESH, b->action,
					   off + 8 * i, b->table.at[i]);
	if (st == Q2_OK)
		st = q2_release(r, g->reftable_offset, g->reftable_bytes);
	return st == Q2_OK ? name_table(r, b->action, off, n, g->ref_order) :
			     st;
}

static bool lacks(const struct blocks *b, uint64_t index)
{
	if (index < b->table.n && b->table.at[index])
		return false;
	for (size_t i = b->missing.n; i-- > 0;)
		if (b->missing.at[i].first == index)
			return false;
	return true;
}

static enum q2_status note_missing(struct blocks *b, uint64_t index)
{
	/* Indices come in rising order, but for those of fresh clusters. */
	if (!lacks(b, index))
		return Q2_OK;
	return q2_runs_push(&b->missing, &b->r->budget,
			    (struct q2_run){index, 1}, b->r->err);
}

/* A block that is missing where `clu` is in use; if that is not new, it was lost. */
static enum q2_status add_lost(struct blocks *b, uint64_t index, uint64_t clu)
{
	struct q2_repair *r = b->r;
	const struct q2_geom *g = &r->c->img.geom;
	enum q2_status st = q2_runs_push(&b->missing, &r->budget,
					 (struct q2_run){index, 1}, r->err);

	if (st == Q2_OK && !r->recounted &&
	    clu < q2_div_up(r->base->size, g->cluster_size))
		st = q2_keep_range(r, index << g->block_bits,
				   UINT64_C(1) << g->block_bits);
	return st;
}

/* Which blocks are missing, by the references counted. */
static enum q2_status find_missing(struct blocks *b)
{
	struct q2_repair *r = b->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t last = UINT64_MAX;
	uint64_t *pages;
	size_t n;
	enum q2_status st = q2_refmap_pages(&r->c->map, &pages, &n, r->err);

	for (size_t i = 0; i < n && st == Q2_OK; i++) {
		uint16_t cells[Q2_PAGE_CELLS];
		unsigned used = q2_refmap_used(&r->c->map, pages[i], cells);

		for (unsigned k = 0; k < used && st == Q2_OK; k++) {
			uint64_t clu = (pages[i] << Q2_PAGE_BITS) + cells[k];

			if (clu >> g->block_bits == last)
				continue;
			last = clu >> g->block_bits;
			if (last >= b->table.n || b->table.at[last] == 0)
				st = add_lost(b, last, clu);
		}
	}
	q2_runs_tidy(&r->keep);
	for (size_t i = 0; i < r->keep.n && st == Q2_OK; i++)
		for (uint64_t k = r->keep.at[i].first >> g->block_bits;
		     k <= (r->keep.at[i].first + r->keep.at[i].n - 1) >>
				  g->block_bits && st == Q2_OK; k++)
			st = note_missing(b, k);
	q2_put(&r->c->budget, pages, n * sizeof(uint64_t));
	return st;
}

/* What a new block says: the references, and the leaks that are kept. */
static void fill_block(const struct blocks *b, uint64_t index, uint8_t *bytes)
{
	struct q2_repair *r = b->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t lo = index << g->block_bits;
	uint64_t n = UINT64_C(1) << g->block_bits;
	uint64_t max = q2_refcount_max(g->ref_order);

	memset(bytes, 0, (size_t)g->cluster_size);
	for (uint64_t page = lo >> Q2_PAGE_BITS;
	     page <= (lo + n - 1) >> Q2_PAGE_BITS; page++) {
		uint16_t cells[Q2_PAGE_CELLS];
		unsigned used = q2_refmap_used(&r->c->map, page, cells);

		for (unsigned k = 0; k < used; k++) {
			uint64_t clu = (page << Q2_PAGE_BITS) + cells[k];

			if (clu >= lo && clu < lo + n)
				q2_refcount_set(bytes, g->ref_order, clu - lo,
						q2_min(max, q2_refmap_get(
							&r->c->map, clu).count));
		}
	}
	for (size_t i = 0; i < r->keep.n; i++) {
		uint64_t end = q2_min(r->keep.at[i].first + r->keep.at[i].n,
				      lo + n);

		for (uint64_t clu = q2_max(r->keep.at[i].first, lo); clu < end;
		     clu++)
			if (q2_refcount(bytes, g->ref_order, clu - lo) == 0 &&
			    !q2_may_free(r, clu))
				q2_refcount_set(bytes, g->ref_order, clu - lo,
						1);
	}
}

/* Fresh clusters for the missing blocks: each of them may need yet another. */
static enum q2_status place_blocks(struct blocks *b)
{
	struct q2_repair *r = b->r;
	unsigned bits = r->c->img.geom.cluster_bits;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < b->missing.n && st == Q2_OK; i++) {
		struct q2_ref before;
		uint64_t off;

		st = q2_fresh(r, b->action, 1, &off);
		if (st == Q2_OK)
			st = q2_refmap_add(&r->c->map, off >> bits, 1,
					   Q2_MARK_NONE, &before, r->err);
		if (st != Q2_OK)
			break;
		/* From here on `n` is where the block lies. */
		b->missing.at[i].n = off;
		st = note_missing(b, off >> bits >> r->c->img.geom.block_bits);
	}
	return st;
}

static enum q2_status write_blocks(struct blocks *b)
{
	struct q2_repair *r = b->r;
	const struct q2_geom *g = &r->c->img.geom;
	enum q2_status st;
	void *bytes;

	st = q2_get_raw(&r->budget, g->cluster_size, &bytes, r->err);
	if (st != Q2_OK)
		return st;
	for (size_t i = 0; i < b->missing.n && st == Q2_OK; i++) {
		uint64_t off = b->missing.at[i].n;
		uint64_t index = b->missing.at[i].first;

		fill_block(b, index, bytes);
		st = q2_change(r, Q2_C_FRESH, b->action, off, bytes,
			       (size_t)g->cluster_size);
		if (st == Q2_OK)
			st = q2_change_u64(r, Q2_C_REFTABLE, b->action,
					   g->reftable_offset + 8 * index, off);
	}
	q2_put(&r->budget, bytes, g->cluster_size);
	return st;
}

/* Whether an entry is missed behind the table, or will soon be: behind the last cluster
 * there may be no room in it. */
static bool past_table(const struct blocks *b)
{
	const struct q2_geom *g = &b->r->c->img.geom;
	uint64_t entries = g->reftable_bytes / 8;

	for (size_t i = 0; i < b->missing.n; i++)
		if (b->missing.at[i].first >= entries)
			return true;
	return (used_clusters(b->r) + 2 * b->missing.n) >> g->block_bits >=
	       entries;
}

/* Whether the image's own table names a block there, be it one that cannot be used. */
static bool had_block(const struct q2_repair *r, uint64_t index)
{
	uint8_t b[12];

	if (q2_pread_zero(r->base, b, sizeof(b), AT_TABLE, NULL) != Q2_OK ||
	    index >= (uint64_t)q2_be32(b + 8) * r->c->img.geom.cluster_size / 8 ||
	    q2_pread_zero(r->base, b, 8,
			  q2_add_sat(q2_be64(b), 8 * index), NULL) != Q2_OK)
		return false;
	return q2_be64(b) != 0;
}

/* Whether the repair put something there. */
static bool has_fresh(const struct q2_repair *r, uint64_t index)
{
	const struct q2_geom *g = &r->c->img.geom;

	return !r->io->is_device && r->io->size > r->base->size &&
	       (index + 1) << g->block_bits >
		       q2_div_up(r->base->size, g->cluster_size);
}

/* What was missing at first is not wanted: only those blocks stay that others need. */
static void leave_out(struct blocks *b)
{
	size_t kept = 0;

	for (size_t i = 0; i < b->missing.n; i++)
		if (had_block(b->r, b->missing.at[i].first) ||
		    has_fresh(b->r, b->missing.at[i].first))
			b->missing.at[kept++] = b->missing.at[i];
	b->missing.n = kept;
}

static enum q2_status add_missing(struct q2_repair *r, bool *done)
{
	struct blocks b = {.r = r};
	enum q2_status st = q2_reftable_get(r, &b.table);

	*done = true;
	if (st == Q2_OK)
		st = find_missing(&b);
	r->judged.blocks_fit = st == Q2_OK && b.missing.n == 0;
	if (st == Q2_OK && b.missing.n && !q2_want(r, Q2_P_REFBLOCK_MISSING))
		leave_out(&b);
	if (st == Q2_OK && b.missing.n) {
		st = q2_act_bulk(r, Q2_P_REFBLOCK_MISSING, b.missing.n,
				 "missing refcount blocks are made from the "
				 "references", &b.action);
		*done = false;
		if (st == Q2_OK && past_table(&b))
			st = grow_table(&b);
		else if (st == Q2_OK && (st = place_blocks(&b)) == Q2_OK)
			st = write_blocks(&b);
	}
	q2_runs_free(&b.missing, &r->budget);
	q2_reftable_put(r, &b.table);
	return st;
}

/* Whether the whole table must be made anew, and with which width. */
static enum q2_problem_id table_is_bad(struct q2_repair *r, bool foreign,
				       unsigned *order)
{
	static const enum q2_problem_id fatal[] = {
		Q2_P_REFCOUNT_ORDER,	Q2_P_REFTABLE_UNALIGNED,
		Q2_P_REFTABLE_MISSING,	Q2_P_REFTABLE_OUTSIDE,
		Q2_P_REFTABLE_LIMIT,
	};
	static const enum q2_problem_id entries[] = {
		Q2_P_REFBLOCK_UNALIGNED, Q2_P_REFBLOCK_OUTSIDE,
		Q2_P_REFTABLE_RESERVED,
	};
	const struct q2_geom *g = &r->c->img.geom;

	*order = g->ref_order;
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		if (q2_found_any(r, fatal[i]) && q2_want(r, fatal[i]))
			return fatal[i];
	if (q2_found_any(r, Q2_P_REFCOUNT_OVERFLOW) && g->version == 3 &&
	    g->ref_order < 6 && q2_want(r, Q2_P_REFCOUNT_OVERFLOW)) {
		*order = g->ref_order < 4 ? 4 : g->ref_order + 1;
		return Q2_P_REFCOUNT_OVERFLOW;
	}
	for (uint64_t at = 0; at < g->reftable_bytes; at += g->cluster_size)
		if (q2_refmap_get(&r->c->map, (g->reftable_offset + at) >>
						      g->cluster_bits).count > 1 &&
		    q2_want(r, Q2_P_METADATA_OVERLAP))
			return Q2_P_METADATA_OVERLAP;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		if (foreign && q2_found_any(r, entries[i]) &&
		    q2_want(r, entries[i]))
			return entries[i];
	/* A great many suspects are no accident of single counts. */
	if (r->c->over.n &&
	    r->counts[Q2_P_REFCOUNT_ZERO] > MANY && q2_want(r, Q2_P_REFCOUNT_ZERO))
		return Q2_P_REFCOUNT_ZERO;
	return (enum q2_problem_id)0;
}

enum q2_status q2_fix_blocks(struct q2_repair *r)
{
	enum q2_status st = Q2_OK;
	/* Blocks may need others yet: nothing is begun that has no room to end. */
	bool done = r->room.left[Q2_P_REFBLOCK_MISSING];

	for (unsigned tries = 0; tries < 8 && !done && st == Q2_OK; tries++) {
		enum q2_problem_id why;
		bool changed = false, foreign;
		unsigned order;

		st = q2_recheck(r);
		if (st != Q2_OK || r->judged.blocks_fit)
			break;
		st = q2_judge_table(r, &foreign);
		if (st != Q2_OK)
			break;
		why = table_is_bad(r, foreign, &order);
		if (why) {
			st = new_table(r, why, order);
			continue;
		}
		if (r->c->img.geom.reftable_bytes == 0)
			break;
		st = q2_judge_entries(r, &changed);
		if (st == Q2_OK && !changed)
			st = add_missing(r, &done);
	}
	return st;
}
