/*
 * foreign.c - what stands where refcounts should, and what only lost ones told of.
 *
 * SPDX-License-Identifier: MIT
 *
 * A write that went astray may have put a guest's data on a refcount block or on the
 * refcount table.  Counts that are mended in place would destroy it: such a
 * structure is made anew elsewhere, and what stands there is an orphan.  So is
 * all that lies, unnamed, where the counts themselves are lost.
 */
#include <string.h>

#include "base/endian.h"
#include "base/zeros.h"
#include "format/refcount.h"
#include "image/image.h"
#include "repair/refcounts.h"

#define SECTOR 512u
/* More references than one to a cluster for each tree, as compressed data has. */
#define SHARERS 64u

/* What the counts of one sector are like. */
struct tally {
	uint64_t refs;	 /* clusters in use */
	uint64_t sound;
	uint64_t high;	 /* no count can be that */
	uint64_t lacks;	 /* none, where there are references */
	uint64_t leaks;	 /* some, where there are none */
	uint64_t turns;	 /* behind the file: used and not, by turns */
};

static bool is_blank(const uint8_t *p)
{
	return (p[0] == 0 || p[0] == 0xff) && memcmp(p, p + 1, SECTOR - 1) == 0;
}

static void count(const struct q2_repair *r, struct tally *t, uint64_t clu,
		  uint64_t value, bool *used)
{
	const struct q2_checker *c = r->c;
	uint64_t refs = q2_refmap_get(&c->map, clu).count;
	bool past = clu >= c->img.geom.file_clusters && refs == 0;

	/* What the repair itself added has its count in the end. */
	if (refs && clu >= q2_div_up(r->base->size, c->img.geom.cluster_size))
		return;
	t->turns += past && (value != 0) != *used;
	*used = value != 0;
	t->refs += refs != 0;
	if (value && value == refs)
		t->sound++;
	else if (value > refs && value > c->trees.n + SHARERS)
		t->high++;
	else if (value == 0 && refs)
		t->lacks++;
	else if (!past && value && refs == 0)
		t->leaks++;
}

/* Whether the counts of one sector, which begin with that of cluster `first`, are
 * lost: it is blank, or something else, or says of many clusters in use that they
 * are free, which is usual only after a crash, or where tables claim more than a
 * check counts.  Where all numbers can be counts, their disorder tells. */
static bool is_lost(const struct q2_repair *r, const uint8_t *sector,
		    uint64_t first)
{
	const struct q2_geom *g = &r->c->img.geom;
	bool dirty = r->c->header.incompatible & Q2_INCOMPAT_DIRTY;
	uint64_t n = (UINT64_C(8) * SECTOR) >> g->ref_order;
	struct tally t = {0};
	bool used = false;

	for (uint64_t i = 0; i < n; i++) {
		count(r, &t, first + i, q2_refcount(sector, g->ref_order, i),
		      &used);
		/* Zeros where there are no references tell nothing. */
		if (!used)
			i = q2_min(q2_refcounts_next(sector, g->ref_order,
						     i + 1, n),
				   q2_refmap_next(&r->c->map, first + i + 1,
						  first + n) - first) - 1;
	}
	if (is_blank(sector))
		return !dirty && t.refs >= 2 && t.sound == 0;
	if (!dirty && !r->result.partial && t.lacks >= 8)
		return true;
	if (g->ref_order < 3)
		return t.turns >= 16 ||
		       (q2_min(t.lacks, t.leaks) >= 8 &&
			q2_min(t.lacks, t.leaks) * 4 > t.sound);
	return t.high >= (g->ref_order < 5 ? 3 : 2);
}

enum q2_problem_id q2_block_lost(const struct q2_repair *r, uint64_t index,
				 uint64_t off)
{
	static const enum q2_problem_id signs[] = {
		Q2_P_REFCOUNT_ZERO, Q2_P_REFCOUNT_LOW, Q2_P_REFCOUNT_HIGH,
		Q2_P_REFCOUNT_PAST_END, Q2_P_LEAK,
	};
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t per = (UINT64_C(8) * SECTOR) >> g->ref_order;
	enum q2_problem_id why = (enum q2_problem_id)0;
	uint8_t sector[SECTOR];

	/* Not what this repair itself put behind the end. */
	for (size_t i = sizeof(signs) / sizeof(signs[0]); i-- > 0;)
		if (off < r->base->size && q2_found_any(r, signs[i]))
			why = signs[i];
	for (uint64_t at = 0; at < g->cluster_size && why; at += SECTOR) {
		uint64_t first = (index << g->block_bits) + at / SECTOR * per;

		if (q2_pread_zero(r->io, sector, SECTOR, off + at, NULL) ==
			    Q2_OK &&
		    is_lost(r, sector, first))
			return why;
	}
	return (enum q2_problem_id)0;
}

bool q2_table_is_foreign(const struct q2_repair *r,
			 const struct q2_ref_entries *table)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t good = 0, bad = 0;

	for (uint64_t i = 0; i < table->n; i++) {
		uint64_t off = table->at[i] & Q2_REFTABLE_OFFSET;

		if (table->at[i] == 0)
			continue;
		if (off != table->at[i] || off & (g->cluster_size - 1) ||
		    off >= g->file_size)
			bad++;
		else
			good++;
	}
	return bad >= 2 && bad > good;
}

/* False for zeros, and for holes. */
static bool holds_something(struct q2_repair *r, struct q2_holes *holes,
			    uint64_t clu)
{
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_range at = {clu << g->cluster_bits, g->cluster_size};
	uint8_t bytes[SECTOR];

	if (q2_holes_covers(holes, at))
		return false;
	for (uint64_t off = at.start; off < q2_end(at); off += SECTOR)
		/* What cannot be read may be anything. */
		if (q2_pread_zero(r->io, bytes, SECTOR, off, NULL) != Q2_OK ||
		    !q2_all_zero(bytes, SECTOR))
			return true;
	return false;
}

enum q2_status q2_keep_range(struct q2_repair *r, uint64_t first, uint64_t n)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t end = q2_min(q2_add_sat(first, n),
			      q2_div_up(r->base->size, g->cluster_size));
	struct q2_holes holes;
	enum q2_status st = Q2_OK;

	q2_runs_tidy(&r->worthless);
	q2_runs_tidy(&r->released);
	q2_runs_tidy(&r->saved);
	q2_holes_init(&holes, r->io, UINT64_MAX);
	for (uint64_t clu = first; clu < end && st == Q2_OK; clu++) {
		struct q2_run *last = r->keep.n ? &r->keep.at[r->keep.n - 1] :
						  NULL;

		if (q2_refmap_get(&r->c->map, clu).count ||
		    q2_may_free(r, clu) || !holds_something(r, &holes, clu))
			continue;
		if (last && last->first + last->n == clu)
			last->n++;
		else
			st = q2_runs_push(&r->keep, &r->budget,
					  (struct q2_run){clu, 1}, r->err);
	}
	return st;
}
