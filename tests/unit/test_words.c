/*
 * test_words.c - what stands for something has a word.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>

#include "q2.h"

static const char *status_word(unsigned i)
{
	return q2_status_text((enum q2_status)i);
}

static const char *outcome_word(unsigned i)
{
	return q2_outcome_text((enum q2_outcome)i);
}

static const char *content_word(unsigned i)
{
	return q2_content_text((enum q2_content)i);
}

static const char *use_word(unsigned i)
{
	return q2_use_text((enum q2_use)i);
}

static const char *placed_word(unsigned i)
{
	return q2_placed_text((enum q2_placed)i);
}

static const char *severity_word(unsigned i)
{
	return q2_severity_text((enum q2_severity)i);
}

static const char *fix_word(unsigned i)
{
	return q2_fix_text((enum q2_fix)i);
}

static const char *kind_word(unsigned i)
{
	return q2_kind_text((enum q2_kind)i);
}

static const char *verdict_word(unsigned i)
{
	return q2_verdict_text((enum q2_verdict)i);
}

static const char *effect_word(unsigned i)
{
	return q2_effect_text((enum q2_effect)i);
}

static const char *state_word(unsigned i)
{
	return q2_plan_state_text((enum q2_plan_state)i);
}

/* Each has one of its own, and there is a word for what is none. */
START_TEST(words)
{
	static const struct {
		const char *(*word)(unsigned i);
		unsigned n;
	} all[] = {
		{status_word, 11}, {outcome_word, 5}, {content_word, 6},
		{use_word, Q2_U_COUNT}, {placed_word, Q2_PLACED_COUNT},
		{severity_word, Q2_CORRUPT + 1}, {fix_word, Q2_FIX_REBUILD + 1},
		{kind_word, Q2_K_COUNT}, {verdict_word, Q2_UNREADABLE + 1},
		{effect_word, Q2_EFFECT_KEPT + 1},
		{state_word, Q2_STATE_UNDONE + 1},
	};

	for (size_t k = 0; k < sizeof(all) / sizeof(*all); k++) {
		for (unsigned i = 0; i < all[k].n; i++)
			for (unsigned j = 0; j < i; j++)
				ck_assert_str_ne(all[k].word(i),
						 all[k].word(j));
		ck_assert_ptr_nonnull(all[k].word(100));
	}
	ck_assert_ptr_null(q2_file_flag_text(Q2_FF_COUNT_BITS));
	ck_assert_ptr_null(q2_need_text(1000));
	ck_assert_ptr_null(q2_lint_rule(1000));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("words");
	TCase *t = tcase_create("words");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, words);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
