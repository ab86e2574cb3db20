/*
 * write_header.c - what must be said in the file before it is changed.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "autoclear_features" and "Bitmaps": a writer clears the bits of features
 * that it does not know, and an enabled bitmap records every write or is marked.
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "format/bitmap.h"
#include "format/ext.h"
#include "image/write_int.h"

#define AT_AUTOCLEAR 88

/* The bitmap directory; *size is 0 if no bitmap is valid. */
struct directory {
	uint8_t *bytes;
	uint64_t size;
	uint64_t offset;
};

static enum q2_status find_directory(struct q2_writer *w, struct directory *d,
				     struct q2_err *err)
{
	uint64_t cs = w->img.geom.cluster_size;
	struct q2_bitmaps_ext b;
	struct q2_header h;
	struct q2_range area;
	struct q2_ext e;
	enum q2_status st;
	void *block;

	*d = (struct directory){0};
	q2_header_parse(w->sector, sizeof(w->sector), &h);
	if (!(h.autoclear & Q2_AUTOCLEAR_BITMAPS) ||
	    !q2_ext_area(&h, cs, &area))
		return Q2_OK;
	st = q2_get(w->img.budget, cs, &block, err);
	if (st != Q2_OK)
		return st;
	st = q2_pread_zero(w->img.io, block, (size_t)cs, 0, err);
	if (st == Q2_OK && q2_ext_find(block, area, Q2_EXT_BITMAPS, &e)) {
		if (e.data == NULL || e.len < Q2_EXT_BITMAPS_LEN) {
			st = q2_fail(err, Q2_E_FORMAT, 0, e.at,
				     "the bitmaps extension is damaged");
		} else {
			b = q2_bitmaps_ext_parse(e.data);
			d->size = b.dir_size;
			d->offset = b.dir_offset;
		}
	}
	q2_put(w->img.budget, block, cs);
	return st;
}

static enum q2_status read_directory(struct q2_writer *w, struct directory *d,
				     struct q2_err *err)
{
	enum q2_status st = find_directory(w, d, err);
	void *block;

	if (st != Q2_OK || d->size == 0)
		return st;
	if (d->size > Q2_BITMAPDIR_MAX)
		return q2_fail(err, Q2_E_FORMAT, 0, d->offset,
			       "the bitmap directory is too long");
	st = q2_get(w->img.budget, d->size, &block, err);
	if (st != Q2_OK)
		return st;
	d->bytes = block;
	return q2_pread_zero(w->img.io, block, (size_t)d->size, d->offset, err);
}

static void free_directory(struct q2_writer *w, struct directory *d)
{
	q2_put(w->img.budget, d->bytes, d->size);
}

/* Counts the bitmaps that would have to record every write; with `mark` they are
 * marked as not saved. */
static enum q2_status enabled(struct q2_writer *w, struct directory *d,
			      bool mark, uint64_t *n, struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	struct q2_bitmap b;

	*n = 0;
	for (uint64_t at = 0; at < d->size && st == Q2_OK; at += b.len) {
		uint8_t flags[4];

		q2_bitmap_parse(d->bytes + at, (size_t)(d->size - at), &b);
		if (!(b.flags & Q2_BITMAP_AUTO) ||
		    (b.flags & Q2_BITMAP_IN_USE))
			continue;
		++*n;
		if (!mark)
			continue;
		q2_put_be32(flags, b.flags | Q2_BITMAP_IN_USE);
		st = q2_w_put(w, flags, sizeof(flags),
			      d->offset + at + Q2_BITMAP_AT_FLAGS, err);
	}
	return st;
}

/* One that is not to be trusted may have any length. */
static bool counts(const struct q2_writer *w, const struct q2_bitmap *b)
{
	bool marks = (w->flags & Q2_WRITER_STALE_BITMAPS) &&
		     !(w->flags & Q2_WRITER_SAME_VIEW);

	return !(b->flags & Q2_BITMAP_IN_USE) &&
	       !(marks && (b->flags & Q2_BITMAP_AUTO));
}

enum q2_status q2_w_bitmaps_reach(struct q2_writer *w, uint64_t size,
				  struct q2_err *err)
{
	struct directory d;
	enum q2_status st = read_directory(w, &d, err);
	struct q2_bitmap b;

	for (uint64_t at = 0; at < d.size && st == Q2_OK; at += b.len) {
		uint64_t bytes;

		q2_bitmap_parse(d.bytes + at, (size_t)(d.size - at), &b);
		bytes = b.gran > Q2_BITMAP_GRAN_MAX ? 0 :
						      q2_bitmap_bytes(size, b.gran);
		if (counts(w, &b) &&
		    (bytes == 0 || bytes > Q2_BITMAP_BYTES_MAX ||
		     q2_div_up(bytes, w->img.geom.cluster_size) != b.table_size))
			st = q2_fail(err, Q2_E_UNSUPPORTED, 0, d.offset + at,
				     "the disk cannot grow, as its bitmap "
				     "'%.*s' would need a larger table",
				     (int)q2_min(b.name_len, d.size - q2_min(
						 d.size, at + b.name_at)),
				     d.bytes + at + b.name_at);
	}
	free_directory(w, &d);
	return st;
}

enum q2_status q2_w_bitmaps_judge(struct q2_writer *w, struct q2_err *err)
{
	struct directory d;
	uint64_t n = 0;
	enum q2_status st;

	if (!w->img.io->writable ||
	    (w->flags & (Q2_WRITER_SAME_VIEW | Q2_WRITER_STALE_BITMAPS)))
		return Q2_OK;
	st = read_directory(w, &d, err);
	if (st == Q2_OK)
		st = enabled(w, &d, false, &n, err);
	free_directory(w, &d);
	if (st == Q2_OK && n)
		st = q2_fail(err, Q2_E_UNSUPPORTED, 0, d.offset,
			     "the image has %llu enabled bitmap%s, which would"
			     " miss the changes",
			     (unsigned long long)n, n == 1 ? "" : "s");
	return st;
}

enum q2_status q2_w_mark(struct q2_writer *w, struct q2_err *err)
{
	uint64_t autoclear = w->img.geom.version > 2 ?
				     q2_be64(w->sector + AT_AUTOCLEAR) : 0;
	enum q2_status st = Q2_OK;

	if (autoclear & ~(uint64_t)Q2_AUTOCLEAR_KNOWN) {
		q2_put_be64(w->sector + AT_AUTOCLEAR,
			    autoclear & Q2_AUTOCLEAR_KNOWN);
		st = q2_w_put(w, w->sector, sizeof(w->sector), 0, err);
	}
	if (st == Q2_OK && (w->flags & Q2_WRITER_STALE_BITMAPS) &&
	    !(w->flags & Q2_WRITER_SAME_VIEW)) {
		struct directory d;
		uint64_t n;

		st = read_directory(w, &d, err);
		if (st == Q2_OK)
			st = enabled(w, &d, true, &n, err);
		free_directory(w, &d);
	}
	if (st == Q2_OK)
		st = q2_w_barrier(w, err);
	w->marked = st == Q2_OK;
	return st;
}
