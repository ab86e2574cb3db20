/*
 * bitmapdir.h - the persistent bitmaps that an image has.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Bitmap directory".  The directory ends where its first record that
 * makes no sense stands.
 */
#ifndef Q2_IMAGE_BITMAPDIR_H
#define Q2_IMAGE_BITMAPDIR_H

#include "image/open.h"

/* Calls `take` with each record; `name` has record->name_len bytes, borrowed.
 * *whole says whether all of the records were there. */
enum q2_status q2_bitmapdir_walk(const struct q2_opened *o,
				 void (*take)(void *ctx,
					      const struct q2_bitmap *record,
					      const char *name),
				 void *ctx, bool *whole,
				 struct q2_err *err) Q2_MUST_CHECK;

#endif
