/*
 * strays.c - finding L2 tables that nothing names.
 *
 * SPDX-License-Identifier: MIT
 *
 * With refcounts these are among the leaked clusters; without, any cluster may be
 * one.
 */
#include "repair/strays.h"

#include <string.h>

#include "base/endian.h"
#include "base/hash.h"

#define PROBE 512u
#define EVERY 64u /* clusters between two looks at the clock */
#define SHARED "a snapshot's table of this slot names the same data"

static struct q2_l2_entry entry_at(const struct q2_strays *s,
				   const uint8_t *table, uint32_t i)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	const uint8_t *p = table + ((size_t)i << g->entry_bits);

	return q2_l2_decode(g, q2_be64(p), q2_l2_bitmap(g, p), 0);
}

/* What the table in s->table tells of itself. */
static void describe(const struct q2_strays *s, struct q2_stray *t)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	uint64_t before = 0;
	bool any = false;

	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = s->table + ((size_t)i << g->entry_bits);
		struct q2_l2_entry e = entry_at(s, s->table, i);

		if (q2_be64(p) | q2_l2_bitmap(g, p)) {
			t->first = any ? t->first : i;
			t->last = i;
			any = true;
		}
		if (!e.refers)
			continue;
		if (t->entries++ == 0)
			t->begins = e.host.start >> g->cluster_bits;
		t->rising += e.host.start >= before;
		t->packed |= e.type == Q2_L2_COMPRESSED;
		t->after = ((q2_end(e.host) - 1) >> g->cluster_bits) + 1;
		before = e.host.start;
	}
}

static bool read_table(const struct q2_strays *s, uint64_t clu, uint8_t *to)
{
	const struct q2_geom *g = &s->r->c->img.geom;

	return q2_pread_zero(s->r->io, to, (size_t)g->cluster_size,
			     clu << g->cluster_bits, NULL) == Q2_OK;
}

/* The slot of a snapshot's table that has an entry in common with the one in
 * s->table. */
static uint64_t shared_slot(const struct q2_strays *s)
{
	const struct q2_checker *c = s->r->c;
	const struct q2_geom *g = &c->img.geom;
	uint64_t found = Q2_NO_SLOT;
	uint32_t i = 0;

	for (; i < 1u << g->l2_bits; i++) {
		struct q2_l2_entry e = entry_at(s, s->table, i);

		if (e.refers && q2_refmap_get(&c->map, e.host.start >>
						       g->cluster_bits).count)
			break;
	}
	for (size_t k = 0; k < c->refs.tables.n && i < 1u << g->l2_bits; k++) {
		const struct q2_l2ref *ref = &c->refs.tables.at[k];
		uint8_t raw[8];
		uint64_t at = (ref->clu << g->cluster_bits) +
			      ((uint64_t)i << g->entry_bits);

		if (q2_pread_zero(s->r->io, raw, 8, at, NULL) != Q2_OK ||
		    ((q2_be64(raw) ^ q2_be64(s->table +
					     ((size_t)i << g->entry_bits))) &
		     ~Q2_COPIED))
			continue;
		if (found != Q2_NO_SLOT && found != ref->slot)
			return Q2_NO_SLOT;
		found = ref->slot;
	}
	return found;
}

static enum q2_status see(struct q2_strays *s, uint64_t clu)
{
	struct q2_checker *c = s->r->c;
	struct q2_stray t = {.clu = clu, .slot = Q2_NO_SLOT};
	struct q2_l2_shape shape;
	uint64_t slot = Q2_NO_SLOT;

	if (q2_pread_zero(s->r->io, s->table, PROBE,
			  clu << c->img.geom.cluster_bits, NULL) != Q2_OK ||
	    !q2_l2_shaped(c, s->table, PROBE >> c->img.geom.entry_bits,
			  &shape) ||
	    !read_table(s, clu, s->table) ||
	    !q2_l2_shaped(c, s->table, 1u << c->img.geom.l2_bits, &shape) ||
	    shape.entries == 0)
		return Q2_OK;
	if (c->refs.tables.n && shape.alone < shape.entries)
		slot = shared_slot(s);
	if (slot == Q2_NO_SLOT && !q2_l2_orphan(c, s->table, clu, &shape))
		return Q2_OK;
	if (!read_table(s, clu, s->table))
		return Q2_OK;
	describe(s, &t);
	if (slot != Q2_NO_SLOT && !q2_stray_fits(s, &t, slot))
		slot = Q2_NO_SLOT;
	if (slot != Q2_NO_SLOT &&
	    !q2_stray_place(s, &t, slot, Q2_CERTAIN, SHARED))
		return Q2_OK;
	return q2_stray_vec_push(&s->t, &s->r->budget, t, s->r->err);
}

