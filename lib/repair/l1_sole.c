/*
 * l1_sole.c - the one L2 table that is missed, and the one slot that can miss it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/l2shape.h"
#include "repair/l1fix.h"

#define PROBE 512u
#define LOOKS 16384u /* at other slots, all together: each takes time */

/* How a cluster reads as an L2 table. */
struct reading {
	uint64_t good; /* entries that the format and the refcounts allow */
	uint64_t refer; /* of them: that name clusters */
	uint64_t bad;
};

static void read_as_table(struct q2_l1fix *l, uint64_t off, struct reading *t)
{
	const struct q2_geom *g = &l->r->c->img.geom;

	*t = (struct reading){0};
	if (q2_pread_zero(l->r->io, l->table, (size_t)g->cluster_size, off,
			  NULL) != Q2_OK)
		return;
	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = l->table + ((size_t)i << g->entry_bits);
		uint64_t raw = q2_be64(p);
		uint64_t map = q2_l2_bitmap(g, p);
		struct q2_l2_entry e = q2_l2_decode(g, raw, map,
						    q2_guest(g, l->slot, i));
		uint64_t clu = e.host.start >> g->cluster_bits;

		t->bad += e.faults != 0;
		if ((raw | map) == 0 || e.faults ||
		    (e.refers && (q2_surplus(&l->ledger, clu) < 0 ||
				  (q2_suspected(&l->ledger, clu) &
				   (Q2_S_META | Q2_S_SHARED)))))
			continue;
		t->good++;
		t->refer += e.refers;
	}
}

void q2_l1_tally(struct q2_l1fix *l, uint64_t *good, uint64_t *bad)
{
	struct reading t;

	read_as_table(l, q2_offset(&l->r->c->img.geom, l->e.table), &t);
	*good = t.good;
	*bad = t.bad;
}

/* How many L1 entries name the cluster. */
static uint64_t times_named(const struct q2_checker *c, uint64_t clu)
{
	uint64_t n = 0;

	for (size_t i = 0; i < c->refs.tables.n; i++)
		if (c->refs.tables.at[i].clu == clu)
			n += c->refs.tables.at[i].weight;
	return n;
}

/* Whether an L2 table names the cluster as a guest's data. */
static bool is_data_too(const struct q2_l1fix *l, uint64_t clu)
{
	const struct q2_checker *c = l->r->c;

	return (q2_suspected(&l->ledger, clu) & Q2_S_META) &&
	       q2_refmap_get(&c->map, clu).count > times_named(c, clu);
}

bool q2_l1_is_anothers(struct q2_l1fix *l, uint32_t slot)
{
	const struct q2_checker *c = l->r->c;
	struct q2_l1_entry e = q2_l1_decode(&c->img.geom,
					    q2_l1fix_raw(l, slot));
	struct reading t;

	if (!e.used)
		return false;
	for (size_t i = 0; i < c->metas.n; i++)
		if (e.table.n - c->metas.at[i].first < c->metas.at[i].n)
			return true;
	if (is_data_too(l, e.table.n)) {
		read_as_table(l, q2_offset(&c->img.geom, e.table), &t);
		return t.refer == 0 || (t.bad >= 4 && t.bad > t.good);
	}
	return q2_surplus(&l->ledger, e.table.n) < 0 &&
	       times_named(c, e.table.n) > 1;
}

/* Whether most of what the table names is missed, or is named by the one that the
 * slot has now, in the same entries: a copy that was written to since. */
