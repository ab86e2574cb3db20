/*
 * t_forged.c - plan files that somebody made, with checksums that hold.
 *
 * SPDX-License-Identifier: MIT
 *
 * P-1 no plan that makes no sense passes, wherever it comes from; a journal whose
 * last state was torn says the one before.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/hash.h"
#include "t_repair.h"

/* Fields of a state (pf_state.c). */
enum { NUMBER = 8, DIGEST = 24, SUM = 32, USED = 40 };

struct forged {
	uint8_t *bytes; /* of a whole journal with one state */
	size_t n;
	size_t slots;
};

/* What is read of the bytes; -1: they are refused. */
static int state_of(const uint8_t *bytes, size_t n)
{
	struct q2_plan_info info;
	struct q2_plan *plan;
	struct q2_io *io;
	int state = -1;

	if (q2_io_memory(bytes, n, &io, NULL) != Q2_OK)
		abort();
	if (q2_pf_read(io, 0, &plan, &info, NULL) == Q2_OK) {
		state = (int)info.state;
		q2_plan_free(plan);
	}
	q2_io_close(io);
	return state;
}

static void must_be(const uint8_t *bytes, size_t n, int want, const char *what)
{
	int got = state_of(bytes, n);

	if (got != want)
		q2f_violation("P-1", "%s: state %d, not %d", what, got, want);
}

/* A header with another value in one field, four or eight bytes long. */
static void with_header(const struct forged *f, size_t at, unsigned width,
			uint64_t value)
{
	uint8_t *copy = q2f_own(f->n);

	memcpy(copy, f->bytes, f->n);
	if (width == 4)
		q2_put_be32(copy + at, (uint32_t)value);
	else
		q2_put_be64(copy + at, value);
	q2_put_be64(copy + Q2_PF_H_CHECKSUM,
		    q2_hash(copy, Q2_PF_H_CHECKSUM));
	must_be(copy, f->n, -1, "a header that makes no sense");
	q2f_own_free(copy);
}

/* The first state with one byte changed, sealed again or not. */
static void with_state(const struct forged *f, size_t at, bool sealed)
{
	uint8_t *copy = q2f_own(f->n), *slot = copy + f->slots;

	memcpy(copy, f->bytes, f->n);
	/* Without the last byte of its checksum it would be a torn one. */
	if (!sealed && slot[USED - 1] == 0) {
		q2f_own_free(copy);
		return;
	}
	slot[at] ^= 0x40;
	if (sealed)
		q2_put_be64(slot + SUM, q2_hash(slot, SUM));
	must_be(copy, f->n, -1, "a state that makes no sense");
	q2f_own_free(copy);
}

/* Of the state after the first one only the beginning was written. */
static void torn(const struct forged *f, size_t n)
{
	uint8_t *copy = q2f_own(f->n), *slot = copy + f->slots;

	memcpy(copy, f->bytes, f->n);
	memcpy(slot + Q2_PF_SLOT, slot, Q2_PF_SLOT);
	q2_put_be32(slot + Q2_PF_SLOT + NUMBER, 2);
	q2_put_be64(slot + Q2_PF_SLOT + SUM,
		    q2_hash(slot + Q2_PF_SLOT, SUM));
	memset(slot + Q2_PF_SLOT + n, 0, USED - n);
	must_be(copy, f->n, Q2_STATE_APPLYING, "a torn state");
	/* What follows cannot have been written. */
	memcpy(slot + 2 * Q2_PF_SLOT, slot, Q2_PF_SLOT);
	must_be(copy, f->n, -1, "a state behind a torn one");
	q2f_own_free(copy);
}

static void lengths(const struct forged *f)
{
	static const size_t cut[] = {0, 7, 8, Q2_PF_HEADER - 1, Q2_PF_HEADER};
	uint8_t *copy = q2f_own(f->n + 1);

	memcpy(copy, f->bytes, f->n);
	for (size_t i = 0; i < sizeof(cut) / sizeof(*cut); i++)
		must_be(copy, cut[i], -1, "a beginning");
	must_be(copy, f->n - 1, -1, "without its last byte");
	must_be(copy, f->n + 1, -1, "with one byte more");
	if (f->slots % Q2_PF_SLOT == 0 && f->bytes[f->slots - 1] == 0) {
		copy[f->slots - 1] = 1;
		must_be(copy, f->n, -1, "where zeros should stand");
	}
	q2f_own_free(copy);
}

