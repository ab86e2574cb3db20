/*
 * test_report.c - the catalogue's promises, messages, and JSON that stays JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "check/problem.h"
#include "report/page.h"

static const struct {
	const char *name;
	unsigned field;
} names[] = {
	{"host", Q2_F_HOST},	 {"guest", Q2_F_GUEST},
	{"other", Q2_F_OTHER},	 {"length", Q2_F_LENGTH},
	{"found", Q2_F_FOUND},	 {"expected", Q2_F_EXPECTED},
	{"count", Q2_F_COUNT},	 {"index", Q2_F_INDEX},
	{"l1", Q2_F_L1},	 {"l2", Q2_F_L2},
	{"kind", Q2_F_KIND},	 {"text", Q2_F_TEXT},
	{"tree", Q2_F_TREE},
};

static unsigned field_named(const char *s, size_t n)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i].name) == n &&
		    memcmp(names[i].name, s, n) == 0)
			return names[i].field;
	return 0;
}

START_TEST(placeholders_are_declared_fields)
{
	const struct q2_problem *p;

	for (size_t i = 0; (p = q2_problem_at(i)) != NULL; i++) {
		const char *at = p->message;

		while ((at = strchr(at, '{')) != NULL) {
			size_t n = strcspn(++at, ":}");
			unsigned field = field_named(at, n);

			ck_assert_msg(field != 0, "%s: {%.*s}", p->id, (int)n,
				      at);
			ck_assert_msg((p->fields & field) != 0,
				      "%s does not declare {%.*s}", p->id,
				      (int)n, at);
		}
	}
}
END_TEST

/* The location in front of a message shows these; all others must be in it. */
START_TEST(fields_are_shown)
{
	const unsigned located = Q2_F_HOST | Q2_F_GUEST | Q2_F_LENGTH |
				 Q2_F_TREE | Q2_F_L1 | Q2_F_L2;
	const struct q2_problem *p;

	for (size_t i = 0; (p = q2_problem_at(i)) != NULL; i++)
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
			char open[16];

			if (!(p->fields & ~located & names[k].field))
				continue;
			open[0] = '{';
			strcpy(open + 1, names[k].name);
			ck_assert_msg(strstr(p->message, open) != NULL,
				      "%s never shows %s", p->id,
				      names[k].name);
		}
}
END_TEST

START_TEST(catalogue_is_in_order)
{
	const struct q2_problem *p;
	unsigned before = 0;
	size_t n = 0;

	for (; (p = q2_problem_at(n)) != NULL; n++) {
		size_t len = strlen(p->message);

		ck_assert_uint_gt(p->number, before);
		before = p->number;
		ck_assert_uint_lt(strlen(p->id), 28);
		for (const char *c = p->id; *c; c++)
			ck_assert(isupper((unsigned char)*c) || *c == '_' ||
				  isdigit((unsigned char)*c));
		ck_assert_ptr_eq(q2_problem_by_number(p->number), p);
		ck_assert_ptr_eq(q2_problem_by_id(p->id), p);
		ck_assert_msg(p->message[len - 1] != '.', "%s", p->id);
		len = strlen(p->explanation);
		ck_assert_msg(p->explanation[len - 1] == '.', "%s", p->id);
	}
	ck_assert_uint_gt(n, 100);
	ck_assert_ptr_null(q2_problem_by_number(100));
	ck_assert_ptr_null(q2_problem_by_id("NO_SUCH_PROBLEM"));
	ck_assert_ptr_eq(q2_problem_by_id("orphan-l2"),
			 q2_problem_by_id("ORPHAN_L2"));
}
END_TEST

START_TEST(messages_are_filled_in)
{
	const struct q2_problem *p;

	for (size_t i = 0; (p = q2_problem_at(i)) != NULL; i++) {
		struct q2_finding f = {.problem = p,
				       .fields = p->fields,
				       .kind = Q2_K_L1,
				       .text_len = 4};
		char full[1024], cut[16];
		size_t n;

		memcpy(f.text, "name", 4);
		n = q2_finding_message(&f, full, sizeof(full));
		ck_assert_uint_eq(n, strlen(full));
		ck_assert_msg(strpbrk(full, "{}?") == NULL, "%s: %s", p->id,
			      full);
		/* As snprintf: cut, terminated, and the whole length told. */
		ck_assert_uint_eq(q2_finding_message(&f, cut, sizeof(cut)), n);
		ck_assert_uint_eq(strlen(cut), n < 15 ? n : 15);
		ck_assert(memcmp(cut, full, strlen(cut)) == 0);
		ck_assert_uint_eq(q2_finding_message(&f, NULL, 0), n);
	}
}
END_TEST

