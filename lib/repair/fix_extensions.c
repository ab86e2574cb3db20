/*
 * fix_extensions.c - the header extensions.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    a wrong bit in an extension, found by trying; an area without an end,
 *           or with an extension that does not fit in; extensions that are there
 *           twice, or of no use.  Of a LUKS image nothing is cut off: the keys are
 *           found through an extension.
 * Needs:    a header whose length is right.
 */
#include <string.h>

#include "base/endian.h"
#include "format/ext.h"
#include "repair/trial.h"

#define CRYPT_LUKS 2u
#define TRIED 256u /* bytes */

/* Problems that a wrong bit in the area may be the cause of. */
static bool doubtful(const struct q2_repair *r)
{
	static const enum q2_problem_id about[] = {
		Q2_P_EXT_TOO_LONG,	Q2_P_EXT_DUPLICATE,
		Q2_P_EXT_FORMAT_LONG,	Q2_P_EXT_FORMAT_UNKNOWN,
		Q2_P_EXT_FEATURES_BAD,	Q2_P_EXT_LUKS_BAD,
		Q2_P_EXT_BITMAPS_BAD,	Q2_P_CRYPT_NO_HEADER,
		Q2_P_BITMAPS_BIT_NO_EXT, Q2_P_LUKS_SHORT,
		Q2_P_LUKS_OUTSIDE,	Q2_P_LUKS_MAGIC,
		Q2_P_LUKS_LONG,		Q2_P_BITMAPDIR_SIZE,
		Q2_P_BITMAPDIR_OUTSIDE,	Q2_P_BITMAP_RECORD,
		Q2_P_EXT_UNKNOWN,	Q2_P_DATA_FILE_NAME_MISSING,
		Q2_P_BACKING_NO_FORMAT, Q2_P_EXT_END_LENGTH,
	};

	for (size_t i = 0; i < sizeof(about) / sizeof(about[0]); i++)
		if (q2_found_any(r, about[i]))
			return true;
	return false;
}

/* The heads and what they name, but for texts: these tell nothing. */
static enum q2_status try_flips(struct q2_repair *r, struct q2_range area)
{
	struct q2_ext_iter it;
	struct q2_trial t;
	struct q2_ext e;
	enum q2_ext_step step;
	uint32_t action;
	unsigned tried = 0;
	enum q2_status st = Q2_OK;

	q2_trial_start(&t, r);
	q2_ext_start(&it, r->c->first, area);
	do {
		uint64_t len = Q2_EXT_HEAD;

		step = q2_ext_next(&it, &e);
		if (step == Q2_EXT_ONE && e.type != Q2_EXT_FEATURES)
			len += q2_min(e.len, 32);
		if (step != Q2_EXT_NO_END && tried < TRIED) {
			len = q2_min(len, q2_end(area) - e.at);
			tried += (unsigned)len;
			st = q2_trial_flips(&t, e.at, len);
		}
	} while (step == Q2_EXT_ONE && st == Q2_OK);
	if (st != Q2_OK || !q2_trial_won(&t) ||
	    (r->opts->wanted && !q2_want(r, Q2_P_EXT_TOO_LONG)))
		return st;
	st = q2_act(r, Q2_P_EXT_TOO_LONG, Q2_EFFECT_NONE, NULL, &action,
		    "one wrong bit of the header extensions is put right "
		    "(offset %llu)", (unsigned long long)t.best.off);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, t.best.off, t.best.bytes,
			       t.best.n);
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* The extension goes, and what stands behind it moves up. */
static enum q2_status drop(struct q2_repair *r, enum q2_problem_id why,
			   enum q2_effect effect, struct q2_range area,
			   const struct q2_ext *e, const char *text)
{
	uint64_t len = Q2_EXT_HEAD + (((uint64_t)e->len + 7) & ~UINT64_C(7));
	uint64_t n = q2_end(area) - e->at;
	uint32_t action;
	void *block;
	enum q2_status st;

	len = q2_min(len, n);
	st = q2_get(&r->budget, n, &block, r->err);
	if (st != Q2_OK)
		return st;
	memcpy(block, r->c->first + e->at + len, (size_t)(n - len));
	st = q2_act(r, why, effect, NULL, &action, "%s", text);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, e->at, block, (size_t)n);
	q2_put(&r->budget, block, n);
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* An end mark where `e` starts. */
static enum q2_status end_here(struct q2_repair *r, enum q2_problem_id why,
			       enum q2_effect effect, const struct q2_ext *e,
			       uint64_t room, const char *text)
{
	uint8_t zeros[Q2_EXT_HEAD] = {0};
	uint32_t action;
	enum q2_status st;

	if (!q2_want(r, why))
		return Q2_OK;
	st = q2_act(r, why, effect, NULL, &action, "%s", text);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, e->at, zeros,
			       (size_t)q2_min(room, sizeof(zeros)));
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* The first extension that has to go; false if there is none. */
static bool useless(struct q2_repair *r, struct q2_range area,
		    struct q2_ext *out, enum q2_problem_id *why)
{
	struct q2_ext_iter it, rest;
	struct q2_ext e, later;

