/*
 * test_plan_text.c - plans as text and as JSON: what is said, and what is cut.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "repair/plan.h"

static struct q2_plan *plan;
static struct q2_buf out;

static int take(void *ctx, const char *bytes, size_t n)
{
	q2_buf_add(ctx, bytes, n);
	return 0;
}

static const struct q2_sink sink = {take, &out};

static void add_action(unsigned problem, enum q2_effect effect,
		       const char *text)
{
	struct q2_action a = {.problem = problem, .effect = effect, .text = text};

	a.f.fields = Q2_F_GUEST | Q2_F_LENGTH | Q2_F_TREE;
	a.f.guest = 0x10000;
	a.f.length = 0x20000;
	a.f.tree = Q2_TREE_ACTIVE;
	ck_assert_int_eq(q2_actions_push(&plan->actions, &plan->budget, a,
					 NULL),
			 Q2_OK);
}

static void add_edit(uint32_t action, uint32_t before_len, uint32_t len)
{
	static const uint8_t before[64] = {0xab, 0xcd};
	static const uint8_t after[64] = {0x12, 0x34};
	struct q2_edit e = {.phase = Q2_PH_SWITCH,
			    .action = action,
			    .offset = 0x8000,
			    .before_len = before_len,
			    .len = len,
			    .before = before,
			    .after = after};

	ck_assert_int_eq(q2_edits_push(&plan->edits, &plan->budget, e, NULL),
			 Q2_OK);
}

static void set_up(void)
{
	ck_assert_int_eq(q2_plan_new(0, &plan, NULL), Q2_OK);
	plan->old_size = 1000;
	plan->new_size = 3048;
	out = (struct q2_buf){0};
}

static void tear_down(void)
{
	q2_plan_free(plan);
	q2_buf_free(&out);
}

static void text(unsigned flags, const struct q2_plan_info *info)
{
	out.n = 0;
	ck_assert_int_eq(q2_plan_text(plan, info, flags, &sink), Q2_OK);
	q2_buf_add(&out, "", 1);
}

static unsigned count(const char *what)
{
	unsigned n = 0;

	for (const char *p = out.at; (p = strstr(p, what)); p++)
		n++;
	return n;
}

START_TEST(test_one)
{
	add_action(402, Q2_EFFECT_LOSS, "an\x1b[2J entry");
	add_edit(0, 2, 2);
	add_edit(0, 0, 2);
	add_edit(0, 64, 64);
	add_edit(0, 10, 64);
	text(0, NULL);
	ck_assert_str_eq(
		out.at,
		"plan for an image of 1000 bytes: 1 action, 4 writes; the file "
		"grows by 2 KiB\n"
		"   1 L2_UNALIGNED: an\\x1b[2J entry\n"
		"     the guest loses: guest offset 0x10000 + 128 KiB\n"
		"     switch at 0x8000: abcd -> 1234\n"
		"     switch at 0x8000: end of file -> 1234\n"
		"     switch at 0x8000: 64 bytes\n"
		"     switch at 0x8000: abcd0000000000000000 -> 64 bytes\n");
}
END_TEST

START_TEST(test_kinds)
{
	struct q2_plan_info info = {.kind = Q2_PLAN_JOURNAL,
				    .state = Q2_STATE_UNDOING};

	text(0, &info);
	ck_assert_ptr_nonnull(strstr(out.at, "journal (undoing) for an image"));
	info = (struct q2_plan_info){.kind = Q2_PLAN_BACKUP};
	plan->is_device = true;
	add_action(0, Q2_EFFECT_NONE, "header");
	add_edit(0, 0, 64);
	text(0, &info);
	ck_assert_ptr_nonnull(strstr(out.at, "backup for a device of"));
	ck_assert_ptr_nonnull(strstr(out.at, "saved  at 0x8000: 64 bytes\n"));
}
END_TEST

/* Long lists are cut, and say so, unless all is asked for.  What of the guest's is
 * concerned is never lost with the rest. */
