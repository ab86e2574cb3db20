/*
 * header.c - parsing and judging the QCOW2 header.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/header.h"

#include <assert.h>
#include <string.h>

#include "base/endian.h"
#include "base/num.h"

/* Offsets of the fields; format, "Header". */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_BACKING_OFFSET = 8,
	AT_BACKING_SIZE = 16,
	AT_CLUSTER_BITS = 20,
	AT_SIZE = 24,
	AT_CRYPT = 32,
	AT_L1_SIZE = 36,
	AT_L1_OFFSET = 40,
	AT_REFTABLE_OFFSET = 48,
	AT_REFTABLE_CLUSTERS = 56,
	AT_NB_SNAPSHOTS = 60,
	AT_SNAPSHOTS_OFFSET = 64,
	AT_INCOMPATIBLE = 72,
	AT_COMPATIBLE = 80,
	AT_AUTOCLEAR = 88,
	AT_REFCOUNT_ORDER = 96,
	AT_HEADER_LENGTH = 100,
	AT_COMPRESSION = 104,
	AT_PADDING = 105
};

static void parse_v3(const uint8_t *b, struct q2_header *h)
{
	h->incompatible = q2_be64(b + AT_INCOMPATIBLE);
	h->compatible = q2_be64(b + AT_COMPATIBLE);
	h->autoclear = q2_be64(b + AT_AUTOCLEAR);
	h->refcount_order = q2_be32(b + AT_REFCOUNT_ORDER);
	h->raw_length = q2_be32(b + AT_HEADER_LENGTH);
	h->header_length = h->raw_length;
	if (h->raw_length <= AT_COMPRESSION)
		return;
	h->compression_type = b[AT_COMPRESSION];
	for (uint8_t i = AT_PADDING;
	     i < Q2_HEADER_READ && i < h->raw_length && !h->padding_at; i++)
		if (b[i])
			h->padding_at = i;
}

void q2_header_parse(const uint8_t *bytes, size_t n, struct q2_header *h)
{
	uint8_t b[Q2_HEADER_READ] = {0};

	memcpy(b, bytes, (size_t)q2_min(n, sizeof(b)));
	memset(h, 0, sizeof(*h));
	h->magic = q2_be32(b + AT_MAGIC);
	h->version = q2_be32(b + AT_VERSION);
	h->backing_offset = q2_be64(b + AT_BACKING_OFFSET);
	h->backing_size = q2_be32(b + AT_BACKING_SIZE);
	h->cluster_bits = q2_be32(b + AT_CLUSTER_BITS);
	h->size = q2_be64(b + AT_SIZE);
	h->crypt_method = q2_be32(b + AT_CRYPT);
	h->l1_size = q2_be32(b + AT_L1_SIZE);
	h->l1_offset = q2_be64(b + AT_L1_OFFSET);
	h->reftable_offset = q2_be64(b + AT_REFTABLE_OFFSET);
	h->reftable_clusters = q2_be32(b + AT_REFTABLE_CLUSTERS);
	h->nb_snapshots = q2_be32(b + AT_NB_SNAPSHOTS);
	h->snapshots_offset = q2_be64(b + AT_SNAPSHOTS_OFFSET);
	h->refcount_order = 4;
	h->header_length = h->raw_length = Q2_HEADER_V2;
	if (h->version == 3)
		parse_v3(b, h);
}

static void fault(struct q2_header_faults *out, enum q2_header_fault_id id,
		  uint64_t found, uint64_t expected)
{
	static_assert(Q2_HF_COUNT <= 64, "a bit for each");
	out->at[out->n++] = (struct q2_header_fault){id, found, expected};
	out->present |= UINT64_C(1) << id;
}

uint64_t q2_l1_needed(uint64_t size, unsigned cluster_bits,
		      unsigned entry_bytes)
{
	uint64_t l2_bytes = UINT64_C(1) << cluster_bits; /* of a table */
	uint64_t disk = l2_bytes / entry_bytes << cluster_bits;

	return q2_div_up(size, disk);
}

/* The fields without which there is no geometry.  False if one is wrong. */
static bool judge_roots(const struct q2_header *h, uint64_t file_size,
			struct q2_header_faults *out)
{
	size_t before = out->n;
	uint64_t needs = h->version == 3 ? Q2_HEADER_V3 : Q2_HEADER_V2;
	uint64_t unknown = h->incompatible & ~(uint64_t)Q2_INCOMPAT_KNOWN;

