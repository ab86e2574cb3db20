/*
 * chk_refcounts.c - the refcounts on disk against the references counted.
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    the refcount table and every block; metadata that overlaps.
 * Gathers:  suspect clusters, leaks, the end of the image.
 * Disables: nothing; without a refcount table there is nothing to compare.
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/zeros.h"
#include "check/reftable.h"
#include "format/refcount.h"

#define LEAKS_MAX 262144u /* runs */
#define META_SPARE (UINT64_C(1) << 20)
#define AHEAD (UINT64_C(4) << 20)
#define EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))

struct compare {
	struct q2_checker *c;
	struct q2_reftable table;
	uint8_t *block;	    /* a cluster */
	uint64_t *pages;    /* numbers of the map's pages, rising */
	size_t n_pages;
	size_t page;	    /* the next one to look at where no block is */
	size_t next_bad;
	uint64_t last_used; /* 1 + the last cluster with refcount or reference */
	struct q2_finding past; /* refcounts past the end of the file */
	bool expecting;		/* expect[] is filled */
	uint32_t *expect;	/* by cell: 16-bit refcount as stored, or > */
	uint16_t *used;		/* Q2_PAGE_CELLS of them, for q2_refmap_used() */
};

/* Adds metadata to the map.  What is counted there already is an overlap. */
static enum q2_status add_meta(struct q2_checker *c, uint64_t clu,
			       uint64_t weight, enum q2_mark mark)
{
	struct q2_ref before;
	enum q2_status st = q2_refmap_add(&c->map, clu, weight, mark, &before,
					  c->err);

	if (st == Q2_OK && before.count)
		st = q2_suspect_add(c, clu, Q2_NO_REFCOUNT, Q2_S_META);
	return st;
}

/* More clusters of metadata than the file can store are claims over holes: the
 * first million of them are believed. */
static enum q2_status give_up_meta(struct q2_checker *c, const struct q2_meta *m)
{
	struct q2_finding f = {.fields = Q2_F_KIND | Q2_F_COUNT,
			       .kind = m->kind,
			       .count = m->n};

	q2_found(c, Q2_P_METADATA_CLAIM, &f);
	c->result->partial = true;
	return Q2_OK;
}

static enum q2_status count_metadata(struct q2_checker *c)
{
	uint64_t fuel = (c->img.io->stored >> c->img.geom.cluster_bits) +
			META_SPARE;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < c->refs.tables.n && st == Q2_OK; i++) {
		const struct q2_l2ref *r = &c->refs.tables.at[i];

		st = add_meta(c, r->clu, r->weight,
			      r->flags & Q2_L2_COPIED ? Q2_MARK_COPIED :
			      r->flags & Q2_L2_CLEAR  ? Q2_MARK_CLEAR :
							Q2_MARK_NONE);
	}
	for (size_t i = 0; i < c->metas.n && st == Q2_OK; i++) {
		const struct q2_meta *m = &c->metas.at[i];

		if (m->n > fuel) {
			st = give_up_meta(c, m);
			continue;
		}
		fuel -= m->n;
		for (uint64_t k = 0; k < m->n && st == Q2_OK; k++)
			st = add_meta(c, m->first + k, 1, Q2_MARK_NONE);
	}
	return st;
}

static enum q2_status note_leak(struct q2_checker *c, uint64_t clu,
				uint64_t found)
{
	struct q2_leak *last = c->leaks.n ? &c->leaks.at[c->leaks.n - 1] :
					    NULL;

	if (last && last->first + last->n == clu && last->found == found) {
		last->n++;
		return Q2_OK;
	}
	if (c->leaks.n < LEAKS_MAX)
		return q2_leaks_push(&c->leaks, &c->budget,
				     (struct q2_leak){clu, 1, found}, c->err);
	if (c->leaks_over.n++ == 0)
		c->leaks_over.first = clu;
	return Q2_OK;
}

/* One cluster, at leisure.  COPIED is judged against the refcount on disk, as
 * writers do; where that is zero the other finding says enough. */
static enum q2_status judge(struct compare *k, uint64_t clu,
			    struct q2_ref ref, uint64_t found)
{
	struct q2_checker *c = k->c;
	enum q2_status st = Q2_OK;

	if (clu >= c->img.geom.file_clusters) {
		if (found && k->past.count++ == 0 &&
		    !q2_mul(clu, c->img.geom.cluster_size, &k->past.host))
			k->past.host = UINT64_MAX;
		return Q2_OK;
	}
	if (ref.count == 0)
		return found ? note_leak(c, clu, found) : Q2_OK;
	if (found != ref.count)
		st = q2_suspect_add(c, clu, found, Q2_S_REFCOUNT);
	if (st == Q2_OK && ((ref.mark == Q2_MARK_COPIED && found > 1) ||
			    (ref.mark == Q2_MARK_CLEAR && found == 1 &&
			     ref.count == 1)))
		st = q2_suspect_add(c, clu, found, Q2_S_COPIED);
	return st;
}