static void message(const struct q2_finding *f, char *out)
{
	ck_assert_uint_lt(q2_finding_message(f, out, 512), 512);
}

START_TEST(numbers_and_words)
{
	struct q2_finding f = {.problem = q2_problem(Q2_P_REFCOUNT_LOW),
			       .kind = Q2_K_L2,
			       .host = 0x12000,
			       .found = 1,
			       .expected = 2};
	char out[512];

	f.fields = Q2_F_HOST | Q2_F_FOUND | Q2_F_EXPECTED | Q2_F_KIND;
	message(&f, out);
	ck_assert_str_eq(out, "the L2 table at 0x12000 has refcount 1, but "
			      "2 references");
	f.expected = 1;
	message(&f, out);
	ck_assert_ptr_nonnull(strstr(out, "1 reference"));
	ck_assert_ptr_null(strstr(out, "1 references"));
	f = (struct q2_finding){.problem = q2_problem(Q2_P_L1_COPIED),
				.fields = Q2_F_L1 | Q2_F_HOST | Q2_F_FOUND |
					  Q2_F_EXPECTED,
				.found = 1,
				.expected = 2};
	message(&f, out);
	ck_assert_ptr_nonnull(strstr(out, "has COPIED set"));
	f.found = 0;
	message(&f, out);
	ck_assert_ptr_nonnull(strstr(out, "has COPIED clear"));
}
END_TEST

/* A terminal must not be driven by a name in an image. */
START_TEST(names_are_escaped)
{
	static const char evil[] = "a\033[2Jb\n\0\xff\xc3\xa9";
	struct q2_finding f = {.problem = q2_problem(Q2_P_BITMAP_IN_USE),
			       .fields = Q2_F_INDEX | Q2_F_TEXT,
			       .text_len = sizeof(evil) - 1};
	char out[512];

	memcpy(f.text, evil, sizeof(evil) - 1);
	message(&f, out);
	for (const char *c = out; *c; c++)
		ck_assert((unsigned char)*c >= 0x20 && *c != 0x7f);
	ck_assert_ptr_nonnull(strstr(out, "\xc3\xa9")); /* UTF-8 stays */
}
END_TEST

#define NONE "\xef\xbf\xbd" /* U+FFFD */

/* Nothing that others chose is markup, nor does it hide what stands around it. */
START_TEST(documents_are_escaped)
{
	static const struct {
		const char *text, *xml, *shortened; /* to five characters */
	} texts[] = {
		{"a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;", "a" "\xe2\x80\xa6" "&amp;&quot;&#39;"},
		{"a\nb", "a\nb", "a\\nb"},
		{"\x7f", NONE, "\\x7f"},
		{"\xc2\x85", NONE, NULL},	/* a control character */
		{"\xef\xbf\xbe", NONE, NULL},	/* U+FFFE, which is none */
		{"\xef\xb7\x90", NONE, NULL},	/* U+FDD0 */
		{"\xef\xb7\xb0", "\xef\xb7\xb0", NULL}, /* U+FDF0, a letter */
		{"\xff\x80z", NONE NONE "z", NULL},
		{"abcde", "abcde", "abcde"},
		{"abcdef", "abcdef", "a" "\xe2\x80\xa6" "def"},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct q2_buf b = {0};

		q2_xml_text(&b, texts[i].text);
		ck_assert_uint_eq(b.n, strlen(texts[i].xml));
		ck_assert_mem_eq(b.at, texts[i].xml, b.n);
		b.n = 0;
		q2_xml_short(&b, texts[i].text, strlen(texts[i].text), 5);
		q2_buf_char(&b, 0);
		if (texts[i].shortened)
			ck_assert_str_eq(b.at, texts[i].shortened);
		q2_buf_free(&b);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("report");
	TCase *t = tcase_create("report");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, placeholders_are_declared_fields);
	tcase_add_test(t, fields_are_shown);
	tcase_add_test(t, catalogue_is_in_order);
	tcase_add_test(t, messages_are_filled_in);
	tcase_add_test(t, numbers_and_words);
	tcase_add_test(t, names_are_escaped);
	tcase_add_test(t, documents_are_escaped);
	suite_add_tcase(s, t);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
