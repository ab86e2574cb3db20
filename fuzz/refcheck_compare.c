/*
 * refcheck_compare.c - reference checker: what the library says beside it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "refcheck_own.h"

static void tell(struct q2f_refcheck *r, const struct q2_finding *f,
		 uint64_t clu)
{
	uint64_t found = f->found, expected = 0;

	if (f->fields & Q2_F_EXPECTED)
		expected = f->expected;
	if (clu >= r->clusters) {
		snprintf(r->wrong, sizeof(r->wrong), "cluster %llu is outside",
			 (unsigned long long)clu);
		return;
	}
	r->is[clu] |= RC_TOLD;
	if (f->problem->number == 800 || f->problem->number == 835)
		found = r->stored[clu]; /* not the refcount */
	if (found != r->stored[clu] || expected != r->counted[clu])
		snprintf(r->wrong, sizeof(r->wrong),
			 "%s: cluster %llu has refcount %lld and %llu references, not %lld and %llu",
			 f->problem->id, (unsigned long long)clu,
			 (long long)r->stored[clu],
			 (unsigned long long)r->counted[clu], (long long)found,
			 (unsigned long long)expected);
}

void q2f_refcheck_found(void *ctx, const struct q2_finding *f)
{
	struct q2f_refcheck *r = ctx;
	unsigned number = f->problem->number;
	bool counts = number == 800 || number == 801 ||
		      (number >= 832 && number <= 835);
	uint64_t n = number == 801 ? f->count : 1;

	/* Which of two contradicting fields is wrong; whether a record behind
	 * the last one is alive; what a stream holds: not judged here. */
	if ((number >= 141 && number <= 145) || number == 518 || number == 415)
		r->heuristic++;
	else if (f->problem->severity == Q2_CORRUPT && r->lib[0] == 0)
		snprintf(r->lib, sizeof(r->lib), "%s", f->problem->id);
	/* A table that was shortened leads to less. */
	r->guess |= number == 142;
	r->guess_counts |= number == 142;
	if (r->refused || !counts)
		return;
	for (uint64_t i = 0; i < n && n <= r->clusters; i++)
		tell(r, f, f->host / r->cs + i);
}

static void compare_clusters(struct q2f_refcheck *r)
{
	if (r->wrong[0])
		q2f_violation("C-5", "%s", r->wrong);
	for (uint64_t c = 0; c < r->clusters; c++)
		if ((r->is[c] & RC_KNOWN) && !(r->is[c] & RC_TOLD) &&
		    r->stored[c] != r->counted[c])
			q2f_violation("C-5", "cluster %llu has refcount %llu and %llu references: not told",
				      (unsigned long long)c,
				      (unsigned long long)r->stored[c],
				      (unsigned long long)r->counted[c]);
}

void q2f_refcheck_compare(struct q2f_refcheck *r, const struct q2f_said *said)
{
	const struct q2_check_result *result = &said->result;
	bool corrupt = result->corruptions > r->heuristic;

	if (said->status != Q2_OK)
		return;
	if (r->refused != (result->verdict == Q2_UNREADABLE))
		q2f_violation("C-5", "%s by one, not by the other",
			      "refused");
	if (r->refused)
		return;
	if (r->data_file && r->raw_data && !result->partial &&
	    r->mapped * r->cs < r->disk)
		rc_bad(r, "a raw data file with unallocated clusters");
	if (!r->guess && corrupt != r->corrupt && !(r->guess_counts && corrupt))
		q2f_violation("C-5", "corrupt: %s; the library: %s",
			      r->corrupt ? r->why : "no",
			      corrupt ? r->lib : "no");
	if (r->guess_counts)
		return;
	compare_clusters(r);
	if (!r->guess && (result->leaks != 0) != r->leaks)
		q2f_violation("C-5", "leaks: %s; the library: %llu",
			      r->leaks ? "yes" : "no",
			      (unsigned long long)result->leaks);
}
