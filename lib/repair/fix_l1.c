/*
 * fix_l1.c - entries of the active L1 table and of the snapshots'.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    entries with reserved bits, or that lead nowhere, to another slot's
 *           table, or to what is no L2 table.  Where an L2 table that nothing names
 *           is one wrong bit away, or stands in the same slot of another tree, or
 *           is the only one that is missed by the only wrong slot, the entry gets
 *           it back.
 * Needs:    refcounts on disk, as evidence of what is missed.
 */
#include <string.h>

#include "base/endian.h"
#include "check/l2shape.h"
#include "repair/l1fix.h"

#define TRIES 3u

static struct q2_range table_range(const struct q2_l1fix *l, uint64_t raw)
{
	struct q2_l1_entry e = q2_l1_decode(&l->r->c->img.geom, raw);

	return (struct q2_range){q2_offset(&l->r->c->img.geom, e.table),
				 e.used ? l->r->c->img.geom.cluster_size : 0};
}

struct q2_finding q2_l1_located(const struct q2_l1fix *l)
{
	const struct q2_geom *g = &l->r->c->img.geom;

	return (struct q2_finding){
		.fields = Q2_F_TREE | Q2_F_L1 | Q2_F_GUEST | Q2_F_LENGTH |
			  Q2_F_FOUND,
		.tree = l->tree->id,
		.l1 = l->slot,
		.guest = q2_guest(g, l->slot, 0),
		.length = g->cluster_size << g->l2_bits,
		.found = l->raw,
	};
}

enum q2_status q2_l1_replace(struct q2_l1fix *l, enum q2_problem_id why,
			     enum q2_effect effect, uint64_t raw,
			     const char *text)
{
	struct q2_repair *r = l->r;
	struct q2_finding f = q2_l1_located(l);
	uint32_t action;
	enum q2_status st = q2_act(r, why, effect, &f, &action, "L1[%u] %s",
				   (unsigned)l->slot, text);

	if (st == Q2_OK)
		st = q2_change_u64(r, Q2_C_ENTRY, action,
				   l->tree->l1_offset + UINT64_C(8) * l->slot,
				   raw);
	if (st == Q2_OK)
		st = q2_ledger_move(&l->ledger, table_range(l, l->raw),
				    table_range(l, raw), 1, r->err);
	q2_put_be64(l->entries + UINT64_C(8) * l->slot, raw);
	return st;
}

/* Whether an L2 table that is missed lies there, for this slot. */
static bool is_missed_table(struct q2_l1fix *l, uint64_t raw)
{
	const struct q2_checker *c = l->r->c;
	struct q2_l1_entry e = q2_l1_decode(&c->img.geom, raw);
	struct q2_l2_shape shape;

	if (!e.used || e.faults || q2_surplus(&l->ledger, e.table.n) < 1)
		return false;
	/* Another tree's same slot names it: then it is this slot's. */
	for (size_t i = 0; i < l->missed.n; i++)
		if (l->missed.at[i].first == e.table.n)
			return l->missed.at[i].n == l->slot;
	if (c->img.geom.data_file)
		return q2_l2_orphan(l->r->c, l->table, e.table.n, &shape);
	return q2_tells_of_missed(&l->ledger, l->table, e.table.n);
}

uint64_t q2_l1_missed_table(struct q2_l1fix *l)
{
	const struct q2_checker *c = l->r->c;
	uint64_t found = 0;
	unsigned n = 0;

	for (unsigned bit = 9; bit < 56; bit++) {
		uint64_t raw = (l->raw ^ UINT64_C(1) << bit) & Q2_ENTRY_OFFSET;

		if (!is_missed_table(l, raw))
			continue;
		found = raw;
		n++;
	}
	for (size_t i = 0; i < l->missed.n && n == 0; i++) {
		uint64_t raw = l->missed.at[i].first
			       << c->img.geom.cluster_bits;

		/* Not what stands here already, however often it is counted. */
		if (l->missed.at[i].n != l->slot ||
		    raw == (l->raw & Q2_ENTRY_OFFSET) ||
		    !is_missed_table(l, raw))
			continue;
		found = raw;
		n++;
	}
	return n == 1 ? found : 0;
}

/* Whether the offset lies between those of the nearest slots in use: most images
 * grow from their start to their end. */
