/*
 * image.c - one image: check it, and report it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fsck.h"

static enum q2_status check(struct run *run)
{
	static const struct q2_progress opening = {"open", 0, 1};
	const struct options *o = run->fsck->options;
	struct q2_check_opts opts = {.max_memory = run->max_memory,
				     .path = run->path,
				     .found = fsck_on_finding,
				     .progress = fsck_on_progress,
				     .ctx = run};
	struct q2_check_keep keep;
	struct q2_io *io;
	enum q2_status st;
	uint64_t identity = 0;
	bool known = false;

	if (o->data)
		opts.flags |= Q2_CHECK_DATA;
	if (o->chain)
		opts.flags |= Q2_CHECK_CHAIN;
	if (o->all_findings)
		opts.flags |= Q2_CHECK_FULL;
	st = q2_io_open(run->path, &io, &run->err);
	if (st != Q2_OK)
		return st;
	fsck_close_sandbox(run->fsck);
	if (o->state != NULL) {
		opts.keep = &keep;
		known = q2_check_identity(io, &opts, &identity);
	}
	if (fsck_on_progress(run, &opening)) {
		st = Q2_E_INTERRUPTED;
	} else if (opts.keep &&
		   !fsck_state_load(run, io, known, identity, &keep)) {
		st = Q2_E_REFUSED;
	} else {
		run->checked = true;
		st = q2_check(io, &opts, &run->result, &run->err);
	}
	q2_io_close(io);
	if (o->state != NULL)
		q2_cli_state_close(&run->fsck->state, st == Q2_OK);
	return st;
}

void fsck_image(struct fsck *fsck, const char *path)
{
	struct run run;

	fsck_run_begin(&run, fsck, path);
	if (run.st == Q2_OK)
		run.st = check(&run);
	fsck_run_end(&run);
	fsck_add_status(fsck, fsck_status(&run), fsck_qemu_status(&run));
}
