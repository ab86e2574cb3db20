/*
 * test_join.c - results of scans that somebody else may have written.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "q2.h"

#define AUDIT(parts)                                                           \
	"{\"kind\": \"audit\", \"schema\": 1, " parts                          \
	", \"host\": \"h\", \"boot\": \"b\", \"asked\": [\"/p\"]}\n"
#define HEAD AUDIT("\"part\": 1, \"parts\": 1")
#define DISK(number, more)                                                     \
	"{\"kind\": \"volume\", \"device\": " #number more "}\n"
#define VOLUME DISK(1, ", \"shared\": \"\"")
#define NAMED(name, format, more)                                              \
	"{\"kind\": \"file\", \"filename\": \"" name "\", \"format\": \""      \
	format "\", \"only-named\": false, \"flags\": []" more "}\n"
#define IMAGE(more) NAMED("/p/a", "qcow2", more)
#define PLACE ", \"device\": 1, \"inode\": 5"
#define SIZES ", \"capacity\": 4096, \"length\": 4096"
#define TAKES ", \"allocation\": 4096, \"commitment-alone\": 8192"
#define TIME ", \"paths\": 1, \"changed\": 7"
#define END(n) "{\"kind\": \"end\", \"files\": " #n "}\n"
#define GOOD HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME) END(1)

/* Joins these texts; what the last step said. */
static enum q2_status join(const char *const *texts, struct q2_scan **scan,
			   struct q2_err *err)
{
	static const struct q2_scan_opts none = {0};
	enum q2_status st = q2_scan_new(&none, scan, err);

	for (; st == Q2_OK && *texts; texts++) {
		char path[] = "join-XXXXXX";
		size_t n = strlen(*texts);
		int fd = mkstemp(path);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(write(fd, *texts, n), (ssize_t)n);
		close(fd);
		st = q2_scan_join(*scan, path, err);
		unlink(path);
	}
	return st == Q2_OK ? q2_scan_link(*scan, err) : st;
}

/* ------------------------------------------------------------------ refusals */
static const char *const bads[] = {
	"",
	"\n",
	"{}\n",
	"{\"kind\": \"other\"}\n",
	"{\"kind\": \"end\"}\n",
	VOLUME,
	HEAD,
	HEAD HEAD END(0),
	HEAD END(1),
	HEAD END(0) END(0),
	HEAD END(0) VOLUME,
	AUDIT("\"part\": 0, \"parts\": 1") END(0),
	AUDIT("\"part\": 1, \"parts\": 0") END(0),
	AUDIT("\"part\": 2, \"parts\": 1") END(0),
	AUDIT("\"part\": 1, \"parts\": 4294967296") END(0),
	AUDIT("\"part\": 1, \"parts\": 2") END(0), /* where is the other one? */
	AUDIT("\"part\": 1") END(0),
	"{\"kind\": \"audit\", \"schema\": 2, \"part\": 1, \"parts\": 1}\n",
	"{\"kind\": \"audit\", \"part\": 1, \"parts\": 1, \"host\": \"h\", "
	"\"boot\": \"b\", \"asked\": []}\n",
	/* File systems. */
	HEAD VOLUME VOLUME END(0),
	HEAD DISK(1, "") END(0),
	HEAD DISK(1, ", \"shared\": \"\", \"size\": 5") END(0),
	HEAD DISK(1, ", \"shared\": \"\", \"free\": 5") END(0),
	HEAD DISK(1, ", \"shared\": \"\", \"block-device\": true") END(0),
	HEAD DISK(1, ", \"shared\": \"\", \"block-device\": true, "
		  "\"size\": 6, \"free\": 5") END(0),
	/* Files. */
	HEAD VOLUME IMAGE("") END(1),
	HEAD VOLUME IMAGE(PLACE) END(1),
	HEAD IMAGE(PLACE SIZES TAKES TIME) END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TIME ", \"commitment-alone\": 8192") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"block-device\": true") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TIME ", \"commitment-alone\": 8192, "
			  "\"block-device\": true") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"error\": \"e\"") END(1),
	HEAD VOLUME NAMED("/p/a", "unreadable", "") END(1),
	HEAD VOLUME NAMED("/p/a", "vmdk", PLACE SIZES TAKES TIME) END(1),
	HEAD VOLUME NAMED("", "qcow2", PLACE SIZES TAKES TIME) END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME) IMAGE(PLACE SIZES TAKES TIME) END(2),
	HEAD VOLUME IMAGE(", \"device\": 2, \"inode\": 5" SIZES TAKES TIME) END(1),
	HEAD VOLUME IMAGE(", \"device\": 1, \"inode\": 0" SIZES TAKES TIME) END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES ", \"paths\": 0, \"changed\": 7") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES ", \"paths\": 2147483648, \"changed\": 7") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"snapshots\": 4294967296") END(1),
	HEAD VOLUME IMAGE(PLACE TAKES TIME ", \"capacity\": 1, "
			  "\"length\": 9223372036854775808") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TIME ", \"allocation\": 9223372036854775808, "
			  "\"commitment-alone\": 9223372036854775808") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TIME ", \"allocation\": 4096, "
			  "\"commitment-alone\": 4095") END(1),
	/* Names whose bytes are told. */
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"filename-bytes\": \"\"") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"filename-bytes\": \"6\"") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"filename-bytes\": \"6g\"") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"filename-bytes\": \"/6\"") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"filename-bytes\": \"00\"") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"filename-bytes\": \"6F\"") END(1),
	HEAD VOLUME IMAGE(PLACE SIZES TAKES TIME ", \"backing-name-bytes\": \"61\"") END(1),
	HEAD VOLUME "{\"kind\": \"file\", \"filename\": \"a\", \"format\": "
	"\"qcow2\", \"only-named\": false, \"flags\": [\"odd\"]}\n" END(1),
};

