/*
 * geom.c - making the geometry from a judged header.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/geom.h"

#include <string.h>

static bool fatal(const struct q2_header_faults *f)
{
	return f->present & ((UINT64_C(2) << Q2_HF_SIZE_TOO_BIG) - 1);
}

static void make_l1(const struct q2_header *h,
		    const struct q2_header_faults *f, struct q2_geom *g)
{
	uint64_t end;

	g->l1_needed = (uint32_t)q2_l1_needed(g->disk_size, g->cluster_bits,
					      1u << g->entry_bits);
	if (q2_header_has(f, Q2_HF_L1_UNALIGNED) ||
	    q2_header_has(f, Q2_HF_L1_ZERO))
		return;
	g->l1_offset = h->l1_offset;
	g->l1_entries = h->l1_size;
	/* An absurd length says nothing; the part that is needed does. */
	if (q2_header_has(f, Q2_HF_L1_LIMIT))
		g->l1_entries = g->l1_needed;
	/* What lies past the end of the file reads as zeros: no entries. */
	end = g->file_clusters << g->cluster_bits;
	g->l1_entries = (uint32_t)q2_min(g->l1_entries,
					 g->l1_offset < end ?
						 (end - g->l1_offset) / 8 : 0);
}

static void make_tables(const struct q2_header *h,
			const struct q2_header_faults *f, struct q2_geom *g)
{
	if (!q2_header_has(f, Q2_HF_REFTABLE_UNALIGNED) &&
	    !q2_header_has(f, Q2_HF_REFTABLE_MISSING) &&
	    !q2_header_has(f, Q2_HF_REFTABLE_OUTSIDE)) {
		uint64_t bytes = (uint64_t)h->reftable_clusters
				 << h->cluster_bits;

		/* An absurd length says nothing; the file's own does. */
		if (q2_header_has(f, Q2_HF_REFTABLE_LIMIT))
			bytes = 8 * q2_div_up(g->file_clusters,
					      UINT64_C(1) << g->block_bits);
		g->reftable_offset = h->reftable_offset;
		g->reftable_bytes = q2_min(bytes, Q2_REFTABLE_MAX);
	}
	if (!q2_header_has(f, Q2_HF_SNAPTABLE_UNALIGNED) &&
	    !q2_header_has(f, Q2_HF_SNAPTABLE_ZERO)) {
		g->snaptable_offset = h->snapshots_offset;
		g->snapshots = (uint32_t)q2_min(h->nb_snapshots,
						Q2_SNAPSHOTS_MAX);
	}
}

bool q2_geom_make(const struct q2_header *h, const struct q2_header_faults *f,
		  uint64_t file_size, struct q2_geom *g)
{
	memset(g, 0, sizeof(*g));
	if (fatal(f))
		return false;
	g->version = h->version;
	g->cluster_bits = h->cluster_bits;
	g->cluster_size = UINT64_C(1) << h->cluster_bits;
	g->ext_l2 = h->incompatible & Q2_INCOMPAT_EXTL2;
	g->data_file = h->incompatible & Q2_INCOMPAT_DATA_FILE;
	g->raw_data = g->data_file && (h->autoclear & Q2_AUTOCLEAR_RAW);
	g->inflatable = h->compression_type <= 1;
	g->zstd = h->compression_type == 1;
	g->crypt = h->crypt_method;
	g->entry_bits = g->ext_l2 ? 4 : 3;
	g->l2_bits = g->cluster_bits - g->entry_bits;
	g->offset_bits = 62 - (g->cluster_bits - 8);
	g->ref_order = q2_header_has(f, Q2_HF_REFCOUNT_ORDER) ?
			       4 : h->refcount_order;
	g->block_bits = g->cluster_bits + 3 - g->ref_order;
	g->file_size = file_size;
	g->file_clusters = q2_div_up(file_size, g->cluster_size);
	g->disk_size = h->size;
	g->disk_clusters = q2_div_up(h->size, g->cluster_size);
	make_l1(h, f, g);
	make_tables(h, f, g);
	if (q2_header_has(f, Q2_HF_REFCOUNT_ORDER))
		g->reftable_bytes = 0;
	return true;
}
