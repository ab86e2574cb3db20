/*
 * chk_owners.c - what is wrong with each suspect cluster, and for whom.
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    suspects that earlier phases found: refcounts, COPIED, sharing.
 * Gathers:  nothing.
 * Disables: nothing; suspects past the cap are reported without their owners.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "check/owners.h"
#include "format/refcount.h"

#define SUSPECTS_KEPT 65536u

/* A suspect with all that is known of it. */
struct scene {
	struct q2_checker *c;
	struct q2_suspect s;
	uint64_t refs;
	const struct q2_owner *owners;
	size_t n;
	const struct q2_meta *metas[2]; /* what else lies there */
	size_t n_metas;
};

static struct q2_finding at_owner(const struct scene *sc,
				  const struct q2_owner *o)
{
	const struct q2_geom *g = &sc->c->img.geom;
	struct q2_finding f = {
		.host = sc->s.clu << g->cluster_bits,
		.kind = o->l2 == Q2_OWNER_IS_TABLE ? Q2_K_L2 :
			o->compressed		   ? Q2_K_COMPRESSED :
						     Q2_K_DATA,
		.guest = o->guest,
		.length = g->cluster_size,
		.tree = o->tree,
		.l1 = o->l1,
		.l2 = o->l2,
	};

	if (o->l2 == Q2_OWNER_IS_TABLE)
		f.length <<= g->l2_bits;
	return f;
}

static void found_at(const struct scene *sc, enum q2_problem_id id,
		     const struct q2_owner *o, struct q2_finding f)
{
	unsigned never = 0;

	if (o == NULL)
		never = Q2_F_GUEST | Q2_F_LENGTH | Q2_F_TREE | Q2_F_L1 |
			Q2_F_L2 | Q2_F_OTHER;
	else if (o->l2 == Q2_OWNER_IS_TABLE)
		never = Q2_F_L2;
	f.fields = q2_problem(id)->fields & ~never;
	q2_found(sc->c, id, &f);
}

/* The refcount on disk is not the number of references. */
static void report_refcount(const struct scene *sc)
{
	const struct q2_owner *o = sc->n ? &sc->owners[0] : NULL;
	uint64_t max = q2_refcount_max(sc->c->img.geom.ref_order);
	struct q2_finding f = {.host = sc->s.clu
				       << sc->c->img.geom.cluster_bits};

	if (o)
		f = at_owner(sc, o);
	else if (sc->n_metas)
		f.kind = sc->metas[0]->kind;
	f.found = sc->s.found;
	f.expected = sc->refs;
	if (sc->refs > max) {
		f.found = max;
		found_at(sc, Q2_P_REFCOUNT_OVERFLOW, o, f);
	} else if (f.found == 0) {
		found_at(sc, Q2_P_REFCOUNT_ZERO, o, f);
	} else if (f.found < f.expected) {
		found_at(sc, Q2_P_REFCOUNT_LOW, o, f);
	} else {
		found_at(sc, Q2_P_REFCOUNT_HIGH, o, f);
	}
}

/* Every active entry whose COPIED does not fit the refcount. */
static void report_copied(const struct scene *sc)
{
	for (size_t i = 0; i < sc->n; i++) {
		const struct q2_owner *o = &sc->owners[i];
		struct q2_finding f = at_owner(sc, o);

		if (!o->active || o->compressed ||
		    o->copied == (sc->s.found == 1))
			continue;
		f.found = o->copied;
		f.expected = sc->s.found;
		found_at(sc, o->l2 == Q2_OWNER_IS_TABLE ? Q2_P_L1_COPIED :
							  Q2_P_L2_COPIED,
			 o, f);
	}
}

static bool is_data(const struct q2_owner *o)
{
	return o->l2 != Q2_OWNER_IS_TABLE;
}

/* Guest data, or another structure, on metadata.  True if there is any. */
static bool report_on_metadata(const struct scene *sc)
{
	enum q2_kind kind = Q2_K_NONE;

	for (size_t i = 0; i < sc->n; i++)
		if (!is_data(&sc->owners[i]))
			kind = Q2_K_L2;
	if (sc->n_metas)
		kind = sc->metas[0]->kind;
	if (kind == Q2_K_NONE)
		return false;
	for (size_t i = 0; i < sc->n; i++) {
		struct q2_finding f = at_owner(sc, &sc->owners[i]);

		if (is_data(&sc->owners[i])) {
			f.kind = kind;
			found_at(sc, Q2_P_DATA_ON_METADATA, &sc->owners[i], f);
		} else if (sc->n_metas) {
			const char *name = q2_kind_text(sc->metas[0]->kind);

			f = (struct q2_finding){.host = f.host,
						.kind = Q2_K_L2,
						.length = sc->c->img.geom
								  .cluster_size};
			q2_finding_text(&f, name, strlen(name));
			f.fields = q2_problem(Q2_P_METADATA_OVERLAP)->fields;
			q2_found(sc->c, Q2_P_METADATA_OVERLAP, &f);
		}
	}
	return true;
}

