/*
 * t_repair.c - targets repair, crash-repair and plan.
 *
 * SPDX-License-Identifier: MIT
 *
 * R-1 a plan converges, and what it leaves is what it said; R-2 a second one is
 * empty; R-3 the result is that of a check of the real file; R-4 what a guest
 * could read without doubt it still reads; R-6 what is written is the plan, and
 * undoing gives back every byte; R-7 from each prefix of the writes both redo and
 * undo lead on, and the guest's data is there; R-8 the file grows little.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "guest.h"
#include "repair/planfile.h"
#include "../tests/support/testio.h"

/* Tables of the largest sizes that the format allows may be written anew. */
#define GROWTH (UINT64_C(80) << 20)
#define PREFIXES 12u /* of the writes that are tried, spread over all */

struct repair {
	const struct q2f_input *in;
	struct q2_io *image; /* the one that is repaired, in memory */
	struct test_io log;  /* in front of it */
	struct q2_plan *plan;
	struct q2_plan_result result;
	struct q2f_guest guest; /* before */
};

static enum q2_status make_plan(const struct q2f_input *in, struct q2_io *io,
				struct q2_plan **plan,
				struct q2_plan_result *result)
{
	struct q2_plan_opts opts = {
		.flags = (in->ctl.flags & Q2F_ALL ? Q2_PLAN_ALL : 0) |
			 (in->ctl.flags & Q2F_RESCUE ? Q2_PLAN_RESCUE : 0),
	};
	struct q2_err err = {0};
	enum q2_status st = q2_plan_make(io, &opts, plan, result, &err);

	if (st != Q2_OK && err.code == Q2_OK)
		q2f_violation("C-1", "planning: status %d without a cause",
			      (int)st);
	if (st != Q2_OK && *plan)
		q2f_violation("I-7", "planning failed, but left a plan");
	return st;
}

static bool holds(struct q2_io *io, const uint8_t *bytes, uint64_t size)
{
	return q2_io_size(io) == size &&
	       memcmp(q2_io_memory_bytes(io), bytes, size) == 0;
}

/* The bytes that the plan says there will be; to be freed. */
static uint8_t *promised(const struct repair *r)
{
	const struct q2_plan *p = r->plan;
	uint64_t room = p->new_size > r->in->size ? p->new_size : r->in->size;
	uint8_t *want = calloc(1, room ? room : 1);

	if (want == NULL)
		abort();
	memcpy(want, r->in->image, r->in->size);
	for (size_t i = 0; i < p->edits.n; i++) {
		const struct q2_edit *e = &p->edits.at[i];

		if (e->offset > room || e->len > room - e->offset)
			q2f_violation("I-8", "an edit at %llu, past the file's end",
				      (unsigned long long)e->offset);
		memcpy(want + e->offset, e->after, e->len);
	}
	return want;
}

static void judge_plan(const struct repair *r)
{
	const struct q2_plan_result *res = &r->result;
	const struct q2_plan *p = r->plan;

	if (res->not_converged)
		(void)q2f_open_violation("R-1", "the plan does not converge");
	if (res->rounds > 3)
		q2f_violation("R-1", "%u rounds", res->rounds);
	if (p->old_size != r->in->size)
		q2f_violation("R-6", "the plan is for another file");
	if (p->new_size > p->old_size + p->old_size / 2 + GROWTH +
				  (UINT64_C(16) << res->before.cluster_bits))
		(void)q2f_open_violation("R-8", "the file grows from %llu to %llu bytes",
					 (unsigned long long)p->old_size,
					 (unsigned long long)p->new_size);
	if (res->after.corruptions > res->before.corruptions)
		q2f_violation("R-1", "more corruptions after than before");
}

/* What the rehearsal said is what a check of the real file says. */
static void judge_result(const struct repair *r)
{
	struct q2f_said s = {0};
	const struct q2_check_result *want = &r->result.after;

	q2f_run_check(r->image, 0, &s);
	if (s.status != Q2_OK || s.result.verdict != want->verdict ||
	    s.result.corruptions != want->corruptions ||
	    s.result.leaks != want->leaks)
		q2f_violation("R-3", "promised %s with %llu corruptions and %llu leaks, but %s with %llu and %llu",
			      q2_verdict_text(want->verdict),
			      (unsigned long long)want->corruptions,
			      (unsigned long long)want->leaks,
			      q2_verdict_text(s.result.verdict),
			      (unsigned long long)s.result.corruptions,
			      (unsigned long long)s.result.leaks);
}

