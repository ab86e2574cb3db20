/*
 * fix_nonsense.c - L2 tables, most of whose entries lead nowhere.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    nothing, but lets a copy of such a table be mended.  What stands in
 *           its place may be what a wrong L1 entry leads to: a guest's data, of
 *           which mending entries would leave nothing.
 * Needs:    L1 tables that lead to L2 tables as far as they can be mended.
 */
#include "base/endian.h"
#include "check/l2shape.h"
#include "repair/repair.h"

#define BAD_LEAST 4u
#define COPIES_MOST (UINT64_C(16) << 20) /* bytes; or what the file stores */

struct spare {
	struct q2_repair *r;
	uint8_t *table;
	uint64_t copied;
};

/* Whether more entries lead nowhere than lead anywhere. */
static bool is_nonsense(struct spare *s, const struct q2_l2ref *ref)
{
	const struct q2_geom *g = &s->r->c->img.geom;
	uint64_t good = 0, bad = 0;

	if (q2_pread_zero(s->r->io, s->table, (size_t)g->cluster_size,
			  ref->clu << g->cluster_bits, NULL) != Q2_OK)
		return false;
	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = s->table + ((size_t)i << g->entry_bits);
		uint64_t raw = q2_be64(p);
		uint64_t map = q2_l2_bitmap(g, p);
		struct q2_l2_entry e;

		if ((raw | map) == 0)
			continue;
		e = q2_l2_decode(g, raw, map, q2_guest(g, ref->slot, i));
		if (e.faults & (Q2_EF_UNALIGNED | Q2_EF_OUTSIDE))
			bad++;
		else
			good++;
	}
	return bad >= BAD_LEAST && bad > good;
}

/* Whether the tree names the table in its slot: the entry, and where it stands. */
static bool names(const struct spare *s, const struct q2_tree *t,
		  const struct q2_l2ref *ref, uint64_t *at, uint64_t *raw)
{
	struct q2_repair *r = s->r;
	struct q2_l1_entry e;
	uint8_t bytes[8];

	*at = t->l1_offset + UINT64_C(8) * ref->slot;
	if (ref->slot >= t->l1_entries ||
	    q2_pread_zero(r->io, bytes, sizeof(bytes), *at, NULL) != Q2_OK)
		return false;
	*raw = q2_be64(bytes);
	e = q2_l1_decode(&r->c->img.geom, *raw);
	return e.used && e.table.n == ref->clu;
}

/* Whether an entry that names the table may be changed: a copy that none can name would
 * be made in each round. */
static bool is_reachable(const struct spare *s, const struct q2_l2ref *ref)
{
	const struct q2_trees *trees = &s->r->c->trees;
	uint64_t at, raw;

	for (size_t i = 0; i < trees->n; i++)
		if (names(s, &trees->at[i], ref, &at, &raw) &&
		    !q2_off_limits(s->r, Q2_C_ENTRY, at, 8))
			return true;
	return false;
}

/* All trees that name the table in this slot name its copy. */
static enum q2_status redirect(struct spare *s, const struct q2_l2ref *ref,
			       uint32_t action, uint64_t to)
{
	struct q2_repair *r = s->r;
	uint64_t at, raw;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < r->c->trees.n && st == Q2_OK; i++)
		if (names(s, &r->c->trees.at[i], ref, &at, &raw))
			st = q2_change_u64(r, Q2_C_ENTRY, action, at,
					   (raw & ~Q2_ENTRY_OFFSET) | to);
	return st;
}

static enum q2_status copy_table(struct spare *s, const struct q2_l2ref *ref)
{
	struct q2_repair *r = s->r;
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_TREE | Q2_F_L1 | Q2_F_GUEST |
			  Q2_F_LENGTH,
		.host = ref->clu << g->cluster_bits,
		.tree = ref->active ? Q2_TREE_ACTIVE : ref->tree,
		.l1 = ref->slot,
		.guest = q2_guest(g, ref->slot, 0),
		.length = g->cluster_size << g->l2_bits,
	};
	uint64_t to = 0;
	uint32_t action;
	enum q2_status st = q2_act(r, Q2_P_L2_ENTRY_OUTSIDE, Q2_EFFECT_SUSPECT,
				   &f, &action, "most of L2[%u] leads nowhere: a "
				   "copy is mended, what stands at %#llx is left",
				   (unsigned)ref->slot,
				   (unsigned long long)f.host);

	s->copied += g->cluster_size;
	if (st == Q2_OK)
		st = q2_fresh(r, action, 1, &to);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_FRESH, action, to, s->table,
			       (size_t)g->cluster_size);
	if (st == Q2_OK)
		st = q2_runs_push(&r->spared, &r->budget,
				  (struct q2_run){ref->clu, 1}, r->err);
	return st == Q2_OK ? redirect(s, ref, action, to) : st;
}

/* Those where q2_change() writes to L2 tables at all. */
static bool needed(struct q2_repair *r)
{
	return q2_all(r) && !r->c->img.geom.data_file &&
	       (q2_found_any(r, Q2_P_L2_UNALIGNED) ||
		q2_found_any(r, Q2_P_L2_ENTRY_OUTSIDE) ||
		q2_found_any(r, Q2_P_COMPRESSED_OUTSIDE)) &&
	       q2_want(r, Q2_P_L2_ENTRY_OUTSIDE);
}

enum q2_status q2_spare_nonsense(struct q2_repair *r)
{
	struct spare s = {.r = r};
	uint64_t cs = r->c->img.geom.cluster_size;
	uint64_t most = q2_max(COPIES_MOST, r->base->stored);
	enum q2_status st;

	if (!needed(r))
		return Q2_OK;
	st = q2_get_bytes(&r->budget, cs, &s.table, r->err);
	if (st != Q2_OK)
		return st;
	for (size_t i = 0;
	     i < r->c->refs.tables.n && st == Q2_OK && s.copied < most; i++)
		if (is_nonsense(&s, &r->c->refs.tables.at[i]) &&
		    is_reachable(&s, &r->c->refs.tables.at[i]))
			st = copy_table(&s, &r->c->refs.tables.at[i]);
	q2_put(&r->budget, s.table, cs);
	return st == Q2_OK ? q2_recheck(r) : st;
}
