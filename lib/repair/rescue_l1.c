/*
 * rescue_l1.c - an L1 table that names nothing any more, or too little.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    slots whose L2 tables are in the file, by all that tells where they
 *           belong: snapshots, the guest's own structures, the order in the file.
 * Needs:    a geometry.  Tables without evidence are left to fix_orphans.c.
 */
#include <string.h>

#include "base/endian.h"
#include "repair/orphans.h"
#include "repair/strays.h"

bool q2_stray_fits(const struct q2_strays *s, const struct q2_stray *t,
		   uint64_t slot)
{
	const struct q2_geom *g = &s->r->c->img.geom;

	return slot < s->slots &&
	       (slot << g->l2_bits) + t->last < g->disk_clusters;
}

bool q2_stray_place(struct q2_strays *s, struct q2_stray *t, uint64_t slot,
		    enum q2_sure sure, const char *why)
{
	if (!q2_stray_fits(s, t, slot) || s->l1[slot] || t->slot != Q2_NO_SLOT)
		return false;
	t->slot = slot;
	t->sure = sure;
	t->why = why;
	s->l1[slot] = t->clu << s->r->c->img.geom.cluster_bits;
	return true;
}

/* Whether any entry of the table in s->table names a cluster, and is without fault:
 * what is no table has hardly one. */
static bool has_good_entry(const struct q2_strays *s)
{
	const struct q2_geom *g = &s->r->c->img.geom;

	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = s->table + ((size_t)i << g->entry_bits);
		struct q2_l2_entry e = q2_l2_decode(
			g, q2_be64(p), q2_l2_bitmap(g, p), 0);

		if (e.refers && !e.faults)
			return true;
	}
	return false;
}

/* Whether the entry names an L2 table, as far as the check knows.  One that is
 * damaged in part is one: to mend it is for other steps. */
static bool is_sound(struct q2_strays *s, uint64_t raw)
{
	struct q2_checker *c = s->r->c;
	struct q2_l1_entry e = q2_l1_decode(&c->img.geom, raw);
	struct q2_l2_shape shape;

	return e.used && !e.faults &&
	       q2_pread_zero(s->r->io, s->table,
			     (size_t)c->img.geom.cluster_size,
			     q2_offset(&c->img.geom, e.table), NULL) == Q2_OK &&
	       (q2_l2_shaped(c, s->table, 1u << c->img.geom.l2_bits, &shape) ||
		has_good_entry(s));
}

/* What of the L1 table can be believed; *bad is how many entries cannot. */
static enum q2_status read_l1(struct q2_strays *s, uint64_t *good,
			      uint64_t *bad)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	void *block;
	enum q2_status st;

	*good = *bad = 0;
	s->slots = q2_min(g->l1_entries, g->l1_needed);
	s->room = 8 * s->slots;
	st = q2_get(&s->r->budget, s->room, &block, s->r->err);
	if (st != Q2_OK)
		return st;
	s->l1 = block;
	if (q2_pread_zero(s->r->io, block, (size_t)s->room, g->l1_offset,
			  NULL) != Q2_OK)
		memset(block, 0, (size_t)s->room);
	for (uint64_t i = 0; i < s->slots; i++) {
		uint64_t raw = q2_be64((uint8_t *)block + 8 * i);

		s->l1[i] = 0;
		if (raw == 0)
			continue;
		if (is_sound(s, raw)) {
			s->l1[i] = raw & Q2_ENTRY_OFFSET;
			++*good;
		} else {
			++*bad;
		}
	}
	return Q2_OK;
}

static const char *sure_text(enum q2_sure sure)
{
	return sure == Q2_CERTAIN ? "certain" :
	       sure == Q2_LIKELY  ? "likely" : "a guess";
}

static enum q2_status write_slot(struct q2_strays *s, const struct q2_stray *t)
{
	struct q2_repair *r = s->r;
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_TREE | Q2_F_L1 | Q2_F_GUEST |
			  Q2_F_LENGTH,
		.host = t->clu << g->cluster_bits,
		.tree = Q2_TREE_ACTIVE,
		.l1 = (uint32_t)t->slot,
		.guest = q2_guest(g, t->slot, 0),
		.length = g->cluster_size << g->l2_bits,
	};
	uint32_t action;
	enum q2_status st = q2_act(r, Q2_P_ORPHAN_L2,
				   t->sure == Q2_GUESSED ? Q2_EFFECT_SUSPECT :
							   Q2_EFFECT_GAIN,
				   &f, &action,
				   "L1[%llu] gets back the L2 table at %#llx "
				   "(%s): %s", (unsigned long long)t->slot,
				   (unsigned long long)f.host,
				   sure_text(t->sure), t->why);

	return st == Q2_OK ? q2_change_u64(r, Q2_C_ENTRY, action,
					   g->l1_offset + 8 * t->slot,
					   f.host) : st;
}

/* Entries that lead nowhere, where no table was found either. */
static enum q2_status clear_nonsense(struct q2_strays *s)
{
	struct q2_repair *r = s->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint32_t action = 0;
	bool told = false;
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < g->l1_entries && st == Q2_OK; i++) {
		uint8_t raw[8];

		if ((i < s->slots && s->l1[i]) ||
		    q2_pread_zero(r->io, raw, 8, g->l1_offset + 8 * i, NULL) !=
			    Q2_OK || q2_be64(raw) == 0)
			continue;
		if (!told)
			st = q2_act(r, Q2_P_L1_ENTRY_OUTSIDE,
				    Q2_EFFECT_SUSPECT, NULL, &action,
				    "entries of the L1 table that name no L2 "
				    "table are emptied");
		told = true;
		if (st == Q2_OK)
			st = q2_change_u64(r, Q2_C_ENTRY, action,
					   g->l1_offset + 8 * i, 0);
	}
	return st;
}

