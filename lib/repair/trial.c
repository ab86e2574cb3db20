/*
 * trial.c - what a check would say if some bytes were different.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/trial.h"

#include <string.h>

#include "base/err.h"

#define FUEL (UINT64_C(8) << 30)

/* One check under way: it ends as soon as it is worse than the best so far. */
struct run {
	const struct q2_trial *t;
	uint64_t corruptions;
	uint64_t roots;
	uint64_t oddities;
	uint64_t beyond; /* mapped past the end of the disk */
	uint64_t zeros;	 /* refcounts */
	uint64_t uncounted;
	uint64_t missing; /* refcount blocks, or their table */
};

static bool lacks_blocks(unsigned number)
{
	return (number >= Q2_P_REFTABLE_UNALIGNED &&
		number <= Q2_P_REFTABLE_LIMIT) ||
	       (number >= Q2_P_REFTABLE_RESERVED &&
		number <= Q2_P_REFBLOCK_MISSING);
}

static bool is_root(unsigned number)
{
	return number < Q2_P_L1_RESERVED ||
	       (number >= Q2_P_SNAPTABLE_OUTSIDE &&
		number < Q2_P_BACKING_MISSING);
}

/* Not a structure that is found by a field of its own, which may be wrong. */
static bool is_uncounted(const struct q2_finding *f)
{
	return f->problem->number == Q2_P_REFCOUNT_ZERO &&
	       !q2_concerns(f, Q2_K_L1) && !q2_concerns(f, Q2_K_SNAPSHOT_L1) &&
	       !q2_concerns(f, Q2_K_SNAPTABLE) &&
	       !q2_concerns(f, Q2_K_REFTABLE) &&
	       !q2_concerns(f, Q2_K_REFBLOCK) && !q2_concerns(f, Q2_K_HEADER);
}

static void on_found(void *ctx, const struct q2_finding *f)
{
	struct run *run = ctx;

	run->beyond += f->problem->number == Q2_P_L1_BEYOND_DISK ||
		       f->problem->number == Q2_P_L2_BEYOND_DISK;
	run->zeros += f->problem->number == Q2_P_REFCOUNT_ZERO;
	run->uncounted += is_uncounted(f);
	run->missing += lacks_blocks(f->problem->number);
	switch (f->problem->severity) {
	case Q2_CORRUPT:
		run->corruptions++;
		run->roots += is_root(f->problem->number);
		break;
	case Q2_ADVICE:
		run->oddities++;
		break;
	case Q2_LEAK:
		break;
	}
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	const struct run *run = ctx;
	const struct q2_repair *r = run->t->r;

	(void)p;
	return (run->corruptions > run->t->best_score.corruptions &&
		run->roots >= run->t->best_score.roots) ||
	       (r->opts->progress &&
		r->opts->progress(r->opts->ctx,
				  &(struct q2_progress){"trials", 0, 0}));
}

/* Worse than the best, whatever follows.  As long as that is nothing but unreadable,
 * all that is readable is better. */
static bool is_worse(void *ctx)
{
	const struct run *run = ctx;
	const struct q2_score *best = &run->t->best_score;

	return !best->unreadable &&
	       (run->roots > best->roots ||
		(run->roots == best->roots &&
		 run->corruptions > best->corruptions));
}

/* A disk that is made smaller must hold all that is mapped. */
static bool cuts_disk(const struct run *run, const struct q2_patch *p,
		      const struct q2_check_result *res)
{
	return p->off >= 24 && p->off < 32 &&
	       (res->virtual_size == 0 ||
		(run->beyond &&
		 res->virtual_size < run->t->r->result.virtual_size));
}

static uint64_t trees_in_use(const struct q2_checker *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < c->trees.n; i++)
		n += c->trees.at[i].l1_entries != 0;
	return n;
}

static uint64_t needed(const struct q2_checker *c, const struct q2_tree *t)
{
	return q2_l1_needed(t->disk_size, c->img.geom.cluster_bits,
			    1u << c->img.geom.entry_bits);
}

/* In the order of trees the active one is the first. */
static uint32_t rank(const struct q2_tree *t)
{
	return t->id + 1;
}

static bool is_empty(const struct q2_checker *c, const struct q2_tree *t)
{
	return q2_holds_zeros(c->img.io, t->l1_offset,
			      UINT64_C(8) * t->l1_entries);
}

/* Whether a disk that is still there loses its table, or entries that its size needs,
 * or gets one elsewhere that is empty: what these lead to is no longer wrong then, nor is
 * it there. */
