/*
 * write_refs.c - the writer's refcounts: finding free clusters, counting.
 *
 * SPDX-License-Identifier: MIT
 *
 * A refcount rises at once, in memory; one that falls is only noted, and falls
 * when the batch is on the disk.  So what the disk may still refer to is never
 * handed out again.
 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "format/refcount.h"
#include "image/write_int.h"

static uint64_t block_of(const struct q2_writer *w, uint64_t clu)
{
	return clu >> w->img.geom.block_bits;
}

static uint64_t place_of(const struct q2_writer *w, uint64_t clu)
{
	return clu & ((UINT64_C(1) << w->img.geom.block_bits) - 1);
}

enum q2_status q2_w_refs_load(struct q2_writer *w, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_wrefs *r = &w->refs;
	uint8_t *bytes;
	void *block;
	enum q2_status st;

	r->clu = q2_cluster(g, g->reftable_offset).n;
	r->hint = 1; /* the header's cluster is never free */
	st = q2_get(w->img.budget, g->reftable_bytes, &block, err);
	if (st != Q2_OK)
		return st;
	r->table = block;
	r->entries = g->reftable_bytes / 8;
	bytes = block;
	st = q2_pread_zero(w->img.io, bytes, (size_t)g->reftable_bytes,
			   g->reftable_offset, err);
	if (st != Q2_OK)
		return st;
	for (uint64_t i = 0; i < r->entries; i++) {
		uint64_t raw = q2_be64(bytes + 8 * i);

		if (raw & ~Q2_REFTABLE_OFFSET ||
		    raw & (g->cluster_size - 1) || raw >= g->file_size)
			return q2_fail(err, Q2_E_FORMAT, 0,
				       g->reftable_offset + 8 * i,
				       "a refcount table entry is damaged");
		memcpy(&r->table[i], &raw, sizeof(raw));
	}
	return q2_w_refs_top(w, err);
}

void q2_w_refs_free(struct q2_writer *w)
{
	struct q2_wrefs *r = &w->refs;

	q2_put(w->img.budget, r->table, r->entries * 8);
	q2_wlinks_free(&r->links, w->img.budget);
	q2_wfrees_free(&r->frees, w->img.budget);
}

static enum q2_status block_get(struct q2_writer *w, uint64_t index,
				struct q2_wblock **out, struct q2_err *err)
{
	return q2_w_get(w, w->refs.table[index] >> w->img.geom.cluster_bits,
			Q2_W_REFS, out, err);
}

enum q2_status q2_w_refs_top(struct q2_writer *w, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_wrefs *r = &w->refs;
	uint64_t per = UINT64_C(1) << g->block_bits;

	r->top = 1;
	for (uint64_t i = r->entries; i-- > 0;) {
		struct q2_wblock *b;
		enum q2_status st;

		if (r->table[i] == 0)
			continue;
		st = block_get(w, i, &b, err);
		if (st != Q2_OK)
			return st;
		for (uint64_t j = per; j-- > 0;) {
			if (q2_refcount(b->bytes, g->ref_order, j) == 0)
				continue;
			r->top = (i << g->block_bits) + j + 1;
			return Q2_OK;
		}
	}
	return Q2_OK;
}

enum q2_status q2_w_refcount(struct q2_writer *w, uint64_t clu, uint64_t *out,
			     struct q2_err *err)
{
	uint64_t index = block_of(w, clu);
	struct q2_wblock *b;
	enum q2_status st;

	*out = 0;
	if (index >= w->refs.entries || w->refs.table[index] == 0)
		return Q2_OK;
	st = block_get(w, index, &b, err);
	if (st == Q2_OK)
		*out = q2_refcount(b->bytes, w->img.geom.ref_order,
				   place_of(w, clu));
	return st;
}

/* Sets the refcount of a cluster whose block exists. */
static enum q2_status set(struct q2_writer *w, uint64_t clu, uint64_t value,
			  struct q2_err *err)
{
	unsigned order = w->img.geom.ref_order;
	uint64_t i = place_of(w, clu);
	uint64_t at = (i << order) / 8;
	struct q2_wblock *b;
	enum q2_status st = block_get(w, block_of(w, clu), &b, err);

