/*
 * mark.c - whose each host cluster is: from the L1 tables down.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "base/err.h"
#include "image/l2walk.h"
#include "map/survey.h"

#define CHUNK (64u << 10)
#define L1_SPARE (UINT64_C(64) << 20)

/* --------------------------------------------------------------- L1 tables */
struct l1_walk {
	struct q2_survey *s;
	enum q2_status (*see)(void *ctx, const struct q2_tree *t,
			      uint32_t slot, uint64_t clu);
	void *ctx;
	uint8_t *chunk;
	struct q2_holes l1_holes;
	struct q2_holes l2_holes;
	uint64_t fuel; /* bytes that tables which do not overlap can have */
};

static enum q2_status walk_part(struct l1_walk *w, const struct q2_tree *t,
				uint32_t first, uint32_t n)
{
	const struct q2_image *img = &w->s->checker->img;
	struct q2_range r = {t->l1_offset + UINT64_C(8) * first,
			     UINT64_C(8) * n};
	enum q2_status st = Q2_OK;

	if (q2_holes_covers(&w->l1_holes, r))
		return Q2_OK;
	if (w->fuel < r.len || q2_pread_zero(img->io, w->chunk, (size_t)r.len,
					     r.start, NULL) != Q2_OK) {
		w->s->partial = true;
		return Q2_OK;
	}
	w->fuel -= r.len;
	for (uint32_t i = 0; i < n && st == Q2_OK; i++) {
		uint64_t raw = q2_be64(w->chunk + 8 * (size_t)i);
		struct q2_l1_entry e;
		struct q2_range at;

		if (raw == 0)
			continue;
		e = q2_l1_decode(&img->geom, raw);
		at = (struct q2_range){q2_offset(&img->geom, e.table),
				       img->geom.cluster_size};
		if (e.used && !q2_holes_covers(&w->l2_holes, at))
			st = w->see(w->ctx, t, first + i, e.table.n);
	}
	return st;
}

enum q2_status q2_survey_tables(struct q2_survey *s,
				enum q2_status (*see)(void *ctx,
						      const struct q2_tree *t,
						      uint32_t slot,
						      uint64_t clu),
				void *ctx, struct q2_err *err)
{
	const struct q2_image *img = &s->checker->img;
	const struct q2_trees *trees = &s->checker->trees;
	struct l1_walk w = {.s = s, .see = see, .ctx = ctx};
	uint64_t entries = 0;
	void *block;
	enum q2_status st = q2_get(img->budget, CHUNK, &block, err);

	if (st != Q2_OK)
		return st;
	w.chunk = block;
	w.fuel = q2_add_sat(img->io->stored, L1_SPARE);
	for (size_t i = 0; i < trees->n; i++)
		entries = q2_add_sat(entries, trees->at[i].l1_entries);
	q2_holes_init(&w.l1_holes, img->io, q2_min(entries, INT64_MAX / 8) * 8);
	q2_holes_init(&w.l2_holes, img->io,
		      s->checker->refs.tables.n * img->geom.cluster_size);
	for (size_t i = 0; i < trees->n && st == Q2_OK; i++) {
		const struct q2_tree *t = &trees->at[i];

		for (uint32_t at = 0; at < t->l1_entries && st == Q2_OK;
		     at += CHUNK / 8)
			st = walk_part(&w, t, at,
				       (uint32_t)q2_min(CHUNK / 8,
							t->l1_entries - at));
	}
	q2_put(img->budget, block, CHUNK);
	return st;
}

bool q2_survey_is_vmstate(const struct q2_survey *s, const struct q2_tree *t,
			  uint32_t slot)
{
	const struct q2_geom *g = q2_survey_geom(s);

	return slot >= q2_l1_needed(t->disk_size, g->cluster_bits,
				    1u << g->entry_bits);
}

/* --------------------------------------------------------------- L2 tables */
struct l2_walk {
	struct q2_survey *s;
	enum q2_status (*see)(void *ctx, const struct q2_entry_seen *e);
	void *ctx;
	struct q2_err *err;
};

static enum q2_status walk_slice(void *ctx, const struct q2_l2slice *slice)
{
	struct l2_walk *w = ctx;
	const struct q2_geom *g = q2_survey_geom(w->s);
	struct q2_entry_seen e = {.table = slice->ref};
	enum q2_status st = Q2_OK;

	for (uint32_t i = 0; i < slice->n && st == Q2_OK; i++) {
		const uint8_t *p = slice->bytes + ((size_t)i << g->entry_bits);
		uint64_t raw = q2_be64(p);
		struct q2_l2_entry d;

		if (raw == 0)
			continue;
		e.guest = q2_guest(g, slice->ref->slot, slice->first + i);
		d = q2_l2_decode(g, raw, q2_l2_bitmap(g, p), e.guest);
		if (!d.refers)
			continue;
		e.host = d.host;
		e.compressed = d.type == Q2_L2_COMPRESSED;
		st = w->see(w->ctx, &e);
	}
	return st;
}

