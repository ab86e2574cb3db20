/*
 * test_refmap.c - the map of references against a plain array, and its memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "image/refmap.h"

#define CLUSTERS 20000u

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

/* The documented rule: COMPRESSED stays, then COPIED, then CLEAR. */
static enum q2_mark expected_mark(uint64_t count, enum q2_mark a,
				  enum q2_mark b)
{
	static const int rank[] = {[Q2_MARK_NONE] = 0,
				   [Q2_MARK_CLEAR] = 1,
				   [Q2_MARK_COPIED] = 2,
				   [Q2_MARK_COMPRESSED] = 3};

	return count == 0 || rank[b] > rank[a] ? b : a;
}

START_TEST(equals_an_array)
{
	static struct q2_ref model[CLUSTERS];
	struct q2_budget budget = {0};
	struct q2_refmap *m = malloc(sizeof(*m));
	uint64_t x = 4101842887655102017u;
	uint64_t *pages;
	size_t n_pages, used = 0, seen = 0;

	ck_assert_ptr_nonnull(m);
	memset(model, 0, sizeof(model));
	q2_refmap_init(m, &budget);
	for (int i = 0; i < 200000; i++) {
		uint64_t clu = next_random(&x) % CLUSTERS;
		uint64_t weight = 1 + next_random(&x) % 3;
		enum q2_mark mark = (enum q2_mark)(next_random(&x) % 4);
		struct q2_ref before;

		if (next_random(&x) % 512 == 0)
			weight = next_random(&x) % 100000;
		/* Some parts stay thin. */
		if (clu / 4096 == 2 && clu % 512)
			continue;
		ck_assert_int_eq(q2_refmap_add(m, clu, weight, mark, &before,
					       NULL), Q2_OK);
		ck_assert_uint_eq(before.count, model[clu].count);
		ck_assert_uint_eq(before.mark, model[clu].mark);
		model[clu].mark = expected_mark(model[clu].count,
						model[clu].mark, mark);
		model[clu].count += weight;
	}
	for (uint64_t clu = 0; clu < CLUSTERS; clu++) {
		struct q2_ref r = q2_refmap_get(m, clu);

		ck_assert_uint_eq(r.count, model[clu].count);
		if (r.count)
			ck_assert_uint_eq(r.mark, model[clu].mark);
		used += r.count != 0;
	}
	for (uint64_t clu = 0; clu < 2 * CLUSTERS; clu++) {
		uint64_t end = clu + next_random(&x) % 9000;
		uint64_t next = q2_refmap_next(m, clu, end);

		ck_assert_uint_le(next, end);
		for (uint64_t k = clu; k < q2_min(next, CLUSTERS); k++)
			ck_assert_uint_eq(model[k].count, 0);
		if (next < end) {
			ck_assert_uint_lt(next, CLUSTERS);
			ck_assert(model[next].count || model[next].mark);
		}
	}
	ck_assert_int_eq(q2_refmap_pages(m, &pages, &n_pages, NULL), Q2_OK);
	for (size_t i = 0; i < n_pages; i++) {
		uint16_t cells[Q2_PAGE_CELLS];
		unsigned n = q2_refmap_used(m, pages[i], cells);

		ck_assert(i == 0 || pages[i] > pages[i - 1]);
		for (unsigned k = 0; k < n; k++) {
			ck_assert(k == 0 || cells[k] > cells[k - 1]);
			seen += q2_refmap_get(m, (pages[i] << Q2_PAGE_BITS) +
							 cells[k]).count != 0;
		}
	}
	ck_assert_uint_eq(seen, used);
	q2_put(&budget, pages, n_pages * sizeof(*pages));
	q2_refmap_free(m);
	ck_assert_uint_eq(budget.used, 0);
	free(m);
}
END_TEST

START_TEST(saturates)
{
	struct q2_budget budget = {0};
	struct q2_refmap *m = malloc(sizeof(*m));
	struct q2_ref before;

	ck_assert_ptr_nonnull(m);
	q2_refmap_init(m, &budget);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(q2_refmap_add(m, 1, UINT64_MAX, Q2_MARK_NONE,
					       &before, NULL), Q2_OK);
	ck_assert_uint_eq(q2_refmap_get(m, 1).count, (UINT64_C(1) << 62) - 1);
	ck_assert_uint_eq(q2_refmap_get(m, 2).count, 0);
	q2_refmap_free(m);
	free(m);
}
END_TEST

/* One byte for each cluster where they are dense; tens of bytes for each
 * reference where they are scattered over a vast file. */
START_TEST(memory_is_bounded)
{
	struct q2_budget budget = {0};
	struct q2_refmap *m = malloc(sizeof(*m));
	struct q2_ref before;

	ck_assert_ptr_nonnull(m);
	q2_refmap_init(m, &budget);
	for (uint64_t i = 0; i < 1u << 20; i++)
		ck_assert_int_eq(q2_refmap_add(m, i, 1, Q2_MARK_COPIED,
					       &before, NULL), Q2_OK);
	ck_assert_uint_le(budget.used, (1u << 20) * 105 / 100);
	q2_refmap_free(m);
	q2_refmap_init(m, &budget);
	for (uint64_t i = 0; i < 100000; i++)
		ck_assert_int_eq(q2_refmap_add(m, i << 36, 1, Q2_MARK_COPIED,
					       &before, NULL), Q2_OK);
	ck_assert_uint_le(budget.used, 100000 * 128);
	q2_refmap_free(m);
	ck_assert_uint_eq(budget.used, 0);
	free(m);
}
END_TEST

START_TEST(limit_is_an_error)
{
	struct q2_budget budget = {.limit = 10000};
	struct q2_refmap *m = malloc(sizeof(*m));
	enum q2_status st = Q2_OK;
	struct q2_ref before;
	struct q2_err err = {0};

	ck_assert_ptr_nonnull(m);
	q2_refmap_init(m, &budget);
	for (uint64_t i = 0; i < 10000 && st == Q2_OK; i++)
		st = q2_refmap_add(m, i << 12, 1, Q2_MARK_NONE, &before,
				   &err);
	ck_assert_int_eq(st, Q2_E_BUDGET);
	ck_assert_int_eq(err.code, Q2_E_BUDGET);
	ck_assert_uint_le(budget.peak, 10000);
	q2_refmap_free(m);
	ck_assert_uint_eq(budget.used, 0);
	free(m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("refmap");
	TCase *t = tcase_create("refmap");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, equals_an_array);
	tcase_add_test(t, saturates);
	tcase_add_test(t, memory_is_bounded);
	tcase_add_test(t, limit_is_an_error);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
