/*
 * l1place.h - L1 tables that what should lead to them does not.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CHECK_L1PLACE_H
#define Q2_CHECK_L1PLACE_H

#include "check/checker.h"

/* *found: the host offset of the one leaked L1 table that a snapshot's may be, where
 * nothing that its own leads to is an L2 table; else 0. */
enum q2_status q2_l1_lost(struct q2_checker *c, const struct q2_tree *tree,
			  uint64_t *found) Q2_MUST_CHECK;

/* *is: what leads to the tree's L1 table leads to one, some entries of which may be
 * damaged, or lead past the end of a file that was cut. */
enum q2_status q2_l1_in_place(struct q2_checker *c, uint32_t id,
			      bool *is) Q2_MUST_CHECK;

#endif
