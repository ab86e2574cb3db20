/*
 * test_names.c - what names lead to, and which files may be opened.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/allow.h"

#define LONG_KEY "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

static const struct name {
	const char *name;
	enum q2_status st;
	const char *path, *format; /* format NULL: not told */
} names[] = {
	{"a", Q2_OK, "a", NULL},
	{"file:a", Q2_OK, "a", NULL},
	{"json:{\"filename\":\"a\",\"driver\":\"file\"}", Q2_OK, "a", "raw"},
	{"json:{\"filename\":\"/dev/a\",\"driver\":\"host_device\"}", Q2_OK,
	 "/dev/a", "raw"},
	{"json:{\"driver\":\"qcow2\",\"file.filename\":\"a\"}", Q2_OK, "a",
	 "qcow2"},
	{"json:{\"driver\":\"raw\",\"file\":{\"driver\":\"host_device\","
	 "\"filename\":\"a\"}}", Q2_OK, "a", "raw"},
	{"json:{\"file\":{\"driver\":\"file\",\"filename\":\"a\"}}", Q2_OK, "a",
	 NULL},
	{"json:{\"file.driver\":\"file\",\"file.filename\":\"a\"}", Q2_OK, "a",
	 NULL},
	/* What makes no sense, or would lead elsewhere. */
	{"json:{\"driver\":\"file\",\"filename\":\"a\",\"file.filename\":\"b\"}",
	 Q2_E_UNSUPPORTED, NULL, NULL},
	{"json:{\"driver\":\"file\",\"filename\":\"a\",\"file.driver\":\"file\"}",
	 Q2_E_UNSUPPORTED, NULL, NULL},
	{"json:{\"driver\":\"qcow2\",\"filename\":\"a\"}", Q2_E_UNSUPPORTED,
	 NULL, NULL},
	{"json:{\"driver\":\"vmdk\",\"file.filename\":\"a\"}", Q2_E_UNSUPPORTED,
	 NULL, NULL},
	{"json:{\"file.driver\":\"nbd\",\"file.filename\":\"a\"}",
	 Q2_E_UNSUPPORTED, NULL, NULL},
	{"json:{\"driver\":\"file\"}", Q2_E_FORMAT, NULL, NULL},
	{"json:{\"driver\":\"file\",\"filename\":\"\"}", Q2_E_FORMAT, NULL, NULL},
	{"json:{\"driver\":\"qcow2\"}", Q2_E_FORMAT, NULL, NULL},
	{"json:{\"filename\":5}", Q2_E_FORMAT, NULL, NULL},
	{"json:{\"filename\":\"a\\u0000b\"}", Q2_E_FORMAT, NULL, NULL},
	{"json:{\"file.filename\":\"a\",\"file\":{\"filename\":\"a\"}}",
	 Q2_E_FORMAT, NULL, NULL},
	{"json:{\"" LONG_KEY "\":\"a\"}", Q2_E_UNSUPPORTED, NULL, NULL},
	{"json:{\"file\":{\"" LONG_KEY "\":\"a\"}}", Q2_E_UNSUPPORTED, NULL,
	 NULL},
	{"json:{\"file\":{\"file\":{\"filename\":\"a\"}}}",
	 Q2_E_UNSUPPORTED, NULL, NULL},
	{"json:{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":1}}}}}}",
	 Q2_E_FORMAT, NULL, NULL}, /* too deep to be looked at */
	{"json:{", Q2_E_FORMAT, NULL, NULL},
	{"json:[]", Q2_E_FORMAT, NULL, NULL},
	{"json:", Q2_E_FORMAT, NULL, NULL},
};

START_TEST(resolved)
{
	const struct name *t = &names[_i];
	const char *format = "none";
	struct q2_err err = {0};
	char path[64];

	ck_assert_int_eq(q2_name_path(t->name, path, sizeof(path), &format,
				      &err), t->st);
	if (t->st != Q2_OK) {
		ck_assert_str_ne(err.text, "");
		return;
	}
	ck_assert_str_eq(path, t->path);
	if (t->format)
		ck_assert_str_eq(format, t->format);
	else
		ck_assert_ptr_null(format);
}
END_TEST

