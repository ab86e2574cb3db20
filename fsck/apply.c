/*
 * apply.c - plans and journals that are there already: show, apply, redo, undo.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsck.h"

void fsck_show_plan(struct fsck *fsck)
{
	const char *name = fsck->options->repair.show_plan;
	unsigned flags = fsck->options->all_findings ? Q2_TEXT_ALL : 0;
	struct q2_sink sink = fsck_sink(fsck);
	struct q2_plan_info info;
	struct q2_plan *plan;
	struct q2_err err = {0};
	enum q2_status st;

	fsck_close_sandbox(fsck);
	st = q2_plan_load(name, fsck->options->max_memory, &plan,
					 &info, &err);

	if (st == Q2_OK)
		st = fsck->options->output == OUTPUT_TEXT
			     ? q2_plan_text(plan, &info, flags, &sink)
			     : q2_plan_json(plan, &info, flags, &sink);
	if (st != Q2_OK && fsck->out.error == 0) {
		fsck_complain(fsck, name, st, &err);
		fsck_add_status(fsck, Q2_EXIT_FAILED, 1);
	} else {
		(void)q2_cli_output_commit(&fsck->out);
	}
	q2_plan_free(plan);
}

/* The report of an image of which no check is told, and why. */
static void give_up(struct run *run)
{
	int status = fsck_status(run);

	fsck_run_end(run);
	fsck_add_status(run->fsck, status, 1);
}

enum q2_status fsck_about(struct run *run, const char *name, struct q2_err err,
			  const char *text)
{
	run->err = err;
	snprintf(run->err.text, sizeof(run->err.text), "%.100s: %.130s", name,
		 text ? text : err.text);
	return err.code;
}

static enum q2_status load(struct run *run, struct q2_plan **plan)
{
	const char *name = run->fsck->options->repair.apply;
	struct q2_plan_info info;
	enum q2_status st = q2_plan_load(name, run->max_memory, plan, &info,
					 &run->err);

	if (st != Q2_OK)
		return fsck_about(run, name, run->err, NULL);
	if (info.kind == Q2_PLAN_REVIEW)
		return Q2_OK;
	return fsck_about(run, name, (struct q2_err){.code = Q2_E_ARG},
			  info.kind == Q2_PLAN_JOURNAL ?
				  "a journal, not a plan: --redo or --undo take "
				  "it" :
				  "a backup, not a plan: --restore-metadata "
				  "takes it");
}

void fsck_apply(struct fsck *fsck, const char *path)
{
	const char *why = fsck_journal_blocks(fsck, path, true);
	struct q2_plan *plan = NULL;
	struct q2_io *io = NULL;
	struct run run;

	if (why != NULL) {
		fsck_refuse(fsck, path, why);
		return;
	}
	fsck_run_begin(&run, fsck, path);
	if (run.st == Q2_OK)
		run.st = load(&run, &plan);
	if (run.st == Q2_OK)
		run.st = q2_io_open_rw(path, &io, &run.err);
	fsck_close_sandbox(fsck);
	/* Before anything is done about journals. */
	if (run.st == Q2_OK)
		run.st = q2_plan_verify(plan, io, run.max_memory, &run.err);
	if (run.st == Q2_OK)
		fsck_carry_out(&run, io, plan);
	else
		give_up(&run);
	q2_io_close(io);
	q2_plan_free(plan);
}

static void tell_return(struct run *run, bool undo, const char *journal,
			enum q2_outcome outcome)
{
	struct fsck *fsck = run->fsck;

	switch (outcome) {
	case Q2_OUT_DONE:
		fsck_say(fsck, undo ? "%s: as it was before the repair\n"
				    : "%s: as the repair leaves it\n",
			 run->path);
		return;
	case Q2_OUT_UNTOUCHED:
		q2_cli_complain(fsck->tool, run->path,
				"nothing was written to the image");
		return;
	case Q2_OUT_TAKEN_BACK:
		return;
	case Q2_OUT_UNFINISHED:
		q2_cli_complain(fsck->tool, journal,
				"the image is between two states; this journal "
				"leads on: --redo or --undo");
		return;
	}
}

/* After a redo the image is checked, as after a repair. */
static void check(struct run *run, struct q2_io *io)
{
	struct q2_check_opts opts = {.max_memory = run->max_memory,
				     .path = run->path,
				     .found = fsck_on_finding,
				     .progress = fsck_on_progress,
				     .ctx = run};

	run->checked = true;
	run->st = q2_check(io, &opts, &run->result, &run->err);
}

/* What is wrong with the journal is told of it, not of the image. */
static enum q2_status peek(struct run *run, const char *journal)
{
	struct q2_plan_info info;
	struct q2_err err = {0};
	enum q2_status st = q2_journal_peek(journal, &info, &err);

	return st == Q2_OK ? st : fsck_about(run, journal, err, NULL);
}

void fsck_return(struct fsck *fsck, const char *path)
{
	bool undo = fsck->mode == MODE_UNDO;
	const char *journal = undo ? fsck->options->repair.undo
				   : fsck->options->repair.redo;
	enum q2_outcome outcome = Q2_OUT_UNTOUCHED;
	struct q2_io *io = NULL;
	struct run run;
	struct q2_apply_opts opts = {.progress = fsck_on_progress, .ctx = &run};
	struct q2_repaired told = {.journal = journal};
	char *orphans = NULL;
	int status;

	fsck_run_begin(&run, fsck, path);
	opts.max_memory = run.max_memory;
	if (run.st == Q2_OK && !undo)
		run.st = fsck_orphans_name(fsck, path, NULL, &orphans,
					   &run.err);
	opts.orphans = orphans;
	if (run.st == Q2_OK)
		run.st = q2_io_open_rw(path, &io, &run.err);
	fsck_close_sandbox(fsck);
	if (run.st == Q2_OK)
		run.st = peek(&run, journal);
	if (run.st == Q2_OK)
		run.st = (undo ? q2_journal_undo : q2_journal_redo)(
			journal, io, &opts, &outcome, &run.err);
	if (run.st == Q2_OK && !undo)
		check(&run, io);
	status = run.checked || run.st != Q2_OK ? fsck_status(&run) : 0;
	if (run.st == Q2_OK && !undo && status == 0)
		status = Q2_EXIT_REPAIRED;
	told.outcome = outcome;
	told.error = run.st != Q2_OK ? run.err.text : NULL;
	if (run.report)
		q2_report_repair(run.report, &told);
	fsck_run_end(&run);
	tell_return(&run, undo, journal, outcome);
	fsck_add_status(fsck, status, status & ~Q2_EXIT_REPAIRED ? 1 : 0);
	q2_io_close(io);
	free(orphans);
}
