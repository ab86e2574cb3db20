/*
 * fix_lost.c - snapshots that no table has any more.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    a snapshot table that the header does not name any more is named
 *           again; an L1 table that leaked, and whose L2 tables and data are all
 *           counted once more than they are named, is a snapshot's again.
 * Needs:    refcounts; an active L1 table that is found, as it would look the same.
 */
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "check/l2shape.h"
#include "repair/ledger.h"
#include "repair/snapedit.h"

#define PROBE 512u
#define RECORD 2048u
#define FEW 4u
#define MANY 64u /* snapshots more than are known, that a count is believed */

struct seek {
	struct q2_repair *r;
	struct q2_ledger ledger; /* given: to what was found already */
	uint8_t *l1;		 /* a cluster each */
	uint8_t *table;
	uint64_t span; /* clusters of an L1 table */
	struct q2_snapedit t;
	bool loaded;
	uint64_t found;
};

static bool read_at(struct seek *s, uint64_t off, uint8_t *to, size_t n)
{
	return q2_pread_zero(s->r->io, to, n, off, NULL) == Q2_OK;
}

/* Counts of lost snapshots' clusters are too high, and no others are wrong. */
static bool believable(const struct q2_checker *c)
{
	uint64_t no = 0, yes = c->leaks.n;

	for (size_t i = 0; i < c->suspects.n; i++) {
		const struct q2_suspect *x = &c->suspects.at[i];
		uint64_t refs = q2_refmap_get(&c->map, x->clu).count;

		if (!(x->why & Q2_S_REFCOUNT) || x->found == Q2_NO_REFCOUNT)
			continue;
		if (x->found < refs || x->found > refs + c->trees.n + MANY)
			no++;
		else
			yes++;
	}
	return no <= FEW || no < yes / 8;
}

/* An entry that may stand in a lost L1 table; *used is false if it is empty. */
static bool entry_fits(struct seek *s, uint64_t raw, bool *used)
{
	struct q2_l1_entry e = q2_l1_decode(&s->r->c->img.geom, raw);

	*used = e.used;
	return e.faults == 0 &&
	       (!e.used || q2_surplus(&s->ledger, e.table.n) > 0);
}

/* Whether the cluster is an L2 table of which most is missed; *full: and something
 * is in it. */
static bool table_fits(struct seek *s, uint64_t clu, bool *full)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	struct q2_l2_shape shape;

	if (!read_at(s, clu << g->cluster_bits, s->table,
		     (size_t)g->cluster_size) ||
	    !q2_l2_shaped(s->r->c, s->table, 1u << g->l2_bits, &shape))
		return false;
	*full |= shape.entries != 0;
	return 4 * q2_count_missed(&s->ledger, s->table, 1u << g->l2_bits) >=
	       3 * shape.entries;
}

/* Number of entries of the L1 table that starts here; 0 if it is none.  What stands
 * behind the disk's is VM state, or what was there before. */
static uint64_t measure(struct seek *s, uint64_t first)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	uint64_t per = g->cluster_size / 8, n = 0, need = g->l1_needed;
	bool full = false;

	for (uint64_t i = 0; i < s->span * per; i++) {
		bool used;

		if (i % per == 0 &&
		    (q2_refmap_get(&s->r->c->map, first + i / per).count ||
		     q2_surplus(&s->ledger, first + i / per) < 1 ||
		     !read_at(s, (first + i / per) << g->cluster_bits, s->l1,
			      (size_t)g->cluster_size)))
			return 0;
		if (!entry_fits(s, q2_be64(s->l1 + 8 * (i % per)), &used) ||
		    (used && !table_fits(s, (q2_be64(s->l1 + 8 * (i % per)) &
					     Q2_ENTRY_OFFSET) >>
						    g->cluster_bits, &full))) {
			if (i < need)
				return 0;
			break;
		}
		n = used ? i + 1 : n;
	}
	return full ? q2_max(n, need) : 0;
}

static enum q2_status give(struct seek *s, struct q2_range host)
{
	return q2_ledger_move(&s->ledger, (struct q2_range){0, 0}, host, 1,
			      s->r->err);
}