/* There is room for so many states. */
static void used_up(struct q2_io *io)
{
	enum q2_status st = Q2_OK;
	unsigned n = 0;

	while (st == Q2_OK && n <= Q2_PF_SLOTS) {
		st = q2_pf_add_state(io, n % 2 ? Q2_STATE_FINISHED :
						 Q2_STATE_APPLYING,
				     n, n % 3 == 0, NULL);
		n++;
	}
	if (st != Q2_E_RANGE || n < Q2_PF_SLOTS / 2)
		q2f_violation("P-1", "after %u states: status %d", n, (int)st);
}

/* A plan with another one's header, which makes sense by itself: only its end tells. */
static void mixed(const struct repair *r)
{
	struct forged f = {0};
	struct q2_io *io;

	if (q2_io_memory_rw("", 0, 0, &io, NULL) != Q2_OK ||
	    q2_pf_write(r->plan, Q2_PLAN_REVIEW, 1, io, NULL) != Q2_OK)
		q2f_violation("P-1", "a plan cannot be stored");
	f.n = (size_t)q2_io_size(io);
	f.bytes = q2f_own(f.n);
	memcpy(f.bytes, q2_io_memory_bytes(io), f.n);
	with_header(&f, Q2_PF_H_NEW_SIZE, 8, r->plan->new_size + 512);
	with_header(&f, Q2_PF_H_IDENTITY, 8, r->plan->identity + 1);
	with_header(&f, Q2_PF_H_TIME, 8, 2);
	q2f_own_free(f.bytes);
	q2_io_close(io);
}

void q2f_forged(const struct repair *r)
{
	struct forged f;
	struct q2_io *io;

	if (q2_io_memory_rw("", 0, 0, &io, NULL) != Q2_OK ||
	    q2_pf_write(r->plan, Q2_PLAN_JOURNAL, 1, io, NULL) != Q2_OK ||
	    q2_pf_add_state(io, Q2_STATE_APPLYING, 1, true, NULL) != Q2_OK)
		q2f_violation("P-1", "a journal cannot be stored");
	f.n = (size_t)q2_io_size(io);
	f.bytes = q2f_own(f.n);
	memcpy(f.bytes, q2_io_memory_bytes(io), f.n);
	f.slots = f.n - (size_t)Q2_PF_SLOTS * Q2_PF_SLOT;
	must_be(f.bytes, f.n, Q2_STATE_APPLYING, "as it is");
	with_header(&f, Q2_PF_H_VERSION, 4, 0);
	with_header(&f, Q2_PF_H_VERSION, 4, Q2_PF_VERSION + 1);
	with_header(&f, Q2_PF_H_KIND, 4, 0);
	with_header(&f, Q2_PF_H_KIND, 4, 9);
	with_header(&f, Q2_PF_H_LENGTH, 8, 0);
	with_header(&f, Q2_PF_H_LENGTH, 8, Q2_PF_HEADER);
	with_header(&f, Q2_PF_H_LENGTH, 8, Q2_PF_HEADER + 20);
	with_header(&f, Q2_PF_H_LENGTH, 8, UINT64_MAX);
	with_header(&f, Q2_PF_H_EDITS, 8, UINT64_MAX);
	with_header(&f, Q2_PF_H_ACTIONS, 8, UINT64_MAX);
	with_header(&f, Q2_PF_H_EXPORTS, 8, UINT64_MAX);
	for (size_t at = 0; at < USED + 8; at += 4) {
		with_state(&f, at, false);
		if ((at < 16 && at != 12) || (at >= DIGEST && at < SUM))
			with_state(&f, at, true);
	}
	for (size_t n = 1; n < USED; n += 6)
		torn(&f, n);
	lengths(&f);
	used_up(io);
	q2f_own_free(f.bytes);
	q2_io_close(io);
	mixed(r);
}
