/*
 * l2refs.c - collecting the distinct L2 tables that the L1 tables name.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/l2refs.h"

#include <stdlib.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/zeros.h"

#define CHUNK (64u << 10)
#define SPARE_TABLES 65536u
#define SPARE_FUEL (UINT64_C(64) << 20)

/* While collecting, tables are found by their cluster through `index`: slots
 * hold 1 + the position in refs->tables. */
struct collector {
	const struct q2_image *img;
	const struct q2_l1_events *events;
	struct q2_l2refs *refs;
	struct q2_err *err;
	uint32_t *index;
	size_t n_index; /* a power of two */
	struct q2_holes holes;
	uint64_t fuel; /* bytes of L1 tables that may still be read */
	uint64_t most; /* tables that may lie in holes */
	struct q2_holes places; /* of L2 tables */
	uint8_t *chunk;
};

static size_t index_slot(const struct collector *c, uint64_t clu)
{
	size_t mask = c->n_index - 1;
	size_t i = (size_t)((clu * UINT64_C(0x9e3779b97f4a7c15)) >> 24) & mask;

	while (c->index[i] && c->refs->tables.at[c->index[i] - 1].clu != clu)
		i = (i + 1) & mask;
	return i;
}

static enum q2_status grow_index(struct collector *c)
{
	size_t n = c->n_index ? 2 * c->n_index : 64;
	void *block;
	enum q2_status st = q2_get(c->img->budget, n * sizeof(uint32_t),
				   &block, c->err);

	if (st != Q2_OK)
		return st;
	q2_put(c->img->budget, c->index, c->n_index * sizeof(uint32_t));
	c->index = block;
	c->n_index = n;
	for (size_t i = 0; i < c->refs->tables.n; i++)
		c->index[index_slot(c, c->refs->tables.at[i].clu)] =
			(uint32_t)i + 1;
	return Q2_OK;
}

/* How many entries of the table in `slot` lie on the tree's disk.  Slots past
 * the disk hold VM state: all of them count. */
static uint32_t entries_on_disk(const struct q2_geom *g,
				const struct q2_tree *tree, uint32_t slot)
{
	uint64_t entries = UINT64_C(1) << g->l2_bits;
	uint64_t disk = q2_div_up(tree->disk_size, g->cluster_size);
	uint64_t before = (uint64_t)slot << g->l2_bits;

	if (before >= disk)
		return (uint32_t)entries;
	return (uint32_t)q2_min(entries, disk - before);
}

/* Once there are more tables than the file can store, those in holes are not
 * believed: they would cost memory, and tell nothing. */
static bool is_claim(struct collector *c, struct q2_clu table)
{
	const struct q2_geom *g = &c->img->geom;
	struct q2_range at = {q2_offset(g, table), g->cluster_size};

	return c->refs->tables.n >= c->most && q2_holes_covers(&c->places, at);
}

/* Notes that `weight` trees with this table name L2 table e->table in `slot`. */
static enum q2_status note(struct collector *c, const struct q2_tree *tree,
			   uint32_t slot, const struct q2_l1_entry *e,
			   uint64_t weight)
{
	struct q2_l2ref_vec *tables = &c->refs->tables;
	bool active = tree->id == Q2_TREE_ACTIVE;
	uint32_t limit = entries_on_disk(&c->img->geom, tree, slot);
	struct q2_l2ref *r;
	enum q2_status st = Q2_OK;
	size_t i;

	if (2 * (tables->n + 1) > c->n_index)
		st = grow_index(c);
	if (st != Q2_OK)
		return st;
	i = index_slot(c, e->table.n);
	if (c->index[i] == 0 && is_claim(c, e->table)) {
		c->refs->in_holes += weight;
		return Q2_OK;
	}
	if (c->index[i] == 0) {
		struct q2_l2ref fresh = {.clu = e->table.n,
					 .slot = slot,
					 .tree = tree->id};

		st = q2_l2ref_vec_push(tables, c->img->budget, fresh, c->err);
		if (st != Q2_OK)
			return st;
		c->index[i] = (uint32_t)tables->n;
		r = &tables->at[tables->n - 1];
	} else {
		r = &tables->at[c->index[i] - 1];
		if (r->slot != slot || r->tree == tree->id) {
			r->flags |= Q2_L2_ALIASED;
			c->events->alias(c->events->ctx, tree, slot, r);
		}
	}
	r->weight += weight;
	/* What the active disk shares must lie on the active disk. */
	if (active || r->active == 0)
		r->limit = (uint32_t)q2_max(r->limit, limit);
	if (active) {
		r->active++;
		r->flags |= e->copied ? Q2_L2_COPIED : Q2_L2_CLEAR;
	}
	return Q2_OK;
}

