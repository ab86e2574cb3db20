/*
 * costs.c - what each snapshot costs, and what deleting it makes free.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "base/err.h"
#include "map/survey.h"

struct summing {
	struct q2_survey *s;
	struct q2_table_sums sums;
	struct q2_cost *costs;
	size_t n;
	struct q2_cost *active;
	uint64_t cs;
	struct q2_err *err;
};

/* ------------------------------------------------------------ all that it names */
static int by_cluster(const void *a, const void *b)
{
	const struct q2_table_sum *x = a, *y = b;

	return (x->clu > y->clu) - (x->clu < y->clu);
}

static uint64_t data_of(const struct summing *c, uint64_t clu)
{
	const struct q2_table_sum key = {.clu = clu}, *found = NULL;

	if (c->sums.n)
		found = bsearch(&key, c->sums.at, c->sums.n, sizeof(key),
				by_cluster);
	return found ? found->data : 0;
}

static struct q2_cost *cost_of(struct summing *c, uint32_t tree)
{
	const struct q2_snap_vec *v = &c->s->snapshots.snaps;

	if (tree == Q2_TREE_ACTIVE)
		return c->active;
	/* Usually the record's index is its place. */
	if (tree < c->n && v->at[tree].tree.id == tree)
		return &c->costs[tree];
	for (size_t i = 0; i < c->n; i++)
		if (v->at[i].tree.id == tree)
			return &c->costs[i];
	return NULL;
}

static enum q2_status add_table(void *ctx, const struct q2_tree *t,
				uint32_t slot, uint64_t clu)
{
	struct summing *c = ctx;
	struct q2_cost *cost = cost_of(c, t->id);

	(void)slot;
	if (cost)
		cost->referenced += (1 + data_of(c, clu)) * c->cs;
	return Q2_OK;
}

/* ------------------------------------------------------------- what is its own */
/* Whose a cell is alone; NULL if it is nobody's or has several owners. */
static struct q2_cost *only_owner(struct summing *c, uint16_t cell)
{
	unsigned owner = q2_cell_owner(cell);

	if (cell & Q2_CELL_ACTIVE)
		return owner ? NULL : c->active;
	return owner == 0 || owner == Q2_OWNER_SEVERAL ? NULL :
							 cost_of(c, owner - 1);
}

static void add_exclusive(struct summing *c)
{
	const struct q2_cells *cells = &c->s->cells;

	for (size_t i = 0; i < cells->n; i++) {
		const uint16_t *at = cells->slots[i]->at;
		unsigned k = 0, run;

		/* Neighbours mostly have the same owner. */
		for (; k < Q2_CELLS_PAGE; k += run) {
			struct q2_cost *cost = only_owner(c, at[k]);

			for (run = 1; k + run < Q2_CELLS_PAGE &&
				      at[k + run] == at[k];)
				run++;
			if (cost)
				cost->exclusive += run * c->cs;
		}
	}
}

/* Bytes of the snapshot table without the snapshots that `owner` gives to 1: each
 * record but the last one is padded. */
static uint64_t table_bytes(const struct q2_survey *s, const uint16_t *owner)
{
	const struct q2_snap_vec *v = &s->snapshots.snaps;
	uint64_t len = 0, end = 0;

	for (size_t i = 0; i < v->n; i++) {
		if (owner && owner[v->at[i].tree.id] == 1)
			continue;
		end = len + v->at[i].record.end;
		len += v->at[i].record.len;
	}
	return end;
}

/* Bytes of whole clusters by which the table shrinks without these snapshots. */
static uint64_t table_shrinks(const struct q2_survey *s, const uint16_t *owner)
{
	uint64_t cs = q2_survey_geom(s)->cluster_size;
	uint64_t before = q2_div_up(table_bytes(s, NULL), cs);

	return (before - q2_min(before, q2_div_up(table_bytes(s, owner), cs))) *
	       cs;
}

