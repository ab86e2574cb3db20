/*
 * sizes.h - how much metadata an image needs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_MAP_SIZES_H
#define Q2_MAP_SIZES_H

#include "base/num.h"

/* The shape of an image; all of it is in range. */
struct q2_shape {
	uint64_t cluster_size;
	unsigned ref_order;   /* log2 of a refcount's bits */
	unsigned entry_bytes; /* of an L2 entry */
	uint64_t more;	      /* clusters besides those of a disk and its tables */
};

/* Clusters of refcount blocks and table for `clusters` others. */
uint64_t q2_refcount_clusters(const struct q2_shape *s, uint64_t clusters);

/* Bytes of a new image whose disk of `size` bytes, rounded up to clusters, is
 * allocated to the last one.  UINT64_MAX: that is no number of bytes. */
uint64_t q2_full_size(const struct q2_shape *s, uint64_t size);

#endif