static enum q2_status read_chunk(struct collector *c,
				 const struct q2_tree *tree, uint32_t first,
				 uint32_t n, uint64_t weight)
{
	struct q2_range range = {tree->l1_offset + UINT64_C(8) * first,
				 UINT64_C(8) * n};
	struct q2_err why = {0};
	enum q2_status st;

	if (q2_holes_covers(&c->holes, range))
		return Q2_OK;
	/* Tables that do not overlap cannot hold more than the file does. */
	if (c->fuel < range.len)
		st = q2_fail(&why, Q2_E_RANGE, 0, range.start,
			     "the L1 tables overlap too much");
	else
		st = q2_pread_zero(c->img->io, c->chunk, (size_t)range.len,
				   range.start, &why);
	if (st != Q2_OK)
		return c->events->unreadable(c->events->ctx, tree, range, st,
					     &why);
	c->fuel -= range.len;
	n = (uint32_t)q2_used_bytes(c->chunk, (size_t)range.len) / 8;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t raw = q2_be64(c->chunk + 8 * (size_t)i);
		struct q2_l1_entry e;

		if (raw == 0)
			continue;
		e = q2_l1_decode(&c->img->geom, raw);
		if (e.faults)
			c->events->fault(c->events->ctx, tree, first + i, raw,
					 &e);
		if (e.used)
			st = note(c, tree, first + i, &e, weight);
		if (st != Q2_OK)
			return st;
	}
	return Q2_OK;
}

static enum q2_status read_tree(struct collector *c,
				const struct q2_tree *tree, uint64_t weight)
{
	enum q2_status st = Q2_OK;

	for (uint32_t at = 0; at < tree->l1_entries && st == Q2_OK;
	     at += CHUNK / 8) {
		uint32_t n = (uint32_t)q2_min(CHUNK / 8,
					      tree->l1_entries - at);

		st = read_chunk(c, tree, at, n, weight);
	}
	return st;
}

/* By place; the active tree first, then by id. */
static int by_place(const void *a, const void *b)
{
	const struct q2_tree *x = *(const struct q2_tree *const *)a;
	const struct q2_tree *y = *(const struct q2_tree *const *)b;

	if (x->l1_offset != y->l1_offset)
		return x->l1_offset < y->l1_offset ? -1 : 1;
	if (x->l1_entries != y->l1_entries)
		return x->l1_entries < y->l1_entries ? -1 : 1;
	/* The active id is the largest number: + 1 makes it the smallest. */
	return (x->id + 1 > y->id + 1) - (x->id + 1 < y->id + 1);
}

static int by_id(const void *a, const void *b)
{
	const struct q2_tree *x = *(const struct q2_tree *const *)a;
	const struct q2_tree *y = *(const struct q2_tree *const *)b;

	return (x->id + 1 > y->id + 1) - (x->id + 1 < y->id + 1);
}

static bool same_table(const struct q2_tree *a, const struct q2_tree *b)
{
	return a->l1_offset == b->l1_offset && a->l1_entries == b->l1_entries;
}

/* Reads each distinct L1 table once, the active one first: it owns the tables
 * that snapshots share with it. */