static bool empties(const struct q2_checker *was, const struct q2_checker *c,
		    bool proven)
{
	size_t k = 0;

	for (size_t i = 0; i < was->trees.n; i++) {
		const struct q2_tree *t = &was->trees.at[i], *now = NULL;

		while (k < c->trees.n && rank(&c->trees.at[k]) < rank(t))
			k++;
		if (k < c->trees.n && c->trees.at[k].id == t->id)
			now = &c->trees.at[k];
		if (now ? now->l1_entries < t->l1_entries &&
				  now->l1_entries < needed(c, now) :
			  t->disk_size && (t->id == Q2_TREE_ACTIVE ||
					   t->id < c->header.nb_snapshots))
			return true;
		if (now && now->l1_offset != t->l1_offset && !proven &&
		    is_empty(c, now) && !is_empty(was, t))
			return true;
	}
	return false;
}

/* Where refcounts are lost, a tree that is not looked at any more leaks nothing: only
 * its zeros are gone. */
static bool hides(const struct run *run, const struct q2_checker *c,
		  const struct q2_patch *p, const struct q2_score *score)
{
	const struct q2_trial *t = run->t;
	const struct q2_geom *g = &t->r->c->img.geom;
	uint64_t zeros = t->r->counts[Q2_P_REFCOUNT_ZERO];

	/* A table that was leaked is one. */
	if (empties(t->r->c, c, score->leaks < t->now.leaks))
		return true;
	/* Nor are snapshots stale whose clusters are not counted, if the others' are
	 * not either. */
	if (c->header.nb_snapshots < t->r->c->header.nb_snapshots &&
	    trees_in_use(c) < trees_in_use(t->r->c) && run->uncounted)
		return true;
	if (c->img.geom.cluster_size == g->cluster_size &&
	    trees_in_use(c) < trees_in_use(t->r->c) &&
	    score->leaks >= t->now.leaks && score->roots >= t->now.roots)
		return true;
	return p->off - g->reftable_offset >= g->reftable_bytes &&
	       !(p->off >= 48 && p->off < 60) &&
	       !(p->off >= 96 && p->off < 100) &&
	       run->uncounted < t->uncounted && score->leaks >= t->now.leaks &&
	       score->corruptions - run->zeros >= t->now.corruptions - zeros;
}

/* A refcount table that lacks blocks says nothing of many clusters at once: another place
 * for it is its own only if it lacks none there. */
static bool forgets_counts(const struct run *run, const struct q2_patch *p)
{
	return p->off >= 48 && p->off < 60 && run->missing;
}

/* Sounder only because there is less to look at: out of the question. */
static bool loses(const struct run *run, const struct q2_checker *c,
		  const struct q2_patch *p, const struct q2_check_result *res,
		  const struct q2_score *score)
{
	const struct q2_score *now = &run->t->now;

	return (score->leaks > now->leaks && !now->unreadable) ||
	       cuts_disk(run, p, res) || forgets_counts(run, p) ||
	       hides(run, c, p, score);
}

