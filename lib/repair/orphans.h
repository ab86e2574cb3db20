/*
 * orphans.h - what leaked clusters are, and where they may find a home.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_ORPHANS_H
#define Q2_REPAIR_ORPHANS_H

#include "check/l2shape.h"
#include "repair/ledger.h"
#include "repair/repair.h"

enum q2_leak_kind {
	Q2_LK_ZEROS,  /* worthless */
	Q2_LK_STALE,  /* a table of which all is named by others: worthless */
	Q2_LK_TABLE,  /* an L2 table on which data hangs */
	Q2_LK_DATA    /* anything else */
};

struct q2_orphan {
	uint64_t clu;
	uint32_t last; /* index of an L2 table's last entry */
	bool marked;   /* an entry has COPIED set, as those of the active disk */
};
Q2_VEC(q2_orphan_vec, struct q2_orphan)

struct q2_orphans {
	struct q2_orphan_vec tables; /* by cluster */
	struct q2_runs data;	     /* that no such table names; by cluster */
};

/* Looks at every leaked cluster: the worthless ones go to r->worthless, the
 * others to *o. */
enum q2_status q2_triage(struct q2_repair *r, struct q2_orphans *o);
void q2_orphans_free(struct q2_repair *r, struct q2_orphans *o);

/* Gives all of them a home in a snapshot.  *why says why the image can have none,
 * then nothing is done; NULL if it got one. */
enum q2_status q2_lost_and_found(struct q2_repair *r,
				 const struct q2_orphans *o, const char **why);

/* Lets them be freed, once a side file has them (export.c). */
enum q2_status q2_save_orphans(struct q2_repair *r, const struct q2_orphans *o,
			       const char *why);

/* The plan's list of what is saved. */
enum q2_status q2_list_saved(struct q2_repair *r);

#endif
