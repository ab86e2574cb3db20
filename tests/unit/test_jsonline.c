/*
 * test_jsonline.c - what is taken for a record, and what is refused.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonline.h"

enum { NUMBER, TRUTH, TEXT, LIST, MEMBERS };

static const struct q2_json_member members[MEMBERS] = {
	{"n", Q2_JSON_NUMBER},
	{"b", Q2_JSON_BOOL},
	{"t", Q2_JSON_STRING},
	{"l", Q2_JSON_STRINGS},
};

/* Reads from blocks of just the right sizes, so that a sanitizer sees more. */
static const char *read_line(const char *line, struct q2_json_value *v,
			     char **room)
{
	size_t n = strlen(line);
	char *copy = malloc(n ? n : 1);
	const char *why;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, line, n);
	*room = malloc(n + 1);
	ck_assert_ptr_nonnull(*room);
	why = q2_json_line(copy, n, members, MEMBERS, v, *room);
	free(copy);
	return why;
}

static const struct good {
	const char *line;
	uint64_t number;
	const char *text; /* NULL: not given */
	size_t count;
} goods[] = {
	{"{}", 0, NULL, 0},
	{" { } \r", 0, NULL, 0},
	{"{\"n\":0}", 0, NULL, 0},
	{"{\"n\": 18446744073709551615}", UINT64_MAX, NULL, 0},
	{"{\"t\":\"\"}", 0, "", 0},
	{"{\"t\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", 0, "\"\\/\b\f\n\r\t", 0},
	{"{\"t\":\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"}", 0,
	 "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 0},
	{"{\"t\":\"\xe2\x82\xac\"}", 0, "\xe2\x82\xac", 0},
	{"{\"l\":[]}", 0, NULL, 0},
	{"{\"l\":[\"a\", \"bc\"],\"n\":7}", 7, NULL, 2},
	{"{\"b\":true,\"n\":1}", 1, NULL, 0},
	{"{\t\"n\"\n:\r 5 }", 5, NULL, 0},
	{"{\"t\":\"\\uABCD\\uabcd\\u00Ff\"}", 0,
	 "\xea\xaf\x8d\xea\xaf\x8d\xc3\xbf", 0},
	{"{\"b\":false,\"n\":2}", 2, NULL, 0},
	/* Members that are not known. */
	{"{\"x\":false,\"y\":\"\",\"z\":{},\"n\":4}", 4, NULL, 0},
	{"{\"x\":null,\"y\":-1.5e3,\"z\":[1,{\"t\":\"no\"}],\"t\":\"yes\"}", 0,
	 "yes", 0},
	{"{\"x\":[[[[[[]]]]]],\"n\":3}", 3, NULL, 0},
};

START_TEST(taken)
{
	const struct good *t = &goods[_i];
	struct q2_json_value v[MEMBERS];
	char *room;

	ck_assert_ptr_null(read_line(t->line, v, &room));
	ck_assert_uint_eq(v[NUMBER].number, t->number);
	ck_assert_int_eq(v[TEXT].given, t->text != NULL);
	if (t->text)
		ck_assert_str_eq(v[TEXT].text, t->text);
	ck_assert_uint_eq(v[LIST].count, t->count);
	if (t->count == 2) {
		ck_assert_str_eq(v[LIST].text, "a");
		ck_assert_str_eq(v[LIST].text + 2, "bc");
	}
	free(room);
}
END_TEST