static bool explains(struct q2_l1fix *l, uint64_t off)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t now = q2_offset(g, l->e.table), missed = 0, other = 0;
	uint8_t a[PROBE], b[PROBE];

	for (uint64_t at = 0; at < g->cluster_size; at += PROBE) {
		if (q2_pread_zero(l->r->io, a, PROBE, off + at, NULL) != Q2_OK ||
		    q2_pread_zero(l->r->io, b, PROBE, now + at, NULL) != Q2_OK)
			return false;
		for (unsigned i = 0; i < PROBE; i += 1u << g->entry_bits) {
			uint64_t raw = q2_be64(a + i);
			struct q2_l2_entry e = q2_l2_decode(g, raw, 0, 0);

			if (!e.refers)
				continue;
			if (q2_surplus(&l->ledger, e.host.start >>
						   g->cluster_bits) > 0)
				missed++;
			else if ((raw ^ q2_be64(b + i)) & ~Q2_COPIED)
				other++;
		}
	}
	return missed > other;
}

/* Whether a leaked L2 table lies there that was the active disk's: a snapshot's has
 * no COPIED flags. */
static bool is_active_orphan(struct q2_l1fix *l, uint64_t clu)
{
	const struct q2_checker *c = l->r->c;
	const struct q2_geom *g = &c->img.geom;
	struct q2_l2_shape shape;
	uint64_t off = clu << g->cluster_bits;

	return q2_pread_zero(l->r->io, l->table, PROBE, off, NULL) == Q2_OK &&
	       q2_l2_shaped(c, l->table, PROBE >> g->entry_bits, &shape) &&
	       explains(l, off) &&
	       q2_pread_zero(l->r->io, l->table, (size_t)g->cluster_size, off,
			     NULL) == Q2_OK &&
	       q2_l2_shaped(c, l->table, 1u << g->l2_bits, &shape) &&
	       shape.entries && (c->trees.n == 1 || shape.marked) &&
	       ((uint64_t)l->slot << g->l2_bits) + shape.last <
		       g->disk_clusters &&
	       /* An L1 table is shaped alike, but names L2 tables. */
	       !(q2_pread_zero(l->r->io, l->table, PROBE, shape.first, NULL) ==
			 Q2_OK &&
		 q2_l2_shaped(c, l->table, PROBE >> g->entry_bits, &shape) &&
		 q2_count_missed(&l->ledger, l->table,
				 PROBE >> g->entry_bits));
}

/* The clusters that the table names as data; *missed: how many of its entries name
 * what is counted more often than it is named. */
static void list_data(struct q2_l1fix *l, uint64_t table, struct q2_runs *data,
		      uint64_t *missed)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t off = table << g->cluster_bits;

	*missed = 0;
	data->n = 0;
	if (q2_pread_zero(l->r->io, l->table, (size_t)g->cluster_size, off,
			  NULL) != Q2_OK)
		return;
	*missed = q2_count_missed(&l->ledger, l->table, 1u << g->l2_bits);
	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = l->table + ((size_t)i << g->entry_bits);
		struct q2_l2_entry e = q2_l2_decode(g, q2_be64(p), 0, 0);
		struct q2_run run = {e.host.start >> g->cluster_bits, 1};

		/* Without memory there is less evidence. */
		if (e.refers &&
		    q2_runs_push(data, &l->r->budget, run, NULL) != Q2_OK)
			break;
	}
	q2_runs_tidy(data);
}

static bool names(struct q2_l1fix *l, uint64_t table, uint64_t clu)
{
	struct q2_runs data = {0};
	uint64_t missed;
	bool found;

	list_data(l, table, &data, &missed);
	found = q2_runs_have(&data, clu);
	q2_runs_free(&data, &l->r->budget);
	return found;
}

/* Whether another slot names what is not its own; so, too, if that takes too long to
 * find out. */
static bool is_other_wrong(struct q2_l1fix *l, uint32_t slot)
{
	l->doubts |= ++l->looks > LOOKS;
	return l->doubts || q2_l1_is_anothers(l, slot);
}

/* Whether orphans can be told from others, and may be given back. */
static bool may_be_sole(const struct q2_l1fix *l)
{
	/* That the other's data is named twice makes many counts look wrong. */
	return !l->doubts && l->tree->id == Q2_TREE_ACTIVE && q2_all(l->r) &&
	       !l->r->c->img.geom.data_file;
}

