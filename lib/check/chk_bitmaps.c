/*
 * chk_bitmaps.c - tests the bitmap directory: its place, lengths and records.
 * Gathers its range, and what chk_bitrecs.c and chk_bittables.c go by.
 * When it fails the result is partial: bitmaps may seem leaked.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/chk_bitmaps.h"

#include <stdio.h>
#include <string.h>

#include "check/window.h"
#include "format/ext.h"

/* A name with its padding. */
#define NAME_ROOM (UINT16_MAX + 8u)

/* The extension has two lengths, in bytes and in records.  If they contradict
 * one another, records are read as long as either of them and their own looks
 * say that they are records. */
struct directory {
	struct q2_checker *c;
	struct q2_ext ext;
	struct q2_window w;
	struct q2_bitmap_refs refs;
	uint64_t start; /* host offset */
	uint64_t size;	/* bytes as claimed, within the file; 0: absurd */
	uint64_t limit; /* bytes in which there may be records */
	uint64_t pos;	/* where the next record is looked for */
	uint64_t taken; /* bytes that the records so far take */
	uint32_t count; /* records as claimed; 0: absurd */
	uint32_t index; /* of the record at pos */
	bool stale;	/* nothing is promised: only follow */
	bool broken;	/* a record was not sound */
};

/* Says that the bitmaps are stale, if they are. */
static void judge_promise(struct directory *d)
{
	struct q2_checker *c = d->c;
	struct q2_finding f = {.fields = Q2_F_HOST, .host = d->ext.at};

	d->stale = !(c->header.autoclear & Q2_AUTOCLEAR_BITMAPS);
	if (!d->stale)
		return;
	if (c->img.geom.version == 2) {
		q2_found(c, Q2_P_BITMAP_VERSION2, &f);
		return;
	}
	f.fields |= Q2_F_COUNT;
	f.count = c->ext.bitmaps;
	q2_found(c, Q2_P_BITMAPS_STALE, &f);
}

static void judge_place(struct directory *d)
{
	struct q2_checker *c = d->c;
	const struct q2_extensions *x = &c->ext;
	uint64_t file_size = c->img.geom.file_size;
	uint64_t inside;

	d->start = x->bitmap_dir_offset;
	inside = d->start < file_size ? file_size - d->start : 0;
	d->limit = q2_min(Q2_BITMAPDIR_MAX, inside);
	if (x->bitmap_dir_size <= Q2_BITMAPDIR_MAX)
		d->size = q2_min(x->bitmap_dir_size, inside);
	if (x->bitmaps <= Q2_BITMAPS_MAX)
		d->count = x->bitmaps;
	if (inside && x->bitmap_dir_size > Q2_BITMAPDIR_MAX)
		return;
	if (inside && x->bitmap_dir_size <= inside)
		return;
	c->result->partial = true;
	if (d->stale)
		return;
	q2_found(c, Q2_P_BITMAPDIR_OUTSIDE,
		 &(struct q2_finding){
			 .fields = Q2_F_HOST | Q2_F_LENGTH,
			 .host = d->start,
			 .length = x->bitmap_dir_size,
		 });
}

static enum q2_status parse(struct directory *d, uint64_t pos,
			    struct q2_bitmap_rec *r)
{
	const uint8_t *head;
	enum q2_status st;

	*r = (struct q2_bitmap_rec){.host = d->start + pos, .index = d->index};
	st = q2_window_see(&d->w, r->host, Q2_BITMAP_HEAD, &head);
	if (st == Q2_OK)
		q2_bitmap_parse(head, Q2_BITMAP_HEAD, &r->b);
	return st;
}

static enum q2_status note_place(struct directory *d,
				 const struct q2_bitmap_rec *r, bool is_sound)
{
	struct q2_bitmap_spot spot = {r->host, r->b.end, r->index, is_sound};

	return q2_bitmap_spots_push(&d->c->bitmap_spots, &d->c->budget,
				    spot, d->c->err);
}

static enum q2_status accept(struct directory *d, struct q2_bitmap_rec *r)
{
	enum q2_status st;

