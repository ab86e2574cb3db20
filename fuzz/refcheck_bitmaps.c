/*
 * refcheck_bitmaps.c - reference checker: the bitmaps extension and all below.
 *
 * SPDX-License-Identifier: MIT
 */
#include "refcheck_own.h"

#define NOT_TOLD UINT64_MAX

struct bitmap {
	uint64_t table, entries, needed, name, name_len;
	uint64_t gran;
	bool content;
};

/* Of bitmaps that nobody promises to be right nothing is demanded. */
static void bad(struct q2f_refcheck *r, const char *why)
{
	if (r->bitmaps_promised)
		rc_bad(r, why);
}

static void judge_name(struct q2f_refcheck *r, const struct bitmap *b,
		       uint64_t end)
{
	if (b->name_len == 0 || b->name_len > 1023)
		bad(r, "a bitmap's name");
	for (uint64_t i = 0; i < b->name_len; i++)
		if (rc_get(r, b->name + i, 1) == 0)
			bad(r, "a NUL in a bitmap's name");
	for (uint64_t i = b->name + b->name_len; i < end; i++)
		if (rc_get(r, i, 1))
			bad(r, "a bitmap record's padding");
}

static void judge_table(struct q2f_refcheck *r, struct bitmap *b, bool in_use)
{
	uint64_t most = (UINT64_C(512) << 20) / r->cs;
	uint64_t n = b->entries;

	if (n == 0 || n > most ||
	    (b->needed != NOT_TOLD && n != b->needed && !in_use)) {
		bad(r, "a bitmap table's size");
		r->guess_counts = true;
	}
	if (b->table == 0 || b->table % r->cs) {
		bad(r, "a bitmap table's offset");
		b->entries = 0;
		return;
	}
	if (b->table >= r->size || n > (r->size - b->table) / 8) {
		bad(r, "a bitmap table outside");
		b->entries = b->table >= r->size || !r->bitmaps_promised ?
				     0 : (r->size - b->table) / 8;
	}
}

/* Reads the record at `at`; 0 if its lengths are wrong, else where it ends. */
static uint64_t record(struct q2f_refcheck *r, uint64_t at, uint64_t dir_end,
		       struct bitmap *b)
{
	uint64_t flags = rc_get(r, at + 12, 4), extra = rc_get(r, at + 20, 4);
	uint64_t name_len = rc_get(r, at + 18, 2);
	uint64_t end = at + 24 + extra + name_len;
	uint64_t bits, bytes;

	if (at + 24 > dir_end || end > dir_end || end < at)
		return 0;
	*b = (struct bitmap){.table = rc_get(r, at, 8),
			     .entries = rc_get(r, at + 8, 4),
			     .name = at + 24 + extra,
			     .name_len = name_len,
			     .gran = rc_get(r, at + 17, 1),
			     .needed = NOT_TOLD};
	if (flags & ~UINT64_C(7))
		bad(r, "a bitmap's flags");
	if (rc_get(r, at + 16, 1) != 1)
		bad(r, "a bitmap's type");
	if (b->gran < 9 || b->gran > 31) {
		bad(r, "a bitmap's granularity");
	} else {
		bits = (r->disk >> b->gran) +
		       (r->disk % (UINT64_C(1) << b->gran) != 0);
		bytes = bits / 8 + (bits % 8 != 0);
		b->needed = bytes / r->cs + (bytes % r->cs != 0);
	}
	judge_name(r, b, (end - at + 7) / 8 * 8 + at);
	b->content = r->bitmaps_promised && !(flags & 1) &&
		     b->entries == b->needed;
	judge_table(r, b, flags & 1);
	return at + (end - at + 7) / 8 * 8;
}

static void judge_tail(struct q2f_refcheck *r, const struct bitmap *b,
		       uint64_t host)
{
	uint64_t bits = (r->disk >> b->gran) +
			(r->disk % (UINT64_C(1) << b->gran) != 0);
	uint64_t first = (b->needed - 1) * r->cs * 8; /* bit of this cluster */

	for (uint64_t i = bits - first; i < 8 * r->cs; i++)
		if (rc_get(r, host + i / 8, 1) >> i % 8 & 1) {
			bad(r, "bits past the end of the disk");
			return;
		}
}

/* Of bitmaps out of date what has a refcount, and no other use, is theirs.  False if
 * not all is; what is empty lies nowhere. */
static bool hold(struct q2f_refcheck *r, uint64_t at, uint64_t len)
{
	bool all = true;

	for (uint64_t c = at / r->cs;
	     len && c < r->clusters && c * r->cs < at + len;
	     c++) {
		if (r->stored[c] && !r->counted[c])
			rc_meta(r, c * r->cs, r->cs);
		else
			all = false;
	}
	return all;
}