static bool in_order(const struct q2_l1fix *l, uint64_t off)
{
	uint32_t n = l->tree->l1_entries;
	uint64_t before = 0, after = 0;

	for (uint32_t i = l->slot; i-- > 0 && !before;)
		before = q2_l1fix_raw(l, i) & Q2_ENTRY_OFFSET;
	for (uint32_t i = l->slot + 1; i < n && !after; i++)
		after = q2_l1fix_raw(l, i) & Q2_ENTRY_OFFSET;
	return (!before || before < off) && (!after || off < after);
}

/* The slot leads to what is no L2 table: mostly nonsense stands there. */
static bool leads_to_nonsense(struct q2_l1fix *l)
{
	uint64_t good, bad;

	q2_l1_tally(l, &good, &bad);
	return bad >= 4 && good == 0;
}

/* What the entry names is the guest's data by the table that belongs here. */
static enum q2_status names_data(struct q2_l1fix *l)
{
	uint64_t missed = q2_l1_sole_orphan(l);

	if (missed == 0 || !q2_want(l->r, Q2_P_ORPHAN_L2))
		return Q2_OK;
	return q2_l1_replace(l, Q2_P_ORPHAN_L2, Q2_EFFECT_GAIN, missed,
		       "gets back the only L2 table that is missed: what it "
		       "names is that one's data");
}

/* Whether a snapshot names the same table in the same slot, which is counted for one of
 * the two.  What only one tree has is newer than the other: it is the active disk's, if
 * that has COPIED set, as it would for a table of its own. */
static bool snapshot_took_it(const struct q2_l1fix *l)
{
	const struct q2_trees *trees = &l->r->c->trees;
	uint64_t off = l->raw & Q2_ENTRY_OFFSET, n = 0;

	if (l->tree->id != Q2_TREE_ACTIVE || !l->e.copied ||
	    q2_surplus(&l->ledger, l->e.table.n) != -1)
		return false;
	for (size_t i = 0; i < trees->n; i++) {
		uint8_t b[8];

		if (trees->at[i].id != Q2_TREE_ACTIVE &&
		    l->slot < trees->at[i].l1_entries &&
		    q2_pread_zero(l->r->io, b, 8,
				  trees->at[i].l1_offset +
					  UINT64_C(8) * l->slot,
				  NULL) == Q2_OK)
			n += (q2_be64(b) & Q2_ENTRY_OFFSET) == off;
	}
	return n == 1;
}

/* The table that is one wrong bit away.  What the entry names may be the table that
 * it stands in: nothing but this entry says so. */
static enum q2_status take_back(struct q2_l1fix *l, uint64_t missed)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t at = l->tree->l1_offset + UINT64_C(8) * l->slot;
	enum q2_l1_rank rank = Q2_L1_ALONE;
	enum q2_status st;

	/* Of two that name one table either may have lost its own. */
	if (q2_refmap_get(&l->r->c->map, missed >> g->cluster_bits).count == 0)
		rank = q2_l1_rank(l, missed);
	if (rank == Q2_L1_ANOTHERS)
		return Q2_OK;
	l->r->parting = at >> g->cluster_bits == l->e.table.n;
	st = q2_l1_replace(l, Q2_P_ORPHAN_L2, rank == Q2_L1_ALONE ?
				   Q2_EFFECT_GAIN : Q2_EFFECT_SUSPECT, missed,
			   "gets back the L2 table that is one wrong bit away");
	l->r->parting = false;
	return st;
}

/* Whether more of the entries in the same cluster lead nowhere than anywhere. */
static bool stands_in_nonsense(const struct q2_l1fix *l)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint32_t per = (uint32_t)(g->cluster_size / 8);
	uint32_t first = l->slot - l->slot % per, good = 0, bad = 0;

	for (uint32_t i = first;
	     i < l->tree->l1_entries && i - first < per; i++) {
		uint64_t raw = q2_l1fix_raw(l, i);

		if (i == l->slot || raw == 0)
			continue;
		if (q2_l1_decode(g, raw).faults)
			bad++;
		else
			good++;
	}
	return bad >= 4 && bad > good;
}

/* An entry that the format allows, with a table that others use as well, or that
 * is not counted at all. */