/* Clusters [lo, lo + n), all in one page, refcounts from entry `at` on. */
static enum q2_status compare_slowly(struct compare *k, uint64_t lo,
				     uint64_t n, uint64_t at)
{
	unsigned order = k->c->img.geom.ref_order;
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < n && st == Q2_OK; i++)
		st = judge(k, lo + i, q2_refmap_get(&k->c->map, lo + i),
			   q2_refcount(k->block, order, at + i));
	return st;
}

/* The same where few of the page's clusters are referenced. */
static enum q2_status compare_few(struct compare *k, uint64_t lo, uint64_t n,
				  uint64_t at)
{
	unsigned order = k->c->img.geom.ref_order, next = 0;
	unsigned used = q2_refmap_used(&k->c->map, lo >> Q2_PAGE_BITS,
				       k->used);
	uint64_t first = lo % Q2_PAGE_CELLS;
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < n && st == Q2_OK; i++) {
		struct q2_ref ref = {0, Q2_MARK_NONE};
		uint64_t named = n;

		while (next < used && k->used[next] < first + i)
			next++;
		if (next < used)
			named = q2_min(n, k->used[next] - first);
		i = q2_refcounts_next(k->block, order, at + i, at + named) - at;
		if (i == n)
			break;
		if (i == named)
			ref = q2_refmap_get(&k->c->map, lo + i);
		st = judge(k, lo + i, ref, q2_refcount(k->block, order, at + i));
	}
	return st;
}

/* The same where all refcounts are zero: only what is referenced matters. */
static enum q2_status compare_used(struct compare *k, uint64_t lo, uint64_t n)
{
	uint64_t number = lo >> Q2_PAGE_BITS;
	unsigned used = q2_refmap_used(&k->c->map, number, k->used);
	enum q2_status st = Q2_OK;

	for (unsigned i = 0; i < used && st == Q2_OK; i++) {
		uint64_t clu = (number << Q2_PAGE_BITS) + k->used[i];

		if (clu >= lo && clu < lo + n)
			st = judge(k, clu, q2_refmap_get(&k->c->map, clu), 0);
	}
	return st;
}

/* The usual case, 16-bit refcounts and byte cells: eight at a time where all
 * are free or all are used once, one by one where not. */
static enum q2_status compare_quickly(struct compare *k, uint64_t lo,
				      uint64_t n, uint64_t at,
				      const uint8_t *cells)
{
	const uint8_t *ref = k->block + 2 * at;
	uint64_t i = 0;

	while (i < n) {
		uint64_t got[2], have;
		uint16_t stored;
		enum q2_status st;

		if (i + 8 <= n) {
			memcpy(&have, cells + i, 8);
			memcpy(got, ref + 2 * i, 16);
			if ((have == 0 && (got[0] | got[1]) == 0) ||
			    (have == EIGHT(1u << 2 | Q2_MARK_COPIED) &&
			     got[0] == got[1] &&
			     memcmp(got, "\0\1\0\1\0\1\0\1", 8) == 0)) {
				i += 8;
				continue;
			}
		}
		memcpy(&stored, ref + 2 * i, 2);
		if (k->expect[cells[i]] != stored) {
			st = judge(k, lo + i,
				   q2_refmap_get(&k->c->map, lo + i),
				   q2_be16(ref + 2 * i));
			if (st != Q2_OK)
				return st;
		}
		i++;
	}
	return Q2_OK;
}

static void make_expectations(struct compare *k)
{
	k->expecting = true;
	for (unsigned cell = 0; cell < 256; cell++) {
		unsigned count = cell >> 2;
		unsigned mark = cell & 3;
		uint8_t be[2] = {0, (uint8_t)count};
		uint16_t stored;

		memcpy(&stored, be, 2);
		k->expect[cell] = stored;
		if (cell > Q2_CELL_MAX ||
		    (count == 1 && mark == Q2_MARK_CLEAR) ||
		    (count > 1 && mark == Q2_MARK_COPIED))
			k->expect[cell] = UINT32_MAX;
	}
}

