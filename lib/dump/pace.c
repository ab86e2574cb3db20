/*
 * pace.c - no faster than so many bytes a second.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/pace.h"

#include <stddef.h>
#include <time.h>

#define NS UINT64_C(1000000000)
#define NAP_MAX (NS / 10)

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* it is always there */
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

void q2_pace_start(struct q2_pace *p, uint64_t rate)
{
	p->rate = rate;
	p->begun = rate ? now_ns() : 0;
}

bool q2_pace_wait(const struct q2_pace *p, uint64_t done)
{
	double due = p->rate ? (double)done / (double)p->rate * (double)NS : 0;
	double early = p->rate ? due - (double)(now_ns() - p->begun) : 0;
	struct timespec nap = {0};

	if (early <= 0)
		return false;
	nap.tv_nsec = (long)(early < (double)NAP_MAX ? early : (double)NAP_MAX);
	(void)nanosleep(&nap, NULL);
	return true;
}
