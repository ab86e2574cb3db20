/*
 * journal.c - applying, redoing and undoing under a journal.
 *
 * SPDX-License-Identifier: MIT
 *
 * The order is all: the journal is durable before the image is touched, and says
 * "finished" or "undone" only after the image is durable.  Before an ended work
 * is taken up again it says that, so that a crash never leaves an image between
 * two states beside a journal that knows nothing of it.
 */
#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "io/io.h"
#include "repair/apply.h"
#include "repair/planfile.h"

struct work {
	const char *path;  /* of the journal; NULL: none */
	struct q2_io *file; /* the journal; NULL until it is needed */
	enum q2_plan_state begun; /* to be marked at the beginning */
	enum q2_plan_state known; /* what the journal says */
	uint64_t before; /* when the image was changed before the repair */
	bool wrote; /* the first write may have been made */
};

static enum q2_status mark(struct work *w, enum q2_plan_state state,
			   const struct q2_io *image, struct q2_err *err)
{
	uint64_t changed = 0;
	enum q2_status st = Q2_OK;

	if (w->path == NULL || w->known == state)
		return Q2_OK;
	if (image)
		st = q2_io_changed(image, &changed, err);
	if (st == Q2_OK && w->file == NULL)
		st = q2_io_reopen(w->path, &w->file, err);
	if (st == Q2_OK)
		st = q2_pf_add_state(w->file, state, changed, false, err);
	if (st == Q2_OK)
		w->known = state;
	return st;
}

static enum q2_status on_begin(void *ctx, struct q2_err *err)
{
	struct work *w = ctx;
	enum q2_status st = mark(w, w->begun, NULL, err);

	w->wrote = st == Q2_OK;
	return st;
}

static enum q2_status finish(struct work *w, enum q2_plan_state state,
			     struct q2_io *image, struct q2_err *err)
{
	struct q2_err own = {0};
	enum q2_status st = Q2_OK;

	/* An earlier journal goes by the time that the image had then.  Who
	 * may write to a file that is not his may not set that. */
	if (state == Q2_STATE_UNDONE && w->known != state)
		(void)!q2_io_set_changed(image, w->before, NULL);
	st = mark(w, state, image, &own);
	if (st == Q2_OK)
		return Q2_OK;
	return q2_fail(err, st, own.sys_errno, Q2_NO_OFFSET,
		       "the image is done, but the journal cannot be marked as "
		       "%s: %.100s", q2_plan_state_text(state), own.text);
}

/* After a failure: back to where it began, whatever asked for the end. */
static void take_back(const struct q2_plan *plan, struct q2_io *io,
		      const struct work *w, enum q2_outcome *outcome)
{
	*outcome = Q2_OUT_UNTOUCHED;
	if (w->wrote)
		*outcome = q2_plan_undo(plan, io, NULL, NULL) == Q2_OK
				   ? Q2_OUT_TAKEN_BACK
				   : Q2_OUT_UNFINISHED;
	if (*outcome == Q2_OUT_TAKEN_BACK)
		(void)!q2_io_set_changed(io, w->before, NULL);
	if (w->path && *outcome != Q2_OUT_UNFINISHED)
		(void)unlink(w->path);
}

/* What the plan frees is saved before there is a journal: from that moment on a
 * redo may free it. */
static enum q2_status save_orphans(const struct q2_plan *plan, struct q2_io *io,
				   const struct q2_apply_opts *opts,
				   struct q2_err *err)
{
	if (q2_plan_orphans(plan) == 0)
		return Q2_OK;
	if (opts == NULL || opts->orphans == NULL)
		return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
			       "the plan frees orphaned clusters, and no file "
			       "was named to save them in");
	return q2_orphans_save(plan, io, opts->orphans, opts, err);
}

/* The image still has them. */
static void drop_orphans(const struct q2_plan *plan,
			 const struct q2_apply_opts *opts)
{
	if (opts && opts->orphans && q2_plan_orphans(plan))
		(void)unlink(opts->orphans);
}

enum q2_status q2_journal_apply(const struct q2_plan *plan, struct q2_io *io,
				const char *journal,
				const struct q2_apply_opts *opts,
				enum q2_outcome *outcome, struct q2_err *err)
{
	struct work w = {.path = journal,
			 .begun = Q2_STATE_APPLYING,
			 .known = Q2_STATE_APPLYING};
	bool saves = q2_plan_orphans(plan) != 0;
	enum q2_status st = q2_io_changed(io, &w.before, err);

