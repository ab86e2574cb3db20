/*
 * repair.c - one image: check it, plan its repair, and carry that out.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <string.h>

#include "fsck.h"

struct repair {
	struct run run; /* first: the callbacks' context is that, too */
	struct q2_io *io;
	struct q2_plan *plan;
	struct q2_plan_result result;
	struct q2_attach attach[Q2_CLI_LIST_MAX];
	struct questions *questions; /* NULL unless they are to be asked */
	bool read_only; /* why not for writing: open_err */
	struct q2_plan_opts opts;
	struct q2_check_keep keep; /* with --state */
	uint64_t identity;	   /* with that */
	bool over;		   /* what is kept will not be needed */
	bool headless;		   /* no magic: only --rescue makes a header */
	struct q2_err open_err;
};

static void on_finding(void *ctx, const struct q2_finding *f)
{
	struct repair *r = ctx;

	fsck_on_finding(&r->run, f);
	r->headless |= strcmp(f->problem->id, "HEADER_MAGIC") == 0;
	if (r->questions)
		fsck_questions_add(r->questions, f);
}

static bool on_progress(void *ctx, const struct q2_progress *now)
{
	struct repair *r = ctx;

	return fsck_on_progress(&r->run, now);
}

static bool on_wanted(void *ctx, const struct q2_problem *p, uint64_t count)
{
	struct repair *r = ctx;

	return fsck_questions_ask(r->questions, p, count);
}

/* A medium or file that cannot be written may still be looked at: perhaps there
 * is nothing to write. */
static enum q2_status open_image(struct repair *r)
{
	bool plan_only = r->run.fsck->mode == MODE_PLAN;
	enum q2_status st = Q2_E_IO;

	if (!plan_only)
		st = q2_io_open_rw(r->run.path, &r->io, &r->open_err);
	if (st == Q2_OK)
		return Q2_OK;
	switch (r->open_err.sys_errno) {
	case EROFS:
	case EACCES:
	case EPERM:
	case ETXTBSY:
		break;
	default:
		if (plan_only)
			break;
		r->run.err = r->open_err;
		return st;
	}
	r->read_only = !plan_only;
	return q2_io_open(r->run.path, &r->io, &r->run.err);
}

static enum q2_status plan(struct repair *r)
{
	const struct repair_options *o = &r->run.fsck->options->repair;
	struct q2_plan_opts *opts = &r->opts;
	enum q2_status st;

	*opts = (struct q2_plan_opts){.max_memory = r->run.max_memory,
				      .attach = r->attach,
				      .n_attach = o->attach.n,
				      .found = on_finding,
				      .progress = on_progress,
				      .ctx = r};

	/* What is only planned is looked at before it is applied. */
	if (!o->preen)
		opts->flags |= Q2_PLAN_ALL;
	if (o->free_orphans)
		opts->flags |= Q2_PLAN_FREE_ORPHANS;
	if (o->rescue)
		opts->flags |= Q2_PLAN_RESCUE;
	if (r->questions)
		opts->wanted = on_wanted;
	for (size_t i = 0; i < o->attach.n; i++)
		(void)fsck_parse_attach(o->attach.at[i], &r->attach[i]);
	if (r->run.fsck->options->state != NULL) {
		bool known = q2_search_identity(r->io, opts, &r->identity);

		if (!fsck_state_load(&r->run, r->io, known, r->identity,
				     &r->keep))
			return Q2_E_REFUSED;
		opts->keep = &r->keep;
	}
	st = q2_plan_make(r->io, opts, &r->plan, &r->result, &r->run.err);
	r->run.result = r->result.before;
	r->run.checked = true;
	return st;
}

/* Nothing is to be written, or it cannot be: the report, and why. */
static void end_without(struct repair *r, const char *why, int status)
{
	struct run *run = &r->run;
	int found = run->checked ? fsck_status(run) : 0;
	int qemu = fsck_qemu_status(run);

	if (run->st != Q2_OK)
		status |= fsck_status(run);
	fsck_run_end(run);
	if (why && run->st == Q2_OK)
		q2_cli_complain(run->fsck->tool, run->path, why);
	fsck_add_status(run->fsck, status | found, status ? 1 : qemu);
}