static void walk_table(struct q2f_refcheck *r, const struct bitmap *b)
{
	for (uint64_t i = 0; i < b->entries; i++) {
		uint64_t raw = rc_get(r, b->table + 8 * i, 8);
		uint64_t off = raw & UINT64_C(0x00fffffffffffe00);

		if (raw & UINT64_C(0xff000000000001fe))
			bad(r, "reserved bits of a bitmap table entry");
		if (off == 0)
			continue;
		if (raw & 1)
			bad(r, "a bitmap table entry with two meanings");
		if (off % r->cs) {
			bad(r, "an unaligned bitmap table entry");
		} else if (off >= r->size) {
			bad(r, "a bitmap table entry outside");
		} else {
			if (r->bitmaps_promised)
				rc_meta(r, off, r->cs);
			else
				hold(r, off, r->cs);
			if (b->content && i + 1 == b->needed)
				judge_tail(r, b, off);
		}
	}
}

static bool same_name(const struct q2f_refcheck *r, const struct bitmap *a,
		      const struct bitmap *b)
{
	if (a->name_len != b->name_len || a->name_len == 0)
		return false;
	for (uint64_t i = 0; i < a->name_len; i++)
		if (rc_get(r, a->name + i, 1) != rc_get(r, b->name + i, 1))
			return false;
	return true;
}

static void overlaps(struct q2f_refcheck *r, const struct bitmap *b,
		     unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < n; j++) {
			/* Tables that overlap are read once, not twice. */
			if (i != j && b[i].entries && b[j].entries &&
			    b[i].table <= b[j].table &&
			    b[j].table < b[i].table + 8 * b[i].entries) {
				bad(r, "bitmap tables overlap");
				r->guess_counts = true;
			}
			if (i < j && same_name(r, &b[i], &b[j]))
				bad(r, "two bitmaps with one name");
		}
}

static void walk_tables(struct q2f_refcheck *r, const struct bitmap *b,
			unsigned n)
{
	overlaps(r, b, n);
	for (unsigned i = 0; i < n; i++)
		rc_meta(r, b[i].table, 8 * b[i].entries);
	for (unsigned i = 0; i < n; i++)
		walk_table(r, &b[i]);
}

/* The records that can be followed; 0 if there are none. */
static unsigned directory(struct q2f_refcheck *r, uint64_t ext, struct bitmap *b)
{
	uint64_t n = rc_get(r, ext + 8, 4), bytes = rc_get(r, ext + 16, 8);
	uint64_t at = rc_get(r, ext + 24, 8), pos = at;

	if (rc_get(r, ext + 4, 4) != 24) {
		rc_bad(r, "the bitmaps extension's length");
		return 0;
	}
	if (rc_get(r, ext + 12, 4))
		bad(r, "the bitmaps extension's reserved field");
	if (n == 0 || n > 65535 || bytes == 0 || bytes > 67107840) {
		/* One length may tell the other one. */
		bad(r, "the bitmaps extension's lengths");
		r->guess_counts = true;
		if (!r->bitmaps_promised)
			r->guess = true;
		return 0;
	}
	if (at == 0 || at % r->cs) {
		bad(r, "the bitmap directory's offset");
		return 0;
	}
	if (at >= r->size) {
		bad(r, "the bitmap directory outside");
		return 0;
	}
	if (bytes > r->size - at) {
		bad(r, "the bitmap directory's end outside");
		r->guess_counts = true;
		return 0;
	}
	for (uint64_t i = 0; i < n; i++) {
		if (i == RC_BITMAPS) {
			r->guess = r->guess_counts = true;
			return 0;
		}
		pos = record(r, pos, at + bytes, &b[i]);
		if (pos == 0) {
			bad(r, "a bitmap record's lengths");
			r->guess_counts = true;
			return 0;
		}
	}
	if (pos != at + bytes) {
		bad(r, "the bitmap directory is longer than its records");
		if (!r->bitmaps_promised)
			return 0;
		r->guess_counts = true;
	}
	return (unsigned)n;
}

void rc_bitmaps(struct q2f_refcheck *r, uint64_t ext)
{
	struct bitmap b[RC_BITMAPS];
	unsigned n = directory(r, ext, b);

	if (n == 0)
		return;
	if (!r->bitmaps_promised) {
		r->stale = ext;
		return;
	}
	rc_meta(r, rc_get(r, ext + 24, 8), rc_get(r, ext + 16, 8));
	walk_tables(r, b, n);
}

/* Once the refcounts are known.  What is not wholly theirs leads to nothing. */
void rc_stale(struct q2f_refcheck *r)
{
	struct bitmap b[RC_BITMAPS];
	bool held[RC_BITMAPS];
	unsigned n = r->stale ? directory(r, r->stale, b) : 0;

	if (n == 0 || !hold(r, rc_get(r, r->stale + 24, 8),
			    rc_get(r, r->stale + 16, 8)))
		return;
	overlaps(r, b, n);
	for (unsigned i = 0; i < n; i++)
		held[i] = hold(r, b[i].table, 8 * b[i].entries);
	for (unsigned i = 0; i < n; i++)
		if (held[i])
			walk_table(r, &b[i]);
}
