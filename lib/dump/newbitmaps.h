/*
 * newbitmaps.h - the persistent bitmaps of a fresh image.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Bitmaps extension" and "Bitmaps".  The bits are appended like guest data;
 * the tables and the directory stay in memory until it is known where they will be.
 */
#ifndef Q2_DUMP_NEWBITMAPS_H
#define Q2_DUMP_NEWBITMAPS_H

#include "dump/append.h"
#include "format/bitmap.h"

struct q2_newbitmap {
	const char *name; /* name_len bytes */
	uint16_t name_len;
	uint8_t gran; /* log2 of the disk's bytes for a bit */
	bool enabled; /* writers have to keep it up to date */
	uint64_t disk_size;
	/* Reads bytes of the bitmap; none past what the disk needs. */
	enum q2_status (*read)(void *ctx, uint8_t *buf, size_t len,
			       uint64_t off, struct q2_err *err);
	void *ctx;
};

struct q2_newbitmaps;

/* `budget` is borrowed. */
enum q2_status q2_newbitmaps_new(struct q2_budget *budget,
				 struct q2_newbitmaps **out,
				 struct q2_err *err) Q2_MUST_CHECK;
void q2_newbitmaps_free(struct q2_newbitmaps *nb);

/* Appends the clusters of one more bitmap. */
enum q2_status q2_newbitmaps_add(struct q2_newbitmaps *nb, struct q2_append *a,
				 const struct q2_newbitmap *b,
				 struct q2_err *err) Q2_MUST_CHECK;

/* Tables and directory as they are to stand at `at`, in whole clusters: *bytes is
 * to be freed with q2_put(budget, *bytes, *len); nothing if there are no bitmaps.
 * `ext` is the data of the header extension. */
enum q2_status q2_newbitmaps_lay(const struct q2_newbitmaps *nb, uint64_t at,
				 unsigned cluster_bits, uint8_t **bytes,
				 uint64_t *len, uint8_t *ext,
				 struct q2_err *err) Q2_MUST_CHECK;

#endif
