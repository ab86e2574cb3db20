/*
 * segments.h - the metadata of an image as ranges that do not overlap.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_MAP_SEGMENTS_H
#define Q2_MAP_SEGMENTS_H

#include "map/survey.h"

struct q2_segment {
	uint64_t first; /* cluster */
	uint64_t end;	/* the cluster behind it */
	enum q2_use use;
	uint32_t index; /* SNAPSHOT_L1: the snapshot's */
};
Q2_VEC(q2_segments, struct q2_segment)

/* What the check registered, in rising order; Q2_U_MIXED where two things claim
 * the same clusters.  L2 tables are not among it.  To be freed after failure,
 * too. */
enum q2_status q2_segments_make(const struct q2_survey *s,
				struct q2_segments *out,
				struct q2_err *err) Q2_MUST_CHECK;

#endif