/* What a table names is its own from now on. */
static enum q2_status claim_table(struct seek *s, uint64_t off)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	enum q2_status st = give(s, (struct q2_range){off, g->cluster_size});

	if (!read_at(s, off, s->table, (size_t)g->cluster_size))
		return st;
	for (uint32_t i = 0; i < 1u << g->l2_bits && st == Q2_OK; i++) {
		const uint8_t *p = s->table + ((size_t)i << g->entry_bits);
		struct q2_l2_entry e = q2_l2_decode(
			g, q2_be64(p), q2_l2_bitmap(g, p), 0);

		if (e.refers)
			st = give(s, e.host);
	}
	return st;
}

static enum q2_status claim(struct seek *s, uint64_t off, uint64_t n)
{
	enum q2_status st = give(s, (struct q2_range){off, 8 * n});

	for (uint64_t i = 0; i < n && st == Q2_OK; i++) {
		uint8_t raw[8];
		uint64_t table;

		if (!read_at(s, off + 8 * i, raw, sizeof(raw)))
			continue;
		table = q2_be64(raw) & Q2_ENTRY_OFFSET;
		if (table)
			st = claim_table(s, table);
	}
	return st;
}

static enum q2_status add(struct seek *s, uint64_t off, uint64_t n)
{
	struct q2_snapshot snap = {
		.l1_offset = off,
		.l1_size = (uint32_t)n,
		.disk_size = s->r->c->img.geom.disk_size,
	};
	char name[32];
	enum q2_status st = Q2_OK;

	if (!s->loaded)
		st = q2_snapedit_load(s->r, &s->t);
	s->loaded = true;
	do
		snprintf(name, sizeof(name), "recovered-%llu",
			 (unsigned long long)++s->found);
	while (q2_snapedit_has(&s->t, name));
	return st == Q2_OK ? q2_snapedit_add(&s->t, &snap, name) : st;
}

/* Whether nobody else has the range, and all but what is empty of it is counted. */
static bool is_lost(struct seek *s, uint64_t off, uint64_t bytes)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	uint64_t first = off >> g->cluster_bits;
	uint64_t n = q2_div_up(bytes, g->cluster_size);
	bool any = false;

	for (uint64_t clu = first; clu < first + n; clu++) {
		bool counted = q2_surplus(&s->ledger, clu) > 0;

		any |= counted;
		if (q2_refmap_get(&s->r->c->map, clu).count ||
		    !read_at(s, clu << g->cluster_bits, s->l1,
			     (size_t)g->cluster_size) ||
		    (!counted &&
		     (s->l1[0] || memcmp(s->l1, s->l1 + 1,
					 (size_t)g->cluster_size - 1))))
			return false;
	}
	return any;
}

/* How many records stand here, each with an L1 table that is lost. */
static uint32_t count_records(struct seek *s, uint64_t off)
{
	struct q2_geom g = s->r->c->img.geom;
	uint32_t n = 0;

	g.version = 2; /* takes the records of both */
	for (; n < Q2_SNAPSHOTS_MAX; n++) {
		uint8_t bytes[RECORD];
		struct q2_snapshot snap;

		if (!read_at(s, off, bytes, sizeof(bytes)))
			break;
		q2_snapshot_parse(bytes, sizeof(bytes), &snap);
		if (!q2_snapshot_plausible(&g, bytes, sizeof(bytes), &snap) ||
		    !is_lost(s, snap.l1_offset,
			     UINT64_C(8) * q2_max(snap.l1_size, 1)))
			break;
		off += snap.len;
	}
	return n;
}

static enum q2_status name_table(struct seek *s, uint64_t off, uint32_t n,
				 uint32_t lost)
{
	uint8_t bytes[12];
	uint32_t action;
	enum q2_status st = q2_act(s->r, Q2_P_LEAK, Q2_EFFECT_GAIN, NULL,
				   &action, "the header names the snapshot "
				   "table at %#llx again as a whole: %lu lost snapshots",
				   (unsigned long long)off,
				   (unsigned long)lost);

	q2_put_be32(bytes, n);
	q2_put_be64(bytes + 4, off);
	return st == Q2_OK ? q2_change(s->r, Q2_C_PLACE, action, 60, bytes,
				       sizeof(bytes)) : st;
}

/* Records behind the last one that is counted: whether their deletion was cut short or
 * the count is wrong, they lead to what would be lost. */
static enum q2_status count_again(struct seek *s)
{
	const struct q2_checker *c = s->r->c;
	uint32_t n = count_records(s, c->uncounted.host);

