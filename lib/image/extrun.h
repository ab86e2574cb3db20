/*
 * extrun.h - the run of like entries at the start of a part of an L2 table.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_IMAGE_EXTRUN_H
#define Q2_IMAGE_EXTRUN_H

#include "image/extents.h"

/* `bytes` are `n` entries of an L2 table, the first of which covers out->guest.
 * Fills in what they are, and cuts out->length to the run. */
void q2_run_at(const struct q2_geom *g, const uint8_t *bytes, uint64_t n,
	       struct q2_extent *out);

#endif
