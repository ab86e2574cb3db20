/*
 * test_costs.c - reports of forecasts, of all kinds of results.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "q2.h"

static char text[16384];
static size_t text_len;

static int take(void *ctx, const char *bytes, size_t n)
{
	(void)ctx;
	ck_assert_uint_lt(text_len + n, sizeof(text));
	memcpy(text + text_len, bytes, n);
	text_len += n;
	text[text_len] = '\0';
	return 0;
}

static const struct q2_sink sink = {take, NULL};

static void has(const char *what, bool wanted)
{
	ck_assert_msg((strstr(text, what) != NULL) == wanted, "%s %s in:\n%s",
		      what, wanted ? "is not" : "is", text);
}

/* -------------------------------------------------------------------- commit */
static struct q2_commit_cost some_cost(void)
{
	struct q2_commit_cost c = {.base = "a base", .cluster_size = 512,
				   .exact = true, .disk_before = 1001,
				   .disk_after = 2002, .data = 3003,
				   .length_before = 4000, .length_after = 4404,
				   .end_before = 5000, .end_after = 5505,
				   .needed = 6006, .bound = 7007,
				   .available = 8008};

	c.inside[Q2_PLACED_L2] = 909;
	c.behind[Q2_PLACED_DATA] = 1010;
	return c;
}

static void report(const struct q2_commit_cost *c, enum q2_doc_form form)
{
	text_len = 0;
	ck_assert_int_eq(q2_commit_cost_report(c, "a top", form, &sink), Q2_OK);
}

/* A file grows by its length, a device by what is in use of it. */
START_TEST(commit)
{
	struct q2_commit_cost c = some_cost();

	report(&c, Q2_DOC_JSON);
	has("\"grows-by\": 404", true);
	has("\"available\": 8008", true);
	has("\"overwritten\"", true);
	has("\"objection\"", false);
	report(&c, Q2_DOC_TEXT);
	has("404", true);
	has("l2-table", true);
	has("reftable", false);
	has("would refuse", false);
	c.device = true;
	c.available = UINT64_MAX;
	strcpy(c.objection, "it is not so");
	report(&c, Q2_DOC_JSON);
	has("\"grows-by\": 505", true);
	has("\"available\"", false);
	has("\"objection\": \"it is not so\"", true);
	report(&c, Q2_DOC_TEXT);
	has("its device", true);
	has("room there is", false);
	has("would refuse: it is not so", true);
}
END_TEST

START_TEST(commit_of_raw)
{
	struct q2_commit_cost c = some_cost();

	c.raw = true;
	report(&c, Q2_DOC_JSON);
	has("\"base-format\": \"raw\"", true);
	has("\"cluster-size\"", false);
	has("\"overwritten\"", false);
	has("\"needed\": 6006", true);
	report(&c, Q2_DOC_TEXT);
	has("overwritten", false);
	has("6006", true);
}
END_TEST

START_TEST(commit_bound)
{
	struct q2_commit_cost c = some_cost();

	c.exact = false;
	report(&c, Q2_DOC_JSON);
	has("\"exact\": false", true);
	has("\"grows-by\"", false);
	has("\"needed\"", false);
	has("\"overwritten\"", false);
	has("\"bound\": 7007", true);
	report(&c, Q2_DOC_TEXT);
	has("more than a bound", true);
	has("6006", false);
	has("7007", true);
}
END_TEST

/* ------------------------------------------------------------------- flatten */
static void flat(const struct q2_flatten_cost *c, const char *what, bool raw,
		 enum q2_doc_form form)
{
	struct q2_measure m = {.required = 1111, .fully_allocated = 2222};

	text_len = 0;
	ck_assert_int_eq(q2_flatten_cost_report(c, &m, "a top", what, raw, form,
						&sink), Q2_OK);
	has("1111", true);
	has("2222", true);
}

START_TEST(flatten)
{
	struct q2_flatten_cost c = {.disk = 3333, .tables_data = 4444,
				    .bound = 5555, .length = 6666};

	flat(&c, "qcow2", false, Q2_DOC_TEXT);
	has("5555", true);
	has("6666", false); /* it is not known */
	has("read", false);
	flat(&c, "qcow2", false, Q2_DOC_JSON);
	has("6666", false);
	/* It was looked for data, and there were none. */
	c.percent = 10;
	flat(&c, "compress", false, Q2_DOC_TEXT);
	has("compressed", true);
	has("no data were", true);
	has("6666", false);
	flat(&c, "compress", false, Q2_DOC_JSON);
	has("6666", false);
	c.estimate = true;
	flat(&c, "qcow2", false, Q2_DOC_TEXT);
	has("no data were", false);
	has("estimate", true);
	has("6666", true);
	flat(&c, "qcow2", false, Q2_DOC_JSON);
	has("6666", true);
	c.estimate = false;
	c.exact = true;
	c.verbatim = 7777;
	for (int raw = 0; raw < 2; raw++) {
		flat(&c, raw ? "raw" : "qcow2", raw, Q2_DOC_TEXT);
		has("exactly", true);
		has("6666", true);
		has("7777", true);
		has(raw ? "space it takes, exactly" : "length, exactly", true);
		flat(&c, raw ? "raw" : "qcow2", raw, Q2_DOC_JSON);
		has("6666", true);
		has("\"verbatim-streams\": 7777", true);
		has("\"file-length\": 3333", raw);
	}
}
END_TEST

/* -------------------------------------------------------------------- repair */
START_TEST(repaired)
{
	struct q2_check_result after = {.verdict = Q2_LEAKS, .leaks = 77};
	struct q2_repaired all = {.outcome = Q2_OUT_TAKEN_BACK,
				  .error = "an error", .journal = "a journal",
				  .orphans = "a folder", .after = &after};
	struct q2_report *r;
	struct q2_err err = {0};

	ck_assert_int_eq(q2_report_new("an image", 5, 0, &r, &err), Q2_OK);
	q2_report_repair(r, &all);
	text_len = 0;
	ck_assert_int_eq(q2_report_json(r, Q2_JSON_IMAGE, &sink), Q2_OK);
	has("\"outcome\": \"taken-back\"", true);
	has("\"error\": \"an error\"", true);
	has("\"journal\": \"a journal\"", true);
	has("\"orphans\": \"a folder\"", true);
	has("\"leaks\": 77", true);
	q2_report_free(r);
	q2_report_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("costs");
	TCase *tc = tcase_create("reports");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_test(tc, commit);
	tcase_add_test(tc, commit_of_raw);
	tcase_add_test(tc, commit_bound);
	tcase_add_test(tc, flatten);
	tcase_add_test(tc, repaired);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
