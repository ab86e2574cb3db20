/*
 * guess.c - what a damaged L2 entry most likely was.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/guess.h"

#include "base/endian.h"

#define HARMLESS                                                               \
	(unsigned)(Q2_EF_COPIED_UNUSED | Q2_EF_COPIED_COMPRESSED |             \
		   Q2_EF_DATA_FILE_COPIED | Q2_EF_CUT)

#define OTHER_TREE 11u /* as good as two neighbours */
#define IN_A_ROW 11u
#define ROW 64 /* entries */
#define RUN_LEAST 4u

static struct q2_l2_entry decode(const struct q2_case *k, uint64_t raw,
				 uint64_t bitmap, uint32_t index)
{
	const struct q2_geom *g = &k->r->c->img.geom;

	return q2_l2_decode(g, raw, bitmap, q2_guest(g, k->ref->slot, index));
}

/* The sound neighbour `step` entries away that names a place; false: none. */
static bool neighbour(const struct q2_case *k, int64_t step,
		      struct q2_l2_entry *e)
{
	const struct q2_geom *g = &k->r->c->img.geom;
	int64_t i = (int64_t)k->index + step;
	const uint8_t *p;

	if (i < 0 || i >= INT64_C(1) << g->l2_bits)
		return false;
	p = k->table + ((uint64_t)i << g->entry_bits);
	*e = decode(k, q2_be64(p), q2_l2_bitmap(g, p), (uint32_t)i);
	return e->host.len && !(e->faults & ~HARMLESS);
}

/* The nearest one on that side. */
static bool nearest(const struct q2_case *k, int64_t dir, struct q2_l2_entry *e)
{
	for (int64_t i = 1; i <= 64; i++)
		if (neighbour(k, i * dir, e))
			return true;
	return false;
}

unsigned q2_fit(const struct q2_case *k, const struct q2_l2_entry *e)
{
	uint64_t cs = k->r->c->img.geom.cluster_size;
	bool packed = e->type == Q2_L2_COMPRESSED;
	struct q2_l2_entry before, after;
	unsigned score = 0;
	bool low, high;

	if (e->host.len == 0)
		return 0;
	if (neighbour(k, -1, &before) && !packed &&
	    before.host.start + cs == e->host.start)
		score += 2;
	if (neighbour(k, 1, &after) && !packed &&
	    e->host.start + cs == after.host.start)
		score += 2;
	low = nearest(k, -1, &before);
	high = nearest(k, 1, &after);
	if ((low || high) && (!low || before.host.start < e->host.start) &&
	    (!high || e->host.start < after.host.start)) {
		/* Near is better than merely between. */
		score++;
		if ((low && e->host.start - before.host.start <= 16 * cs) ||
		    (high && after.host.start - e->host.start <= 16 * cs))
			score++;
	}
	return score;
}

bool q2_in_a_run(const struct q2_case *k, const struct q2_guess *guess)
{
	const struct q2_geom *g = &k->r->c->img.geom;
	uint64_t host = decode(k, guess->raw, guess->bitmap, k->index).host.start;
	unsigned n = 0;

	for (int64_t step = -ROW; step <= ROW; step++) {
		struct q2_l2_entry e;

		if (step && neighbour(k, step, &e) &&
		    e.type != Q2_L2_COMPRESSED &&
		    e.host.start == host + ((uint64_t)step << g->cluster_bits))
			n++;
	}
	return n >= RUN_LEAST;
}

enum q2_status q2_inflates(struct q2_case *k, const struct q2_l2_entry *e,
			   bool *whole)
{
	struct q2_err why = {0};
	const uint8_t *bytes;
	enum q2_status st;
	size_t n;

	*whole = true;
	if (k->inflate == NULL || e->type != Q2_L2_COMPRESSED)
		return Q2_OK;
	st = q2_inflate(k->inflate, e->host, &bytes, &n, whole, &why);
	if (st == Q2_E_IO || st == Q2_E_RANGE) {
		*whole = false;
		return Q2_OK;
	}
	if (st != Q2_OK)
		*k->r->err = why;
	return st;
}

/* Two descriptors may differ in sectors that neither needs. */
static bool same_place(const struct q2_guess *a, uint64_t raw, uint64_t bitmap)
{
	return ((a->raw ^ raw) & ~Q2_COPIED) == 0 && a->bitmap == bitmap;
}

struct contest {
	struct q2_guess best;
	bool tie;
};

static void enter(struct contest *c, uint64_t raw, uint64_t bitmap,
		  unsigned score)
{
	if (c->best.score && same_place(&c->best, raw, bitmap)) {
		c->best.score = score > c->best.score ? score : c->best.score;
		return;
	}
	if (score < c->best.score)
		return;
	c->tie = score == c->best.score;
	if (!c->tie)
		c->best = (struct q2_guess){raw, bitmap, score, false};
}

