/*
 * bitmaps.c - which bitmaps can be carried over, and what they hold.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/bitmaps.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/hash.h"
#include "image/bitmapdir.h"

#define WINDOW 512u /* entries of a table that are read at a time */

/* The bits of one bitmap. */
struct bits {
	const struct q2_image *img;
	const struct q2_read_opts *scan;
	struct q2_bitmap b;
	uint64_t first; /* entry that window[0] is of */
	uint32_t n;
	uint8_t window[WINDOW * 8];
};

struct names {
	struct q2_offsets hashes; /* sorted once all are there */
	struct q2_budget *budget;
};

/* What is done with the bitmaps. */
enum aim { JUDGE, CARRY, DIGEST };

struct walk {
	struct q2_dump_run *d;
	const struct q2_opened *opened; /* the image that has them */
	enum aim aim;
	struct q2_newimage *image; /* CARRY */
	uint64_t digest;	   /* of those that can be carried: DIGEST */
	struct names names;
	uint32_t seen;
	enum q2_status status;
	struct q2_err *err;
};

static uint64_t hash_of(const struct q2_bitmap *b, const char *name)
{
	return q2_hash(name, b->name_len);
}

static void take_name(void *ctx, const struct q2_bitmap *b, const char *name)
{
	struct walk *w = ctx;

	if (w->status == Q2_OK)
		w->status = q2_offsets_push(&w->names.hashes, w->names.budget,
					    hash_of(b, name), w->err);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

static bool is_twice(const struct walk *w, uint64_t hash)
{
	const struct q2_offsets *v = &w->names.hashes;
	const uint64_t *at = bsearch(&hash, v->at, v->n, sizeof(hash),
				     by_value);

	return at != NULL && ((at > v->at && at[-1] == hash) ||
			      (at + 1 < v->at + v->n && at[1] == hash));
}

static enum q2_status entry_at(struct bits *s, uint64_t i,
			       struct q2_bitmap_entry *out, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	if (i < s->first || i >= s->first + s->n) {
		s->n = (uint32_t)q2_min(WINDOW, s->b.table_size - i);
		s->first = i;
		st = q2_pread_zero(s->img->io, s->window, s->n * (size_t)8,
				   s->b.table_offset + i * 8, err);
		if (st != Q2_OK)
			s->n = 0;
	}
	if (st == Q2_OK)
		*out = q2_bitmap_decode(&s->img->geom,
					q2_be64(s->window + (i - s->first) * 8));
	return st;
}

static enum q2_status tell(const struct bits *s, uint64_t done,
			   struct q2_err *err)
{
	struct q2_progress p = {"bitmaps", done, s->b.table_size};

	if (s->scan->progress && s->scan->progress(s->scan->ctx, &p))
		return q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
			       "interrupted");
	return Q2_OK;
}

static enum q2_status read_bits(void *ctx, uint8_t *buf, size_t len,
				uint64_t off, struct q2_err *err)
{
	struct bits *s = ctx;
	uint64_t cs = s->img->geom.cluster_size;
	enum q2_status st = tell(s, off / cs, err);

	while (len && st == Q2_OK) {
		size_t n = (size_t)q2_min(len, cs - off % cs);
		struct q2_bitmap_entry e;

		st = entry_at(s, off / cs, &e, err);
		if (st == Q2_OK && e.used)
			st = q2_pread_zero(s->img->io, buf, n, e.host + off % cs,
					   err);
		else if (st == Q2_OK)
			memset(buf, e.ones ? 0xff : 0, n);
		buf += n;
		off += n;
		len -= n;
	}
	return st;
}

static enum q2_status judge_table(struct bits *s, const char **why,
				  struct q2_err *err)
{
	struct q2_bitmap_entry e;
	enum q2_status st = Q2_OK;

	for (uint32_t i = 0; i < s->b.table_size && st == Q2_OK && !*why; i++) {
		if (i % WINDOW == 0)
			st = tell(s, i, err);
		if (st == Q2_OK)
			st = entry_at(s, i, &e, err);
		if (st == Q2_OK && e.faults)
			*why = "is damaged";
	}
	return st;
}

/* *why it cannot be carried; NULL: it can. */
static enum q2_status judge(const struct walk *w, struct bits *s,
			    const char *name, const char **why,
			    struct q2_err *err)
{
	const struct q2_geom *g = &s->img->geom;
	uint64_t bytes = q2_bitmap_bytes(g->disk_size, s->b.gran);

	*why = NULL;
	if (s->b.flags & Q2_BITMAP_IN_USE)
		*why = "is marked as in use, so that it is not known what it "
		       "holds";
	else if (s->b.name_len == 0 || memchr(name, '\0', s->b.name_len) ||
		 is_twice(w, hash_of(&s->b, name)) ||
		 s->b.flags & ~(uint32_t)Q2_BITMAP_FLAGS ||
		 !q2_bitmap_has_table(g, &s->b) ||
		 bytes > Q2_BITMAP_BYTES_MAX ||
		 s->b.table_size != q2_div_up(bytes, g->cluster_size))
		*why = "is damaged";
	return *why ? Q2_OK : judge_table(s, why, err);
}

static enum q2_status refuse(struct q2_err *err, const char *name, int len,
			     const char *why)
{
	return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
		       "bitmap '%.*s' %s: with --drop-bitmaps it is left out",
		       len > 60 ? 60 : len, name, why);
}