static enum q2_status read_trees(struct collector *c,
				 const struct q2_tree *trees, size_t n)
{
	const struct q2_tree **order = NULL;
	uint64_t *weights = NULL;
	void *block;
	size_t distinct = 0;
	enum q2_status st = q2_get(c->img->budget, n * 8, &block, c->err);

	if (st != Q2_OK)
		return st;
	order = block;
	st = q2_get(c->img->budget, n * 8, &block, c->err);
	if (st != Q2_OK)
		goto out;
	weights = block;
	for (size_t i = 0; i < n; i++)
		order[i] = &trees[i];
	q2_sort(order, n, sizeof(*order), by_place);
	for (size_t i = 0; i < n; i++)
		if (distinct && same_table(order[distinct - 1], order[i]))
			weights[order[distinct - 1] - trees]++;
		else {
			weights[order[i] - trees] = 1;
			order[distinct++] = order[i];
		}
	q2_sort(order, distinct, sizeof(*order), by_id);
	for (size_t i = 0; i < distinct && st == Q2_OK; i++)
		st = read_tree(c, order[i], weights[order[i] - trees]);
out:
	q2_put(c->img->budget, order, n * 8);
	q2_put(c->img->budget, weights, n * 8);
	return st;
}

static int by_slot(const void *a, const void *b)
{
	const struct q2_l2ref *x = a;
	const struct q2_l2ref *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	/* The active disk's table first: what it shares is told as its own. */
	if (!x->active != !y->active)
		return x->active ? -1 : 1;
	return (x->clu > y->clu) - (x->clu < y->clu);
}

static int by_first(const void *a, const void *b, void *tables)
{
	const struct q2_l2ref *t = tables;
	uint64_t x = t[((const struct q2_l2group *)a)->first].clu;
	uint64_t y = t[((const struct q2_l2group *)b)->first].clu;

	return (x > y) - (x < y);
}

static enum q2_status make_groups(struct collector *c)
{
	struct q2_l2ref_vec *t = &c->refs->tables;
	struct q2_l2group_vec *groups = &c->refs->groups;
	enum q2_status st = Q2_OK;

	q2_sort(t->at, t->n, sizeof(*t->at), by_slot);
	for (size_t i = 0; i < t->n && st == Q2_OK; i++) {
		struct q2_l2group g = {(uint32_t)i, 1};

		if (i && t->at[i].slot == t->at[i - 1].slot)
			groups->at[groups->n - 1].n++;
		else
			st = q2_l2group_vec_push(groups, c->img->budget, g,
						 c->err);
	}
	if (st == Q2_OK && groups->n)
		qsort_r(groups->at, groups->n, sizeof(*groups->at), by_first,
			t->at);
	return st;
}

enum q2_status q2_l2refs_collect(const struct q2_image *img,
				 const struct q2_tree *trees, size_t n_trees,
				 const struct q2_l1_events *events,
				 struct q2_l2refs *refs, struct q2_err *err)
{
	struct collector c = {.img = img,
			      .events = events,
			      .refs = refs,
			      .err = err};
	uint64_t claimed = 0, longest = 0;
	void *block;
	enum q2_status st;

	for (size_t i = 0; i < n_trees; i++) {
		uint64_t bytes = UINT64_C(8) * trees[i].l1_entries;

		claimed = q2_add_sat(claimed, bytes);
		longest = q2_max(longest, q2_min(bytes, CHUNK));
	}
	st = q2_get_raw(img->budget, longest, &block, err);
	if (st != Q2_OK)
		return st;
	c.chunk = block;
	q2_holes_init(&c.holes, img->io, claimed);
	q2_holes_init(&c.places, img->io, UINT64_MAX);
	c.most = (img->io->stored >> img->geom.cluster_bits) + SPARE_TABLES;
	c.fuel = q2_add_sat(img->io->stored, SPARE_FUEL);
	st = read_trees(&c, trees, n_trees);
	if (st == Q2_OK)
		st = make_groups(&c);
	q2_put(img->budget, c.index, c.n_index * sizeof(uint32_t));
	q2_put(img->budget, c.chunk, longest);
	return st;
}

void q2_l2refs_free(struct q2_l2refs *refs, struct q2_budget *budget)
{
	q2_l2ref_vec_free(&refs->tables, budget);
	q2_l2group_vec_free(&refs->groups, budget);
}