START_TEST(refused)
{
	const char *const texts[] = {bads[_i], NULL};
	struct q2_scan *scan;
	struct q2_err err = {0};

	ck_assert_int_eq(join(texts, &scan, &err), Q2_E_FORMAT);
	ck_assert_str_ne(err.text, "");
	q2_scan_free(scan);
}
END_TEST

/* -------------------------------------------------------------------- merging */
#define OLD ", \"paths\": 1, \"changed\": 6"
#define LESS ", \"allocation\": 1024, \"commitment-alone\": 8192"
#define BAD(more)                                                              \
	NAMED("/p/b", "unreadable", ", \"error\": \"no\"" PLACE SIZES TAKES more)
#define FEWER                                                                  \
	"{\"kind\": \"file\", \"filename\": \"/p/b\", \"format\": \"qcow2\", " \
	"\"only-named\": true, \"flags\": []" PLACE SIZES TAKES TIME "}\n"

/* Two reports of one file: which is believed. */
static const struct merge {
	const char *a, *b;
	const char *path;
	uint64_t allocation;
} merges[] = {
	{IMAGE(PLACE SIZES TAKES TIME), FEWER, "/p/a", 4096},
	{IMAGE(PLACE SIZES TAKES TIME), BAD(TIME), "/p/a", 4096},
	{IMAGE(PLACE SIZES TAKES TIME),
	 NAMED("/p/b", "qcow2", PLACE SIZES TAKES OLD), "/p/a", 4096},
	{IMAGE(PLACE SIZES TAKES TIME),
	 NAMED("/p/b", "qcow2", PLACE SIZES LESS TIME), "/p/a", 4096},
	{IMAGE(PLACE SIZES TAKES TIME),
	 NAMED("/p/b", "qcow2", PLACE SIZES TAKES TIME), "/p/a", 4096},
};

START_TEST(merged)
{
	const struct merge *t = &merges[_i / 2];
	char text[2][2000];
	const char *const texts[] = {text[0], text[1], NULL};
	struct q2_scan *scan;
	struct q2_scan_file f;
	struct q2_err err = {0};

	for (int i = 0; i < 2; i++)
		snprintf(text[i], sizeof(text[i]), "%s%s%s%s", HEAD, VOLUME,
			 (i + _i) % 2 ? t->a : t->b, END(1));
	ck_assert_msg(join(texts, &scan, &err) == Q2_OK, "%s", err.text);
	ck_assert(q2_scan_file(scan, 0, &f));
	ck_assert(!q2_scan_file(scan, 1, &f));
	ck_assert(q2_scan_file(scan, 0, &f));
	ck_assert_str_eq(f.path, t->path);
	ck_assert_uint_eq(f.allocation, t->allocation);
	ck_assert_uint_eq(f.kind, Q2_FILE_QCOW2);
	q2_scan_free(scan);
}
END_TEST

/* One file system that two hosts have, told of with and without its size. */
static const struct shared {
	const char *a, *b;
	uint64_t free;
	bool known;
} shares[] = {
	{", \"size\": 100, \"free\": 50", ", \"size\": 100, \"free\": 40", 40, true},
	{", \"size\": 100, \"free\": 40", "", 40, true},
	{"", "", 0, false},
};

