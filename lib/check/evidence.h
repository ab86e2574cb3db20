/*
 * evidence.h - how well a header fits the tables that it leads to.
 *
 * SPDX-License-Identifier: MIT
 *
 * Samples only: at most a few MiB are read, whatever the image claims.
 */
#ifndef Q2_CHECK_EVIDENCE_H
#define Q2_CHECK_EVIDENCE_H

#include "check/checker.h"

struct q2_tally {
	uint64_t good;
	uint64_t bad;
};

struct q2_evidence {
	bool aligned;	 /* the tables' offsets are, for this cluster size */
	bool roots_fit;	 /* and no other field of a table is out of range */
	struct q2_tally l1;	/* used L1 entries */
	struct q2_tally tables; /* sampled L2 tables that hold entries */
	struct q2_tally sure;	/* refcounts that must be exactly 1 */
	struct q2_tally used;	/* refcounts that must not be 0 */
	struct q2_tally past;	/* past the end of the file: should be 0 */
};

/* Whether nearly all is good, and some is. */
static inline bool q2_mostly_good(struct q2_tally t)
{
	return t.good > 0 && t.bad * 16 <= t.good;
}

/* Where a header leads to, as far as it was looked at. */
struct q2_sample;
void q2_sample_free(struct q2_checker *c, struct q2_sample *s);

/* Gathers what the image's tables say if its header were `h`.  Tables that
 * cannot be read say nothing.  *sample is to be freed, after failure too; NULL if the
 * header leaves no geometry. */
enum q2_status q2_evidence_gather(struct q2_checker *c,
				  const struct q2_header *h,
				  struct q2_evidence *e,
				  struct q2_sample **sample);

/* The same, but it ends as soon as the roots do not fit, or entries, tables or what is
 * sure are not mostly good, and what comes after these stays zero. */
enum q2_status q2_evidence_try(struct q2_checker *c, const struct q2_header *h,
			       struct q2_evidence *e);

/* What the refcounts of a sample say if they were 1 << ref_order bits wide: sure, up to
 * where it is not mostly good, and if it is, used and past. */
void q2_evidence_width(struct q2_sample *s, unsigned ref_order,
		       struct q2_evidence *e);

/* The second words of 16-byte pairs in L2 tables, zeros left out: extended L2
 * entries have a bitmap there, others an entry. */
struct q2_odd_words {
	struct q2_tally as_bitmap;
	struct q2_tally as_entry; /* a host cluster must have a refcount */
	uint64_t copied;   /* as entries: those that have COPIED */
	uint64_t repeated; /* those equal to the one before */
	uint64_t next;	   /* those that lead to the cluster after the first's */
	uint64_t strange;  /* as entries: more wrong bits than chance flips */
};

/* Both ways of reading them are tried.  `s` may be NULL: there are none. */
void q2_evidence_odd_words(struct q2_sample *s, struct q2_odd_words *odd);

#endif
