/*
 * snaptrial.c - snapshot records of which a bit, or the place of the L1 table, is wrong:
 * found by trying.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "check/l1place.h"
#include "repair/ledger.h"
#include "repair/snapedit.h"
#include "repair/trial.h"

#define RECORDS_TRIED 8u
#define RECORD_TRIED 256u /* bytes */
#define MASS 64u /* entries */
#define TREES_TRIED 64u

bool q2_of_snapshots(unsigned number)
{
	return (number >= Q2_P_SNAPTABLE_OUTSIDE &&
		number <= Q2_P_SNAPSHOT_UNCOUNTED) ||
	       (number >= Q2_P_SNAPSHOT_COUNT && number <= Q2_P_SNAPTABLE_ZERO);
}

bool q2_snapshots_damaged(const struct q2_repair *r)
{
	for (size_t i = 0; i < r->judged.kinds.n; i++)
		if (q2_of_snapshots(r->judged.kinds.at[i]))
			return true;
	return false;
}

static bool blamed(const struct q2_repair *r, uint32_t index)
{
	for (size_t i = 0; i < r->findings.n; i++) {
		const struct q2_finding *f = &r->findings.at[i];

		if (q2_of_snapshots(f->problem->number) &&
		    (f->fields & Q2_F_INDEX) && f->index == index)
			return true;
	}
	return false;
}

/* What a snapshot's tables name comes from its record: where they lead to
 * nonsense, doubt falls on that. */
static bool tree_doubtful(const struct q2_repair *r, uint32_t index)
{
	for (size_t i = 0; i < r->findings.n; i++) {
		const struct q2_finding *f = &r->findings.at[i];

		if (((f->fields & Q2_F_KIND) &&
		     q2_concerns(f, Q2_K_SNAPSHOT_L1)) ||
		    (f->problem->number / 100 == 3 && f->tree == index))
			return true;
	}
	return false;
}

/* Whether tables were walked that are none. */
static bool nonsense(const struct q2_repair *r)
{
	return r->counts[Q2_P_L2_RESERVED] + r->counts[Q2_P_L2_UNALIGNED] +
		       r->counts[Q2_P_L2_ENTRY_OUTSIDE] +
		       r->counts[Q2_P_L1_UNALIGNED] +
		       r->counts[Q2_P_L1_ENTRY_OUTSIDE] > MASS;
}

/* Whether anything that is wrong may come of where the record leads to. */
static bool led_astray(const struct q2_repair *r, uint32_t index)
{
	for (size_t i = 0; i < r->findings.n; i++) {
		const struct q2_finding *f = &r->findings.at[i];

		if ((f->fields & Q2_F_TREE) && f->tree == index &&
		    f->problem->severity == Q2_CORRUPT)
			return true;
	}
	return blamed(r, index) || tree_doubtful(r, index);
}

/* Writes what a trial found to be right, if it did.  A record may lead to the table that
 * it stands in: that parts them. */
static enum q2_status carry_out(struct q2_repair *r, const struct q2_trial *t,
				const char *what, uint64_t at)
{
	uint32_t action;
	enum q2_status st;

	if (!q2_trial_won(t) || !q2_want(r, Q2_P_SNAPSHOT_RECORD))
		return Q2_OK;
	st = q2_act(r, Q2_P_SNAPSHOT_RECORD, Q2_EFFECT_GAIN, NULL, &action,
		    "%s (at %llu)", what, (unsigned long long)at);
	r->parting = true;
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, t->best.off,
			       t->best.bytes, t->best.n);
	r->parting = false;
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* Bits from `start` on, but for times, of which a check says nothing. */
static enum q2_status flip_record(struct q2_trial *t, uint64_t host,
				  uint64_t start, uint64_t end)
{
	static const struct q2_range judged[] = {
		{0, Q2_SNAPSHOT_AT_SEC},
		{Q2_SNAPSHOT_AT_NSEC, 4},
		{Q2_SNAPSHOT_AT_VM_STATE_32, RECORD_TRIED},
	};
	enum q2_status st = Q2_OK;

	end = q2_min(end, start + RECORD_TRIED);
	for (size_t i = 0; i < 3 && st == Q2_OK; i++) {
		uint64_t from = q2_max(host + judged[i].start, start);
		uint64_t to = q2_min(host + q2_end(judged[i]), end);

		if (from < to)
			st = q2_trial_flips(t, from, to - from);
	}
	return st;
}

