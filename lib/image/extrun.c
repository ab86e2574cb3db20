/*
 * extrun.c - the run of like entries at the start of a part of an L2 table.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/extrun.h"

#include "base/endian.h"

#define SUBS 32u

/* What readers refuse; the other faults leave the meaning clear. */
#define UNREADABLE_FAULTS                                                      \
	(Q2_EF_ZERO_V2 | Q2_EF_COMPRESSED_DATA_FILE | Q2_EF_SUB_CONFLICT |     \
	 Q2_EF_SUB_NO_OFFSET | Q2_EF_DATA_FILE_OFFSET | Q2_EF_UNALIGNED |      \
	 Q2_EF_OUTSIDE)

/* How many clusters from `off` on exist at all. */
static uint64_t clusters_left(const struct q2_geom *g, uint64_t off)
{
	uint64_t end = g->data_file ? Q2_ENTRY_OFFSET :
				      g->file_clusters << g->cluster_bits;

	return off < end ? (end - off) >> g->cluster_bits : 0;
}

/* Entries 1 … of `n` that repeat the first one, or go on one cluster further. */
static uint64_t same(const uint8_t *bytes, uint64_t n, uint64_t raw)
{
	uint64_t i = 1;

	while (i < n && q2_be64(bytes + 8 * i) == raw)
		i++;
	return i;
}

static uint64_t rising(const uint8_t *bytes, uint64_t n, uint64_t raw,
		       uint64_t step, uint64_t mask)
{
	uint64_t i = 1;

	/* A writer in order sets COPIED in all of them. */
	while (i < n && q2_be64(bytes + 8 * i) == raw + i * step)
		i++;
	while (i < n && (q2_be64(bytes + 8 * i) & mask) ==
				(raw & mask) + i * step)
		i++;
	return i;
}

/* The bits in which the entries of a run must go on.  Where COPIED says that there
 * is a cluster at all, it does not only tell of refcounts. */
static uint64_t mask_of(const struct q2_geom *g)
{
	return g->data_file ? UINT64_MAX : ~Q2_COPIED;
}

/* Whether a whole extended entry is what the one before was in its last
 * subcluster: `bits` is 1 for allocated, 2 for zero, 0 for neither. */
static uint64_t same_extended(const uint8_t *bytes, uint64_t n, uint64_t raw,
			      uint64_t step, uint64_t mask, unsigned bits)
{
	uint64_t whole = bits == 1 ? UINT32_MAX :
			 bits == 2 ? (uint64_t)UINT32_MAX << 32 : 0;
	uint64_t i = 1;

	while (i < n &&
	       (q2_be64(bytes + 16 * i) & mask) == (raw & mask) + i * step &&
	       q2_be64(bytes + 16 * i + 8) == whole)
		i++;
	return i;
}

static enum q2_map_kind kind_of(enum q2_l2_type type)
{
	switch (type) {
	case Q2_L2_UNALLOCATED:
		return Q2_MAP_NONE;
	case Q2_L2_ZERO_PLAIN:
		return Q2_MAP_ZERO;
	case Q2_L2_ZERO_ALLOC:
		return Q2_MAP_ZERO_ALLOC;
	case Q2_L2_NORMAL:
		return Q2_MAP_DATA;
	case Q2_L2_COMPRESSED:
		break;
	}
	return Q2_MAP_COMPRESSED;
}

/* Cuts the extent to `bytes` from the start of its cluster on. */
static void cut(const struct q2_geom *g, struct q2_extent *out, uint64_t bytes)
{
	uint64_t skip = out->guest & (g->cluster_size - 1);

	out->length = q2_min(out->length, bytes - skip);
}

static void subclusters(const struct q2_geom *g, const uint8_t *bytes,
			uint64_t n, struct q2_extent *out)
{
	uint64_t raw = q2_be64(bytes), bitmap = q2_be64(bytes + 8);
	unsigned sub_bits = g->cluster_bits - 5;
	unsigned first = (unsigned)(out->guest >> sub_bits) & (SUBS - 1);
	unsigned last = first;
	uint64_t all = 1;
	unsigned bits, b;

	bits = (unsigned)(bitmap >> first & 1) |
	       (unsigned)(bitmap >> (first + 32) & 1) << 1;
	do {
		last++;
		b = last == SUBS ? 4 : (unsigned)(bitmap >> last & 1) |
			       (unsigned)(bitmap >> (last + 32) & 1) << 1;
	} while (b == bits);
	out->kind = bits == 1 ? Q2_MAP_DATA :
		    bits == 0 ? Q2_MAP_NONE :
		    out->has_host ? Q2_MAP_ZERO_ALLOC : Q2_MAP_ZERO;
	if (last < SUBS) {
		cut(g, out, (uint64_t)last << sub_bits);
		return;
	}
	if (out->has_host)
		n = q2_min(n, clusters_left(g, raw & Q2_ENTRY_OFFSET));
	all = same_extended(bytes, n, raw, out->has_host ? g->cluster_size : 0,
			    mask_of(g), bits);
	cut(g, out, all << g->cluster_bits);
}

void q2_run_at(const struct q2_geom *g, const uint8_t *bytes, uint64_t n,
	       struct q2_extent *out)
{
	uint64_t skip = out->guest & (g->cluster_size - 1);
	uint64_t raw = q2_be64(bytes);
	struct q2_l2_entry e;

	e = q2_l2_decode(g, raw, q2_l2_bitmap(g, bytes), out->guest - skip);
	out->kind = kind_of(e.type);
	out->has_host = e.host.len != 0;
	out->host = e.host.start;
	out->faults = e.faults;
	if (e.faults & UNREADABLE_FAULTS) {
		out->kind = Q2_MAP_UNREADABLE;
		out->why = Q2_WHY_L2_ENTRY;
		if (e.type == Q2_L2_COMPRESSED)
			out->stored = e.host.len;
		cut(g, out, g->cluster_size);
		return;
	}
	if (e.type == Q2_L2_COMPRESSED) {
		out->stored = e.host.len;
		cut(g, out, g->cluster_size);
		return;
	}
	out->host += out->has_host ? skip : 0;
	if (g->ext_l2) {
		subclusters(g, bytes, n, out);
		return;
	}
	if (!out->has_host) {
		n = same(bytes, n, raw);
	} else {
		n = q2_min(n, clusters_left(g, e.host.start));
		n = rising(bytes, n, raw, g->cluster_size, mask_of(g));
	}
	cut(g, out, n << g->cluster_bits);
}
