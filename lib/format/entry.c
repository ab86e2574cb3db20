/*
 * entry.c - decoding L1 and L2 entries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/entry.h"

#define SECTOR UINT64_C(512)

struct q2_l1_entry q2_l1_decode(const struct q2_geom *g, uint64_t raw)
{
	struct q2_l1_entry e = {.copied = raw & Q2_COPIED};
	uint64_t off = raw & Q2_ENTRY_OFFSET;

	if (raw == 0)
		return e;
	if (raw & Q2_L1_RESERVED)
		e.faults |= Q2_EF_RESERVED;
	if (off == 0)
		e.faults |= e.faults ? 0u : (unsigned)Q2_EF_FLAGS_ONLY;
	else if (off & (g->cluster_size - 1))
		e.faults |= Q2_EF_UNALIGNED;
	else if (off >= g->file_size)
		e.faults |= Q2_EF_OUTSIDE;
	else
		e.used = true;
	e.table = q2_cluster(g, off);
	return e;
}

/* Format, "Compressed Clusters Descriptor". */
static void decode_compressed(const struct q2_geom *g, uint64_t raw,
			      uint64_t bitmap, struct q2_l2_entry *e)
{
	uint64_t off = raw & ((UINT64_C(1) << g->offset_bits) - 1);
	uint64_t more = (raw & (Q2_COMPRESSED - 1)) >> g->offset_bits;
	uint64_t end = (off & ~(SECTOR - 1)) + (more + 1) * SECTOR;

	e->type = Q2_L2_COMPRESSED;
	e->host = (struct q2_range){off, end - off};
	if (e->copied)
		e->faults |= Q2_EF_COPIED_COMPRESSED;
	if (g->data_file)
		e->faults |= Q2_EF_COMPRESSED_DATA_FILE;
	if (bitmap)
		e->faults |= Q2_EF_COMPRESSED_BITMAP;
	if (off >> 56 || end > g->file_clusters << g->cluster_bits)
		e->faults |= Q2_EF_OUTSIDE;
	else if (end - SECTOR >= g->file_size)
		e->faults |= Q2_EF_CUT;
	e->refers = !(e->faults & Q2_EF_OUTSIDE) && !g->data_file;
}

/* Format, "Subcluster Allocation Bitmap (for standard clusters)". */
static enum q2_l2_type decode_subclusters(uint64_t bitmap,
					  bool has_host,
					  struct q2_l2_entry *e)
{
	uint32_t alloc = (uint32_t)bitmap;
	uint32_t zeros = (uint32_t)(bitmap >> 32);

	if (alloc & zeros)
		e->faults |= Q2_EF_SUB_CONFLICT;
	if (alloc && !has_host)
		e->faults |= Q2_EF_SUB_NO_OFFSET;
	if (has_host)
		return alloc || !zeros ? Q2_L2_NORMAL : Q2_L2_ZERO_ALLOC;
	return zeros ? Q2_L2_ZERO_PLAIN : Q2_L2_UNALLOCATED;
}

static enum q2_l2_type standard_type(uint64_t raw, bool has_host)
{
	if (raw & Q2_ZERO)
		return has_host ? Q2_L2_ZERO_ALLOC : Q2_L2_ZERO_PLAIN;
	return has_host ? Q2_L2_NORMAL : Q2_L2_UNALLOCATED;
}

struct q2_l2_entry q2_l2_decode(const struct q2_geom *g, uint64_t raw,
				uint64_t bitmap, uint64_t guest)
{
	struct q2_l2_entry e = {.copied = raw & Q2_COPIED};
	uint64_t off = raw & Q2_ENTRY_OFFSET;
	bool has_host;

	if (raw & Q2_COMPRESSED) {
		decode_compressed(g, raw, bitmap, &e);
		return e;
	}
	/* In a data file offset 0 is a cluster if COPIED says so. */
	has_host = off != 0 || (g->data_file && e.copied);
	e.host = (struct q2_range){off, has_host ? g->cluster_size : 0};
	if (raw & Q2_L2_RESERVED)
		e.faults |= Q2_EF_RESERVED;
	if ((raw & Q2_ZERO) && g->version == 2)
		e.faults |= Q2_EF_ZERO_V2;
	if ((raw & Q2_ZERO) && g->ext_l2)
		e.faults |= Q2_EF_ZERO_EXTL2;
	e.type = g->ext_l2 ? decode_subclusters(bitmap, has_host, &e) :
			     standard_type(raw, has_host);
	if (!has_host) {
		if (e.copied)
			e.faults |= Q2_EF_COPIED_UNUSED;
		return e;
	}
	if (off & (g->cluster_size - 1)) {
		e.faults |= Q2_EF_UNALIGNED;
		return e;
	}
	if (g->data_file) {
		if (off != guest)
			e.faults |= Q2_EF_DATA_FILE_OFFSET;
		if (!e.copied)
			e.faults |= Q2_EF_DATA_FILE_COPIED;
		return e;
	}
	if (off >= g->file_size)
		e.faults |= Q2_EF_OUTSIDE;
	else
		e.refers = true;
	return e;
}
