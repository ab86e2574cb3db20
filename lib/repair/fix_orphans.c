/*
 * fix_orphans.c - clusters that nothing refers to any more.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    an orphaned L2 table whose place is certain goes back there; what is
 *           left finds a home in a snapshot, unless it is to be freed.
 * Needs:    pointers that are right as far as they can be: what they name is no
 *           leak.
 */
#include "base/endian.h"
#include "repair/kin.h"
#include "repair/refcounts.h"

struct attach {
	struct q2_repair *r;
	uint64_t *l1; /* entries of the active table */
	uint64_t n;
	uint64_t empty; /* how many slots are */
	bool marks;	/* the image's writers set COPIED */
};

static enum q2_status read_l1(struct attach *a)
{
	struct q2_repair *r = a->r;
	const struct q2_geom *g = &r->c->img.geom;
	void *block;
	enum q2_status st;

	a->n = q2_min(g->l1_entries, g->l1_needed);
	st = q2_get(&r->budget, 8 * a->n, &block, r->err);
	a->l1 = block;
	if (st == Q2_OK)
		st = q2_pread_zero(r->io, block, (size_t)(8 * a->n),
				   g->l1_offset, r->err);
	for (uint64_t i = 0; i < a->n && st == Q2_OK; i++) {
		uint64_t raw = q2_be64((uint8_t *)block + 8 * i);

		a->l1[i] = raw & Q2_ENTRY_OFFSET;
		a->empty += a->l1[i] == 0;
		a->marks |= (raw & Q2_COPIED) != 0;
	}
	return st;
}

static enum q2_status put_back(struct attach *a, uint64_t slot, uint64_t host,
			       const char *why)
{
	struct q2_repair *r = a->r;
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_TREE | Q2_F_L1 | Q2_F_GUEST |
			  Q2_F_LENGTH,
		.host = host,
		.tree = Q2_TREE_ACTIVE,
		.l1 = (uint32_t)slot,
		.guest = q2_guest(g, slot, 0),
		.length = g->cluster_size << g->l2_bits,
	};
	uint32_t action;
	enum q2_status st = q2_act(r, Q2_P_ORPHAN_L2, Q2_EFFECT_GAIN, &f,
				   &action, "L1[%llu] gets back the orphaned "
				   "L2 table at %#llx: %s",
				   (unsigned long long)slot,
				   (unsigned long long)host, why);

	if (st == Q2_OK)
		st = q2_change_u64(r, Q2_C_ENTRY, action,
				   g->l1_offset + 8 * slot, host);
	a->l1[slot] = host;
	a->empty--;
	return st;
}

/* Whether the table reaches past the end of the disk in this slot. */
static bool fits(const struct attach *a, uint64_t slot,
		 const struct q2_orphan *o)
{
	const struct q2_geom *g = &a->r->c->img.geom;

	return (slot << g->l2_bits) + o->last < g->disk_clusters;
}

/* Whether all tables that are there lie in the order of their slots. */
static bool in_order(const struct attach *a)
{
	uint64_t last = 0, used = 0;

	for (uint64_t i = 0; i < a->n; i++) {
		if (a->l1[i] && a->l1[i] < last)
			return false;
		last = q2_max(last, a->l1[i]);
		used += a->l1[i] != 0;
	}
	return used >= 2;
}

/* The only slot between whose neighbours the table lies; a->n if there are none or
 * several. */
static uint64_t slot_between(const struct attach *a, const struct q2_orphan *o,
			     uint64_t host)
{
	uint64_t found = a->n, before = 0, n = 0;

	for (uint64_t i = 0; i < a->n; i++) {
		uint64_t after = 0;

		if (a->l1[i]) {
			before = a->l1[i];
			continue;
		}
		for (uint64_t k = i + 1; k < a->n && !after; k++)
			after = a->l1[k];
		if (!before || !after || host < before || host > after ||
		    !fits(a, i, o))
			continue;
		found = i;
		n++;
	}
	return n == 1 ? found : a->n;
}

/* In an external data file a cluster lies where it lies for the guest: how many of the
 * table's entries are those of the slot, and how many another's.  *slot = a->n: that of
 * the first entry. */
static void tally_told(const struct attach *a, const struct q2_orphan *o,
		       uint64_t *slot, uint64_t *good, uint64_t *bad)
{
	const struct q2_geom *g = &a->r->c->img.geom;
	uint64_t at = o->clu << g->cluster_bits;

	*good = *bad = 0;
	for (uint32_t i = 0; i <= o->last; i++) {
		uint8_t b[16] = {0};
		struct q2_l2_entry e;
		uint64_t clu;

		if (q2_pread_zero(a->r->io, b, (size_t)1 << g->entry_bits,
				  at + ((uint64_t)i << g->entry_bits), NULL) !=
		    Q2_OK) {
			++*bad;
			continue;
		}
		e = q2_l2_decode(g, q2_be64(b), q2_be64(b + 8), 0);
		if (e.type < Q2_L2_ZERO_ALLOC)
			continue;
		clu = e.host.start >> g->cluster_bits;
		if (*slot == a->n)
			*slot = clu >> g->l2_bits;
		if (clu == (*slot << g->l2_bits) + i)
			++*good;
		else
			++*bad;
	}
}

/* The slot that each entry of the table tells of; a->n if they do not agree. */
static uint64_t slot_told(const struct attach *a, const struct q2_orphan *o)
{
	uint64_t slot = a->n, good, bad;

	tally_told(a, o, &slot, &good, &bad);
	return !bad && slot < a->n && a->l1[slot] == 0 && fits(a, slot, o) ?
		       slot : a->n;
}