/* A path has to fit where it is wanted, and anywhere. */
START_TEST(too_long)
{
	static char name[20000], path[8];
	const char *format;
	struct q2_err err = {0};

	ck_assert_int_eq(q2_name_path("1234567", path, sizeof(path), &format,
				      &err), Q2_OK);
	ck_assert_int_eq(q2_name_path("12345678", path, sizeof(path), &format,
				      &err), Q2_E_UNSUPPORTED);
	memset(name, 'n', sizeof(name) - 1);
	ck_assert_int_eq(q2_name_path(name, path, sizeof(path), &format, &err),
			 Q2_E_UNSUPPORTED);
	memcpy(name, "json:{\"driver\":\"file\",\"filename\":\"", 34);
	memcpy(name + sizeof(name) - 3, "\"}", 3);
	ck_assert_int_eq(q2_name_path(name, path, sizeof(path), &format, &err),
			 Q2_E_UNSUPPORTED);
}
END_TEST

static const struct allowed {
	const char *image;
	const char *more[3];
	const char *path;
	bool is;
} cases[] = {
	{"/a/image", {NULL}, "/a/base", true},
	{"/a/image", {NULL}, "/a/b/base", true},
	{"/a/image", {NULL}, "/ab/base", false},
	{"/a/image", {NULL}, "/base", false},
	{"/a/image", {NULL}, "/a/../base", false},
	{"/image", {NULL}, "/b/base", true},
	{"image", {NULL}, "base", true},
	{"image", {NULL}, "/base", false},
	{"image", {NULL}, "../base", false},
	{"/a/image", {"/b"}, "/b/base", true},
	{"/a/image", {"/b/"}, "/b/base", true},
	{"/a/image", {"/b///"}, "/b/base", true},
	{"/a/image", {"/b/"}, "/bb/base", false},
	{"/a/image", {"/"}, "/b/base", true},
	{"/a/image", {"//"}, "/b/base", true},
	{"/a/image", {"/b/base"}, "/b/base", true},
	{"/a/image", {"/c", "/b"}, "/b/base", true},
	{"/a/image", {"/c", "/d"}, "/b/base", false},
	{"/a/image", {"nbd://server/", "/b"}, "/b/base", true},
	{"/a/image", {"nbd://server/"}, "nbd://server/base", false},
};

START_TEST(files)
{
	const struct allowed *t = &cases[_i];
	struct q2_allowed a;
	struct q2_err err = {0};

	q2_allowed_init(&a, t->more, false, true, t->image);
	ck_assert_msg((q2_allowed(&a, t->path, &err) == Q2_OK) == t->is, "%s",
		      err.text);
	if (!t->is)
		ck_assert_ptr_nonnull(strstr(err.text, "--allow-path="));
	q2_allowed_free(&a);
	q2_allowed_init(&a, NULL, true, true, t->image);
	ck_assert_int_eq(q2_allowed(&a, t->path, &err), Q2_OK);
	q2_allowed_free(&a);
}
END_TEST

static const struct allowed servers[] = {
	{"image", {NULL}, "nbd://server/x", false},
	{"image", {"/b"}, "nbd://server/x", false},
	{"image", {"nbd://server/x"}, "nbd://server/x", true},
	{"image", {"nbd://server/x"}, "nbd://server/xy", false},
	{"image", {"nbd://server/"}, "nbd://server/x", true},
	{"image", {"nbd://server"}, "nbd://server.else/x", false},
	{"image", {"nbd://other/", "nbd://server/"}, "nbd://server/x", true},
};

START_TEST(on_servers)
{
	const struct allowed *t = &servers[_i];
	struct q2_allowed a;
	struct q2_err err = {0};

	q2_allowed_init(&a, t->more, false, true, t->image);
	ck_assert_int_eq(q2_allowed_server(&a, t->path, &err),
			 t->is ? Q2_OK : Q2_E_REFUSED);
	q2_allowed_free(&a);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("names");
	TCase *tc = tcase_create("names");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, resolved, 0, sizeof(names) / sizeof(*names));
	tcase_add_test(tc, too_long);
	tcase_add_loop_test(tc, files, 0, sizeof(cases) / sizeof(*cases));
	tcase_add_loop_test(tc, on_servers, 0,
			    sizeof(servers) / sizeof(*servers));
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
