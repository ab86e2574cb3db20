/*
 * owners.c - the second walk: who refers to a suspect cluster.
 *
 * SPDX-License-Identifier: MIT
 *
 * The map of references does not store owners: most clusters never need one.
 */
#include "check/owners.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "image/l2walk.h"

#define OWNERS_MAX 262144u
#define FILTER_BITS 19 /* at the most: 64 KiB */
#define FILTER_LEAST 9
#define FILTER_A_SUSPECT 16u /* bits */

struct search {
	struct q2_checker *c;
	struct q2_owner_vec *owners;
	uint8_t *filter; /* bits of clusters that may be suspects */
	unsigned bits;	 /* of a place in it */
};

static uint32_t hash(const struct search *s, uint64_t clu)
{
	return (uint32_t)(clu * UINT64_C(0x9e3779b97f4a7c15) >> (64 - s->bits));
}

static unsigned filter_bits(uint64_t suspects)
{
	unsigned bits = FILTER_LEAST;

	while (bits < FILTER_BITS &&
	       UINT64_C(1) << bits < FILTER_A_SUSPECT * suspects)
		bits++;
	return bits;
}

static bool suspected(const struct search *s, uint64_t clu)
{
	const struct q2_suspects *v = &s->c->suspects;
	uint32_t h = hash(s, clu);
	size_t lo = 0, hi = v->n;

	if (!(s->filter[h >> 3] >> (h & 7) & 1))
		return false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->at[mid].clu == clu)
			return true;
		if (v->at[mid].clu < clu)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static enum q2_status note(struct search *s, const struct q2_owner *o)
{
	/* Past the cap suspects are reported without those who use them. */
	if (s->owners->n >= OWNERS_MAX &&
	    !(s->c->opts->flags & Q2_CHECK_FULL)) {
		s->c->over.n++;
		return Q2_OK;
	}
	return q2_owner_vec_push(s->owners, &s->c->budget, *o, s->c->err);
}

static enum q2_status on_slice(void *ctx, const struct q2_l2slice *slice)
{
	struct search *s = ctx;
	const struct q2_geom *g = &s->c->img.geom;
	enum q2_status st = Q2_OK;

	for (uint32_t i = 0; i < slice->n && st == Q2_OK; i++) {
		struct q2_owner o;
		struct q2_l2visit v;
		uint64_t last;

		/* Most of what stands in large tables is nothing. */
		if (q2_l2_blank(g, slice, i))
			continue;
		q2_l2_visit(g, slice, i, &v);
		if (!v.e.refers)
			continue;
		o = (struct q2_owner){
			.guest = q2_guest(g, v.ref->slot, v.index),
			.start = v.e.host.start,
			.end = q2_end(v.e.host),
			.tree = v.ref->active ? Q2_TREE_ACTIVE : v.ref->tree,
			.l1 = v.ref->slot,
			.l2 = v.index,
			.active = v.ref->active != 0,
			.copied = v.e.copied,
			.compressed = v.e.type == Q2_L2_COMPRESSED,
		};
		last = (o.end - 1) >> g->cluster_bits;
		for (o.clu = o.start >> g->cluster_bits;
		     o.clu <= last && st == Q2_OK; o.clu++)
			if (suspected(s, o.clu))
				st = note(s, &o);
	}
	return st;
}

/* The first walk may have read it: then what is wrong in it would go unsaid. */
static enum q2_status on_unreadable(void *ctx, const struct q2_l2ref *ref,
				    enum q2_status status,
				    const struct q2_err *why)
{
	struct search *s = ctx;

	return q2_l2_unreadable(s->c, ref, status, why);
}

static enum q2_status on_tick(void *ctx, uint64_t done, uint64_t total)
{
	struct search *s = ctx;

	return q2_tick(s->c, "owners", done, total);
}

static enum q2_status note_tables(struct search *s)
{
	const struct q2_l2refs *refs = &s->c->refs;
	const struct q2_geom *g = &s->c->img.geom;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < refs->tables.n && st == Q2_OK; i++) {
		const struct q2_l2ref *r = &refs->tables.at[i];
		struct q2_owner o = {
			.clu = r->clu,
			.guest = q2_guest(g, r->slot, 0),
			.start = r->clu << g->cluster_bits,
			.end = (r->clu + 1) << g->cluster_bits,
			.tree = r->active ? Q2_TREE_ACTIVE : r->tree,
			.l1 = r->slot,
			.l2 = Q2_OWNER_IS_TABLE,
			.active = r->active != 0,
			.copied = r->flags & Q2_L2_COPIED,
		};

		if (suspected(s, r->clu))
			st = note(s, &o);
	}
	return st;
}

static int by_cluster(const void *a, const void *b)
{
	const struct q2_owner *x = a;
	const struct q2_owner *y = b;

	if (x->clu != y->clu)
		return x->clu < y->clu ? -1 : 1;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->guest != y->guest)
		return x->guest < y->guest ? -1 : 1;
	/* Active before snapshots: its id is the largest number. */
	return (x->tree + 1 > y->tree + 1) - (x->tree + 1 < y->tree + 1);
}

enum q2_status q2_owners_collect(struct q2_checker *c,
				 struct q2_owner_vec *owners)
{
	struct search s = {.c = c,
			   .owners = owners,
			   .bits = filter_bits(c->suspects.n)};
	const struct q2_l2reader reader = {.slice = on_slice,
					   .unreadable = on_unreadable,
					   .tick = on_tick,
					   .ctx = &s};
	void *filter;
	enum q2_status st = q2_get(&c->budget, 1u << (s.bits - 3), &filter,
				   c->err);

	if (st != Q2_OK)
		return st;
	s.filter = filter;
	for (size_t i = 0; i < c->suspects.n; i++) {
		uint32_t h = hash(&s, c->suspects.at[i].clu);

		s.filter[h >> 3] |= (uint8_t)(1u << (h & 7));
	}
	st = note_tables(&s);
	if (st == Q2_OK)
		st = q2_l2_read(&c->img, &c->refs, &reader, c->err);
	if (st == Q2_OK)
		q2_sort(owners->at, owners->n, sizeof(*owners->at), by_cluster);
	q2_put(&c->budget, filter, 1u << (s.bits - 3));
	return st;
}
