/*
 * backup.c - an image's metadata saved, and put back.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fsck.h"

/* Tables that move while they are read make no backup. */
static enum q2_status open_at_rest(struct run *run, struct q2_io **io)
{
	enum q2_status st = q2_io_open(run->path, io, &run->err);

	if (st != Q2_OK || q2_io_in_use(*io) != Q2_USE_WRITER)
		return st;
	run->err = (struct q2_err){
		.code = Q2_E_IN_USE,
		.text = "in use by somebody who may write to it"};
	return Q2_E_IN_USE;
}

static void tell_saved(struct run *run, const char *name)
{
	struct fsck *fsck = run->fsck;

	fsck_say(fsck, "The metadata is in %s; nothing was written to the "
		 "image.\n", name);
	if (run->result.partial)
		q2_cli_complain(fsck->tool, run->path,
				"not all of its metadata could be found");
}

void fsck_backup(struct fsck *fsck, const char *path)
{
	const struct repair_options *o = &fsck->options->repair;
	struct q2_plan_opts opts = {.found = fsck_on_finding,
				    .progress = fsck_on_progress};
	struct q2_plan *backup = NULL;
	struct q2_io *io = NULL;
	struct q2_err err = {0};
	enum q2_status st = Q2_OK;
	struct run run;
	int status;

	fsck_run_begin(&run, fsck, path);
	opts.ctx = &run;
	opts.max_memory = run.max_memory;
	if (run.st == Q2_OK)
		run.st = open_at_rest(&run, &io);
	fsck_close_sandbox(fsck);
	if (run.st == Q2_OK) {
		run.checked = true;
		run.st = q2_backup_make(io,
					o->with_keys ? Q2_BACKUP_KEYS : 0,
					&opts, &backup, &run.result, &run.err);
	}
	if (run.st == Q2_OK)
		st = q2_plan_save(backup, o->backup, Q2_PLAN_BACKUP, false,
				  &err);
	status = fsck_status(&run);
	fsck_run_end(&run);
	if (st != Q2_OK) {
		fsck_complain(fsck, o->backup, st, &err);
		status |= Q2_EXIT_FAILED;
	} else if (run.st == Q2_OK) {
		tell_saved(&run, o->backup);
	}
	fsck_add_status(fsck, status,
			st == Q2_OK ? fsck_qemu_status(&run) : 1);
	q2_plan_free(backup);
	q2_io_close(io);
}

static enum q2_status load(struct run *run, struct q2_plan **backup)
{
	const char *name = run->fsck->options->repair.restore;
	struct q2_plan_info info;
	enum q2_status st = q2_plan_load(name, run->max_memory, backup, &info,
					 &run->err);

	if (st != Q2_OK)
		return fsck_about(run, name, run->err, NULL);
	if (info.kind == Q2_PLAN_BACKUP)
		return Q2_OK;
	return fsck_about(run, name, (struct q2_err){.code = Q2_E_ARG},
			  "a plan or a journal, not a backup");
}

void fsck_restore(struct fsck *fsck, const char *path)
{
	const char *why = fsck_journal_blocks(fsck, path, true);
	struct q2_plan *backup = NULL, *plan = NULL;
	struct q2_io *io = NULL;
	struct run run;
	int status;

	if (why != NULL) {
		fsck_refuse(fsck, path, why);
		return;
	}
	fsck_run_begin(&run, fsck, path);
	if (run.st == Q2_OK)
		run.st = load(&run, &backup);
	if (run.st == Q2_OK)
		run.st = q2_io_open_rw(path, &io, &run.err);
	fsck_close_sandbox(fsck);
	if (run.st == Q2_OK)
		run.st = q2_restore_make(backup, io, run.max_memory, &plan,
					 &run.err);
	if (run.st == Q2_OK && q2_plan_edits(plan) > 0) {
		fsck_carry_out(&run, io, plan);
	} else {
		status = run.st == Q2_OK ? 0 : fsck_status(&run);
		if (run.report && run.st == Q2_OK)
			q2_report_repair(run.report, &(struct q2_repaired){0});
		fsck_run_end(&run);
		if (run.st == Q2_OK)
			fsck_say(fsck, "%s: its metadata is that of the "
				 "backup; nothing was written\n", path);
		fsck_add_status(fsck, status, status ? 1 : 0);
	}
	q2_plan_free(plan);
	q2_plan_free(backup);
	q2_io_close(io);
}
