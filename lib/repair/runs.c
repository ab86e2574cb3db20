/*
 * runs.c - sorted runs of clusters.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/repair.h"

static int by_first(const void *a, const void *b)
{
	const struct q2_run *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

void q2_runs_tidy(struct q2_runs *runs)
{
	size_t kept = 0;

	q2_sort(runs->at, runs->n, sizeof(*runs->at), by_first);
	for (size_t i = 0; i < runs->n; i++) {
		struct q2_run *last = kept ? &runs->at[kept - 1] : NULL;
		struct q2_run run = runs->at[i];

		if (last && run.first <= last->first + last->n)
			last->n = q2_max(last->n,
					 run.first + run.n - last->first);
		else
			runs->at[kept++] = run;
	}
	runs->n = kept;
}

bool q2_runs_have(const struct q2_runs *runs, uint64_t clu)
{
	size_t lo = 0, hi = runs->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (clu < runs->at[mid].first)
			hi = mid;
		else if (clu - runs->at[mid].first < runs->at[mid].n)
			return true;
		else
			lo = mid + 1;
	}
	return false;
}