	/* Extra data is jumped over, however much there is. */
	st = q2_window_see(&d->w, r->host + r->b.name_at,
			   (size_t)(r->b.len - r->b.name_at), &r->name);
	if (st != Q2_OK)
		return st;
	if (q2_window_bad(&d->w, r->host, r->b.len)) {
		d->broken = true;
		st = q2_bitmap_salvage(d->c, &d->refs, r);
	} else {
		st = q2_bitmap_add(d->c, &d->refs, r, d->stale);
	}
	if (st == Q2_OK)
		st = note_place(d, r, !q2_window_bad(&d->w, r->host, r->b.len));
	d->pos += r->b.len;
	d->taken = d->pos;
	d->index++;
	d->c->result->bitmaps++;
	return st;
}

static void emit_record(struct directory *d, const struct q2_bitmap_rec *r)
{
	struct q2_finding f = {.fields = Q2_F_INDEX | Q2_F_HOST,
			       .index = r->index,
			       .host = r->host};
	char lengths[64];
	int n = snprintf(lengths, sizeof(lengths),
			 "%u of extra data, %u of name",
			 (unsigned)r->b.extra_len, (unsigned)r->b.name_len);

	q2_finding_text(&f, lengths, (size_t)n);
	q2_found(d->c, Q2_P_BITMAP_RECORD, &f);
}

/* Keeps the table of the record at d->pos, which is not sound, and goes on with
 * the next one that is, if there is one in the directory.  Without a size there
 * is no search: it would meet guest data. */
static enum q2_status resync(struct directory *d, struct q2_bitmap_rec *r)
{
	enum q2_status st;

	d->broken = true;
	d->c->result->partial = true;
	if (!d->stale && !q2_window_bad(&d->w, r->host, Q2_BITMAP_HEAD))
		emit_record(d, r);
	st = q2_bitmap_salvage(d->c, &d->refs, r);
	if (st == Q2_OK)
		st = note_place(d, r, false);
	d->index++;
	if (d->size == 0)
		d->pos = d->limit;
	for (d->pos += 8; st == Q2_OK && d->pos < d->size; d->pos += 8) {
		d->pos = q2_window_skip(&d->w, d->start + d->pos) - d->start;
		d->pos &= ~UINT64_C(7);
		st = parse(d, d->pos, r);
		if (st == Q2_OK && q2_inside(d->pos, r->b.end, d->size) &&
		    q2_bitmap_plausible(&d->c->img.geom, &r->b))
			break;
	}
	return st;
}

/* Whether the record's name is one: a wrong length takes in NUL bytes. */
static enum q2_status named(struct directory *d, const struct q2_bitmap_rec *r,
			    bool *is)
{
	const uint8_t *name;
	enum q2_status st = q2_window_see(&d->w, r->host + r->b.name_at,
					  r->b.name_len, &name);

	if (st == Q2_OK)
		*is = memchr(name, 0, r->b.name_len) == NULL;
	return st;
}

/* The record at d->pos; *more is false if there is none. */
static enum q2_status next(struct directory *d, bool *more)
{
	bool counted = d->count == 0 || d->index < d->count;
	bool sized = d->size == 0 || d->pos < d->size;
	uint64_t end = d->size ? d->size : d->limit;
	struct q2_bitmap_rec r;
	bool fits, plausible;
	enum q2_status st;

	*more = d->pos < d->limit && d->index < Q2_BITMAPS_MAX &&
		(counted || (sized && d->size));
	if (!*more)
		return Q2_OK;
	st = parse(d, d->pos, &r);
	if (st != Q2_OK)
		return st;
	fits = q2_inside(d->pos, r.b.end, end);
	plausible = q2_bitmap_plausible(&d->c->img.geom, &r.b) &&
		    q2_inside(d->pos, r.b.end, d->limit);
	/* Zeros stand for what could not be read. */
	if (q2_window_bad(&d->w, r.host, Q2_BITMAP_HEAD) && sized)
		return resync(d, &r);
	if (fits && (counted || plausible))
		return accept(d, &r);
	/* One of the lengths says so, and so does the record. */
	if (counted && d->count && plausible) {
		st = named(d, &r, &plausible);
		if (st != Q2_OK)
			return st;
		if (plausible)
			return accept(d, &r);
	}
	if (counted && sized)
		return resync(d, &r);
	*more = false;
	return Q2_OK;
}

