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

/* The number of the first refcount from number i on, and before n, that is not 0, or
 * n.  Zeros are passed over eight bytes at a time. */
static inline uint64_t q2_refcounts_next(const uint8_t *block, unsigned order,
					 uint64_t i, uint64_t n)
{
	uint64_t many = UINT64_C(64) >> order;

	while (i < n) {
		if ((i & (many - 1)) == 0 && n - i >= many &&
		    q2_be64(block + (i << order >> 3)) == 0)
			i += many;
		else if (q2_refcount(block, order, i) == 0)
			i++;
		else
			break;
	}
	return i;
}

/* 1 + the number of the last refcount before number n that is not 0, or 0. */
static inline uint64_t q2_refcounts_end(const uint8_t *block, unsigned order,
					uint64_t n)
{
	uint64_t many = UINT64_C(64) >> order;

	while (n) {
		if ((n & (many - 1)) == 0 &&
		    q2_be64(block + (n << order >> 3) - 8) == 0)
			n -= many;
		else if (q2_refcount(block, order, n - 1) == 0)
			n--;
		else
			break;
	}
	return n;
}

/* Sets refcount number i of the block; `value` fits the width. */
static inline void q2_refcount_set(uint8_t *block, unsigned order, uint64_t i,
				   uint64_t value)
{
	switch (order) {
	case 3:
		block[i] = (uint8_t)value;
		break;
	case 4:
		q2_put_be16(block + 2 * i, (uint16_t)value);
		break;
	case 5:
		q2_put_be32(block + 4 * i, (uint32_t)value);
		break;
	case 6:
		q2_put_be64(block + 8 * i, value);
		break;
	default: {
		uint8_t *byte = &block[(i << order) >> 3];
		unsigned mask = (1u << (1u << order)) - 1;
		unsigned shift = (unsigned)(i << order & 7);

		*byte = (uint8_t)((*byte & ~(mask << shift)) |
				  ((unsigned)value & mask) << shift);
	}
	}
}

/* The largest value that a refcount of this order can have. */
static inline uint64_t q2_refcount_max(unsigned order)
{
	return order == 6 ? UINT64_MAX : (UINT64_C(1) << (1u << order)) - 1;
}

#endif
