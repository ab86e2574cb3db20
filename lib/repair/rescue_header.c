/*
 * rescue_header.c - a header for a file that lost its own.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    first bytes that hold no header any more.  What it said is taken from
 *           the tables; of all that would be possible, that counts which a check
 *           has least to object to.
 * Needs:    a refcount table; what an encrypted image or one with a backing file
 *           had in its header is not told by its tables.
 */
#include <string.h>

#include "base/endian.h"
#include "format/bitmap.h"
#include "format/luks.h"
#include "repair/rescue_head.h"

#define TABLES 6u /* refcount tables tried */
#define RUNS 8u	  /* L1 tables tried with each */

bool q2_head_better(const struct q2_judgement *a, const struct q2_judgement *b)
{
	if (a->corruptions != b->corruptions)
		return a->corruptions < b->corruptions;
	return a->leaks < b->leaks;
}

/* Leaks of zeros may be parts of the L1 table that name nothing. */
static void see_leaks(const struct q2_checker *c, const struct q2_head *h,
		      struct q2_judgement *v)
{
	uint64_t cs = c->img.geom.cluster_size;
	uint64_t l1 = h->l1_offset >> h->bits;

	for (size_t i = 0; i < c->leaks.n; i++) {
		const struct q2_leak *k = &c->leaks.at[i];
		uint64_t end = k->first + k->n;
		uint8_t magic[8];

		if (q2_pread_zero(c->img.io, magic, 8, k->first << h->bits,
				  NULL) == Q2_OK &&
		    q2_be64(magic) == Q2_LUKS_MAGIC)
			v->luks = k->first << h->bits;
		if (v->loose == 0 &&
		    q2_holds_zeros(c->img.io, k->first << h->bits, cs))
			v->loose = k->first;
		if (end != l1)
			continue;
		while (v->before < k->n &&
		       q2_holds_zeros(c->img.io,
				   (end - 1 - v->before) << h->bits, cs))
			v->before++;
	}
}

static bool go_on(void *ctx, const struct q2_progress *p)
{
	struct q2_repair *r = ctx;

	return r->opts->progress && r->opts->progress(r->opts->ctx, p);
}

static void ignore(void *ctx, const struct q2_finding *f)
{
	(void)ctx;
	(void)f;
}

enum q2_status q2_head_judge(struct q2_repair *r, const struct q2_head *h,
			     struct q2_judgement *v)
{
	struct q2_check_opts opts = {.max_memory = r->opts->max_memory,
				     .found = ignore,
				     .progress = go_on,
				     .ctx = r};
	uint8_t bytes[Q2_HEAD_ROOM];
	struct q2_check_result res;
	struct q2_checker *c = NULL;
	struct q2_err own = {0};
	struct q2_io *io;
	enum q2_status st = q2_io_overlay(r->io, &r->budget, &io, r->err);

	*v = (struct q2_judgement){.corruptions = UINT64_MAX};
	if (st != Q2_OK)
		return st;
	q2_head_bytes(h, bytes);
	st = q2_pwrite(io, bytes, sizeof(bytes), 0, r->err);
	if (st == Q2_OK)
		st = q2_checker_run(io, &opts, &res, &c, &own);
	if (st == Q2_OK && res.verdict != Q2_UNREADABLE) {
		*v = (struct q2_judgement){.corruptions = res.corruptions,
				      .leaks = res.leaks,
				      .mapped = res.allocated_clusters};
		see_leaks(c, h, v);
		if (c->compressed.n)
			v->packed = c->compressed.at[0];
	}
	q2_checker_free(c);
	q2_io_close(io);
	/* A claim that is too much for us makes a guess a bad one. */
	if (st == Q2_E_BUDGET)
		return Q2_OK;
	if (st != Q2_OK && r->err->code == Q2_OK)
		*r->err = own;
	return st;
}

