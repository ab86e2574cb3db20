/*
 * hash.h - a 64-bit digest of some bytes.
 *
 * SPDX-License-Identifier: MIT
 *
 * XXH3: fast and evenly spread, but no defence against somebody who looks for
 * two inputs with the same digest.
 */
#ifndef Q2_BASE_HASH_H
#define Q2_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t q2_hash(const void *bytes, size_t n)
{
	return XXH3_64bits(bytes, n);
}

/* The same, going on from an earlier digest. */
static inline uint64_t q2_hash_on(uint64_t digest, const void *bytes, size_t n)
{
	return XXH3_64bits_withSeed(bytes, n, digest);
}

#endif
