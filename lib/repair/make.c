/*
 * make.c - from an image and a policy to a plan: the steps, round after round.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "repair/repair.h"
#include "repair/rescue.h"

#define ROUNDS 3u /* and one to make the header readable, if it is not */
#define HEADS 8u /* mends of the header in a round */
#define TRIES 6u /* without one kind of problem each */

static enum q2_status one_round(struct q2_repair *r)
{
	static enum q2_status (*const steps[])(struct q2_repair *) = {
		q2_rescue_l1,	  q2_fix_l1_surely,  q2_fix_luks,
		q2_fix_header,	  q2_rescue_header,  q2_fix_extensions,
		q2_fix_snapshots, q2_fix_lost,	     q2_fix_size,
		q2_fix_stale,	  q2_fix_bitmaps,    q2_part_snaptable,
		q2_fix_l1,	  q2_spare_nonsense, q2_fix_l2,
		q2_move_snaptable, q2_fix_shared,    q2_rescue_tables,
		q2_fix_orphans,	  q2_fix_raw,	     q2_fix_refcounts,
		q2_fix_copied,	  q2_fix_marks,
	};
	enum q2_status st = Q2_OK;
	unsigned heads = 0;
	uint32_t before;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		st = q2_recheck(r);
		/* Without a geometry only the header can be mended. */
		if (st != Q2_OK ||
		    (i > 4 && r->c->img.geom.cluster_size == 0) ||
		    ((i > 4 || !q2_all(r)) && q2_misread(r)))
			return st;
		before = r->order;
		st = steps[i](r);
		if (st != Q2_OK)
			return st;
		/* What is put right may show what else is wrong with the header:
		 * nothing further on is believed before. */
		if (steps[i] == q2_fix_header && r->order != before &&
		    ++heads < HEADS)
			i--;
	}
	return q2_recheck(r);
}

/* What the repair has to look at of its own check: how much is wrong. */
static uint64_t badness(const struct q2_check_result *x)
{
	return x->verdict == Q2_UNREADABLE ? UINT64_MAX : x->corruptions;
}

/* Whether something that was to be mended is still there. */
static bool unfinished(const struct q2_repair *r)
{
	for (size_t i = 0; i < r->judged.kinds.n; i++) {
		unsigned number = r->judged.kinds.at[i];

		if (r->wishes[number] == Q2_WISH_YES &&
		    q2_problem_by_number(number)->severity == Q2_CORRUPT)
			return true;
	}
	return false;
}

static enum q2_status rounds(struct q2_repair *r, struct q2_plan_result *res)
{
	size_t before;
	unsigned most = ROUNDS;
	enum q2_status st = q2_recheck(r);

	res->before = r->result;
	most += st == Q2_OK && r->result.verdict == Q2_UNREADABLE;
	memset(r->first.had, 0, sizeof(r->first.had));
	for (size_t i = 0; i < r->judged.kinds.n; i++)
		r->first.had[r->judged.kinds.at[i]] = true;
	if (st != Q2_OK)
		return st;
	r->first.trees = (uint32_t)r->c->trees.n;
	do {
		before = r->order;
		st = one_round(r);
		res->rounds++;
	} while (st == Q2_OK && r->order != before && res->rounds < most);
	res->after = r->result;
	if (st != Q2_OK)
		return st;
	/* A plan that does not come to rest, or makes it worse, is none. */
	res->not_converged = r->order != before &&
			     (unfinished(r) ||
			      badness(&res->after) > badness(&res->before));
	if (badness(&res->after) > badness(&res->before))
		res->not_converged = true;
	if (res->not_converged) {
		r->touches.n = 0;
		r->plan->actions.n = 0;
		r->saved.n = 0;
		res->after = res->before;
	}
	return Q2_OK;
}

