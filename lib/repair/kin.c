/*
 * kin.c - the slot of an orphaned L2 table, by tables that have mostly the same
 * entries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/kin.h"

#include "base/endian.h"

#define TOLD 64u   /* orphans that are looked at */
#define PROBES 8u /* entries of the orphan that are looked for */

uint64_t q2_place_named(const struct q2_geom *g, const uint8_t *entry)
{
	uint64_t raw = q2_be64(entry);
	struct q2_l2_entry e = q2_l2_decode(g, raw, 0, 0);

	if (!e.refers)
		return 0;
	return e.type == Q2_L2_COMPRESSED ? raw : raw & Q2_ENTRY_OFFSET;
}

/* How many entries of the orphan the other table has in the same places. */
static uint32_t count_same(struct q2_repair *r, const uint8_t *table,
			   uint64_t other)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint32_t same = 0, width = 1u << g->entry_bits;
	uint8_t bytes[512];

	for (uint64_t at = 0; at < g->cluster_size; at += sizeof(bytes)) {
		if (q2_pread_zero(r->io, bytes, sizeof(bytes),
				  (other << g->cluster_bits) + at, NULL) !=
		    Q2_OK)
			return 0;
		for (uint32_t i = 0; i < sizeof(bytes); i += width) {
			uint64_t place = q2_place_named(g, table + at + i);

			same += place && place == q2_place_named(g, bytes + i);
		}
	}
	return same;
}

/* Whether one of the entries listed stands in the other table, too. */
static bool is_alike(struct q2_repair *r, const uint8_t *table,
		     const uint32_t *probes, unsigned n, uint64_t other)
{
	const struct q2_geom *g = &r->c->img.geom;

	for (unsigned i = 0; i < n; i++) {
		uint64_t at = (uint64_t)probes[i] << g->entry_bits;
		uint8_t bytes[16] = {0};

		if (q2_pread_zero(r->io, bytes, 8,
				  (other << g->cluster_bits) + at, NULL) ==
			    Q2_OK &&
		    q2_place_named(g, bytes) == q2_place_named(g, table + at))
			return true;
	}
	return false;
}

struct q2_kin q2_find_kin(struct q2_repair *r, uint8_t *table, uint64_t clu)
{
	const struct q2_geom *g = &r->c->img.geom;
	const struct q2_l2ref_vec *t = &r->c->refs.tables;
	uint32_t probes[PROBES], entries = 0;
	struct q2_kin kin = {0};
	unsigned n = 0;

	if (g->data_file ||
	    q2_pread_zero(r->io, table, (size_t)g->cluster_size,
			  clu << g->cluster_bits, NULL) != Q2_OK)
		return kin;
	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		if (q2_place_named(g, table + ((size_t)i << g->entry_bits)) == 0)
			continue;
		entries++;
		if (n < PROBES)
			probes[n++] = i;
	}
	for (size_t i = 0; i < t->n; i++) {
		if (t->at[i].clu == clu ||
		    !is_alike(r, table, probes, n, t->at[i].clu) ||
		    2 * (uint64_t)count_same(r, table, t->at[i].clu) <= entries)
			continue;
		if (kin.any && kin.slot != t->at[i].slot)
			return (struct q2_kin){0};
		kin.slot = t->at[i].slot;
		kin.first = i;
		kin.any = true;
	}
	while (kin.first && t->at[kin.first - 1].slot == kin.slot)
		kin.first--;
	return kin;
}

static enum q2_status tell(struct q2_repair *r, const struct q2_tree *t,
			   uint32_t slot, uint64_t clu)
{
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_finding f = {
		.fields = Q2_F_TREE | Q2_F_L1 | Q2_F_GUEST | Q2_F_LENGTH,
		.tree = t->id,
		.l1 = slot,
		.guest = q2_guest(g, slot, 0),
		.length = g->cluster_size << g->l2_bits,
	};
	uint32_t action;
	enum q2_status st = q2_act(
		r, Q2_P_ORPHAN_L2, Q2_EFFECT_SUSPECT, &f, &action,
		"L1[%u], which is empty, may be where the orphaned L2 table at "
		"%#llx belongs: other trees have mostly the same entries there",
		(unsigned)slot, (unsigned long long)clu << g->cluster_bits);

	if (st == Q2_OK)
		r->plan->actions.at[action].note = true;
	return st;
}

enum q2_status q2_tell_kin(struct q2_repair *r, const struct q2_orphans *o)
{
	const struct q2_geom *g = &r->c->img.geom;
	void *block;
	enum q2_status st = q2_get(&r->budget, g->cluster_size, &block, r->err);

	for (size_t i = 0; i < o->tables.n && i < TOLD && st == Q2_OK; i++) {
		uint64_t clu = o->tables.at[i].clu;
		struct q2_kin kin = q2_find_kin(r, block, clu);

		for (size_t k = 0; k < r->c->trees.n && kin.any; k++) {
			const struct q2_tree *t = &r->c->trees.at[k];
			uint8_t raw[8];

			if (t->id == Q2_TREE_ACTIVE ||
			    kin.slot >= t->l1_entries ||
			    q2_pread_zero(r->io, raw, 8, t->l1_offset +
					  UINT64_C(8) * kin.slot, NULL) !=
				    Q2_OK ||
			    q2_be64(raw))
				continue;
			st = tell(r, t, kin.slot, clu);
			if (st != Q2_OK)
				break;
		}
	}
	q2_put(&r->budget, block, g->cluster_size);
	return st;
}
