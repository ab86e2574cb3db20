/*
 * refcounts.h - what the files about refcounts share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_REFCOUNTS_H
#define Q2_REPAIR_REFCOUNTS_H

#include "repair/repair.h"

/* Makes the refcount table and its blocks sound as structures, so that each
 * cluster in use has a place for its count. */
enum q2_status q2_fix_blocks(struct q2_repair *r);

/* The entries of the refcount table, as far as the file holds it. */
struct q2_ref_entries {
	uint64_t *at;
	uint64_t n; /* those that follow are zero */
	uint64_t room;
};

/* To be put after failure, too. */
enum q2_status q2_reftable_get(struct q2_repair *r,
			       struct q2_ref_entries *table) Q2_MUST_CHECK;
void q2_reftable_put(struct q2_repair *r, struct q2_ref_entries *table);

/* Which problem tells that the counts in the block at `off`, number `index` of the
 * table, are lost: something else stands there, maybe a guest's data, or nothing.
 * 0: they are not.  (foreign.c) */
enum q2_problem_id q2_block_lost(const struct q2_repair *r, uint64_t index,
				 uint64_t off);

/* Whether what stands there is no refcount table. */
bool q2_table_is_foreign(const struct q2_repair *r,
			 const struct q2_ref_entries *table);

/* Lets new blocks show clusters of the range as in use that nothing refers to, but
 * that are not zeros: whether they were, nobody knows. */
enum q2_status q2_keep_range(struct q2_repair *r, uint64_t first,
			     uint64_t n) Q2_MUST_CHECK;

/* Tells which of the active disk's ranges the refcounts contradict.  (tell_counts.c) */
enum q2_status q2_tell_counts(struct q2_repair *r) Q2_MUST_CHECK;

/* Whether nothing can need what is in this cluster, which nothing refers to: the
 * repair gave it up, or it is proven worthless, or the user said so.  Runs must
 * be tidy. */
bool q2_may_free(const struct q2_repair *r, uint64_t clu);

/* Whether none of the structures that lie in the cluster is what it is taken for, but
 * all are a refcount table or block: these are made anew elsewhere.  The cluster
 * must be one that something is said to lie in. */
bool q2_counts_astray(const struct q2_repair *r, uint64_t clu);

#endif
