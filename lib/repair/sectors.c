/*
 * sectors.c - what each 512-byte sector that a plan touches holds, and may hold.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/sectors.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "io/io.h"

#define WINDOW ((size_t)256 << 10)
#define NEAR 8 /* sectors that are read in passing */

static uint64_t first_sector(const struct q2_edit *e)
{
	return e->offset >> Q2_SECTOR_BITS;
}

static uint64_t last_sector(const struct q2_edit *e)
{
	return (e->offset + e->len - 1) >> Q2_SECTOR_BITS;
}

static int by_sector(const void *a, const void *b)
{
	const struct q2_touch *x = a;
	const struct q2_touch *y = b;

	if (x->sector != y->sector)
		return x->sector < y->sector ? -1 : 1;
	return x->edit < y->edit ? -1 : x->edit > y->edit;
}

static enum q2_status list_touches(struct q2_sectors *s, struct q2_err *err)
{
	const struct q2_edits *edits = &s->plan->edits;
	uint64_t total = 0;
	enum q2_status st;
	void *block;

	for (size_t i = 0; i < edits->n; i++)
		total += last_sector(&edits->at[i]) -
			 first_sector(&edits->at[i]) + 1;
	if (total > UINT32_MAX || edits->n >= UINT32_MAX)
		return q2_fail(err, Q2_E_BUDGET, 0, Q2_NO_OFFSET,
			       "the plan is too large");
	st = q2_get_raw(&s->budget, total * sizeof(*s->touches), &block, err);
	if (st != Q2_OK)
		return st;
	s->touches = block;
	for (size_t i = 0; i < edits->n; i++) {
		const struct q2_edit *e = &edits->at[i];

		for (uint64_t n = first_sector(e); n <= last_sector(e); n++)
			s->touches[s->n_touches++] =
				(struct q2_touch){n, (uint32_t)i};
	}
	q2_sort(s->touches, s->n_touches, sizeof(*s->touches), by_sector);
	return Q2_OK;
}

static enum q2_status list_numbers(struct q2_sectors *s, struct q2_err *err)
{
	enum q2_status st;
	void *block;

	for (size_t i = 0; i < s->n_touches; i++)
		s->n += i == 0 ||
			s->touches[i].sector != s->touches[i - 1].sector;
	st = q2_get_raw(&s->budget, s->n * sizeof(*s->number), &block, err);
	if (st != Q2_OK)
		return st;
	s->number = block;
	st = q2_get(&s->budget, s->n * sizeof(*s->done), &block, err);
	if (st != Q2_OK)
		return st;
	s->done = block;
	for (size_t i = 0, n = 0; i < s->n_touches; i++)
		if (i == 0 || s->touches[i].sector != s->touches[i - 1].sector)
			s->number[n++] = s->touches[i].sector;
	return Q2_OK;
}

enum q2_status q2_sectors_list(const struct q2_plan *plan, uint64_t max_memory,
			       struct q2_sectors *s, struct q2_err *err)
{
	enum q2_status st;

	*s = (struct q2_sectors){.plan = plan, .budget.limit = max_memory};
	st = list_touches(s, err);
	if (st == Q2_OK)
		st = list_numbers(s, err);
	if (st != Q2_OK)
		q2_sectors_free(s);
	return st;
}

void q2_sectors_free(struct q2_sectors *s)
{
	q2_put(&s->budget, s->touches, s->n_touches * sizeof(*s->touches));
	q2_put(&s->budget, s->number, s->n * sizeof(*s->number));
	q2_put(&s->budget, s->done, s->n * sizeof(*s->done));
	*s = (struct q2_sectors){0};
}

size_t q2_sectors_of(const struct q2_sectors *s, const struct q2_edit *e)
{
	uint64_t wanted = first_sector(e);
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->number[mid] < wanted)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* ------------------------------------------------------- judging one sector */

struct sector {
	uint64_t start;	    /* its offset in the file */
	const uint8_t *now; /* what it holds */
	uint8_t bytes[Q2_SECTOR]; /* the version that is looked at */
	bool touched[Q2_SECTOR];
	unsigned differ; /* touched bytes in which the two differ */
};

/* The part of an edit that lies in the sector. */
struct part {
	size_t at;   /* in the sector */
	size_t len;
	size_t from; /* in the edit */
};

static struct part part_of(const struct sector *c, const struct q2_edit *e)
{
	uint64_t start = q2_max(c->start, e->offset);
	uint64_t end = q2_min(c->start + Q2_SECTOR, e->offset + e->len);

	return (struct part){(size_t)(start - c->start), (size_t)(end - start),
			     (size_t)(start - e->offset)};
}

static uint8_t byte_before(const struct q2_edit *e, size_t i)
{
	return i < e->before_len ? e->before[i] : 0;
}

static enum q2_status contradiction(uint64_t offset, struct q2_err *err)
{
	return q2_fail(err, Q2_E_FORMAT, 0, offset,
		       "the plan contradicts itself at offset %llu",
		       (unsigned long long)offset);
}

