/*
 * ledger.h - where the refcounts on disk promise more references than there are.
 *
 * SPDX-License-Identifier: MIT
 *
 * A cluster with a surplus is missed by somebody: an entry that could name it may
 * be the one that lost it.  Valid until the next check.
 */
#ifndef Q2_REPAIR_LEDGER_H
#define Q2_REPAIR_LEDGER_H

#include "format/entry.h"
#include "repair/repair.h"

struct q2_ledger {
	const struct q2_checker *c;
	struct q2_refmap given; /* references that were added since */
	struct q2_refmap taken; /* and removed */
	bool any; /* some cluster has a surplus, and that can be believed */
};

/* Whether the refcounts on disk are no evidence of anything. */
bool q2_counts_absurd(const struct q2_repair *r);

void q2_ledger_init(struct q2_ledger *l, struct q2_repair *r);
void q2_ledger_free(struct q2_ledger *l);

/* Refcount less references: negative if there are too many of these. */
int64_t q2_surplus(const struct q2_ledger *l, uint64_t clu);

/* Whether every cluster of the range, but for those of `but`, has a surplus of
 * `weight` at least. */
bool q2_wanting(const struct q2_ledger *l, struct q2_range host,
		struct q2_range but, uint64_t weight);

/* `weight` references go from one range to the other. */
enum q2_status q2_ledger_move(struct q2_ledger *l, struct q2_range from,
			      struct q2_range to, uint64_t weight,
			      struct q2_err *err) Q2_MUST_CHECK;

/* How many of the first n entries of the L2 table name a cluster that is counted
 * more often than it is named. */
uint64_t q2_count_missed(const struct q2_ledger *l, const uint8_t *table,
			 uint32_t n);

/* Whether an L2 table stands there, most of whose clusters are counted once more
 * than they are named; or an empty one.  `table` is room for a cluster. */
bool q2_tells_of_missed(const struct q2_ledger *l, uint8_t *table, uint64_t clu);

/* Why the cluster was noted by the check (enum q2_suspicion); 0: it was not. */
unsigned q2_suspected(const struct q2_ledger *l, uint64_t clu);

#endif
