/*
 * backup.c - an image's metadata apart from the guest's data, and back again.
 *
 * SPDX-License-Identifier: MIT
 *
 * A backup is a plan whose edits replace nothing: what each structure held, where
 * it stood.  Putting it back makes a true plan of it, with what is there now as
 * the bytes before, and of that only the sectors that differ.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/zeros.h"
#include "check/checker.h"
#include "repair/planfile.h"

#define BLOCK ((uint64_t)4096) /* zeros are left out in this unit */
#define PIECE ((uint64_t)Q2_PF_ZERO_MAX)
#define SECTOR ((uint64_t)512)

struct area {
	enum q2_kind kind;
	struct q2_range range;
};
Q2_VEC(areas, struct area)

struct backup {
	struct q2_io *io;
	struct q2_plan *plan;
	struct areas areas;
	const uint8_t *zeros; /* PIECE of them, once needed */
	uint32_t action[Q2_K_COUNT]; /* of each kind, plus 1; 0: none yet */
	struct q2_err *err;
};

static int by_start(const void *a, const void *b)
{
	const struct area *x = a;
	const struct area *y = b;

	if (x->range.start != y->range.start)
		return x->range.start < y->range.start ? -1 : 1;
	return 0;
}

static enum q2_status add_area(struct backup *b, enum q2_kind kind,
			       struct q2_range r)
{
	uint64_t end = q2_min(q2_end(r), b->io->size);

	if (r.start >= end)
		return Q2_OK;
	r.len = end - r.start;
	return areas_push(&b->areas, &b->plan->budget,
			  (struct area){kind, r}, b->err);
}

/* Where every structure lies, in the order of the file. */
static enum q2_status gather(struct backup *b, const struct q2_checker *c,
			     unsigned flags)
{
	uint64_t cs = c->img.geom.cluster_size;
	enum q2_status st = add_area(b, Q2_K_HEADER, (struct q2_range){0, cs});

	for (size_t i = 0; i < c->metas.n && st == Q2_OK; i++) {
		const struct q2_meta *m = &c->metas.at[i];

		if (m->kind != Q2_K_LUKS || (flags & Q2_BACKUP_KEYS))
			st = add_area(b, m->kind,
				      (struct q2_range){m->first * cs,
							m->n * cs});
	}
	for (size_t i = 0; i < c->refs.tables.n && st == Q2_OK; i++)
		st = add_area(b, Q2_K_L2,
			      (struct q2_range){c->refs.tables.at[i].clu * cs,
						cs});
	q2_sort(b->areas.at, b->areas.n, sizeof(*b->areas.at), by_start);
	return st;
}

static enum q2_status action_for(struct backup *b, enum q2_kind kind,
				 uint32_t *index)
{
	const char *name = q2_kind_text(kind);
	struct q2_action a = {.f.fields = Q2_F_KIND, .f.kind = kind};
	enum q2_status st;

	if (b->action[kind] == 0) {
		a.text = (const char *)q2_plan_keep(b->plan, name,
						    strlen(name) + 1, b->err);
		if (a.text == NULL)
			return b->err->code;
		st = q2_actions_push(&b->plan->actions, &b->plan->budget, a,
				     b->err);
		if (st != Q2_OK)
			return st;
		b->action[kind] = (uint32_t)b->plan->actions.n;
	}
	*index = b->action[kind] - 1;
	return Q2_OK;
}

/* Bytes that last; of zeros there is one piece for all. */
static const uint8_t *keep(struct backup *b, const uint8_t *bytes, size_t n,
			   bool zero)
{
	uint8_t *z;

	if (!zero)
		return q2_plan_keep(b->plan, bytes, n, b->err);
	if (b->zeros == NULL) {
		z = q2_plan_keep(b->plan, NULL, PIECE, b->err);
		if (z)
			memset(z, 0, PIECE);
		b->zeros = z;
	}
	return b->zeros;
}