/* Its L1 table is its own, unless another one stands at the same place. */
static uint64_t l1_bytes(const struct q2_survey *s, const struct q2_snap *snap)
{
	uint64_t cs = q2_survey_geom(s)->cluster_size;
	const struct q2_trees *trees = &s->checker->trees;
	size_t same = 0;

	for (size_t i = 0; i < trees->n; i++)
		same += trees->at[i].l1_offset == snap->tree.l1_offset;
	if (same != 1)
		return 0;
	return q2_div_up(UINT64_C(8) * snap->tree.l1_entries, cs) * cs;
}

static enum q2_status sum_up(struct summing *c)
{
	struct q2_survey *s = c->s;
	enum q2_status st = q2_survey_mark(s, NULL, 0, &c->sums, c->err);

	if (st == Q2_OK) {
		q2_sort(c->sums.at, c->sums.n, sizeof(*c->sums.at),
			by_cluster);
		st = q2_survey_tables(s, add_table, c, c->err);
	}
	q2_table_sums_free(&c->sums, &s->checker->budget);
	return st;
}

enum q2_status q2_survey_costs(struct q2_survey *survey,
			       struct q2_cost *costs, size_t n,
			       struct q2_cost *active, struct q2_err *err)
{
	struct summing c = {.s = survey,
			    .costs = costs,
			    .n = (size_t)q2_min(n, survey->snapshots.snaps.n),
			    .active = active,
			    .cs = q2_survey_geom(survey)->cluster_size,
			    .err = err};
	const struct q2_snap *snaps = survey->snapshots.snaps.at;
	uint16_t *owner = calloc(Q2_SNAPSHOTS_MAX, sizeof(*owner));
	enum q2_status st;

	*active = (struct q2_cost){0};
	for (size_t i = 0; i < n; i++)
		costs[i] = (struct q2_cost){0};
	st = owner ? sum_up(&c) : q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
					  "no memory");
	if (st == Q2_OK)
		add_exclusive(&c);
	for (size_t i = 0; st == Q2_OK && i < c.n; i++) {
		owner[snaps[i].tree.id] = 1;
		costs[i].frees = costs[i].exclusive +
				 l1_bytes(survey, &snaps[i]) +
				 table_shrinks(survey, owner);
		owner[snaps[i].tree.id] = 0;
	}
	free(owner);
	return st;
}

/* --------------------------------------------------------- several of them */
static uint64_t count_owner(const struct q2_cells *cells, unsigned owner)
{
	uint64_t n = 0;

	for (size_t i = 0; i < cells->n; i++)
		for (unsigned k = 0; k < Q2_CELLS_PAGE; k++) {
			uint16_t cell = cells->slots[i]->at[k];

			n += cell && !(cell & Q2_CELL_ACTIVE) &&
			     q2_cell_owner(cell) == owner;
		}
	return n;
}

enum q2_status q2_survey_delete(struct q2_survey *survey, const size_t *which,
				size_t n, uint64_t *frees, struct q2_err *err)
{
	const struct q2_snap_vec *v = &survey->snapshots.snaps;
	uint16_t *owner = calloc(Q2_SNAPSHOTS_MAX, sizeof(*owner));
	uint64_t tables = 0;
	enum q2_status st;

	*frees = 0;
	if (owner == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	/* 1: those to be deleted; 2: the others. */
	for (size_t i = 0; i < Q2_SNAPSHOTS_MAX; i++)
		owner[i] = 2;
	for (size_t i = 0; i < n; i++) {
		const struct q2_snap *snap = &v->at[which[i]];

		if (which[i] >= v->n || owner[snap->tree.id] == 1)
			continue;
		owner[snap->tree.id] = 1;
		tables += l1_bytes(survey, snap);
	}
	st = q2_survey_mark(survey, owner, Q2_SNAPSHOTS_MAX, NULL, err);
	if (st == Q2_OK)
		*frees = count_owner(&survey->cells, 1) *
				 q2_survey_geom(survey)->cluster_size +
			 tables + table_shrinks(survey, owner);
	free(owner);
	return st;
}
