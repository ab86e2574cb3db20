/*
 * confine.c - what each mode of qcow2-fsck has to be able to do.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsck.h"

static bool writes_images(enum mode mode)
{
	return mode == MODE_REPAIR || mode == MODE_APPLY ||
	       mode == MODE_UNDO || mode == MODE_REDO || mode == MODE_RESTORE;
}

int fsck_confine(struct fsck *fsck)
{
	bool reads = fsck->mode == MODE_CHECK || fsck->mode == MODE_SHOW;
	unsigned needs = reads ? 0 : Q2_SANDBOX_WRITE;

	if (fsck->options->state)
		needs |= Q2_SANDBOX_WRITE;
	for (size_t i = 0; fsck->images[i]; i++)
		if (q2_cli_is_nbd(fsck->images[i]))
			needs |= Q2_SANDBOX_NET;
	fsck->sandbox.verbose = fsck->options->verbose != 0;
	fsck->sandbox.quiet = fsck->options->quiet != 0;
	if (fsck->options->sandbox != Q2_SANDBOX_OFF)
		q2_cli_output_reserve(&fsck->out);
	return q2_cli_sandbox_start(
		&fsck->sandbox, fsck->tool,
		(enum q2_sandbox_mode)fsck->options->sandbox, needs);
}

static void allow_image(struct fsck *fsck, const char *path)
{
	struct q2_cli_sandbox *s = &fsck->sandbox;
	const struct repair_options *r = &fsck->options->repair;
	char *journal = fsck_default_journal(path);

	q2_cli_sandbox_allow(s, path, Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow(s, journal, Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow_nbd(s, path);
	if (writes_images(fsck->mode)) {
		q2_cli_sandbox_allow(s, path, Q2_SANDBOX_READ_FILES |
						      Q2_SANDBOX_WRITE_FILES);
		/* A journal or orphans are saved there, and an earlier journal
		 * is moved. */
		if ((!r->journal && !r->no_journal) || !r->orphans)
			q2_cli_sandbox_allow_folder(s, path,
						    Q2_SANDBOX_ALL_FILES);
	}
	free(journal);
}

void fsck_close_sandbox(struct fsck *fsck)
{
	struct q2_cli_sandbox *s = &fsck->sandbox;
	const struct repair_options *r = &fsck->options->repair;

	if (s->closed || !s->started)
		return;
	for (size_t i = 0; fsck->images[i]; i++)
		allow_image(fsck, fsck->images[i]);
	if (fsck->options->chain)
		q2_cli_sandbox_allow(s, "/", Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow(s, r->show_plan, Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow(s, r->apply, Q2_SANDBOX_READ_FILES);
	q2_cli_sandbox_allow(s, r->restore, Q2_SANDBOX_READ_FILES);
	/* New files, or journals that change. */
	q2_cli_sandbox_allow_folder(s, r->plan, Q2_SANDBOX_ALL_FILES);
	q2_cli_sandbox_allow_folder(s, r->backup, Q2_SANDBOX_ALL_FILES);
	q2_cli_sandbox_allow_folder(s, r->journal, Q2_SANDBOX_ALL_FILES);
	q2_cli_sandbox_allow_folder(s, r->orphans, Q2_SANDBOX_ALL_FILES);
	q2_cli_sandbox_allow_folder(s, r->undo, Q2_SANDBOX_ALL_FILES);
	q2_cli_sandbox_allow_folder(s, r->redo, Q2_SANDBOX_ALL_FILES);
	/* It is open; in the end it is removed. */
	q2_cli_sandbox_allow_folder(s, fsck->options->state,
				    Q2_SANDBOX_MAKE_FILES);
	q2_cli_sandbox_close(s);
}
