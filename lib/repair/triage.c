/*
 * triage.c - what is this leak?
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "base/hash.h"
#include "base/zeros.h"
#include "repair/former.h"
#include "repair/ledger.h"
#include "repair/orphans.h"

struct triage {
	struct q2_repair *r;
	struct q2_orphans *out;
	struct q2_ledger ledger;
	struct q2_refmap named; /* by orphaned tables */
	struct q2_holes holes;
	uint8_t *bytes; /* a cluster */
	struct q2_formers formers;
	uint64_t run;	/* what is done: runs of leaks, and clusters of */
	uint64_t k;	/* the next one */
};

#define EVERY 64u /* clusters between two looks at the clock */

void q2_orphans_free(struct q2_repair *r, struct q2_orphans *o)
{
	q2_orphan_vec_free(&o->tables, &r->budget);
	q2_runs_free(&o->data, &r->budget);
}

/* How many references to the cluster are missed. */
static uint64_t missed(const struct triage *t, uint64_t clu)
{
	int64_t n = t->ledger.any ? q2_surplus(&t->ledger, clu) : 0;

	return n > 0 ? (uint64_t)n :
		       q2_refmap_get(&t->r->c->map, clu).count == 0;
}

/* The entries of the table in t->bytes that name clusters: how many of these are
 * missed by somebody, and not named by another orphan. */
static uint64_t count_alone(const struct triage *t)
{
	const struct q2_geom *g = &t->r->c->img.geom;
	uint64_t n = 0;

	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = t->bytes + ((size_t)i << g->entry_bits);
		struct q2_l2_entry e = q2_l2_decode(
			g, q2_be64(p), q2_l2_bitmap(g, p), 0);
		uint64_t clu = e.host.start >> g->cluster_bits;

		if (e.refers && missed(t, clu) >
					q2_refmap_get(&t->named, clu).count)
			n++;
	}
	return n;
}

/* What its contents say, of which *shape is a part; they are in t->bytes. */
static enum q2_leak_kind judge(struct triage *t, uint64_t clu,
			       struct q2_l2_shape *shape)
{
	struct q2_checker *c = t->r->c;
	const struct q2_geom *g = &c->img.geom;

	if (q2_l2_shaped(c, t->bytes, 1u << g->l2_bits, shape)) {
		if (shape->entries == 0)
			return Q2_LK_STALE; /* zeros, in other words */
		if (count_alone(t) == 0)
			return g->data_file ? Q2_LK_TABLE : Q2_LK_STALE;
	}
	if (q2_is_old_block(t->r, t->bytes))
		return Q2_LK_STALE;
	if (q2_l2_orphan(c, t->bytes, clu, shape))
		return Q2_LK_TABLE;
	/* A snapshot may share what it names. */
	return shape->entries && t->ledger.any && !g->data_file &&
			       q2_tells_of_missed(&t->ledger, t->bytes, clu) ?
		       Q2_LK_TABLE : Q2_LK_DATA;
}

static enum q2_status classify(struct triage *t, uint64_t clu,
			       enum q2_leak_kind *kind,
			       struct q2_l2_shape *shape)
{
	const struct q2_geom *g = &t->r->c->img.geom;
	struct q2_range at = {clu << g->cluster_bits, g->cluster_size};
	bool former = q2_runs_have(&t->formers.blocks, clu);
	enum q2_status st = Q2_OK;

	*kind = Q2_LK_ZEROS;
	if (!former && q2_holes_covers(&t->holes, at))
		return Q2_OK;
	/* What cannot be read may be anything. */
	if (!former &&
	    q2_pread_zero(t->r->io, t->bytes, (size_t)g->cluster_size, at.start,
			  NULL) != Q2_OK) {
		*kind = Q2_LK_DATA;
		return Q2_OK;
	}
	if (!former && q2_all_zero(t->bytes, (size_t)g->cluster_size))
		return Q2_OK;
	if (!former)
		st = q2_formers_see(&t->formers, t->bytes, clu, &former);
	if (st == Q2_OK)
		*kind = former ? Q2_LK_STALE : judge(t, clu, shape);
	return st;
}