static int compare(const struct q2_score *a, const struct q2_score *b)
{
	const uint64_t x[] = {a->unreadable, a->roots, a->corruptions,
			      a->leaks, a->oddities, a->ragged};
	const uint64_t y[] = {b->unreadable, b->roots, b->corruptions,
			      b->leaks, b->oddities, b->ragged};

	for (size_t i = 0; i < sizeof(x) / sizeof(x[0]); i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

static struct q2_score score_of(const struct q2_checker *c,
				const struct q2_check_result *res,
				uint64_t oddities, uint64_t roots)
{
	struct q2_score s = {
		.unreadable = res->verdict == Q2_UNREADABLE,
		.roots = roots,
		.corruptions = res->corruptions,
		.leaks = res->leaks,
		.partial = res->partial,
		.oddities = oddities,
	};

	/* Writers make L1 tables just as long as the disk needs, and people
	 * like round sizes. */
	s.oddities += c->header.l1_size != c->img.geom.l1_needed;
	for (size_t i = 0; i < c->trees.n && i < 64; i++)
		s.oddities += c->trees.at[i].l1_entries !=
			      needed(c, &c->trees.at[i]);
	s.ragged = res->virtual_size ?
			   64 - (unsigned)__builtin_ctzll(res->virtual_size) :
			   64;
	return s;
}

/* What one check of the image reads, more or less. */
static uint64_t cost_of(const struct q2_repair *r)
{
	const struct q2_checker *c = r->c;
	uint64_t cs = c->img.geom.cluster_size ? c->img.geom.cluster_size :
						 65536;

	uint64_t cost = (UINT64_C(256) << 10) + c->refs.tables.n * cs +
			c->img.geom.reftable_bytes;

	for (size_t i = 0; i < c->trees.n; i++)
		cost += UINT64_C(8) * c->trees.at[i].l1_entries;
	for (size_t i = 0; i < c->metas.n; i++)
		if (c->metas.at[i].kind != Q2_K_L1 &&
		    c->metas.at[i].kind != Q2_K_SNAPSHOT_L1)
			cost += q2_min(c->metas.at[i].n * cs,
				       UINT64_C(64) << 20);
	return cost;
}

void q2_trial_start(struct q2_trial *t, struct q2_repair *r)
{
	uint64_t oddities = 0, roots = 0, missing = 0;

	for (size_t i = 0; i < r->judged.kinds.n; i++) {
		unsigned number = r->judged.kinds.at[i];
		uint64_t n = r->counts[number];

		missing += lacks_blocks(number) ? n : 0;
		if (q2_problem_by_number(number)->severity == Q2_ADVICE)
			oddities += n;
		else if (is_root(number))
			roots += n;
	}
	*t = (struct q2_trial){.r = r, .fuel = FUEL, .cost = cost_of(r)};
	t->missing = missing;
	t->uncounted = r->counts[Q2_P_REFCOUNT_ZERO];
	for (size_t i = 0; i < r->findings.n; i++)
		t->uncounted -= r->findings.at[i].problem->number ==
					Q2_P_REFCOUNT_ZERO &&
				!is_uncounted(&r->findings.at[i]);
	/* Only the data tells how it was compressed. */
	if (r->counts[Q2_P_COMPRESSION_BIT] || r->counts[Q2_P_COMPRESSION_TYPE])
		t->flags = Q2_CHECK_DATA;
	t->now = score_of(r->c, &r->result, oddities, roots);
	t->best_score = t->now;
}

enum q2_status q2_trial_patch(struct q2_trial *t, const struct q2_patch *p)
{
	struct q2_repair *r = t->r;
	struct run run = {.t = t};
	struct q2_check_opts opts = {.flags = t->flags,
				     .max_memory = r->opts->max_memory,
				     .found = on_found,
				     .progress = on_progress,
				     .ctx = &run};
	struct q2_check_result res;
	struct q2_checker *c = NULL;
	struct q2_err own = {0};
	struct q2_patched io;
	struct q2_score score;
	int order;
	enum q2_status st;

	if (t->fuel < t->cost || !q2_inside(p->off, p->n, INT64_MAX))
		return Q2_OK;
	t->fuel -= t->cost;
	q2_io_patched(&io, r->io, p->off, p->bytes, p->n);
	st = q2_checker_try(&io.io, &opts, is_worse, &res, &c, &own);
	if (st == Q2_OK) {
		score = score_of(c, &res, run.oddities, run.roots);
		order = loses(&run, c, p, &res, &score) ?
				1 :
				compare(&score, &t->best_score);
		if (order < 0) {
			t->best = *p;
			t->best_score = score;
		}
		if (order <= 0)
			t->tie = order == 0;
	}
	q2_checker_free(c);
	/* A claim that is too much for us makes the patch a bad one. */
	if (st == Q2_E_BUDGET ||
	    (st == Q2_E_INTERRUPTED &&
	     (is_worse(&run) ||
	      (run.corruptions > t->best_score.corruptions &&
	       run.roots >= t->best_score.roots))))
		return Q2_OK;
	if (st != Q2_OK && r->err->code == Q2_OK)
		*r->err = own;
	return st;
}

enum q2_status q2_trial_flips(struct q2_trial *t, uint64_t off, uint64_t len)
{
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < len && st == Q2_OK; i++) {
		uint8_t byte;

		if (q2_pread_zero(t->r->io, &byte, 1, off + i, NULL) != Q2_OK)
			continue;
		for (unsigned bit = 0; bit < 8 && st == Q2_OK; bit++) {
			struct q2_patch p = {.off = off + i, .n = 1};

			p.bytes[0] = byte ^ (uint8_t)(1u << bit);
			st = q2_trial_patch(t, &p);
		}
	}
	return st;
}

bool q2_trial_won(const struct q2_trial *t)
{
	const struct q2_score *a = &t->best_score, *b = &t->now;

	if (t->tie || t->best.n == 0)
		return false;
	if (a->unreadable < b->unreadable)
		return true;
	/* What is hidden is not mended: then it would be leaked, or it is as
	 * little known as before.  And a mere oddity is no reason to change
	 * anything. */
	if (a->leaks && a->leaks == b->leaks && a->partial)
		return false;
	/* Entries read in another way must become sound, nearly all of them: some
	 * are less wrong then by chance. */
	if (((t->best.off >= 20 && t->best.off < 24) ||
	     (t->best.off >= 72 && t->best.off < 80)) &&
	    a->corruptions > b->corruptions / 8)
		return false;
	/* An L1 table that is moved must find what was missed. */
	if (t->best.off >= 36 && t->best.off < 48 && !b->unreadable &&
	    a->corruptions + a->leaks && a->leaks >= b->leaks)
		return false;
	return a->leaks <= b->leaks && a->roots <= b->roots &&
	       (a->corruptions < b->corruptions ||
		(a->corruptions == b->corruptions && a->leaks < b->leaks));
}