/* Without refcounts nothing tells whether the active disk shared a snapshot's
 * table, or had none. */
static enum q2_status share_last(struct q2_strays *s)
{
	const struct q2_l2ref_vec *refs = &s->r->c->refs.tables;
	uint32_t last = 0;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < s->r->c->trees.n; i++)
		if (s->r->c->trees.at[i].id != Q2_TREE_ACTIVE)
			last = (uint32_t)q2_max(last, s->r->c->trees.at[i].id);
	for (size_t i = 0; i < refs->n && st == Q2_OK; i++) {
		struct q2_stray t = {.clu = refs->at[i].clu,
				     .slot = Q2_NO_SLOT};

		if (refs->at[i].tree == last &&
		    q2_stray_place(s, &t, refs->at[i].slot, Q2_GUESSED,
				   "the last snapshot has it there"))
			st = write_slot(s, &t);
	}
	return st;
}

static enum q2_status place_all(struct q2_strays *s)
{
	enum q2_status st = q2_strays_by_content(s);
	bool more = true;

	while (more && st == Q2_OK) {
		st = q2_tick(s->r->c, "rescue", 0, 0);
		more = st == Q2_OK && q2_strays_by_extfs(s);
		if (!more && st == Q2_OK)
			more = q2_strays_by_order(s);
	}
	return st;
}

/* Where no refcount says that they are in use, tables without a slot would be
 * overwritten sooner or later. */
static enum q2_status keep_others(struct q2_strays *s)
{
	struct q2_repair *r = s->r;
	struct q2_orphans o = {0};
	const char *why; /* not: then they stay as free as they were */
	enum q2_status st = q2_recheck(r);

	for (size_t i = 0; i < s->t.n && st == Q2_OK; i++)
		if (s->t.at[i].slot == Q2_NO_SLOT)
			st = q2_orphan_vec_push(
				&o.tables, &r->budget,
				(struct q2_orphan){.clu = s->t.at[i].clu,
						   .last = s->t.at[i].last},
				r->err);
	if (st == Q2_OK && o.tables.n &&
	    !(r->opts->flags & Q2_PLAN_FREE_ORPHANS))
		st = q2_lost_and_found(r, &o, &why);
	q2_orphans_free(r, &o);
	return st;
}

static enum q2_status rescue(struct q2_strays *s, bool lost)
{
	enum q2_status st = q2_strays_find(s);

	s->guest = (struct q2_gdisk){.img = {.io = s->r->io,
					     .budget = &s->r->budget,
					     .geom = s->r->c->img.geom},
				     .l1 = s->l1,
				     .slots = s->slots};
	if (st == Q2_OK)
		st = place_all(s);
	q2_gdisk_free(&s->guest);
	for (size_t i = 0; i < s->t.n && st == Q2_OK; i++)
		if (!s->t.at[i].named && s->t.at[i].slot != Q2_NO_SLOT)
			st = write_slot(s, &s->t.at[i]);
	if (st == Q2_OK && lost && !s->counted)
		st = share_last(s);
	if (st == Q2_OK && lost)
		st = clear_nonsense(s);
	return st == Q2_OK && lost && !s->counted ? keep_others(s) : st;
}

/* Whether anything can be gained at all. */
static bool is_worth_it(const struct q2_strays *s, uint64_t good, uint64_t bad,
			bool early)
{
	const struct q2_checker *c = s->r->c;

	/* Where refcounts are those of the references nothing is lost. */
	if (c->result->leaks == 0 && c->result->corruptions == 0)
		return false;
	if (early)
		return s->slots && 2 * bad >= good && (good == 0 || bad);
	return c->leaks.n != 0 && (c->result->partial == false);
}

static enum q2_status run(struct q2_repair *r, bool early)
{
	struct q2_strays s = {.r = r};
	/* Not borrowed: the check that it is from may be done again. */
	const struct q2_geom g = r->c->img.geom;
	uint64_t good = 0, bad = 0;
	void *block;
	enum q2_status st;

	if (!(r->opts->flags & Q2_PLAN_RESCUE) || !q2_all(r) ||
	    g.cluster_size == 0 || g.data_file || g.l1_entries == 0 ||
	    q2_misread(r) ||
	    !q2_want(r, Q2_P_ORPHAN_L2))
		return Q2_OK;
	st = q2_get(&r->budget, 2 * g.cluster_size, &block, r->err);
	if (st != Q2_OK)
		return st;
	s.table = block;
	st = read_l1(&s, &good, &bad);
	if (st == Q2_OK && is_worth_it(&s, good, bad, early))
		st = rescue(&s, early);
	q2_stray_vec_free(&s.t, &r->budget);
	q2_put(&r->budget, s.l1, s.room);
	q2_put(&r->budget, block, 2 * g.cluster_size);
	return st;
}

enum q2_status q2_rescue_l1(struct q2_repair *r)
{
	return run(r, true);
}

enum q2_status q2_rescue_tables(struct q2_repair *r)
{
	return run(r, false);
}
