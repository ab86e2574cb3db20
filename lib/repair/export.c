/*
 * export.c - orphans for which there is no snapshot go to a side file, and are freed
 * after that.
 *
 * SPDX-License-Identifier: MIT
 *
 * The file begins with an index in text, and the bytes follow.  Each line of the
 * index has a fixed length, so that it can be filled in as the bytes are copied.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hash.h"
#include "io/io.h"
#include "repair/orphans.h"

#define PIECE (UINT64_C(1) << 20) /* that a line of the index tells of */
#define LINE 86u
#define ALIGN UINT64_C(4096)

static const char intro[] =
	"qcow2-fsck orphans 1\n"
	"# Clusters that nothing in the image refers to, saved before they were freed.\n"
	"# A line for each piece: offset in the image, length, offset in this file,\n"
	"# XXH3 of the bytes, and what they are.  One of them becomes a file by\n"
	"#   dd if=THIS of=PIECE bs=1M iflag=skip_bytes,count_bytes skip=OFFSET count=LENGTH\n"
	"# with the offset in this file.\n";
static const char outro[] = "end\n";

enum q2_status q2_save_orphans(struct q2_repair *r, const struct q2_orphans *o,
			       const char *why)
{
	const struct q2_leaks *leaks = &r->c->leaks;
	enum q2_status st = Q2_OK;
	uint32_t action;

	q2_runs_tidy(&r->worthless);
	q2_runs_tidy(&r->released);
	if (r->saving == 0) {
		st = q2_act(r, Q2_P_LEAK, Q2_EFFECT_NONE, NULL, &action,
			    "orphaned clusters are saved in a side file, and "
			    "freed then: no snapshot can hold them, as %s",
			    why);
		r->saving = action + 1;
	}
	for (size_t i = 0; i < o->tables.n && st == Q2_OK; i++)
		st = q2_runs_push(&r->saved_tables, &r->budget,
				  (struct q2_run){o->tables.at[i].clu, 1},
				  r->err);
	for (size_t i = 0; i < leaks->n && st == Q2_OK; i++)
		for (uint64_t k = 0; k < leaks->at[i].n && st == Q2_OK; k++) {
			struct q2_run run = {leaks->at[i].first + k, 1};

			if (q2_runs_have(&r->worthless, run.first) ||
			    q2_runs_have(&r->released, run.first))
				continue;
			st = q2_runs_push(&r->saved, &r->budget, run, r->err);
		}
	q2_runs_tidy(&r->saved);
	q2_runs_tidy(&r->saved_tables);
	return st;
}

/* Adds clusters to the plan's list, as far as the file has them. */
static enum q2_status list(struct q2_repair *r, uint64_t first, uint64_t n,
			   bool table)
{
	struct q2_exports *x = &r->plan->exports;
	struct q2_export *last = x->n ? &x->at[x->n - 1] : NULL;
	unsigned bits = r->c->img.geom.cluster_bits;
	struct q2_export e = {first << bits, n << bits, table};

	if (e.offset >= r->plan->old_size)
		return Q2_OK;
	e.length = q2_min(e.length, r->plan->old_size - e.offset);
	if (last && last->table == table &&
	    last->offset + last->length == e.offset) {
		last->length += e.length;
		return Q2_OK;
	}
	return q2_exports_push(x, &r->plan->budget, e, r->err);
}

enum q2_status q2_list_saved(struct q2_repair *r)
{
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < r->saved.n && st == Q2_OK; i++) {
		struct q2_run run = r->saved.at[i];

		for (uint64_t k = 0; k < run.n && st == Q2_OK; k++)
			st = list(r, run.first + k, 1,
				  q2_runs_have(&r->saved_tables,
					       run.first + k));
	}
	return st;
}

uint64_t q2_plan_orphans(const struct q2_plan *plan)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < plan->exports.n; i++)
		sum += plan->exports.at[i].length;
	return sum;
}

