/*
 * digest.h - a fingerprint of what a guest reads, in which holes cost nothing.
 *
 * SPDX-License-Identifier: MIT
 *
 * A tree of XXH3-128 digests.  A disk is cut into chunks of 1 MiB, a chunk into
 * blocks of 4 KiB; the last ones may be shorter.  A block's digest is that of its
 * bytes.  A chunk's is that of, for each block which is not all zeros, its number
 * in the chunk (2 bytes) and its digest.  The disk's is that of a magic text, the
 * disk's size (8 bytes) and, for each chunk which is not all zeros, its number (8
 * bytes) and its digest.  Numbers are big-endian, digests in XXH's canonical form.
 */
#ifndef Q2_DUMP_DIGEST_H
#define Q2_DUMP_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "q2.h"

#define Q2_CHUNK_BITS 20
#define Q2_CHUNK_SIZE ((size_t)1 << Q2_CHUNK_BITS)
#define Q2_BLOCK_BITS 12
#define Q2_BLOCK_SIZE ((size_t)1 << Q2_BLOCK_BITS)
#define Q2_CHUNK_BLOCKS (Q2_CHUNK_SIZE / Q2_BLOCK_SIZE)

/* A bit for each block of a chunk. */
struct q2_blocks {
	uint64_t bits[Q2_CHUNK_BLOCKS / 64];
};

static inline bool q2_blocks_has(const struct q2_blocks *b, size_t i)
{
	return b->bits[i / 64] >> (i % 64) & 1;
}

static inline void q2_blocks_set(struct q2_blocks *b, size_t i)
{
	b->bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void q2_blocks_clear(struct q2_blocks *b, size_t i)
{
	b->bits[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

bool q2_blocks_none(const struct q2_blocks *b);

/* Whether all n bytes are 0. */
bool q2_zeros(const uint8_t *bytes, size_t n);

/* Clears the bits of blocks that are all zeros; bytes of blocks whose bit is
 * clear are not looked at.  `n` is the chunk's length. */
void q2_blocks_sift(struct q2_blocks *b, const uint8_t *bytes, size_t n);

/* The digest of a chunk of `n` bytes of which the blocks in `b`, and no others,
 * hold anything but zeros. */
struct q2_digest q2_digest_chunk(const struct q2_blocks *b,
				 const uint8_t *bytes, size_t n);

/* The digest of a whole disk, chunk after chunk. */
struct q2_digest_disk {
	XXH3_state_t *state;
};

enum q2_status q2_digest_start(struct q2_digest_disk *d, uint64_t size,
			       struct q2_err *err) Q2_MUST_CHECK;
/* Chunks that are all zeros are left out; the others come in rising order. */
void q2_digest_add(struct q2_digest_disk *d, uint64_t number,
		   const struct q2_digest *chunk);
struct q2_digest q2_digest_end(const struct q2_digest_disk *d);
void q2_digest_free(struct q2_digest_disk *d);

#endif
