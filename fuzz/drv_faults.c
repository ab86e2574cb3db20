/*
 * drv_faults.c - the faults that one input is run with, one after another.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "drv_faults.h"
#include "places.h"

#define FAULTS 4096u /* of each kind that are tried with one input */

enum fault { FAIL_ALLOC, FAIL_READ, FAIL_WRITE, STOP, BAD_SECTOR, DECLINE,
	     FAULT_KINDS };

static const char *const names[FAULT_KINDS] = {"alloc", "read", "write", "stop",
					       "sector", "ask+one-not"};

static struct q2f_control fault(struct q2f_control ctl, unsigned kind,
				uint32_t k)
{
	ctl.fail_alloc = kind == FAIL_ALLOC ? k : 0;
	ctl.fail_read = kind == FAIL_READ || kind == BAD_SECTOR ? k : 0;
	ctl.fail_write = kind == FAIL_WRITE ? k : 0;
	ctl.stop = kind == STOP ? k : 0;
	if (kind == BAD_SECTOR)
		ctl.flags |= Q2F_SECTOR;
	if (kind == DECLINE) {
		ctl.flags |= Q2F_ASK;
		ctl.pick = Q2F_ONE_NOT | (k & 255);
	}
	return ctl;
}

/* Until one is not reached any more; of sectors there are as many as there are. */
void q2f_each_fault(const struct q2f_input *in, uint32_t of, q2f_run_fn *run)
{
	static uint32_t first;

	first = first % of + 1;
	for (unsigned kind = 0; kind <= BAD_SECTOR; kind++) {
		size_t most = kind == BAD_SECTOR ? (in->size + 511) / 512 : FAULTS;

		for (uint32_t k = first; k <= most; k += of) {
			struct q2f_control ctl = fault(in->ctl, kind, k);

			q2f_fault_reached = false;
			run(in, &ctl, names[kind], k);
			if (!q2f_fault_reached && kind != BAD_SECTOR)
				break;
		}
	}
}

/* A fault that never comes shows where it could. */
static void in_places(const struct q2f_input *in, unsigned kind, unsigned depth,
		      q2f_run_fn *run)
{
	struct q2f_control ctl = fault(in->ctl, kind, Q2F_NEVER);
	const uint32_t *k;
	size_t n;

	q2f_places_begin(depth);
	run(in, &ctl, names[kind], Q2F_NEVER);
	n = q2f_places_end(&k);
	for (size_t i = 0; i < n; i++) {
		ctl = fault(in->ctl, kind, k[i]);
		run(in, &ctl, names[kind], k[i]);
	}
}

/* As it is, in other ways, and with a device's room. */
void q2f_each_place(const struct q2f_input *in, unsigned depth, q2f_run_fn *run)
{
	static const struct {
		unsigned flags;
		unsigned pick;
	} ways[] = {{0, 0},
		    {Q2F_DATA | Q2F_FULL | Q2F_ALL, 0},
		    {Q2F_ALL | Q2F_FREE, 0},
		    {Q2F_ALL | Q2F_ASK, Q2F_DEVICE},
		    {Q2F_ALL | Q2F_ASK, Q2F_DEVICE | 2u << Q2F_ROOM_BITS}};
	struct q2f_input with = *in;

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		if (ways[i].pick && in->ctl.pick)
			break;
		with.ctl.flags = in->ctl.flags | ways[i].flags;
		with.ctl.pick = in->ctl.pick | ways[i].pick;
		for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
			if (kind != BAD_SECTOR &&
			    (kind != DECLINE || with.ctl.pick == 0))
				in_places(&with, kind, depth, run);
	}
}

void q2f_each_told(const struct q2f_input *in, q2f_run_fn *run)
{
	const struct q2f_control told = in->ctl;
	bool ask = told.flags & Q2F_ASK && told.pick & Q2F_ONE_NOT;
	const uint32_t depth[FAULT_KINDS] = {
		[FAIL_ALLOC] = told.fail_alloc,
		[FAIL_READ] = told.fail_read,
		[FAIL_WRITE] = told.fail_write,
		[STOP] = told.stop,
		[DECLINE] = ask ? told.pick & 255 : 0,
	};
	struct q2f_input with = *in;

	with.ctl = (struct q2f_control){
		.flags = told.flags & ~(unsigned)(Q2F_EACH | (ask ? Q2F_ASK : 0)),
		.pick = ask ? 0 : told.pick,
		.hole = told.hole,
	};
	/* An input does what it does whichever were before it. */
	q2f_places_forget();
	for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
		if (depth[kind])
			in_places(&with, kind, depth[kind], run);
}
