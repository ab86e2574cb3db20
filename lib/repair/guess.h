/*
 * guess.h - what a damaged L2 entry most likely was.
 *
 * SPDX-License-Identifier: MIT
 *
 * Candidates are the entry with one bit changed, what its neighbours suggest, and
 * what other trees have in its place.  One counts only if the refcounts on disk
 * miss a reference to just that place, or, where it names none, if nothing else
 * fits; compressed data must inflate.
 */
#ifndef Q2_REPAIR_GUESS_H
#define Q2_REPAIR_GUESS_H

#include "image/inflate.h"
#include "repair/ledger.h"

/* An entry under examination, with the table around it. */
struct q2_case {
	struct q2_repair *r;
	struct q2_ledger *ledger;
	struct q2_inflate *inflate; /* NULL: compressed data is taken on trust */
	const uint8_t *table;	    /* the whole table */
	const struct q2_l2ref *ref;
	uint32_t index;
	uint64_t raw;
	uint64_t bitmap; /* extended entries */
	struct q2_l2_entry e;
};

struct q2_guess {
	uint64_t raw;
	uint64_t bitmap;
	unsigned score; /* 0: none found, or several are as good */
};

/* The best candidate; COPIED is as it was. */
enum q2_status q2_guess(struct q2_case *k, struct q2_guess *best);

/* How well an entry fits its neighbours: 0 to 6. */
unsigned q2_fit(const struct q2_case *k, const struct q2_l2_entry *e);

/* Whether compressed data inflates to a cluster; true if that is not asked. */
enum q2_status q2_inflates(struct q2_case *k, const struct q2_l2_entry *e,
			   bool *whole);

#endif
