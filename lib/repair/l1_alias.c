/*
 * l1_alias.c - a table that belongs into another slot, by what other trees have.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "repair/l1fix.h"

#define PER 64u /* entries in a sector, which is written as a whole or not at all */

/* Whether that is because another tree has it in this very slot. */
static bool missed_by_others(const struct q2_l1fix *l, uint64_t raw)
{
	uint64_t clu = raw >> l->r->c->img.geom.cluster_bits;

	for (size_t i = 0; i < l->missed.n; i++)
		if (l->missed.at[i].first == clu)
			return l->missed.at[i].n == l->slot;
	return false;
}

/* What another tree has in a slot; 0: nothing, or no such slot. */
static uint64_t table_in(const struct q2_l1fix *l, const struct q2_tree *t,
			 uint64_t slot)
{
	uint8_t b[8];

	if (slot >= t->l1_entries ||
	    q2_pread_zero(l->r->io, b, 8, t->l1_offset + UINT64_C(8) * slot,
			  NULL) != Q2_OK)
		return 0;
	return q2_be64(b) & Q2_ENTRY_OFFSET;
}

/* The slot in which all other trees have the table that this one names, none of them
 * here; UINT64_MAX if it is not so. */
static uint64_t slot_elsewhere(const struct q2_l1fix *l)
{
	const struct q2_repair *r = l->r;
	uint64_t mine = l->raw & Q2_ENTRY_OFFSET, found = UINT64_MAX;

	if (!q2_found_any(r, Q2_P_L1_ALIAS))
		return found;
	for (size_t i = 0; i < r->c->trees.n; i++)
		if (r->c->trees.at[i].id != l->tree->id &&
		    table_in(l, &r->c->trees.at[i], l->slot) == mine)
			return found;
	for (size_t i = 0; i < r->findings.n; i++) {
		const struct q2_finding *f = &r->findings.at[i];
		uint64_t slot = f->l1;

		if (f->problem->number != Q2_P_L1_ALIAS || f->host != mine)
			continue;
		if (slot == l->slot)
			slot = f->other >> (r->c->img.geom.cluster_bits +
					    r->c->img.geom.l2_bits);
		if (slot == l->slot || (found != UINT64_MAX && found != slot))
			return UINT64_MAX;
		found = slot;
	}
	return found;
}

/* Writes both entries at once: in between, one table would be named once too often. */
static enum q2_status change_places(struct q2_l1fix *l, uint32_t here,
				    uint32_t there)
{
	struct q2_repair *r = l->r;
	uint64_t sector = l->tree->l1_offset + UINT64_C(8) * (here - here % PER);
	struct q2_finding f = q2_l1_located(l);
	uint32_t action;
	uint8_t bytes[8 * PER];
	uint8_t *x = bytes + UINT64_C(8) * (here % PER);
	uint8_t *y = bytes + UINT64_C(8) * (there % PER);
	size_t from = 8 * (size_t)q2_min(here % PER, there % PER);
	size_t end = 8 * (size_t)q2_max(here % PER, there % PER) + 8;
	enum q2_status st = q2_act(r, Q2_P_L1_ALIAS, Q2_EFFECT_GAIN, &f, &action,
				   "L1[%u] and L1[%u] change places: a snapshot "
				   "has them the other way round",
				   (unsigned)here, (unsigned)there);

	if (st == Q2_OK)
		st = q2_pread_zero(r->io, bytes, sizeof(bytes), sector, r->err);
	if (st != Q2_OK)
		return st;
	q2_put_be64(x, q2_l1fix_raw(l, there));
	q2_put_be64(y, q2_l1fix_raw(l, here));
	memcpy(l->entries + UINT64_C(8) * here, x, 8);
	memcpy(l->entries + UINT64_C(8) * there, y, 8);
	return q2_change(r, Q2_C_ENTRY, action, sector + from, bytes + from,
			 end - from);
}

/* Two entries that changed places: a snapshot has them the other way round. */
static enum q2_status turn_round(struct q2_l1fix *l, uint32_t other)
{
	const struct q2_trees *trees = &l->r->c->trees;
	uint64_t mine = l->raw, his = q2_l1fix_raw(l, other);
	size_t i = 0;

	while (i < trees->n &&
	       (trees->at[i].id == l->tree->id ||
		table_in(l, &trees->at[i], l->slot) != (his & Q2_ENTRY_OFFSET) ||
		table_in(l, &trees->at[i], other) != (mine & Q2_ENTRY_OFFSET)))
		i++;
	if (i == trees->n || (his & Q2_ENTRY_OFFSET) == 0 ||
	    l->slot / PER != other / PER || !q2_want(l->r, Q2_P_L1_ALIAS))
		return Q2_OK;
	return change_places(l, l->slot, other);
}

/* A table that belongs into another slot, by all other trees. */
enum q2_status q2_l1_unalias(struct q2_l1fix *l)
{
	uint64_t slot = slot_elsewhere(l), missed;

	if (slot == UINT64_MAX || slot >= l->tree->l1_entries || !q2_all(l->r))
		return Q2_OK;
	missed = l->ledger.any ? q2_l1_missed_table(l) : 0;
	if (missed && missed_by_others(l, missed) &&
	    q2_want(l->r, Q2_P_L1_ALIAS))
		return q2_l1_replace(l, Q2_P_L1_ALIAS, Q2_EFFECT_GAIN, missed,
			       "gets back the L2 table that other trees have "
			       "here: the one that it names is another slot's");
	return turn_round(l, (uint32_t)slot);
}