static enum q2_status doubtful(struct q2_l1fix *l)
{
	unsigned why = q2_suspected(&l->ledger, l->e.table.n);
	bool starved = q2_surplus(&l->ledger, l->e.table.n) < 0;
	bool meta = why & (Q2_S_META | Q2_S_SHARED);
	uint64_t missed, good, bad;
	bool foreign;
	enum q2_status st = l->sure ? Q2_OK : q2_l1_unalias(l);

	if (st != Q2_OK || q2_l1fix_raw(l, l->slot) != l->raw)
		return st;
	if (!(starved || meta) && !leads_to_nonsense(l))
		return l->sure ? Q2_OK : names_data(l);
	missed = l->ledger.any ? q2_l1_missed_table(l) : 0;
	/* What nobody names any more would be the active disk's own. */
	if (!meta && missed && snapshot_took_it(l) &&
	    q2_refmap_get(&l->r->c->map, missed >>
			  l->r->c->img.geom.cluster_bits).count)
		return Q2_OK;
	if (missed && (!q2_found_any(l->r, Q2_P_L1_ALIAS) ||
		       in_order(l, missed) >
			       in_order(l, l->raw & Q2_ENTRY_OFFSET)) &&
	    q2_want(l->r, Q2_P_ORPHAN_L2))
		return take_back(l, missed);
	if (l->sure)
		return Q2_OK;
	/* With a data file a table tells its own slot, once that is empty. */
	if (l->r->c->img.geom.data_file && q2_all(l->r) &&
	    q2_found_any(l->r, Q2_P_ORPHAN_L2) &&
	    q2_l1_is_anothers(l, l->slot) && q2_want(l->r, Q2_P_ORPHAN_L2))
		return q2_l1_replace(l, Q2_P_ORPHAN_L2, Q2_EFFECT_NONE, 0,
				     "is emptied: what it names is other metadata");
	missed = starved && !meta && q2_all(l->r) ? q2_l1_told_apart(l) : 0;
	if (missed && q2_want(l->r, Q2_P_ORPHAN_L2))
		return q2_l1_replace(l, Q2_P_ORPHAN_L2, Q2_EFFECT_SUSPECT,
			       missed, "gets back the L2 table that is one wrong "
			       "bit away: it fits between the snapshots there");
	missed = q2_l1_sole_table(l);
	if (missed && q2_want(l->r, Q2_P_ORPHAN_L2)) {
		/* This very table may be what the entry names. */
		l->r->parting = true;
		st = q2_l1_replace(l, Q2_P_ORPHAN_L2, Q2_EFFECT_GAIN, missed,
			     "gets back the only L2 table that is missed: the "
			     "one that it names is another's");
		l->r->parting = false;
		return st;
	}
	/* Then what is missed here must not fill a slot that is empty by right. */
	foreign = l->tree->id == Q2_TREE_ACTIVE && q2_all(l->r) &&
		   q2_l1_is_anothers(l, l->slot);
	l->r->aliased |= foreign;
	st = names_data(l);
	if (st != Q2_OK || q2_l1fix_raw(l, l->slot) != l->raw)
		return st;
	q2_l1_tally(l, &good, &bad);
	if (foreign && stands_in_nonsense(l) &&
	    q2_want(l->r, Q2_P_L1_ENTRY_OUTSIDE))
		return q2_l1_replace(l, Q2_P_L1_ENTRY_OUTSIDE, Q2_EFFECT_LOSS, 0,
			       "is emptied: it leads to another's, and what "
			       "stands around it is no part of an L1 table");
	if (bad >= 4 && bad > good && (foreign || good == 0) &&
	    q2_want(l->r, Q2_P_L1_ENTRY_OUTSIDE))
		return q2_l1_replace(l, Q2_P_L1_ENTRY_OUTSIDE, Q2_EFFECT_LOSS, 0,
			       "is emptied: what it leads to is no L2 table");
	return Q2_OK;
}

static enum q2_status faulty(struct q2_l1fix *l)
{
	uint64_t missed = l->ledger.any ? q2_l1_missed_table(l) : 0;
	enum q2_problem_id why = l->e.faults & Q2_EF_UNALIGNED ?
					 Q2_P_L1_UNALIGNED :
				 l->e.faults & Q2_EF_OUTSIDE ?
					 Q2_P_L1_ENTRY_OUTSIDE :
				 l->e.faults & Q2_EF_FLAGS_ONLY ?
					 Q2_P_L1_FLAGS_ONLY : Q2_P_L1_RESERVED;

