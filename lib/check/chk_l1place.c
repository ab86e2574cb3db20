/*
 * chk_l1place.c - does the header lead to the L1 table at all?
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    l1_table_offset, where hardly anything that it leads to is an L2 table,
 *           against the one leaked L1 table all of which is.
 * Gathers:  nothing.
 * Disables: that anything is believed to be unused: the check becomes partial.
 */
#include "base/endian.h"
#include "check/l1place.h"
#include "check/l2shape.h"

#define SAMPLES 64u
#define PROBE 512u
#define NONSENSE 4u /* entries */
#define PROBES_MAX 16384u /* leaked clusters looked at */

struct place {
	struct q2_checker *c;
	uint8_t *table; /* a cluster */
	uint64_t off;	/* of the L1 table, by what leads to it */
	uint64_t entries;
	bool active;
	uint64_t left;
};

/* How entries read as those of an L1 table. */
struct tally {
	uint64_t used;
	uint64_t bad;
	uint64_t full;	 /* name an L2 table that holds entries */
	uint64_t copied; /* have COPIED set */
};

static bool read_at(struct place *p, uint64_t off, uint8_t *to, size_t n)
{
	return q2_pread_zero(p->c->img.io, to, n, off, NULL) == Q2_OK;
}

/* Entries as the format has them; but those that would do in a longer file tell
 * nothing. */
static void tally_cut(struct place *p, uint64_t *good, uint64_t *bad)
{
	const struct q2_geom *g = &p->c->img.geom;

	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *at = p->table + ((size_t)i << g->entry_bits);
		uint64_t raw = q2_be64(at);
		struct q2_l2_entry e;

		if (raw == 0)
			continue;
		e = q2_l2_decode(g, raw, q2_l2_bitmap(g, at), 0);
		if (e.faults == Q2_EF_OUTSIDE && e.copied)
			continue;
		*good += e.faults == 0;
		*bad += e.faults != 0;
	}
}

/* What an entry names: 0 no L2 table, 1 an empty one, 2 one that holds entries.  What
 * is in use is one as well if only a few of its entries are damaged, or lead past the
 * end of a file that was cut. */
static unsigned judge_table(struct place *p, uint64_t off, bool strict)
{
	const struct q2_geom *g = &p->c->img.geom;
	struct q2_l2_shape shape;
	uint64_t good = 0, bad = 0;

	if (!read_at(p, off, p->table, (size_t)g->cluster_size))
		return 0;
	if (q2_l2_shaped(p->c, p->table, 1u << g->l2_bits, &shape))
		return shape.entries ? 2 : 1;
	if (!strict)
		tally_cut(p, &good, &bad);
	return good > bad ? 2 : 0;
}

/* Whether the entry would do in a longer file: if that was cut, its table went with
 * the end, and the L1 table is where it should be. */
static bool leads_past_end(const struct place *p, const struct q2_l1_entry *e)
{
	const struct q2_geom *g = &p->c->img.geom;

	return e->faults == Q2_EF_OUTSIDE && e->copied &&
	       q2_offset(g, e->table) < q2_add_sat(g->file_size, g->file_size);
}

/* Adds some entries that follow one another. */
static void add(struct place *p, struct tally *t, const uint8_t *bytes,
		size_t n, bool strict)
{
	const struct q2_geom *g = &p->c->img.geom;

	for (size_t i = 0; i < n; i += 8) {
		uint64_t raw = q2_be64(bytes + i);
		struct q2_l1_entry e = q2_l1_decode(g, raw);
		unsigned is;

		if (raw == 0)
			continue;
		t->copied += e.copied;
		if ((t->used++ >= SAMPLES && e.faults == 0) ||
		    (!strict && leads_past_end(p, &e)))
			continue;
		is = e.faults ? 0 : judge_table(p, q2_offset(g, e.table),
						strict);
		t->bad += is == 0;
		t->full += is == 2;
	}
}

/* The entries of a table that starts there; false if it cannot be read. */
static bool tally(struct place *p, uint64_t off, bool strict, struct tally *t)
{
	uint8_t bytes[PROBE];

	*t = (struct tally){0};
	for (uint64_t at = 0; at < 8 * p->entries; at += PROBE) {
		size_t n = (size_t)q2_min(PROBE, 8 * p->entries - at);

		if (!read_at(p, off + at, bytes, n))
			return false;
		add(p, t, bytes, n, strict);
		if (strict && t->bad)
			return true;
	}
	return true;
}

