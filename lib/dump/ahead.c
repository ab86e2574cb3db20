/*
 * ahead.c - telling the kernel what the crew will read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/fill.h"

#define NEAR (UINT64_C(64) << 10) /* as well read what lies between */

/* Where the bytes of a piece lie; the range is empty if they need not be read. */
static struct q2_io *place(const struct q2_pass *s, unsigned side,
			   const struct q2_piece *p, struct q2_range *at)
{
	const struct q2_layer *l = s->guest[side]->view.layers[p->depth];

	*at = (struct q2_range){p->e.host, 0};
	switch (p->e.kind) {
	case Q2_MAP_COMPRESSED:
		at->len = p->e.stored;
		return l->opened.img.io;
	case Q2_MAP_DATA:
		/* Blocks that may be shared are not read at all. */
		if (l->map.host_io && !q2_job_may_share(s))
			at->len = p->e.length;
		return l->map.host_io;
	default:
		return NULL;
	}
}

static void ahead(const struct q2_pass *s, unsigned side,
		  const struct q2_part *part)
{
	struct q2_range run = {0, 0};
	struct q2_io *io = NULL;

	for (size_t i = 0; i < part->n; i++) {
		struct q2_range r;
		struct q2_io *from = place(s, side, &part->pieces[i], &r);

		if (r.len == 0)
			continue;
		if (from == io && r.start >= run.start &&
		    r.start <= q2_add_sat(q2_end(run), NEAR)) {
			run.len = q2_max(run.len, r.start - run.start + r.len);
			continue;
		}
		if (io)
			q2_io_soon(io, run);
		io = from;
		run = r;
	}
	if (io)
		q2_io_soon(io, run);
}

void q2_job_ahead(const struct q2_pass *s, const struct q2_job *job)
{
	for (unsigned side = 0; side < 2 && s->guest[side] &&
	     job->kind == Q2_JOB_DATA; side++)
		ahead(s, side, &job->part[side]);
}
