/*
 * older.c - what an older tree has where a younger one is empty.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "repair/guess.h"

#define TREES_MOST 256u /* that are looked at for one table */

/* The table in the tree's slot; 0: none that could be one. */
static uint64_t table_in(struct q2_repair *r, const struct q2_tree *t,
			 uint32_t slot)
{
	struct q2_l1_entry e;
	uint8_t b[8];

	if (slot >= t->l1_entries ||
	    q2_pread_zero(r->io, b, 8, t->l1_offset + UINT64_C(8) * slot,
			  NULL) != Q2_OK)
		return 0;
	e = q2_l1_decode(&r->c->img.geom, q2_be64(b));
	return e.used && !e.faults ? e.table.n : 0;
}

uint64_t q2_older_table(struct q2_repair *r, const struct q2_l2ref *ref)
{
	const struct q2_trees *trees = &r->c->trees;
	const struct q2_tree *last = NULL;
	uint64_t before = 0;

	for (size_t i = 0; i < trees->n; i++)
		if (trees->at[i].id != Q2_TREE_ACTIVE)
			last = &trees->at[i];
	if (last == NULL)
		return 0;
	if (ref->weight == ref->active)
		return table_in(r, last, ref->slot);
	if (trees->n > TREES_MOST)
		return 0;
	for (size_t i = 0; i < trees->n; i++) {
		uint64_t clu;

		if (trees->at[i].id == Q2_TREE_ACTIVE)
			continue;
		clu = table_in(r, &trees->at[i], ref->slot);
		if (clu == ref->clu)
			return before;
		before = clu;
	}
	return 0;
}

/* The first cluster of what the entry names, if all of it is missed just as often as
 * the table is named; 0: it is not. */
static uint64_t missed(const struct q2_ledger *l, const struct q2_l2_entry *e,
		       uint64_t weight)
{
	struct q2_range none = {0, 0};
	uint64_t clu = e->host.start >> l->c->img.geom.cluster_bits;

	if (!e->refers || (e->faults & ~(unsigned)Q2_EF_COPIED_UNUSED) ||
	    !q2_wanting(l, e->host, none, weight))
		return 0;
	/* Several streams may be missed in one cluster. */
	if (e->type != Q2_L2_COMPRESSED &&
	    q2_surplus(l, clu) != (int64_t)q2_min(weight, INT64_MAX / 4))
		return 0;
	return clu;
}

bool q2_counts_agree(const struct q2_ledger *l, const struct q2_l2ref *ref,
		     const uint8_t *table, const uint8_t *older)
{
	const struct q2_geom *g = &l->c->img.geom;
	uint64_t first = 0;

	for (uint32_t i = 0; i < ref->limit; i++) {
		size_t at = (size_t)i << g->entry_bits;
		struct q2_l2_entry e;
		uint64_t clu;

		if ((q2_be64(table + at) | q2_l2_bitmap(g, table + at)) ||
		    q2_be64(older + at) == 0)
			continue;
		e = q2_l2_decode(g, q2_be64(older + at) & ~Q2_COPIED,
				 q2_l2_bitmap(g, older + at),
				 q2_guest(g, ref->slot, i));
		clu = missed(l, &e, ref->weight);
		if (first && clu && clu != first)
			return true;
		first = first ? first : clu;
	}
	return false;
}

bool q2_only_lost(const struct q2_ledger *l, const struct q2_l2ref *ref,
		  const struct q2_l2_entry *e)
{
	uint64_t clu = missed(l, e, ref->weight);
	uint64_t refs = q2_refmap_get(&l->c->map, clu).count;
	uint64_t wrong = (refs + ref->weight) ^ refs;

	return clu && e->type != Q2_L2_COMPRESSED && (wrong & (wrong - 1));
}