/* Back to the beginning, but for what is wanted. */
static enum q2_status start_again(struct q2_repair *r)
{
	q2_checker_free(r->c);
	q2_io_close(r->io);
	r->c = NULL;
	r->io = NULL;
	r->touches.n = r->findings.n = 0;
	r->worthless.n = r->released.n = r->spared.n = 0;
	r->named.n = r->dangling.n = r->keep.n = 0;
	r->saved.n = r->saved_tables.n = 0;
	memset(r->bulk, 0, sizeof(r->bulk));
	r->plan->actions.n = 0;
	r->order = r->saving = 0;
	r->fresh = (struct q2_fresh){0};
	r->judged.cluster = 0;
	r->changed = r->aliased = r->recounted = false;
	r->told = (struct q2_told){0};
	r->room.lacking = 0;
	memset(r->room.took, 0, sizeof(r->room.took));
	return q2_io_overlay(r->base, &r->budget, &r->io, r->err);
}

static enum q2_status tell_left(struct q2_repair *r, unsigned number,
				const char *why)
{
	uint32_t action;
	enum q2_status st = q2_act(r, (enum q2_problem_id)number,
				   Q2_EFFECT_NONE, NULL, &action,
				   "left as it is: %s", why);

	if (st == Q2_OK)
		r->plan->actions.at[action].note = true;
	return st;
}

/* Leaves one kind of problem more; false if it is left already. */
static bool leave(struct q2_repair *r, unsigned number)
{
	bool already = r->room.left[number];

	r->wishes[number] = Q2_WISH_NO;
	r->room.left[number] = r->room.cramped = true;
	return !already;
}

/* Chooses what to leave so that the rest has room.  Refcounts come before all: what
 * lies in fresh clusters must be counted. */
static bool make_room(struct q2_repair *r)
{
	unsigned lacking = r->room.lacking;
	bool counts = lacking && q2_is_refcounts(lacking), any = false;

	if (lacking == 0 && !r->room.cramped)
		return false;
	for (unsigned i = 0; i < Q2_NUMBERS; i++)
		counts |= r->room.left[i] && q2_is_refcounts(i);
	for (unsigned i = 0; i < Q2_NUMBERS && counts; i++)
		if (r->room.took[i] && !q2_is_refcounts(i))
			any |= leave(r, i);
	return any || (lacking && leave(r, lacking));
}

/* One kind of problem that needs more room than a device has must not keep the others
 * from being repaired. */
static enum q2_status rounds_with_room(struct q2_repair *r,
				       struct q2_plan_result *res)
{
	enum q2_status st = rounds(r, res);

	while ((st == Q2_OK || (st == Q2_E_RANGE && r->room.lacking)) &&
	       make_room(r)) {
		*r->err = (struct q2_err){0};
		*res = (struct q2_plan_result){0};
		st = start_again(r);
		if (st == Q2_OK)
			st = rounds(r, res);
	}
	return st;
}

/* What had no room and is there yet. */
static enum q2_status tell_cramped(struct q2_repair *r)
{
	enum q2_status st = Q2_OK;

	for (unsigned i = 0;
	     i < Q2_NUMBERS && r->room.cramped && st == Q2_OK; i++)
		if (r->room.left[i] &&
		    (r->counts[i] ||
		     (q2_is_refcounts(i) && r->result.corruptions)))
			st = tell_left(r, i, "the device has no room behind "
				       "the image; on a larger one it can be "
				       "repaired");
	return st;
}

/* What was left out may be mended now that all the others are; if that fails, it is
 * left out again. */
static enum q2_status with_the_last(struct q2_repair *r, unsigned number,
				    struct q2_plan_result *res, bool *left)
{
	struct q2_plan_result more = {0};
	enum q2_status st;

