/*
 * refcount.h - one refcount in a block, of any width.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Refcount block entry": widths below a byte count from the least
 * significant bit, though everything else is big-endian.
 */
#ifndef Q2_FORMAT_REFCOUNT_H
#define Q2_FORMAT_REFCOUNT_H

#include "base/endian.h"

#define Q2_REFTABLE_OFFSET UINT64_C(0xfffffffffffffe00)

/* Refcount number i of the block; order is log2 of the width in bits. */
static inline uint64_t q2_refcount(const uint8_t *block, unsigned order,
				   uint64_t i)
{
	switch (order) {
	case 3:
		return block[i];
	case 4:
		return q2_be16(block + 2 * i);
	case 5:
		return q2_be32(block + 4 * i);
	case 6:
		return q2_be64(block + 8 * i);
	default: {
		unsigned width = 1u << order;
		unsigned shift = (unsigned)(i << order & 7);

		return (unsigned)block[(i << order) >> 3] >> shift &
		       ((1u << width) - 1);
	}
	}
}

/* The largest value that a refcount of this order can have. */
static inline uint64_t q2_refcount_max(unsigned order)
{
	return order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << order)) - 1;
}

#endif
