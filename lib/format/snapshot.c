/*
 * snapshot.c - parsing and recognising snapshot records.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/snapshot.h"

#include <string.h>

#include "base/endian.h"

void q2_snapshot_parse(const uint8_t *bytes, size_t n, struct q2_snapshot *s)
{
	uint8_t b[Q2_SNAPSHOT_AT_ICOUNT] = {0}; /* what is read here */

	memcpy(b, bytes, (size_t)q2_min(n, sizeof(b)));
	*s = (struct q2_snapshot){
		.l1_offset = q2_be64(b + Q2_SNAPSHOT_AT_L1_OFFSET),
		.l1_size = q2_be32(b + Q2_SNAPSHOT_AT_L1_SIZE),
		.id_len = q2_be16(b + Q2_SNAPSHOT_AT_ID_LEN),
		.name_len = q2_be16(b + Q2_SNAPSHOT_AT_NAME_LEN),
		.sec = q2_be32(b + Q2_SNAPSHOT_AT_SEC),
		.nsec = q2_be32(b + Q2_SNAPSHOT_AT_NSEC),
		.clock = q2_be64(b + Q2_SNAPSHOT_AT_CLOCK),
		.vm_state_32 = q2_be32(b + Q2_SNAPSHOT_AT_VM_STATE_32),
		.extra_len = q2_be32(b + Q2_SNAPSHOT_AT_EXTRA_LEN),
	};
	s->vm_state = s->vm_state_32;
	s->has_vm_state_64 = s->extra_len >= Q2_SNAPSHOT_AT_DISK_SIZE -
						     Q2_SNAPSHOT_AT_VM_STATE_64;
	s->has_disk_size = s->extra_len >= Q2_SNAPSHOT_AT_ICOUNT -
						   Q2_SNAPSHOT_AT_VM_STATE_64;
	if (s->has_vm_state_64)
		s->vm_state = q2_be64(b + Q2_SNAPSHOT_AT_VM_STATE_64);
	if (s->has_disk_size)
		s->disk_size = q2_be64(b + Q2_SNAPSHOT_AT_DISK_SIZE);
	s->id_at = (uint64_t)Q2_SNAPSHOT_HEAD + s->extra_len;
	s->name_at = s->id_at + s->id_len;
	s->end = s->name_at + s->name_len;
	s->len = (s->end + 7) & ~UINT64_C(7);
}

void q2_snapshot_make(const struct q2_snapshot *s,
		      uint8_t bytes[Q2_SNAPSHOT_MADE])
{
	memset(bytes, 0, Q2_SNAPSHOT_MADE);
	q2_put_be64(bytes + Q2_SNAPSHOT_AT_L1_OFFSET, s->l1_offset);
	q2_put_be32(bytes + Q2_SNAPSHOT_AT_L1_SIZE, s->l1_size);
	q2_put_be16(bytes + Q2_SNAPSHOT_AT_ID_LEN, s->id_len);
	q2_put_be16(bytes + Q2_SNAPSHOT_AT_NAME_LEN, s->name_len);
	q2_put_be32(bytes + Q2_SNAPSHOT_AT_SEC, s->sec);
	q2_put_be32(bytes + Q2_SNAPSHOT_AT_NSEC, s->nsec);
	q2_put_be64(bytes + Q2_SNAPSHOT_AT_CLOCK, s->clock);
	q2_put_be32(bytes + Q2_SNAPSHOT_AT_VM_STATE_32,
		 s->vm_state <= UINT32_MAX ? (uint32_t)s->vm_state : 0);
	q2_put_be32(bytes + Q2_SNAPSHOT_AT_EXTRA_LEN, Q2_SNAPSHOT_EXTRA_MIN);
	q2_put_be64(bytes + Q2_SNAPSHOT_AT_VM_STATE_64, s->vm_state);
	q2_put_be64(bytes + Q2_SNAPSHOT_AT_DISK_SIZE, s->disk_size);
}

enum q2_snapshot_state q2_snapshot_judge(const uint8_t *bytes, size_t n,
					 const struct q2_snapshot *s)
{
	uint64_t there = q2_min(n, s->end);

	if (n < Q2_SNAPSHOT_HEAD)
		return Q2_SNAPSHOT_CUT;
	if (s->extra_len > Q2_SNAPSHOT_EXTRA_MAX)
		return Q2_SNAPSHOT_EXTRA;
	/* Zeros, as past the end of a table. */
	if (s->l1_offset == 0 && s->l1_size == 0 && s->id_len == 0)
		return Q2_SNAPSHOT_BAD;
	/* Texts come from C strings.  With a wrong length they reach into
	 * padding or numbers, and there are zeros. */
	if (there > s->id_at &&
	    memchr(bytes + s->id_at, 0, (size_t)(there - s->id_at)))
		return Q2_SNAPSHOT_BAD;
	return s->end > n ? Q2_SNAPSHOT_CUT : Q2_SNAPSHOT_SOUND;
}

static bool printable(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] < ' ' || p[i] == 0x7f)
			return false;
	return true;
}

bool q2_snapshot_has_table(const struct q2_geom *g,
			   const struct q2_snapshot *s)
{
	if (s->l1_offset == 0 || (s->l1_offset & (g->cluster_size - 1)))
		return false;
	return s->l1_size && s->l1_size <= Q2_L1_MAX &&
	       s->nsec <= Q2_SNAPSHOT_NSEC_MAX &&
	       q2_inside(s->l1_offset, UINT64_C(8) * s->l1_size, g->file_size);
}

/* The tests of single numbers, before texts are looked at. */
static bool plausible_head(const struct q2_geom *g,
			   const struct q2_snapshot *s)
{
	uint64_t needed;

	if (!q2_snapshot_has_table(g, s) || s->id_len == 0)
		return false;
	if (s->extra_len > Q2_SNAPSHOT_EXTRA_MAX || s->extra_len % 8)
		return false;
	if (!s->has_disk_size)
		return g->version == 2;
	needed = q2_l1_needed(s->disk_size, g->cluster_bits,
			      1u << g->entry_bits);
	return needed <= s->l1_size;
}

bool q2_snapshot_plausible(const struct q2_geom *g, const uint8_t *bytes,
			   size_t n, const struct q2_snapshot *s)
{
	return plausible_head(g, s) &&
	       q2_snapshot_judge(bytes, n, s) == Q2_SNAPSHOT_SOUND &&
	       printable(bytes + s->id_at, (size_t)(s->end - s->id_at));
}
