/*
 * keep.h - a check whose state is kept, so that another run can go on from it.
 *
 * SPDX-License-Identifier: MIT
 *
 * What comes before the L2 tables is done again: that is little.  Kept is what their
 * walk gathers: how far it came, the map of references, what later phases need, and
 * its findings, which the other run tells again.
 */
#ifndef Q2_CHECK_KEEP_H
#define Q2_CHECK_KEEP_H

#include "check/checker.h"
#include "image/inflate.h"
#include "image/l2walk.h"

/* The walk of the L2 tables. */
struct q2_l2_work {
	struct q2_checker *c;
	struct q2_count count;
	struct q2_l2_place place;   /* what of it is done */
	struct q2_inflate *inflate; /* NULL: not asked for */
	uint64_t sound_stream;	    /* the last entry that inflated well */
	uint64_t streams;
	struct q2_finding beyond;   /* the table at hand: entries past the end */
	const struct q2_l2ref *beyond_in;
	struct q2_finding plain; /* compressed clusters in an encrypted image */
	struct q2_finding past;	 /* active tables past the end of the disk */
	const struct q2_l2ref *past_last;
};

/* Begins to note findings; and if there is a state to go on from, takes it. */
enum q2_status q2_keep_begin(struct q2_l2_work *w) Q2_MUST_CHECK;

/* Between two entries, w->place being up to date.  `st` is what the caller is about
 * to return, and is returned: the state is written down if the caller of the check
 * wants it, or if this is an interruption; `last`: the walk is at its end. */
enum q2_status q2_keep_look(struct q2_l2_work *w, enum q2_status st, bool last);

/* Ends noting. */
void q2_keep_end(struct q2_checker *c);

/* Notes a finding; called by q2_found(). */
void q2_keep_finding(struct q2_checker *c, enum q2_problem_id id,
		     const struct q2_finding *f);

#endif
