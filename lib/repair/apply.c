/*
 * apply.c - carrying out a plan: from the image as it was to the repaired one,
 * from wherever a crash left it to either end.
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything is read and judged before the first write.  Forwards, each sector
 * goes through the edits that it lacks, in their order; backwards, through those
 * that it has, in reverse.  So it never holds anything but one of its versions,
 * and whatever interrupts either way leaves both ways open.
 */
#include "repair/apply.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "io/io.h"
#include "repair/sectors.h"

/* One piece of work. */
struct job {
	const struct q2_plan *plan;
	struct q2_io *io;
	const struct q2_apply_opts *opts;
	struct q2_sectors sectors;
	struct q2_progress progress;
	bool unflushed;
};

static enum q2_status unsound(size_t i, const char *why, struct q2_err *err)
{
	return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
		       "edit %zu of the plan %s", i, why);
}

enum q2_status q2_plan_sound(const struct q2_plan *plan, struct q2_err *err)
{
	enum q2_phase phase = Q2_PH_MARK;
	uint64_t saved = 0;

	if (plan->new_size < plan->old_size || plan->new_size > INT64_MAX ||
	    (plan->is_device && plan->new_size != plan->old_size))
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "the plan's file sizes make no sense");
	for (size_t i = 0; i < plan->edits.n; i++) {
		const struct q2_edit *e = &plan->edits.at[i];

		if (e->phase < phase || e->phase >= Q2_PHASES)
			return unsound(i, "is out of order", err);
		if (e->len == 0 || e->before_len > e->len ||
		    !q2_inside(e->offset, e->len, plan->new_size))
			return unsound(i, "does not lie in the file", err);
		if (e->before_len < e->len &&
		    e->offset + e->before_len < plan->old_size)
			return unsound(i, "does not say what it replaces", err);
		if (e->action >= plan->actions.n)
			return unsound(i, "belongs to no action", err);
		phase = e->phase;
	}
	for (size_t i = 0; i < plan->exports.n; i++) {
		const struct q2_export *x = &plan->exports.at[i];

		if (x->offset < saved || x->length == 0 ||
		    !q2_inside(x->offset, x->length, plan->old_size))
			return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
				       "range %zu to be saved makes no sense",
				       i);
		saved = x->offset + x->length;
	}
	return Q2_OK;
}

static enum q2_status other_size(const struct q2_plan *plan,
				 const struct q2_io *io, struct q2_err *err)
{
	return q2_fail(err, Q2_E_CHANGED, 0, Q2_NO_OFFSET,
		       "changed since: it has %llu bytes, the plan expects "
		       "%llu; nothing was written",
		       (unsigned long long)io->size,
		       (unsigned long long)plan->old_size);
}

enum q2_status q2_plan_fits(const struct q2_plan *plan, struct q2_io *io,
			    struct q2_err *err)
{
	uint64_t digest;
	enum q2_status st;

	if (io->size != plan->old_size && io->size != plan->new_size)
		return other_size(plan, io, err);
	st = q2_plan_identity(plan, io, &digest, err);
	if (st == Q2_OK && digest != plan->identity)
		return q2_fail(err, Q2_E_CHANGED, 0, 0,
			       "this is not the image that the plan was made "
			       "for, or it was changed since: its first bytes "
			       "differ; nothing was written");
	return st;
}

/* ------------------------------------------------------------------- writing */

static enum q2_status flush(struct job *j, struct q2_err *err)
{
	if (!j->unflushed)
		return Q2_OK;
	j->unflushed = false;
	return q2_flush(j->io, err);
}

static bool stopped(struct job *j)
{
	const struct q2_apply_opts *o = j->opts;

	return o && o->progress && o->progress(o->ctx, &j->progress);
}

/* Puts the edit's bytes [from, end) in place: those after it, or before it.  Where
 * the file ended in the middle of a sector zeros complete it, in the same write:
 * a sector must not be seen half done. */
static enum q2_status put(struct job *j, const struct q2_edit *e, size_t from,
			  size_t end, bool back, struct q2_err *err)
{
	const uint8_t *bytes = back ? e->before : e->after;
	size_t there = back ? (size_t)q2_min(end, e->before_len) : end;
	uint8_t last[Q2_SECTOR] = {0};
	uint64_t cut = (e->offset + there) & ~(uint64_t)(Q2_SECTOR - 1);
	size_t tail = (size_t)q2_max(from, cut - q2_min(cut, e->offset));
	enum q2_status st = Q2_OK;

	j->unflushed = true;
	if (there == end)
		return q2_pwrite(j->io, bytes + from, end - from,
				 e->offset + from, err);
	if (tail < there)
		memcpy(last, bytes + tail, there - tail);
	if (from < tail)
		st = q2_pwrite(j->io, bytes + from, tail - from,
			       e->offset + from, err);
	if (st == Q2_OK)
		st = q2_pwrite(j->io, last, end - tail, e->offset + tail, err);
	return st;
}

/* Whether a sector needs this edit, on the way forwards or back.  What will be
 * cut off at the end needs no undoing. */
static bool concerns(const struct job *j, size_t sector, size_t edit, bool back)
{
	bool has = edit < j->sectors.done[sector];

	if (!back)
		return !has;
	return has && (j->sectors.number[sector] << Q2_SECTOR_BITS) <
			      j->plan->old_size;
}

static enum q2_status do_edit(struct job *j, size_t i, bool back,
			      struct q2_err *err)
{
	const struct q2_edit *e = &j->plan->edits.at[i];
	size_t sector = q2_sectors_of(&j->sectors, e);
	size_t from = 0, end;
	enum q2_status st = Q2_OK;