/* The part of the block that one page covers, or the whole of a smaller one. */
static enum q2_status compare_part(struct compare *k, uint64_t lo, uint64_t n,
				   uint64_t at)
{
	const struct q2_geom *g = &k->c->img.geom;
	bool absent;
	struct q2_page_view v = q2_refmap_view(&k->c->map,
					       lo >> Q2_PAGE_BITS, &absent);
	uint64_t first_bit = at << g->ref_order;
	uint64_t bits = n << g->ref_order;

	if (first_bit % 8 == 0 && bits % 8 == 0 &&
	    q2_all_zero(k->block + first_bit / 8, (size_t)(bits / 8)))
		return absent ? Q2_OK : compare_used(k, lo, n);
	if (v.bytes && !k->expecting)
		make_expectations(k);
	if (v.bytes && g->ref_order == 4 && lo + n <= g->file_clusters)
		return compare_quickly(k, lo, n, at,
				       v.bytes + lo % Q2_PAGE_CELLS);
	return v.bytes ? compare_slowly(k, lo, n, at) :
			 compare_few(k, lo, n, at);
}

static void note_used(struct compare *k, uint64_t lo, uint64_t n)
{
	const struct q2_geom *g = &k->c->img.geom;
	uint64_t end = q2_min(lo + n, g->file_clusters);

	if (end > lo && end > k->last_used)
		end = lo + q2_refcounts_end(k->block, g->ref_order, end - lo);
	if (end > lo)
		k->last_used = q2_max(k->last_used, end);
}

static enum q2_status compare_block(struct compare *k, uint64_t lo)
{
	uint64_t n = UINT64_C(1) << k->c->img.geom.block_bits;
	enum q2_status st = Q2_OK;

	for (uint64_t at = 0; at < n && st == Q2_OK;) {
		uint64_t room = Q2_PAGE_CELLS - (lo + at) % Q2_PAGE_CELLS;
		uint64_t part = q2_min(n - at, room);

		st = compare_part(k, lo + at, part, at);
		at += part;
	}
	note_used(k, lo, n);
	return st;
}

/* `count` clusters in use whose refcounts would stand in block `index`. */
static void report_missing(struct compare *k, uint64_t index, uint64_t count)
{
	const struct q2_geom *g = &k->c->img.geom;
	struct q2_finding f = {.fields = Q2_F_INDEX | Q2_F_HOST | Q2_F_COUNT,
			       .index = (uint32_t)index,
			       .count = count,
			       .host = index
				       << (g->block_bits + g->cluster_bits)};

	if (k->next_bad < k->table.bad.n &&
	    k->table.bad.at[k->next_bad].index == index)
		q2_bad_block_report(k->c, &k->table.bad.at[k->next_bad++],
				    count);
	else if (!k->table.unknown)
		q2_found(k->c, Q2_P_REFBLOCK_MISSING, &f);
}

static void report_bad_before(struct compare *k, uint64_t index)
{
	while (k->next_bad < k->table.bad.n &&
	       k->table.bad.at[k->next_bad].index < index)
		report_missing(k, k->table.bad.at[k->next_bad].index, 0);
}

/* Clusters [lo, hi) have no refcounts: which of them are in use? */
static void judge_missing(struct compare *k, uint64_t lo, uint64_t hi)
{
	const struct q2_geom *g = &k->c->img.geom;
	uint64_t index = 0, count = 0;

	for (; k->page < k->n_pages &&
	       k->pages[k->page] << Q2_PAGE_BITS < hi; k->page++) {
		uint64_t base = k->pages[k->page] << Q2_PAGE_BITS;
		unsigned used = q2_refmap_used(&k->c->map, k->pages[k->page],
					       k->used);

		for (unsigned i = 0; i < used; i++) {
			uint64_t clu = base + k->used[i];

			if (clu < lo || clu >= hi)
				continue;
			k->last_used = q2_max(k->last_used, clu + 1);
			if (count && index != clu >> g->block_bits) {
				report_bad_before(k, index);
				report_missing(k, index, count);
				count = 0;
			}
			index = clu >> g->block_bits;
			count++;
		}
		if (base + Q2_PAGE_CELLS > hi) /* it goes on in a block */
			break;
	}
	if (count) {
		report_bad_before(k, index);
		report_missing(k, index, count);
	}
}

/* Pages that lie wholly before `clu` are done with. */
static void skip_pages(struct compare *k, uint64_t clu)
{
	while (k->page < k->n_pages &&
	       (k->pages[k->page] + 1) << Q2_PAGE_BITS <= clu)
		k->page++;
}

/* A block that lies in a hole, without looking at each of its zeros. */
static enum q2_status compare_hole(struct compare *k, uint64_t lo)
{
	uint64_t end = lo + (UINT64_C(1) << k->c->img.geom.block_bits);
	enum q2_status st = Q2_OK;

