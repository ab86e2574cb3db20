/*
 * luks.c - the lengths in a LUKS1 header.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/luks.h"

#include <stddef.h>

#include "base/endian.h"
#include "base/num.h"

enum {
	SECTOR = 512,
	AT_PAYLOAD = 104, /* in sectors */
	AT_KEY_BYTES = 108,
	AT_SLOTS = 208,
	SLOT_LEN = 48,
	SLOTS = 8,
	SLOT_OFFSET = 40, /* of the key material, in sectors */
	SLOT_STRIPES = 44
};

bool q2_luks_parse(const uint8_t bytes[Q2_LUKS_HEADER], struct q2_luks *out)
{
	uint64_t key_bytes = q2_be32(bytes + AT_KEY_BYTES);

	*out = (struct q2_luks){.magic = q2_be64(bytes)};
	if (out->magic != Q2_LUKS_MAGIC)
		return false;
	out->payload = (uint64_t)q2_be32(bytes + AT_PAYLOAD) * SECTOR;
	out->keys_end = Q2_LUKS_HEADER;
	/* Unused slots count as well: a key that is added later goes there. */
	for (unsigned i = 0; i < SLOTS; i++) {
		const uint8_t *slot = bytes + AT_SLOTS + (size_t)i * SLOT_LEN;
		uint64_t at = (uint64_t)q2_be32(slot + SLOT_OFFSET) * SECTOR;
		uint64_t len = key_bytes * q2_be32(slot + SLOT_STRIPES);

		out->keys_end = q2_max(out->keys_end, q2_add_sat(at, len));
	}
	return true;
}
