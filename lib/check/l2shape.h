/*
 * l2shape.h - whether a cluster that nothing names looks like an L2 table.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CHECK_L2SHAPE_H
#define Q2_CHECK_L2SHAPE_H

#include "check/checker.h"

/* What a cluster would be, taken for an L2 table. */
struct q2_l2_shape {
	uint64_t entries; /* allocated, all of them sound */
	uint64_t alone;	  /* of them: whose clusters nobody else refers to */
	uint64_t marked;  /* of them: with COPIED set, or compressed */
	uint64_t first;	  /* host offset that the first one names */
	uint32_t last;	  /* index of the last one */
};

/* True if each of the entries could be one.  `n_entries` from `bytes` on. */
bool q2_l2_shaped(const struct q2_checker *c, const uint8_t *bytes,
		  uint32_t n_entries, struct q2_l2_shape *shape);

/* True if the cluster is an L2 table on which data hangs that nothing else names.
 * `table` is room for a cluster.  What cannot be read is no evidence. */
bool q2_l2_orphan(struct q2_checker *c, uint8_t *table, uint64_t clu,
		  struct q2_l2_shape *shape);

/* Adds to *good the entries that the format allows, and to *bad those that it does
 * not; of zeros neither. */
void q2_l2_tally(const struct q2_geom *g, const uint8_t *bytes,
		 uint32_t n_entries, uint64_t *good, uint64_t *bad);

#endif