/* One candidate; `bonus` is for where it comes from. */
static enum q2_status try(struct q2_case *k, struct contest *c, uint64_t raw,
			  uint64_t bitmap, unsigned bonus)
{
	struct q2_l2_entry e = decode(k, raw, bitmap, k->index);
	struct q2_range own = k->e.refers ? k->e.host : (struct q2_range){0, 0};
	enum q2_status st;
	bool whole;

	if (e.faults & ~HARMLESS)
		return Q2_OK;
	/* With an external file there is nothing to miss a cluster. */
	if (k->r->c->img.geom.data_file) {
		if (e.host.len)
			enter(c, raw, bitmap, bonus);
		return Q2_OK;
	}
	if (!e.refers || (raw & ~Q2_COPIED) == (k->raw & ~Q2_COPIED) ||
	    !q2_wanting(k->ledger, e.host, own, k->ref->weight))
		return Q2_OK;
	/* All of it was counted before: only another form may be the better. */
	if (own.len && e.type != Q2_L2_COMPRESSED &&
	    k->e.type != Q2_L2_COMPRESSED && e.host.start == own.start)
		return Q2_OK;
	st = q2_inflates(k, &e, &whole);
	if (st != Q2_OK || !whole)
		return st;
	enter(c, raw, bitmap, bonus + 2 * q2_fit(k, &e) +
				      (e.type == Q2_L2_COMPRESSED &&
				       k->inflate ? 2 : 0));
	return Q2_OK;
}

static enum q2_status try_neighbours(struct q2_case *k, struct contest *c)
{
	const struct q2_geom *g = &k->r->c->img.geom;
	uint64_t bitmap = k->bitmap;
	struct q2_l2_entry e;
	enum q2_status st = Q2_OK;

	for (int dir = -1; dir <= 1 && st == Q2_OK; dir += 2) {
		if (!neighbour(k, dir, &e) || e.type == Q2_L2_COMPRESSED ||
		    (dir > 0 && e.host.start < g->cluster_size))
			continue;
		/* A count that is too high is not enough to fill a hole. */
		if (k->raw == 0 &&
		    q2_refmap_get(&k->r->c->map,
				  (e.host.start >> g->cluster_bits) -
					  (uint64_t)dir).count)
			continue;
		if (g->ext_l2 && !bitmap)
			bitmap = UINT32_MAX;
		st = try(k, c, (dir < 0 ? e.host.start + g->cluster_size :
					  e.host.start - g->cluster_size) |
				       (k->raw & Q2_COPIED), bitmap, 1);
	}
	return st;
}

/* The entry next to the row of empty ones that this is a part of; its distance, or 0
 * if there is none. */
static int64_t row_end(const struct q2_case *k, int64_t dir,
		       struct q2_l2_entry *e)
{
	const struct q2_geom *g = &k->r->c->img.geom;

	for (int64_t n = 1; n <= ROW; n++) {
		int64_t i = (int64_t)k->index + n * dir;
		const uint8_t *p;

		if (neighbour(k, n * dir, e))
			return e->type == Q2_L2_COMPRESSED ? 0 : n;
		if (i < 0 || i >= INT64_C(1) << g->l2_bits)
			return 0;
		p = k->table + ((uint64_t)i << g->entry_bits);
		if (q2_be64(p) | q2_l2_bitmap(g, p))
			return 0;
	}
	return 0;
}

/* Empty entries between two whose clusters lie just as far from each other, and all
 * that lies between these has leaked. */
static enum q2_status try_row(struct q2_case *k, struct contest *c)
{
	const struct q2_geom *g = &k->r->c->img.geom;
	struct q2_l2_entry low, high;
	int64_t down = row_end(k, -1, &low), up = row_end(k, 1, &high);
	struct q2_range between;

	if (down == 0 || up == 0 || down + up <= 2)
		return Q2_OK;
	between = (struct q2_range){low.host.start + g->cluster_size,
				    (uint64_t)(down + up - 1)
					    << g->cluster_bits};
	if (q2_end(between) != high.host.start ||
	    !q2_wanting(k->ledger, between, (struct q2_range){0, 0},
			k->ref->weight))
		return Q2_OK;
	for (uint64_t at = between.start; at < q2_end(between);
	     at += g->cluster_size)
		if (q2_refmap_get(&k->r->c->map, at >> g->cluster_bits).count)
			return Q2_OK;
	return try(k, c, low.host.start + ((uint64_t)down << g->cluster_bits),
		   g->ext_l2 ? UINT32_MAX : 0, IN_A_ROW);
}

/* Another tree's entry as this one's: the same place.  What is zeros there need not be
 * here, so that what this one still says of that goes before. */
