/*
 * impostor.c - whether refcount structures are where the image says, or whether a
 * pointer to them leads to what is somebody else's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "format/refcount.h"
#include "repair/refcounts.h"

#define PROBE 512u

/* Entries of a refcount table lead to clusters of the file that nothing else has. */
static void tally_table(const struct q2_repair *r, const uint8_t *bytes,
			uint64_t *good, uint64_t *bad)
{
	const struct q2_geom *g = &r->c->img.geom;

	for (unsigned i = 0; i < PROBE; i += 8) {
		uint64_t raw = q2_be64(bytes + i);

		if (raw == 0)
			continue;
		if ((raw & ~Q2_REFTABLE_OFFSET) ||
		    (raw & (g->cluster_size - 1)) || raw >= g->file_size ||
		    q2_refmap_get(&r->c->map, raw >> g->cluster_bits).count > 1)
			++*bad;
		else
			++*good;
	}
}

/* Refcounts are those of the references, mostly. */
static void tally_block(const struct q2_repair *r, const uint8_t *bytes,
			uint64_t clu, uint64_t *good, uint64_t *bad)
{
	const struct q2_geom *g = &r->c->img.geom;

	for (uint64_t i = 0; i < (PROBE * 8u) >> g->ref_order; i++) {
		uint64_t refs = q2_refmap_get(&r->c->map, clu + i).count;
		uint64_t found = q2_refcount(bytes, g->ref_order, i);

		if (refs == 0 && found == 0)
			continue;
		if (refs == found)
			++*good;
		else
			++*bad;
	}
}

static bool reads_as(const struct q2_repair *r, const struct q2_meta *m,
		     uint64_t clu)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t off = clu << g->cluster_bits, good = 0, bad = 0;
	uint64_t first = (uint64_t)m->index << g->block_bits;
	uint8_t bytes[PROBE];

	for (uint64_t at = 0; at < g->cluster_size; at += PROBE) {
		if (q2_pread_zero(r->io, bytes, PROBE, off + at, NULL) != Q2_OK)
			return true;
		if (m->kind == Q2_K_REFTABLE)
			tally_table(r, bytes, &good, &bad);
		else
			tally_block(r, bytes, first + ((at * 8) >> g->ref_order),
				    &good, &bad);
	}
	return good > bad;
}

bool q2_counts_astray(const struct q2_repair *r, uint64_t clu)
{
	const struct q2_metas *metas = &r->c->metas;

	for (size_t i = 0; i < metas->n; i++) {
		const struct q2_meta *m = &metas->at[i];

		if (clu - m->first >= m->n)
			continue;
		if (m->kind != Q2_K_REFTABLE && m->kind != Q2_K_REFBLOCK)
			return false;
		if (reads_as(r, m, clu))
			return false;
	}
	return true;
}