/* Leaves in c->bytes what the sector must have held before all edits. */
static enum q2_status rewind(const struct q2_sectors *s, struct sector *c,
			     const struct q2_touch *t, size_t n,
			     struct q2_err *err)
{
	uint8_t then[Q2_SECTOR] = {0}; /* after the edits so far */

	size_t first = Q2_SECTOR, end = 0;

	memset(c->touched, 0, sizeof(c->touched));
	for (size_t k = 0; k < n; k++) {
		const struct q2_edit *e = &s->plan->edits.at[t[k].edit];
		struct part p = part_of(c, e);

		first = (size_t)q2_min(first, p.at);
		end = (size_t)q2_max(end, p.at + p.len);
		for (size_t i = 0; i < p.len; i++) {
			uint8_t before = byte_before(e, p.from + i);

			if (c->touched[p.at + i] && then[p.at + i] != before)
				return contradiction(c->start + p.at + i, err);
			if (!c->touched[p.at + i])
				c->bytes[p.at + i] = before;
			c->touched[p.at + i] = true;
			then[p.at + i] = e->after[p.from + i];
		}
	}
	c->differ = 0;
	for (size_t i = first; i < end; i++)
		c->differ += c->touched[i] && c->bytes[i] != c->now[i];
	return Q2_OK;
}

/* Goes on by one edit. */
static void advance(struct sector *c, const struct q2_edit *e)
{
	struct part p = part_of(c, e);

	for (size_t i = 0; i < p.len; i++) {
		uint8_t *b = &c->bytes[p.at + i];
		uint8_t now = c->now[p.at + i];

		c->differ -= *b != now;
		*b = e->after[p.from + i];
		c->differ += *b != now;
	}
}

static enum q2_status changed(const struct sector *c, struct q2_err *err)
{
	size_t i = 0;

	while (i + 1 < Q2_SECTOR && !(c->touched[i] && c->bytes[i] != c->now[i]))
		i++;
	return q2_fail(err, Q2_E_CHANGED, 0, c->start + i,
		       "changed since: the byte at offset %llu is 0x%02x, which "
		       "the plan does not expect; nothing was written",
		       (unsigned long long)(c->start + i), c->now[i]);
}

static enum q2_status judge(struct q2_sectors *s, struct sector *c,
			    const struct q2_touch *t, size_t n, uint32_t *done,
			    enum q2_which which, struct q2_err *err)
{
	enum q2_status st = rewind(s, c, t, n, err);
	bool found = c->differ == 0;

	if (st != Q2_OK)
		return st;
	*done = 0;
	if (!found && which == Q2_WHICH_FIRST)
		return changed(c, err);
	for (size_t k = 0; k < n && which != Q2_WHICH_FIRST; k++) {
		if (found && which == Q2_WHICH_LEAST)
			break;
		advance(c, &s->plan->edits.at[t[k].edit]);
		if (c->differ)
			continue;
		found = true;
		*done = t[k].edit + 1;
	}
	return found ? Q2_OK : changed(c, err);
}

/* --------------------------------------------------------------- reading all */

struct window {
	uint8_t *bytes;
	uint64_t start; /* in sectors */
	uint64_t n;
};

/* Reads from sector number[i] on, with those that follow closely. */
static enum q2_status fill(const struct q2_sectors *s, struct q2_io *io,
			   struct window *w, size_t i, struct q2_err *err)
{
	size_t last = i;

	while (last + 1 < s->n && s->number[last + 1] - s->number[last] <= NEAR &&
	       s->number[last + 1] - s->number[i] < WINDOW / Q2_SECTOR)
		last++;
	w->start = s->number[i];
	w->n = s->number[last] - s->number[i] + 1;
	return q2_pread_zero(io, w->bytes, (size_t)w->n << Q2_SECTOR_BITS,
			     w->start << Q2_SECTOR_BITS, err);
}

enum q2_status q2_sectors_judge(struct q2_sectors *s, struct q2_io *io,
				enum q2_which which, struct q2_err *err)
{
	struct window w = {0};
	size_t t = 0;
	uint64_t room;
	void *block;
	enum q2_status st;

	if (s->n == 0)
		return Q2_OK;
	room = q2_min(WINDOW, (s->number[s->n - 1] - s->number[0] + 1)
				      << Q2_SECTOR_BITS);
	st = q2_get_raw(&s->budget, room, &block, err);
	if (st != Q2_OK)
		return st;
	w.bytes = block;
	for (size_t i = 0; i < s->n && st == Q2_OK; i++) {
		struct sector c;
		size_t n = 0;

		if (s->number[i] - w.start >= w.n)
			st = fill(s, io, &w, i, err);
		if (st != Q2_OK)
			break;
		while (t + n < s->n_touches &&
		       s->touches[t + n].sector == s->number[i])
			n++;
		c.start = s->number[i] << Q2_SECTOR_BITS;
		c.now = w.bytes + ((s->number[i] - w.start) << Q2_SECTOR_BITS);
		st = judge(s, &c, &s->touches[t], n, &s->done[i], which, err);
		t += n;
	}
	q2_put(&s->budget, w.bytes, room);
	return st;
}
