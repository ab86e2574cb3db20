/*
 * fix_stale.c - bitmaps of which nothing is promised any more.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    an autoclear bit that is clear: each bitmap is marked as inconsistent
 *           instead, or they go, if they are not whole or not sound.
 * Needs:    header extensions that can be read.
 */
#include "base/endian.h"
#include "format/bitmap.h"
#include "format/ext.h"
#include "repair/repair.h"

#define AT_AUTOCLEAR 88u

enum q2_status q2_forget_bitmaps(struct q2_repair *r, uint32_t action,
				 const struct q2_ext *e)
{
	uint8_t nothing[Q2_EXT_HEAD] = {0};
	enum q2_status st;

	/* Its type becomes one that nobody knows; it may be ignored. */
	q2_put_be32(nothing, 0x71327830);
	st = q2_change(r, Q2_C_PLACE, action, e->at, nothing, 4);
	if (st == Q2_OK)
		st = q2_change_u64(r, Q2_C_PLACE, action, AT_AUTOCLEAR,
				   r->c->header.autoclear &
					   ~(uint64_t)Q2_AUTOCLEAR_BITMAPS);
	return st;
}

/* Whether each bitmap has a sound record, and nothing else lies on what it uses. */
static bool whole(const struct q2_repair *r)
{
	const struct q2_checker *c = r->c;
	const struct q2_bitmap_spots *p = &c->bitmap_spots;

	if (!c->ext.has_bitmaps || p->n != c->ext.bitmaps ||
	    c->bitmaps.lost_some)
		return false;
	for (size_t i = 0; i < p->n; i++)
		if (!p->at[i].sound)
			return false;
	for (size_t i = 0; i < c->metas.n; i++)
		for (uint64_t k = 0; q2_kind_is_bitmap(c->metas.at[i].kind) &&
				     k < c->metas.at[i].n; k++)
			if (q2_refmap_get(&c->map, c->metas.at[i].first + k)
				    .count != 1)
				return false;
	return true;
}

/* Writes the marks, to `io` or, if it is NULL, as a part of the plan.  At no moment
 * is a bitmap without its mark promised: that is why they are a phase earlier. */
static enum q2_status put_marks(struct q2_repair *r, struct q2_io *io,
				uint32_t action)
{
	const struct q2_bitmap_spots *p = &r->c->bitmap_spots;
	uint8_t b[8];
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < p->n && st == Q2_OK; i++) {
		uint64_t at = p->at[i].host + Q2_BITMAP_AT_FLAGS;

		st = q2_pread_zero(r->io, b, 4, at, r->err);
		q2_put_be32(b, q2_be32(b) | Q2_BITMAP_IN_USE);
		if (st == Q2_OK)
			st = io ? q2_pwrite(io, b, 4, at, r->err) :
				  q2_change(r, Q2_C_REFTABLE, action, at, b, 4);
	}
	q2_put_be64(b, r->c->header.autoclear | Q2_AUTOCLEAR_BITMAPS);
	if (st != Q2_OK)
		return st;
	return io ? q2_pwrite(io, b, 8, AT_AUTOCLEAR, r->err) :
		    q2_change(r, Q2_C_PLACE, action, AT_AUTOCLEAR, b, 8);
}

/* Whether a check has nothing against bitmaps that are promised, but marked. */
static enum q2_status try_marks(struct q2_repair *r, bool *good)
{
	const struct q2_check_opts opts = {.max_memory = r->opts->max_memory,
					   .progress = r->check_opts.progress,
					   .ctx = r};
	struct q2_check_result res;
	struct q2_io *io;
	enum q2_status st = q2_io_overlay(r->io, &r->budget, &io, r->err);

	*good = false;
	if (st != Q2_OK)
		return st;
	st = put_marks(r, io, 0);
	if (st == Q2_OK)
		st = q2_check(io, &opts, &res, r->err);
	if (st == Q2_OK)
		*good = res.corruptions <= r->result.corruptions &&
			res.leaks <= r->result.leaks && !res.check_errors;
	q2_io_close(io);
	return st;
}

/* Bitmaps that are only not promised any more are no bitmaps for QEMU: what they use
 * is leaked, and they are dropped by the next guest that starts.  Marked as
 * inconsistent they are owned, and as little believed. */
enum q2_status q2_mark_bitmaps(struct q2_repair *r, const char *text)
{
	uint32_t action;
	bool good = false;
	enum q2_status st = Q2_OK;

	if (!whole(r))
		return Q2_OK;
	st = try_marks(r, &good);
	if (st != Q2_OK || !good || !q2_want(r, Q2_P_BITMAPS_STALE))
		return st;
	st = q2_act(r, Q2_P_BITMAPS_STALE, Q2_EFFECT_NONE, NULL, &action, "%s",
		    text);
	if (st == Q2_OK)
		st = put_marks(r, NULL, action);
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* What is out of date and no longer whole tells nobody anything.  QEMU forgets such
 * bitmaps, too, but leaves their clusters leaked. */
static enum q2_status drop(struct q2_repair *r, const struct q2_ext *e)
{
	const struct q2_metas *m = &r->c->metas;
	unsigned bits = r->c->img.geom.cluster_bits;
	uint32_t action;
	enum q2_status st;

	st = q2_act(r, Q2_P_BITMAPS_STALE, Q2_EFFECT_NONE, NULL, &action,
		    "bitmaps that are out of date go: they are damaged, or not "
		    "all of what they used is theirs");
	for (size_t i = 0; i < m->n && st == Q2_OK; i++)
		if (q2_kind_is_bitmap(m->at[i].kind))
			st = q2_release(r, m->at[i].first << bits,
					m->at[i].n << bits);
	if (st == Q2_OK)
		st = q2_forget_bitmaps(r, action, e);
	return st == Q2_OK ? q2_recheck(r) : st;
}

enum q2_status q2_fix_stale(struct q2_repair *r)
{
	struct q2_range area;
	struct q2_ext e;
	enum q2_status st;

	if (!q2_found_any(r, Q2_P_BITMAPS_STALE))
		return Q2_OK;
	st = q2_mark_bitmaps(r, "bitmaps that are out of date are marked as "
				"inconsistent: their clusters are theirs "
				"again, and no backup uses them");
	/* Their marks are not set if a check had something against them. */
	if (st != Q2_OK || !q2_found_any(r, Q2_P_BITMAPS_STALE) || !q2_all(r) ||
	    !q2_want(r, Q2_P_BITMAPS_STALE) ||
	    !q2_ext_area(&r->c->header, r->c->img.geom.cluster_size, &area) ||
	    !q2_ext_find(r->c->first, area, Q2_EXT_BITMAPS, &e))
		return st;
	return drop(r, &e);
}