/* Where the search is, and the tables that it found: all else is in them. */
static void put_strays(const void *work, struct q2_buf *b)
{
	const struct q2_strays *s = work;

	q2_put_number(b, s->run);
	q2_put_number(b, s->next);
	q2_put_number(b, s->t.n - s->named);
	for (size_t i = s->named; i < s->t.n; i++) {
		q2_put_number(b, s->t.at[i].clu);
		q2_put_number(b, s->t.at[i].slot + 1); /* none is the last */
	}
}

static enum q2_status take_strays(void *work, struct q2_source *in)
{
	struct q2_strays *s = work;
	uint64_t clusters = s->r->c->img.geom.file_clusters, n;
	enum q2_status st = Q2_OK;

	s->run = q2_take_number(in);
	s->next = q2_take_up_to(in, clusters);
	n = q2_take_up_to(in, clusters);
	for (; n && st == Q2_OK && !in->failed; n--) {
		struct q2_stray t = {.clu = q2_take_up_to(in, clusters - 1),
				     .slot = Q2_NO_SLOT};
		uint64_t slot = q2_take_number(in) - 1;

		/* It could be read then: now it is none any more. */
		if (in->failed || !read_table(s, t.clu, s->table))
			continue;
		describe(s, &t);
		in->failed |= slot != Q2_NO_SLOT &&
			      !q2_stray_place(s, &t, slot, Q2_CERTAIN, SHARED);
		st = q2_stray_vec_push(&s->t, &s->r->budget, t, s->r->err);
	}
	return st;
}

static uint64_t digest(const struct q2_strays *s)
{
	const struct q2_leaks *leaks = &s->r->c->leaks;
	uint64_t sum = q2_hash(s->l1, (size_t)s->room);
	const uint64_t form[] = {s->counted, s->t.n,
				 s->r->c->img.geom.file_clusters};

	for (size_t i = 0; s->counted && i < leaks->n; i++) {
		const uint64_t each[] = {leaks->at[i].first, leaks->at[i].n};

		sum = q2_hash_on(sum, each, sizeof(each));
	}
	return q2_hash_on(sum, form, sizeof(form));
}

static enum q2_status see_run(struct q2_strays *s,
			      const struct q2_search *search, struct q2_run run,
			      uint64_t *seen)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	uint64_t end = run.first + run.n;
	enum q2_status st = Q2_OK;

	for (uint64_t clu = q2_max(run.first, s->next);
	     clu < end && st == Q2_OK; clu++) {
		uint64_t data = q2_io_data(s->r->io,
					   clu << g->cluster_bits).start;

		clu = q2_max(clu, data >> g->cluster_bits);
		if (clu >= end)
			break;
		s->next = clu;
		if (++*seen % EVERY == 0)
			st = q2_search_tick(s->r, search, "rescue", clu,
					    g->file_clusters);
		if (st == Q2_OK &&
		    q2_refmap_get(&s->r->c->map, clu).count == 0)
			st = see(s, clu);
	}
	return st;
}

/* Where refcounts tell, only what leaks can be such a table. */
static enum q2_status see_all(struct q2_strays *s)
{
	const struct q2_checker *c = s->r->c;
	const struct q2_search search = {.kind = Q2_SEARCH_STRAYS,
					 .of = digest(s),
					 .put = put_strays,
					 .take = take_strays,
					 .work = s};
	uint64_t runs = s->counted ? c->leaks.n : 1, seen = 0;
	bool done;
	enum q2_status st;

	s->named = s->t.n;
	st = q2_search_begin(s->r, &search, &done);
	for (; s->run < runs && st == Q2_OK && !done; s->run++, s->next = 0) {
		struct q2_run run = {1, c->img.geom.file_clusters - 1};

		if (s->counted)
			run = (struct q2_run){c->leaks.at[s->run].first,
					      c->leaks.at[s->run].n};
		st = see_run(s, &search, run, &seen);
	}
	return q2_search_end(s->r, &search, st);
}

/* Tables that are counted once more than snapshots name them. */
static enum q2_status see_shared(struct q2_strays *s)
{
	const struct q2_l2ref_vec *refs = &s->r->c->refs.tables;
	struct q2_ledger *ledger;
	void *block;
	enum q2_status st = q2_get(&s->r->budget, sizeof(*ledger), &block,
				   s->r->err);