	*left = r->counts[number] != 0;
	if (!*left)
		return Q2_OK;
	r->wishes[number] = Q2_WISH_YES;
	r->judged.blocks_fit = false;
	/* What named a place behind the end may be gone. */
	if (r->io->size == r->base->size) {
		r->named.n = 0;
		r->changed = true;
	}
	st = rounds(r, &more);
	if (st == Q2_OK && !more.not_converged) {
		res->after = more.after;
		*left = r->counts[number] != 0;
		return Q2_OK;
	}
	if (st != Q2_OK && (st != Q2_E_RANGE || r->room.lacking == 0))
		return st;
	*r->err = (struct q2_err){0};
	r->wishes[number] = Q2_WISH_NO;
	*res = (struct q2_plan_result){0};
	st = start_again(r);
	return st == Q2_OK ? rounds(r, res) : st;
}

/* Where structures lie on one another, what mends one may hurt another.  All but one
 * kind of problem is tried then, the refcounts, which are made from all others,
 * being left out first. */
static enum q2_status all_but_one(struct q2_repair *r,
				  struct q2_plan_result *res)
{
	uint8_t wishes[Q2_NUMBERS];
	unsigned tries = 0;
	bool left;
	enum q2_status st = Q2_OK;

	memcpy(wishes, r->wishes, sizeof(wishes));
	for (unsigned i = Q2_NUMBERS; i-- > 0 && st == Q2_OK &&
	     res->not_converged && tries < TRIES;) {
		struct q2_plan_result other = {0};

		if (wishes[i] != Q2_WISH_YES ||
		    !(r->first.had[i] || r->first.acted[i]))
			continue;
		tries++;
		memcpy(r->wishes, wishes, sizeof(wishes));
		r->wishes[i] = Q2_WISH_NO;
		st = start_again(r);
		if (st == Q2_OK)
			st = rounds_with_room(r, &other);
		if (st != Q2_OK || other.not_converged)
			continue;
		*res = other;
		st = with_the_last(r, i, res, &left);
		if (st == Q2_OK && left)
			st = tell_left(r, i, "with this repaired, the others did not "
			       "lead to a sound image");
	}
	if (res->not_converged)
		memcpy(r->wishes, wishes, sizeof(wishes));
	return st;
}

/* What a search finds may lie where something else does: a repair without it is better
 * than none.  `opts`: those from now on. */
static enum q2_status without_search(struct q2_repair *r,
				     struct q2_plan_opts *opts,
				     struct q2_plan_result *res)
{
	enum q2_status st = start_again(r);

	*opts = *r->opts;
	opts->flags &= ~(unsigned)Q2_PLAN_RESCUE;
	r->opts = opts;
	*res = (struct q2_plan_result){0};
	if (st == Q2_OK)
		st = rounds_with_room(r, res);
	if (st == Q2_OK && res->not_converged)
		st = all_but_one(r, res);
	for (size_t i = 0; i < r->judged.kinds.n && st == Q2_OK; i++)
		if (!res->not_converged)
			return tell_left(r, r->judged.kinds.at[i], "what the "
					 "search finds does not lead to a "
					 "sounder image");
	return st;
}

/* Whether there is damage that is not to be mended, or that -p did not come to. */
static bool partial(const struct q2_repair *r)
{
	for (size_t i = 0; i < r->judged.kinds.n; i++) {
		uint8_t wish = r->wishes[r->judged.kinds.at[i]];

		if (wish == Q2_WISH_NO ||
		    (wish == Q2_WISH_UNKNOWN && !q2_all(r)))
			return true;
	}
	return false;
}

/* Where only some of it is to be mended, that can show more damage than there was:
 * nothing is written then. */
static enum q2_status nothing(struct q2_repair *r, struct q2_plan_result *res)
{
	enum q2_status st = start_again(r);

	memset(r->wishes, Q2_WISH_NO, sizeof(r->wishes));
	*res = (struct q2_plan_result){0};
	if (st == Q2_OK)
		st = rounds(r, res);
	for (unsigned i = 0; i < Q2_NUMBERS && st == Q2_OK; i++)
		if (r->first.had[i] &&
		    q2_problem_by_number(i)->severity == Q2_CORRUPT)
			st = tell_left(r, i, "what may be repaired does not "
				       "lead to a sounder image by itself");
	return st;
}