/* The last entry in use of the L1 table that starts there, plus one. */
static uint64_t l1_end(struct q2_repair *r, uint64_t off, uint64_t bytes)
{
	uint8_t piece[512];

	for (uint64_t at = bytes; at > 0; at -= sizeof(piece)) {
		if (q2_pread_zero(r->io, piece, sizeof(piece),
				  off + at - sizeof(piece), NULL) != Q2_OK)
			continue;
		for (size_t i = sizeof(piece); i > 0; i -= 8)
			if (q2_be64(piece + i - 8))
				return (at - sizeof(piece) + i) / 8;
	}
	return 0;
}

static void set_l1(struct q2_repair *r, struct q2_head *h, uint64_t first,
		   uint64_t n)
{
	unsigned l2_bits = h->bits - (h->ext_l2 ? 4 : 3);
	uint64_t end = l1_end(r, first << h->bits, n << h->bits);

	end = q2_min(end, Q2_L1_MAX);
	h->l1_offset = first << h->bits;
	h->l1_size = (uint32_t)end;
	h->size = q2_min(end << (l2_bits + h->bits), INT64_MAX & ~511);
}

static void keep_best(struct q2_headless *x, const struct q2_head *h,
		      const struct q2_judgement *v, const struct q2_roots *roots)
{
	if (!q2_head_better(v, &x->score))
		return;
	x->best = *h;
	x->score = *v;
	x->roots = *roots;
}

static enum q2_status try_run(struct q2_headless *x, struct q2_head h,
			      const struct q2_l1_run *run,
			      const struct q2_roots *roots)
{
	struct q2_judgement v;
	enum q2_status st;

	set_l1(x->r, &h, run->first, run->n);
	st = q2_head_judge(x->r, &h, &v);
	keep_best(x, &h, &v, roots);
	if (st != Q2_OK || v.before == 0 || q2_head_better(&x->score, &v))
		return st;
	set_l1(x->r, &h, run->first - v.before, run->n + v.before);
	st = q2_head_judge(x->r, &h, &v);
	keep_best(x, &h, &v, roots);
	return st;
}

/* A disk without data: some cluster of zeros is its L1 table. */
static enum q2_status try_empty(struct q2_headless *x, struct q2_head h,
				const struct q2_roots *roots)
{
	struct q2_judgement v;
	enum q2_status st = q2_head_judge(x->r, &h, &v);

	if (st != Q2_OK || v.loose == 0)
		return st;
	h.l1_offset = v.loose << h.bits;
	h.l1_size = 1;
	h.size = UINT64_C(1) << (2 * h.bits - (h.ext_l2 ? 4 : 3));
	st = q2_head_judge(x->r, &h, &v);
	keep_best(x, &h, &v, roots);
	return st;
}

static enum q2_status try_head(struct q2_headless *x, struct q2_head h)
{
	struct q2_roots roots;
	enum q2_status st = q2_find_roots(x->r, &h, &roots);

	h.snapshots = roots.snapshots;
	h.snap_offset = roots.snap_offset;
	/* Nothing else needs the older version. */
	if (roots.old && h.order == 4 && !h.ext_l2)
		h.version = 2;
	for (size_t i = 0; i < q2_min(roots.l1.n, RUNS) && st == Q2_OK; i++)
		st = try_run(x, h, &roots.l1.at[i], &roots);
	if (st == Q2_OK && roots.l1.n == 0)
		st = try_empty(x, h, &roots);
	q2_l1_runs_free(&roots.l1, &x->r->budget);
	x->roots.l1 = (struct q2_l1_runs){0};
	return st;
}

static enum q2_status search(struct q2_headless *x)
{
	struct q2_heads heads = {0};
	enum q2_status st = q2_find_reftables(x->r, &heads);
	uint64_t most = heads.n ? heads.at[0].coverage << heads.at[0].bits : 0;

	x->score = (struct q2_judgement){.corruptions = UINT64_MAX};
	for (size_t i = 0; i < q2_min(heads.n, TABLES) && st == Q2_OK; i++) {
		struct q2_head h = heads.at[i];

		if (h.coverage << h.bits < most / 2)
			break;
		st = try_head(x, h);
		h.ext_l2 = true;
		if (st == Q2_OK && h.bits >= 14)
			st = try_head(x, h);
	}
	q2_heads_free(&heads, &x->r->budget);
	return st;
}

