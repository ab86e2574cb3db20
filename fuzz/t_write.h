/*
 * t_write.h - parts of target write.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef T_WRITE_H
#define T_WRITE_H

#include "q2fuzz.h"
#include "../tests/support/q2write.h"

/* So much is written that the refcount table has to move, if it is small. */
void q2f_judge_growth(const struct setup *s);

/* The same with an L1 table. */
void q2f_judge_long_l1(const struct setup *s);

/* While so much is written the k-th operation of a kind fails (TEST_OPS: the k-th allocation). */
void q2f_fault_growth(const struct setup *s, unsigned kind, unsigned k);

/* The same while the image changes: 0 and 1: another backing file, or none; 2 and 3:
 * a shorter disk, or a longer one. */
void q2f_fault_change(const struct setup *s, unsigned kind, unsigned k,
		      unsigned change);

/* Operations on any image, which no check has to have seen; see t_rough.c. */
void q2f_rough(const struct q2f_input *in);

/* What the writer refuses of an image that it takes with these flags. */
void q2f_judge_refusals(const struct q2f_input *in, unsigned flags);

#endif
