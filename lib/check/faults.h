/*
 * faults.h - which problem each fault of an L1 or L2 entry is.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CHECK_FAULTS_H
#define Q2_CHECK_FAULTS_H

#include "check/problem.h"

struct q2_fault_problem {
	unsigned fault; /* enum q2_entry_fault; 0 ends a list */
	enum q2_problem_id id;
};

/* In the order in which the check tells them. */
extern const struct q2_fault_problem q2_l1_problems[];
extern const struct q2_fault_problem q2_l2_problems[];

/* The same fault has another name where the cluster is compressed. */
static inline enum q2_problem_id q2_l2_problem(const struct q2_fault_problem *p,
					       bool compressed)
{
	return compressed && p->id == Q2_P_L2_ENTRY_OUTSIDE ?
		       Q2_P_COMPRESSED_OUTSIDE : p->id;
}

#endif