	*outcome = Q2_OUT_UNTOUCHED;
	if (st == Q2_OK && saves)
		st = q2_plan_verify(plan, io, opts ? opts->max_memory : 0, err);
	if (st == Q2_OK)
		st = save_orphans(plan, io, opts, err);
	if (st != Q2_OK)
		return st;
	if (journal)
		st = q2_pf_save(plan, journal, Q2_PLAN_JOURNAL, false, w.before,
				err);
	if (st != Q2_OK) {
		drop_orphans(plan, opts);
		return st;
	}
	st = q2_plan_carry_out(plan, io, opts, Q2_WAY_APPLY, on_begin, &w, err);
	if (st == Q2_OK) {
		*outcome = Q2_OUT_DONE;
		st = finish(&w, Q2_STATE_FINISHED, io, err);
	} else {
		take_back(plan, io, &w, outcome);
		if (*outcome != Q2_OUT_UNFINISHED)
			drop_orphans(plan, opts);
	}
	q2_io_close(w.file);
	return st;
}

/* Whether somebody wrote to the image after the work on it had ended. */
static enum q2_status judge_time(const struct q2_plan_info *info,
				 const struct q2_io *io, struct q2_err *err)
{
	uint64_t now;
	enum q2_status st = q2_io_changed(io, &now, err);

	if (st != Q2_OK || info->changed == 0 || now == 0 ||
	    now == info->changed)
		return st;
	return q2_fail(err, Q2_E_CHANGED, 0, Q2_NO_OFFSET,
		       "changed since: it was written to after the journal's "
		       "work had ended; nothing was written (if only its time "
		       "differs, give it back: touch -d @%llu.%09llu)",
		       (unsigned long long)(info->changed / 1000000000),
		       (unsigned long long)(info->changed % 1000000000));
}

static enum q2_status load(const char *journal, const struct q2_io *io,
			   const struct q2_apply_opts *opts, bool undo,
			   struct q2_plan **plan, struct q2_plan_info *info,
			   struct q2_err *err)
{
	enum q2_status st = q2_plan_load(journal, opts ? opts->max_memory : 0,
					 plan, info, err);

	if (st != Q2_OK)
		return st;
	if (info->kind != Q2_PLAN_JOURNAL)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "this is a %s, not a journal",
			       info->kind == Q2_PLAN_REVIEW ? "plan"
							    : "backup");
	if (undo && info->discarded)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "clusters that the repair freed were discarded: "
			       "what they held is gone, and nothing can be "
			       "undone");
	if (info->state == Q2_STATE_FINISHED || info->state == Q2_STATE_UNDONE)
		return judge_time(info, io, err);
	return Q2_OK;
}

static enum q2_status go(const char *journal, struct q2_io *io,
			 const struct q2_apply_opts *opts, bool undo,
			 enum q2_outcome *outcome, struct q2_err *err)
{
	struct work w = {.path = journal};
	struct q2_plan_info info = {.kind = Q2_PLAN_REVIEW};
	struct q2_plan *plan;
	enum q2_status st = load(journal, io, opts, undo, &plan, &info, err);

	*outcome = Q2_OUT_UNTOUCHED;
	w.known = info.state;
	w.before = info.before;
	w.begun = undo ? Q2_STATE_UNDOING : Q2_STATE_APPLYING;
	/* What has been done is judged once more, and not marked. */
	if (info.state == (undo ? Q2_STATE_UNDONE : Q2_STATE_FINISHED))
		w.begun = info.state;
	/* What was saved before may have been thrown away since. */
	if (st == Q2_OK && !undo && info.state == Q2_STATE_UNDONE)
		st = save_orphans(plan, io, opts, err);
	if (st == Q2_OK)
		st = q2_plan_carry_out(plan, io, opts,
				       undo ? Q2_WAY_UNDO : Q2_WAY_REDO,
				       on_begin, &w, err);
	if (st == Q2_OK) {
		*outcome = Q2_OUT_DONE;
		st = finish(&w, undo ? Q2_STATE_UNDONE : Q2_STATE_FINISHED, io,
			    err);
	} else if (w.wrote) {
		*outcome = Q2_OUT_UNFINISHED;
	}
	q2_io_close(w.file);
	q2_plan_free(plan);
	return st;
}

enum q2_status q2_journal_redo(const char *journal, struct q2_io *io,
			       const struct q2_apply_opts *opts,
			       enum q2_outcome *outcome, struct q2_err *err)
{
	return go(journal, io, opts, false, outcome, err);
}

enum q2_status q2_journal_undo(const char *journal, struct q2_io *io,
			       const struct q2_apply_opts *opts,
			       enum q2_outcome *outcome, struct q2_err *err)
{
	return go(journal, io, opts, true, outcome, err);
}