	if (l->e.used)
		return !l->sure && q2_want(l->r, why) ?
			       q2_l1_replace(l, why, Q2_EFFECT_NONE,
				       l->raw & ~Q2_L1_RESERVED,
				       "loses its reserved bits") : Q2_OK;
	if (missed && q2_want(l->r, Q2_P_ORPHAN_L2))
		return q2_l1_replace(l, Q2_P_ORPHAN_L2, Q2_EFFECT_GAIN, missed,
			       "gets back its L2 table");
	missed = l->sure || !q2_all(l->r) ? 0 : q2_l1_kin_table(l);
	if (missed && q2_want(l->r, Q2_P_ORPHAN_L2))
		return q2_l1_replace(l, Q2_P_ORPHAN_L2, Q2_EFFECT_GAIN, missed,
			       "gets back the orphaned L2 table that has mostly "
			       "the entries that another tree has there");
	if (l->sure || !q2_want(l->r, why))
		return Q2_OK;
	/* What tells of a loss stays while there is no room for a new table. */
	if (l->r->room.left[Q2_P_RAW_DATA_UNALLOCATED])
		return Q2_OK;
	if (l->r->c->img.geom.raw_data && q2_all(l->r))
		return q2_l1_replace(l, why, Q2_EFFECT_NONE, 0,
				     "is emptied: the data file tells what its "
				     "table held");
	return q2_l1_replace(l, why, why == Q2_P_L1_FLAGS_ONLY ||
						     why == Q2_P_L1_RESERVED ?
					     Q2_EFFECT_NONE : Q2_EFFECT_LOSS, 0,
			     "is emptied: it leads nowhere, and no table is "
			     "known that belongs here");
}

/* A slot that only another tree still fills: there the table is counted twice. */
static enum q2_status empty(struct q2_l1fix *l)
{
	uint64_t missed = 0;

	if (l->missed.n == 0 || l->tree->id != Q2_TREE_ACTIVE || l->sure ||
	    !q2_want(l->r, Q2_P_REFCOUNT_HIGH) || !q2_all(l->r))
		return Q2_OK;
	for (size_t i = 0; i < l->missed.n; i++) {
		if (l->missed.at[i].n != l->slot ||
		    q2_surplus(&l->ledger, l->missed.at[i].first) < 1 ||
		    !q2_tells_of_missed(&l->ledger, l->table,
					l->missed.at[i].first))
			continue;
		if (missed)
			return Q2_OK;
		missed = l->missed.at[i].first
			 << l->r->c->img.geom.cluster_bits;
	}
	return missed ? q2_l1_replace(l, Q2_P_REFCOUNT_HIGH, Q2_EFFECT_GAIN,
				      missed, "gets back the L2 table that a "
				      "snapshot still has there, and that is "
				      "counted for both") : Q2_OK;
}

static enum q2_status walk_tree(struct q2_l1fix *l)
{
	struct q2_repair *r = l->r;
	uint64_t bytes = UINT64_C(8) * l->tree->l1_entries;
	uint64_t table = l->tree->l1_offset >> r->c->img.geom.cluster_bits;
	uint64_t data = q2_io_data(r->io, l->tree->l1_offset).start;
	void *block;
	enum q2_status st;

	/* A table in a hole names nothing; of the active one slots may be
	 * filled. */
	if (l->tree->id != Q2_TREE_ACTIVE &&
	    data >= l->tree->l1_offset + bytes)
		return Q2_OK;
	/* The table itself may be what is not where it should be. */
	if (l->sure && (q2_refmap_get(&r->c->map, table).count != 1 ||
			q2_surplus(&l->ledger, table) != 0))
		return Q2_OK;
	st = q2_get_raw(&r->budget, bytes, &block, r->err);
	if (st != Q2_OK)
		return st;
	l->entries = block;
	/* What cannot be read was told, and is left as it is. */
	if (q2_pread_zero(r->io, l->entries, (size_t)bytes,
			  l->tree->l1_offset, NULL) != Q2_OK)
		memset(l->entries, 0, (size_t)bytes);
	for (l->slot = 0; l->slot < l->tree->l1_entries && st == Q2_OK;
	     l->slot++) {
		l->raw = q2_l1fix_raw(l, l->slot);
		if (l->raw == 0) {
			l->e = (struct q2_l1_entry){0};
			st = empty(l);
			continue;
		}
		l->e = q2_l1_decode(&r->c->img.geom, l->raw);
		if (q2_was_outside(r, l->raw & Q2_ENTRY_OFFSET)) {
			l->e.faults |= Q2_EF_OUTSIDE;
			l->e.used = false;
		}
		if (l->e.faults)
			st = faulty(l);
		else
			st = doubtful(l);
	}
	q2_put(&r->budget, block, bytes);
	return st;
}