	q2_ext_start(&it, r->c->first, area);
	while (q2_ext_next(&it, &e) == Q2_EXT_ONE) {
		bool twice = false;

		rest = it;
		while (q2_ext_next(&rest, &later) == Q2_EXT_ONE)
			twice |= later.type == e.type;
		*out = e;
		if (twice && e.type != Q2_EXT_LUKS &&
		    q2_found_any(r, Q2_P_EXT_DUPLICATE))
			*why = Q2_P_EXT_DUPLICATE;
		else if (e.type == Q2_EXT_FORMAT && e.len > Q2_EXT_FORMAT_MAX)
			*why = Q2_P_EXT_FORMAT_LONG;
		else if (e.type == Q2_EXT_FEATURES &&
			 q2_found_any(r, Q2_P_EXT_FEATURES_BAD))
			*why = Q2_P_EXT_FEATURES_BAD;
		else if (e.type == Q2_EXT_BITMAPS &&
			 q2_found_any(r, Q2_P_BITMAPS_STALE) &&
			 r->c->ext.bitmap_dir_offset >= r->base->size)
			*why = Q2_P_BITMAPS_STALE;
		else
			continue;
		if (q2_want(r, *why))
			return true;
	}
	return false;
}

static enum q2_status mend_end(struct q2_repair *r, struct q2_range area)
{
	struct q2_ext_iter it;
	struct q2_ext e;
	enum q2_ext_step step;
	uint64_t room;

	q2_ext_start(&it, r->c->first, area);
	do
		step = q2_ext_next(&it, &e);
	while (step == Q2_EXT_ONE);
	room = q2_end(area) - e.at;
	if (step == Q2_EXT_CUT && room >= Q2_EXT_HEAD &&
	    r->c->img.geom.crypt != CRYPT_LUKS)
		return end_here(r, Q2_P_EXT_TOO_LONG, Q2_EFFECT_LOSS, &e, room,
				"an extension that does not fit in is cut off");
	if (step == Q2_EXT_NO_END && room >= Q2_EXT_HEAD)
		return end_here(r, Q2_P_EXT_NO_END, Q2_EFFECT_NONE, &e, room,
				"the extensions get an end mark");
	if (step == Q2_EXT_ENDED && e.len)
		return end_here(r, Q2_P_EXT_END_LENGTH, Q2_EFFECT_NONE, &e,
				room, "the end mark gets a length of 0");
	return Q2_OK;
}

/* Not before it is known that no wrong bit hides the extension. */
static enum q2_status clear_bitmaps_bit(struct q2_repair *r)
{
	uint32_t action;
	enum q2_status st;

	if (!q2_found_any(r, Q2_P_BITMAPS_BIT_NO_EXT) ||
	    !q2_want(r, Q2_P_BITMAPS_BIT_NO_EXT))
		return Q2_OK;
	st = q2_act(r, Q2_P_BITMAPS_BIT_NO_EXT, Q2_EFFECT_NONE, NULL, &action,
		    "the bitmaps bit, which needs an extension, is cleared");
	if (st == Q2_OK)
		st = q2_change_u64(r, Q2_C_PLACE, action, 88,
				   r->c->header.autoclear &
					   ~(uint64_t)Q2_AUTOCLEAR_BITMAPS);
	return st == Q2_OK ? q2_recheck(r) : st;
}

enum q2_status q2_fix_extensions(struct q2_repair *r)
{
	enum q2_problem_id why;
	struct q2_range area;
	struct q2_ext e;
	enum q2_status st = Q2_OK;

	if (!q2_ext_area(&r->c->header, r->c->img.geom.cluster_size, &area) ||
	    area.len == 0)
		return clear_bitmaps_bit(r);
	if (q2_all(r) && doubtful(r))
		st = try_flips(r, area);
	if (st == Q2_OK)
		st = mend_end(r, area);
	for (unsigned i = 0; i < 64 && st == Q2_OK &&
			     useless(r, area, &e, &why); i++)
		st = drop(r, why, Q2_EFFECT_NONE, area, &e,
			  why == Q2_P_EXT_DUPLICATE ?
				  "of two extensions of one type the last "
				  "one, which readers take, stays" :
			  why == Q2_P_EXT_FORMAT_LONG ?
				  "a backing format that is too long goes" :
			  why == Q2_P_BITMAPS_STALE ?
				  "bitmaps that are out of date go: their "
				  "directory is past the end of the file" :
				  "a malformed table of feature names goes");
	return st == Q2_OK ? clear_bitmaps_bit(r) : st;
}
