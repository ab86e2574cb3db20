/*
 * sectors.h - what each 512-byte sector that a plan touches holds, and may hold.
 *
 * SPDX-License-Identifier: MIT
 *
 * Disks write sectors whole, so at any moment of applying or undoing, and after
 * any crash, each sector holds one of the versions that the edits lead through:
 * version n is what the first n edits that touch it make of it.  That is what
 * must be there, or the image was changed by somebody else.
 */
#ifndef Q2_REPAIR_SECTORS_H
#define Q2_REPAIR_SECTORS_H

#include "repair/plan.h"

#define Q2_SECTOR_BITS 9
#define Q2_SECTOR ((size_t)1 << Q2_SECTOR_BITS)

/* One edit touches one sector. */
struct q2_touch {
	uint64_t sector;
	uint32_t edit;
};

struct q2_sectors {
	const struct q2_plan *plan;
	struct q2_budget budget;
	struct q2_touch *touches; /* by sector, then in the order of writing */
	size_t n_touches;
	uint64_t *number; /* of each sector, rising */
	uint32_t *done;	  /* edits below this one are in the sector */
	size_t n;
};

/* Which version is meant if several look alike. */
enum q2_which {
	Q2_WHICH_FIRST, /* only the untouched one is accepted */
	Q2_WHICH_LEAST, /* the earliest */
	Q2_WHICH_MOST	/* the latest */
};

/* Lists the sectors.  `max_memory` as in the budget. */
enum q2_status q2_sectors_list(const struct q2_plan *plan, uint64_t max_memory,
			       struct q2_sectors *s,
			       struct q2_err *err) Q2_MUST_CHECK;
void q2_sectors_free(struct q2_sectors *s);

/* Reads each sector and finds its version.  Q2_E_CHANGED if the file holds
 * anything else, Q2_E_FORMAT if the plan contradicts itself. */
struct q2_io;
enum q2_status q2_sectors_judge(struct q2_sectors *s, struct q2_io *io,
				enum q2_which which,
				struct q2_err *err) Q2_MUST_CHECK;

/* The index of the first sector of an edit; its others follow. */
size_t q2_sectors_of(const struct q2_sectors *s, const struct q2_edit *e);

#endif
