/*
 * guess.h - what a damaged L2 entry most likely was.
 *
 * SPDX-License-Identifier: MIT
 *
 * Candidates are the entry with one bit changed, what its neighbours suggest, and
 * what other trees have in its place.  One counts only if the refcounts on disk
 * miss a reference to just that place, or, where it names none, if nothing else
 * fits; compressed data must inflate.  An empty entry may well be empty: what an
 * older tree has there it gets only if the counts cannot be explained more simply.
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
	const uint8_t *older; /* what the next older tree has there; NULL: nothing */
	bool agreed; /* counts of several clusters tell that entries were lost */
	uint32_t index;
	uint64_t raw;
	uint64_t bitmap; /* extended entries */
	struct q2_l2_entry e;
};

struct q2_guess {
	uint64_t raw;
	uint64_t bitmap;
	unsigned score; /* 0: none found, or several are as good */
	bool shared;	/* an older tree has the same */
};

/* The best candidate; COPIED is as it was. */
enum q2_status q2_guess(struct q2_case *k, struct q2_guess *best);

/* The L2 table that the next older tree has in the table's slot; 0: none.  What
 * trees share they share with that one: what older ones have was given up in
 * between, and what only younger ones have is newer. */
uint64_t q2_older_table(struct q2_repair *r, const struct q2_l2ref *ref);

/* Whether clusters that the older table names where the other one is empty are
 * counted just as often as if it named them, too, and more than one count says so:
 * one alone may itself be what is wrong. */
bool q2_counts_agree(const struct q2_ledger *l, const struct q2_l2ref *ref,
		     const uint8_t *table, const uint8_t *older);

/* Whether one wrong bit in the count of what the older tree's entry names does not
 * explain that it is one too high. */
bool q2_only_lost(const struct q2_ledger *l, const struct q2_l2ref *ref,
		  const struct q2_l2_entry *e);

/* How well an entry fits its neighbours: 0 to 6. */
unsigned q2_fit(const struct q2_case *k, const struct q2_l2_entry *e);

/* What can be put right in the entry itself: the entry, what was wrong, what that means
 * to the guest and how to say it; false: nothing. */
bool q2_polish(const struct q2_case *k, struct q2_guess *to,
	       enum q2_problem_id *why, enum q2_effect *effect,
	       const char **text);

/* The problem of an entry that leads nowhere. */
enum q2_problem_id q2_lost_because(const struct q2_case *k);

/* Whether so many entries around it name clusters just as far from that of the guess
 * as they are from it that it can hardly belong anywhere else. */
bool q2_in_a_run(const struct q2_case *k, const struct q2_guess *guess);

/* Whether compressed data inflates to a cluster; true if that is not asked. */
enum q2_status q2_inflates(struct q2_case *k, const struct q2_l2_entry *e,
			   bool *whole);

#endif