/* Whether the cluster is free by its refcount, though the header names it. */
static bool is_free(const struct q2_checker *c, uint64_t clu)
{
	for (size_t i = 0; i < c->suspects.n; i++)
		if (c->suspects.at[i].clu == clu)
			return (c->suspects.at[i].why & Q2_S_REFCOUNT) &&
			       c->suspects.at[i].found == 0;
	return false;
}

/* Other structures name tables, too, among what is none. */
static bool is_mostly_nonsense(const struct tally *t)
{
	return t->bad >= NONSENSE && t->bad > t->full;
}

/* Whether what the header leads to is no L1 table.  An empty one may be right. */
static bool is_astray(struct place *p)
{
	const struct q2_geom *g = &p->c->img.geom;
	struct tally t;

	if (p->active && g->l1_entries == 0)
		return true;
	if (!tally(p, p->off, false, &t))
		return false;
	if (t.full)
		return is_mostly_nonsense(&t);
	return t.bad || is_free(p->c, p->off >> g->cluster_bits);
}

/* The one table among the leaks; those of lost snapshots have no COPIED flags.
 * 0: there is none, or more than one. */
static uint64_t find(struct place *p)
{
	const struct q2_geom *g = &p->c->img.geom;
	const struct q2_leaks *leaks = &p->c->leaks;
	uint64_t span = q2_div_up(8 * p->entries, g->cluster_size);
	uint64_t found = 0;

	for (size_t i = 0; i < leaks->n; i++)
		for (uint64_t k = 0; k + span <= leaks->at[i].n; k++) {
			uint64_t off = (leaks->at[i].first + k)
				       << g->cluster_bits;
			struct tally t;

			if (p->left-- == 0)
				return 0;
			if (!tally(p, off, true, &t) || t.bad || !t.full ||
			    (p->active && !t.copied))
				continue;
			if (found)
				return 0;
			found = off;
		}
	return found;
}

/* Room for the tables that are looked at; to be given back. */
static enum q2_status get_table(struct place *p)
{
	void *block = NULL;
	enum q2_status st = q2_get(&p->c->budget, p->c->img.geom.cluster_size,
				   &block, p->c->err);

	p->table = block;
	return st;
}

static void put_table(struct place *p)
{
	q2_put(&p->c->budget, p->table, p->c->img.geom.cluster_size);
}

static enum q2_status look(struct place *p, uint64_t *found)
{
	struct q2_checker *c = p->c;
	enum q2_status st;

	*found = 0;
	if (c->leaks.n == 0 || p->entries == 0 || c->img.geom.data_file)
		return Q2_OK;
	p->left = c->opts->flags & Q2_CHECK_FULL ? UINT64_MAX : PROBES_MAX;
	st = get_table(p);
	if (st != Q2_OK)
		return st;
	if (is_astray(p))
		*found = find(p);
	put_table(p);
	return Q2_OK;
}

enum q2_status q2_l1_in_place(struct q2_checker *c, uint32_t id, bool *is)
{
	const struct q2_geom *g = &c->img.geom;
	struct place p = {.c = c, .active = id == Q2_TREE_ACTIVE};
	struct tally t;
	enum q2_status st;

	*is = false;
	for (size_t i = 0; i < c->trees.n; i++) {
		const struct q2_tree *tree = &c->trees.at[i];

		if (tree->id != id)
			continue;
		p.off = tree->l1_offset;
		p.entries = q2_min(tree->l1_entries,
				   q2_l1_needed(tree->disk_size, g->cluster_bits,
						1u << g->entry_bits));
	}
	if (p.entries == 0)
		return Q2_OK;
	st = get_table(&p);
	if (st != Q2_OK)
		return st;
	*is = tally(&p, p.off, false, &t) && t.full && !is_mostly_nonsense(&t);
	put_table(&p);
	return Q2_OK;
}

enum q2_status q2_l1_lost(struct q2_checker *c, const struct q2_tree *tree,
			  uint64_t *found)
{
	struct place p = {.c = c,
			  .off = tree->l1_offset,
			  .entries = tree->l1_entries};

	return look(&p, found);
}

enum q2_status q2_chk_l1_place(struct q2_checker *c)
{
	const struct q2_geom *g = &c->img.geom;
	struct place p = {.c = c, .off = g->l1_offset, .active = true};
	struct q2_finding f = {.fields = Q2_F_FOUND | Q2_F_EXPECTED,
			       .found = c->header.l1_offset};
	enum q2_status st;

	p.entries = g->l1_entries ? q2_min(g->l1_entries, g->l1_needed) :
				    g->l1_needed;
	st = look(&p, &f.expected);
	if (st == Q2_OK && f.expected)
		q2_found(c, Q2_P_ROOT_L1_OFFSET, &f);
	return st;
}
