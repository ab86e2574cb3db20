/*
 * tell_counts.c - refcounts that contradict what the active disk shows.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    nothing: to set a count to the number of references is all that can be
 *           done, but where snapshots share clusters, the count may have been
 *           right.  Then the disk lost an entry that a snapshot still has, or
 *           shows what only a snapshot should; the guest's range is told.
 * Needs:    refcounts that are evidence: not where writers may leave them late
 *           (the dirty bit), nor where most are wrong.
 */
#include "base/endian.h"
#include "check/owners.h"
#include "repair/refcounts.h"

#define RANGES_MOST 4096u

struct tell {
	struct q2_repair *r;
	struct q2_finding f; /* the range so far; length 0: none */
	enum q2_problem_id why;
	unsigned told;
};

/* Whether the active disk has nothing in this place. */
static bool is_empty(const struct q2_repair *r, uint64_t guest)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t clu = guest >> g->cluster_bits, slot = clu >> g->l2_bits;
	uint64_t index = clu & ((UINT64_C(1) << g->l2_bits) - 1);
	struct q2_l1_entry e;
	uint8_t b[16] = {0};

	if (slot >= g->l1_entries ||
	    q2_pread_zero(r->io, b, 8, g->l1_offset + 8 * slot, NULL) != Q2_OK)
		return false;
	e = q2_l1_decode(g, q2_be64(b));
	if (!e.used || e.faults)
		return q2_be64(b) == 0;
	if (q2_pread_zero(r->io, b, (size_t)1 << g->entry_bits,
			  q2_offset(g, e.table) + (index << g->entry_bits),
			  NULL) != Q2_OK)
		return false;
	return !q2_l2_decode(g, q2_be64(b), q2_be64(b + 8), guest).refers;
}

static enum q2_status end_range(struct tell *t)
{
	uint32_t action;
	enum q2_status st;

	if (t->f.length == 0 || t->told++ >= RANGES_MOST)
		return Q2_OK;
	st = q2_act(t->r, t->why, Q2_EFFECT_SUSPECT, &t->f, &action,
		    t->why == Q2_P_REFCOUNT_HIGH ?
			    "the disk has nothing here, but by the refcounts "
			    "it had what a snapshot has" :
			    "the disk has here what a snapshot has, but by the "
			    "refcounts it had not");
	if (st == Q2_OK)
		t->r->plan->actions.at[action].note = true;
	t->f.length = 0;
	return st;
}

static enum q2_status add(struct tell *t, const struct q2_owner *o,
			  enum q2_problem_id why)
{
	uint64_t cs = t->r->c->img.geom.cluster_size;
	enum q2_status st;

	if (t->f.length && t->why == why &&
	    t->f.guest + t->f.length == o->guest) {
		t->f.length += cs;
		return Q2_OK;
	}
	st = end_range(t);
	t->why = why;
	t->f = (struct q2_finding){
		.fields = Q2_F_GUEST | Q2_F_LENGTH | Q2_F_TREE,
		.guest = o->guest,
		.length = cs,
		.tree = Q2_TREE_ACTIVE,
	};
	return st;
}

/* One cluster and its owners: all for the same place in the guest, or it is another
 * problem. */
static enum q2_status one(struct tell *t, const struct q2_suspect *s,
			  const struct q2_owner *o, size_t n)
{
	struct q2_repair *r = t->r;
	uint64_t refs = q2_refmap_get(&r->c->map, s->clu).count;
	bool active = false, old = false;

	for (size_t i = 0; i < n; i++) {
		if (o[i].guest != o[0].guest || o[i].compressed ||
		    o[i].l2 == Q2_OWNER_IS_TABLE)
			return Q2_OK;
		active |= o[i].active;
		/* Not what the repair itself made. */
		old |= !o[i].active && o[i].tree + 1 < r->first.trees;
	}
	if (!old || s->found == 0)
		return Q2_OK;
	if (s->found > refs && !active && is_empty(r, o[0].guest) &&
	    q2_want(r, Q2_P_REFCOUNT_HIGH))
		return add(t, &o[0], Q2_P_REFCOUNT_HIGH);
	if (s->found < refs && active && q2_want(r, Q2_P_REFCOUNT_LOW))
		return add(t, &o[0], Q2_P_REFCOUNT_LOW);
	return Q2_OK;
}

/* Whether most of the counts that are wrong cannot come of a lost or a stale entry. */
static bool are_noise(const struct q2_checker *c)
{
	uint64_t noise = 0, plain = 0;

	for (size_t i = 0; i < c->suspects.n; i++) {
		const struct q2_suspect *s = &c->suspects.at[i];
		uint64_t refs = q2_refmap_get(&c->map, s->clu).count;

		if (!(s->why & Q2_S_REFCOUNT) || s->found == Q2_NO_REFCOUNT)
			continue;
		if (s->found == 0 || s->found + c->trees.n < refs ||
		    s->found > refs + c->trees.n)
			noise++;
		else
			plain++;
	}
	return noise > plain;
}

static bool needed(const struct q2_repair *r)
{
	const struct q2_checker *c = r->c;

	return q2_all(r) && !r->told.counts && c->trees.n > 1 &&
	       !r->result.partial && !c->img.geom.data_file &&
	       !(c->header.incompatible & Q2_INCOMPAT_DIRTY) &&
	       (q2_found_any(r, Q2_P_REFCOUNT_HIGH) ||
		q2_found_any(r, Q2_P_REFCOUNT_LOW)) &&
	       !are_noise(c);
}

enum q2_status q2_tell_counts(struct q2_repair *r)
{
	struct tell t = {.r = r};
	const struct q2_suspects *s = &r->c->suspects;
	struct q2_owner_vec owners = {0};
	size_t at = 0;
	enum q2_status st;

	if (!needed(r))
		return Q2_OK;
	r->told.counts = true;
	st = q2_owners_collect(r->c, &owners);
	for (size_t i = 0; i < s->n && st == Q2_OK; i++) {
		size_t n = 0;

		while (at < owners.n && owners.at[at].clu < s->at[i].clu)
			at++;
		while (at + n < owners.n &&
		       owners.at[at + n].clu == s->at[i].clu)
			n++;
		if (n && (s->at[i].why & Q2_S_REFCOUNT) &&
		    s->at[i].found != Q2_NO_REFCOUNT)
			st = one(&t, &s->at[i], owners.at + at, n);
		at += n;
	}
	if (st == Q2_OK)
		st = end_range(&t);
	q2_owner_vec_free(&owners, &r->c->budget);
	return st;
}
