/*
 * snapedit.h - the snapshot table as records that can be changed and stored anew.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_SNAPEDIT_H
#define Q2_REPAIR_SNAPEDIT_H

#include "format/snapshot.h"
#include "repair/repair.h"

struct q2_snaprec {
	uint8_t *bytes; /* without padding */
	uint64_t len;
	uint32_t index; /* in the image; UINT32_MAX: made by the repair */
	struct q2_snapshot s; /* what bytes say */
	bool sound; /* false: of the record only the head could be read */
	bool gone;  /* not to be stored */
};
Q2_VEC(q2_snaprecs, struct q2_snaprec)

struct q2_snapedit {
	struct q2_repair *r;
	struct q2_snaprecs recs;
	uint64_t last_id; /* the highest number that an id is */
	bool changed;
};

/* The records that the last check found; one that is not sound, but names an L1
 * table, gets a new id and name. */
enum q2_status q2_snapedit_load(struct q2_repair *r, struct q2_snapedit *t);

/* A new record behind the last one, with the next id.  `s` gives its numbers. */
enum q2_status q2_snapedit_add(struct q2_snapedit *t,
				const struct q2_snapshot *s, const char *name);

/* Whether a record has this name. */
bool q2_snapedit_has(const struct q2_snapedit *t, const char *name);

/* Writes the records to fresh clusters, and lets the header name these. */
enum q2_status q2_snapedit_store(struct q2_snapedit *t, uint32_t action);

void q2_snapedit_free(struct q2_snapedit *t);

/* Lets the header name a leaked snapshot table, where what it names is none. */
enum q2_status q2_find_snaptable(struct q2_repair *r) Q2_MUST_CHECK;

/* Whether the problem with that number is one of the snapshot table itself, and whether
 * any such was found. */
bool q2_of_snapshots(unsigned number);
bool q2_snapshots_damaged(const struct q2_repair *r);

/* Tries each bit of records that are in doubt, and other L1 tables for those that lead to
 * what is none. */
enum q2_status q2_try_records(struct q2_repair *r) Q2_MUST_CHECK;

#endif
