/*
 * fix_refcounts.c - the refcounts themselves.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    counts that are not the number of references, leaks that nothing can
 *           need, counts past the end of the file.
 * Needs:    a sound refcount table (fix_blocks.c); orphans that have a home.
 * Never:    lowers a count after a partial check: what could not be read may
 *           refer to the cluster, unless the repair made it.  Nor, cautiously,
 *           while there are snapshots, or orphans that may be what is left of
 *           one: the count may be all that tells of a lost reference.
 */
#include "base/endian.h"
#include "format/refcount.h"
#include "repair/refcounts.h"

#define TRIES 256u

struct counts {
	struct q2_repair *r;
	struct q2_ref_entries table;
	uint8_t *block;
	uint64_t index; /* of the block held; UINT64_MAX: none */
	bool dirty;
	uint32_t action;
	bool progress;
};

bool q2_may_free(const struct q2_repair *r, uint64_t clu)
{
	return (q2_all(r) && (r->opts->flags & Q2_PLAN_FREE_ORPHANS)) ||
	       q2_runs_have(&r->released, clu) ||
	       q2_runs_have(&r->saved, clu) ||
	       q2_runs_have(&r->worthless, clu);
}

static uint64_t block_offset(const struct counts *k)
{
	return k->index < k->table.n ?
		       k->table.at[k->index] & Q2_REFTABLE_OFFSET : 0;
}

static enum q2_status store(struct counts *k)
{
	struct q2_repair *r = k->r;

	if (!k->dirty)
		return Q2_OK;
	k->dirty = false;
	k->progress = true;
	return q2_change(r, Q2_C_REFCOUNT, k->action, block_offset(k),
			 k->block, (size_t)r->c->img.geom.cluster_size);
}

/* What lies on a block that overlaps something else is not for us to change. */
static bool usable(const struct q2_checker *c, uint64_t off)
{
	const struct q2_geom *g = &c->img.geom;

	return off && (off & (g->cluster_size - 1)) == 0 &&
	       off < g->file_size &&
	       q2_refmap_get(&c->map, off >> g->cluster_bits).count == 1;
}

/* Sets one count; clusters come in rising order, mostly. */
static enum q2_status set(struct counts *k, uint64_t clu, uint64_t value,
			  uint32_t action)
{
	struct q2_repair *r = k->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t at = clu & ((UINT64_C(1) << g->block_bits) - 1);
	enum q2_status st = Q2_OK;

	if (k->index != clu >> g->block_bits || k->action != action) {
		bool other = k->index != clu >> g->block_bits;

		st = store(k);
		k->action = action;
		k->index = clu >> g->block_bits;
		if (st == Q2_OK && other && usable(r->c, block_offset(k)))
			st = q2_pread_zero(r->io, k->block,
					   (size_t)g->cluster_size,
					   block_offset(k), r->err);
	}
	if (st != Q2_OK || !usable(r->c, block_offset(k)))
		return st;
	value = q2_min(value, q2_refcount_max(g->ref_order));
	if (q2_refcount(k->block, g->ref_order, at) == value)
		return Q2_OK;
	q2_refcount_set(k->block, g->ref_order, at, value);
	k->dirty = true;
	return Q2_OK;
}

/* Whether leaks are left that are not known to be worthless. */
static bool has_orphans(struct q2_repair *r)
{
	const struct q2_leaks *leaks = &r->c->leaks;

	q2_runs_tidy(&r->worthless);
	q2_runs_tidy(&r->released);
	q2_runs_tidy(&r->saved);
	for (size_t i = 0; i < leaks->n; i++)
		for (uint64_t n = 0; n < leaks->at[i].n; n++)
			if (!q2_may_free(r, leaks->at[i].first + n))
				return true;
	return r->c->leaks_over.n != 0;
}

/* Whether a count that is too high may be needed yet. */
static bool is_evidence(struct q2_repair *r)
{
	return r->result.partial ||
	       (!q2_all(r) && (r->c->trees.n > 1 || has_orphans(r))) ||
	       /* A larger device may have room for what they are of. */
	       (r->room.left[Q2_P_LEAK] && r->c->leaks.n);
}

static enum q2_status mend_suspects(struct counts *k)
{
	struct q2_repair *r = k->r;
	const struct q2_suspects *s = &r->c->suspects;
	bool evidence = is_evidence(r);
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < s->n && st == Q2_OK; i++) {
		uint64_t clu = s->at[i].clu;
		uint64_t refs = q2_refmap_get(&r->c->map, clu).count;
		uint64_t found = s->at[i].found;
		enum q2_problem_id why = found == 0   ? Q2_P_REFCOUNT_ZERO :
					 found < refs ? Q2_P_REFCOUNT_LOW :
							Q2_P_REFCOUNT_HIGH;
		uint32_t action;

		if (!(s->at[i].why & Q2_S_REFCOUNT) || found == refs)
			continue;
		/* What the repair itself made is counted, whatever else is; and what
		 * was counted there before tells nothing. */
		if (!q2_is_fresh(r, clu) &&
		    (!q2_want(r, why) ||
		     (why == Q2_P_REFCOUNT_HIGH && evidence)))
			continue;
		st = q2_act_bulk(r, why, 1,
				 "refcounts are set to the number of "
				 "references", &action);
		if (st == Q2_OK)
			st = set(k, clu, refs, action);
	}
	return st;
}