/* What was to be attached, and was not: whoever decided that has to know. */
static enum q2_status tell_unattached(struct q2_repair *r)
{
	const struct q2_geom *g = &r->c->img.geom;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < r->opts->n_attach && st == Q2_OK; i++) {
		struct q2_attach a = r->opts->attach[i];
		uint8_t b[8] = {0};
		uint32_t action;

		if (a.slot < g->l1_entries &&
		    q2_pread_zero(r->io, b, 8,
				  g->l1_offset + UINT64_C(8) * a.slot,
				  NULL) == Q2_OK &&
		    (q2_be64(b) & Q2_ENTRY_OFFSET) == a.host && a.host)
			continue;
		st = q2_act(r, Q2_P_ORPHAN_L2, Q2_EFFECT_NONE, NULL, &action,
			    "L1[%u] does not get what is at %#llx: that is no "
			    "orphaned L2 table, or the slot is not an empty "
			    "one of the disk", (unsigned)a.slot,
			    (unsigned long long)a.host);
		if (st == Q2_OK)
			r->plan->actions.at[action].note = true;
	}
	return st;
}

static void clean_up(struct q2_repair *r)
{
	q2_checker_free(r->c);
	q2_io_close(r->io);
	q2_touches_free(&r->touches, &r->budget);
	q2_findings_free(&r->findings, &r->budget);
	q2_runs_free(&r->worthless, &r->budget);
	q2_runs_free(&r->released, &r->budget);
	q2_runs_free(&r->spared, &r->budget);
	q2_runs_free(&r->saved, &r->budget);
	q2_runs_free(&r->saved_tables, &r->budget);
	q2_runs_free(&r->named, &r->budget);
	q2_runs_free(&r->dangling, &r->budget);
	q2_runs_free(&r->keep, &r->budget);
	free(r);
}

enum q2_status q2_plan_make(struct q2_io *io, const struct q2_plan_opts *opts,
			    struct q2_plan **plan,
			    struct q2_plan_result *result, struct q2_err *err)
{
	struct q2_repair *r = calloc(1, sizeof(*r));
	struct q2_plan_opts plain;
	struct q2_err own = {0};
	enum q2_status st = q2_plan_new(opts->max_memory, plan, err);

	*result = (struct q2_plan_result){0};
	if (st == Q2_OK && r == NULL)
		st = q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	if (st != Q2_OK)
		goto out;
	r->opts = opts;
	r->plan = *plan;
	r->err = err ? err : &own;
	r->base = io;
	r->budget.limit = opts->max_memory;
	r->plan->old_size = r->plan->new_size = io->size;
	r->plan->is_device = io->is_device;
	st = q2_io_overlay(io, &r->budget, &r->io, r->err);
	if (st == Q2_OK)
		st = q2_searches_begin(r);
	if (st == Q2_OK)
		st = rounds_with_room(r, result);
	if (st == Q2_OK && result->not_converged) {
		bool some = partial(r);

		st = all_but_one(r, result);
		if (st == Q2_OK && result->not_converged &&
		    (opts->flags & Q2_PLAN_RESCUE))
			st = without_search(r, &plain, result);
		if (st == Q2_OK && result->not_converged && some)
			st = nothing(r, result);
	}
	if (st == Q2_OK && !result->not_converged)
		st = tell_unattached(r);
	if (st == Q2_OK && !result->not_converged)
		st = tell_cramped(r);
	if (st == Q2_OK)
		st = q2_finish(r);
	st = q2_searches_end(r, st);
out:
	if (st != Q2_OK) {
		q2_plan_free(*plan);
		*plan = NULL;
	}
	if (r)
		clean_up(r);
	return st;
}