START_TEST(shared_by_hosts)
{
	const struct shared *t = &shares[_i / 2];
	char text[2][2000];
	const char *const texts[] = {text[0], text[1], NULL};
	struct q2_scan *scan;
	struct q2_scan_volume v;
	struct q2_err err = {0};

	for (int i = 0; i < 2; i++)
		snprintf(text[i], sizeof(text[i]),
			 "{\"kind\": \"audit\", \"schema\": 1, \"part\": 1, "
			 "\"parts\": 1, \"host\": \"h%d\", \"boot\": \"b%d\", "
			 "\"asked\": []}\n"
			 "{\"kind\": \"volume\", \"device\": %d, "
			 "\"shared\": \"nfs nas:/pool\"%s}\n" END(0),
			 i, i, i + 1, (i + _i) % 2 ? t->a : t->b);
	ck_assert_msg(join(texts, &scan, &err) == Q2_OK, "%s", err.text);
	ck_assert(q2_scan_volume(scan, 0, &v));
	ck_assert(v.known == t->known);
	ck_assert_uint_eq(v.free, t->free);
	ck_assert(!q2_scan_volume(scan, 1, &v));
	q2_scan_free(scan);
}
END_TEST

/* What two hosts could not find they need not mean alike. */
START_TEST(nowhere)
{
	static const char text[] = HEAD NAMED("/p/a", "unreadable",
					      ", \"error\": \"not there\"") END(1);
	static const char other[] =
		"{\"kind\": \"audit\", \"schema\": 1, \"part\": 1, \"parts\": "
		"1, \"host\": \"i\", \"boot\": \"c\", \"asked\": []}\n"
		NAMED("/p/a", "unreadable", ", \"error\": \"not there\"") END(1);
	static const char *const both[] = {text, other, NULL};
	static const char *const twice[] = {text, text, NULL};
	struct q2_scan *scan;
	struct q2_scan_file f;
	struct q2_err err = {0};

	ck_assert_int_eq(join(both, &scan, &err), Q2_OK);
	ck_assert(q2_scan_file(scan, 1, &f));
	ck_assert_str_eq(f.error, "not there");
	q2_scan_free(scan);
	ck_assert_int_eq(join(twice, &scan, &err), Q2_OK);
	ck_assert(!q2_scan_file(scan, 1, &f));
	q2_scan_free(scan);
}
END_TEST

/* Parts are of one scan if they were asked for the same. */
START_TEST(parts)
{
	static const char one[] = AUDIT("\"part\": 1, \"parts\": 2") END(0);
	static const char two[] = AUDIT("\"part\": 2, \"parts\": 2") END(0);
	static const char third[] = AUDIT("\"part\": 2, \"parts\": 3") END(0);
	static const struct {
		const char *texts[4];
		bool whole;
	} all[] = {
		{{one, two, NULL}, true},	{{two, one, NULL}, true},
		{{one, one, NULL}, false},	{{one, third, NULL}, false},
		{{third, one, two, NULL}, false}, {{one, two, two, NULL}, true},
	};
	struct q2_scan *scan;
	struct q2_err err = {0};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		ck_assert_msg((join(all[i].texts, &scan, &err) == Q2_OK) ==
			      all[i].whole, "%zu: %s", i, err.text);
		q2_scan_free(scan);
	}
}
END_TEST

START_TEST(plain)
{
	static const char *const texts[] = {GOOD, NULL};
	struct q2_scan *scan;
	struct q2_scan_file f;
	struct q2_scan_about about;
	struct q2_scan_names names;
	struct q2_err err = {0};

	ck_assert_msg(join(texts, &scan, &err) == Q2_OK, "%s", err.text);
	ck_assert(q2_scan_file(scan, 0, &f));
	ck_assert_uint_eq(f.inode, 5);
	ck_assert_int_eq(f.changed, 7);
	ck_assert_uint_eq(f.alone, 8192);
	ck_assert(q2_scan_names(scan, 0, &names));
	ck_assert_uint_eq(names.base_inode, 0);
	ck_assert(!q2_scan_names(scan, 1, &names));
	q2_scan_about(scan, &about);
	ck_assert(about.joined);
	/* Not both, in one scan. */
	ck_assert_int_eq(q2_scan_add(scan, ".", &err), Q2_E_ARG);
	q2_scan_free(scan);
	ck_assert_int_eq(q2_scan_new(&(struct q2_scan_opts){0}, &scan, &err),
			 Q2_OK);
	ck_assert_int_eq(q2_scan_add(scan, ".", &err), Q2_OK);
	ck_assert_int_eq(q2_scan_join(scan, ".", &err), Q2_E_ARG);
	q2_scan_free(scan);
	q2_scan_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("join");
	TCase *tc = tcase_create("lines");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, refused, 0, sizeof(bads) / sizeof(*bads));
	tcase_add_loop_test(tc, merged, 0, 2 * sizeof(merges) / sizeof(*merges));
	tcase_add_loop_test(tc, shared_by_hosts, 0,
			    2 * sizeof(shares) / sizeof(*shares));
	tcase_add_test(tc, nowhere);
	tcase_add_test(tc, parts);
	tcase_add_test(tc, plain);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
