/*
 * judge_blocks.h - which entries of the refcount table lead to no block of use.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_JUDGE_BLOCKS_H
#define Q2_REPAIR_JUDGE_BLOCKS_H

#include "repair/repair.h"

/* Empties them.  *changed: there is something to be checked again. */
enum q2_status q2_judge_entries(struct q2_repair *r, bool *changed);

/* *foreign: what stands in the table's place is something else. */
enum q2_status q2_judge_table(struct q2_repair *r, bool *foreign);

/* Whether a block, or the table, does not say what was in use. */
bool q2_counts_lost(struct q2_repair *r);

#endif
