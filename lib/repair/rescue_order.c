/*
 * rescue_order.c - where L2 tables belong, by where they lie in the file.
 *
 * SPDX-License-Identifier: MIT
 *
 * A writer allocates an L2 table just before the first data that it names.  One that
 * writes a disk from start to end leaves tables whose order is that of their slots;
 * where it crosses from one into the next, the data of both are neighbours.
 */
#include "repair/strays.h"

#define NEAR 2u /* clusters: a refcount block may lie between */

/* Whether `b` was begun just when `a` had got its last entry. */
static bool follows(const struct q2_strays *s, const struct q2_stray *a,
		    const struct q2_stray *b)
{
	uint32_t max = (1u << s->r->c->img.geom.l2_bits) - 1;

	if (a->entries == 0 || a->last != max || b->first != 0 ||
	    b->clu > a->after + NEAR || b->clu + 1 < a->after)
		return false;
	return b->packed || (b->begins > b->clu && b->begins <= b->clu + NEAR);
}

static bool place_neighbours(struct q2_strays *s)
{
	static const char why[] = "its data go on where those of the table "
				  "beside it end";
	bool any = false;

	for (size_t i = 1; i < s->t.n; i++) {
		struct q2_stray *a = &s->t.at[i - 1], *b = &s->t.at[i];

		b->follows = follows(s, a, b);
		if (b->follows && a->slot != Q2_NO_SLOT)
			any |= q2_stray_place(s, b, a->slot + 1, Q2_LIKELY,
					      why);
	}
	for (size_t i = s->t.n; i-- > 1;) {
		struct q2_stray *a = &s->t.at[i - 1], *b = &s->t.at[i];

		if (b->follows && b->slot != Q2_NO_SLOT && b->slot > 0)
			any |= q2_stray_place(s, a, b->slot - 1, Q2_LIKELY,
					      why);
	}
	return any;
}

/* Whether the file's order can be believed: tables that have slots are in it, and
 * entries of one table were written one after the other.  Confirmed it is by some
 * that have slots, or where most of the tables go on where others end. */
static bool in_order(const struct q2_strays *s, bool *confirmed)
{
	uint64_t entries = 0, rising = 0, placed = 0, last = 0, links = 0;

	for (size_t i = 0; i < s->t.n; i++) {
		const struct q2_stray *t = &s->t.at[i];

		entries += t->entries;
		rising += t->rising;
		links += t->follows;
		if (t->slot == Q2_NO_SLOT)
			continue;
		if (placed && t->slot <= last)
			return false;
		last = t->slot;
		placed++;
	}
	*confirmed = placed >= 3 || (placed == 2 && links) ||
		     (links && 2 * links + 1 >= s->t.n);
	return rising * 10 >= entries * 9 || placed >= 4;
}

static bool is_free(const struct q2_strays *s, const struct q2_stray *t,
		    uint64_t slot)
{
	return s->l1[slot] == 0 && q2_stray_fits(s, t, slot);
}

static bool lowest(struct q2_strays *s)
{
	uint64_t next = 0;

	for (size_t i = 0; i < s->t.n; i++) {
		struct q2_stray *t = &s->t.at[i];

		if (t->slot == Q2_NO_SLOT) {
			next = q2_max(next, t->lo);
			while (next < s->slots && !is_free(s, t, next))
				next++;
			t->lo = next;
		} else {
			t->lo = t->slot;
		}
		if (t->lo >= s->slots || t->lo < next)
			return false;
		next = t->lo + 1;
	}
	return true;
}

static bool highest(struct q2_strays *s)
{
	uint64_t end = s->slots; /* below this */

	for (size_t i = s->t.n; i-- > 0;) {
		struct q2_stray *t = &s->t.at[i];

		if (t->slot == Q2_NO_SLOT) {
			end = q2_min(end, t->hi + 1);
			while (end > 0 && !is_free(s, t, end - 1))
				end--;
			if (end == 0)
				return false;
			t->hi = end - 1;
		} else {
			t->hi = t->slot;
		}
		if (t->hi < t->lo || t->hi >= end)
			return false;
		end = t->hi;
	}
	return true;
}

/* Tables that follow one another take slots that do. */
static bool tie(struct q2_strays *s)
{
	bool changed = false;

	for (size_t i = 1; i < s->t.n; i++) {
		struct q2_stray *a = &s->t.at[i - 1], *b = &s->t.at[i];

		if (!b->follows)
			continue;
		if (a->slot == Q2_NO_SLOT && a->lo + 1 < b->lo) {
			a->lo = b->lo - 1;
			changed = true;
		}
		if (b->slot == Q2_NO_SLOT && b->hi > a->hi + 1) {
			b->hi = a->hi + 1;
			changed = true;
		}
	}
	return changed;
}

bool q2_strays_bounds(struct q2_strays *s)
{
	bool confirmed, again = true;

	for (size_t i = 0; i < s->t.n; i++) {
		s->t.at[i].lo = 0;
		s->t.at[i].hi = s->slots - 1;
	}
	if (s->slots == 0 || !in_order(s, &confirmed) || !confirmed)
		return false;
	for (unsigned i = 0; i < 64 && again; i++) {
		if (!lowest(s) || !highest(s))
			return false;
		again = tie(s);
	}
	return true;
}

static bool place_only(struct q2_strays *s)
{
	struct q2_stray *only = NULL;
	uint64_t slot = Q2_NO_SLOT, n = 0;

	for (size_t i = 0; i < s->t.n; i++)
		if (s->t.at[i].slot == Q2_NO_SLOT) {
			only = &s->t.at[i];
			n++;
		}
	if (n != 1)
		return false;
	for (uint64_t i = 0; i < s->slots; i++)
		if (is_free(s, only, i)) {
			if (slot != Q2_NO_SLOT)
				return false;
			slot = i;
		}
	return slot != Q2_NO_SLOT &&
	       q2_stray_place(s, only, slot, Q2_CERTAIN,
			      "the only slot that it can have");
}

bool q2_strays_by_order(struct q2_strays *s)
{
	bool any = place_neighbours(s) || place_only(s);

	/* A guest that writes here and there leaves tables in any order. */
	if (any || !q2_strays_bounds(s))
		return any;
	for (size_t i = 0; i < s->t.n; i++) {
		struct q2_stray *t = &s->t.at[i];

		if (t->slot == Q2_NO_SLOT && t->lo == t->hi)
			any |= q2_stray_place(s, t, t->lo, Q2_GUESSED,
					      "the only slot by its place in "
					      "the file's order");
	}
	return any;
}