/* The L1 table as long as the snapshot's disk needs: of a length more than one bit may
 * be wrong. */
static enum q2_status try_length(struct q2_trial *t, uint32_t index, uint64_t host)
{
	const struct q2_checker *c = t->r->c;
	struct q2_patch p = {.off = host + Q2_SNAPSHOT_AT_L1_SIZE, .n = 4};

	for (size_t i = 0; i < c->trees.n; i++) {
		const struct q2_tree *tree = &c->trees.at[i];
		uint64_t needed = q2_l1_needed(tree->disk_size,
					       c->img.geom.cluster_bits,
					       1u << c->img.geom.entry_bits);

		if (tree->id != index || needed == tree->l1_entries)
			continue;
		q2_put_be32(p.bytes, (uint32_t)needed);
		return q2_trial_patch(t, &p);
	}
	return Q2_OK;
}

static enum q2_status try_flips(struct q2_repair *r)
{
	const struct q2_snap_places *p = &r->c->snap_places;
	struct q2_trial t;
	unsigned tried = 0;
	enum q2_status st = Q2_OK;

	/* Where no refcount is right, hiding a tree looks like mending it. */
	if (!q2_snapshots_damaged(r) && !nonsense(r) && q2_counts_absurd(r))
		return Q2_OK;
	q2_trial_start(&t, r);
	for (size_t i = 0; i < p->n && st == Q2_OK; i++) {
		uint64_t start, end = i + 1 < p->n ? p->at[i + 1].host :
						     p->at[i].host + 160;
		bool in_place = false;

		/* Where all is nonsense, no finding need name its cause. */
		if (p->at[i].sound && !blamed(r, p->at[i].index) &&
		    !(i + 1 < p->n && blamed(r, p->at[i + 1].index)) &&
		    !tree_doubtful(r, p->at[i].index) &&
		    !nonsense(r))
			continue;
		if (++tried > RECORDS_TRIED)
			break;
		if (p->at[i].sound && !blamed(r, p->at[i].index))
			st = q2_l1_in_place(r->c, p->at[i].index, &in_place);
		/* Another table could only hide what is wrong with this one. */
		start = p->at[i].host + (in_place ? Q2_SNAPSHOT_AT_ID_LEN : 0);
		if (st == Q2_OK)
			st = flip_record(&t, p->at[i].host, start, end);
		if (st == Q2_OK && p->at[i].sound)
			st = try_length(&t, p->at[i].index, p->at[i].host);
	}
	return st == Q2_OK ? carry_out(r, &t, t.best.n == 1 ?
			"one wrong bit of the snapshot table is put right" :
			"a snapshot's L1 table becomes as long as its disk needs",
			t.best.off) : st;
}

static uint64_t record_place(const struct q2_repair *r, uint32_t index)
{
	const struct q2_snap_places *p = &r->c->snap_places;

	for (size_t i = 0; i < p->n; i++)
		if (p->at[i].index == index && p->at[i].sound)
			return p->at[i].host + Q2_SNAPSHOT_AT_L1_OFFSET;
	return 0;
}

/* A record that leads to what is no L1 table, where one table is among the leaks. */
static enum q2_status try_places(struct q2_repair *r)
{
	const struct q2_trees *trees = &r->c->trees;
	struct q2_trial t;
	enum q2_status st = Q2_OK;

	q2_trial_start(&t, r);
	for (size_t i = 0; i < trees->n && i < TREES_TRIED && st == Q2_OK; i++) {
		struct q2_patch p = {.n = 8};
		uint64_t off = 0;

		if (trees->at[i].id == Q2_TREE_ACTIVE ||
		    !led_astray(r, (uint32_t)trees->at[i].id))
			continue;
		st = q2_l1_lost(r->c, &trees->at[i], &off);
		p.off = record_place(r, (uint32_t)trees->at[i].id);
		q2_put_be64(p.bytes, off);
		if (st == Q2_OK && off && p.off)
			st = q2_trial_patch(&t, &p);
	}
	return st == Q2_OK ? carry_out(r, &t, "a snapshot gets back its L1 table",
				       q2_be64(t.best.bytes)) : st;
}

enum q2_status q2_try_records(struct q2_repair *r)
{
	enum q2_status st = Q2_OK;

	if (q2_all(r) && r->c->snap_places.n)
		st = try_flips(r);
	if (st == Q2_OK && q2_all(r) && r->c->leaks.n)
		st = try_places(r);
	return st;
}
