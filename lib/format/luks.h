/*
 * luks.h - how much room a LUKS1 header and its keys take.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Full disk encryption header pointer", and the LUKS on-disk format
 * 1.2.3.  Only what tells lengths is read; keys are none of our business.
 */
#ifndef Q2_FORMAT_LUKS_H
#define Q2_FORMAT_LUKS_H

#include <stdbool.h>
#include <stdint.h>

#define Q2_LUKS_HEADER 592u
#define Q2_LUKS_MAGIC UINT64_C(0x4c554b53babe0001) /* with version 1 */

struct q2_luks {
	uint64_t magic;	   /* the first 8 bytes: magic and version */
	uint64_t keys_end; /* bytes from the start, all key slots included */
	uint64_t payload;  /* where a LUKS disk's data would start, in bytes */
};

/* `bytes` are the area's first Q2_LUKS_HEADER bytes.  True if they start with
 * the magic of version 1; otherwise only *out's magic has a meaning. */
bool q2_luks_parse(const uint8_t bytes[Q2_LUKS_HEADER], struct q2_luks *out);

#endif
