/*
 * entry.h - what one L1 or L2 entry says, and what is wrong with it.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Cluster mapping" and "Extended L2 Entries".  Total: every bit pattern
 * gives an answer.
 */
#ifndef Q2_FORMAT_ENTRY_H
#define Q2_FORMAT_ENTRY_H

#include "base/endian.h"
#include "format/geom.h"

#define Q2_ENTRY_OFFSET UINT64_C(0x00fffffffffffe00)
#define Q2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define Q2_L2_RESERVED UINT64_C(0x3f000000000001fe)
#define Q2_COPIED (UINT64_C(1) << 63)
#define Q2_COMPRESSED (UINT64_C(1) << 62)
#define Q2_ZERO UINT64_C(1)

enum q2_entry_fault {
	Q2_EF_RESERVED = 1 << 0,
	Q2_EF_UNALIGNED = 1 << 1,
	Q2_EF_OUTSIDE = 1 << 2,
	Q2_EF_FLAGS_ONLY = 1 << 3,    /* L1: flags without an offset */
	Q2_EF_COPIED_UNUSED = 1 << 4, /* L2: COPIED without a host cluster */
	Q2_EF_ZERO_V2 = 1 << 5,
	Q2_EF_ZERO_EXTL2 = 1 << 6,
	Q2_EF_COPIED_COMPRESSED = 1 << 7,
	Q2_EF_COMPRESSED_DATA_FILE = 1 << 8,
	Q2_EF_COMPRESSED_BITMAP = 1 << 9,
	Q2_EF_SUB_CONFLICT = 1 << 10,
	Q2_EF_SUB_NO_OFFSET = 1 << 11,
	Q2_EF_DATA_FILE_OFFSET = 1 << 12,
	Q2_EF_DATA_FILE_COPIED = 1 << 13,
	Q2_EF_CUT = 1 << 14 /* compressed: the last sector is past the end */
};

/* An L1 entry.  `table` is meaningful only if `used`. */
struct q2_l1_entry {
	unsigned faults;
	bool used; /* it names an L2 table that can be read */
	bool copied;
	struct q2_clu table;
};

struct q2_l1_entry q2_l1_decode(const struct q2_geom *g, uint64_t raw);

enum q2_l2_type {
	Q2_L2_UNALLOCATED,
	Q2_L2_ZERO_PLAIN, /* reads as zeros, no host cluster */
	Q2_L2_ZERO_ALLOC, /* reads as zeros, keeps a host cluster */
	Q2_L2_NORMAL,
	Q2_L2_COMPRESSED
};

/* An L2 entry.  `host` is the file's range that the entry refers to; for a
 * standard cluster it is one whole cluster.  With an external data file it is a
 * range of that file, unless compressed. */
struct q2_l2_entry {
	enum q2_l2_type type;
	unsigned faults;
	bool copied;
	bool refers; /* `host` is in the QCOW2 file and is a counted reference */
	struct q2_range host;
};

/* The second half of an extended entry that stands there; 0 if entries have none. */
static inline uint64_t q2_l2_bitmap(const struct q2_geom *g,
				    const uint8_t *entry)
{
	return g->ext_l2 ? q2_be64(entry + 8) : 0;
}

/* `bitmap` is the second half of an extended entry, 0 otherwise.  `guest` is the
 * entry's guest offset, needed with an external data file. */
struct q2_l2_entry q2_l2_decode(const struct q2_geom *g, uint64_t raw,
				uint64_t bitmap, uint64_t guest);

#endif