/* A stream that starts where, or before, another one ends.  `last` is the owner
 * before it, `furthest` the one that ends last of all before it. */
static void report_stream(const struct scene *sc, const struct q2_owner *o,
			  const struct q2_owner *last,
			  const struct q2_owner *furthest)
{
	struct q2_finding f = at_owner(sc, o);

	f.host = o->start;
	/* Reported once, with the cluster where it starts. */
	if (o->start >> sc->c->img.geom.cluster_bits != sc->s.clu)
		return;
	if (o->start == last->start) {
		f.other = last->guest;
		if (o->guest != last->guest)
			found_at(sc, Q2_P_COMPRESSED_DUPLICATE, o, f);
	} else if (o->start < furthest->end - 512) {
		f.other = furthest->guest;
		found_at(sc, Q2_P_COMPRESSED_OVERLAP, o, f);
	}
}

/* A stream in a cluster that is used as a whole. */
static void report_mixed(const struct scene *sc, const struct q2_owner *stream,
			 const struct q2_owner *whole)
{
	struct q2_finding f = at_owner(sc, stream);

	f.other = whole->guest;
	found_at(sc, Q2_P_COMPRESSED_ON_DATA, stream, f);
}

/* Two guest clusters, or two streams, in one place. */
static void report_sharing(const struct scene *sc)
{
	const struct q2_owner *whole = NULL;
	const struct q2_owner *last = NULL;	/* compressed ones */
	const struct q2_owner *furthest = NULL;

	for (size_t i = 0; i < sc->n; i++) {
		const struct q2_owner *o = &sc->owners[i];
		struct q2_finding f = at_owner(sc, o);

		if (!is_data(o))
			continue;
		if (o->compressed) {
			if (whole)
				report_mixed(sc, o, whole);
			if (last)
				report_stream(sc, o, last, furthest);
			last = o;
			if (!furthest || o->end > furthest->end)
				furthest = o;
			continue;
		}
		if (furthest)
			report_mixed(sc, furthest, o);
		if (whole && whole->guest != o->guest) {
			f.other = whole->guest;
			f.expected = sc->refs;
			found_at(sc, Q2_P_CROSS_LINK, o, f);
		}
		if (!whole)
			whole = o;
	}
}

static void report(const struct scene *sc)
{
	bool meta = false;

	if (sc->s.why & (Q2_S_META | Q2_S_SHARED | Q2_S_STREAM))
		meta = report_on_metadata(sc);
	if (!meta && (sc->s.why & (Q2_S_SHARED | Q2_S_STREAM)))
		report_sharing(sc);
	if (sc->s.why & Q2_S_REFCOUNT)
		report_refcount(sc);
	if (sc->s.why & Q2_S_COPIED)
		report_copied(sc);
}

static void find_metas(struct scene *sc)
{
	const struct q2_metas *m = &sc->c->metas;
	size_t lo = 0, hi = m->n;

	sc->n_metas = 0;
	/* Sorted by first cluster; ranges overlap only where it is damaged, so
	 * a short way back from the last candidate is enough. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->at[mid].first <= sc->s.clu)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (size_t back = 0; lo-- > 0 && back < 64 && sc->n_metas < 2; back++)
		if (sc->s.clu - m->at[lo].first < m->at[lo].n)
			sc->metas[sc->n_metas++] = &m->at[lo];
}

enum q2_status q2_suspect_add(struct q2_checker *c, uint64_t clu,
			      uint64_t found, enum q2_suspicion why)
{
	struct q2_suspect s = {clu, found, (unsigned)why};
	struct scene sc = {.c = c, .s = s};
	struct q2_suspect *last = c->suspects.n ?
					  &c->suspects.at[c->suspects.n - 1] :
					  NULL;

	/* Many references to one cluster come one after the other. */
	if (last && last->clu == clu && last->why == s.why &&
	    last->found == found)
		return Q2_OK;
	if (c->suspects.n < SUSPECTS_KEPT ||
	    (c->opts->flags & Q2_CHECK_FULL))
		return q2_suspects_push(&c->suspects, &c->budget, s, c->err);
	c->over.n++;
	sc.refs = q2_refmap_get(&c->map, clu).count;
	if (why == Q2_S_REFCOUNT) {
		report_refcount(&sc);
	} else if (!(c->over.why & (unsigned)why)) {
		/* Once, so that the verdict is right; the rest are counted. */
		struct q2_finding f = {.host = clu
					       << c->img.geom.cluster_bits,
				       .expected = why == Q2_S_COPIED ?
							   found : sc.refs,
				       .found = found != 1};

		found_at(&sc, why == Q2_S_COPIED ? Q2_P_L2_COPIED :
				  why == Q2_S_META ? Q2_P_DATA_ON_METADATA :
						     Q2_P_CROSS_LINK,
			 NULL, f);
	}
	return Q2_OK;
}

