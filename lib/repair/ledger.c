/*
 * ledger.c - where the refcounts on disk promise more references than there are.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/ledger.h"

#include "base/endian.h"
#include "check/l2shape.h"

#define PROBE 512u

/* A lost reference makes a count one too high, a second one too low.  Where most
 * counts are off by more, it is they that are wrong. */
bool q2_counts_absurd(const struct q2_repair *r)
{
	const struct q2_checker *c = r->c;
	uint64_t absurd = 0, plain = c->leaks.n;
	/* Compressed data of many guest clusters may lie in one. */
	uint64_t most = (c->trees.n + 1) * (c->img.geom.cluster_size / 16);

	for (size_t i = 0; i < c->suspects.n; i++) {
		const struct q2_suspect *s = &c->suspects.at[i];
		uint64_t refs = q2_refmap_get(&c->map, s->clu).count;

		/* What the repair itself took is not counted yet. */
		if (!(s->why & Q2_S_REFCOUNT) || s->found == Q2_NO_REFCOUNT ||
		    q2_is_fresh(r, s->clu))
			continue;
		if (s->found < refs || s->found > refs + c->trees.n)
			absurd++;
		else
			plain++;
	}
	for (size_t i = 0; i < c->leaks.n; i++)
		if (c->leaks.at[i].found > most) {
			absurd++;
			plain--;
		}
	return absurd > 4 && absurd > plain;
}

void q2_ledger_init(struct q2_ledger *l, struct q2_repair *r)
{
	l->c = r->c;
	q2_refmap_init(&l->given, &r->budget);
	q2_refmap_init(&l->taken, &r->budget);
	l->any = false;
	if (q2_counts_absurd(r))
		return;
	l->any = r->c->leaks.n != 0;
	for (size_t i = 0; i < r->c->suspects.n && !l->any; i++)
		l->any = q2_surplus(l, r->c->suspects.at[i].clu) > 0;
}

void q2_ledger_free(struct q2_ledger *l)
{
	q2_refmap_free(&l->given);
	q2_refmap_free(&l->taken);
}

static const struct q2_suspect *find_suspect(const struct q2_checker *c,
					     uint64_t clu)
{
	size_t lo = 0, hi = c->suspects.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (c->suspects.at[mid].clu < clu)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->suspects.n && c->suspects.at[lo].clu == clu ?
		       &c->suspects.at[lo] : NULL;
}

unsigned q2_suspected(const struct q2_ledger *l, uint64_t clu)
{
	const struct q2_suspect *s = find_suspect(l->c, clu);

	return s ? s->why : 0;
}

static uint64_t leaked(const struct q2_checker *c, uint64_t clu)
{
	size_t lo = 0, hi = c->leaks.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct q2_leak *run = &c->leaks.at[mid];

		if (clu < run->first)
			hi = mid;
		else if (clu - run->first < run->n)
			return run->found;
		else
			lo = mid + 1;
	}
	return 0;
}

int64_t q2_surplus(const struct q2_ledger *l, uint64_t clu)
{
	const struct q2_suspect *s = find_suspect(l->c, clu);
	uint64_t refs = q2_refmap_get(&l->c->map, clu).count;
	uint64_t found = refs ? refs : leaked(l->c, clu);

	if (s && s->found != Q2_NO_REFCOUNT)
		found = s->found;
	found = q2_min(found, INT64_MAX / 4);
	refs = q2_min(refs, INT64_MAX / 4);
	return (int64_t)(found + q2_refmap_get(&l->taken, clu).count) -
	       (int64_t)(refs + q2_refmap_get(&l->given, clu).count);
}

bool q2_wanting(const struct q2_ledger *l, struct q2_range host,
		struct q2_range but, uint64_t weight)
{
	const struct q2_geom *g = &l->c->img.geom;
	uint64_t last;

	if (host.len == 0 || q2_end(host) > g->file_clusters << g->cluster_bits)
		return false;
	last = (q2_end(host) - 1) >> g->cluster_bits;
	for (uint64_t clu = host.start >> g->cluster_bits; clu <= last; clu++) {
		struct q2_range whole = {clu << g->cluster_bits,
					 g->cluster_size};

		if (but.len && q2_overlap(whole, but))
			continue;
		if (q2_surplus(l, clu) < (int64_t)q2_min(weight, INT64_MAX / 4))
			return false;
	}
	return true;
}

static enum q2_status add(struct q2_refmap *map, const struct q2_geom *g,
			  struct q2_range host, uint64_t weight,
			  struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	uint64_t last;

	if (host.len == 0 || q2_end(host) > g->file_clusters << g->cluster_bits)
		return Q2_OK;
	last = (q2_end(host) - 1) >> g->cluster_bits;
	for (uint64_t clu = host.start >> g->cluster_bits;
	     clu <= last && st == Q2_OK; clu++) {
		struct q2_ref before;

		st = q2_refmap_add(map, clu, weight, Q2_MARK_NONE, &before,
				   err);
	}
	return st;
}

enum q2_status q2_ledger_move(struct q2_ledger *l, struct q2_range from,
			      struct q2_range to, uint64_t weight,
			      struct q2_err *err)
{
	const struct q2_geom *g = &l->c->img.geom;
	enum q2_status st = add(&l->taken, g, from, weight, err);

	return st == Q2_OK ? add(&l->given, g, to, weight, err) : st;
}

uint64_t q2_count_missed(const struct q2_ledger *l, const uint8_t *table,
			 uint32_t n)
{
	const struct q2_geom *g = &l->c->img.geom;
	uint64_t missed = 0;

	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *p = table + ((size_t)i << g->entry_bits);
		struct q2_l2_entry e = q2_l2_decode(g, q2_be64(p), 0, 0);

		missed += e.refers &&
			  q2_surplus(l, e.host.start >> g->cluster_bits) > 0;
	}
	return missed;
}

bool q2_tells_of_missed(const struct q2_ledger *l, uint8_t *table, uint64_t clu)
{
	const struct q2_geom *g = &l->c->img.geom;
	struct q2_io *io = l->c->img.io;
	struct q2_l2_shape shape;

	if (q2_pread_zero(io, table, (size_t)g->cluster_size,
			  clu << g->cluster_bits, NULL) != Q2_OK ||
	    !q2_l2_shaped(l->c, table, 1u << g->l2_bits, &shape))
		return false;
	if (2 * q2_count_missed(l, table, 1u << g->l2_bits) < shape.entries)
		return false;
	/* An L1 table is shaped alike, but names L2 tables. */
	return shape.entries == 0 ||
	       q2_pread_zero(io, table, PROBE, shape.first, NULL) != Q2_OK ||
	       !q2_l2_shaped(l->c, table, PROBE >> g->entry_bits, &shape) ||
	       q2_count_missed(l, table, PROBE >> g->entry_bits) == 0;
}
