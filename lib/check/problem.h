/*
 * problem.h - the problem catalogue as the check uses it.
 *
 * SPDX-License-Identifier: MIT
 *
 * For each line of problem.def there is an enumerator Q2_P_<ID>, whose value
 * is the problem's number.
 */
#ifndef Q2_CHECK_PROBLEM_H
#define Q2_CHECK_PROBLEM_H

#include "q2.h"

enum q2_problem_id {
#define Q2_PROBLEM(number, id, severity, fix, fields, message, explanation)    \
	Q2_P_##id = (number),
#include "check/problem.def"
#undef Q2_PROBLEM
	Q2_P_END
};

/* The declaration of a problem, static storage.  O(1).  NULL only for a value
 * that is no enumerator of a problem. */
const struct q2_problem *q2_problem(enum q2_problem_id id);

#endif
