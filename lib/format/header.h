/*
 * header.h - the QCOW2 header: any bytes give a struct and a list of faults.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Header".  Pure: no I/O, no allocation.
 */
#ifndef Q2_FORMAT_HEADER_H
#define Q2_FORMAT_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define Q2_MAGIC 0x514649fbu
#define Q2_HEADER_V2 72
#define Q2_HEADER_V3 104
#define Q2_HEADER_READ 112 /* bytes that hold every field known to us */
#define Q2_CLUSTER_BITS_MIN 9
#define Q2_CLUSTER_BITS_MAX 21
#define Q2_L1_MAX 4194304u /* entries; QEMU's limit of 32 MiB */
#define Q2_REFTABLE_MAX (UINT64_C(8) << 20)
#define Q2_SNAPSHOTS_MAX 65536u
#define Q2_BACKING_MAX 1023u

enum q2_incompat {
	Q2_INCOMPAT_DIRTY = 1 << 0,
	Q2_INCOMPAT_CORRUPT = 1 << 1,
	Q2_INCOMPAT_DATA_FILE = 1 << 2,
	Q2_INCOMPAT_COMPRESSION = 1 << 3,
	Q2_INCOMPAT_EXTL2 = 1 << 4,
	Q2_INCOMPAT_KNOWN = (1 << 5) - 1
};
#define Q2_COMPAT_KNOWN UINT64_C(1) /* lazy refcounts */
enum q2_autoclear {
	Q2_AUTOCLEAR_BITMAPS = 1 << 0,
	Q2_AUTOCLEAR_RAW = 1 << 1,
	Q2_AUTOCLEAR_KNOWN = (1 << 2) - 1
};

/* The fields as the file has them; those that a version 2 header, or a short
 * header_length, does not have hold the values that the format prescribes. */
struct q2_header {
	uint32_t magic;
	uint32_t version;
	uint64_t backing_offset;
	uint32_t backing_size;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_size;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t nb_snapshots;
	uint64_t snapshots_offset;
	uint64_t incompatible;
	uint64_t compatible;
	uint64_t autoclear;
	uint32_t refcount_order;
	uint32_t header_length; /* where the extensions start */
	uint32_t raw_length;	/* the field header_length as found */
	uint8_t compression_type;
	uint8_t padding_at; /* offset of the first non-zero padding byte, or 0 */
};

/* `bytes` are the first `n` bytes of the file, n <= Q2_HEADER_READ matters;
 * missing ones count as zero. */
void q2_header_parse(const uint8_t *bytes, size_t n, struct q2_header *h);

enum q2_header_fault_id {
	Q2_HF_VERSION,
	Q2_HF_SHORT,
	Q2_HF_INCOMPAT_UNKNOWN,
	Q2_HF_CLUSTER_BITS,
	Q2_HF_EXTL2_BITS,
	Q2_HF_SIZE_TOO_BIG,
	Q2_HF_SIZE_UNALIGNED,
	Q2_HF_L1_TOO_SMALL,
	Q2_HF_CRYPT_METHOD,
	Q2_HF_L1_LIMIT,
	Q2_HF_L1_UNALIGNED,
	Q2_HF_L1_ZERO,
	Q2_HF_L1_OUTSIDE,
	Q2_HF_REFTABLE_UNALIGNED,
	Q2_HF_REFTABLE_MISSING,
	Q2_HF_REFTABLE_OUTSIDE,
	Q2_HF_REFTABLE_LIMIT,
	Q2_HF_SNAPSHOT_COUNT,
	Q2_HF_SNAPTABLE_UNALIGNED,
	Q2_HF_SNAPTABLE_ZERO,
	Q2_HF_DIRTY,
	Q2_HF_CORRUPT,
	Q2_HF_COMPRESSION_BIT,
	Q2_HF_COMPRESSION_TYPE,
	Q2_HF_AUTOCLEAR_UNKNOWN,
	Q2_HF_COMPAT_UNKNOWN,
	Q2_HF_RAW_BIT_NO_DATA_FILE,
	Q2_HF_RAW_BIT_BACKING,
	Q2_HF_REFCOUNT_ORDER,
	Q2_HF_HEADER_LENGTH,
	Q2_HF_LENGTH_UNALIGNED,
	Q2_HF_PADDING,
	Q2_HF_BACKING_OFFSET,
	Q2_HF_BACKING_SIZE,
	Q2_HF_BACKING_IN_HEADER,
	Q2_HF_BACKING_EMPTY,
	Q2_HF_SNAPSHOT_DATA_FILE,
	Q2_HF_COUNT
};

struct q2_header_fault {
	enum q2_header_fault_id id;
	uint64_t found;
	uint64_t expected;
};

struct q2_header_faults {
	size_t n;
	uint64_t present; /* a bit for each id */
	struct q2_header_fault at[Q2_HF_COUNT];
};

/* Everything about the header that can be judged from its own fields and the
 * length of the file.  Each fault appears at most once, in the order of the
 * enum.  After VERSION, SHORT, INCOMPAT_UNKNOWN, CLUSTER_BITS or EXTL2_BITS
 * there is no geometry, and only what does not need one was judged. */
void q2_header_judge(const struct q2_header *h, uint64_t file_size,
		     struct q2_header_faults *out);

static inline bool q2_header_has(const struct q2_header_faults *f,
				 enum q2_header_fault_id id)
{
	return f->present >> id & 1;
}

/* Entries of an L1 table that a disk of `size` bytes needs; UINT64_MAX is never
 * reached.  entry_bytes is 8, or 16 with extended L2 entries. */
uint64_t q2_l1_needed(uint64_t size, unsigned cluster_bits,
		      unsigned entry_bytes);

#endif
