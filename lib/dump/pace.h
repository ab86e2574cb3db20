/*
 * pace.h - no faster than so many bytes a second.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_PACE_H
#define Q2_DUMP_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct q2_pace {
	uint64_t rate;	/* bytes a second; 0: no limit */
	uint64_t begun; /* nanoseconds */
};

void q2_pace_start(struct q2_pace *p, uint64_t rate);

/* If `done` bytes since the start are too many, sleeps for a moment, short enough
 * for signals to be seen soon, and returns true: then it is to be called again. */
bool q2_pace_wait(const struct q2_pace *p, uint64_t done);

#endif
