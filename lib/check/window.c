/*
 * window.c - a sliding buffer over a part of the file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/window.h"

#include <assert.h>
#include <string.h>

#define STEP_MIN 4096u
/* What is given up where a read fails: a sector of most disks. */
#define PIECE 4096u

/* Most structures end long before the buffer would be full. */
static enum q2_status make_room(struct q2_window *w, size_t n)
{
	void *block = w->bytes;
	enum q2_status st;

	if (n <= w->held)
		return Q2_OK;
	st = q2_regrow(&w->c->budget, w->held, n, &block, w->c->err);
	if (st != Q2_OK)
		return st;
	w->bytes = block;
	w->held = n;
	return Q2_OK;
}

enum q2_status q2_window_open(struct q2_window *w, struct q2_checker *c,
			      enum q2_kind kind, size_t room,
			      uint64_t claimed)
{
	*w = (struct q2_window){.c = c, .kind = kind, .room = room};
	w->step = room < STEP_MIN ? room : STEP_MIN;
	q2_holes_init(&w->holes, c->img.io, claimed);
	return make_room(w, w->step);
}

void q2_window_close(struct q2_window *w)
{
	q2_put(&w->c->budget, w->bytes, w->held);
	w->bytes = NULL;
	w->held = 0;
}

/* Reports [from, to), as far as it was not before. */
static enum q2_status give_up(struct q2_window *w, uint64_t from, uint64_t to,
			      enum q2_status st, const struct q2_err *why)
{
	uint64_t known = q2_end(w->bad);

	to = q2_min(to, w->c->img.io->size);
	if (from > known || w->bad.len == 0)
		w->bad.start = from;
	from = q2_max(from, known);
	if (from >= to)
		return Q2_OK;
	w->bad.len = to - w->bad.start;
	return q2_unreadable(w->c, st, why, w->kind, from, to - from);
}

/* Reads what can be read of [off, off + n) after a failure; neighbouring pieces
 * that cannot are one finding. */
static enum q2_status salvage(struct q2_window *w, uint64_t off, size_t n)
{
	struct q2_err first = {0};
	enum q2_status bad = Q2_OK, st;
	uint64_t from = off;
	size_t len;

	for (size_t i = 0; i < n; i += len) {
		struct q2_err err = {0};

		/* Pieces end at multiples of their size. */
		len = PIECE - (size_t)((off + i) % PIECE);
		len = len < n - i ? len : n - i;
		st = q2_pread_zero(w->c->img.io, w->bytes + i, len, off + i,
				   &err);
		if (st != Q2_OK) {
			memset(w->bytes + i, 0, len);
			if (bad == Q2_OK) {
				from = off + i;
				first = err;
				bad = st;
			}
		} else if (bad != Q2_OK) {
			st = give_up(w, from, off + i, bad, &first);
			if (st != Q2_OK)
				return st;
			bad = Q2_OK;
		}
	}
	return bad == Q2_OK ? Q2_OK : give_up(w, from, off + n, bad, &first);
}

static enum q2_status refill(struct q2_window *w, uint64_t off, size_t len)
{
	size_t n = w->step > len ? w->step : len;
	struct q2_range range = {off, n};

	enum q2_status st = make_room(w, n);

	if (st != Q2_OK)
		return st;
	w->n = 0;
	w->at = off;
	w->step = w->step < w->room / 2 ? w->step * 2 : w->room;
	if (q2_holes_covers(&w->holes, range)) {
		memset(w->bytes, 0, n);
	} else if (q2_pread_zero(w->c->img.io, w->bytes, n, off, NULL) !=
		   Q2_OK) {
		st = salvage(w, off, n);
		if (st != Q2_OK)
			return st;
	}
	w->n = n;
	return Q2_OK;
}

enum q2_status q2_window_see(struct q2_window *w, uint64_t off, size_t len,
			     const uint8_t **bytes)
{
	assert(len <= w->room);
	*bytes = NULL;
	if (off < w->at || !q2_inside(off - w->at, len, w->n)) {
		enum q2_status st = refill(w, off, len);

		if (st != Q2_OK)
			return st;
	}
	*bytes = w->bytes + (off - w->at);
	return Q2_OK;
}

bool q2_window_bad(const struct q2_window *w, uint64_t off, uint64_t len)
{
	return q2_overlap(w->bad, (struct q2_range){off, len});
}

uint64_t q2_window_skip(struct q2_window *w, uint64_t off)
{
	if (!q2_holes_covers(&w->holes, (struct q2_range){off, 1}))
		return off;
	return w->holes.known.start;
}

void q2_window_text(struct q2_checker *c, struct q2_finding *f, uint64_t off,
		    size_t len)
{
	char text[sizeof(f->text)] = {0};

	len = len < sizeof(text) ? len : sizeof(text);
	if (q2_pread_zero(c->img.io, text, len, off, NULL) != Q2_OK)
		len = 0;
	q2_finding_text(f, text, len);
}

bool q2_window_same(struct q2_checker *c, enum q2_kind kind, uint64_t a,
		    uint64_t b, size_t len)
{
	uint8_t x[512], y[512];

	for (size_t at = 0; at < len; at += sizeof(x)) {
		size_t n = (size_t)q2_min(sizeof(x), len - at);
		struct q2_err why = {0};
		enum q2_status st = q2_pread_zero(c->img.io, x, n, a + at,
						  &why);

		if (st == Q2_OK)
			st = q2_pread_zero(c->img.io, y, n, b + at, &why);
		if (st != Q2_OK) {
			/* Whatever it is: nothing was allocated here. */
			(void)!q2_unreadable(c, st, &why, kind, why.offset, n);
			return false;
		}
		if (memcmp(x, y, n) != 0)
			return false;
	}
	return true;
}
