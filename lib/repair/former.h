/*
 * former.h - refcount blocks and tables that are no longer in use.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_FORMER_H
#define Q2_REPAIR_FORMER_H

#include "repair/repair.h"

/* What former refcount tables are known to be. */
struct q2_formers {
	struct q2_repair *r;
	struct q2_runs blocks; /* clusters that they name */
	struct q2_range table; /* the clusters of the last one, so far */
	uint8_t *block;	       /* a cluster */
};

/* Takes memory; to be closed also after failure. */
enum q2_status q2_formers_open(struct q2_formers *f, struct q2_repair *r);
void q2_formers_close(struct q2_formers *f);

/* Whether the bytes, those of a leaked cluster, are of such a table: then its blocks are
 * known. */
enum q2_status q2_formers_see(struct q2_formers *f, const uint8_t *bytes,
			      uint64_t clu, bool *yes);

/* Whether the bytes, a cluster, are a refcount block that says what is so. */
bool q2_is_old_block(const struct q2_repair *r, const uint8_t *bytes);

#endif
