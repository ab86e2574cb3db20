/*
 * chk_bitmaps.h - what the files of the bitmap phase share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CHECK_CHK_BITMAPS_H
#define Q2_CHECK_CHK_BITMAPS_H

#include "check/checker.h"
#include "format/bitmap.h"

/* What is kept of a record until all were seen. */
struct q2_bitmap_ref {
	uint64_t hash; /* of the name */
	uint64_t name_at;
	uint64_t table_offset;
	uint64_t needed;  /* entries for the disk; 0: not known */
	uint32_t entries; /* to be walked; 0: the table cannot be used */
	uint32_t index;
	uint16_t name_len;
	uint8_t gran;
	bool content;	/* the bits are promised to be right */
	bool same_name; /* as an earlier one's */
};
Q2_VEC(q2_bitmap_refs, struct q2_bitmap_ref)

/* A record of the directory. */
struct q2_bitmap_rec {
	struct q2_bitmap b;
	uint64_t host;
	uint32_t index;
	const uint8_t *name; /* with the padding behind it */
};

/* Judges a record whose lengths are sound, and adds it to `refs`.  `stale`:
 * nothing is promised of it, so no finding is made. */
enum q2_status q2_bitmap_add(struct q2_checker *c, struct q2_bitmap_refs *refs,
			     const struct q2_bitmap_rec *r, bool stale);

/* Adds the table of a record that is not sound: what it uses is in use. */
enum q2_status q2_bitmap_salvage(struct q2_checker *c,
				 struct q2_bitmap_refs *refs,
				 const struct q2_bitmap_rec *r);

/* Finds names that are there twice. */
void q2_bitmaps_compare(struct q2_checker *c, struct q2_bitmap_refs *refs);

/* Walks the tables and registers them and their data.  Reorders `refs`. */
enum q2_status q2_chk_bitmap_tables(struct q2_checker *c,
				    struct q2_bitmap_refs *refs, bool stale);

#endif
