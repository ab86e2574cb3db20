/*
 * l1_sole.c - the one L2 table that is missed, and the one slot that can miss it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/l2shape.h"
#include "repair/l1fix.h"

#define PROBE 512u

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
		uint64_t map = g->ext_l2 ? q2_be64(p + 8) : 0;
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

bool q2_l1_is_anothers(struct q2_l1fix *l, uint64_t raw)
{
	const struct q2_checker *c = l->r->c;
	struct q2_l1_entry e = q2_l1_decode(&c->img.geom, raw);
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

/* Whether the table names the cluster as data; adds to *missed how many of its
 * entries name what is counted more often than it is named. */
static bool names(struct q2_l1fix *l, uint64_t table, uint64_t clu,
		  uint64_t *missed)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t off = table << g->cluster_bits;
	uint8_t bytes[PROBE];
	bool found = false;

	for (uint64_t at = 0; at < g->cluster_size; at += PROBE) {
		if (q2_pread_zero(l->r->io, bytes, PROBE, off + at, NULL) !=
		    Q2_OK)
			return false;
		*missed += q2_count_missed(&l->ledger, bytes,
					   PROBE >> g->entry_bits);
		for (unsigned i = 0; i < PROBE; i += 1u << g->entry_bits) {
			struct q2_l2_entry e =
				q2_l2_decode(g, q2_be64(bytes + i), 0, 0);

			found |= e.refers &&
				 e.host.start >> g->cluster_bits == clu;
		}
	}
	return found;
}

/* Whether orphans can be told from others, and may be given back. */
static bool may_be_sole(const struct q2_l1fix *l)
{
	/* That the other's data is named twice makes many counts look wrong. */
	return !l->doubts && l->tree->id == Q2_TREE_ACTIVE && q2_all(l->r) &&
	       !l->r->c->img.geom.data_file;
}

uint64_t q2_l1_sole_table(struct q2_l1fix *l)
{
	const struct q2_leaks *leaks = &l->r->c->leaks;
	uint64_t found = 0, missed = 0;
	uint32_t doubts = 1;
	bool foreign;

	if (!may_be_sole(l))
		return 0;
	foreign = q2_l1_is_anothers(l, l->raw);
	if (!foreign && !is_data_too(l, l->e.table.n))
		return 0;
	for (uint32_t i = 0; i < l->tree->l1_entries && doubts < 2; i++)
		doubts += i != l->slot &&
			  q2_l1_is_anothers(l, q2_l1fix_raw(l, i));
	l->doubts = foreign && doubts > 1;
	for (size_t i = 0; i < leaks->n && doubts == 1; i++)
		for (uint64_t k = 0; k < leaks->at[i].n; k++) {
			if (!is_active_orphan(l, leaks->at[i].first + k))
				continue;
			if (found)
				return 0;
			found = leaks->at[i].first + k;
		}
	if (found && !foreign && !names(l, found, l->e.table.n, &missed))
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
}

/* Evidence of its own that this slot's table is none: what is missed most names it
 * as a guest's data, however it may read. */
uint64_t q2_l1_sole_orphan(struct q2_l1fix *l)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint64_t missed = 0, other = 0, good, bad;

	if (!may_be_sole(l))
		return 0;
	learn_orphan(l);
	if (l->orphan == 0 ||
	    ((uint64_t)l->slot << g->l2_bits) + l->orphan_last >=
		    g->disk_clusters ||
	    !names(l, l->orphan, l->e.table.n, &missed))
		return 0;
	for (uint32_t i = 0; i < l->tree->l1_entries; i++) {
		uint64_t raw = q2_l1fix_raw(l, i);
		struct q2_l1_entry e = q2_l1_decode(g, raw);

		if (i != l->slot && e.used &&
		    (q2_l1_is_anothers(l, raw) ||
		     names(l, l->orphan, e.table.n, &other)))
			return 0;
	}
	q2_l1_tally(l, &good, &bad);
	return missed > good ? l->orphan << g->cluster_bits : 0;
}