	if (file_size < Q2_HEADER_V2) {
		fault(out, Q2_HF_SHORT, file_size, Q2_HEADER_V2);
		return false;
	}
	if (h->version != 2 && h->version != 3)
		fault(out, Q2_HF_VERSION, h->version, 3);
	else if (file_size < needs)
		fault(out, Q2_HF_SHORT, file_size, needs);
	if (unknown)
		fault(out, Q2_HF_INCOMPAT_UNKNOWN, unknown, 0);
	if (h->cluster_bits < Q2_CLUSTER_BITS_MIN ||
	    h->cluster_bits > Q2_CLUSTER_BITS_MAX)
		fault(out, Q2_HF_CLUSTER_BITS, h->cluster_bits, 16);
	else if ((h->incompatible & Q2_INCOMPAT_EXTL2) && h->cluster_bits < 14)
		fault(out, Q2_HF_EXTL2_BITS, h->cluster_bits, 14);
	return out->n == before;
}

static void judge_l1(const struct q2_header *h, uint64_t file_size,
		     struct q2_header_faults *out)
{
	unsigned entry = h->incompatible & Q2_INCOMPAT_EXTL2 ? 16 : 8;
	uint64_t needed = q2_l1_needed(h->size, h->cluster_bits, entry);
	uint64_t mask = (UINT64_C(1) << h->cluster_bits) - 1;

	if (needed > Q2_L1_MAX) {
		fault(out, Q2_HF_SIZE_TOO_BIG, h->size, needed);
	} else {
		if (h->size % 512)
			fault(out, Q2_HF_SIZE_UNALIGNED, h->size, 0);
		if (h->l1_size < needed)
			fault(out, Q2_HF_L1_TOO_SMALL, h->l1_size, needed);
	}
	if (h->crypt_method > 2)
		fault(out, Q2_HF_CRYPT_METHOD, h->crypt_method, 0);
	if (h->l1_size > Q2_L1_MAX)
		fault(out, Q2_HF_L1_LIMIT, h->l1_size, Q2_L1_MAX);
	if (h->l1_offset & mask)
		fault(out, Q2_HF_L1_UNALIGNED, h->l1_offset, 0);
	else if (h->l1_offset == 0 && h->l1_size)
		fault(out, Q2_HF_L1_ZERO, 0, 0);
	/* Where a table without entries would lie is nobody's concern, within reason. */
	else if (h->l1_size == 0 ? h->l1_offset > INT64_MAX :
		 h->l1_size <= Q2_L1_MAX &&
			 !q2_inside(h->l1_offset, UINT64_C(8) * h->l1_size,
				    q2_add_sat(file_size, mask) & ~mask))
		fault(out, Q2_HF_L1_OUTSIDE, h->l1_offset,
		      UINT64_C(8) * h->l1_size);
}

static void judge_tables(const struct q2_header *h, uint64_t file_size,
			 struct q2_header_faults *out)
{
	uint64_t mask = (UINT64_C(1) << h->cluster_bits) - 1;
	uint64_t rt_bytes = (uint64_t)h->reftable_clusters << h->cluster_bits;

	if (h->reftable_offset & mask)
		fault(out, Q2_HF_REFTABLE_UNALIGNED, h->reftable_offset, 0);
	else if (h->reftable_offset == 0 || rt_bytes == 0)
		fault(out, Q2_HF_REFTABLE_MISSING, h->reftable_offset, 0);
	/* A table that lies in the file's last, partial cluster is fine. */
	else if (!q2_inside(h->reftable_offset, q2_min(rt_bytes, mask + 1),
			    q2_add_sat(file_size, mask)))
		fault(out, Q2_HF_REFTABLE_OUTSIDE, h->reftable_offset,
		      rt_bytes);
	if (rt_bytes > Q2_REFTABLE_MAX)
		fault(out, Q2_HF_REFTABLE_LIMIT, rt_bytes, Q2_REFTABLE_MAX);
	if (h->nb_snapshots > Q2_SNAPSHOTS_MAX)
		fault(out, Q2_HF_SNAPSHOT_COUNT, h->nb_snapshots,
		      Q2_SNAPSHOTS_MAX);
	if ((h->snapshots_offset & mask) || h->snapshots_offset > INT64_MAX)
		fault(out, Q2_HF_SNAPTABLE_UNALIGNED, h->snapshots_offset, 0);
	else if (h->snapshots_offset == 0 && h->nb_snapshots)
		fault(out, Q2_HF_SNAPTABLE_ZERO, h->nb_snapshots, 0);
}

