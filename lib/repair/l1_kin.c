/*
 * l1_kin.c - an L1 slot that leads nowhere, and the orphan that is kin to what other
 * trees have there.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/l2shape.h"
#include "repair/kin.h"
#include "repair/l1fix.h"

#define PROBE 512u
#define LOOKS 65536u /* at leaked clusters */
#define ORPHANS 64u  /* each is looked for among all tables */

/* Whether an L2 table lies there most of whose clusters are counted once more than they
 * are named. */
static bool is_missed(struct q2_l1fix *l, uint64_t clu)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	struct q2_l2_shape shape;

	return q2_pread_zero(l->r->io, l->table, PROBE, clu << g->cluster_bits,
			     NULL) == Q2_OK &&
	       q2_l2_shaped(l->r->c, l->table, PROBE >> g->entry_bits, &shape) &&
	       q2_tells_of_missed(&l->ledger, l->table, clu);
}

static void learn_kin(struct q2_l1fix *l)
{
	const struct q2_leaks *leaks = &l->r->c->leaks;
	unsigned looks = 0;

	l->kin_known = true;
	for (size_t i = 0; i < leaks->n; i++)
		for (uint64_t k = 0; k < leaks->at[i].n; k++) {
			uint64_t clu = leaks->at[i].first + k;
			struct q2_kin kin;

			/* A part of the evidence is none. */
			if (++looks > LOOKS || l->kin.n >= ORPHANS) {
				l->kin.n = 0;
				return;
			}
			if (!is_missed(l, clu))
				continue;
			kin = q2_find_kin(l->r, l->table, clu);
			if (kin.any &&
			    q2_runs_push(&l->kin, &l->r->budget,
					 (struct q2_run){clu, kin.slot},
					 NULL) != Q2_OK)
				return;
		}
}

/* Whether another tree's entry there cannot be followed, either.  An empty one may be
 * so by right. */
static bool is_lost_elsewhere(const struct q2_l1fix *l)
{
	const struct q2_checker *c = l->r->c;

	for (size_t i = 0; i < c->trees.n; i++) {
		const struct q2_tree *t = &c->trees.at[i];
		struct q2_l1_entry e;
		uint8_t raw[8];

		if (t->id == l->tree->id || l->slot >= t->l1_entries)
			continue;
		if (q2_pread_zero(l->r->io, raw, 8,
				  t->l1_offset + UINT64_C(8) * l->slot,
				  NULL) != Q2_OK)
			return true;
		e = q2_l1_decode(&c->img.geom, q2_be64(raw));
		if (!e.used && q2_be64(raw))
			return true;
	}
	return false;
}

uint64_t q2_l1_kin_table(struct q2_l1fix *l)
{
	uint64_t found = 0;

	if (!l->ledger.any || is_lost_elsewhere(l))
		return 0;
	if (!l->kin_known)
		learn_kin(l);
	for (size_t i = 0; i < l->kin.n; i++) {
		if (l->kin.at[i].n != l->slot ||
		    q2_surplus(&l->ledger, l->kin.at[i].first) < 1)
			continue;
		if (found)
			return 0;
		found = l->kin.at[i].first;
	}
	return found << l->r->c->img.geom.cluster_bits;
}