	/* Sectors in a row that need it are written together. */
	for (size_t at = 0; at < e->len && st == Q2_OK; at = end, sector++) {
		size_t left = Q2_SECTOR -
			      (size_t)((e->offset + at) & (Q2_SECTOR - 1));
		bool wanted = concerns(j, sector, i, back);

		end = (size_t)q2_min(at + left, e->len);
		if (!wanted && from < at)
			st = put(j, e, from, at, back, err);
		if (!wanted)
			from = end;
	}
	if (st == Q2_OK && from < e->len)
		st = put(j, e, from, e->len, back, err);
	return st;
}

static enum q2_status next(struct job *j, size_t i, bool back,
			   struct q2_err *err)
{
	enum q2_status st;

	if (stopped(j)) {
		st = flush(j, err);
		return st != Q2_OK ? st
				   : q2_fail(err, Q2_E_INTERRUPTED, 0,
					     Q2_NO_OFFSET, "interrupted");
	}
	st = do_edit(j, i, back, err);
	j->progress.done++;
	return st;
}

static enum q2_status forwards(struct job *j, struct q2_err *err)
{
	const struct q2_edits *edits = &j->plan->edits;
	enum q2_status st = Q2_OK;

	if (j->io->size < j->plan->new_size) {
		st = q2_resize(j->io, j->plan->new_size, err);
		if (st == Q2_OK)
			st = q2_flush(j->io, err);
	}
	for (size_t i = 0; i < edits->n && st == Q2_OK; i++) {
		if (i > 0 && edits->at[i].phase != edits->at[i - 1].phase)
			st = flush(j, err);
		if (st == Q2_OK)
			st = next(j, i, false, err);
	}
	return st == Q2_OK ? flush(j, err) : st;
}

static enum q2_status backwards(struct job *j, struct q2_err *err)
{
	const struct q2_edits *edits = &j->plan->edits;
	enum q2_status st = Q2_OK;

	for (size_t i = edits->n; i-- > 0 && st == Q2_OK;) {
		if (i + 1 < edits->n &&
		    edits->at[i].phase != edits->at[i + 1].phase)
			st = flush(j, err);
		if (st == Q2_OK)
			st = next(j, i, true, err);
	}
	if (st == Q2_OK)
		st = flush(j, err);
	if (st == Q2_OK && j->io->size > j->plan->old_size) {
		st = q2_resize(j->io, j->plan->old_size, err);
		if (st == Q2_OK)
			st = q2_flush(j->io, err);
	}
	return st;
}

static enum q2_which which_version(enum q2_way way)
{
	switch (way) {
	case Q2_WAY_APPLY:
		return Q2_WHICH_FIRST;
	case Q2_WAY_REDO:
		return Q2_WHICH_MOST;
	case Q2_WAY_UNDO:
		break;
	}
	return Q2_WHICH_LEAST;
}

static enum q2_status judge(struct job *j, enum q2_way way, struct q2_err *err)
{
	const struct q2_plan *plan = j->plan;
	enum q2_status st = q2_plan_sound(plan, err);

	if (st == Q2_OK && way == Q2_WAY_APPLY && j->io->size != plan->old_size)
		return other_size(plan, j->io, err);
	if (st == Q2_OK)
		st = q2_plan_fits(plan, j->io, err);
	if (st == Q2_OK)
		st = q2_sectors_list(plan, j->opts ? j->opts->max_memory : 0,
				     &j->sectors, err);
	if (st == Q2_OK)
		st = q2_sectors_judge(&j->sectors, j->io, which_version(way),
				      err);
	return st;
}

enum q2_status q2_plan_carry_out(const struct q2_plan *plan, struct q2_io *io,
				 const struct q2_apply_opts *opts,
				 enum q2_way way,
				 enum q2_status (*begin)(void *ctx,
							 struct q2_err *err),
				 void *ctx, struct q2_err *err)
{
	static const char *const phases[] = {"apply", "redo", "undo"};
	struct job j = {.plan = plan, .io = io, .opts = opts};
	enum q2_status st;

	j.progress = (struct q2_progress){phases[way], 0, plan->edits.n};
	st = judge(&j, way, err);
	if (st == Q2_OK && stopped(&j))
		st = q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
			     "interrupted");
	if (st == Q2_OK && begin)
		st = begin(ctx, err);
	if (st == Q2_OK)
		st = way == Q2_WAY_UNDO ? backwards(&j, err)
					: forwards(&j, err);
	q2_sectors_free(&j.sectors);
	return st;
}

enum q2_status q2_plan_verify(const struct q2_plan *plan, struct q2_io *io,
			      uint64_t max_memory, struct q2_err *err)
{
	struct q2_apply_opts opts = {.max_memory = max_memory};
	struct job j = {.plan = plan, .io = io, .opts = &opts};
	enum q2_status st = judge(&j, Q2_WAY_APPLY, err);

	q2_sectors_free(&j.sectors);
	return st;
}

enum q2_status q2_plan_apply(const struct q2_plan *plan, struct q2_io *io,
			     const struct q2_apply_opts *opts,
			     struct q2_err *err)
{
	return q2_plan_carry_out(plan, io, opts, Q2_WAY_APPLY, NULL, NULL, err);
}

enum q2_status q2_plan_redo(const struct q2_plan *plan, struct q2_io *io,
			    const struct q2_apply_opts *opts,
			    struct q2_err *err)
{
	return q2_plan_carry_out(plan, io, opts, Q2_WAY_REDO, NULL, NULL, err);
}

enum q2_status q2_plan_undo(const struct q2_plan *plan, struct q2_io *io,
			    const struct q2_apply_opts *opts,
			    struct q2_err *err)
{
	return q2_plan_carry_out(plan, io, opts, Q2_WAY_UNDO, NULL, NULL, err);
}