/* Whether what stands in the cluster can be an L2 table at all: a damaged L1 table may
 * name anything, and what it names is counted for others. */
static bool may_be_table(struct q2_l1fix *l, uint64_t clu)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t good = 0, bad = 0;

	if (q2_pread_zero(l->r->io, l->table, (size_t)g->cluster_size,
			  clu << g->cluster_bits, NULL) != Q2_OK)
		return false;
	q2_l2_tally(g, l->table, 1u << g->l2_bits, &good, &bad);
	return bad < 4 || bad <= good;
}

static enum q2_status list_missed(struct q2_l1fix *l)
{
	const struct q2_l2ref_vec *t = &l->r->c->refs.tables;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < t->n && l->ledger.any && st == Q2_OK; i++)
		if (q2_surplus(&l->ledger, t->at[i].clu) > 0 &&
		    may_be_table(l, t->at[i].clu))
			st = q2_runs_push(&l->missed, &l->r->budget,
					  (struct q2_run){t->at[i].clu,
							  t->at[i].slot},
					  l->r->err);
	return st;
}

static bool needed(const struct q2_repair *r)
{
	static const enum q2_problem_id of_l1[] = {
		Q2_P_L1_RESERVED, Q2_P_L1_UNALIGNED, Q2_P_L1_ENTRY_OUTSIDE,
		Q2_P_L1_FLAGS_ONLY, Q2_P_L1_ALIAS, Q2_P_ORPHAN_L2, Q2_P_LEAK,
		Q2_P_DATA_ON_METADATA, Q2_P_METADATA_OVERLAP,
		Q2_P_REFCOUNT_HIGH, Q2_P_REFCOUNT_ZERO, Q2_P_REFCOUNT_LOW,
		Q2_P_L2_UNALIGNED, Q2_P_L2_ENTRY_OUTSIDE, Q2_P_L2_RESERVED,
	};

	for (size_t i = 0; i < sizeof(of_l1) / sizeof(of_l1[0]); i++)
		if (q2_found_any(r, of_l1[i]))
			return true;
	return r->dangling.n != 0;
}

static enum q2_status fix(struct q2_repair *r, bool sure)
{
	struct q2_l1fix l = {.r = r, .sure = sure};
	void *block;
	enum q2_status st;

	if (!needed(r))
		return Q2_OK;
	st = q2_get_raw(&r->budget, r->c->img.geom.cluster_size, &block,
			r->err);
	if (st != Q2_OK)
		return st;
	l.table = block;
	q2_ledger_init(&l.ledger, r);
	st = list_missed(&l);
	for (size_t i = 0; i < r->c->trees.n && st == Q2_OK; i++) {
		l.tree = &r->c->trees.at[i];
		st = walk_tree(&l);
	}
	q2_ledger_free(&l.ledger);
	q2_runs_free(&l.missed, &r->budget);
	q2_runs_free(&l.kin, &r->budget);
	q2_runs_free(&l.orphan_data, &r->budget);
	q2_put(&r->budget, block, r->c->img.geom.cluster_size);
	return st;
}

enum q2_status q2_fix_l1_surely(struct q2_repair *r)
{
	return q2_all(r) && r->c->img.geom.cluster_size && !q2_misread(r) ?
		       fix(r, true) : Q2_OK;
}

/* What a slot gave up may be what another one misses. */
enum q2_status q2_fix_l1(struct q2_repair *r)
{
	enum q2_status st = Q2_OK;
	uint32_t before = r->order + 1;

	for (unsigned tries = 0;
	     tries < TRIES && st == Q2_OK && r->order != before; tries++) {
		before = r->order;
		st = q2_recheck(r);
		if (st == Q2_OK)
			st = fix(r, false);
	}
	return st;
}
