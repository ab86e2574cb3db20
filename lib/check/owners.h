/*
 * owners.h - who refers to a suspect cluster.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CHECK_OWNERS_H
#define Q2_CHECK_OWNERS_H

#include "check/checker.h"

#define Q2_OWNER_IS_TABLE UINT32_MAX

/* One reference: an L2 entry, or an L1 entry (l2 = Q2_OWNER_IS_TABLE). */
struct q2_owner {
	uint64_t clu;	/* the suspect */
	uint64_t guest; /* of the entry */
	uint64_t start; /* first byte that it names, of which clu is a part */
	uint64_t end;
	uint32_t tree;
	uint32_t l1;
	uint32_t l2;
	bool active;
	bool copied;
	bool compressed;
};
Q2_VEC(q2_owner_vec, struct q2_owner)

/* Reads all tables a second time; *owners gets every entry that names a suspect
 * (c->suspects, sorted), sorted by cluster, then by guest offset. */
enum q2_status q2_owners_collect(struct q2_checker *c,
				 struct q2_owner_vec *owners);

#endif