	while (k->page < k->n_pages &&
	       (k->pages[k->page] + 1) << Q2_PAGE_BITS <= lo)
		k->page++;
	for (size_t i = k->page; i < k->n_pages && st == Q2_OK &&
				 k->pages[i] << Q2_PAGE_BITS < end; i++) {
		uint64_t first = q2_max(lo, k->pages[i] << Q2_PAGE_BITS);

		st = compare_used(k, first, end - first);
	}
	return st;
}

static enum q2_status compare_all(struct compare *k)
{
	struct q2_checker *c = k->c;
	const struct q2_geom *g = &c->img.geom;
	const struct q2_blocks *b = &k->table.blocks;
	const size_t ahead = (size_t)(AHEAD / g->cluster_size);
	size_t soon = 0; /* blocks announced to the kernel */
	uint64_t next = 0;
	struct q2_holes holes;
	enum q2_status st = Q2_OK;

	q2_holes_init(&holes, c->img.io, b->n * g->cluster_size);
	for (size_t i = 0; i < b->n && st == Q2_OK; i++) {
		uint64_t lo = b->at[i].index << g->block_bits;
		struct q2_range at = {b->at[i].offset, g->cluster_size};
		struct q2_err why = {0};

		for (; !holes.enabled && soon < b->n && soon < i + ahead;
		     soon++)
			q2_io_soon(c->img.io,
				   (struct q2_range){b->at[soon].offset,
						     g->cluster_size});
		judge_missing(k, next, lo);
		next = lo + (UINT64_C(1) << g->block_bits);
		if (q2_holes_covers(&holes, at)) {
			st = compare_hole(k, lo);
			skip_pages(k, next);
			continue;
		}
		st = q2_pread_zero(c->img.io, k->block,
				   (size_t)g->cluster_size, at.start, &why);
		if (st != Q2_OK)
			st = q2_unreadable(c, st, &why, Q2_K_REFBLOCK,
					   at.start, at.len);
		else
			st = compare_block(k, lo);
		skip_pages(k, next);
		if (st == Q2_OK)
			st = q2_tick(c, "refcounts", i + 1, b->n);
	}
	if (st != Q2_OK)
		return st;
	judge_missing(k, next, UINT64_MAX);
	report_bad_before(k, UINT64_MAX);
	return Q2_OK;
}

/* The last cluster of the image that anything refers to. */
static void find_end(struct compare *k)
{
	const struct q2_geom *g = &k->c->img.geom;
	uint64_t clu;

	if (k->n_pages) {
		/* Nothing past the end of the file is counted. */
		clu = q2_min((k->pages[k->n_pages - 1] + 1) << Q2_PAGE_BITS,
			     g->file_clusters);
		while (clu > k->last_used &&
		       q2_refmap_get(&k->c->map, clu - 1).count == 0)
			clu--;
		k->last_used = q2_max(k->last_used, clu);
	}
	/* What could not be read may say more: then the file's end is safe. */
	if (k->c->result->check_errors)
		k->last_used = g->file_clusters;
	k->c->result->image_end_offset = k->last_used << g->cluster_bits;
}

static enum q2_status compare(struct compare *k)
{
	struct q2_checker *c = k->c;
	void *block;
	enum q2_status st = q2_reftable_read(c, &k->table);

	if (st == Q2_OK)
		st = count_metadata(c);
	if (st == Q2_OK)
		st = q2_get_raw(&c->budget, c->img.geom.cluster_size, &block,
				c->err);
	if (st != Q2_OK)
		return st;
	k->block = block;
	st = q2_refmap_pages(&c->map, &k->pages, &k->n_pages, c->err);
	if (st != Q2_OK)
		return st;
	/* Without a table one finding has said it all. */
	if (c->img.geom.reftable_bytes)
		st = compare_all(k);
	else
		c->result->partial = true;
	if (st != Q2_OK)
		return st;
	if (k->past.count) {
		k->past.fields = Q2_F_HOST | Q2_F_COUNT;
		q2_found(c, Q2_P_REFCOUNT_PAST_END, &k->past);
	}
	find_end(k);
	return Q2_OK;
}

enum q2_status q2_chk_refcounts(struct q2_checker *c)
{
	/* To clear these would be much of what a small image costs. */
	uint16_t used[Q2_PAGE_CELLS];
	uint32_t expect[256];
	struct compare k = {.c = c, .expect = expect, .used = used};
	enum q2_status st = compare(&k);

	q2_reftable_free(&k.table, &c->budget);
	q2_put(&c->budget, k.block, c->img.geom.cluster_size);
	q2_put(&c->budget, k.pages, k.n_pages * sizeof(uint64_t));
	return st;
}
