/*
 * snapshot.h - one record of the snapshot table.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Snapshots".  Pure and total: any bytes give a struct, and a
 * judgement of whether they are a record at all.
 */
#ifndef Q2_FORMAT_SNAPSHOT_H
#define Q2_FORMAT_SNAPSHOT_H

#include "base/endian.h"
#include "format/geom.h"

#define Q2_SNAPSHOT_HEAD 40u
#define Q2_SNAPSHOT_EXTRA_MIN 16u   /* what version 3 demands */
#define Q2_SNAPSHOT_EXTRA_MAX 1024u /* QEMU's limit */
#define Q2_SNAPTABLE_MAX (UINT64_C(64) << 20)
/* The longest record that is within the limits, without padding. */
#define Q2_SNAPSHOT_MAX                                                        \
	(Q2_SNAPSHOT_HEAD + Q2_SNAPSHOT_EXTRA_MAX + 2u * UINT16_MAX)

/* Where fields lie in a record. */
enum q2_snapshot_at {
	Q2_SNAPSHOT_AT_L1_OFFSET = 0,
	Q2_SNAPSHOT_AT_L1_SIZE = 8,
	Q2_SNAPSHOT_AT_ID_LEN = 12,
	Q2_SNAPSHOT_AT_NAME_LEN = 14,
	Q2_SNAPSHOT_AT_SEC = 16,
	Q2_SNAPSHOT_AT_NSEC = 20,
	Q2_SNAPSHOT_AT_CLOCK = 24,
	Q2_SNAPSHOT_AT_VM_STATE_32 = 32,
	Q2_SNAPSHOT_AT_EXTRA_LEN = 36,
	Q2_SNAPSHOT_AT_VM_STATE_64 = 40,
	Q2_SNAPSHOT_AT_DISK_SIZE = 48,
	Q2_SNAPSHOT_AT_ICOUNT = 56
};
#define Q2_SNAPSHOT_NSEC_MAX 999999999u

struct q2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_size; /* entries */
	uint16_t id_len;
	uint16_t name_len;
	uint32_t sec;
	uint32_t nsec;
	uint64_t clock;
	uint32_t vm_state_32;
	uint32_t extra_len;
	bool has_vm_state_64;
	bool has_disk_size;
	uint64_t vm_state;  /* bytes; the 64-bit field if there is one */
	uint64_t disk_size; /* bytes; 0 unless has_disk_size */
	uint64_t id_at;	    /* bytes from the record's start */
	uint64_t name_at;
	uint64_t end; /* of the name, from the record's start */
	uint64_t len; /* the same with padding: where the next record starts */
};

/* Bytes that are missing (past n) count as zero. */
void q2_snapshot_parse(const uint8_t *bytes, size_t n, struct q2_snapshot *s);

/* The 56 bytes of a record before its texts, with 16 bytes of extra data, from
 * l1_offset, l1_size, the text lengths, the time, vm_state and disk_size. */
#define Q2_SNAPSHOT_MADE (Q2_SNAPSHOT_HEAD + Q2_SNAPSHOT_EXTRA_MIN)
void q2_snapshot_make(const struct q2_snapshot *s,
		      uint8_t bytes[Q2_SNAPSHOT_MADE]);

enum q2_snapshot_state {
	Q2_SNAPSHOT_SOUND,
	Q2_SNAPSHOT_CUT,   /* it would be sound if there were more bytes */
	Q2_SNAPSHOT_EXTRA, /* too much extra data, so that no length holds */
	Q2_SNAPSHOT_BAD	   /* its fields contradict its bytes */
};

/* Whether the lengths in *s, made from these bytes, can be believed.  Lenient:
 * what QEMU reads as a record is one. */
enum q2_snapshot_state q2_snapshot_judge(const uint8_t *bytes, size_t n,
					 const struct q2_snapshot *s);

/* Whether these fields name an L1 table in the file, so that it can be walked
 * though the lengths behind them make no sense.  Looks at the head only. */
bool q2_snapshot_has_table(const struct q2_geom *g,
			   const struct q2_snapshot *s);

/* Whether a record that is plausible may start with these 8 bytes: most places are
 * ruled out by them. */
static inline bool q2_snapshot_may_start(const struct q2_geom *g,
					 const uint8_t *bytes)
{
	uint64_t l1 = q2_be64(bytes + Q2_SNAPSHOT_AT_L1_OFFSET);

	return l1 && (l1 & (g->cluster_size - 1)) == 0;
}

/* Whether a record stands here where none has to be.  Strict: its L1 table lies
 * in the file and is long enough for its disk, and all texts are printable.
 * Implies Q2_SNAPSHOT_SOUND. */
bool q2_snapshot_plausible(const struct q2_geom *g, const uint8_t *bytes,
			   size_t n, const struct q2_snapshot *s);

#endif