START_TEST(test_cut)
{
	for (unsigned i = 0; i < 60; i++)
		add_action(402, i < 59 ? Q2_EFFECT_NONE : Q2_EFFECT_LOSS,
			   i < 59 ? "one" : "the last");
	for (unsigned i = 0; i < 9; i++)
		add_edit(7, 2, 2);
	text(0, NULL);
	ck_assert_uint_eq(count("switch at"), 4);
	ck_assert_uint_eq(count("... and 5 more"), 1);
	ck_assert_uint_eq(count("... and 10 more"), 1);
	ck_assert_uint_eq(count("What the guest loses:"), 1);
	ck_assert_uint_eq(count("the last"), 1);
	text(Q2_TEXT_ALL, NULL);
	ck_assert_uint_eq(count("switch at"), 9);
	ck_assert_uint_eq(count("more"), 0);
	ck_assert_uint_eq(count("L2_UNALIGNED: one\n"), 59);
}
END_TEST

START_TEST(test_brief)
{
	add_action(402, Q2_EFFECT_NONE, "no matter");
	text(Q2_TEXT_BRIEF, NULL);
	ck_assert_str_eq(out.at, "");
	add_action(402, Q2_EFFECT_GAIN, "back");
	for (unsigned i = 0; i < 30; i++)
		add_action(402, Q2_EFFECT_SUSPECT, "doubt");
	text(Q2_TEXT_BRIEF, NULL);
	ck_assert_uint_eq(count("no matter"), 0);
	ck_assert_uint_eq(count("guest offset 0x10000 + 128 KiB: back\n"), 1);
	ck_assert_uint_eq(count(": doubt\n"), 20);
	ck_assert_uint_eq(count("... and 10 more"), 1);
	ck_assert_ptr_nonnull(strstr(out.at, "What may be wrong"));
	ck_assert_ptr_null(strstr(out.at, "What is kept"));
	add_action(402, Q2_EFFECT_KEPT, "elsewhere");
	text(Q2_TEXT_BRIEF, NULL);
	ck_assert_ptr_nonnull(strstr(out.at, "What is kept in case it is needed:"
					     "\n    guest offset 0x10000 + "
					     "128 KiB: elsewhere\n"));
}
END_TEST

START_TEST(test_json)
{
	add_action(402, Q2_EFFECT_SUSPECT, "\"quoted\"");
	for (unsigned i = 0; i < 120; i++)
		add_edit(0, 1, 2);
	out.n = 0;
	ck_assert_int_eq(q2_plan_json(plan, NULL, 0, &sink), Q2_OK);
	q2_buf_add(&out, "", 1);
	ck_assert_uint_eq(count("\"phase\": \"switch\""), 100);
	ck_assert_uint_eq(count("\"writes\": 120"), 2);
	ck_assert_uint_eq(count("\"text\": \"\\\"quoted\\\"\""), 1);
	ck_assert_uint_eq(count("\"before\": \"ab\", \"after\": \"1234\""), 100);
	ck_assert_uint_eq(count("\"guest-offset\": 65536"), 1);
	out.n = 0;
	ck_assert_int_eq(q2_plan_json(plan, NULL, Q2_TEXT_ALL, &sink), Q2_OK);
	q2_buf_add(&out, "", 1);
	ck_assert_uint_eq(count("\"phase\": \"switch\""), 120);
}
END_TEST

static int refuse(void *ctx, const char *bytes, size_t n)
{
	(void)ctx;
	(void)bytes;
	(void)n;
	return -1;
}

START_TEST(test_refused)
{
	const struct q2_sink full = {refuse, NULL};

	add_action(402, Q2_EFFECT_LOSS, "text");
	ck_assert_int_eq(q2_plan_text(plan, NULL, 0, &full), Q2_E_IO);
	ck_assert_int_eq(q2_plan_text(plan, NULL, Q2_TEXT_BRIEF, &full),
			 Q2_E_IO);
	ck_assert_int_eq(q2_plan_json(plan, NULL, 0, &full), Q2_E_IO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("show plans");
	TCase *t = tcase_create("show plans");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_one);
	tcase_add_test(t, test_kinds);
	tcase_add_test(t, test_cut);
	tcase_add_test(t, test_brief);
	tcase_add_test(t, test_json);
	tcase_add_test(t, test_refused);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