/* The check has told of it. */
static enum q2_status not_readable(void *ctx, const struct q2_l2ref *ref,
				   enum q2_status status,
				   const struct q2_err *why)
{
	struct l2_walk *w = ctx;

	(void)ref;
	w->s->partial = true;
	if (status == Q2_E_IO || status == Q2_E_RANGE)
		return Q2_OK;
	return q2_fail(w->err, status, why->sys_errno, why->offset, "%s",
		       why->text);
}

static enum q2_status tick(void *ctx, uint64_t done, uint64_t total)
{
	struct l2_walk *w = ctx;
	const struct q2_survey_opts *o = &w->s->user;
	struct q2_progress p = {"owners", done, total};

	if (o->progress && o->progress(o->ctx, &p))
		return q2_fail(w->err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
			       "interrupted");
	return Q2_OK;
}

enum q2_status q2_survey_entries(struct q2_survey *s,
				 enum q2_status (*see)(void *ctx,
					const struct q2_entry_seen *e),
				 void *ctx, struct q2_err *err)
{
	struct l2_walk w = {.s = s, .see = see, .ctx = ctx, .err = err};
	const struct q2_l2reader reader = {.slice = walk_slice,
					   .unreadable = not_readable,
					   .tick = tick,
					   .ctx = &w};

	return q2_l2_read(&s->checker->img, &s->checker->refs, &reader, err);
}

/* ----------------------------------------------------------------- marking */
Q2_VEC(q2_cluster_vec, uint64_t)

struct marking {
	struct q2_survey *s;
	const uint16_t *owner;
	size_t n;
	struct q2_table_sums *sums; /* or NULL */
	const struct q2_l2ref *table; /* whose reference is `cell` */
	uint16_t cell; /* 0: nobody's */
	struct q2_cluster_vec packed; /* its streams': they share clusters */
	uint64_t sum;		      /* the other clusters of `table` */
	struct q2_err *err;
};

/* The reference of one tree, without a kind; 0 if it is nobody's. */
static uint16_t reference_of(const struct marking *m, uint32_t tree)
{
	unsigned owner;

	if (tree == Q2_TREE_ACTIVE)
		return Q2_CELL_ACTIVE;
	if (m->owner)
		owner = tree < m->n ? m->owner[tree] : 0;
	else
		owner = tree + 1;
	return (uint16_t)(owner << Q2_CELL_OWNER_SHIFT);
}