	if (st != Q2_OK)
		return st;
	ledger = block;
	q2_ledger_init(ledger, s->r);
	for (size_t i = 0; i < refs->n && ledger->any && st == Q2_OK; i++) {
		struct q2_stray t = {.clu = refs->at[i].clu,
				     .slot = Q2_NO_SLOT};

		if (refs->at[i].active ||
		    q2_surplus(ledger, t.clu) < 1 ||
		    !read_table(s, t.clu, s->table))
			continue;
		describe(s, &t);
		if (q2_stray_place(s, &t, refs->at[i].slot, Q2_CERTAIN,
				   "a snapshot has it in this slot, and it is "
				   "counted for both"))
			st = q2_stray_vec_push(&s->t, &s->r->budget, t,
					       s->r->err);
	}
	q2_ledger_free(ledger);
	q2_put(&s->r->budget, block, sizeof(*ledger));
	return st;
}

static int by_cluster(const void *a, const void *b)
{
	const struct q2_stray *x = a, *y = b;

	return (x->clu > y->clu) - (x->clu < y->clu);
}

static size_t find(const struct q2_strays *s, uint64_t clu)
{
	size_t lo = 0, hi = s->t.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->t.at[mid].clu < clu)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->t.n && s->t.at[lo].clu == clu ? lo : SIZE_MAX;
}

/* Which tables name which others: what is named is data. */
static enum q2_status list_naming(struct q2_strays *s, struct q2_runs *edges)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < s->t.n && st == Q2_OK; i++) {
		if (!read_table(s, s->t.at[i].clu, s->table))
			continue;
		for (uint32_t k = 0; k < 1u << g->l2_bits && st == Q2_OK; k++) {
			struct q2_l2_entry e = entry_at(s, s->table, k);
			size_t at = e.refers ? find(s, e.host.start >>
							g->cluster_bits) :
					       SIZE_MAX;

			if (at != SIZE_MAX)
				st = q2_runs_push(edges, &s->r->budget,
						  (struct q2_run){i, at},
						  s->r->err);
		}
	}
	return st;
}

/* A guest may hold images of its own: their tables are data of ours, and are named
 * by what is no such data. */
static enum q2_status drop_data(struct q2_strays *s)
{
	struct q2_runs edges = {0};
	enum q2_status st = list_naming(s, &edges);
	bool progress = edges.n != 0;
	size_t kept = 0;

	while (progress && st == Q2_OK) {
		progress = false;
		for (size_t i = 0; i < edges.n; i++) {
			struct q2_stray *from = &s->t.at[edges.at[i].first];
			struct q2_stray *to = &s->t.at[edges.at[i].n];
			bool named = false;

			if (from->gone || to->gone || from == to)
				continue;
			for (size_t k = 0; k < edges.n && !named; k++)
				named = edges.at[k].n == edges.at[i].first &&
					!s->t.at[edges.at[k].first].gone;
			/* Two that name each other: the fuller one is it. */
			if (named && from->entries <= to->entries)
				continue;
			to->gone = progress = true;
		}
	}
	for (size_t i = 0; i < s->t.n; i++)
		if (!s->t.at[i].gone)
			s->t.at[kept++] = s->t.at[i];
		else if (s->t.at[i].slot != Q2_NO_SLOT)
			s->l1[s->t.at[i].slot] = 0;
	s->t.n = kept;
	q2_runs_free(&edges, &s->r->budget);
	return st;
}

/* Tables that have their slots tell where the others can be. */
static enum q2_status see_named(struct q2_strays *s)
{
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < s->slots && st == Q2_OK; i++) {
		struct q2_stray t = {.clu = s->l1[i] >>
					    s->r->c->img.geom.cluster_bits,
				     .slot = i,
				     .named = true,
				     .sure = Q2_CERTAIN};

		if (s->l1[i] == 0 || !read_table(s, t.clu, s->table))
			continue;
		describe(s, &t);
		st = q2_stray_vec_push(&s->t, &s->r->budget, t, s->r->err);
	}
	return st;
}

enum q2_status q2_strays_find(struct q2_strays *s)
{
	const struct q2_checker *c = s->r->c;
	enum q2_status st = see_named(s);

	s->counted = c->leaks.n && c->leaks_over.n == 0 &&
		     !q2_counts_absurd(s->r);
	if (st == Q2_OK)
		st = see_shared(s);
	if (st == Q2_OK)
		st = see_all(s);
	q2_sort(s->t.at, s->t.n, sizeof(*s->t.at), by_cluster);
	return st == Q2_OK ? drop_data(s) : st;
}