static void judge_second(const struct repair *r)
{
	struct q2_plan *again;
	struct q2_plan_result res;

	if (make_plan(r->in, r->image, &again, &res) != Q2_OK)
		q2f_violation("R-2", "a second plan cannot be made");
	if (q2_plan_edits(again))
		q2f_violation("R-2", "a second repair has %zu edits",
			      q2_plan_edits(again));
	q2_plan_free(again);
}

static void judge_guest(const struct repair *r, struct q2_io *io,
			const char *oracle)
{
	struct q2f_guest after;

	q2f_guest_read(&after, q2_io_memory_bytes(io),
		       (size_t)q2_io_size(io), false);
	q2f_guest_compare(&r->guest, &after, oracle);
	q2f_guest_free(&after);
}

/* False if there is nothing to do. */
static bool start(struct repair *r, const struct q2f_input *in)
{
	struct q2_io *plain;
	uint64_t before = q2_hash(in->image, in->size);

	*r = (struct repair){.in = in};
	q2f_context = in->ctl.flags & Q2F_ALL ? " (all)" : " (safe)";
	if (q2_io_memory(in->image, in->size, &plain, NULL) != Q2_OK)
		return false;
	if (make_plan(in, plain, &r->plan, &r->result) != Q2_OK)
		r->plan = NULL;
	q2_io_close(plain);
	if (q2_hash(in->image, in->size) != before)
		q2f_violation("C-3", "planning changed the image");
	if (r->plan == NULL)
		return false;
	judge_plan(r);
	if (q2_plan_edits(r->plan) == 0) {
		q2_plan_free(r->plan);
		return false;
	}
	if (q2_io_memory_rw(in->image, in->size, 0, &r->image, NULL) != Q2_OK)
		abort();
	test_io_open(&r->log, r->image);
	q2f_guest_read(&r->guest, in->image, in->size, true);
	return true;
}

static void finish(struct repair *r)
{
	q2_io_close(&r->log.io);
	q2_io_close(r->image);
	q2_plan_free(r->plan);
	q2f_guest_free(&r->guest);
}

static void apply(struct repair *r)
{
	struct q2_err err = {0};
	uint8_t *want = promised(r);

	if (q2_plan_apply(r->plan, &r->log.io, NULL, &err) != Q2_OK)
		q2f_violation("R-6", "a fresh plan cannot be applied: %s",
			      err.text);
	if (!holds(r->image, want, r->plan->new_size))
		q2f_violation("R-6", "the file is not what the plan says");
	free(want);
}

static void undo(struct repair *r, struct q2_io *io, const char *oracle)
{
	struct q2_err err = {0};

	if (q2_plan_undo(r->plan, io, NULL, &err) != Q2_OK)
		q2f_violation(oracle, "it cannot be undone: %s", err.text);
	if (!holds(io, r->in->image, r->in->size))
		q2f_violation(oracle, "undoing leaves another file");
}

int q2f_repair(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct repair r;

	/* To find the one wrong bit, hundreds of checks are made. */
	unsigned n = in.ctl.flags & Q2F_ALL || q2f_sampled(&in, 32) ? 2 : 1;

	for (unsigned all = 0; all < n; all++) {
		in.ctl.flags = all ? Q2F_ALL : 0;
		if (!start(&r, &in))
			continue;
		apply(&r);
		judge_result(&r);
		judge_guest(&r, r.image, "R-4");
		judge_second(&r);
		undo(&r, r.image, "R-6");
		finish(&r);
	}
	return 0;
}

/* Where roots are lost, and found again, the disk may be another one than before:
 * what the guest reads is not compared. */
int q2f_rescue(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct repair r;

	in.ctl.flags = Q2F_ALL | Q2F_RESCUE;
	if (!start(&r, &in))
		return 0;
	apply(&r);
	judge_result(&r);
	undo(&r, r.image, "R-6");
	finish(&r);
	return 0;
}

/* A crash after `n` events, of which the last write got through in part. */
static void crash(struct repair *r, size_t n, size_t torn, const uint8_t *end)
{
	struct q2_io *io;
	struct q2_err err = {0};

	if (q2_io_memory_rw(r->in->image, r->in->size, 0, &io, NULL) != Q2_OK)
		abort();
	test_io_replay(&r->log, n, torn, io);
	judge_guest(r, io, "R-7");
	if (n % 2) {
		undo(r, io, "R-7");
	} else {
		if (q2_plan_redo(r->plan, io, NULL, &err) != Q2_OK)
			q2f_violation("R-7", "after %zu writes it cannot go on: %s",
				      n, err.text);
		if (!holds(io, end, r->plan->new_size))
			q2f_violation("R-7", "going on leaves another file");
	}
	q2_io_close(io);
}

