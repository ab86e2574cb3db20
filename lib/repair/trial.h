/*
 * trial.h - what a check would say if some bytes were different.
 *
 * SPDX-License-Identifier: MIT
 *
 * Small structures hold a few bytes on which everything hangs.  Which of them is
 * wrong shows when it is right: of all changes of one bit usually a single one
 * makes the image sound.
 */
#ifndef Q2_REPAIR_TRIAL_H
#define Q2_REPAIR_TRIAL_H

#include "repair/repair.h"

struct q2_patch {
	uint64_t off;
	uint8_t bytes[12];
	size_t n;
};

/* How wrong an image is; compared member by member. */
struct q2_score {
	uint64_t unreadable;
	uint64_t roots; /* findings of structures that others hang on */
	uint64_t corruptions;
	uint64_t leaks;
	uint64_t oddities; /* advice, and a disk that does not fill its table */
	bool partial;	   /* not compared */
	uint64_t ragged;   /* bits of the disk's size below the highest zero run */
};

struct q2_trial {
	struct q2_repair *r;
	struct q2_score now;
	struct q2_score best_score;
	uint64_t uncounted; /* tables and data whose refcount is zero */
	uint64_t missing; /* findings of refcount blocks, or their table */
	struct q2_patch best;
	bool tie; /* two are as good */
	unsigned flags; /* of the checks */
	uint64_t fuel; /* bytes that checks may still read, roughly */
	uint64_t cost; /* of one */
};

/* Starts from the overlay as it is. */
void q2_trial_start(struct q2_trial *t, struct q2_repair *r);

/* Checks the overlay with the patch applied. */
enum q2_status q2_trial_patch(struct q2_trial *t, const struct q2_patch *p);

/* Each single bit of these bytes. */
enum q2_status q2_trial_flips(struct q2_trial *t, uint64_t off, uint64_t len);

/* Whether one patch is clearly the best, and better than none. */
bool q2_trial_won(const struct q2_trial *t);

#endif