static enum q2_status try_other(struct q2_case *k, struct contest *c,
				const uint8_t *bytes)
{
	const struct q2_geom *g = &k->r->c->img.geom;
	uint64_t raw = q2_be64(bytes) & ~Q2_COPIED, bitmap = 0;

	if (g->ext_l2) {
		bitmap = q2_be64(bytes + 8);
		if (k->bitmap && !(k->bitmap & k->bitmap >> 32 & UINT32_MAX))
			bitmap = k->bitmap;
	} else if (!(raw & Q2_COMPRESSED) && !(k->raw & Q2_ZERO)) {
		raw &= ~Q2_ZERO;
	}
	return try(k, c, raw | (k->raw & Q2_COPIED), bitmap, OTHER_TREE);
}

/* What other trees have at this place; `only` that host offset, if it is not 0, be it
 * zeros there. */
static enum q2_status try_others(struct q2_case *k, struct contest *c,
				 uint64_t only)
{
	const struct q2_l2ref_vec *t = &k->r->c->refs.tables;
	const struct q2_geom *g = &k->r->c->img.geom;
	size_t at = (size_t)(k->ref - t->at), lo = at, hi = at;
	enum q2_status st = Q2_OK;

	while (lo > 0 && t->at[lo - 1].slot == k->ref->slot && at - lo < 64)
		lo--;
	while (hi + 1 < t->n && t->at[hi + 1].slot == k->ref->slot &&
	       hi - at < 64)
		hi++;
	for (size_t i = lo; i <= hi && st == Q2_OK; i++) {
		uint8_t bytes[16] = {0};
		uint64_t off = (t->at[i].clu << g->cluster_bits) +
			       ((uint64_t)k->index << g->entry_bits);

		if (i == at ||
		    q2_pread_zero(k->r->io, bytes, (size_t)1 << g->entry_bits,
				  off, NULL) != Q2_OK ||
		    (only && (q2_be64(bytes) & ~(Q2_COPIED | Q2_ZERO)) != only))
			continue;
		st = try_other(k, c, bytes);
	}
	return st;
}

/* Another tree has here what fits exactly between the neighbours, and what is counted
 * for this one, too: a writer of version 3 would have left no such gap. */
static enum q2_status try_gap(struct q2_case *k, struct contest *c)
{
	const struct q2_geom *g = &k->r->c->img.geom;
	struct q2_l2_entry low, high;
	uint64_t host;
	enum q2_status st;

	if (g->version < 3 || !neighbour(k, -1, &low) ||
	    !neighbour(k, 1, &high) || low.type == Q2_L2_COMPRESSED ||
	    high.type == Q2_L2_COMPRESSED ||
	    low.host.start + 2 * g->cluster_size != high.host.start)
		return Q2_OK;
	host = low.host.start + g->cluster_size;
	if (q2_surplus(k->ledger, host >> g->cluster_bits) !=
	    (int64_t)q2_min(k->ref->weight, INT64_MAX / 4))
		return Q2_OK;
	st = try_others(k, c, host);
	c->best.shared = c->best.raw == host;
	return st;
}

/* What the next older tree has where this one is empty. */
static enum q2_status try_older(struct q2_case *k, struct contest *c)
{
	const struct q2_geom *g = &k->r->c->img.geom;
	const uint8_t *p = k->older + ((size_t)k->index << g->entry_bits);
	uint64_t raw = q2_be64(p) & ~Q2_COPIED;
	uint64_t bitmap = q2_l2_bitmap(g, p);
	struct q2_l2_entry e = decode(k, raw, bitmap, k->index);
	enum q2_status st;

	if (!e.refers || (!k->agreed && !q2_only_lost(k->ledger, k->ref, &e)))
		return Q2_OK;
	/* In version 2 a discard leaves an empty entry, and the refcount may be
	 * late; since version 3 that leaves a zero flag. */
	st = try(k, c, raw, bitmap, g->version >= 3 ? OTHER_TREE : 0);
	c->best.shared |= same_place(&c->best, raw, bitmap);
	return st;
}

enum q2_status q2_guess(struct q2_case *k, struct q2_guess *best)
{
	struct contest c = {0};
	enum q2_status st = Q2_OK;

	*best = (struct q2_guess){0};
	for (unsigned bit = 0; bit < 63 && st == Q2_OK && k->raw; bit++)
		st = try(k, &c, k->raw ^ UINT64_C(1) << bit, k->bitmap, 3);
	if (st == Q2_OK)
		st = try_neighbours(k, &c);
	if (st == Q2_OK && k->raw == 0 && k->bitmap == 0)
		st = try_row(k, &c);
	if (st == Q2_OK && k->raw)
		st = try_others(k, &c, 0);
	else if (st == Q2_OK && q2_found_any(k->r, Q2_P_REFCOUNT_HIGH))
		st = try_gap(k, &c);
	if (st == Q2_OK && k->older)
		st = try_older(k, &c);
	if (st == Q2_OK && !c.tie)
		*best = c.best;
	return st;
}