static void save_plan(struct repair *r)
{
	struct run *run = &r->run;
	const char *name = run->fsck->options->repair.plan;
	struct q2_err err = {0};
	enum q2_status st = q2_plan_save(r->plan, name, Q2_PLAN_REVIEW, false,
					 &err);
	struct q2_repaired told = {.plan = r->plan};

	r->over = st == Q2_OK;
	if (run->report)
		q2_report_repair(run->report, &told);
	end_without(r, NULL, st == Q2_OK ? 0 : Q2_EXIT_FAILED);
	if (st != Q2_OK) {
		fsck_complain(run->fsck, name, st, &err);
		return;
	}
	fsck_say(run->fsck, "The plan is in %s; nothing was written to the "
		 "image.\n", name);
	fsck_tell_plan(run->fsck, name, r->plan);
}

static const char *why_nothing(const struct repair *r)
{
	const struct repair_options *o = &r->run.fsck->options->repair;

	if (r->headless && !o->rescue)
		return "what is left of the header leads nowhere; -y --rescue "
		       "searches the file for its tables, and --rescue "
		       "--plan=FILE tells what that would do; nothing was "
		       "written";
	if (o->preen)
		return "-p does only what cannot lose anything, which is "
		       "nothing here; --plan=FILE tells what -y would do; "
		       "nothing was written";
	return "nothing of this can be repaired this way; nothing was written";
}

/* What a plan without writes has to say is why. */
static void end_with_notes(struct repair *r, bool problems)
{
	struct fsck *fsck = r->run.fsck;

	r->over = true;
	end_without(r, problems ? why_nothing(r) : NULL, 0);
	fsck_tell_plan(fsck, r->run.path, r->plan);
}

/* What was planned is written: the state is of no use.  If nothing was, it is. */
static bool is_changed(const struct repair *r)
{
	uint64_t now;

	return r->run.fsck->options->state == NULL ||
	       !q2_search_identity(r->io, &r->opts, &now) ||
	       now != r->identity;
}

static void carry_out(struct repair *r)
{
	fsck_carry_out(&r->run, r->io, r->plan);
	r->over = is_changed(r);
}

static void decide(struct repair *r)
{
	struct run *run = &r->run;
	bool problems = run->result.corruptions || run->result.leaks;

	if (run->st != Q2_OK)
		end_without(r, NULL, 0);
	else if (r->questions && fsck_questions_quit(r->questions))
		end_without(r, "nothing was written",
			    q2_cli_interrupted() ? Q2_EXIT_INTERRUPTED : 0);
	else if (r->result.not_converged)
		end_without(r, "the repair was rehearsed and did not lead to a "
			    "sound image: nothing was written; this is our "
			    "fault, please report it",
			    Q2_EXIT_FAILED);
	else if (q2_plan_edits(r->plan) == 0)
		end_with_notes(r, problems);
	else if (run->fsck->mode == MODE_PLAN)
		save_plan(r);
	else if (r->read_only)
		end_without(r, r->open_err.text, Q2_EXIT_FAILED);
	else
		carry_out(r);
}

void fsck_repair(struct fsck *fsck, const char *path)
{
	const char *why = fsck_journal_blocks(fsck, path,
					      fsck->mode == MODE_REPAIR);
	struct repair r = {0};

	if (why != NULL) {
		fsck_refuse(fsck, path, why);
		return;
	}
	fsck_run_begin(&r.run, fsck, path);
	if (r.run.st == Q2_OK)
		r.run.st = open_image(&r);
	if (r.io)
		fsck_close_sandbox(fsck);
	if (r.run.st == Q2_OK && fsck->options->repair.interactive) {
		r.questions = fsck_questions_new(fsck, path);
		r.run.st = r.questions ? Q2_OK : Q2_E_NOMEM;
	}
	if (r.run.st == Q2_OK)
		r.run.st = plan(&r);
	decide(&r);
	if (fsck->options->state != NULL)
		q2_cli_state_close(&fsck->state, r.over);
	q2_plan_free(r.plan);
	fsck_questions_free(r.questions);
	q2_io_close(r.io);
}
