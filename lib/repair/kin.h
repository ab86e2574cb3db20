/*
 * kin.h - the slot of an orphaned L2 table, by tables that have mostly the same
 * entries.
 *
 * SPDX-License-Identifier: MIT
 *
 * A table that a snapshot does not share any more began as a copy of the one that it
 * did, and most of its entries are still the same: where that one stands in another
 * tree, there the orphan belongs in its own.
 */
#ifndef Q2_REPAIR_KIN_H
#define Q2_REPAIR_KIN_H

#include "repair/orphans.h"

struct q2_kin {
	uint32_t slot;
	size_t first; /* of the check's tables: the first one of that slot */
	bool any; /* false: none is, or those of several slots are */
};

/* The host offset that an entry of an L2 table names, or all of a compressed one; 0: it
 * names none. */
uint64_t q2_place_named(const struct q2_geom *g, const uint8_t *entry);

/* `table` is room for a cluster, and then holds what stands in `clu`.  What cannot be
 * read is no evidence. */
struct q2_kin q2_find_kin(struct q2_repair *r, uint8_t *table, uint64_t clu);

/* Tells of orphaned tables that may belong into an empty slot of a snapshot. */
enum q2_status q2_tell_kin(struct q2_repair *r,
			   const struct q2_orphans *o) Q2_MUST_CHECK;

#endif