/* Whether a slot that was found for it is not what its entries tell. */
static bool told_otherwise(const struct attach *a, const struct q2_orphan *o,
			   uint64_t slot)
{
	uint64_t good, bad;

	if (!a->r->c->img.geom.data_file || slot == a->n)
		return false;
	tally_told(a, o, &slot, &good, &bad);
	return bad > good;
}

/* Whether another orphan tells of the same slot. */
static bool told_twice(const struct attach *a, const struct q2_orphans *o,
		       size_t which, uint64_t slot)
{
	for (size_t i = 0; i < o->tables.n; i++)
		if (i != which && slot_told(a, &o->tables.at[i]) == slot)
			return true;
	return false;
}

static uint64_t only_slot(const struct attach *a, const struct q2_orphan *o)
{
	uint64_t found = a->n, n = 0;

	for (uint64_t i = 0; i < a->n; i++)
		if (a->l1[i] == 0 && fits(a, i, o)) {
			found = i;
			n++;
		}
	return n == 1 ? found : a->n;
}

static enum q2_status as_told(struct attach *a, const struct q2_orphans *o,
			      bool *any)
{
	const struct q2_plan_opts *opts = a->r->opts;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < opts->n_attach && st == Q2_OK; i++)
		for (size_t k = 0; k < o->tables.n && st == Q2_OK; k++) {
			uint64_t host = o->tables.at[k].clu
					<< a->r->c->img.geom.cluster_bits;
			uint32_t slot = opts->attach[i].slot;

			if (host != opts->attach[i].host || slot >= a->n ||
			    a->l1[slot])
				continue;
			*any = true;
			st = put_back(a, slot, host, "as told");
		}
	return st;
}

static enum q2_status by_data_file(struct attach *a, const struct q2_orphans *o,
				   bool *any)
{
	unsigned bits = a->r->c->img.geom.cluster_bits;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < o->tables.n && st == Q2_OK; i++) {
		uint64_t slot = slot_told(a, &o->tables.at[i]);

		if (slot == a->n || told_twice(a, o, i, slot))
			continue;
		*any = true;
		st = put_back(a, slot, o->tables.at[i].clu << bits,
			      "its entries are those of this slot in the data "
			      "file");
	}
	return st;
}

/* Tables whose slot is certain. */
static enum q2_status attach(struct q2_repair *r, const struct q2_orphans *o,
			     bool *any)
{
	struct attach a = {.r = r};
	enum q2_status st = read_l1(&a);
	bool ordered;

	if (st == Q2_OK)
		st = as_told(&a, o, any);
	if (st == Q2_OK && !*any && r->c->img.geom.data_file)
		st = by_data_file(&a, o, any);
	ordered = st == Q2_OK && in_order(&a);
	/* If two slots named one table, the empty ones are not all known. */
	for (size_t i = 0;
	     i < o->tables.n && st == Q2_OK && !*any && !r->aliased; i++) {
		const struct q2_orphan *t = &o->tables.at[i];
		uint64_t host = t->clu << r->c->img.geom.cluster_bits;
		uint64_t slot = a.n;

		/* A snapshot's table, or one of bitmaps: not the active disk's. */
		if (a.marks && !t->marked)
			continue;
		if (o->tables.n == 1)
			slot = only_slot(&a, t);
		if (told_otherwise(&a, t, slot))
			continue;
		if (slot < a.n) {
			*any = true;
			st = put_back(&a, slot, host,
				      "the only slot that is empty");
			continue;
		}
		slot = ordered ? slot_between(&a, t, host) : a.n;
		if (slot < a.n && !told_otherwise(&a, t, slot)) {
			*any = true;
			st = put_back(&a, slot, host,
				      "the only empty slot between tables that "
				      "lie around it");
		}
	}
	q2_put(&r->budget, a.l1, 8 * a.n);
	return st;
}

enum q2_status q2_fix_orphans(struct q2_repair *r)
{
	/* Where counts are lost, orphans show only in new blocks. */
	enum q2_status st = q2_fix_blocks(r);
	bool again = true;

	/* A table that was put back may name what seemed loose. */
	for (unsigned tries = 0; tries < 64 && again && st == Q2_OK; tries++) {
		struct q2_orphans o = {0};

		again = false;
		st = q2_recheck(r);
		if (st != Q2_OK || r->c->leaks.n == 0 || r->result.partial ||
		    !q2_want(r, Q2_P_LEAK) || q2_counts_absurd(r))
			break;
		st = q2_triage(r, &o);
		if (st == Q2_OK && o.tables.n && q2_want(r, Q2_P_ORPHAN_L2))
			st = attach(r, &o, &again);
		if (st == Q2_OK && !again && q2_all(r) &&
		    (o.tables.n || o.data.n) &&
		    !(r->opts->flags & Q2_PLAN_FREE_ORPHANS)) {
			const char *why = NULL;

			st = q2_tell_kin(r, &o);
			if (st == Q2_OK)
				st = q2_lost_and_found(r, &o, &why);
			if (st == Q2_OK && why)
				st = q2_save_orphans(r, &o, why);
			/* Past a check's limit there may be more. */
			again = st == Q2_OK && !why && r->c->leaks_over.n;
		}
		q2_orphans_free(r, &o);
	}
	return st;
}
