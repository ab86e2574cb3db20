/*
 * references.c - every entry that names one host cluster.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"
#include "map/survey.h"

/* An entry in one table, for all trees that have the table. */
struct hit {
	uint64_t table; /* cluster */
	uint64_t guest;
	struct q2_range host;
	bool compressed;
};
Q2_VEC(q2_hits, struct hit)

struct search {
	struct q2_survey *s;
	uint64_t clu;
	struct q2_hits hits;
	void (*see)(void *ctx, const struct q2_reference *r);
	void *ctx;
	struct q2_err *err;
};

static enum q2_status look(void *ctx, const struct q2_entry_seen *e)
{
	struct search *f = ctx;
	unsigned bits = q2_survey_geom(f->s)->cluster_bits;
	struct hit hit = {e->table->clu, e->guest, e->host, e->compressed};

	if (f->clu < e->host.start >> bits ||
	    f->clu > (q2_end(e->host) - 1) >> bits)
		return Q2_OK;
	return q2_hits_push(&f->hits, &f->s->checker->budget, hit, f->err);
}

static void tell(const struct search *f, const struct q2_tree *t,
		 struct q2_reference r)
{
	r.active = t->id == Q2_TREE_ACTIVE;
	r.snapshot = r.active ? Q2_NO_SNAPSHOT : t->id;
	f->see(f->ctx, &r);
}

/* Each tree has the hits of the tables that it names. */
static enum q2_status hand_out(void *ctx, const struct q2_tree *t,
			       uint32_t slot, uint64_t clu)
{
	const struct search *f = ctx;
	const struct q2_geom *g = q2_survey_geom(f->s);

	if (clu == f->clu)
		tell(f, t,
		     (struct q2_reference){.guest = q2_guest(g, slot, 0),
					   .host = clu << g->cluster_bits,
					   .length = g->cluster_size,
					   .table = true});
	for (size_t i = 0; i < f->hits.n; i++) {
		const struct hit *h = &f->hits.at[i];
		uint64_t mask = ((uint64_t)1 << (g->l2_bits + g->cluster_bits))
				- 1;

		if (h->table != clu)
			continue;
		tell(f, t, (struct q2_reference){
				   .guest = q2_guest(g, slot, 0) +
					    (h->guest & mask),
				   .host = h->host.start,
				   .length = h->host.len,
				   .compressed = h->compressed});
	}
	return Q2_OK;
}

enum q2_status q2_survey_references(struct q2_survey *survey, uint64_t host,
				    void (*see)(void *ctx,
						const struct q2_reference *r),
				    void *ctx, struct q2_err *err)
{
	struct search f = {.s = survey,
			   .clu = host >> q2_survey_geom(survey)->cluster_bits,
			   .see = see,
			   .ctx = ctx,
			   .err = err};
	enum q2_status st = q2_survey_entries(survey, look, &f, err);

	if (st == Q2_OK)
		st = q2_survey_tables(survey, hand_out, &f, err);
	q2_hits_free(&f.hits, &survey->checker->budget);
	return st;
}