/* What was read, in runs of zeros and of other bytes. */
static enum q2_status keep_runs(struct backup *b, uint32_t action, uint64_t off,
				const uint8_t *bytes, uint64_t len)
{
	enum q2_status st = Q2_OK;
	uint64_t end;

	for (uint64_t at = 0; at < len && st == Q2_OK; at = end) {
		struct q2_edit e = {.phase = Q2_PH_MARK, .action = action};
		bool zero = q2_all_zero(bytes + at,
					(size_t)q2_min(BLOCK, len - at));

		for (end = at; end < len; end += q2_min(BLOCK, len - end))
			if (q2_all_zero(bytes + end,
					(size_t)q2_min(BLOCK, len - end)) != zero)
				break;
		e.offset = off + at;
		e.len = (uint32_t)(end - at);
		e.after = keep(b, bytes + at, e.len, zero);
		e.before = e.after;
		st = e.after ? q2_edits_push(&b->plan->edits, &b->plan->budget,
					     e, b->err)
			     : b->err->code;
	}
	return st;
}

/* Each byte once, even where structures overlap. */
static enum q2_status keep_areas(struct backup *b)
{
	uint8_t *bytes = malloc(PIECE);
	enum q2_status st = Q2_OK;
	uint64_t done = 0;

	if (bytes == NULL)
		return q2_fail(b->err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory");
	for (size_t i = 0; i < b->areas.n && st == Q2_OK; i++) {
		const struct area *a = &b->areas.at[i];
		uint32_t action = 0;

		done = q2_max(done, a->range.start);
		if (done < q2_end(a->range))
			st = action_for(b, a->kind, &action);
		while (done < q2_end(a->range) && st == Q2_OK) {
			uint64_t n = q2_min(PIECE, q2_end(a->range) - done);

			st = q2_pread(b->io, bytes, (size_t)n, done, b->err);
			if (st == Q2_OK)
				st = keep_runs(b, action, done, bytes, n);
			done += n;
		}
	}
	free(bytes);
	return st;
}

enum q2_status q2_backup_make(struct q2_io *io, unsigned flags,
			      const struct q2_plan_opts *opts,
			      struct q2_plan **plan,
			      struct q2_check_result *found, struct q2_err *err)
{
	struct q2_check_opts check = {.max_memory = opts->max_memory,
				      .found = opts->found,
				      .progress = opts->progress,
				      .ctx = opts->ctx};
	struct q2_err own = {0};
	struct backup b = {.io = io, .err = &own};
	struct q2_checker *c = NULL;
	enum q2_status st = q2_plan_new(opts->max_memory, &b.plan, &own);

	*plan = NULL;
	if (st == Q2_OK)
		st = q2_checker_run(io, &check, found, &c, &own);
	if (st == Q2_OK && c->img.geom.cluster_size == 0)
		st = q2_fail(&own, Q2_E_FORMAT, 0, 0,
			     "without a usable header its tables cannot be "
			     "found");
	if (st == Q2_OK) {
		b.plan->old_size = b.plan->new_size = io->size;
		b.plan->is_device = io->is_device;
		st = q2_plan_identity(b.plan, io, &b.plan->identity, &own);
	}
	if (st == Q2_OK)
		st = gather(&b, c, flags);
	if (st == Q2_OK)
		st = keep_areas(&b);
	if (b.plan)
		areas_free(&b.areas, &b.plan->budget);
	q2_checker_free(c);
	if (st == Q2_OK) {
		*plan = b.plan;
		return Q2_OK;
	}
	q2_plan_free(b.plan);
	if (err && err->code == Q2_OK)
		*err = own;
	return st;
}

/* ------------------------------------------------------------------- restoring */

static enum q2_status put_back(struct q2_plan *plan, const struct q2_edit *e,
			       const uint8_t *now, uint64_t from, uint64_t end,
			       struct q2_err *err)
{
	struct q2_edit new = {
		.action = e->action,
		.offset = e->offset + from,
		.len = (uint32_t)(end - from),
	};
	uint64_t there = plan->old_size - q2_min(plan->old_size, new.offset);

