/*
 * bitmap.c - parsing bitmap records and table entries.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/bitmap.h"

#include <string.h>

#include "base/endian.h"

struct q2_bitmaps_ext q2_bitmaps_ext_parse(const uint8_t *data)
{
	return (struct q2_bitmaps_ext){
		.bitmaps = q2_be32(data),
		.reserved = q2_be32(data + 4),
		.dir_size = q2_be64(data + 8),
		.dir_offset = q2_be64(data + 16),
	};
}

void q2_bitmap_parse(const uint8_t *bytes, size_t n, struct q2_bitmap *b)
{
	uint8_t h[Q2_BITMAP_HEAD] = {0};

	memcpy(h, bytes, (size_t)q2_min(n, sizeof(h)));
	*b = (struct q2_bitmap){
		.table_offset = q2_be64(h),
		.table_size = q2_be32(h + 8),
		.flags = q2_be32(h + Q2_BITMAP_AT_FLAGS),
		.type = h[Q2_BITMAP_AT_TYPE],
		.gran = h[Q2_BITMAP_AT_GRAN],
		.name_len = q2_be16(h + 18),
		.extra_len = q2_be32(h + 20),
	};
	b->name_at = (uint64_t)Q2_BITMAP_HEAD + b->extra_len;
	b->end = b->name_at + b->name_len;
	b->len = (b->end + 7) & ~UINT64_C(7);
}

bool q2_bitmap_has_table(const struct q2_geom *g, const struct q2_bitmap *b)
{
	if (b->table_offset == 0 || (b->table_offset & (g->cluster_size - 1)))
		return false;
	return b->table_size &&
	       b->table_size <= Q2_BITMAP_BYTES_MAX >> g->cluster_bits &&
	       q2_inside(b->table_offset, UINT64_C(8) * b->table_size,
			 g->file_size);
}

bool q2_bitmap_plausible(const struct q2_geom *g, const struct q2_bitmap *b)
{
	return q2_bitmap_has_table(g, b) &&
	       !(b->flags & ~(uint32_t)(Q2_BITMAP_IN_USE | Q2_BITMAP_AUTO)) &&
	       b->type == Q2_BITMAP_DIRTY && b->gran >= Q2_BITMAP_GRAN_MIN &&
	       b->gran <= Q2_BITMAP_GRAN_MAX && b->name_len &&
	       b->name_len <= Q2_BITMAP_NAME_MAX && b->extra_len == 0;
}

uint64_t q2_bitmap_bytes(uint64_t disk_size, unsigned gran)
{
	return q2_div_up(q2_div_up(disk_size, UINT64_C(1) << gran), 8);
}

struct q2_bitmap_entry q2_bitmap_decode(const struct q2_geom *g, uint64_t raw)
{
	struct q2_bitmap_entry e = {.host = raw & Q2_ENTRY_OFFSET};

	if (raw & Q2_BITMAP_RESERVED)
		e.faults |= Q2_EF_RESERVED;
	if (e.host == 0) {
		e.ones = raw & Q2_BITMAP_ONES;
		return e;
	}
	if (raw & Q2_BITMAP_ONES)
		e.faults |= Q2_EF_RESERVED;
	if (e.host & (g->cluster_size - 1))
		e.faults |= Q2_EF_UNALIGNED;
	else if (e.host >= g->file_size)
		e.faults |= Q2_EF_OUTSIDE;
	else
		e.used = true;
	return e;
}