static enum q2_status mark_table(void *ctx, const struct q2_tree *t,
				 uint32_t slot, uint64_t clu)
{
	struct marking *m = ctx;
	uint16_t cell = reference_of(m, t->id);

	(void)slot;
	if (cell == 0)
		return Q2_OK;
	return q2_cells_mark(&m->s->cells, clu, (uint16_t)(cell | Q2_CELL_L2),
			     m->err);
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Each cluster once, in whatever order streams were written. */
static uint64_t count_packed(struct q2_cluster_vec *v)
{
	uint64_t n = 0;

	q2_sort(v->at, v->n, sizeof(v->at[0]), by_number);
	for (size_t i = 0; i < v->n; i++)
		n += i == 0 || v->at[i] != v->at[i - 1];
	v->n = 0;
	return n;
}

static enum q2_status leave_table(struct marking *m)
{
	struct q2_table_sum sum;

	if (m->table == NULL || m->sums == NULL)
		return Q2_OK;
	sum = (struct q2_table_sum){m->table->clu,
				    m->sum + count_packed(&m->packed)};
	return q2_table_sums_push(m->sums, &m->s->checker->budget, sum,
				  m->err);
}

/* Whose a table is was settled by the L1 tables.  If it is named as something
 * else, too, that is still its owner's. */
static enum q2_status enter_table(struct marking *m,
				  const struct q2_l2ref *ref)
{
	const struct q2_tree *tree = q2_survey_tree(m->s, ref->tree);
	enum q2_status st = leave_table(m);
	bool vm = tree && q2_survey_is_vmstate(m->s, tree, ref->slot);

	m->table = ref;
	m->sum = 0;
	m->cell = q2_cells_get(&m->s->cells, ref->clu) &
		  (uint16_t)~Q2_CELL_KIND;
	if (m->cell)
		m->cell |= vm ? Q2_CELL_VMSTATE : Q2_CELL_DATA;
	return st;
}

static enum q2_status add_packed(struct marking *m, uint64_t clu)
{
	struct q2_cluster_vec *v = &m->packed;

	if (m->sums == NULL || (v->n && v->at[v->n - 1] == clu))
		return Q2_OK;
	return q2_cluster_vec_push(v, &m->s->checker->budget, clu, m->err);
}

/* Any entry, at leisure. */
static enum q2_status mark_entry(struct marking *m, const struct q2_l2_entry *e)
{
	unsigned bits = q2_survey_geom(m->s)->cluster_bits;
	uint64_t clu = e->host.start >> bits;
	uint64_t last = (q2_end(e->host) - 1) >> bits;
	uint16_t cell = m->cell;
	bool packed = e->type == Q2_L2_COMPRESSED;
	enum q2_status st = Q2_OK;

	if (packed)
		cell = (uint16_t)((cell & ~Q2_CELL_KIND) | Q2_CELL_COMPRESSED);
	for (; clu <= last && st == Q2_OK; clu++) {
		if (packed)
			st = add_packed(m, clu);
		else
			m->sum++;
		if (st == Q2_OK)
			st = q2_cells_mark(&m->s->cells, clu, cell, m->err);
	}
	return st;
}

static bool is_offset(const struct q2_geom *g, uint64_t off)
{
	return off && (off & (g->cluster_size - 1)) == 0 && off < g->file_size;
}

/* How many of the n entries at p, the first of which is an offset, name clusters
 * one behind the other. */
static uint32_t run_at(const struct q2_geom *g, const uint8_t *p, uint32_t n)
{
	uint64_t off = q2_be64(p) & ~Q2_COPIED;
	uint32_t run = 1;

	while (run < n) {
		off += g->cluster_size;
		if ((q2_be64(p + 8 * (size_t)run) & ~Q2_COPIED) != off ||
		    off >= g->file_size)
			break;
		run++;
	}
	return run;
}

static enum q2_status mark_slice(void *ctx, const struct q2_l2slice *slice)
{
	struct marking *m = ctx;
	const struct q2_geom *g = q2_survey_geom(m->s);
	bool plain = !g->ext_l2 && !g->data_file;
	enum q2_status st = Q2_OK;

	if (slice->ref != m->table)
		st = enter_table(m, slice->ref);
	if (m->cell == 0)
		return st;
	for (uint32_t i = 0; i < slice->n && st == Q2_OK; i++) {
		const uint8_t *p = slice->bytes + ((size_t)i << g->entry_bits);
		uint64_t raw = q2_be64(p);
		uint64_t off = raw & ~Q2_COPIED;
		struct q2_l2_entry e;

		if (raw == 0)
			continue;
		/* The usual entry is an offset and no more, and so are
		 * those that follow it. */
		if (plain && is_offset(g, off)) {
			uint32_t n = run_at(g, p, slice->n - i);

			m->sum += n;
			st = q2_cells_mark_run(&m->s->cells,
					       off >> g->cluster_bits, n,
					       m->cell, m->err);
			i += n - 1;
			continue;
		}
		e = q2_l2_decode(g, raw, q2_l2_bitmap(g, p),
				 q2_guest(g, slice->ref->slot,
					  slice->first + i));
		if (e.refers)
			st = mark_entry(m, &e);
	}
	return st;
}

static enum q2_status mark_tick(void *ctx, uint64_t done, uint64_t total)
{
	struct marking *m = ctx;
	struct l2_walk w = {.s = m->s, .err = m->err};

	return tick(&w, done, total);
}

static enum q2_status mark_unreadable(void *ctx, const struct q2_l2ref *ref,
				      enum q2_status status,
				      const struct q2_err *why)
{
	struct marking *m = ctx;
	struct l2_walk w = {.s = m->s, .err = m->err};

	return not_readable(&w, ref, status, why);
}

/* Whether the owners' numbers have room in a cell. */
static bool too_many(const struct q2_survey *s)
{
	const struct q2_trees *trees = &s->checker->trees;

	for (size_t i = 0; i < trees->n; i++)
		if (trees->at[i].id != Q2_TREE_ACTIVE &&
		    trees->at[i].id >= Q2_OWNERS_MAX)
			return true;
	return false;
}

enum q2_status q2_survey_mark(struct q2_survey *s, const uint16_t *owner,
			      size_t n, struct q2_table_sums *sums,
			      struct q2_err *err)
{
	struct marking m = {.s = s, .owner = owner, .n = n, .sums = sums,
			    .err = err};
	const struct q2_l2reader reader = {.slice = mark_slice,
					   .unreadable = mark_unreadable,
					   .tick = mark_tick,
					   .ctx = &m};
	enum q2_status st;

	if (owner == NULL && too_many(s))
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "owners can be told apart for %u snapshots at "
			       "the most", Q2_OWNERS_MAX);
	q2_cells_free(&s->cells);
	st = q2_survey_tables(s, mark_table, &m, err);
	if (st == Q2_OK)
		st = q2_l2_read(&s->checker->img, &s->checker->refs, &reader,
				err);
	if (st == Q2_OK)
		st = leave_table(&m);
	q2_cluster_vec_free(&m.packed, &s->checker->budget);
	if (st == Q2_OK)
		q2_cells_sort(&s->cells);
	return st;
}