static void emit_length(struct directory *d, const char *what, uint64_t found,
			uint64_t expected)
{
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_FOUND | Q2_F_EXPECTED,
		.host = d->ext.at,
		.found = found,
		.expected = expected,
	};

	if (d->stale)
		return;
	q2_finding_text(&f, what, strlen(what));
	q2_found(d->c, Q2_P_EXT_BITMAPS_BAD, &f);
}

/* Whether the extension's two lengths are what the records say. */
static void judge_lengths(struct directory *d)
{
	struct q2_checker *c = d->c;
	uint64_t claimed = c->ext.bitmap_dir_size;

	if (d->count == 0)
		emit_length(d, "the number of bitmaps", c->ext.bitmaps,
			    d->index);
	if (claimed == 0 || claimed > Q2_BITMAPDIR_MAX)
		emit_length(d, "the directory's length", claimed, d->taken);
	/* Broken records, or a directory cut off by the file, were reported. */
	if (d->broken || d->size == 0 || d->size != claimed)
		return;
	if (d->taken < claimed)
		c->result->partial = true;
	if (d->taken == claimed && d->count && d->index != d->count)
		emit_length(d, "the number of bitmaps", d->count, d->index);
	if (d->taken == claimed || d->stale)
		return;
	q2_found(c, Q2_P_BITMAPDIR_SIZE,
		 &(struct q2_finding){
			 .fields = Q2_F_HOST | Q2_F_FOUND | Q2_F_EXPECTED,
			 .host = d->start,
			 .found = claimed,
			 .expected = d->taken,
		 });
}

static enum q2_status read_directory(struct directory *d)
{
	struct q2_checker *c = d->c;
	enum q2_status st = Q2_OK;
	bool more = true;

	while (st == Q2_OK && more) {
		if (d->index % 1024 == 0)
			st = q2_tick(c, "bitmaps", d->index, c->ext.bitmaps);
		if (st == Q2_OK)
			st = next(d, &more);
	}
	if (st != Q2_OK)
		return st;
	return q2_bitmap_meta_add(c, Q2_K_BITMAP_DIR, 0,
				  (struct q2_range){
					  d->start,
					  q2_max(q2_max(d->size, d->taken),
						 1)});
}

/* What is out of date is followed only where nothing contradicts it: the place where
 * more of it may be can be anybody's by now. */
static bool can_claim(const struct directory *d)
{
	const struct q2_extensions *x = &d->c->ext;

	return !d->broken && d->taken == x->bitmap_dir_size &&
	       d->index == x->bitmaps;
}

enum q2_status q2_chk_bitmaps(struct q2_checker *c)
{
	struct directory d = {.c = c};
	struct q2_range area;
	enum q2_status st;

	if (!c->ext.has_bitmaps ||
	    !q2_ext_area(&c->header, c->img.geom.cluster_size, &area) ||
	    !q2_ext_find(c->first, area, Q2_EXT_BITMAPS, &d.ext))
		return Q2_OK;
	judge_promise(&d);
	judge_place(&d);
	if (d.limit == 0)
		return Q2_OK;
	st = q2_window_open(&d.w, c, Q2_K_BITMAP_DIR, NAME_ROOM, d.limit);
	if (st == Q2_OK)
		st = read_directory(&d);
	q2_window_close(&d.w);
	if (st == Q2_OK) {
		judge_lengths(&d);
		if (!d.stale)
			q2_bitmaps_compare(c, &d.refs);
		if (d.stale && !can_claim(&d)) {
			c->bitmaps.lost_some = true;
			c->bitmaps.claims.n = d.refs.n = 0;
		}
		st = q2_chk_bitmap_tables(c, &d.refs, d.stale);
	}
	q2_bitmap_refs_free(&d.refs, &c->budget);
	return st;
}
