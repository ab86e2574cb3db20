/*
 * offlimits.c - where a repair writes nothing in place: what is right for one
 * structure would destroy another, or a guest's data.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "check/l2shape.h"
#include "format/entry.h"
#include "repair/repair.h"

#define NONSENSE 4u /* entries of a table that lead nowhere */

/* How many structures of metadata lie there; 2 for more. */
static unsigned structures_at(const struct q2_checker *c, uint64_t clu)
{
	unsigned n = 0;

	for (size_t i = 0; i < c->metas.n && n < 2; i++)
		n += clu - c->metas.at[i].first < c->metas.at[i].n;
	for (size_t i = 0; i < c->refs.tables.n && n < 2; i++)
		n += c->refs.tables.at[i].clu == clu;
	return n;
}

/* How many of the cluster's bytes are an L1 table's: what stands behind is nothing to
 * its writers, who leave there what there was. */
static uint64_t l1_bytes(const struct q2_checker *c, uint64_t clu)
{
	uint64_t off = clu << c->img.geom.cluster_bits, most = 0;

	for (size_t i = 0; i < c->trees.n; i++) {
		uint64_t start = c->trees.at[i].l1_offset;
		uint64_t bytes = UINT64_C(8) * c->trees.at[i].l1_entries;

		if (off - start < bytes)
			most = q2_max(most, bytes - (off - start));
	}
	return q2_min(most, c->img.geom.cluster_size);
}

/* Whether what stands in the cluster reads as the table of entries that it is
 * taken for, and not as a guest's data. */
static bool reads_as_table(const struct q2_repair *r, uint64_t clu)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t start = clu << g->cluster_bits, l1 = l1_bytes(r->c, clu);
	uint64_t good = 0, bad = 0;
	uint8_t bytes[512];

	for (uint64_t at = 0; at < (l1 ? l1 : g->cluster_size);
	     at += sizeof(bytes)) {
		if (q2_pread_zero(r->io, bytes, sizeof(bytes), start + at,
				  NULL) != Q2_OK)
			return false;
		if (!l1)
			q2_l2_tally(g, bytes,
				    (uint32_t)sizeof(bytes) >> g->entry_bits,
				    &good, &bad);
		for (unsigned i = 0; i < sizeof(bytes) && at + i < l1; i += 8) {
			uint64_t raw = q2_be64(bytes + i);
			unsigned faults = q2_l1_decode(g, raw).faults;

			bad += raw && faults;
			good += raw && !faults;
		}
	}
	return bad < NONSENSE || bad < good;
}

/* The same, once for all entries of a table. */
static bool judge_table(struct q2_repair *r, uint64_t clu)
{
	if (r->judged.cluster != clu)
		r->judged.table = reads_as_table(r, clu);
	r->judged.cluster = clu;
	return r->judged.table;
}

/* Whether the entry stands in what may be a guest's data, taken for a table.  Where all
 * is repaired a copy of that is mended (fix_nonsense.c); by -p nothing there is. */
static bool stands_in_nonsense(struct q2_repair *r, uint64_t off)
{
	static const enum q2_problem_id signs[] = {
		Q2_P_L1_UNALIGNED,     Q2_P_L1_ENTRY_OUTSIDE,
		Q2_P_L2_UNALIGNED,     Q2_P_L2_ENTRY_OUTSIDE,
		Q2_P_COMPRESSED_OUTSIDE,
	};
	unsigned bits = r->c->img.geom.cluster_bits;
	uint64_t n = 0;

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		n += r->counts[signs[i]];
	return !q2_all(r) && n >= NONSENSE && bits &&
	       !judge_table(r, off >> bits);
}

/* Whether metadata that is written to in place lies on something else: what is
 * right for the one would destroy the other.  Metadata are parted first; but what
 * lies on data may only be mended where the data is the impostor. */
static bool lies_on_other(struct q2_repair *r, enum q2_class class, uint64_t off,
			  size_t n)
{
	const struct q2_suspects *s = &r->c->suspects;
	unsigned bits = r->c->img.geom.cluster_bits;
	uint64_t first = q2_max(off >> bits, 1), last = (off + n - 1) >> bits;
	size_t lo = 0, hi = s->n;

	if (bits == 0 || n == 0)
		return false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->at[mid].clu < first)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < s->n && s->at[lo].clu <= last; lo++)
		if ((s->at[lo].why & Q2_S_META) &&
		    (!q2_all(r) || structures_at(r->c, s->at[lo].clu) > 1 ||
		     class == Q2_C_PLACE || class == Q2_C_REFTABLE ||
		     (class == Q2_C_ENTRY &&
		      !judge_table(r, s->at[lo].clu))))
			return true;
	return false;
}

bool q2_off_limits(struct q2_repair *r, enum q2_class class, uint64_t off,
		   size_t n)
{
	if (class != Q2_C_FRESH && !r->parting &&
	    lies_on_other(r, class, off, n))
		return true;
	return class == Q2_C_ENTRY && stands_in_nonsense(r, off);
}