static enum q2_status note(struct q2_repair *r, const char *text)
{
	uint32_t action;
	enum q2_status st = q2_act(r, Q2_P_HEADER_MAGIC, Q2_EFFECT_SUSPECT,
				   NULL, &action, "%s", text);

	if (st == Q2_OK)
		r->plan->actions.at[action].note = true;
	return st;
}

static enum q2_status write_header(struct q2_headless *x)
{
	struct q2_repair *r = x->r;
	const struct q2_head *h = &x->best;
	uint8_t bytes[Q2_HEAD_ROOM];
	size_t n = x->keeps_extensions ? Q2_HEADER_READ : sizeof(bytes);
	uint32_t action;
	enum q2_status st;

	q2_head_bytes(h, bytes);
	st = q2_act(r, Q2_P_HEADER_MAGIC, Q2_EFFECT_GAIN, NULL, &action,
		    "a header is made from the tables (%s): clusters of %llu "
		    "bytes, L1 table at %#llx, refcount table at %#llx, %u "
		    "snapshots%s%s",
		    x->score.corruptions || x->score.mapped == 0 ? "likely" :
								   "certain",
		    1ull << h->bits, (unsigned long long)h->l1_offset,
		    (unsigned long long)h->rt_offset, (unsigned)h->snapshots,
		    h->crypt ? "; encrypted" : "",
		    h->backing_size ? "; a backing file is named, likely" : "");
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, 0, bytes, 24);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, 32, bytes + 32, n - 32);
	if (st == Q2_OK)
		st = q2_act(r, Q2_P_HEADER_MAGIC, x->sure ? Q2_EFFECT_GAIN :
							   Q2_EFFECT_SUSPECT,
			    NULL, &action, "the disk's size becomes %llu "
			    "bytes: %s%s", (unsigned long long)h->size,
			    strncmp(x->why, "a guess", 7) == 0 ? "" :
			    x->sure ? "certain, by " : "likely, by ", x->why);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, 24, bytes + 24, 8);
	if (st == Q2_OK && h->backing_size == 0 && !x->keeps_extensions)
		st = note(r, "whether the disk was encrypted (but by LUKS) or "
			     "had a backing file cannot be told from the "
			     "tables");
	return st == Q2_OK ? q2_recheck(r) : st;
}

/* With the guest's data elsewhere nothing here tells the rest of the header. */
static enum q2_status tell_apart(struct q2_repair *r)
{
	return note(r, "no header is made: the guest's data lies in an external "
		       "data file.  Read as a raw disk that file holds all of "
		       "it, and maybe more where the disk is zeros");
}

enum q2_status q2_rescue_header(struct q2_repair *r)
{
	struct q2_headless x = {.r = r};
	bool apart = false;
	enum q2_status st;

	if (!(r->opts->flags & Q2_PLAN_RESCUE) || !q2_all(r) ||
	    r->c->img.geom.cluster_size || r->c->header.magic == Q2_MAGIC ||
	    !q2_want(r, Q2_P_HEADER_MAGIC))
		return Q2_OK;
	if (q2_head_data_file(r))
		return tell_apart(r);
	st = search(&x);
	/* A guest may have such an image among its data. */
	if (st == Q2_OK && (x.score.corruptions || x.score.mapped == 0))
		st = q2_tables_apart(r, &apart);
	if (st == Q2_OK && apart)
		return tell_apart(r);
	/* What fits nothing is no header; and what seems to be a raw disk must be
	 * an image without a fault. */
	if (st != Q2_OK || x.best.bits == 0 ||
	    x.score.corruptions > x.best.coverage / 4 ||
	    (r->result.is_raw && x.score.corruptions))
		return st;
	q2_head_compression(&x);
	st = q2_head_extensions(&x);
	if (st == Q2_OK)
		st = q2_head_luks(&x);
	if (st == Q2_OK)
		st = q2_head_size(&x);
	if (st == Q2_OK)
		st = write_header(&x);
	if (st != Q2_OK || !x.keeps_extensions)
		return st;
	return q2_mark_bitmaps(r, "bitmaps are marked as inconsistent: whether "
				  "they were up to date is not known");
}
