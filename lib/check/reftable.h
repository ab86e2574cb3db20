/*
 * reftable.h - the refcount table: which block each entry names.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CHECK_REFTABLE_H
#define Q2_CHECK_REFTABLE_H

#include "check/checker.h"

/* A usable block. */
struct q2_block {
	uint64_t offset;
	uint64_t index; /* of its entry in the refcount table */
};
Q2_VEC(q2_blocks, struct q2_block)

/* An entry whose block cannot be used. */
struct q2_bad_block {
	uint64_t index;
	uint64_t found; /* what it names; REFBLOCK_SHARED: the other entry */
	uint64_t host;	/* REFBLOCK_SHARED: the block */
	enum q2_problem_id problem;
};
Q2_VEC(q2_bad_blocks, struct q2_bad_block)

struct q2_reftable {
	struct q2_blocks blocks; /* by index */
	struct q2_bad_blocks bad; /* by index */
	bool unknown; /* parts could not be read, or too many are bad */
};

/* Tells of a bad entry; `count` clusters in use lose their refcount by it. */
void q2_bad_block_report(struct q2_checker *c, const struct q2_bad_block *bad,
			 uint64_t count);

/* How many entries of the table lie in the file; those behind are zeros. */
uint64_t q2_reftable_there(const struct q2_geom *g, const struct q2_io *io);

/* Reads the table; emits findings for entries that stay usable, collects the
 * others.  *t is empty before, and to be freed after failure too. */
enum q2_status q2_reftable_read(struct q2_checker *c, struct q2_reftable *t);
void q2_reftable_free(struct q2_reftable *t, struct q2_budget *budget);

#endif
