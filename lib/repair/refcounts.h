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

/* The entries of the refcount table, to be given back with their number. */
enum q2_status q2_reftable_get(struct q2_repair *r, uint64_t **table,
			       uint64_t *entries);
void q2_reftable_put(struct q2_repair *r, uint64_t *table, uint64_t entries);

/* Whether nothing can need what is in this cluster, which nothing refers to: the
 * repair gave it up, or it is proven worthless, or the user said so.  Runs must
 * be tidy. */
bool q2_may_free(const struct q2_repair *r, uint64_t clu);

/* Whether none of the structures that lie in the cluster is what it is taken for, but
 * all are a refcount table or block: these are made anew elsewhere.  The cluster
 * must be one that something is said to lie in. */
bool q2_counts_astray(const struct q2_repair *r, uint64_t clu);

#endif
