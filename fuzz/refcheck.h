/*
 * refcheck.h - a second checker: slow, for tiny images, obviously correct.
 *
 * SPDX-License-Identifier: MIT
 *
 * Written from the format text, sharing no code with the library.  One counter
 * and one list of references for each host cluster, every rule spelled out.
 * Where the format leaves it to a reader what to make of damage (which record
 * comes after one that is broken, which of two header fields is wrong), it says
 * so instead of guessing, and less is compared.
 */
#ifndef Q2F_REFCHECK_H
#define Q2F_REFCHECK_H

#include "q2fuzz.h"

struct q2f_refcheck;

/* NULL if the image is not tiny. */
struct q2f_refcheck *q2f_refcheck_new(const struct q2f_input *in);
void q2f_refcheck_free(struct q2f_refcheck *r);

/* Takes note of a finding of the library; ctx is the refcheck. */
void q2f_refcheck_found(void *ctx, const struct q2_finding *f);

/* Violates C-5 if the library says something else: the class of the verdict, and
 * for each cluster its refcount and the number of its references. */
void q2f_refcheck_compare(struct q2f_refcheck *r, const struct q2f_said *said);

#endif