/* Whether the cluster is freed only because that is what was asked for. */
static bool is_given_up(const struct q2_repair *r, uint64_t clu)
{
	return q2_may_free(r, clu) && !q2_runs_have(&r->released, clu) &&
	       !q2_runs_have(&r->saved, clu) &&
	       !q2_runs_have(&r->worthless, clu);
}

/* What may be a guest's is never freed without a word. */
static enum q2_status tell_given_up(struct q2_repair *r, uint32_t *action)
{
	const struct q2_leaks *leaks = &r->c->leaks;
	struct q2_finding f = {.fields = Q2_F_COUNT};

	for (size_t i = 0; i < leaks->n; i++)
		for (uint64_t n = 0; n < leaks->at[i].n; n++)
			f.count += is_given_up(r, leaks->at[i].first + n);
	if (f.count == 0)
		return Q2_OK;
	return q2_act(r, Q2_P_LEAK, Q2_EFFECT_LOSS, &f, action,
		      "%llu leaked cluster%s that may hold data %s freed, as "
		      "told", (unsigned long long)f.count,
		      f.count == 1 ? "" : "s", f.count == 1 ? "is" : "are");
}

static enum q2_status free_leaks(struct counts *k)
{
	uint32_t given_up = 0;
	struct q2_repair *r = k->r;
	const struct q2_leaks *leaks = &r->c->leaks;
	enum q2_status st = Q2_OK;

	if (leaks->n == 0 || r->result.partial || !q2_want(r, Q2_P_LEAK))
		return Q2_OK;
	q2_runs_tidy(&r->worthless);
	q2_runs_tidy(&r->released);
	q2_runs_tidy(&r->saved);
	st = tell_given_up(r, &given_up);
	for (size_t i = 0; i < leaks->n && st == Q2_OK; i++)
		for (uint64_t n = 0; n < leaks->at[i].n && st == Q2_OK; n++) {
			uint64_t clu = leaks->at[i].first + n;
			uint32_t action;

			if (!q2_may_free(r, clu))
				continue;
			if (q2_runs_have(&r->saved, clu))
				action = r->saving - 1;
			else if (is_given_up(r, clu))
				action = given_up;
			else
				st = q2_act_bulk(r, Q2_P_LEAK, 1,
						 "clusters that nothing needs "
						 "are freed", &action);
			if (st == Q2_OK)
				st = set(k, clu, 0, action);
		}
	return st;
}

/* Counts past the end of the file stand for nothing. */
static enum q2_status clear_past(struct counts *k)
{
	struct q2_repair *r = k->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t per = UINT64_C(1) << g->block_bits;
	enum q2_status st = Q2_OK;
	uint32_t action;

	if (!q2_found_any(r, Q2_P_REFCOUNT_PAST_END) || r->result.partial ||
	    !q2_want(r, Q2_P_REFCOUNT_PAST_END))
		return Q2_OK;
	for (uint64_t i = g->file_clusters / per;
	     i < k->table.n && st == Q2_OK; i++) {
		if (!usable(r->c, k->table.at[i] & Q2_REFTABLE_OFFSET))
			continue;
		st = q2_act_bulk(r, Q2_P_REFCOUNT_PAST_END, 1,
				 "refcounts past the end of the file are "
				 "cleared", &action);
		for (uint64_t n = 0; n < per && st == Q2_OK; n++)
			if (i * per + n >= g->file_clusters)
				st = set(k, i * per + n, 0, action);
	}
	return st;
}

static enum q2_status adjust(struct counts *k)
{
	struct q2_repair *r = k->r;
	void *block;
	enum q2_status st = q2_get_raw(&r->budget, r->c->img.geom.cluster_size,
				       &block, r->err);

	if (st != Q2_OK)
		return st;
	k->block = block;
	k->index = UINT64_MAX;
	st = q2_reftable_get(r, &k->table);
	if (st == Q2_OK)
		st = mend_suspects(k);
	if (st == Q2_OK)
		st = free_leaks(k);
	if (st == Q2_OK)
		st = clear_past(k);
	if (st == Q2_OK)
		st = store(k);
	q2_reftable_put(r, &k->table);
	q2_put(&r->budget, k->block, r->c->img.geom.cluster_size);
	return st;
}

enum q2_status q2_fix_refcounts(struct q2_repair *r)
{
	enum q2_status st = q2_fix_blocks(r);
	bool progress = true;

	if (st == Q2_OK)
		st = q2_recheck(r);
	if (st == Q2_OK && r->c->img.geom.reftable_bytes)
		st = q2_tell_counts(r);
	/* A check keeps a limited number of suspects and leaks. */
	for (unsigned tries = 0; tries < TRIES && progress && st == Q2_OK;
	     tries++) {
		struct counts k = {.r = r};

		st = q2_recheck(r);
		if (st != Q2_OK || r->c->img.geom.reftable_bytes == 0)
			break;
		st = adjust(&k);
		progress = k.progress;
	}
	return st;
}