	return n && c->header.nb_snapshots <= Q2_SNAPSHOTS_MAX - n ?
		       name_table(s, c->img.geom.snaptable_offset,
				  c->header.nb_snapshots + n, n) : Q2_OK;
}

typedef enum q2_status see_fn(struct seek *s, uint64_t clu, bool *stop);

static enum q2_status each_leak(struct seek *s, see_fn *see)
{
	const struct q2_leaks *leaks = &s->r->c->leaks;
	enum q2_status st = Q2_OK;
	bool stop = false;

	for (size_t i = 0; i < leaks->n && st == Q2_OK && !stop; i++) {
		for (uint64_t k = 0;
		     k < leaks->at[i].n && st == Q2_OK && !stop; k++)
			st = see(s, leaks->at[i].first + k, &stop);
		if (st == Q2_OK && i % 256 == 0)
			st = q2_tick(s->r->c, "lost snapshots", i, leaks->n);
	}
	return st;
}

static enum q2_status see_records(struct seek *s, uint64_t clu, bool *stop)
{
	uint64_t off = clu << s->r->c->img.geom.cluster_bits;
	uint32_t n = count_records(s, off);

	*stop = n != 0;
	return n ? name_table(s, off, n, n) : Q2_OK;
}

static enum q2_status see_l1(struct seek *s, uint64_t clu, bool *stop)
{
	uint64_t off = clu << s->r->c->img.geom.cluster_bits, n;
	uint8_t probe[PROBE];
	bool used, any = false;
	enum q2_status st;

	(void)stop;
	if (!read_at(s, off, probe, sizeof(probe)))
		return Q2_OK;
	for (unsigned i = 0; i < PROBE / 8 && i < s->r->c->img.geom.l1_needed;
	     i++) {
		if (!entry_fits(s, q2_be64(probe + (size_t)8 * i), &used))
			return Q2_OK;
		any |= used;
	}
	/* Of a table of several clusters the first one may be empty. */
	if (!any && s->span == 1 && s->r->c->img.geom.l1_needed <= PROBE / 8)
		return Q2_OK;
	n = measure(s, clu);
	if (n == 0)
		return Q2_OK;
	st = claim(s, off, n);
	return st == Q2_OK ? add(s, off, n) : st;
}

static enum q2_status store(struct seek *s)
{
	uint32_t action;
	enum q2_status st = q2_act(s->r, Q2_P_LEAK, Q2_EFFECT_GAIN, NULL,
				   &action, "%llu lost snapshots are back, by "
				   "their L1 tables; their names are lost: "
				   "recovered-<n>",
				   (unsigned long long)s->found);

	return st == Q2_OK ? q2_snapedit_store(&s->t, action) : st;
}

static enum q2_status search(struct seek *s)
{
	struct q2_repair *r = s->r;
	const struct q2_geom *g = &r->c->img.geom;
	enum q2_status st = Q2_OK;

	s->span = q2_div_up(UINT64_C(8) * q2_max(g->l1_needed, 1),
			    g->cluster_size);
	q2_ledger_init(&s->ledger, r);
	if (r->c->uncounted.host)
		st = count_again(s);
	if (st == Q2_OK && !r->changed && r->c->snap_places.n == 0)
		st = each_leak(s, see_records);
	if (st == Q2_OK && !r->changed)
		st = each_leak(s, see_l1);
	if (st == Q2_OK && s->found)
		st = store(s);
	if (s->loaded)
		q2_snapedit_free(&s->t);
	q2_ledger_free(&s->ledger);
	return st;
}

enum q2_status q2_fix_lost(struct q2_repair *r)
{
	struct seek s = {.r = r};
	uint64_t size = 2 * r->c->img.geom.cluster_size;
	void *block;
	enum q2_status st;

	/* What is to be freed as told needs no search. */
	if (!q2_all(r) || r->c->leaks.n == 0 || r->c->img.geom.data_file ||
	    (r->opts->flags & Q2_PLAN_FREE_ORPHANS) || !believable(r->c) ||
	    !q2_want(r, Q2_P_LEAK))
		return Q2_OK;
	st = q2_get(&r->budget, size, &block, r->err);
	if (st != Q2_OK)
		return st;
	s.l1 = block;
	s.table = s.l1 + r->c->img.geom.cluster_size;
	st = search(&s);
	q2_put(&r->budget, block, size);
	return st == Q2_OK ? q2_recheck(r) : st;
}
