/*
 * bitmapdir.c - the persistent bitmaps that an image has.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/bitmapdir.h"

#define HEAD_ROOM (Q2_BITMAP_HEAD + Q2_BITMAP_NAME_MAX)

static bool sensible(const struct q2_bitmap *b, uint64_t left)
{
	return b->type == Q2_BITMAP_DIRTY && b->extra_len == 0 &&
	       b->gran >= Q2_BITMAP_GRAN_MIN && b->gran <= Q2_BITMAP_GRAN_MAX &&
	       b->name_len <= Q2_BITMAP_NAME_MAX && b->end <= left;
}

enum q2_status q2_bitmapdir_walk(const struct q2_opened *o,
				 void (*take)(void *ctx,
					      const struct q2_bitmap *record,
					      const char *name),
				 void *ctx, bool *whole, struct q2_err *err)
{
	const struct q2_bitmaps_ext *x = &o->bitmaps;
	uint64_t pos = x->dir_offset, left = x->dir_size;
	uint8_t bytes[HEAD_ROOM];

	*whole = true;
	for (uint32_t i = 0; i < x->bitmaps; i++) {
		size_t n = (size_t)q2_min(left, sizeof(bytes));
		struct q2_bitmap b;
		enum q2_status st;

		st = q2_pread_zero(o->img.io, bytes, n, pos, err);
		if (st != Q2_OK)
			return st;
		q2_bitmap_parse(bytes, n, &b);
		if (n < Q2_BITMAP_HEAD || !sensible(&b, left)) {
			*whole = false;
			break;
		}
		take(ctx, &b, (const char *)bytes + b.name_at);
		pos += b.len;
		left -= q2_min(left, b.len);
	}
	return Q2_OK;
}
