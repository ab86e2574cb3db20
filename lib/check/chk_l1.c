/*
 * chk_l1.c - the L1 tables: the active one and those of the snapshots.
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    each L1 entry, and whether an L2 table is named from two slots.
 * Gathers:  refs, the distinct L2 tables with how many entries name each; lost,
 *           the entries that cannot be followed.
 * Disables: nothing; an entry that cannot be followed makes the check partial.
 */
#include <string.h>

#include "base/err.h"
#include "check/checker.h"
#include "check/faults.h"

#define LOST_MAX 4096u

static struct q2_finding locate(const struct q2_checker *c,
				const struct q2_tree *tree, uint32_t slot)
{
	const struct q2_geom *g = &c->img.geom;

	return (struct q2_finding){
		.fields = Q2_F_TREE | Q2_F_L1 | Q2_F_GUEST | Q2_F_LENGTH,
		.tree = tree->id,
		.l1 = slot,
		.guest = q2_guest(g, slot, 0),
		.length = g->cluster_size << g->l2_bits,
	};
}

static void on_fault(void *ctx, const struct q2_tree *tree, uint32_t slot,
		     uint64_t raw, const struct q2_l1_entry *e)
{
	struct q2_checker *c = ctx;
	struct q2_finding f = locate(c, tree, slot);

	f.fields |= Q2_F_FOUND;
	for (const struct q2_fault_problem *p = q2_l1_problems; p->fault; p++) {
		if (!(e->faults & p->fault))
			continue;
		f.found = p->fault == Q2_EF_RESERVED ||
					  p->fault == Q2_EF_FLAGS_ONLY ?
				  raw : raw & Q2_ENTRY_OFFSET;
		q2_found(c, p->id, &f);
	}
	if (e->used)
		return;
	/* A table that cannot be found refers to clusters that we miss. */
	c->result->partial = true;
	if (c->lost.n < LOST_MAX) {
		struct q2_lost lost = {tree->id, slot, raw};

		/* Without it the leaks are explained less well. */
		(void)!q2_losts_push(&c->lost, &c->budget, lost, NULL);
	}
}

static void on_alias(void *ctx, const struct q2_tree *tree, uint32_t slot,
		     const struct q2_l2ref *first)
{
	struct q2_checker *c = ctx;
	struct q2_finding f = locate(c, tree, slot);

	f.fields |= Q2_F_HOST | Q2_F_OTHER;
	f.host = first->clu << c->img.geom.cluster_bits;
	f.other = q2_guest(&c->img.geom, first->slot, 0);
	q2_found(c, Q2_P_L1_ALIAS, &f);
}

static enum q2_status on_unreadable(void *ctx, const struct q2_tree *tree,
				    struct q2_range range,
				    enum q2_status status,
				    const struct q2_err *why)
{
	return q2_unreadable(ctx, status, why,
			     tree->id == Q2_TREE_ACTIVE ? Q2_K_L1 :
							  Q2_K_SNAPSHOT_L1,
			     range.start, range.len);
}

enum q2_status q2_chk_l1(struct q2_checker *c)
{
	const struct q2_l1_events events = {.fault = on_fault,
					    .alias = on_alias,
					    .unreadable = on_unreadable,
					    .ctx = c};
	enum q2_status st = q2_tick(c, "L1 tables", 0, 1);

	if (st == Q2_OK)
		st = q2_l2refs_collect(&c->img, c->trees.at, c->trees.n,
				       &events, &c->refs, c->err);
	if (st == Q2_OK && c->refs.in_holes) {
		struct q2_finding f = {.fields = Q2_F_KIND | Q2_F_COUNT,
				       .kind = Q2_K_L2,
				       .count = c->refs.in_holes};

		q2_found(c, Q2_P_METADATA_CLAIM, &f);
		c->result->partial = true;
	}
	return st;
}
