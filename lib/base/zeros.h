/*
 * zeros.h - passing over what is empty.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_BASE_ZEROS_H
#define Q2_BASE_ZEROS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define Q2_ZEROS_STEP 256u

/* Whether the n bytes at p are all zero; no bytes are. */
static inline bool q2_all_zero(const void *p, size_t n)
{
	const uint8_t *b = p;

	return n == 0 || (b[0] == 0 && memcmp(b, b + 1, n - 1) == 0);
}

/* n without the steps of Q2_ZEROS_STEP bytes at its end that are all zero: most tables
 * are far longer than what stands in them. */
static inline size_t q2_used_bytes(const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n >= Q2_ZEROS_STEP &&
	       q2_all_zero(b + n - Q2_ZEROS_STEP, Q2_ZEROS_STEP))
		n -= Q2_ZEROS_STEP;
	return n;
}

#endif