/* The clusters that the table in t->bytes names hang on it. */
static enum q2_status name_all(struct triage *t)
{
	const struct q2_geom *g = &t->r->c->img.geom;
	enum q2_status st = Q2_OK;

	for (uint32_t i = 0; i < 1u << g->l2_bits && st == Q2_OK; i++) {
		const uint8_t *p = t->bytes + ((size_t)i << g->entry_bits);
		struct q2_l2_entry e = q2_l2_decode(
			g, q2_be64(p), q2_l2_bitmap(g, p), 0);
		struct q2_ref before;
		uint64_t last;

		if (!e.refers)
			continue;
		last = (q2_end(e.host) - 1) >> g->cluster_bits;
		for (uint64_t clu = e.host.start >> g->cluster_bits;
		     clu <= last && st == Q2_OK; clu++)
			st = q2_refmap_add(&t->named, clu, 1, Q2_MARK_NONE,
					   &before, t->r->err);
	}
	return st;
}

static enum q2_status one(struct triage *t, uint64_t clu)
{
	struct q2_repair *r = t->r;
	struct q2_run run = {clu, 1};
	struct q2_l2_shape shape = {0};
	enum q2_leak_kind kind;
	enum q2_status st;

	if (q2_runs_have(&r->released, clu))
		return Q2_OK;
	st = classify(t, clu, &kind, &shape);
	if (st != Q2_OK)
		return st;
	/* The repair has a copy of what could be a table there. */
	if (kind == Q2_LK_TABLE && q2_runs_have(&r->spared, clu))
		kind = Q2_LK_DATA;
	switch (kind) {
	case Q2_LK_ZEROS:
	case Q2_LK_STALE:
		return q2_runs_push(&r->worthless, &r->budget, run, r->err);
	case Q2_LK_TABLE:
		/* The shape was found with another buffer's contents. */
		st = q2_pread_zero(r->io, t->bytes,
				   (size_t)r->c->img.geom.cluster_size,
				   clu << r->c->img.geom.cluster_bits, r->err);
		if (st == Q2_OK)
			st = name_all(t);
		if (st == Q2_OK)
			st = q2_orphan_vec_push(&t->out->tables, &r->budget,
						(struct q2_orphan){
							clu, shape.last,
							shape.marked != 0},
						r->err);
		return st;
	case Q2_LK_DATA:
		break;
	}
	return q2_runs_push(&t->out->data, &r->budget, run, r->err);
}

/* ------------------------------------------------------------- kept, and taken */

static void put_triage(const void *work, struct q2_buf *b)
{
	const struct triage *t = work;
	const struct q2_orphan_vec *tables = &t->out->tables;

	q2_put_number(b, t->run);
	q2_put_number(b, t->k);
	q2_put_number(b, t->formers.table.start);
	q2_put_number(b, t->formers.table.len);
	q2_put_runs(b, &t->formers.blocks);
	q2_put_runs(b, &t->r->worthless);
	q2_put_runs(b, &t->out->data);
	q2_put_number(b, tables->n);
	for (size_t i = 0; i < tables->n; i++) {
		q2_put_number(b, tables->at[i].clu);
		q2_put_number(b, tables->at[i].last);
		q2_put_number(b, tables->at[i].marked);
	}
}

/* As they were found: one by one. */
static enum q2_status take_data(struct triage *t, struct q2_source *in)
{
	struct q2_repair *r = t->r;
	struct q2_runs runs = {0};
	enum q2_status st = q2_take_runs(in, r, r->c->img.geom.file_clusters,
					 &runs);

	for (size_t i = 0; i < runs.n; i++)
		for (uint64_t k = 0; k < runs.at[i].n && st == Q2_OK; k++)
			st = q2_runs_push(
				&t->out->data, &r->budget,
				(struct q2_run){runs.at[i].first + k, 1},
				r->err);
	q2_runs_free(&runs, &r->budget);
	return st;
}

static enum q2_status take_triage(void *work, struct q2_source *in)
{
	struct triage *t = work;
	struct q2_repair *r = t->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t n;
	enum q2_status st;

