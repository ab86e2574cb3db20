/*
 * l2shape.c - whether a cluster that nothing names looks like an L2 table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/l2shape.h"

#include <string.h>

#include "base/endian.h"
#include "format/entry.h"

#define PROBE 512u /* enough to rule most clusters out */
#define BLANK 16u  /* entries that are passed over at once */

bool q2_l2_shaped(const struct q2_checker *c, const uint8_t *bytes,
		  uint32_t n_entries, struct q2_l2_shape *shape)
{
	const struct q2_geom *g = &c->img.geom;

	*shape = (struct q2_l2_shape){0};
	for (uint32_t i = 0; i < n_entries; i++) {
		static const uint8_t zeros[BLANK << 4];
		const uint8_t *p = bytes + ((size_t)i << g->entry_bits);
		uint64_t raw;
		uint64_t bitmap, clu;
		struct q2_l2_entry e;

		if (n_entries - i >= BLANK &&
		    memcmp(p, zeros, (size_t)BLANK << g->entry_bits) == 0) {
			i += BLANK - 1;
			continue;
		}
		raw = q2_be64(p);
		bitmap = q2_l2_bitmap(g, p);
		if ((raw | bitmap) == 0)
			continue;
		e = q2_l2_decode(g, raw, bitmap, 0);
		if (e.faults & ~(unsigned)(Q2_EF_DATA_FILE_OFFSET |
					   Q2_EF_DATA_FILE_COPIED))
			return false;
		shape->last = i;
		if (e.type == Q2_L2_UNALLOCATED || e.type == Q2_L2_ZERO_PLAIN)
			continue;
		if (shape->entries++ == 0)
			shape->first = e.host.start;
		shape->marked += e.copied || e.type == Q2_L2_COMPRESSED;
		clu = e.host.start >> g->cluster_bits;
		if (e.refers && q2_refmap_get(&c->map, clu).count == 0)
			shape->alone++;
	}
	return true;
}

void q2_l2_tally(const struct q2_geom *g, const uint8_t *bytes,
		 uint32_t n_entries, uint64_t *good, uint64_t *bad)
{
	for (uint32_t i = 0; i < n_entries; i++) {
		const uint8_t *p = bytes + ((size_t)i << g->entry_bits);
		uint64_t raw = q2_be64(p);
		uint64_t bitmap = q2_l2_bitmap(g, p);

		if ((raw | bitmap) == 0)
			continue;
		if (q2_l2_decode(g, raw, bitmap, 0).faults &
		    ~(unsigned)(Q2_EF_DATA_FILE_OFFSET |
				Q2_EF_DATA_FILE_COPIED))
			++*bad;
		else
			++*good;
	}
}

/* Tables of bitmaps and L1 tables are shaped alike.  The former have no flags,
 * which L2 tables lack only if they were a snapshot's; the latter name L2 tables. */
static bool other_table(struct q2_checker *c, uint8_t *table,
			const struct q2_l2_shape *shape)
{
	struct q2_l2_shape below;

	if (shape->marked == 0 &&
	    (c->bitmaps.hurt || c->header.nb_snapshots == 0))
		return true;
	return q2_pread_zero(c->img.io, table, PROBE, shape->first, NULL) ==
		       Q2_OK &&
	       q2_l2_shaped(c, table, PROBE >> c->img.geom.entry_bits,
			    &below) &&
	       below.entries && 2 * below.alone >= below.entries;
}

bool q2_l2_orphan(struct q2_checker *c, uint8_t *table, uint64_t clu,
		  struct q2_l2_shape *shape)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t off = clu << g->cluster_bits;

	if (q2_pread_zero(c->img.io, table, PROBE, off, NULL) != Q2_OK ||
	    !q2_l2_shaped(c, table, PROBE >> g->entry_bits, shape))
		return false;
	if (q2_pread_zero(c->img.io, table, (size_t)g->cluster_size, off,
			  NULL) != Q2_OK ||
	    !q2_l2_shaped(c, table, 1u << g->l2_bits, shape))
		return false;
	/* Tables that others name too are copies, or refcount tables. */
	return shape->entries &&
	       (g->data_file || 2 * shape->alone >= shape->entries) &&
	       !other_table(c, table, shape);
}
