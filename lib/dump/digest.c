/*
 * digest.c - the tree of digests, and telling zeros.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/digest.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"

#define DIGEST_LEN 16u
#define BLOCK_RECORD (2u + DIGEST_LEN)
#define CHUNK_RECORD (8u + DIGEST_LEN)

static const char magic[] = "qcow2-progs disk digest 1";

bool q2_blocks_none(const struct q2_blocks *b)
{
	uint64_t any = 0;

	for (size_t i = 0; i < Q2_CHUNK_BLOCKS / 64; i++)
		any |= b->bits[i];
	return any == 0;
}

/* Data mostly show within the first bytes; what does not is compared with itself,
 * moved by 16 bytes, at the speed of memcmp(). */
bool q2_zeros(const uint8_t *bytes, size_t n)
{
	static const uint8_t zero[16];
	size_t head = n < sizeof(zero) ? n : sizeof(zero);

	if (head == 0)
		return true;
	if (memcmp(bytes, zero, head) != 0)
		return false;
	return n == head || memcmp(bytes, bytes + head, n - head) == 0;
}

void q2_blocks_sift(struct q2_blocks *b, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < Q2_CHUNK_BLOCKS; i++) {
		size_t at = i * Q2_BLOCK_SIZE;

		if (!q2_blocks_has(b, i))
			continue;
		if (at >= n ||
		    q2_zeros(bytes + at, n - at < Q2_BLOCK_SIZE ?
						 n - at : Q2_BLOCK_SIZE))
			q2_blocks_clear(b, i);
	}
}

static struct q2_digest canonical(XXH128_hash_t hash)
{
	XXH128_canonical_t c;
	struct q2_digest d;

	XXH128_canonicalFromHash(&c, hash);
	memcpy(d.bytes, c.digest, sizeof(d.bytes));
	return d;
}

static void put(uint8_t *to, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

struct q2_digest q2_digest_chunk(const struct q2_blocks *b,
				 const uint8_t *bytes, size_t n)
{
	uint8_t records[Q2_CHUNK_BLOCKS * BLOCK_RECORD];
	size_t used = 0;

	for (size_t i = 0; i < Q2_CHUNK_BLOCKS; i++) {
		size_t at = i * Q2_BLOCK_SIZE;
		struct q2_digest d;

		if (!q2_blocks_has(b, i) || at >= n)
			continue;
		d = canonical(XXH3_128bits(bytes + at, n - at < Q2_BLOCK_SIZE ?
						n - at : Q2_BLOCK_SIZE));
		put(records + used, i, 2);
		memcpy(records + used + 2, d.bytes, DIGEST_LEN);
		used += BLOCK_RECORD;
	}
	return canonical(XXH3_128bits(records, used));
}

enum q2_status q2_digest_start(struct q2_digest_disk *d, uint64_t size,
			       struct q2_err *err)
{
	uint8_t be[8];

	d->state = XXH3_createState();
	if (d->state == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	put(be, size, sizeof(be));
	(void)XXH3_128bits_reset(d->state);
	(void)XXH3_128bits_update(d->state, magic, sizeof(magic) - 1);
	(void)XXH3_128bits_update(d->state, be, sizeof(be));
	return Q2_OK;
}

void q2_digest_add(struct q2_digest_disk *d, uint64_t number,
		   const struct q2_digest *chunk)
{
	uint8_t record[CHUNK_RECORD];

	put(record, number, 8);
	memcpy(record + 8, chunk->bytes, DIGEST_LEN);
	(void)XXH3_128bits_update(d->state, record, sizeof(record));
}

struct q2_digest q2_digest_end(const struct q2_digest_disk *d)
{
	return canonical(XXH3_128bits_digest(d->state));
}

void q2_digest_free(struct q2_digest_disk *d)
{
	XXH3_freeState(d->state);
	d->state = NULL;
}
