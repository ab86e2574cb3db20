/*
 * run.c - what checking and repairing one image share: findings that come in, the
 * report that goes out, the exit status.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsck.h"

/* Findings of one problem that a report lists unless all are asked for. */
#define KEEP_TEXT 8
#define KEEP_JSON 1000

/* Lines that are streamed go out in pieces of this size, or when the library
 * next shows its progress. */
#define STREAM_SIZE 32768

static void put_text(struct fsck *fsck, const char *text)
{
	(void)q2_cli_output_add(&fsck->out, text, strlen(text));
}

void fsck_begin(struct fsck *fsck)
{
	if (fsck->options->output == OUTPUT_JSON)
		put_text(fsck, "{\n  \"schema\": 1,\n  \"images\": [");
}

void fsck_end(struct fsck *fsck)
{
	if (fsck->options->output == OUTPUT_JSON)
		put_text(fsck, "\n  ]\n}\n");
	(void)q2_cli_output_commit(&fsck->out);
}

void fsck_on_finding(void *ctx, const struct q2_finding *f)
{
	struct run *run = ctx;
	struct fsck *fsck = run->fsck;
	struct q2_sink sink = fsck_sink(fsck);

	q2_report_add(run->report, f);
	if (fsck->options->output != OUTPUT_NDJSON)
		return;
	/* A failure of the output sticks, and fsck_on_progress() looks at it. */
	if (q2_finding_json(f, run->path, &sink) == Q2_OK &&
	    fsck->out.buf.n >= STREAM_SIZE)
		(void)q2_cli_output_commit(&fsck->out);
}

bool fsck_on_progress(void *ctx, const struct q2_progress *now)
{
	struct run *run = ctx;
	struct fsck *fsck = run->fsck;

	if (fsck->options->output == OUTPUT_NDJSON && fsck->out.buf.n > 0)
		(void)q2_cli_output_commit(&fsck->out);
	return q2_cli_progress_tick(&fsck->progress, now) ||
	       fsck->out.error != 0;
}

static uint64_t keep(const struct options *o)
{
	if (o->output == OUTPUT_NDJSON || o->output == OUTPUT_QEMU)
		return 0;
	if (o->output == OUTPUT_TEXT && o->quiet)
		return 0;
	if (o->all_findings)
		return Q2_KEEP_ALL;
	return o->output == OUTPUT_TEXT ? KEEP_TEXT : KEEP_JSON;
}

void fsck_run_begin(struct run *run, struct fsck *fsck, const char *path)
{
	const struct options *o = fsck->options;

	*run = (struct run){.fsck = fsck, .path = path};
	fsck->progress.about = path;
	/* Findings that are kept come out of the same limit. */
	run->max_memory = o->max_memory - o->max_memory / 4;
	run->st = q2_report_new(path, keep(o), o->max_memory / 4, &run->report,
				&run->err);
}

/* See no-color.org. */
static bool colours(void)
{
	const char *no = getenv("NO_COLOR");

	return (no == NULL || *no == '\0') && isatty(STDOUT_FILENO) == 1 &&
	       !q2_cli_dumb();
}

static enum q2_status write_report(struct run *run)
{
	struct fsck *fsck = run->fsck;
	const struct options *o = fsck->options;
	struct q2_sink sink = fsck_sink(fsck);
	unsigned flags = 0;

	switch (o->output) {
	case OUTPUT_JSON:
		put_text(fsck, fsck->first ? "" : ",");
		fsck->first = false;
		return q2_report_json(run->report, Q2_JSON_IMAGE, &sink);
	case OUTPUT_NDJSON:
		return q2_report_json(run->report, Q2_JSON_SUMMARY, &sink);
	case OUTPUT_QEMU:
		/* qemu-img prints no object for what it cannot check. */
		if (run->st != Q2_OK || run->result.verdict == Q2_UNREADABLE)
			return Q2_OK;
		return q2_report_json(run->report, Q2_JSON_QEMU, &sink);
	default:
		break;
	}
	if (!run->checked)
		return Q2_OK;
	if (o->quiet)
		flags |= Q2_TEXT_BRIEF;
	if (o->verbose)
		flags |= Q2_TEXT_DETAIL;
	if (fsck->mode != MODE_CHECK)
		flags |= Q2_TEXT_NO_NEXT;
	if (colours())
		flags |= Q2_TEXT_COLOUR;
	if (!fsck->first && !o->quiet)
		put_text(fsck, "\n");
	fsck->first = false;
	return q2_report_text(run->report, flags, &sink);
}