	t->run = q2_take_up_to(in, r->c->leaks.n);
	t->k = q2_take_up_to(in, g->file_clusters);
	t->formers.table.start = q2_take_up_to(in, g->file_clusters);
	t->formers.table.len = q2_take_up_to(in, g->file_clusters);
	st = q2_take_runs(in, r, g->file_clusters, &t->formers.blocks);
	if (st == Q2_OK)
		st = q2_take_runs(in, r, g->file_clusters, &r->worthless);
	if (st == Q2_OK)
		st = take_data(t, in);
	n = q2_take_up_to(in, g->file_clusters);
	for (; n && st == Q2_OK && !in->failed; n--) {
		struct q2_orphan o;

		o.clu = q2_take_up_to(in, g->file_clusters - 1);
		o.last = (uint32_t)q2_take_up_to(in, (1u << g->l2_bits) - 1);
		o.marked = q2_take_up_to(in, 1);
		if (in->failed)
			break;
		st = q2_pread_zero(r->io, t->bytes, (size_t)g->cluster_size,
				   o.clu << g->cluster_bits, r->err);
		if (st == Q2_OK)
			st = name_all(t);
		if (st == Q2_OK)
			st = q2_orphan_vec_push(&t->out->tables, &r->budget, o,
						r->err);
	}
	return st;
}

static uint64_t digest(const struct q2_repair *r)
{
	const struct q2_leaks *leaks = &r->c->leaks;
	uint64_t sum = r->released.n;

	for (size_t i = 0; i < leaks->n; i++) {
		const uint64_t each[] = {leaks->at[i].first, leaks->at[i].n};

		sum = q2_hash_on(sum, each, sizeof(each));
	}
	return sum;
}

static enum q2_status see_all(struct triage *t)
{
	struct q2_repair *r = t->r;
	const struct q2_leaks *leaks = &r->c->leaks;
	const struct q2_search search = {.kind = Q2_SEARCH_ORPHANS,
					 .of = digest(r),
					 .put = put_triage,
					 .take = take_triage,
					 .work = t};
	uint64_t seen = 0;
	bool done;
	enum q2_status st = q2_search_begin(r, &search, &done);

	for (; t->run < leaks->n && st == Q2_OK && !done; t->run++, t->k = 0)
		for (; t->k < leaks->at[t->run].n && st == Q2_OK; t->k++) {
			if (seen++ % EVERY == 0)
				st = q2_search_tick(r, &search, "orphans",
						    t->run, leaks->n);
			if (st == Q2_OK)
				st = one(t, leaks->at[t->run].first + t->k);
		}
	return q2_search_end(r, &search, st);
}

/* Data that hangs on an orphaned table is not loose; and what was seen before the
 * table that names it may be a former refcount block. */
static enum q2_status drop_named(struct triage *t)
{
	struct q2_repair *r = t->r;
	struct q2_runs *d = &t->out->data;
	size_t kept = 0;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < d->n && st == Q2_OK; i++)
		if (q2_runs_have(&t->formers.blocks, d->at[i].first))
			st = q2_runs_push(&r->worthless, &r->budget, d->at[i],
					  r->err);
		else if (q2_refmap_get(&t->named, d->at[i].first).count == 0)
			d->at[kept++] = d->at[i];
	d->n = kept;
	return st;
}

enum q2_status q2_triage(struct q2_repair *r, struct q2_orphans *o)
{
	struct triage t = {.r = r, .out = o};
	uint64_t size = r->c->img.geom.cluster_size;
	void *bytes;
	enum q2_status st = q2_get_raw(&r->budget, size, &bytes, r->err);

	*o = (struct q2_orphans){0};
	if (st != Q2_OK)
		return st;
	t.bytes = bytes;
	q2_refmap_init(&t.named, &r->budget);
	q2_ledger_init(&t.ledger, r);
	q2_holes_init(&t.holes, r->io, UINT64_MAX);
	r->worthless.n = 0;
	q2_runs_tidy(&r->released);
	q2_runs_tidy(&r->spared);
	st = q2_formers_open(&t.formers, r);
	if (st == Q2_OK)
		st = see_all(&t);
	if (st == Q2_OK)
		st = drop_named(&t);
	q2_runs_tidy(&r->worthless);
	q2_formers_close(&t.formers);
	q2_refmap_free(&t.named);
	q2_ledger_free(&t.ledger);
	q2_put(&r->budget, bytes, size);
	return st;
}
