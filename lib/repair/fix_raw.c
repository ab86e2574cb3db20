/*
 * fix_raw.c - an external data file that is a raw image: all of it is the disk.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    clusters that no entry names.  Where tables were lost they are named
 *           again, as each stands where it stands for the guest; where nothing was,
 *           the raw bit is wrong.
 * Needs:    L1 and L2 tables that went back to their places, as far as there are any.
 */
#include "base/endian.h"
#include "base/zeros.h"
#include "repair/repair.h"

#define TABLES_MIN (UINT64_C(16) << 20) /* bytes of new tables, or twice the file */

struct raw {
	struct q2_repair *r;
	struct q2_geom g; /* of its own: a recheck frees the checker */
	uint8_t *table;
	uint32_t action;
};

/* Whether there is an L2 table that holds nothing: nobody makes such a one. */
static bool has_blank_table(struct q2_repair *r)
{
	const struct q2_l2ref_vec *t = &r->c->refs.tables;
	const struct q2_geom *g = &r->c->img.geom;

	for (size_t i = 0; i < t->n; i++) {
		uint64_t at = t->at[i].clu << g->cluster_bits;
		uint64_t end = at + g->cluster_size;
		uint8_t b[512] = {0};

		while (at < end && q2_all_zero(b, sizeof(b)) &&
		       q2_pread_zero(r->io, b, sizeof(b), at, NULL) == Q2_OK)
			at += sizeof(b);
		if (at == end && q2_all_zero(b, sizeof(b)))
			return true;
	}
	return false;
}

/* QEMU names all clusters when it makes such an image.  Damage elsewhere, or a part
 * only that is not named, tells of a loss; else the bit itself is what is odd. */
static bool was_lost(struct q2_repair *r)
{
	const struct q2_geom *g = &r->c->img.geom;

	for (unsigned i = Q2_P_L1_SIZE_LIMIT; i <= Q2_P_L1_OUTSIDE; i++)
		if (r->first.had[i])
			return true;
	for (unsigned i = Q2_P_L1_RESERVED; i < Q2_P_DATA_FILE_COPIED; i++)
		if (r->first.had[i])
			return true;
	return r->result.allocated_clusters >= g->disk_clusters / 2 ||
	       has_blank_table(r);
}

/* *missing: how many slots have no table; *ok: whether there are not too many. */
static enum q2_status count_missing(struct raw *x, bool *ok)
{
	uint64_t missing = 0;
	enum q2_status st = Q2_OK;

	*ok = x->g.l1_entries >= x->g.l1_needed;
	for (uint64_t i = 0; i < x->g.l1_needed && *ok && st == Q2_OK; i++) {
		uint8_t b[8];

		st = q2_pread_zero(x->r->io, b, 8, x->g.l1_offset + 8 * i,
				   x->r->err);
		missing += (q2_be64(b) & Q2_ENTRY_OFFSET) == 0;
		*ok = missing << x->g.cluster_bits <=
		      q2_max(TABLES_MIN, 2 * x->r->base->stored);
	}
	return st;
}

/* Names what the table in x->table leaves out; *any: whether it did. */
static void fill(struct raw *x, uint64_t slot, bool *any)
{
	uint64_t first = slot << x->g.l2_bits;

	*any = false;
	for (uint64_t i = 0; i < UINT64_C(1) << x->g.l2_bits &&
			     first + i < x->g.disk_clusters; i++) {
		uint8_t *p = x->table + (i << x->g.entry_bits);
		uint64_t guest = q2_guest(&x->g, slot, i);
		struct q2_l2_entry e = q2_l2_decode(
			&x->g, q2_be64(p), q2_l2_bitmap(&x->g, p), guest);

		if (e.type != Q2_L2_UNALLOCATED || e.faults)
			continue;
		q2_put_be64(p, guest | Q2_COPIED);
		if (x->g.ext_l2)
			q2_put_be64(p + 8, UINT32_MAX);
		*any = true;
	}
}

static enum q2_status one_slot(struct raw *x, uint64_t slot)
{
	struct q2_repair *r = x->r;
	uint64_t at = x->g.l1_offset + 8 * slot, table;
	size_t n = (size_t)x->g.cluster_size;
	uint8_t b[8];
	bool any;
	enum q2_status st = q2_pread_zero(r->io, b, 8, at, r->err);
	bool fresh;

	if (st != Q2_OK)
		return st;
	table = q2_be64(b) & Q2_ENTRY_OFFSET;
	fresh = table == 0;
	if (fresh) {
		st = q2_fresh(r, x->action, 1, &table);
		if (st == Q2_OK)
			st = q2_change_u64(r, Q2_C_ENTRY, x->action, at,
					   table | Q2_COPIED);
	}
	if (st == Q2_OK)
		st = q2_pread_zero(r->io, x->table, n, table, r->err);
	if (st != Q2_OK)
		return st;
	fill(x, slot, &any);
	return any ? q2_change(r, fresh ? Q2_C_FRESH : Q2_C_ENTRY, x->action,
			       table, x->table, n) : Q2_OK;
}

static enum q2_status name_all(struct raw *x)
{
	struct q2_repair *r = x->r;
	void *block;
	enum q2_status st = q2_get(&r->budget, x->g.cluster_size, &block,
				   r->err);

	if (st != Q2_OK)
		return st;
	x->table = block;
	st = q2_act(r, Q2_P_RAW_DATA_UNALLOCATED, Q2_EFFECT_GAIN, NULL,
		    &x->action, "clusters of the data file that no table named "
		    "any more are the guest's again: it is a raw image of the "
		    "disk");
	for (uint64_t i = 0; i < x->g.l1_needed && st == Q2_OK; i++)
		st = one_slot(x, i);
	q2_put(&r->budget, block, x->g.cluster_size);
	return st == Q2_OK ? q2_recheck(r) : st;
}

static enum q2_status clear_bit(struct q2_repair *r)
{
	uint32_t action;
	enum q2_status st = q2_act(r, Q2_P_RAW_DATA_UNALLOCATED,
				   Q2_EFFECT_SUSPECT, NULL, &action,
				   "the data file is no longer called a raw image: "
				   "most of it is named by no table");

	if (st == Q2_OK)
		st = q2_change_u64(r, Q2_C_PLACE, action, 88,
				   r->c->header.autoclear &
					   ~(uint64_t)Q2_AUTOCLEAR_RAW);
	return st == Q2_OK ? q2_recheck(r) : st;
}

enum q2_status q2_fix_raw(struct q2_repair *r)
{
	struct raw x = {.r = r, .g = r->c->img.geom};
	bool ok = false;
	enum q2_status st = Q2_OK;

	if (!q2_found_any(r, Q2_P_RAW_DATA_UNALLOCATED) || !q2_all(r) ||
	    !q2_want(r, Q2_P_RAW_DATA_UNALLOCATED))
		return Q2_OK;
	if (was_lost(r))
		st = count_missing(&x, &ok);
	if (st != Q2_OK)
		return st;
	return ok ? name_all(&x) : clear_bit(r);
}