/* What went wrong with our own work is said on stderr, too. */
static void complain(const struct run *run)
{
	const struct fsck *fsck = run->fsck;
	const char *error = NULL;

	if (run->report != NULL)
		error = q2_report_error(run->report);
	else if (run->st != Q2_OK)
		error = q2_status_text(run->st);
	/* The report for people says these two well enough. */
	if (run->st == Q2_OK && fsck->options->output == OUTPUT_TEXT)
		return;
	if (error != NULL && fsck->out.error == 0)
		q2_cli_complain(fsck->tool, run->path, error);
}

int fsck_status(const struct run *run)
{
	const struct q2_check_result *r = &run->result;
	int status = 0;

	if (run->st == Q2_E_INTERRUPTED)
		return run->fsck->out.error != 0 ? Q2_EXIT_FAILED
						 : Q2_EXIT_INTERRUPTED;
	if (r->corruptions > 0 || r->leaks > 0 ||
	    (r->advice > 0 && run->fsck->options->strict))
		status |= Q2_EXIT_PROBLEMS;
	if (run->st != Q2_OK || r->verdict == Q2_UNREADABLE ||
	    r->check_errors > 0)
		status |= Q2_EXIT_FAILED;
	return status;
}

int fsck_qemu_status(const struct run *run)
{
	const struct q2_check_result *r = &run->result;

	if (run->st != Q2_OK)
		return 1;
	if (r->is_raw)
		return 63;
	if (r->verdict == Q2_UNREADABLE || r->check_errors > 0)
		return 1;
	if (r->corruptions > 0)
		return 2;
	if (r->leaks > 0)
		return 3;
	return r->advice > 0 && run->fsck->options->strict ? 2 : 0;
}

/* Findings that were asked for and could not be kept are a failure. */
static void judge_omitted(struct run *run)
{
	struct fsck *fsck = run->fsck;

	if (run->report == NULL || keep(fsck->options) != Q2_KEEP_ALL ||
	    q2_report_omitted(run->report) == 0)
		return;
	q2_cli_complain(fsck->tool, run->path,
			"--max-memory does not suffice to list all findings; "
			"--output=ndjson needs none");
	fsck_add_status(fsck, Q2_EXIT_FAILED, 1);
}

void fsck_told(struct fsck *fsck, const char *path, enum q2_status st)
{
	/* Failures of the output itself are sticky: main() looks at them. */
	if (st == Q2_OK || fsck->out.error != 0)
		return;
	q2_cli_complain(fsck->tool, path, q2_status_text(st));
	fsck_add_status(fsck, Q2_EXIT_FAILED, 1);
}

void fsck_tell_plan(struct fsck *fsck, const char *path, const struct q2_plan *plan)
{
	struct q2_sink sink = fsck_sink(fsck);
	unsigned flags = Q2_TEXT_BRIEF;

	if (fsck->options->output != OUTPUT_TEXT)
		return;
	if (fsck->options->all_findings)
		flags |= Q2_TEXT_ALL;
	fsck_told(fsck, path, q2_plan_text(plan, NULL, flags, &sink));
}

void fsck_run_end(struct run *run)
{
	struct fsck *fsck = run->fsck;
	enum q2_status st = Q2_OK;

	if (run->st != Q2_OK && run->err.code == Q2_OK) {
		run->err.code = run->st;
		snprintf(run->err.text, sizeof(run->err.text), "%s",
			 q2_status_text(run->st));
	}
	q2_cli_progress_clear(&fsck->progress);
	if (run->report != NULL) {
		q2_report_end(run->report, run->checked ? &run->result : NULL,
			      &run->err);
		st = write_report(run);
	}
	complain(run);
	fsck_told(fsck, run->path, st);
	judge_omitted(run);
	/* JSON is one document; the others are complete with each image. */
	if (fsck->options->output != OUTPUT_JSON)
		(void)q2_cli_output_commit(&fsck->out);
	q2_report_free(run->report);
	run->report = NULL;
}

void fsck_refuse(struct fsck *fsck, const char *path, const char *why)
{
	struct run run;

	fsck_run_begin(&run, fsck, path);
	if (run.st == Q2_OK) {
		run.st = run.err.code = Q2_E_ARG;
		snprintf(run.err.text, sizeof(run.err.text), "%s", why);
	}
	fsck_run_end(&run);
	fsck_add_status(fsck, Q2_EXIT_FAILED, 1);
}