/* Goes on with the digest by all that a bitmap says; parts that are all zeros
 * change nothing. */
static enum q2_status add_bits(struct walk *w, struct bits *s, const char *name,
			       struct q2_err *err)
{
	uint64_t total = q2_bitmap_bytes(w->d->length, s->b.gran);
	uint64_t bits = q2_div_up(w->d->length, UINT64_C(1) << s->b.gran);
	uint64_t head[4] = {s->b.name_len, s->b.gran,
			    s->b.flags & Q2_BITMAP_AUTO, total};
	uint8_t bytes[WINDOW * 8];
	enum q2_status st = Q2_OK;
	size_t n;

	w->digest = q2_hash_on(w->digest, head, sizeof(head));
	w->digest = q2_hash_on(w->digest, name, s->b.name_len);
	for (uint64_t at = 0; at < total && st == Q2_OK; at += n) {
		n = (size_t)q2_min(total - at, sizeof(bytes));
		st = read_bits(s, bytes, n, at, err);
		/* What lies past the end of the disk means nothing. */
		if (at + n == total && bits % 8)
			bytes[n - 1] &= (uint8_t)((1u << bits % 8) - 1);
		if (st != Q2_OK || q2_zeros(bytes, n))
			continue;
		w->digest = q2_hash_on(w->digest, &at, sizeof(at));
		w->digest = q2_hash_on(w->digest, bytes, n);
	}
	return st;
}

static void take(void *ctx, const struct q2_bitmap *b, const char *name)
{
	struct walk *w = ctx;
	struct q2_dump_result *r = w->d->result;
	struct bits s = {.img = &w->opened->img,
			 .scan = &w->d->opts->scan,
			 .b = *b};
	struct q2_newbitmap out = {.name = name,
				   .name_len = b->name_len,
				   .gran = b->gran,
				   .enabled = b->flags & Q2_BITMAP_AUTO,
				   .disk_size = w->d->length,
				   .read = read_bits,
				   .ctx = &s};
	const char *why;

	w->seen++;
	if (w->status == Q2_OK)
		w->status = judge(w, &s, name, &why, w->err);
	if (w->status != Q2_OK)
		return;
	if (w->aim != JUDGE) {
		if (!why && w->aim == CARRY)
			w->status = q2_newimage_bitmap(w->image, &out, w->err);
		else if (!why)
			w->status = add_bits(w, &s, name, w->err);
		return;
	}
	if (why && !(w->d->opts->flags & Q2_DUMP_DROP_BITMAPS))
		w->status = refuse(w->err, name, b->name_len, why);
	r->bitmaps += !why;
	r->bitmaps_left += why != NULL;
}

static enum q2_status go(struct walk *w)
{
	enum q2_status st;
	bool whole;

	w->names.budget = &w->d->guest->budget;
	st = q2_bitmapdir_walk(w->opened, take_name, w, &whole, w->err);
	if (st == Q2_OK)
		st = w->status;
	if (st == Q2_OK && w->names.hashes.n)
		qsort(w->names.hashes.at, w->names.hashes.n, sizeof(uint64_t),
		      by_value);
	if (st == Q2_OK && !whole && w->aim == JUDGE) {
		if (!(w->d->opts->flags & Q2_DUMP_DROP_BITMAPS))
			st = q2_fail(w->err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
				     "the list of bitmaps is damaged: with "
				     "--drop-bitmaps those that cannot be "
				     "found are left out");
	}
	if (st == Q2_OK)
		st = q2_bitmapdir_walk(w->opened, take, w, &whole, w->err);
	if (st == Q2_OK)
		st = w->status;
	q2_offsets_free(&w->names.hashes, w->names.budget);
	return st;
}

static struct walk walk_of(struct q2_dump_run *d, enum aim aim,
			   struct q2_err *err)
{
	return (struct walk){.d = d,
			     .opened = &d->guest->chain.layers[0]->opened,
			     .aim = aim,
			     .err = err};
}

enum q2_status q2_bitmaps_judge(struct q2_dump_run *d, struct q2_err *err)
{
	struct walk w = walk_of(d, JUDGE, err);
	enum q2_status st;

	d->result->bitmaps = d->result->bitmaps_left = 0;
	if (d->guest->bitmaps == 0 || !(d->opts->flags & Q2_DUMP_BITMAPS))
		return Q2_OK;
	st = go(&w);
	if (st == Q2_OK && w.seen < d->guest->bitmaps)
		d->result->bitmaps_left += d->guest->bitmaps - w.seen;
	return st;
}

enum q2_status q2_bitmaps_carry(struct q2_dump_run *d, struct q2_newimage *image,
				struct q2_err *err)
{
	struct walk w = walk_of(d, CARRY, err);

	w.image = image;
	return d->result->bitmaps ? go(&w) : Q2_OK;
}

enum q2_status q2_bitmaps_verify(struct q2_dump_run *d, struct q2_guest *result,
				 struct q2_err *err)
{
	struct walk want = walk_of(d, DIGEST, err);
	struct walk got = walk_of(d, DIGEST, err);
	enum q2_status st = go(&want);

	got.opened = &result->chain.layers[0]->opened;
	if (st == Q2_OK)
		st = go(&got);
	if (st == Q2_OK && (want.digest != got.digest ||
			    got.seen != d->result->bitmaps))
		st = q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET,
			     "the bitmaps that were written read back "
			     "differently");
	return st;
}
