/*
 * delta.c - where two snapshots' disks are not the same clusters.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"
#include "image/extents.h"
#include "map/survey.h"

static enum q2_status open_map(struct q2_survey *s, size_t which,
			       struct q2_map *m, struct q2_err *err)
{
	const struct q2_image *img = &s->checker->img;
	const struct q2_tree *tree = q2_survey_tree(s, Q2_TREE_ACTIVE);
	struct q2_tree none = {.id = Q2_TREE_ACTIVE,
			       .disk_size = img->geom.disk_size};

	if (which != Q2_ACTIVE_DISK)
		tree = which < s->snapshots.snaps.n ?
			       &s->snapshots.snaps.at[which].tree : NULL;
	else if (tree == NULL)
		tree = &none;
	if (tree == NULL)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "there is no such snapshot");
	return q2_map_open(m, img, tree, NULL, err);
}

static bool same(const struct q2_extent *a, const struct q2_extent *b)
{
	/* Of what cannot be read nothing is known. */
	if (a->kind != b->kind || a->kind == Q2_MAP_UNREADABLE)
		return false;
	if (a->has_host != b->has_host)
		return false;
	return !a->has_host || (a->host == b->host && a->stored == b->stored);
}

struct merging {
	enum q2_status (*see)(void *ctx, uint64_t guest, uint64_t length);
	void *ctx;
	uint64_t start;
	uint64_t end; /* == start: nothing to be told */
};

static enum q2_status differ(struct merging *d, uint64_t guest, uint64_t len)
{
	enum q2_status st = Q2_OK;

	if (d->end != guest || d->end == d->start) {
		if (d->end > d->start)
			st = d->see(d->ctx, d->start, d->end - d->start);
		d->start = guest;
	}
	d->end = guest + len;
	return st;
}

static enum q2_status walk(struct q2_map *a, struct q2_map *b,
			   struct merging *d)
{
	uint64_t both = q2_min(a->size, b->size);
	uint64_t longest = q2_max(a->size, b->size);
	enum q2_status st = Q2_OK;
	struct q2_extent x, y;

	for (uint64_t at = 0; at < both && st == Q2_OK; at += y.length) {
		q2_map_at(a, at, both - at, &x);
		q2_map_at(b, at, x.length, &y);
		if (!same(&x, &y))
			st = differ(d, at, y.length);
	}
	if (st == Q2_OK && longest > both)
		st = differ(d, both, longest - both);
	if (st == Q2_OK && d->end > d->start)
		st = d->see(d->ctx, d->start, d->end - d->start);
	return st;
}

enum q2_status q2_survey_delta(struct q2_survey *survey, size_t a, size_t b,
			       enum q2_status (*see)(void *ctx, uint64_t guest,
						     uint64_t length),
			       void *ctx, struct q2_err *err)
{
	struct merging d = {.see = see, .ctx = ctx};
	struct q2_map x, y;
	enum q2_status st = open_map(survey, a, &x, err);

	if (st != Q2_OK)
		return st;
	st = open_map(survey, b, &y, err);
	if (st == Q2_OK) {
		st = walk(&x, &y, &d);
		q2_map_close(&y);
	}
	q2_map_close(&x);
	return st;
}
