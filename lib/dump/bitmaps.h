/*
 * bitmaps.h - carrying the bitmaps of an image over into a fresh one.
 *
 * SPDX-License-Identifier: MIT
 *
 * A bitmap is of ranges of the guest's disk, so that it stays true wherever the data
 * lie then.
 */
#ifndef Q2_DUMP_BITMAPS_H
#define Q2_DUMP_BITMAPS_H

#include "dump/dump.h"
#include "dump/newimage.h"

/* How many bitmaps can be carried, and how many cannot: those that are marked as in
 * use, of which nobody knows what they hold, and damaged ones.  Without
 * Q2_DUMP_DROP_BITMAPS one such is Q2_E_REFUSED, and the text names it.  Sets
 * bitmaps and bitmaps_left of the result. */
enum q2_status q2_bitmaps_judge(struct q2_dump_run *d,
				struct q2_err *err) Q2_MUST_CHECK;

/* Adds those that can be carried to the image. */
enum q2_status q2_bitmaps_carry(struct q2_dump_run *d, struct q2_newimage *image,
				struct q2_err *err) Q2_MUST_CHECK;

/* Whether the result has the bitmaps that were carried, and no others. */
enum q2_status q2_bitmaps_verify(struct q2_dump_run *d,
				 struct q2_guest *result,
				 struct q2_err *err) Q2_MUST_CHECK;

#endif