/* One side file in the making. */
struct save {
	const struct q2_plan *plan;
	struct q2_io *image;
	struct q2_io *out;
	const struct q2_apply_opts *opts;
	struct q2_progress progress;
	uint8_t *bytes;
	uint64_t line; /* where the next one goes */
	uint64_t at;   /* and the next bytes */
};

static enum q2_status save_piece(struct save *s, uint64_t offset, size_t n,
				 bool table, struct q2_err *err)
{
	char line[LINE + 1];
	enum q2_status st = q2_pread(s->image, s->bytes, n, offset, err);

	if (s->opts && s->opts->progress &&
	    s->opts->progress(s->opts->ctx, &s->progress))
		st = q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
			     "interrupted");
	if (st == Q2_OK)
		st = q2_pwrite(s->out, s->bytes, n, s->at, err);
	snprintf(line, sizeof(line), "%20llu %20zu %20llu %016llx %-5s\n",
		 (unsigned long long)offset, n, (unsigned long long)s->at,
		 (unsigned long long)q2_hash(s->bytes, n),
		 table ? "table" : "data");
	if (st == Q2_OK)
		st = q2_pwrite(s->out, line, LINE, s->line, err);
	s->line += LINE;
	s->at += n;
	s->progress.done += n;
	return st;
}

static enum q2_status save_all(struct save *s, struct q2_err *err)
{
	const struct q2_exports *x = &s->plan->exports;
	uint64_t lines = 0, pad;
	char fill[64];
	enum q2_status st;

	for (size_t i = 0; i < x->n; i++)
		lines += q2_div_up(x->at[i].length, PIECE);
	st = q2_pwrite(s->out, intro, sizeof(intro) - 1, 0, err);
	s->line = sizeof(intro) - 1;
	pad = s->line + lines * LINE;
	s->at = q2_div_up(pad + sizeof(outro) - 1, ALIGN) * ALIGN;
	if (st == Q2_OK)
		st = q2_pwrite(s->out, outro, sizeof(outro) - 1, pad, err);
	memset(fill, '\n', sizeof(fill));
	for (pad += sizeof(outro) - 1; pad < s->at && st == Q2_OK;
	     pad += sizeof(fill))
		st = q2_pwrite(s->out, fill,
			       (size_t)q2_min(sizeof(fill), s->at - pad), pad,
			       err);
	for (size_t i = 0; i < x->n && st == Q2_OK; i++)
		for (uint64_t k = 0; k < x->at[i].length && st == Q2_OK;
		     k += PIECE)
			st = save_piece(s, x->at[i].offset + k,
					(size_t)q2_min(PIECE,
						       x->at[i].length - k),
					x->at[i].table, err);
	return st;
}

enum q2_status q2_orphans_save(const struct q2_plan *plan, struct q2_io *io,
			       const char *path,
			       const struct q2_apply_opts *opts,
			       struct q2_err *err)
{
	struct save s = {.plan = plan, .image = io, .opts = opts};
	struct q2_err own = {0};
	enum q2_status st;

	s.progress = (struct q2_progress){"save", 0, q2_plan_orphans(plan)};
	s.bytes = malloc(PIECE);
	if (s.bytes == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	/* What q2_io_publish() would find out only after all was copied. */
	st = access(path, F_OK) == 0 ? q2_fail_errno(&own, EEXIST, Q2_NO_OFFSET,
						     "cannot create") :
				       q2_io_create(path, &s.out, &own);
	if (st == Q2_OK)
		st = save_all(&s, &own);
	if (st == Q2_OK)
		st = q2_io_publish(s.out, false, &own);
	q2_io_close(s.out);
	free(s.bytes);
	if (st == Q2_OK || st == Q2_E_INTERRUPTED)
		return st == Q2_OK ? st : q2_fail(err, st, 0, Q2_NO_OFFSET,
						  "%s", own.text);
	return q2_fail(err, st, own.sys_errno, own.offset,
		       "orphaned clusters cannot be saved in %.100s, so "
		       "nothing is freed: %.90s", path, own.text);
}
