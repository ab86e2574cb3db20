/*
 * num.h - unsigned arithmetic that cannot wrap, and ranges of a file.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_BASE_NUM_H
#define Q2_BASE_NUM_H

#include <stdbool.h>
#include <stdint.h>

/* A host cluster's number: host offset / cluster size.  A type of its own, so
 * that it is not mixed with byte offsets. */
struct q2_clu {
	uint64_t n;
};

/* Bytes [start, start + len); start + len never passes UINT64_MAX. */
struct q2_range {
	uint64_t start;
	uint64_t len;
};

/* *out = a + b and true; or false if that would wrap, *out unchanged. */
static inline bool q2_add(uint64_t a, uint64_t b, uint64_t *out)
{
	if (b > UINT64_MAX - a)
		return false;
	*out = a + b;
	return true;
}

/* *out = a * b and true; or false if that would wrap, *out unchanged. */
static inline bool q2_mul(uint64_t a, uint64_t b, uint64_t *out)
{
	if (b != 0 && a > UINT64_MAX / b)
		return false;
	*out = a * b;
	return true;
}

static inline uint64_t q2_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t q2_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* a / b rounded up; b must not be 0. */
static inline uint64_t q2_div_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

static inline uint64_t q2_add_sat(uint64_t a, uint64_t b)
{
	return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

/* Whether [off, off + len) lies inside [0, size), without overflow. */
static inline bool q2_inside(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static inline uint64_t q2_end(struct q2_range r)
{
	return q2_add_sat(r.start, r.len);
}

static inline bool q2_overlap(struct q2_range a, struct q2_range b)
{
	return a.len && b.len && a.start < q2_end(b) && b.start < q2_end(a);
}

#endif