	if (st != Q2_OK)
		return st;
	q2_refcount_set(b->bytes, order, i, value);
	q2_w_dirty(w, b, at, at + ((UINT64_C(1) << order) + 7) / 8);
	return Q2_OK;
}

/* The cluster must be in reach of the format's offsets, and of the device. */
static enum q2_status room_for(struct q2_writer *w, uint64_t clu, uint64_t n,
			       struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t end = (clu + n) << g->cluster_bits;

	if (clu + n > Q2_ENTRY_OFFSET >> g->cluster_bits)
		return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
			       "the file would become too long for the format");
	if (w->img.io->is_device && end > w->img.io->size)
		return q2_fail(err, Q2_E_IO, ENOSPC, w->img.io->size,
			       "the device is full");
	return Q2_OK;
}

/* Notes that [clu, clu + n) is in use now. */
static void claimed(struct q2_writer *w, uint64_t clu, uint64_t n)
{
	struct q2_geom *g = &w->img.geom;

	w->refs.top = q2_max(w->refs.top, clu + n);
	g->file_size = q2_max(g->file_size, (clu + n) << g->cluster_bits);
	g->file_clusters = q2_div_up(g->file_size, g->cluster_size);
}

/* A new, empty refcount block number `index` at cluster `clu`. */
static enum q2_status new_block(struct q2_writer *w, uint64_t index,
				uint64_t clu, struct q2_err *err)
{
	struct q2_wlink link = {index, block_of(w, clu) == index};
	struct q2_wblock *b;
	enum q2_status st = q2_w_new(w, clu, Q2_W_REFS, &b, err);

	if (st != Q2_OK)
		return st;
	w->refs.table[index] = clu << w->img.geom.cluster_bits;
	q2_w_placed(w, Q2_PLACED_REFBLOCK, clu, 1);
	return q2_wlinks_push(&w->refs.links, w->img.budget, link, err);
}

/* How many refcount blocks are missing for clusters [from, to). */
static uint64_t missing(const struct q2_writer *w, uint64_t from, uint64_t to)
{
	uint64_t n = 0;

	for (uint64_t i = block_of(w, from); i <= block_of(w, to - 1); i++)
		n += i >= w->refs.entries || w->refs.table[i] == 0;
	return n;
}

/* n clusters, with the new refcount blocks right behind them that they and the
 * blocks themselves ask for. */
static uint64_t with_blocks(const struct q2_writer *w, uint64_t from,
			    uint64_t n)
{
	uint64_t m = 0, more;

	while ((more = missing(w, from, from + n + m)) > m)
		m = more;
	return m;
}

/* Makes the missing blocks for clusters from `from` on at [at, at + m).  A block
 * lies among the clusters that it counts if any of the places does; then it can be
 * linked before those that do not. */
static enum q2_status place_blocks(struct q2_writer *w, uint64_t from,
				   uint64_t at, uint64_t m,
				   struct q2_err *err)
{
	unsigned bits = w->img.geom.block_bits;
	enum q2_status st = Q2_OK;
	uint64_t next = at;
	uint64_t end = at + m;

	for (uint64_t i = block_of(w, at); i <= block_of(w, end - 1); i++) {
		if (w->refs.table[i])
			continue;
		st = new_block(w, i, q2_max(at, i << bits), err);
		if (st != Q2_OK)
			return st;
	}
	for (uint64_t i = block_of(w, from); i < block_of(w, at); i++) {
		if (w->refs.table[i])
			continue;
		/* Skip the places that were taken above. */
		while (next < end &&
		       w->refs.table[block_of(w, next)] ==
			       next << w->img.geom.cluster_bits)
			next++;
		st = new_block(w, i, next++, err);
		if (st != Q2_OK)
			return st;
	}
	return Q2_OK;
}

