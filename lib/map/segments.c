/*
 * segments.c - the metadata of an image as ranges that do not overlap.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/segments.h"

static enum q2_use use_of(enum q2_kind kind)
{
	switch (kind) {
	case Q2_K_HEADER:
		return Q2_U_HEADER;
	case Q2_K_L1:
		return Q2_U_L1;
	case Q2_K_REFTABLE:
		return Q2_U_REFTABLE;
	case Q2_K_REFBLOCK:
		return Q2_U_REFBLOCK;
	case Q2_K_SNAPTABLE:
		return Q2_U_SNAPTABLE;
	case Q2_K_SNAPSHOT_L1:
		return Q2_U_SNAPSHOT_L1;
	case Q2_K_BITMAP_DIR:
		return Q2_U_BITMAP_DIR;
	case Q2_K_BITMAP_TABLE:
		return Q2_U_BITMAP_TABLE;
	case Q2_K_BITMAP_DATA:
		return Q2_U_BITMAP_DATA;
	case Q2_K_LUKS:
		return Q2_U_LUKS;
	default:
		return Q2_U_MIXED;
	}
}

static int by_first(const void *a, const void *b)
{
	const struct q2_segment *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return (x->end > y->end) - (x->end < y->end);
}

static enum q2_status push(const struct q2_survey *s, struct q2_segments *out,
			   struct q2_segment g, struct q2_err *err)
{
	if (g.first >= g.end)
		return Q2_OK;
	return q2_segments_push(out, &s->checker->budget, g, err);
}

/* `all` is sorted.  The last one put out is cut where the next one begins; what
 * they share is one of its own, and the longer one goes on behind it. */
static enum q2_status flatten(const struct q2_survey *s,
			      const struct q2_segments *all,
			      struct q2_segments *out, struct q2_err *err)
{
	struct q2_segment open = {0};
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < all->n && st == Q2_OK; i++) {
		struct q2_segment next = all->at[i];
		struct q2_segment both = {.use = Q2_U_MIXED};
		struct q2_segment rest;

		/* What three claim was put out with the first two. */
		next.first = q2_max(next.first, open.first);
		if (next.first >= open.end) {
			st = push(s, out, open, err);
			open = next;
			continue;
		}
		rest = next.end > open.end ? next : open;
		both.first = next.first;
		both.end = q2_min(next.end, open.end);
		open.end = next.first;
		rest.first = both.end;
		st = push(s, out, open, err);
		if (st == Q2_OK)
			st = push(s, out, both, err);
		open = rest;
	}
	return st == Q2_OK ? push(s, out, open, err) : st;
}

enum q2_status q2_segments_make(const struct q2_survey *s,
				struct q2_segments *out, struct q2_err *err)
{
	const struct q2_metas *metas = &s->checker->metas;
	struct q2_budget *b = &s->checker->budget;
	struct q2_segments all = {0};
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < metas->n && st == Q2_OK; i++) {
		const struct q2_meta *m = &metas->at[i];

		st = push(s, &all,
			  (struct q2_segment){m->first,
					      q2_add_sat(m->first, m->n),
					      use_of(m->kind), m->index}, err);
	}
	q2_sort(all.at, all.n, sizeof(*all.at), by_first);
	if (st == Q2_OK)
		st = flatten(s, &all, out, err);
	q2_segments_free(&all, b);
	return st;
}