static const struct bad {
	const char *line;
	const char *why; /* part of it */
} bads[] = {
	{"", "no JSON object"},
	{"[]", "no JSON object"},
	{"{", "a text is missing"},
	{"{\"n\"", "colon"},
	{"{\"n\":1", "does not end"},
	{"{\"n\":1}}", "behind"},
	{"{\"n\":1} x", "behind"},
	{"{\"n\":1,}", "a text is missing"},
	{"{\"n\":1 \"b\":true}", "does not end"},
	{"{n:1}", "a text is missing"},
	/* Numbers. */
	{"{\"n\":}", "whole number"},
	{"{\"n\":-1}", "whole number"},
	{"{\"n\":1.0}", "whole number"},
	{"{\"n\":1e3}", "whole number"},
	{"{\"n\":01}", "whole number"},
	{"{\"n\":18446744073709551616}", "too large"},
	{"{\"n\":99999999999999999999999999}", "too large"},
	/* Other types. */
	{"{\"n\":\"1\"}", "whole number"},
	{"{\"n\":true}", "whole number"},
	{"{\"n\":null}", "whole number"},
	{"{\"b\":1}", "true or false"},
	{"{\"b\":\"true\"}", "true or false"},
	{"{\"t\":1}", "a text is missing"},
	{"{\"t\":[\"a\"]}", "a text is missing"},
	{"{\"l\":\"a\"}", "a list"},
	{"{\"l\":[1]}", "a text is missing"},
	{"{\"l\":[\"a\"}", "a list does not end"},
	{"{\"l\":[\"a\",]}", "a text is missing"},
	{"{\"b\":tru}", "true or false"},
	{"{\"b\":}", "true or false"},
	/* Of those that are not known. */
	{"{\"x\":", "a value is missing"},
	{"{\"x\":}", "a value is missing"},
	{"{\"x\":\"a", "does not end"},
	{"{\"x\":[1", "does not end"},
	{"{\"x\":[1}", "does not end"},
	{"{\"x\":{\"a\":1]", "does not end"},
	{"{\"x\":{1:1}}", "a text is missing"},
	{"{\"x\":{\"a\" 1}}", "colon"},
	{"{\"x\":[tru]}", "a value is missing"},
	/* Twice. */
	{"{\"n\":1,\"n\":1}", "twice"},
	{"{\"t\":\"a\",\"t\":\"b\"}", "twice"},
	/* Texts. */
	{"{\"t\":\"\\", "does not end"},
	{"{\"t\":\"\\u00", "does not end"},
	{"{\"t\":\"\\u00g0\"}", "escape"},
	{"{\"t\":\"\\u00G0\"}", "escape"},
	{"{\"t\":\"\\u00/0\"}", "escape"},
	{"{\"t\":\"\\u00:0\"}", "escape"},
	{"{\"t\":\"\\u00@0\"}", "escape"},
	{"{\"t\":\"\\u00`0\"}", "escape"},
	{"{\"t\":\"\\x\"}", "escape"},
	{"{\"t\":\"\\ud83d\"}", "lone"},
	{"{\"t\":\"\\ud83d\\u00", "does not end"},
	{"{\"t\":\"\\ud83d\\u0041\"}", "lone"},
	{"{\"t\":\"\\ud83d\\ue000\"}", "lone"},
	{"{\"t\":\"\\udc00\"}", "lone"},
	{"{\"t\":\"\\u0000\"}", "NUL"},
	{"{\"t\":\"a", "does not end"},
	{"{\"t\":\"a\\", "does not end"},
	{"{\"t\":\"a\\\"}", "does not end"},
	{"{\"t\":\"\\x\"}", "escape"},
	{"{\"t\":\"\\u12", "does not end"},
	{"{\"t\":\"\\u12g4\"}", "escape"},
	{"{\"t\":\"\\u0000\"}", "NUL"},
	{"{\"t\":\"\\ud800\"}", "surrogate"},
	{"{\"t\":\"\\ud800\\u0041\"}", "surrogate"},
	{"{\"t\":\"\\udc00\"}", "surrogate"},
	{"{\"t\":\"a\nb\"}", "control"},
	{"{\"t\":\"\xff\"}", "UTF-8"},
	{"{\"t\":\"\xc3\"}", "UTF-8"},
	{"{\"t\":\"\xed\xa0\x80\"}", "UTF-8"},
	/* Inside of what is skipped, too. */
	{"{\"x\":\"\xff\"}", "UTF-8"},
	{"{\"x\":[1,2}", "does not end"},
	{"{\"x\":{\"y\"}}", "colon"},
	{"{\"x\":nul}", "a value is missing"},
	{"{\"x\":[[[[[[[[[[]]]]]]]]]]}", "too deeply"},
};

START_TEST(refused)
{
	const struct bad *t = &bads[_i];
	struct q2_json_value v[MEMBERS];
	char *room;
	const char *why = read_line(t->line, v, &room);

	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, t->why) != NULL, "%s: '%s' is not '%s'",
		      t->line, why, t->why);
	free(room);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("jsonline");
	TCase *lines = tcase_create("lines");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(lines, taken, 0,
			    (int)(sizeof(goods) / sizeof(*goods)));
	tcase_add_loop_test(lines, refused, 0,
			    (int)(sizeof(bads) / sizeof(*bads)));
	suite_add_tcase(suite, lines);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
