/*
 * bitmap.h - records of the bitmap directory, and entries of a bitmap table.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Bitmaps extension" and "Bitmaps".  Pure and total.
 */
#ifndef Q2_FORMAT_BITMAP_H
#define Q2_FORMAT_BITMAP_H

#include "format/entry.h"

/* QEMU's limits. */
#define Q2_BITMAPS_MAX 65535u
#define Q2_BITMAPDIR_MAX UINT64_C(67107840) /* bytes */
#define Q2_BITMAP_BYTES_MAX (UINT64_C(512) << 20)
#define Q2_BITMAP_NAME_MAX 1023u
#define Q2_BITMAP_GRAN_MIN 9u
#define Q2_BITMAP_GRAN_MAX 31u

#define Q2_BITMAP_HEAD 24u
#define Q2_BITMAP_DIRTY 1u /* the only type */

enum q2_bitmap_flag {
	Q2_BITMAP_IN_USE = 1 << 0,
	Q2_BITMAP_AUTO = 1 << 1,
	Q2_BITMAP_EXTRA_OK = 1 << 2,
	Q2_BITMAP_FLAGS = (1 << 3) - 1
};

/* Where fields lie in a record. */
enum q2_bitmap_place {
	Q2_BITMAP_AT_FLAGS = 12,
	Q2_BITMAP_AT_TYPE = 16,
	Q2_BITMAP_AT_GRAN = 17
};

/* The extension's data: Q2_EXT_BITMAPS_LEN bytes. */
struct q2_bitmaps_ext {
	uint32_t bitmaps;
	uint32_t reserved;
	uint64_t dir_size;
	uint64_t dir_offset;
};

struct q2_bitmaps_ext q2_bitmaps_ext_parse(const uint8_t *data);

struct q2_bitmap {
	uint64_t table_offset;
	uint32_t table_size; /* entries */
	uint32_t flags;
	uint8_t type;
	uint8_t gran; /* log2 of the disk's bytes for a bit */
	uint16_t name_len;
	uint32_t extra_len;
	uint64_t name_at; /* bytes from the record's start */
	uint64_t end;	  /* of the name */
	uint64_t len;	  /* with padding: where the next record starts */
};

/* Bytes that are missing (past n) count as zero. */
void q2_bitmap_parse(const uint8_t *bytes, size_t n, struct q2_bitmap *b);

/* Whether these fields name a table in the file, so that it can be walked
 * though the lengths behind them make no sense. */
bool q2_bitmap_has_table(const struct q2_geom *g, const struct q2_bitmap *b);

/* Whether a record stands here where none has to be.  Strict: no reader would
 * object to any field.  Looks at the head only. */
bool q2_bitmap_plausible(const struct q2_geom *g, const struct q2_bitmap *b);

/* Bytes of bitmap data that a disk of this size needs; gran is 0 to 63. */
uint64_t q2_bitmap_bytes(uint64_t disk_size, unsigned gran);

#define Q2_BITMAP_RESERVED UINT64_C(0xff000000000001fe)
#define Q2_BITMAP_ONES UINT64_C(1)

/* One entry of a bitmap table.  Of the faults there are RESERVED, UNALIGNED and
 * OUTSIDE. */
struct q2_bitmap_entry {
	unsigned faults; /* enum q2_entry_fault */
	bool used;	 /* `host` is a cluster in the file */
	bool ones;	 /* no cluster: all bits of the range are set */
	uint64_t host;	 /* offset in the file */
};

struct q2_bitmap_entry q2_bitmap_decode(const struct q2_geom *g, uint64_t raw);

#endif
