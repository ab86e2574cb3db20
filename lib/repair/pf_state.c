/*
 * pf_state.c - a plan as bytes: how far a journal's image is.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/num.h"
#include "io/io.h"
#include "repair/planfile.h"

#define MAGIC UINT32_C(0x51325354)

/* magic, state, number from 1, flags, time, the journal's digest, checksum */
enum { STATE = 4, NUMBER = 8, FLAGS = 12, TIME = 16, DIGEST = 24, SUM = 32 };
enum { USED = 40 };

const char *q2_plan_state_text(enum q2_plan_state state)
{
	switch (state) {
	case Q2_STATE_NONE:
		return "not a journal";
	case Q2_STATE_APPLYING:
		return "applying";
	case Q2_STATE_FINISHED:
		return "finished";
	case Q2_STATE_UNDOING:
		return "undoing";
	case Q2_STATE_UNDONE:
		return "undone";
	}
	return "unknown";
}

static bool only_zeros(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* Whether this is the state with that number. */
static bool read_slot(const uint8_t *b, unsigned number, uint64_t digest,
		      struct q2_plan_info *info)
{
	uint32_t state = q2_be32(b + STATE);

	if (q2_be32(b) != MAGIC || q2_be32(b + NUMBER) != number ||
	    q2_be64(b + DIGEST) != digest ||
	    q2_be64(b + SUM) != q2_hash(b, SUM) ||
	    !only_zeros(b + USED, Q2_PF_SLOT - USED) ||
	    state < Q2_STATE_APPLYING || state > Q2_STATE_UNDONE)
		return false;
	info->state = (enum q2_plan_state)state;
	info->changed = q2_be64(b + TIME);
	info->discarded = q2_be32(b + FLAGS) & 1;
	return true;
}

/* Whether writing the slot ended in its middle: zeros follow, and the last byte of
 * the checksum is missing.  Then what it was to say was not begun, or has ended. */
static bool is_torn(const uint8_t *b, unsigned number, uint64_t digest)
{
	uint8_t whole[SUM] = {0};
	size_t n = USED;

	q2_put_be32(whole, MAGIC);
	memcpy(whole + STATE, b + STATE, 4);
	q2_put_be32(whole + NUMBER, number);
	memcpy(whole + FLAGS, b + FLAGS, DIGEST - FLAGS);
	q2_put_be64(whole + DIGEST, digest);
	while (n && b[n - 1] == 0)
		n--;
	return n < USED && only_zeros(b + USED, Q2_PF_SLOT - USED) &&
	       q2_be32(b + STATE) <= Q2_STATE_UNDONE &&
	       memcmp(b, whole, (size_t)q2_min(n, SUM)) == 0;
}

enum q2_status q2_pf_read_states(struct q2_io *io, uint64_t length,
				 uint64_t digest, struct q2_plan_info *info,
				 unsigned *used, struct q2_err *err)
{
	uint64_t start = q2_pf_slots(length);
	uint8_t b[Q2_PF_SLOT];
	bool ended = false;
	enum q2_status st =
		q2_pread(io, b, (size_t)(start - length), length, err);

	if (st == Q2_OK && !only_zeros(b, (size_t)(start - length)))
		return q2_fail(err, Q2_E_FORMAT, 0, length,
			       "refused, it is damaged: what should be zeros "
			       "is not, at offset %llu",
			       (unsigned long long)length);
	*used = 0;
	info->state = Q2_STATE_APPLYING;
	for (unsigned i = 0; i < Q2_PF_SLOTS && st == Q2_OK; i++) {
		uint64_t at = start + (uint64_t)i * Q2_PF_SLOT;

		st = q2_pread(io, b, sizeof(b), at, err);
		if (st != Q2_OK)
			break;
		if (only_zeros(b, sizeof(b)) ||
		    (!ended && is_torn(b, i + 1, digest) &&
		     !read_slot(b, i + 1, digest, info))) {
			ended = true;
			continue;
		}
		if (ended || !read_slot(b, i + 1, digest, info))
			return q2_fail(err, Q2_E_FORMAT, 0, at,
				       "refused, it is damaged: its state at "
				       "offset %llu cannot be read",
				       (unsigned long long)at);
		*used = i + 1;
	}
	return st;
}

enum q2_status q2_pf_digest(struct q2_io *io, uint64_t *length,
			    uint64_t *digest, struct q2_err *err)
{
	uint8_t b[8];
	enum q2_status st = q2_pread(io, b, 8, Q2_PF_H_LENGTH, err);

	if (st != Q2_OK)
		return st;
	*length = q2_be64(b);
	/* The digest of the end record includes that record itself. */
	if (*length < Q2_PF_HEADER + Q2_PF_RECORD + 8 || *length > io->size)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_PF_H_LENGTH,
			       "refused, it is damaged: its length");
	st = q2_pread(io, b, 8, *length - 8, err);
	*digest = q2_be64(b);
	if (st == Q2_OK)
		st = q2_pread(io, b, 8, *length - 16, err);
	if (st == Q2_OK)
		*digest = q2_hash_on(*digest, b, 8);
	return st;
}

enum q2_status q2_pf_add_state(struct q2_io *io, enum q2_plan_state state,
			       uint64_t changed, bool discarded,
			       struct q2_err *err)
{
	uint8_t b[Q2_PF_SLOT] = {0};
	struct q2_plan_info info;
	uint64_t length = 0, digest = 0;
	unsigned used = 0;
	enum q2_status st = q2_pf_digest(io, &length, &digest, err);

	if (st == Q2_OK)
		st = q2_pf_read_states(io, length, digest, &info, &used, err);
	if (st != Q2_OK)
		return st;
	/* What is begun needs room for its end, too. */
	if (used + (state == Q2_STATE_APPLYING || state == Q2_STATE_UNDOING) >=
	    Q2_PF_SLOTS)
		return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
			       "the journal was used too often");
	q2_put_be32(b, MAGIC);
	q2_put_be32(b + STATE, state);
	q2_put_be32(b + NUMBER, used + 1);
	q2_put_be32(b + FLAGS, discarded);
	q2_put_be64(b + TIME, changed);
	q2_put_be64(b + DIGEST, digest);
	q2_put_be64(b + SUM, q2_hash(b, SUM));
	st = q2_pwrite(io, b, sizeof(b),
		       q2_pf_slots(length) + (uint64_t)used * Q2_PF_SLOT, err);
	return st == Q2_OK ? q2_flush(io, err) : st;
}