/* At the end of what is in use; the refcount table is large enough. */
static enum q2_status take_run(struct q2_writer *w, uint64_t n, uint64_t *clu,
			       struct q2_err *err)
{
	uint64_t from = w->refs.top;
	uint64_t m = with_blocks(w, from, n);
	enum q2_status st = room_for(w, from, n + m, err);

	if (st == Q2_OK && m)
		st = place_blocks(w, from, from + n, m, err);
	for (uint64_t i = from; i < from + n + m && st == Q2_OK; i++)
		st = set(w, i, 1, err);
	claimed(w, from, n + m);
	*clu = from;
	return st;
}

/* Entries that a table needs which counts itself, and everything before it, and
 * `n` clusters more. */
static uint64_t entries_for(const struct q2_writer *w, uint64_t n,
			    uint64_t *clusters)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t entries = w->refs.entries + w->refs.entries / 2;
	uint64_t last = 0;

	while (entries > last) {
		uint64_t end;

		last = entries;
		*clusters = q2_div_up(entries * 8, g->cluster_size);
		end = w->refs.top + n + *clusters;
		end += 2 + with_blocks(w, w->refs.top, n + *clusters + 2);
		entries = q2_max(entries, block_of(w, end) + 1);
	}
	return *clusters * g->cluster_size / 8;
}

/* Makes a larger table in new space, so that `n` clusters more can be counted at
 * the end of what is in use. */
static enum q2_status grow(struct q2_writer *w, uint64_t n,
			   struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_wrefs *r = &w->refs;
	struct q2_range old = {r->clu << g->cluster_bits, r->entries * 8};
	uint64_t clusters = 0;
	uint64_t entries = entries_for(w, n, &clusters);
	void *block = r->table;
	enum q2_status st;

	if (entries * 8 > Q2_REFTABLE_MAX)
		return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
			       "the refcount table would become too large");
	st = q2_regrow(w->img.budget, r->entries * 8, entries * 8, &block,
		       err);
	if (st != Q2_OK)
		return st;
	r->table = block;
	r->entries = entries;
	st = take_run(w, clusters, &r->clu, err);
	if (st != Q2_OK)
		return st;
	r->moved = true;
	q2_w_placed(w, Q2_PLACED_REFTABLE, r->clu, clusters);
	return q2_w_drop(w, old, err);
}

enum q2_status q2_w_alloc_run(struct q2_writer *w, uint64_t n, uint64_t *clu,
			      struct q2_err *err)
{
	uint64_t from = w->refs.top;
	uint64_t end = from + n + with_blocks(w, from, n);

	*clu = 0;
	if (block_of(w, end) >= w->refs.entries) {
		enum q2_status st = grow(w, n, err);

		if (st != Q2_OK)
			return st;
	}
	return take_run(w, n, clu, err);
}

/* The first free cluster at or after the hint whose block exists, or a cluster
 * whose block does not. */
static enum q2_status find_free(struct q2_writer *w, uint64_t *clu,
				struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t per = UINT64_C(1) << g->block_bits;
	uint64_t at = w->refs.hint;

	while (block_of(w, at) < w->refs.entries &&
	       w->refs.table[block_of(w, at)]) {
		struct q2_wblock *b;
		enum q2_status st = block_get(w, block_of(w, at), &b, err);

		if (st != Q2_OK)
			return st;
		for (uint64_t i = place_of(w, at); i < per; i++, at++) {
			if (q2_refcount(b->bytes, g->ref_order, i) == 0) {
				*clu = at;
				return Q2_OK;
			}
		}
	}
	*clu = at;
	return Q2_OK;
}

enum q2_status q2_w_alloc(struct q2_writer *w, uint64_t *clu,
			  struct q2_err *err)
{
	struct q2_wrefs *r = &w->refs;
	uint64_t at;
	enum q2_status st;

