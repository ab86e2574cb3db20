/*
 * survey.c - checking an image and keeping what was learnt.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/survey.h"

#include <stdlib.h>

#include "base/err.h"

static void on_finding(void *ctx, const struct q2_finding *f)
{
	struct q2_survey *s = ctx;
	const struct q2_problem *p = q2_problem_by_number(f->problem->number);

	if (p)
		s->problems[p - q2_problem_at(0)]++;
	if (s->user.found)
		s->user.found(s->user.ctx, f);
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	const struct q2_survey *s = ctx;

	return s->user.progress && s->user.progress(s->user.ctx, p);
}

void q2_survey_close(struct q2_survey *s)
{
	if (s == NULL)
		return;
	if (s->checker) {
		q2_cells_free(&s->cells);
		q2_snaptable_free(&s->snapshots, &s->checker->budget);
		q2_checker_free(s->checker);
	}
	q2_io_close(s->io);
	free(s->problems);
	free(s);
}

static enum q2_status allocate(struct q2_survey *s, struct q2_err *err)
{
	do
		s->n_problems++;
	while (q2_problem_at(s->n_problems));
	s->problems = calloc(s->n_problems, sizeof(*s->problems));
	if (s->problems)
		return Q2_OK;
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
}

static enum q2_status run(struct q2_survey *s, struct q2_err *err)
{
	struct q2_checker *c;
	enum q2_status st;

	s->opts = (struct q2_check_opts){
		.max_memory = s->user.max_memory,
		.found = on_finding,
		.progress = on_progress,
		.ctx = s,
	};
	st = q2_checker_run(s->io, &s->opts, &s->result, &s->checker, &s->why);
	c = s->checker;
	if (c == NULL)
		return q2_fail(err, st, 0, Q2_NO_OFFSET, "%s", s->why.text);
	q2_cells_init(&s->cells, &c->budget);
	if (st != Q2_OK)
		return q2_fail(err, st, s->why.sys_errno, s->why.offset, "%s",
			       s->why.text);
	if (c->img.geom.cluster_size == 0)
		return q2_fail(err, Q2_E_FORMAT, 0, 0, s->result.is_raw ?
			       "not a QCOW2 image" :
			       "no usable QCOW2 header; qcow2-fsck tells more");
	s->partial = s->result.partial;
	st = q2_snaptable_read(&c->img, &s->snapshots, err);
	/* The check has said what is wrong with it. */
	if (st == Q2_E_IO)
		st = Q2_OK;
	/* Room for what comes: counts were compared. */
	q2_refmap_free(&c->map);
	q2_descriptors_free(&c->compressed, &c->budget);
	return st;
}

enum q2_status q2_survey_io(struct q2_io *io, const struct q2_survey_opts *opts,
			    struct q2_survey **survey, struct q2_err *err)
{
	struct q2_survey *s = calloc(1, sizeof(*s));
	enum q2_status st;

	*survey = NULL;
	if (s == NULL) {
		q2_io_close(io);
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	}
	s->user = *opts;
	s->io = io;
	st = allocate(s, err);
	if (st == Q2_OK)
		st = run(s, err);
	if (st != Q2_OK) {
		q2_survey_close(s);
		return st;
	}
	*survey = s;
	return Q2_OK;
}

enum q2_status q2_survey_open(const char *path,
			      const struct q2_survey_opts *opts,
			      struct q2_survey **survey, struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st = q2_io_open(path, &io, err);

	*survey = NULL;
	return st == Q2_OK ? q2_survey_io(io, opts, survey, err) : st;
}

const struct q2_check_result *q2_survey_result(const struct q2_survey *survey)
{
	return &survey->result;
}

uint64_t q2_survey_found(const struct q2_survey *survey, size_t i)
{
	return i < survey->n_problems ? survey->problems[i] : 0;
}

bool q2_survey_snapshot(const struct q2_survey *survey, size_t i,
			struct q2_snapshot_info *out)
{
	const struct q2_snap *snap;

	if (i >= survey->snapshots.snaps.n)
		return false;
	snap = &survey->snapshots.snaps.at[i];
	*out = (struct q2_snapshot_info){.index = snap->tree.id,
					 .id = snap->id,
					 .name = snap->name,
					 .disk_size = snap->tree.disk_size,
					 .vm_state = snap->record.vm_state};
	return true;
}

const struct q2_tree *q2_survey_tree(const struct q2_survey *s, uint32_t id)
{
	const struct q2_trees *trees = &s->checker->trees;

	for (size_t i = 0; i < trees->n; i++)
		if (trees->at[i].id == id)
			return &trees->at[i];
	return NULL;
}

const char *q2_use_text(enum q2_use use)
{
	static const char *const names[Q2_U_COUNT] = {
		[Q2_U_FREE] = "free",
		[Q2_U_LEAKED] = "leaked",
		[Q2_U_HEADER] = "header",
		[Q2_U_L1] = "l1-table",
		[Q2_U_L2] = "l2-table",
		[Q2_U_REFTABLE] = "refcount-table",
		[Q2_U_REFBLOCK] = "refcount-block",
		[Q2_U_SNAPTABLE] = "snapshot-table",
		[Q2_U_SNAPSHOT_L1] = "snapshot-l1-table",
		[Q2_U_BITMAP_DIR] = "bitmap-directory",
		[Q2_U_BITMAP_TABLE] = "bitmap-table",
		[Q2_U_BITMAP_DATA] = "bitmap-data",
		[Q2_U_LUKS] = "luks-header",
		[Q2_U_DATA] = "data",
		[Q2_U_COMPRESSED] = "compressed",
		[Q2_U_VMSTATE] = "vm-state",
		[Q2_U_MIXED] = "several-uses",
	};

	return (size_t)use < Q2_U_COUNT ? names[use] : "unknown";
}