	if (from == end)
		return Q2_OK;
	/* The header comes last: until then what it names is not relied on. */
	new.phase = new.offset == 0 ? Q2_PH_SWITCH : Q2_PH_NEW;
	new.before_len = (uint32_t)q2_min(new.len, there);
	new.before = q2_plan_keep(plan, now + from, new.before_len, err);
	new.after = q2_plan_keep(plan, e->after + from, new.len, err);
	if (new.before == NULL || new.after == NULL)
		return Q2_E_NOMEM;
	return q2_edits_push(&plan->edits, &plan->budget, new, err);
}

/* Runs of sectors in which the file and bytes [at, stop) of the backup's edit
 * differ. */
static enum q2_status compare(struct q2_plan *plan, const struct q2_edit *e,
			      struct q2_io *io, uint8_t *now, uint64_t at,
			      uint64_t stop, struct q2_err *err)
{
	enum q2_status st = q2_pread_zero(io, now, e->len, e->offset, err);
	uint64_t from = at, end;

	for (; at < stop && st == Q2_OK; at = end) {
		end = at + SECTOR - ((e->offset + at) & (SECTOR - 1));
		end = q2_min(end, stop);
		if (memcmp(now + at, e->after + at, (size_t)(end - at)) == 0) {
			st = put_back(plan, e, now, from, at, err);
			from = end;
		}
	}
	return st == Q2_OK ? put_back(plan, e, now, from, stop, err) : st;
}

/* All but the header's sector, and then that. */
static enum q2_status compare_all(const struct q2_plan *backup,
				  struct q2_plan *plan, struct q2_io *io,
				  uint8_t *now, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < backup->edits.n && st == Q2_OK; i++) {
		const struct q2_edit *e = &backup->edits.at[i];
		uint64_t skip = e->offset == 0 ? q2_min(SECTOR, e->len) : 0;

		st = compare(plan, e, io, now, skip, e->len, err);
	}
	for (size_t i = 0; i < backup->edits.n && st == Q2_OK; i++) {
		const struct q2_edit *e = &backup->edits.at[i];

		if (e->offset == 0)
			st = compare(plan, e, io, now, 0,
				     q2_min(SECTOR, e->len), err);
	}
	return st;
}

static enum q2_status copy_actions(const struct q2_plan *backup,
				   struct q2_plan *plan, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < backup->actions.n && st == Q2_OK; i++) {
		struct q2_action a = backup->actions.at[i];
		static const char what[] = "put back from the backup: ";
		char text[sizeof(what) + 100] = "";

		strcpy(text, what);
		strncat(text, a.text, 99);
		a.text = (const char *)q2_plan_keep(plan, text,
						    strlen(text) + 1, err);
		st = a.text ? q2_actions_push(&plan->actions, &plan->budget, a,
					      err)
			    : Q2_E_NOMEM;
	}
	return st;
}

static enum q2_status judge_backup(const struct q2_plan *backup,
				   const struct q2_io *io, struct q2_err *err)
{
	for (size_t i = 0; i < backup->edits.n; i++) {
		const struct q2_edit *e = &backup->edits.at[i];

		if (e->len == 0 || e->len > PIECE ||
		    e->action >= backup->actions.n ||
		    !q2_inside(e->offset, e->len, backup->old_size))
			return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
				       "the backup makes no sense");
		if (io->is_device && !q2_inside(e->offset, e->len, io->size))
			return q2_fail(err, Q2_E_RANGE, 0, e->offset,
				       "the device is smaller than the image "
				       "was");
	}
	return Q2_OK;
}

static void ignore(void *ctx, const struct q2_finding *f)
{
	(void)ctx;
	(void)f;
}