	*clu = 0;
	st = find_free(w, &at, err);
	if (st == Q2_OK && block_of(w, at) >= r->entries) {
		r->hint = at;
		st = grow(w, 1, err);
		if (st == Q2_OK)
			st = find_free(w, &at, err);
	}
	if (st == Q2_OK && r->table[block_of(w, at)] == 0) {
		/* The block counts itself; what was asked for comes next. */
		st = room_for(w, at, 1, err);
		if (st == Q2_OK)
			st = new_block(w, block_of(w, at), at, err);
		if (st == Q2_OK)
			st = set(w, at, 1, err);
		claimed(w, at, 1);
		at++;
	}
	if (st == Q2_OK)
		st = room_for(w, at, 1, err);
	if (st == Q2_OK)
		st = set(w, at, 1, err);
	if (st != Q2_OK)
		return st;
	claimed(w, at, 1);
	r->hint = at + 1;
	*clu = at;
	return Q2_OK;
}

enum q2_status q2_w_drop(struct q2_writer *w, struct q2_range host,
			 struct q2_err *err)
{
	unsigned bits = w->img.geom.cluster_bits;

	for (uint64_t i = host.start >> bits; i <= (q2_end(host) - 1) >> bits;
	     i++) {
		enum q2_status st = q2_wfrees_push(&w->refs.frees,
						   w->img.budget, i, err);

		if (st != Q2_OK)
			return st;
	}
	return Q2_OK;
}

static enum q2_status link_some(struct q2_writer *w, bool self,
				struct q2_err *err)
{
	const struct q2_wrefs *r = &w->refs;
	uint64_t base = r->clu << w->img.geom.cluster_bits;
	bool first = true;

	for (size_t i = 0; i < r->links.n; i++) {
		uint8_t raw[8];
		enum q2_status st = Q2_OK;

		if (r->links.at[i].self != self)
			continue;
		if (first)
			st = q2_w_barrier(w, err);
		first = false;
		q2_put_be64(raw, r->table[r->links.at[i].index]);
		if (st == Q2_OK)
			st = q2_w_put(w, raw, sizeof(raw),
				      base + 8 * r->links.at[i].index, err);
		if (st != Q2_OK)
			return st;
	}
	return Q2_OK;
}

enum q2_status q2_w_refs_link(struct q2_writer *w, struct q2_err *err)
{
	enum q2_status st = link_some(w, true, err);

	return st == Q2_OK ? link_some(w, false, err) : st;
}

enum q2_status q2_w_refs_table_put(struct q2_writer *w, struct q2_err *err)
{
	const struct q2_wrefs *r = &w->refs;
	uint64_t cs = w->img.geom.cluster_size;
	uint64_t per = cs / 8;
	enum q2_status st = Q2_OK;
	void *block;

	st = q2_get(w->img.budget, cs, &block, err);
	if (st != Q2_OK)
		return st;
	for (uint64_t i = 0; i < r->entries && st == Q2_OK; i += per) {
		uint8_t *bytes = block;

		for (uint64_t j = 0; j < per; j++)
			q2_put_be64(bytes + 8 * j, r->table[i + j]);
		st = q2_w_put(w, bytes, (size_t)cs, r->clu * cs + 8 * i, err);
	}
	q2_put(w->img.budget, block, cs);
	return st;
}

enum q2_status q2_w_refs_lower(struct q2_writer *w, struct q2_err *err)
{
	struct q2_wrefs *r = &w->refs;

	for (size_t i = 0; i < r->frees.n; i++) {
		uint64_t clu = r->frees.at[i];
		uint64_t count;
		enum q2_status st = q2_w_refcount(w, clu, &count, err);

		if (st == Q2_OK && count == 0)
			st = q2_fail(err, Q2_E_FORMAT, 0,
				     clu << w->img.geom.cluster_bits,
				     "a cluster in use has refcount 0");
		if (st == Q2_OK)
			st = set(w, clu, count - 1, err);
		if (st != Q2_OK)
			return st;
		if (count == 1) {
			q2_w_forget(w, clu);
			w->count.sums.freed++;
			r->hint = q2_min(r->hint, clu);
		}
	}
	r->frees.n = 0;
	return Q2_OK;
}
