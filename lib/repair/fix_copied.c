/*
 * fix_copied.c - COPIED flags, and the dirty and corrupt bits.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    COPIED in the active L1 table and the L2 tables that it names: set
 *           where the refcount is 1, clear elsewhere; bits of the header that say
 *           in which state the image is.
 * Needs:    refcounts that are right.
 */
#include "base/endian.h"
#include "image/l2walk.h"
#include "repair/repair.h"

#define WINDOW 512u /* L1 entries that are read at once */

/* What a writer will find as the cluster's refcount. */
static uint64_t refcount(const struct q2_checker *c, uint64_t clu)
{
	const struct q2_suspects *s = &c->suspects;
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->at[mid].clu < clu)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < s->n && s->at[lo].clu == clu &&
	    s->at[lo].found != Q2_NO_REFCOUNT)
		return s->at[lo].found;
	return q2_refmap_get(&c->map, clu).count;
}

struct walk {
	struct q2_repair *r;
	enum q2_status st;
};

static enum q2_status set_copied(struct q2_repair *r, enum q2_problem_id why,
				 uint64_t off, uint64_t raw, bool copied)
{
	uint32_t action;
	enum q2_status st;

	if (!q2_want(r, why))
		return Q2_OK;
	st = q2_act_bulk(r, why, 1, "COPIED flags are set where the refcount "
			 "is 1, and cleared elsewhere", &action);
	if (st != Q2_OK)
		return st;
	return q2_change_u64(r, Q2_C_ENTRY, action, off,
			     copied ? raw | Q2_COPIED : raw & ~Q2_COPIED);
}

/* COPIED that the entry should have, going by its kind. */
static bool wanted_l2(const struct q2_checker *c, const struct q2_l2visit *v)
{
	if (c->img.geom.data_file)
		return v->e.type == Q2_L2_NORMAL || v->e.type == Q2_L2_ZERO_ALLOC;
	return v->e.refers && refcount(c, v->e.host.start >>
						  c->img.geom.cluster_bits) == 1;
}

static enum q2_problem_id why_l2(const struct q2_checker *c,
				 const struct q2_l2visit *v)
{
	if (c->img.geom.data_file)
		return Q2_P_DATA_FILE_COPIED;
	return v->e.refers ? Q2_P_L2_COPIED : Q2_P_L2_COPIED_UNUSED;
}

static enum q2_status on_slice(void *ctx, const struct q2_l2slice *s)
{
	struct walk *w = ctx;
	struct q2_repair *r = w->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t table = s->ref->clu << g->cluster_bits;
	enum q2_status st = Q2_OK;

	/* A table that overlaps something else is not for us to change. */
	if (q2_refmap_get(&r->c->map, s->ref->clu).count != s->ref->weight)
		return Q2_OK;
	for (uint32_t i = 0; i < s->n && st == Q2_OK; i++) {
		struct q2_l2visit v;

		q2_l2_visit(g, s, i, &v);
		/* Of compressed data with COPIED either flag may be wrong. */
		if (v.raw == 0 || v.e.type == Q2_L2_COMPRESSED ||
		    s->ref->active == 0 ||
		    (v.e.faults & (Q2_EF_UNALIGNED | Q2_EF_OUTSIDE)))
			continue;
		if (v.e.copied != wanted_l2(r->c, &v))
			st = set_copied(r, why_l2(r->c, &v),
					table + ((uint64_t)v.index
						 << g->entry_bits),
					v.raw, !v.e.copied);
	}
	return st;
}

enum q2_status q2_pass_unreadable(void *ctx, const struct q2_l2ref *ref,
				  enum q2_status status,
				  const struct q2_err *why)
{
	(void)ctx;
	(void)ref;
	(void)why;
	return status == Q2_E_NOMEM || status == Q2_E_BUDGET ? status : Q2_OK;
}

static enum q2_status on_tick(void *ctx, uint64_t done, uint64_t total)
{
	struct walk *w = ctx;

	return q2_tick(w->r->c, "COPIED flags", done, total);
}

