/*
 * problem.c - the problem catalogue: lookups, and the names of its terms.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/problem.h"

/* What problem.def calls the fields. */
enum {
	HOST = Q2_F_HOST,
	GUEST = Q2_F_GUEST,
	LENGTH = Q2_F_LENGTH,
	OTHER = Q2_F_OTHER,
	FOUND = Q2_F_FOUND,
	EXPECTED = Q2_F_EXPECTED,
	COUNT = Q2_F_COUNT,
	TREE = Q2_F_TREE,
	L1 = Q2_F_L1,
	L2 = Q2_F_L2,
	INDEX = Q2_F_INDEX,
	KIND = Q2_F_KIND,
	TEXT = Q2_F_TEXT
};

/* Places in the table below, in the order of problem.def. */
enum {
#define Q2_PROBLEM(number, id, severity, fix, fields, message, explanation)    \
	AT_##id,
#include "check/problem.def"
#undef Q2_PROBLEM
	PROBLEMS
};

static const struct q2_problem catalogue[PROBLEMS] = {
#define Q2_PROBLEM(number, id, severity, fix, fields, message, explanation)    \
	{number, #id, Q2_##severity, Q2_FIX_##fix, fields, message, explanation},
#include "check/problem.def"
#undef Q2_PROBLEM
};

const struct q2_problem *q2_problem_at(size_t i)
{
	return i < PROBLEMS ? &catalogue[i] : NULL;
}

/* One case for each number, so that a number given twice does not compile. */
const struct q2_problem *q2_problem_by_number(unsigned number)
{
	switch (number) {
#define Q2_PROBLEM(number, id, severity, fix, fields, message, explanation)    \
	case Q2_P_##id:                                                        \
		return &catalogue[AT_##id];
#include "check/problem.def"
#undef Q2_PROBLEM
	default:
		return NULL;
	}
}

const struct q2_problem *q2_problem(enum q2_problem_id id)
{
	return q2_problem_by_number((unsigned)id);
}

/* Folds what users may write (l2-unaligned) onto what the catalogue holds,
 * whatever the locale. */
static char fold(char c)
{
	if (c >= 'a' && c <= 'z')
		return (char)(c - 'a' + 'A');
	if (c == '-')
		return '_';
	return c;
}

static bool same_id(const char *id, const char *given)
{
	while (*id != '\0' && *id == fold(*given)) {
		id++;
		given++;
	}
	return *id == '\0' && *given == '\0';
}

const struct q2_problem *q2_problem_by_id(const char *id)
{
	for (size_t i = 0; i < PROBLEMS; i++)
		if (same_id(catalogue[i].id, id))
			return &catalogue[i];
	return NULL;
}

const char *q2_severity_text(enum q2_severity severity)
{
	switch (severity) {
	case Q2_ADVICE:
		return "advice";
	case Q2_LEAK:
		return "leak";
	case Q2_CORRUPT:
		return "corrupt";
	}
	return "unknown";
}

const char *q2_fix_text(enum q2_fix fix)
{
	switch (fix) {
	case Q2_FIX_NONE:
		return "none";
	case Q2_FIX_SAFE:
		return "safe";
	case Q2_FIX_LOSSY:
		return "lossy";
	case Q2_FIX_REBUILD:
		return "rebuild";
	}
	return "unknown";
}

const char *q2_kind_text(enum q2_kind kind)
{
	switch (kind) {
	case Q2_K_HEADER:
		return "header";
	case Q2_K_L1:
		return "L1 table";
	case Q2_K_L2:
		return "L2 table";
	case Q2_K_REFTABLE:
		return "refcount table";
	case Q2_K_REFBLOCK:
		return "refcount block";
	case Q2_K_SNAPTABLE:
		return "snapshot table";
	case Q2_K_SNAPSHOT_L1:
		return "snapshot's L1 table";
	case Q2_K_BITMAP_DIR:
		return "bitmap directory";
	case Q2_K_BITMAP_TABLE:
		return "bitmap table";
	case Q2_K_BITMAP_DATA:
		return "bitmap data";
	case Q2_K_LUKS:
		return "LUKS header";
	case Q2_K_DATA:
		return "guest data";
	case Q2_K_COMPRESSED:
		return "compressed data";
	case Q2_K_ZEROS:
		return "zeros";
	case Q2_K_NONE:
	case Q2_K_COUNT:
		break;
	}
	return "cluster";
}

const char *q2_verdict_text(enum q2_verdict verdict)
{
	switch (verdict) {
	case Q2_CLEAN:
		return "clean";
	case Q2_LEAKS:
		return "leaks";
	case Q2_CORRUPTED:
		return "corrupt";
	case Q2_UNREADABLE:
		return "unreadable";
	}
	return "unknown";
}