static void judge_features(const struct q2_header *h,
			   struct q2_header_faults *out)
{
	bool zstd_bit = h->incompatible & Q2_INCOMPAT_COMPRESSION;
	bool data_file = h->incompatible & Q2_INCOMPAT_DATA_FILE;
	bool raw = h->autoclear & Q2_AUTOCLEAR_RAW;
	uint64_t clear = h->autoclear & ~(uint64_t)Q2_AUTOCLEAR_KNOWN;
	uint64_t compat = h->compatible & ~Q2_COMPAT_KNOWN;

	if (h->incompatible & Q2_INCOMPAT_DIRTY)
		fault(out, Q2_HF_DIRTY, 0, 0);
	if (h->incompatible & Q2_INCOMPAT_CORRUPT)
		fault(out, Q2_HF_CORRUPT, 0, 0);
	if (h->compression_type > 1)
		fault(out, Q2_HF_COMPRESSION_TYPE, h->compression_type, 1);
	else if (zstd_bit != (h->compression_type != 0))
		fault(out, Q2_HF_COMPRESSION_BIT, h->compression_type, 0);
	if (clear)
		fault(out, Q2_HF_AUTOCLEAR_UNKNOWN, clear, 0);
	if (compat)
		fault(out, Q2_HF_COMPAT_UNKNOWN, compat, 0);
	if (raw && !data_file)
		fault(out, Q2_HF_RAW_BIT_NO_DATA_FILE, 0, 0);
	if (raw && data_file && h->backing_offset && h->backing_size)
		fault(out, Q2_HF_RAW_BIT_BACKING, 0, 0);
	if (h->refcount_order > 6)
		fault(out, Q2_HF_REFCOUNT_ORDER, h->refcount_order, 4);
}

static void judge_layout(const struct q2_header *h,
			 struct q2_header_faults *out)
{
	uint64_t cs = UINT64_C(1) << h->cluster_bits;
	uint64_t room;

	if (h->version == 3 &&
	    (h->raw_length < Q2_HEADER_V3 || h->raw_length > cs))
		fault(out, Q2_HF_HEADER_LENGTH, h->raw_length, Q2_HEADER_V3);
	else if (h->raw_length % 8)
		fault(out, Q2_HF_LENGTH_UNALIGNED, h->raw_length, 0);
	if (h->padding_at)
		fault(out, Q2_HF_PADDING, h->padding_at, 0);
	if (h->backing_offset == 0)
		return;
	room = h->backing_offset < cs ?
		       q2_min(cs - h->backing_offset, Q2_BACKING_MAX) : 0;
	if (h->backing_offset >= cs)
		fault(out, Q2_HF_BACKING_OFFSET, h->backing_offset, cs);
	else if (h->backing_size > room)
		fault(out, Q2_HF_BACKING_SIZE, h->backing_size, room);
	if (h->backing_offset < h->header_length)
		fault(out, Q2_HF_BACKING_IN_HEADER, h->backing_offset,
		      h->header_length);
	else if (h->backing_offset < cs && h->backing_size == 0)
		fault(out, Q2_HF_BACKING_EMPTY, h->backing_offset, 0);
}

void q2_header_judge(const struct q2_header *h, uint64_t file_size,
		     struct q2_header_faults *out)
{
	out->n = 0;
	out->present = 0;
	if (!judge_roots(h, file_size, out))
		return;
	judge_l1(h, file_size, out);
	judge_tables(h, file_size, out);
	judge_features(h, out);
	judge_layout(h, out);
	if ((h->incompatible & Q2_INCOMPAT_DATA_FILE) && h->nb_snapshots)
		fault(out, Q2_HF_SNAPSHOT_DATA_FILE, h->nb_snapshots, 0);
}