/* An image without a fault is another one, or is set back to what it was: clusters
 * never change their size, and whoever sets it back has to know. */
static enum q2_status judge_image(const struct q2_plan *backup,
				  struct q2_plan *plan, struct q2_io *io,
				  uint64_t max_memory, struct q2_err *err)
{
	struct q2_check_opts opts = {.max_memory = max_memory, .found = ignore};
	struct q2_action a = {
		.effect = Q2_EFFECT_SUSPECT,
		.note = true,
		.text = "the image had no fault before: what was written to it "
			"since the backup was made is lost to it"};
	struct q2_check_result res;
	struct q2_checker *c = NULL;
	uint8_t own[24];
	bool foreign = false;
	enum q2_status st = q2_checker_run(io, &opts, &res, &c, NULL);

	/* What cannot be checked is damaged, in one way or another. */
	if (st != Q2_OK || res.corruptions || res.partial ||
	    c->img.geom.cluster_size == 0)
		goto out;
	for (size_t i = 0; i < backup->edits.n; i++) {
		const struct q2_edit *e = &backup->edits.at[i];

		if (e->offset == 0 && e->len >= sizeof(own) &&
		    q2_pread_zero(io, own, sizeof(own), 0, NULL) == Q2_OK)
			foreign |= memcmp(own + 20, e->after + 20, 4) != 0;
	}
	if (foreign)
		st = q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			     "the image has no fault, and clusters of another "
			     "size than the one that the backup is of");
	else if (plan->edits.n)
		st = q2_actions_push(&plan->actions, &plan->budget, a, err);
	q2_checker_free(c);
	return st;
out:
	q2_checker_free(c);
	return st == Q2_E_NOMEM ? q2_fail(err, st, 0, Q2_NO_OFFSET, "no memory") :
				  Q2_OK;
}

/* Tables that are put back may name what was cut off with the end of the file. */
static enum q2_status tell_cut(const struct q2_plan *backup,
			       struct q2_plan *plan, const struct q2_io *io,
			       struct q2_err *err)
{
	struct q2_action a = {.effect = Q2_EFFECT_LOSS, .note = true};
	char text[160];

	if (io->is_device || io->size >= backup->old_size)
		return Q2_OK;
	snprintf(text, sizeof(text),
		 "the file is %llu bytes shorter than it was: what lay there of "
		 "the guest's data is gone, and reads as zeros",
		 (unsigned long long)(backup->old_size - io->size));
	a.text = (const char *)q2_plan_keep(plan, text, strlen(text) + 1, err);
	return a.text ? q2_actions_push(&plan->actions, &plan->budget, a, err) :
			Q2_E_NOMEM;
}

enum q2_status q2_restore_make(const struct q2_plan *backup, struct q2_io *io,
			       uint64_t max_memory, struct q2_plan **plan,
			       struct q2_err *err)
{
	uint8_t *now = malloc(PIECE);
	struct q2_plan *p = NULL;
	enum q2_status st = judge_backup(backup, io, err);

	*plan = NULL;
	if (st == Q2_OK && now == NULL)
		st = q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	if (st == Q2_OK)
		st = q2_plan_new(max_memory, &p, err);
	if (st == Q2_OK) {
		p->old_size = io->size;
		p->new_size = io->is_device ? io->size
					    : q2_max(io->size,
						     backup->old_size);
		p->is_device = io->is_device;
		st = q2_plan_identity(p, io, &p->identity, err);
	}
	if (st == Q2_OK)
		st = copy_actions(backup, p, err);
	if (st == Q2_OK)
		st = compare_all(backup, p, io, now, err);
	if (st == Q2_OK)
		st = judge_image(backup, p, io, max_memory, err);
	if (st == Q2_OK)
		st = tell_cut(backup, p, io, err);
	free(now);
	if (st == Q2_OK)
		*plan = p;
	else
		q2_plan_free(p);
	return st;
}