int q2f_crash_repair(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct repair r;
	uint8_t *end;
	size_t n, step;

	in.ctl.flags |= in.size % 2 ? 0 : Q2F_ALL;
	if (!start(&r, &in))
		return 0;
	apply(&r);
	end = promised(&r);
	n = r.log.n_log;
	step = n / PREFIXES + 1;
	for (size_t i = in.ctl.pick % step; i <= n; i += step)
		crash(&r, i, i % 3 ? 0 : 512, end);
	free(end);
	finish(&r);
	return 0;
}

/* ---------------------------------------------------------------- plan files */

/* A plan file with one byte changed is refused: it is read before an image is
 * touched, so nothing wrong in it may pass. */
static void flip(const uint8_t *bytes, size_t n, size_t at)
{
	uint8_t *copy = malloc(n);
	struct q2_io *io;
	struct q2_plan *plan;
	struct q2_plan_info info;

	if (copy == NULL)
		abort();
	memcpy(copy, bytes, n);
	copy[at] ^= (uint8_t)(1u << at % 8);
	if (q2_io_memory(copy, n, &io, NULL) != Q2_OK)
		abort();
	if (q2_pf_read(io, 0, &plan, &info, NULL) == Q2_OK) {
		q2_plan_free(plan);
		q2f_violation("P-1", "a plan file with byte %zu of %zu changed is taken",
			      at, n);
	}
	q2_io_close(io);
	free(copy);
}

static void round_trip(const struct repair *r)
{
	struct q2_io *file, *again;
	struct q2_plan *plan;
	struct q2_plan_info info;
	const uint8_t *bytes;
	size_t n;

	if (q2_io_memory_rw("", 0, 0, &file, NULL) != Q2_OK ||
	    q2_io_memory_rw("", 0, 0, &again, NULL) != Q2_OK)
		abort();
	if (q2_pf_write(r->plan, Q2_PLAN_REVIEW, 0, file, NULL) != Q2_OK)
		q2f_violation("P-1", "a plan cannot be stored");
	if (q2_pf_read(file, 0, &plan, &info, NULL) != Q2_OK)
		q2f_violation("P-1", "a stored plan cannot be read");
	if (q2_pf_write(plan, Q2_PLAN_REVIEW, 0, again, NULL) != Q2_OK)
		q2f_violation("P-1", "a plan that was read cannot be stored");
	n = (size_t)q2_io_size(file);
	bytes = q2_io_memory_bytes(file);
	if (!holds(again, bytes, n))
		q2f_violation("P-1", "a plan changes when it is stored twice");
	for (size_t i = 0; i < 16; i++)
		flip(bytes, n, (i * n / 16 + r->in->ctl.pick) % n);
	q2_plan_free(plan);
	q2_io_close(file);
	q2_io_close(again);
}

/* A journal says how far its image is, and that is what is read. */
static void states(const struct repair *r)
{
	static const enum q2_plan_state order[] = {
		Q2_STATE_APPLYING, Q2_STATE_FINISHED, Q2_STATE_UNDOING,
		Q2_STATE_UNDONE, Q2_STATE_APPLYING};
	struct q2_plan_info info;
	struct q2_plan *plan;
	struct q2_io *file;

	if (q2_io_memory_rw("", 0, 0, &file, NULL) != Q2_OK)
		abort();
	if (q2_pf_write(r->plan, Q2_PLAN_JOURNAL, 1, file, NULL) != Q2_OK)
		q2f_violation("P-1", "a journal cannot be stored");
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
		if (q2_pf_add_state(file, order[i], i, false, NULL) != Q2_OK)
			q2f_violation("P-1", "state %zu cannot be added", i);
		if (q2_pf_read(file, 0, &plan, &info, NULL) != Q2_OK)
			q2f_violation("P-1", "a journal cannot be read");
		q2_plan_free(plan);
		if (info.state != order[i] || info.changed != i)
			q2f_violation("P-1", "state %d instead of %d",
				      (int)info.state, (int)order[i]);
	}
	q2_io_close(file);
}

int q2f_plan(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct q2_io *io;
	struct q2_plan *plan;
	struct q2_plan_info info;
	struct repair r;

	/* As a plan file by itself. */
	if (q2_io_memory(in.image, in.size, &io, NULL) != Q2_OK)
		return 0;
	if (q2_pf_read(io, 0, &plan, &info, NULL) == Q2_OK)
		q2_plan_free(plan);
	q2_io_close(io);
	in.ctl.flags |= Q2F_ALL;
	if (!start(&r, &in))
		return 0;
	round_trip(&r);
	states(&r);
	finish(&r);
	return 0;
}
