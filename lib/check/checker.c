/*
 * checker.c - what the phases of a check share: findings, metadata, progress.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/checker.h"

#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "check/keep.h"

void q2_found(struct q2_checker *c, enum q2_problem_id id,
	      const struct q2_finding *f)
{
	struct q2_finding own = *f;

	own.problem = q2_problem(id);
	assert((own.fields & ~own.problem->fields) == 0);
	switch (own.problem->severity) {
	case Q2_CORRUPT:
		c->result->corruptions++;
		break;
	case Q2_LEAK:
		c->result->leaks += id == Q2_P_LEAK ? own.count : 1;
		break;
	case Q2_ADVICE:
		c->result->advice++;
		break;
	}
	/* A wrong root makes the whole walk a guess. */
	c->result->partial |= id >= Q2_P_ROOT_CLUSTER_BITS &&
			      id <= Q2_P_ROOT_L1_OFFSET;
	c->bitmaps.hurt |= own.problem->number / 100 == 6 ||
			   id == Q2_P_EXT_BITMAPS_BAD ||
			   id == Q2_P_BITMAPS_STALE ||
			   id == Q2_P_BITMAPS_BIT_NO_EXT;
	q2_keep_finding(c, id, &own);
	if (c->opts->found)
		c->opts->found(c->opts->ctx, &own);
}

void q2_finding_text(struct q2_finding *f, const char *bytes, size_t n)
{
	f->text_len = (uint32_t)q2_min(n, sizeof(f->text));
	memcpy(f->text, bytes, f->text_len);
	f->fields |= Q2_F_TEXT;
}

enum q2_status q2_unreadable(struct q2_checker *c, enum q2_status status,
			     const struct q2_err *why, enum q2_kind kind,
			     uint64_t host, uint64_t length)
{
	struct q2_finding f = {.fields = Q2_F_HOST | Q2_F_KIND | Q2_F_LENGTH,
			       .host = host,
			       .kind = kind,
			       .length = length};

	return q2_unreadable_at(c, status, why, &f);
}

enum q2_status q2_unreadable_at(struct q2_checker *c, enum q2_status status,
				const struct q2_err *why,
				const struct q2_finding *where)
{
	struct q2_finding f = *where;

	if (status == Q2_E_NOMEM || status == Q2_E_BUDGET ||
	    status == Q2_E_INTERRUPTED)
		return q2_fail(c->err, status, why->sys_errno, why->offset,
			       "%s", why->text);
	q2_finding_text(&f, why->text, strlen(why->text));
	q2_found(c, Q2_P_UNREADABLE, &f);
	c->result->check_errors++;
	c->result->partial = true;
	return Q2_OK;
}

static enum q2_status add_range(struct q2_checker *c, struct q2_metas *to,
				enum q2_kind kind, uint32_t index,
				struct q2_range range)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t first = range.start >> g->cluster_bits;
	uint64_t end = q2_min(q2_div_up(q2_end(range), g->cluster_size),
			      g->file_clusters);
	struct q2_meta m = {first, end - first, kind, index};

	if (range.len == 0 || first >= end)
		return Q2_OK;
	return q2_metas_push(to, &c->budget, m, c->err);
}

enum q2_status q2_meta_add(struct q2_checker *c, enum q2_kind kind,
			   uint32_t index, struct q2_range range)
{
	return add_range(c, &c->metas, kind, index, range);
}

enum q2_status q2_bitmap_meta_add(struct q2_checker *c, enum q2_kind kind,
				  uint32_t index, struct q2_range range)
{
	bool promised = c->header.autoclear & Q2_AUTOCLEAR_BITMAPS;

	return add_range(c, promised ? &c->metas : &c->bitmaps.claims, kind,
			 index, range);
}

enum q2_status q2_tick(struct q2_checker *c, const char *phase, uint64_t done,
		       uint64_t total)
{
	struct q2_progress p = {phase, done, total};

	if (c->opts->progress && c->opts->progress(c->opts->ctx, &p))
		return q2_fail(c->err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
			       "interrupted");
	return Q2_OK;
}
