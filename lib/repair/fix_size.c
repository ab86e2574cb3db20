/*
 * fix_size.c - a disk that is smaller than what it maps.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    the virtual size, where sound entries map clusters behind it: no
 *           writer leaves any there when it makes a disk smaller.  A snapshot of
 *           the larger disk tells its size; else the reach of the L1 table does,
 *           within which it was.
 * Needs:    refcounts, as evidence that such entries are sound.
 * Never:    takes VM state for the disk's: that starts at an L1 slot of its own.
 */
#include "base/endian.h"
#include "repair/ledger.h"

#define ODD 4u /* sound entries for each that is not */

/* What the active disk maps behind its end. */
struct tail {
	struct q2_repair *r;
	struct q2_ledger ledger;
	uint8_t *table;
	uint64_t sound; /* entries */
	uint64_t others;
	uint64_t near;	/* sound ones in the table that the end lies in */
	uint64_t end;	/* of what the sound ones map: guest clusters */
};

static bool is_sound(const struct tail *t, const struct q2_l2_entry *e)
{
	uint64_t clu = e->host.start >> t->r->c->img.geom.cluster_bits;

	return !(e->faults & ~(unsigned)(Q2_EF_COPIED_UNUSED | Q2_EF_CUT)) &&
	       e->refers && q2_surplus(&t->ledger, clu) == 0 &&
	       !(q2_suspected(&t->ledger, clu) &
		 (Q2_S_META | Q2_S_SHARED | Q2_S_STREAM | Q2_S_REFCOUNT));
}

static void see_table(struct tail *t, uint64_t slot, uint64_t off)
{
	const struct q2_geom *g = &t->r->c->img.geom;
	uint64_t first = slot << g->l2_bits;

	if (q2_pread_zero(t->r->io, t->table, (size_t)g->cluster_size, off,
			  NULL) != Q2_OK) {
		t->others++;
		return;
	}
	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = t->table + ((size_t)i << g->entry_bits);
		uint64_t raw = q2_be64(p);
		uint64_t map = q2_l2_bitmap(g, p);
		struct q2_l2_entry e;

		if ((raw | map) == 0 || first + i < g->disk_clusters)
			continue;
		e = q2_l2_decode(g, raw, map, q2_guest(g, slot, i));
		if (!is_sound(t, &e)) {
			t->others += e.type != Q2_L2_UNALLOCATED;
			continue;
		}
		t->sound++;
		t->near += slot < g->l1_needed;
		t->end = q2_max(t->end, first + i + 1);
	}
}

static void see_all(struct tail *t)
{
	const struct q2_geom *g = &t->r->c->img.geom;
	uint64_t slot = g->disk_clusters >> g->l2_bits;

	for (; slot < g->l1_entries; slot++) {
		struct q2_l1_entry e;
		uint8_t raw[8];

		if (q2_pread_zero(t->r->io, raw, 8, g->l1_offset + 8 * slot,
				  NULL) != Q2_OK)
			continue;
		e = q2_l1_decode(g, q2_be64(raw));
		if (e.used && q2_surplus(&t->ledger, e.table.n) == 0)
			see_table(t, slot, q2_offset(g, e.table));
	}
}

/* The size of a snapshot's disk that holds all, and that the L1 table is made for; 0:
 * there is none. */
static uint64_t told_by_snapshot(const struct tail *t)
{
	const struct q2_checker *c = t->r->c;
	const struct q2_geom *g = &c->img.geom;
	uint64_t size = 0;

	for (size_t i = 0; i < c->trees.n; i++) {
		uint64_t disk = c->trees.at[i].disk_size;

		if (c->trees.at[i].id != Q2_TREE_ACTIVE && disk % 512 == 0 &&
		    q2_div_up(disk, g->cluster_size) >= t->end &&
		    q2_l1_needed(disk, g->cluster_bits, 1u << g->entry_bits) ==
			    g->l1_entries)
			size = q2_max(size, disk);
	}
	return size > g->disk_size ? size : 0;
}

static enum q2_status grow(struct tail *t)
{
	struct q2_repair *r = t->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t told = told_by_snapshot(t), size = told;
	struct q2_finding f = {
		.fields = Q2_F_GUEST | Q2_F_LENGTH,
		.guest = g->disk_size,
	};
	uint32_t action;
	enum q2_status st;

	if ((told == 0 && t->near == 0) || !q2_want(r, Q2_P_L2_BEYOND_DISK))
		return Q2_OK;
	if (told == 0)
		size = (uint64_t)g->l1_entries << (g->l2_bits +
						   g->cluster_bits);
	if (size <= g->disk_size)
		return Q2_OK;
	f.length = size - g->disk_size;
	st = q2_act(r, Q2_P_L2_BEYOND_DISK,
		    told ? Q2_EFFECT_GAIN : Q2_EFFECT_SUSPECT, &f, &action,
		    told ? "the virtual size becomes that of a snapshot's disk: "
			   "%llu clusters are mapped behind its end" :
			   "the virtual size becomes what the L1 table reaches: "
			   "%llu clusters are mapped behind its end, which may "
			   "lie anywhere behind the last of them",
		    (unsigned long long)t->sound);
	if (st == Q2_OK)
		st = q2_change_u64(r, Q2_C_PLACE, action, 24, size);
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* What is mapped behind the end, if that is not nonsense: else nothing is sound. */
static enum q2_status see(struct tail *t)
{
	struct q2_repair *r = t->r;
	uint64_t cs = r->c->img.geom.cluster_size;
	enum q2_status st;

	if (!q2_found_any(r, Q2_P_L2_BEYOND_DISK) &&
	    !q2_found_any(r, Q2_P_L1_BEYOND_DISK))
		return Q2_OK;
	st = q2_get_bytes(&r->budget, cs, &t->table, r->err);
	if (st != Q2_OK)
		return st;
	q2_ledger_init(&t->ledger, r);
	see_all(t);
	if (t->sound < ODD * t->others)
		t->sound = 0;
	q2_ledger_free(&t->ledger);
	q2_put(&r->budget, t->table, cs);
	return Q2_OK;
}

enum q2_status q2_size_lost(struct q2_repair *r, bool *yes)
{
	struct tail t = {.r = r};
	enum q2_status st = see(&t);

	*yes = t.sound || r->c->img.geom.data_file;
	return st;
}

enum q2_status q2_fix_size(struct q2_repair *r)
{
	struct tail t = {.r = r};
	enum q2_status st = Q2_OK;

	if (!q2_all(r) || r->c->img.geom.data_file)
		return Q2_OK;
	st = see(&t);
	return st == Q2_OK && t.sound ? grow(&t) : st;
}
