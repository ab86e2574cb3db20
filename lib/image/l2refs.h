/*
 * l2refs.h - the distinct L2 tables that the L1 tables name.
 *
 * SPDX-License-Identifier: MIT
 *
 * The first half of walking once: every L1 table is read, and each L2 table is
 * noted once with how many L1 entries name it.
 */
#ifndef Q2_IMAGE_L2REFS_H
#define Q2_IMAGE_L2REFS_H

#include "base/vec.h"
#include "format/entry.h"
#include "image/image.h"

enum q2_l2ref_flag {
	Q2_L2_COPIED = 1 << 0,	/* an active L1 entry has COPIED set */
	Q2_L2_CLEAR = 1 << 1,	/* an active L1 entry has it clear */
	Q2_L2_ALIASED = 1 << 2,	/* named from two slots, or twice in a tree */
	Q2_L2_UNREAD = 1 << 3	/* free to use: a reader could not read it */
};

/* One distinct L2 table. */
struct q2_l2ref {
	uint64_t clu;	 /* its host cluster */
	uint64_t weight; /* how many L1 entries name it */
	uint32_t slot;	 /* L1 index of the first of them */
	uint32_t tree;	 /* id of the tree that this one is in */
	uint32_t active; /* how many of them are in the active tree */
	uint32_t limit;	 /* entries that lie on a disk (or hold VM state) */
	uint8_t flags;
};
Q2_VEC(q2_l2ref_vec, struct q2_l2ref)

/* Tables of one L1 slot, next to each other in the vector. */
struct q2_l2group {
	uint32_t first;
	uint32_t n;
};
Q2_VEC(q2_l2group_vec, struct q2_l2group)

struct q2_l2refs {
	struct q2_l2ref_vec tables;  /* by slot, active first, by cluster */
	struct q2_l2group_vec groups; /* in the order of their first clusters */
	uint64_t in_holes; /* entries left out: more tables than are stored */
};

/* What the collector tells while it reads. */
struct q2_l1_events {
	/* An entry with faults.  It was counted if e->used. */
	void (*fault)(void *ctx, const struct q2_tree *tree, uint32_t slot,
		      uint64_t raw, const struct q2_l1_entry *e);
	/* A table that slot `first->slot` of tree `first->tree` names already
	 * is named again, other than by another tree's same slot. */
	void (*alias)(void *ctx, const struct q2_tree *tree, uint32_t slot,
		      const struct q2_l2ref *first);
	/* Part of an L1 table could not be read; the status to return. */
	enum q2_status (*unreadable)(void *ctx, const struct q2_tree *tree,
				     struct q2_range range,
				     enum q2_status status,
				     const struct q2_err *why);
	void *ctx;
};

/* Reads the L1 tables of all trees; trees with the same table are read once.
 * *refs is empty before, and to be freed after failure too. */
enum q2_status q2_l2refs_collect(const struct q2_image *img,
				 const struct q2_tree *trees, size_t n_trees,
				 const struct q2_l1_events *events,
				 struct q2_l2refs *refs,
				 struct q2_err *err) Q2_MUST_CHECK;

void q2_l2refs_free(struct q2_l2refs *refs, struct q2_budget *budget);

#endif