static enum q2_status fix_l1_entry(struct q2_repair *r, uint64_t off,
				   uint64_t raw)
{
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_l1_entry e = q2_l1_decode(g, raw);

	if (!e.used || e.copied == (refcount(r->c, e.table.n) == 1) ||
	    q2_refmap_get(&r->c->map, off >> g->cluster_bits).count != 1)
		return Q2_OK;
	return set_copied(r, Q2_P_L1_COPIED, off, raw, !e.copied);
}

static enum q2_status fix_l1(struct q2_repair *r)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint32_t n = q2_l1_there(g, g->l1_offset, g->l1_entries);
	enum q2_status st = Q2_OK;

	for (uint32_t at = 0; at < n && st == Q2_OK; at += WINDOW) {
		uint64_t off = g->l1_offset + UINT64_C(8) * at;
		uint32_t here = (uint32_t)q2_min(WINDOW, n - at);
		uint8_t bytes[8 * WINDOW];

		st = q2_pread_zero(r->io, bytes, (size_t)8 * here, off, r->err);
		for (uint32_t i = 0; i < here && st == Q2_OK; i++) {
			uint64_t raw = q2_be64(bytes + (size_t)8 * i);

			if (raw)
				st = fix_l1_entry(r, off + UINT64_C(8) * i, raw);
		}
	}
	return st;
}

enum q2_status q2_fix_copied(struct q2_repair *r)
{
	static const enum q2_problem_id l2[] = {
		Q2_P_L2_COPIED, Q2_P_L2_COPIED_UNUSED, Q2_P_DATA_FILE_COPIED,
	};
	struct walk w = {.r = r};
	const struct q2_l2reader reader = {.slice = on_slice,
					   .unreadable = q2_pass_unreadable,
					   .tick = on_tick,
					   .ctx = &w};
	enum q2_status st = q2_recheck(r);
	bool any = false;

	for (size_t i = 0; i < sizeof(l2) / sizeof(l2[0]); i++)
		any |= q2_found_any(r, l2[i]);
	if (st == Q2_OK && any)
		st = q2_l2_read(&r->c->img, &r->c->refs, &reader, r->err);
	if (st == Q2_OK && q2_found_any(r, Q2_P_L1_COPIED))
		st = fix_l1(r);
	return st;
}

/* Bits that speak of the whole image; at the very end. */
enum q2_status q2_fix_marks(struct q2_repair *r)
{
	enum q2_status st = q2_recheck(r);
	const struct q2_header *h = &r->c->header;
	uint64_t clear = 0, now = h->incompatible;
	uint32_t action = 0;

	if (st != Q2_OK || h->version != 3 || r->c->img.geom.cluster_size == 0)
		return st;
	/* Whoever writes must clear the promises that he does not know. */
	if ((h->autoclear & ~(uint64_t)Q2_AUTOCLEAR_KNOWN) && r->touches.n) {
		st = q2_act_bulk(r, Q2_P_AUTOCLEAR_UNKNOWN, 1,
				 "unknown autoclear bits are cleared, as every "
				 "writer must", &action);
		if (st == Q2_OK)
			st = q2_change_u64(r, Q2_C_PLACE, action, 88,
					   h->autoclear & Q2_AUTOCLEAR_KNOWN);
	}
	if (st != Q2_OK || r->result.corruptions || r->result.partial)
		return st;
	if ((now & Q2_INCOMPAT_DIRTY) && q2_want(r, Q2_P_DIRTY))
		clear |= Q2_INCOMPAT_DIRTY;
	if ((now & Q2_INCOMPAT_CORRUPT) && q2_want(r, Q2_P_CORRUPT_BIT))
		clear |= Q2_INCOMPAT_CORRUPT;
	if (clear == 0)
		return Q2_OK;
	st = q2_act_bulk(r, clear & Q2_INCOMPAT_DIRTY ? Q2_P_DIRTY :
							Q2_P_CORRUPT_BIT, 1,
			 "the dirty and the corrupt bit are cleared", &action);
	return st == Q2_OK ? q2_change_u64(r, Q2_C_PLACE, action, 72,
					   now & ~clear) : st;
}
