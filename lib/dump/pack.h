/*
 * pack.h - compressing clusters.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_PACK_H
#define Q2_DUMP_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "q2.h"

/* One thread's encoder. */
struct q2_packer;

/* Level 0 is the default: the one whose result is as large as QEMU's. */
enum q2_status q2_packer_new(enum q2_compress method, int level,
			     struct q2_packer **out,
			     struct q2_err *err) Q2_MUST_CHECK;
void q2_packer_free(struct q2_packer *p);

/* Compresses n bytes into `room` bytes at `out`; returns the length, or 0 if they
 * do not fit. */
size_t q2_pack(struct q2_packer *p, const uint8_t *bytes, size_t n,
	       uint8_t *out, size_t room);

/* About how many bytes an encoder takes for clusters of this size. */
size_t q2_pack_memory(enum q2_compress method, int level, size_t cluster);

/* Whether there is such a level. */
bool q2_pack_level_ok(enum q2_compress method, int level);

#endif
