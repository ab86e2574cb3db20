/*
 * chk_stale.c - what bitmaps that are out of date keep: nobody reads them, and
 * writers do not know them, so that what they claim may be somebody else's by now.
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    nothing; a claim that does not hold is no fault of the image.
 * Gathers:  leaked clusters that such bitmaps claim, which are theirs then.
 * Disables: nothing.
 */
#include <string.h>

#include "check/checker.h"

#define SPARE (UINT64_C(1) << 20)
#define TABLES 8192u /* bytes; a bit for each bitmap that there may be */

struct stale {
	struct q2_checker *c;
	uint64_t fuel;
	uint8_t *no_table; /* by bitmap: its table is not its own */
	bool no_directory;
};

/* The refcount of a leaked cluster, or 0. */
static uint64_t leaked(const struct q2_leaks *l, uint64_t clu)
{
	size_t lo = 0, hi = l->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->at[mid].first + l->at[mid].n <= clu)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < l->n && l->at[lo].first <= clu ? l->at[lo].found : 0;
}

/* Gives the cluster to the claim if nothing else has it. */
static enum q2_status adopt(struct stale *s, const struct q2_meta *claim,
			    uint64_t clu, bool *held)
{
	struct q2_checker *c = s->c;
	struct q2_meta *last = c->metas.n ? &c->metas.at[c->metas.n - 1] : NULL;
	uint64_t found = leaked(&c->leaks, clu);
	struct q2_ref before;
	enum q2_status st;

	*held = found && q2_refmap_get(&c->map, clu).count == 0;
	if (!*held)
		return Q2_OK;
	st = q2_refmap_add(&c->map, clu, 1, Q2_MARK_NONE, &before, c->err);
	if (st == Q2_OK && found > 1)
		st = q2_suspect_add(c, clu, found, Q2_S_REFCOUNT);
	if (st != Q2_OK)
		return st;
	if (last && last->kind == claim->kind && last->index == claim->index &&
	    last->first + last->n == clu) {
		last->n++;
		return Q2_OK;
	}
	return q2_metas_push(&c->metas, &c->budget,
			     (struct q2_meta){clu, 1, claim->kind, claim->index},
			     c->err);
}

/* What is not wholly its own may be overwritten at any time: what it leads to is
 * claimed by nobody then. */
static bool leads(const struct stale *s, const struct q2_meta *claim)
{
	if (claim->kind == Q2_K_BITMAP_DIR)
		return true;
	return !s->no_directory &&
	       (claim->kind == Q2_K_BITMAP_TABLE ||
		!(s->no_table[claim->index / 8] >> claim->index % 8 & 1));
}

static enum q2_status judge(struct stale *s, const struct q2_meta *claim)
{
	bool leading = leads(s, claim), all = leading;
	enum q2_status st = Q2_OK;

	/* Where a part is another's, the rest has no other use yet. */
	for (uint64_t k = 0; leading && k < claim->n && st == Q2_OK; k++) {
		bool held = false;

		if (s->fuel) {
			s->fuel--;
			st = adopt(s, claim, claim->first + k, &held);
		} else {
			leading = false;
		}
		if (!held && claim->kind == Q2_K_BITMAP_DATA)
			s->c->bitmaps.lost_some = true;
		else if (!held)
			all = false;
	}
	if (all)
		return st;
	s->c->bitmaps.lost_some = true;
	s->no_directory |= claim->kind == Q2_K_BITMAP_DIR;
	s->no_table[claim->index / 8] |= (uint8_t)(1u << claim->index % 8);
	return st;
}

/* Leaves the leaks that are nobody's. */
static enum q2_status keep_leaks(struct q2_checker *c)
{
	struct q2_leaks old = c->leaks;
	enum q2_status st = Q2_OK;

	c->leaks = (struct q2_leaks){0};
	for (size_t i = 0; i < old.n && st == Q2_OK; i++) {
		struct q2_leak rest = {old.at[i].first, 0, old.at[i].found};

		for (uint64_t k = 0; k <= old.at[i].n && st == Q2_OK; k++) {
			uint64_t clu = old.at[i].first + k;

			if (k < old.at[i].n &&
			    q2_refmap_get(&c->map, clu).count == 0) {
				rest.n++;
				continue;
			}
			if (rest.n)
				st = q2_leaks_push(&c->leaks, &c->budget, rest,
						   c->err);
			rest.first = clu + 1;
			rest.n = 0;
		}
	}
	q2_leaks_free(&old, &c->budget);
	return st;
}

enum q2_status q2_chk_stale(struct q2_checker *c)
{
	static const enum q2_kind order[] = {
		Q2_K_BITMAP_DIR, Q2_K_BITMAP_TABLE, Q2_K_BITMAP_DATA};
	const struct q2_metas *claims = &c->bitmaps.claims;
	struct stale s = {.c = c,
			  .fuel = (c->img.io->stored >>
				   c->img.geom.cluster_bits) + SPARE};
	size_t before = c->metas.n;
	enum q2_status st;

	if (claims->n == 0)
		return Q2_OK;
	st = q2_get_bytes(&c->budget, TABLES, &s.no_table, c->err);
	if (st != Q2_OK)
		return st;
	memset(s.no_table, 0, TABLES);
	for (size_t k = 0; k < 3; k++)
		for (size_t i = 0; i < claims->n && st == Q2_OK; i++)
			if (claims->at[i].kind == order[k])
				st = judge(&s, &claims->at[i]);
	q2_put(&c->budget, s.no_table, TABLES);
	if (st != Q2_OK || c->metas.n == before)
		return st;
	return keep_leaks(c);
}