static int by_cluster(const void *a, const void *b)
{
	const struct q2_suspect *x = a;
	const struct q2_suspect *y = b;

	return (x->clu > y->clu) - (x->clu < y->clu);
}

static int by_first(const void *a, const void *b)
{
	const struct q2_meta *x = a;
	const struct q2_meta *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return (int)x->kind - (int)y->kind;
}

/* One record a cluster, with all reasons. */
static void merge(struct q2_suspects *v)
{
	size_t kept = 0;

	q2_sort(v->at, v->n, sizeof(*v->at), by_cluster);
	for (size_t i = 0; i < v->n; i++) {
		if (kept == 0 || v->at[kept - 1].clu != v->at[i].clu) {
			v->at[kept++] = v->at[i];
			continue;
		}
		v->at[kept - 1].why |= v->at[i].why;
		if (v->at[i].found != Q2_NO_REFCOUNT)
			v->at[kept - 1].found = v->at[i].found;
	}
	v->n = kept;
}

/* Metadata ranges that overlap, each pair once. */
static void report_overlaps(struct q2_checker *c)
{
	const struct q2_metas *m = &c->metas;
	const struct q2_meta *widest = NULL; /* the one that ends last */

	for (size_t i = 0; i < m->n; i++) {
		const struct q2_meta *x = &m->at[i];

		if (widest && x->first < widest->first + widest->n) {
			struct q2_finding f = {
				.host = x->first << c->img.geom.cluster_bits,
				.kind = x->kind,
				.length = x->n << c->img.geom.cluster_bits};
			const char *name = q2_kind_text(widest->kind);

			q2_finding_text(&f, name, strlen(name));
			f.fields = q2_problem(Q2_P_METADATA_OVERLAP)->fields;
			q2_found(c, Q2_P_METADATA_OVERLAP, &f);
		}
		if (!widest || x->first + x->n > widest->first + widest->n)
			widest = x;
	}
}

enum q2_status q2_chk_owners(struct q2_checker *c)
{
	struct q2_owner_vec owners = {0};
	size_t at = 0;
	enum q2_status st;

	q2_sort(c->metas.at, c->metas.n, sizeof(*c->metas.at), by_first);
	report_overlaps(c);
	if (c->suspects.n == 0)
		return Q2_OK;
	merge(&c->suspects);
	st = q2_owners_collect(c, &owners);
	for (size_t i = 0; i < c->suspects.n && st == Q2_OK; i++) {
		struct scene sc = {.c = c, .s = c->suspects.at[i]};

		sc.refs = q2_refmap_get(&c->map, sc.s.clu).count;
		if (at < owners.n) /* there is no vector without owners */
			sc.owners = &owners.at[at];
		while (at < owners.n && owners.at[at].clu == sc.s.clu) {
			at++;
			sc.n++;
		}
		find_metas(&sc);
		report(&sc);
	}
	q2_owner_vec_free(&owners, &c->budget);
	if (st == Q2_OK && c->over.n) {
		struct q2_finding f = {.fields = Q2_F_KIND | Q2_F_COUNT,
				       .kind = Q2_K_DATA,
				       .count = c->over.n};
		const char *why = "who refers to them was not looked up, "
				  "--all-findings does";

		q2_finding_text(&f, why, strlen(why));
		q2_found(c, Q2_P_NOT_JUDGED, &f);
	}
	return st;
}
