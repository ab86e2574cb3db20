/*
 * verify.c - whether the result, read again, is what it was meant to be.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/err.h"
#include "dump/bitmaps.h"
#include "dump/dump.h"

static void take_finding(void *ctx, const struct q2_finding *f)
{
	const struct q2_problem **first = ctx;

	if (*first == NULL && f->problem->severity != Q2_ADVICE)
		*first = f->problem;
}

/* What the digest does not see: refcounts, and all that no reader looks at. */
static enum q2_status check(struct q2_io *io, struct q2_err *err)
{
	const struct q2_problem *first = NULL;
	struct q2_check_opts opts = {.found = take_finding, .ctx = &first};
	struct q2_check_result r;
	enum q2_status st = q2_check(io, &opts, &r, err);

	if (st == Q2_OK && (r.verdict != Q2_CLEAN || r.partial))
		st = q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET,
			     "what was written reads back differently: "
			     "the image is damaged (%s)",
			     first ? first->id : "it cannot all be checked");
	return st;
}

static enum q2_status open_result(struct q2_dump_run *d, struct q2_guest **out,
				  struct q2_err *err)
{
	struct q2_guest_opts how = {.format = d->opts->format == Q2_DUMP_RAW ?
				    Q2_GUEST_RAW : Q2_GUEST_QCOW2,
				    .allow_any = true,
				    .layer = Q2_ANY_LAYER};

	/* A device of a server may take one connection only. */
	if (q2_target_kind(d->target) == Q2_TARGET_DEVICE)
		return q2_guest_open_io(q2_target_io(d->target), d->path, &how,
					out, err);
	return q2_guest_open(q2_target_path(d->target), &how, out, err);
}

enum q2_status q2_dump_verify(struct q2_dump_run *d, struct q2_err *err)
{
	static const struct q2_sink_ops nothing = {.transient = true};
	struct q2_read_opts opts = d->opts->scan;
	struct q2_pass s = {.opts = &opts,
			    .length = d->length,
			    .phase = "verify",
			    .digest = true,
			    .sink = &nothing};
	enum q2_status st;

	if (!(d->opts->flags & Q2_DUMP_VERIFY))
		return Q2_OK;
	opts.chunk = NULL;
	opts.salvage = false;
	q2_target_forget(d->target);
	st = open_result(d, &s.guest[0], err);
	if (st != Q2_OK)
		return st;
	st = q2_pass_run(&s, err);
	if (st == Q2_OK && memcmp(s.result.bytes, d->result->digest.bytes,
				  sizeof(s.result.bytes)) != 0)
		st = q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET,
			     "what was written reads back differently");
	if (st == Q2_OK && d->opts->format == Q2_DUMP_QCOW2)
		st = check(s.guest[0]->chain.layers[0]->io, err);
	if (st == Q2_OK && d->result->bitmaps)
		st = q2_bitmaps_verify(d, s.guest[0], err);
	q2_guest_close(s.guest[0]);
	return st;
}