/* Whether another tree has the same table in this slot: if two slots have it, then it
 * is this one's. */
static bool is_shared_here(const struct q2_l1fix *l, uint32_t slot)
{
	const struct q2_checker *c = l->r->c;
	uint64_t mine = q2_l1fix_raw(l, slot) & Q2_ENTRY_OFFSET;

	for (size_t i = 0; i < c->trees.n; i++) {
		const struct q2_tree *t = &c->trees.at[i];
		uint8_t raw[8];

		if (t->id != l->tree->id && slot < t->l1_entries &&
		    q2_pread_zero(l->r->io, raw, 8,
				  t->l1_offset + UINT64_C(8) * slot,
				  NULL) == Q2_OK &&
		    (q2_be64(raw) & Q2_ENTRY_OFFSET) == mine)
			return true;
	}
	return false;
}

uint64_t q2_l1_sole_table(struct q2_l1fix *l)
{
	const struct q2_leaks *leaks = &l->r->c->leaks;
	uint64_t found = 0;
	uint32_t doubts = 1;
	bool foreign;

	if (!may_be_sole(l))
		return 0;
	foreign = q2_l1_is_anothers(l, l->slot);
	if (!foreign && !is_data_too(l, l->e.table.n))
		return 0;
	for (uint32_t i = 0; i < l->tree->l1_entries && doubts < 2; i++)
		doubts += i != l->slot && is_other_wrong(l, i) &&
			  !is_shared_here(l, i);
	l->doubts |= foreign && doubts > 1 && !is_shared_here(l, l->slot);
	for (size_t i = 0; i < leaks->n && doubts == 1; i++)
		for (uint64_t k = 0; k < leaks->at[i].n; k++) {
			if (!is_active_orphan(l, leaks->at[i].first + k))
				continue;
			if (found)
				return 0;
			found = leaks->at[i].first + k;
		}
	if (found && !foreign && !names(l, found, l->e.table.n))
		return 0;
	return found << l->r->c->img.geom.cluster_bits;
}

/* Looks for the only leaked L2 table, once. */
static void learn_orphan(struct q2_l1fix *l)
{
	const struct q2_leaks *leaks = &l->r->c->leaks;
	struct q2_l2_shape shape;
	uint64_t found = 0;

	if (l->orphan_known)
		return;
	l->orphan_known = true;
	if (l->r->counts[Q2_P_ORPHAN_L2] != 1)
		return;
	for (size_t i = 0; i < leaks->n; i++)
		for (uint64_t k = 0; k < leaks->at[i].n; k++) {
			if (!q2_l2_orphan(l->r->c, l->table,
					  leaks->at[i].first + k, &shape))
				continue;
			if (found)
				return;
			found = leaks->at[i].first + k;
			l->orphan_last = shape.last;
		}
	l->orphan = found;
	if (found)
		list_data(l, found, &l->orphan_data, &l->orphan_missed);
}

/* Evidence of its own that this slot's table is none: what is missed most names it
 * as a guest's data, however it may read. */
uint64_t q2_l1_sole_orphan(struct q2_l1fix *l)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t good, bad;

	if (!may_be_sole(l))
		return 0;
	learn_orphan(l);
	if (l->orphan == 0 ||
	    ((uint64_t)l->slot << g->l2_bits) + l->orphan_last >=
		    g->disk_clusters ||
	    !q2_runs_have(&l->orphan_data, l->e.table.n))
		return 0;
	for (uint32_t i = 0; i < l->tree->l1_entries; i++) {
		struct q2_l1_entry e = q2_l1_decode(g, q2_l1fix_raw(l, i));

		if (i != l->slot && e.used &&
		    (is_other_wrong(l, i) ||
		     q2_runs_have(&l->orphan_data, e.table.n)))
			return 0;
	}
	q2_l1_tally(l, &good, &bad);
	return l->orphan_missed > good ? l->orphan << g->cluster_bits : 0;
}
