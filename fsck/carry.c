/*
 * carry.c - a plan is carried out, the image checked again, and all of it told.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "fsck.h"

/* How it went, besides what the checks found. */
struct outcome {
	struct q2_repaired repair;
	struct q2_err err;
	enum q2_status st;
	char *journal;
	char *orphans;
	enum q2_status discard;
	uint64_t discarded; /* bytes */
	struct q2_err discard_err;
};

/* The check afterwards is not streamed: its findings follow the report. */
static void on_left(void *ctx, const struct q2_finding *f)
{
	struct run *run = ctx;

	q2_report_add(run->report, f);
}

static void check_again(struct run *run, struct q2_io *io, bool stream)
{
	const struct options *o = run->fsck->options;
	struct q2_check_opts opts = {.max_memory = run->max_memory,
				     .path = run->path,
				     .found = stream ? fsck_on_finding : on_left,
				     .progress = fsck_on_progress,
				     .ctx = run};

	if (run->st != Q2_OK)
		return;
	if (o->all_findings)
		opts.flags |= Q2_CHECK_FULL;
	run->checked = true;
	run->st = q2_check(io, &opts, &run->result, &run->err);
	q2_report_end(run->report, &run->result, &run->err);
}

/* Only when nothing is left to be repaired. */
static void discard(struct outcome *o, struct q2_io *io, const struct run *left)
{
	const struct run *run = left;

	if (left == NULL || o->st != Q2_OK ||
	    !run->fsck->options->repair.discard || fsck_status(left) != 0)
		return;
	o->discard = q2_discard_freed(o->repair.plan, io, o->journal,
				      run->max_memory, &o->discarded,
				      &o->discard_err);
}

static void put_name(struct q2_buf *b, const char *name)
{
	q2_buf_escape(b, name, strlen(name));
}

static void tell_outcome(struct run *run, const struct outcome *o)
{
	struct fsck *fsck = run->fsck;
	struct q2_sink sink = fsck_sink(fsck);
	struct q2_buf b = {0};

	switch (o->repair.outcome) {
	case Q2_OUT_DONE:
		if (fsck->options->output != OUTPUT_TEXT)
			return;
		put_name(&b, run->path);
		q2_buf_format(&b, ": repaired with %zu write%s; ",
			      q2_plan_edits(o->repair.plan),
			      q2_plan_edits(o->repair.plan) == 1 ? "" : "s");
		if (o->discarded) {
			q2_buf_u64(&b, o->discarded);
			q2_buf_text(&b, " bytes were given back, so it cannot "
					"be undone");
		} else if (o->journal) {
			q2_buf_text(&b, "to take it back: --undo=");
			put_name(&b, o->journal);
		} else {
			q2_buf_text(&b, "no journal was kept");
		}
		q2_buf_char(&b, '\n');
		if (o->repair.orphans) {
			q2_buf_text(&b, "Orphaned clusters were saved in ");
			put_name(&b, o->orphans);
			q2_buf_text(&b, " and freed.\n");
		}
		(void)sink.write(sink.ctx, b.at, b.failed ? 0 : b.n);
		q2_buf_free(&b);
		fsck_tell_plan(fsck, run->path, o->repair.plan);
		return;
	case Q2_OUT_UNTOUCHED:
		q2_cli_complain(fsck->tool, run->path,
				"nothing was written to the image");
		return;
	case Q2_OUT_TAKEN_BACK:
		q2_cli_complain(fsck->tool, run->path,
				"what had been written was taken back: the image "
				"is as it was");
		return;
	case Q2_OUT_UNFINISHED:
		if (o->journal)
			(void)fsck_journal_blocks(fsck, run->path, false);
		else
			q2_cli_complain(fsck->tool, run->path,
					"the image is repaired in part, and "
					"there is no journal");
		return;
	}
}

static void tell_left(struct run *run)
{
	struct fsck *fsck = run->fsck;
	struct q2_sink sink = fsck_sink(fsck);
	unsigned flags = 0;

	if (run->report == NULL || fsck->options->output != OUTPUT_TEXT)
		return;
	if (fsck->options->quiet || fsck_status(run) == 0)
		flags |= Q2_TEXT_BRIEF;
	fsck_told(fsck, run->path, q2_report_text(run->report, flags, &sink));
}

/* `left` is what the check afterwards found; NULL if there was none. */
static void add_status(struct run *run, const struct outcome *o,
		       const struct run *left)
{
	struct fsck *fsck = run->fsck;
	int status = left ? fsck_status(left) : 0;

	if (left && status == 0)
		status = Q2_EXIT_REPAIRED;
	if (left == NULL && run->checked)
		status = fsck_status(run);
	if (o->st == Q2_E_INTERRUPTED)
		status |= Q2_EXIT_INTERRUPTED;
	else if (o->st != Q2_OK || o->discard != Q2_OK)
		status |= Q2_EXIT_FAILED;
	fsck_add_status(fsck, status,
			left && o->st == Q2_OK ? fsck_qemu_status(left) : 1);
}

/* A failure is told in the report, unless that is about a check that went well. */
static void report(struct run *run, struct outcome *o, bool before)
{
	struct q2_err err = o->err;

	o->repair.error = o->st != Q2_OK ? err.text : NULL;
	if (!before && o->st != Q2_OK && run->st == Q2_OK) {
		run->st = o->st;
		run->err = err;
	}
	if (run->report)
		q2_report_repair(run->report, &o->repair);
	fsck_run_end(run);
	if (before && o->st != Q2_OK)
		fsck_complain(run->fsck, run->path, o->st, &err);
	o->repair.error = NULL; /* it was this function's */
}

void fsck_carry_out(struct run *run, struct q2_io *io,
		    const struct q2_plan *plan)
{
	struct q2_apply_opts opts = {.max_memory = run->max_memory,
				     .progress = fsck_on_progress,
				     .ctx = run};
	struct outcome o = {.repair.plan = plan};
	bool before = run->checked;
	struct run second = {0};
	struct run *left = NULL;

	o.st = fsck_journal_name(run->fsck, run->path, &o.journal, &o.err);
	if (o.st == Q2_OK)
		o.st = fsck_orphans_name(run->fsck, run->path, plan, &o.orphans,
					 &o.err);
	opts.orphans = o.orphans;
	if (o.st == Q2_OK)
		o.st = q2_journal_apply(plan, io, o.journal, &opts,
					&o.repair.outcome, &o.err);
	if (o.repair.outcome == Q2_OUT_DONE) {
		left = run;
		if (before) {
			left = &second;
			fsck_run_begin(left, run->fsck, run->path);
		}
		check_again(left, io, !before);
		o.repair.after = &left->result;
	}
	discard(&o, io, left);
	if (o.repair.outcome == Q2_OUT_DONE ||
	    o.repair.outcome == Q2_OUT_UNFINISHED) {
		o.repair.journal = o.journal;
		o.repair.orphans = o.orphans;
	}
	report(run, &o, before);
	tell_outcome(run, &o);
	if (left == &second) {
		tell_left(left);
		q2_report_free(second.report);
	}
	if (o.discard != Q2_OK)
		fsck_complain(run->fsck, run->path, o.discard, &o.discard_err);
	add_status(run, &o, left);
	if (run->fsck->options->output != OUTPUT_JSON)
		(void)q2_cli_output_commit(&run->fsck->out);
	free(o.journal);
	free(o.orphans);
}
