/*
 * test_refusals.c - what makes no sense is refused, with a reason.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "dump/newimage.h"
#include "mini.h"
#include "q2.h"

#define DISK UINT64_C(65536)

static char folder[] = "refusals-XXXXXX";

static void save(const struct mini *m, const char *name)
{
	FILE *f = fopen(name, "wbe");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(m->bytes, 1, m->size, f), m->size);
	ck_assert_int_eq(fclose(f), 0);
	free(m->bytes);
}

/* Cluster 1 is the refcount table, 2 its block, 3 the L1 table, 4 an L2 table. */
static void set_up(void)
{
	struct mini base = mini_new(3, 12, 7, DISK, 1);
	struct mini top = mini_new(3, 12, 7, DISK, 1);

	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	for (struct mini *m = &base; m; m = m == &base ? &top : NULL) {
		mini_put(m, mini_cs(m), 8, 2 * mini_cs(m));
		for (size_t i = 0; i < 7; i++)
			mini_put(m, 2 * mini_cs(m) + 2 * i, 2, 1);
		mini_l1(m, 0, UINT64_C(1) << 63 | 4 * mini_cs(m));
		for (size_t i = 0; i < 2; i++)
			mini_l2(m, 4, i + (m == &top), 8,
				UINT64_C(1) << 63 | (5 + i) * mini_cs(m), 0);
		memset(m->bytes + 5 * mini_cs(m), m == &top ? 7 : 5,
		       2 * mini_cs(m));
	}
	mini_backing(&top, "base", "qcow2");
	save(&base, "base");
	save(&top, "top");
}

static void tear_down(void)
{
	(void)unlink("base");
	(void)unlink("top");
	ck_assert_int_eq(chdir(".."), 0);
	ck_assert_int_eq(rmdir(folder), 0);
}

static struct q2_guest *open_top(uint32_t layer)
{
	struct q2_guest_opts opts = {.layer = layer};
	struct q2_guest *g;
	struct q2_err err = {0};

	ck_assert_msg(q2_guest_open("top", &opts, &g, &err) == Q2_OK, "%s",
		      err.text);
	return g;
}

/* -------------------------------------------------------------------- dumps */
#define ALL .length = UINT64_MAX
#define QCOW2 .format = Q2_DUMP_QCOW2, ALL
static const struct refused_dump {
	const char *to;
	struct q2_dump_opts opts;
} refused_dumps[] = {
	{"new", {ALL, .version = 3}},
	{"new", {ALL, .cluster_bits = 16}},
	{"new", {ALL, .refcount_bits = 16}},
	{"new", {ALL, .ext_l2 = true}},
	{"new", {ALL, .compress = Q2_COMPRESS_ZLIB}},
	{"new", {ALL, .keep_backing = 1}},
	{"new", {ALL, .flags = Q2_DUMP_BITMAPS}},
	{"-", {ALL, .preallocate = Q2_PREALLOC_FULL}},
	{"-", {ALL, .flags = Q2_DUMP_RESUME}},
	{"-", {ALL, .flags = Q2_DUMP_VERIFY}},
	{"-", {QCOW2}},
	{"top", {ALL, .flags = Q2_DUMP_FORCE}},
	{"./base", {ALL, .flags = Q2_DUMP_FORCE}},
	{"new", {QCOW2, .preallocate = Q2_PREALLOC_FULL}},
	{"new", {QCOW2, .refcount_bits = 3}},
	{"new", {QCOW2, .refcount_bits = 128}},
	{"new", {QCOW2, .version = 2, .refcount_bits = 8}},
	{"new", {QCOW2, .version = 2, .ext_l2 = true, .cluster_bits = 14}},
	{"new", {QCOW2, .version = 2, .compress = Q2_COMPRESS_ZSTD}},
	{"new", {QCOW2, .version = 2, .flags = Q2_DUMP_BITMAPS}},
	{"new", {QCOW2, .ext_l2 = true, .cluster_bits = 13}},
	{"new", {QCOW2, .cluster_bits = 8}},
	{"new", {QCOW2, .cluster_bits = 22}},
	{"new", {QCOW2, .compress = Q2_COMPRESS_ZLIB, .level = 13}},
	{"new", {QCOW2, .compress = Q2_COMPRESS_ZLIB, .level = -1}},
	{"new", {QCOW2, .compress = Q2_COMPRESS_ZSTD, .level = 100}},
	{"new", {QCOW2, .compress = Q2_COMPRESS_ZSTD, .level = -1}},
	{"new", {QCOW2, .keep_backing = 2}},
	{"new", {.format = Q2_DUMP_QCOW2, .length = 512, .keep_backing = 1}},
	{"new", {QCOW2, .start = 512, .keep_backing = 1}},
	{"new", {QCOW2, .start = 512, .flags = Q2_DUMP_BITMAPS}},
	{"new", {.format = Q2_DUMP_QCOW2, .length = 512,
		 .flags = Q2_DUMP_BITMAPS}},
	{"new", {ALL, .start = DISK}},
	{"new", {ALL, .start = DISK + 512}},
	{"new", {ALL, .start = 1}},
	{"new", {.length = DISK + 512}},
	{"new", {.length = 1}},
	{"new", {.start = 512, .length = DISK}},
	{"new", {ALL, .flags = Q2_DUMP_RESUME, .scan.salvage = true}},
};

START_TEST(dumps)
{
	const struct refused_dump *t = &refused_dumps[_i];
	struct q2_guest *g = open_top(Q2_ANY_LAYER);
	struct q2_dump_result r;
	struct q2_err err = {0};

	ck_assert_int_eq(q2_dump(g, t->to, &t->opts, &r, &err), Q2_E_ARG);
	ck_assert_str_ne(err.text, "");
	ck_assert_int_ne(access("new", F_OK), 0);
	ck_assert_int_ne(access("new.part", F_OK), 0);
	q2_guest_close(g);
}
END_TEST

/* Of one layer there are no bitmaps of the whole. */
START_TEST(one_layer)
{
	struct q2_guest *g = open_top(1);
	struct q2_dump_opts opts = {QCOW2, .flags = Q2_DUMP_BITMAPS};
	struct q2_dump_result r;
	struct q2_err err = {0};

	ck_assert_int_eq(q2_dump(g, "new", &opts, &r, &err), Q2_E_ARG);
	q2_guest_close(g);
}
END_TEST

/* ------------------------------------------------------------------- measure */
#define BITS(n) .refcount_bits = n
static const struct refused_measure {
	uint64_t size;
	struct q2_measure_opts opts;
} refused_measures[] = {
	{0, {.version = 1, .cluster_size = 65536, BITS(16)}},
	{0, {.version = 4, .cluster_size = 65536, BITS(16)}},
	{0, {.version = 3, .cluster_size = 0, BITS(16)}},
	{0, {.version = 3, .cluster_size = 65537, BITS(16)}},
	{0, {.version = 3, .cluster_size = 256, BITS(16)}},
	{0, {.version = 3, .cluster_size = 4 << 20, BITS(16)}},
	{0, {.version = 3, .cluster_size = 65536, BITS(0)}},
	{0, {.version = 3, .cluster_size = 65536, BITS(12)}},
	{0, {.version = 3, .cluster_size = 65536, BITS(128)}},
	{0, {.version = 2, .cluster_size = 65536, BITS(8)}},
	{0, {.version = 2, .cluster_size = 65536, BITS(16), .ext_l2 = true}},
	{0, {.version = 3, .cluster_size = 8192, BITS(16), .ext_l2 = true}},
	{UINT64_MAX, {.version = 3, .cluster_size = 65536, BITS(16)}},
	{UINT64_C(1) << 63, {.version = 3, .cluster_size = 65536, BITS(16)}},
};

START_TEST(measures)
{
	const struct refused_measure *t = &refused_measures[_i];
	struct q2_measure m;
	struct q2_err err = {0};

	ck_assert_int_eq(q2_disk_measure(NULL, t->size, &t->opts, &m, &err),
			 Q2_E_ARG);
	ck_assert_str_ne(err.text, "");
}
END_TEST

START_TEST(forecasts)
{
	static const unsigned bits[] = {3, 65, 128};
	struct q2_guest *g = open_top(Q2_ANY_LAYER);
	struct q2_flatten_cost cost;
	struct q2_err err = {0};

	for (size_t i = 0; i < 3; i++) {
		struct q2_dump_opts opts = {QCOW2, .refcount_bits = bits[i]};

		ck_assert_int_eq(q2_forecast_flatten(g, &opts, 0, &cost, &err),
				 Q2_E_ARG);
	}
	q2_guest_close(g);
}
END_TEST

/* ----------------------------------------------------------- layers, trees */
static enum q2_status count(void *ctx, uint64_t guest, uint64_t length)
{
	uint64_t *n = ctx;

	(void)guest;
	*n += length;
	return Q2_OK;
}

static bool stop(void *ctx, const struct q2_progress *p)
{
	(void)ctx;
	(void)p;
	return true;
}

START_TEST(layers)
{
	struct q2_disk_opts opts = {.chain = true};
	struct q2_disk_layer l;
	struct q2_disk *disk;
	struct q2_err err = {0};
	uint64_t n = 0;

	ck_assert_int_eq(q2_disk_open("top", &opts, &disk, &err), Q2_OK);
	ck_assert(q2_disk_layer(disk, 1, &l) && !q2_disk_layer(disk, 2, &l));
	ck_assert(!q2_disk_found(disk, 10000));
	ck_assert_int_eq(q2_disk_delta(disk, 2, 0, count, &n, &err), Q2_E_ARG);
	ck_assert_int_eq(q2_disk_delta(disk, 0, 2, count, &n, &err), Q2_E_ARG);
	ck_assert_int_eq(q2_disk_delta(disk, 1, 1, count, &n, &err), Q2_OK);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(q2_disk_delta(disk, 0, 1, count, &n, &err), Q2_OK);
	ck_assert_uint_eq(n, 8192);
	q2_disk_close(disk);
	opts.snapshot = "none";
	ck_assert_int_eq(q2_disk_open("top", &opts, &disk, &err), Q2_E_ARG);
}
END_TEST

START_TEST(snapshots)
{
	static const struct q2_survey_opts none = {0};
	struct q2_snapshot_info info;
	struct q2_survey *survey;
	size_t which[] = {0};
	struct q2_err err = {0};
	uint64_t n = 0;

	ck_assert_int_eq(q2_survey_open("base", &none, &survey, &err), Q2_OK);
	ck_assert(!q2_survey_snapshot(survey, 0, &info));
	ck_assert_uint_eq(q2_survey_found(survey, 10000), 0);
	ck_assert_int_eq(q2_survey_delta(survey, 0, Q2_ACTIVE_DISK, count, &n,
					 &err), Q2_E_ARG);
	ck_assert_int_eq(q2_survey_delta(survey, Q2_ACTIVE_DISK, 0, count, &n,
					 &err), Q2_E_ARG);
	ck_assert_int_eq(q2_survey_delta(survey, Q2_ACTIVE_DISK, Q2_ACTIVE_DISK,
					 count, &n, &err), Q2_OK);
	ck_assert_uint_eq(n, 0);
	/* A number that is none frees nothing. */
	ck_assert_int_eq(q2_survey_delete(survey, which, 1, &n, &err), Q2_OK);
	ck_assert_uint_eq(n, 0);
	q2_survey_close(survey);
	q2_survey_close(NULL);
	ck_assert_int_eq(q2_survey_open("none", &none, &survey, &err), Q2_E_IO);
}
END_TEST

START_TEST(guests)
{
	struct q2_guest_opts opts = {.layer = 7};
	struct q2_guest *g;
	struct q2_err err = {0};

	ck_assert_int_eq(q2_guest_open("top", &opts, &g, &err), Q2_E_ARG);
	opts = (struct q2_guest_opts){.layer = Q2_ANY_LAYER, .snapshot = "none"};
	ck_assert_int_eq(q2_guest_open("top", &opts, &g, &err), Q2_E_ARG);
	opts.format = Q2_GUEST_RAW;
	ck_assert_int_eq(q2_guest_open("top", &opts, &g, &err), Q2_E_ARG);
	opts = (struct q2_guest_opts){.layer = Q2_ANY_LAYER, .data_file = "top"};
	ck_assert_int_eq(q2_guest_open("top", &opts, &g, &err), Q2_E_ARG);
	q2_guest_close(NULL);
	g = open_top(Q2_ANY_LAYER);
	ck_assert_str_eq(q2_guest_path(g, 0), "top");
	ck_assert_ptr_nonnull(q2_guest_path(g, 1));
	ck_assert_ptr_null(q2_guest_path(g, 2));
	ck_assert_uint_eq(q2_guest_below(g, "1"), 1);
	ck_assert_uint_eq(q2_guest_below(g, "base"), 1);
	ck_assert_uint_eq(q2_guest_below(g, "./base"), 1);
	ck_assert_uint_eq(q2_guest_below(g, "top"), 0);
	ck_assert_uint_eq(q2_guest_below(g, "2"), 0);
	ck_assert(!q2_guest_reads(g, "new"));
	ck_assert(q2_guest_reads(g, "./top"));
	q2_guest_close(g);
}
END_TEST

/* Whoever asks for an end gets it. */
START_TEST(stopped)
{
	struct q2_inplace_opts job = {.job = Q2_ABSORB, .progress = stop};
	struct q2_inplace_result r;
	struct q2_guest *g = open_top(Q2_ANY_LAYER), *h = open_top(Q2_ANY_LAYER);
	struct q2_read_opts read = {.threads = 1, .progress = stop};
	struct q2_survey_opts survey_opts = {.progress = stop};
	struct q2_survey *survey;
	struct q2_digest digest;
	struct q2_err err = {0};
	bool same;

	ck_assert_int_eq(q2_guest_digest(g, &read, &digest, &err),
			 Q2_E_INTERRUPTED);
	ck_assert_int_eq(q2_guest_compare(g, h, &read, NULL, &same, &err),
			 Q2_E_INTERRUPTED);
	q2_guest_close(g);
	q2_guest_close(h);
	ck_assert_int_eq(q2_survey_open("top", &survey_opts, &survey, &err),
			 Q2_E_INTERRUPTED);
	ck_assert_int_eq(q2_inplace("top", &job, &r, &err), Q2_E_INTERRUPTED);
	/* A cause need not be wanted. */
	ck_assert_int_eq(q2_inplace("none", &job, &r, NULL), Q2_E_IO);
}
END_TEST

/* Two disks that differ: it need not be known where. */
START_TEST(differences)
{
	struct q2_guest *a = open_top(0), *b = open_top(1);
	struct q2_read_opts read = {.threads = 1};
	struct q2_err err = {0};
	bool same = true;

	ck_assert_int_eq(q2_guest_compare(a, b, &read, NULL, &same, &err),
			 Q2_OK);
	ck_assert(!same);
	ck_assert_int_eq(q2_guest_compare(a, a, &read, NULL, &same, &err),
			 Q2_OK);
	ck_assert(same);
	q2_guest_close(a);
	q2_guest_close(b);
}
END_TEST

/* ------------------------------------------------------------- fresh images */
START_TEST(fresh)
{
	char name[2000];
	struct q2_newimage_opts o = {.version = 3, .cluster_bits = 9,
				     .ref_order = 4, .disk_size = 65536,
				     .backing = name,
				     .backing_format = "qcow2"};
	struct q2_budget b = {0};
	struct q2_newimage *w;
	struct q2_err err = {0};

	memset(name, 'n', sizeof(name));
	/* 112 bytes of header, 8 and 8 of the format, 8 of the end mark. */
	name[512 - 136] = '\0';
	ck_assert_int_eq(q2_newimage_open(NULL, &o, &b, &w, &err), Q2_OK);
	q2_newimage_free(w);
	name[512 - 136] = 'n';
	name[512 - 135] = '\0';
	ck_assert_int_eq(q2_newimage_open(NULL, &o, &b, &w, &err), Q2_E_ARG);
	name[512 - 135] = 'n';
	name[1024] = '\0';
	o.cluster_bits = 16;
	ck_assert_int_eq(q2_newimage_open(NULL, &o, &b, &w, &err), Q2_E_ARG);
	name[1023] = '\0';
	ck_assert_int_eq(q2_newimage_open(NULL, &o, &b, &w, &err), Q2_OK);
	q2_newimage_free(w);
	o.backing_format = "a format of more than fifteen characters";
	ck_assert_int_eq(q2_newimage_open(NULL, &o, &b, &w, &err), Q2_E_ARG);
	o.backing = NULL;
	o.cluster_bits = 9;
	o.disk_size = UINT64_C(1) << 60;
	ck_assert_int_eq(q2_newimage_open(NULL, &o, &b, &w, &err), Q2_E_ARG);
	ck_assert_uint_eq(b.used, 0);
}
END_TEST

/* ------------------------------------------------------------------- readers */
static const struct reader {
	const char *text;
	bool good;
	unsigned major, minor;
} readers[] = {
	{"qemu", true, 0xffff, 0xffff}, {"qemu-2", true, 2, 0},
	{"qemu-2.12", true, 2, 12},	{"qemu-2.12.1", true, 2, 12},
	{"qemu-", false, 0, 0},		{"qemu-x", false, 0, 0},
	{"qemu-2.", false, 0, 0},	{"qemu-2.x", false, 0, 0},
	{"qemu-2.12.", false, 0, 0},	{"qemu-2.12.1.1", false, 0, 0},
	{"qemu-12345", false, 0, 0},	{"qemu-2.12345", false, 0, 0},
	{"qemu-2 ", false, 0, 0},	{"qem", false, 0, 0},
	{"qemux", false, 0, 0},		{"", false, 0, 0},
	{"qemu-/", false, 0, 0},	{"qemu-:", false, 0, 0},
};

START_TEST(programs)
{
	const struct reader *t = &readers[_i];
	struct q2_program p;
	unsigned major, minor;
	size_t i;

	ck_assert(q2_program_parse(t->text, &i, &major, &minor) == t->good);
	if (!t->good)
		return;
	ck_assert(q2_program_at(i, 0, &p));
	ck_assert_str_eq(p.name, "qemu");
	ck_assert_uint_eq(major, t->major);
	ck_assert_uint_eq(minor, t->minor);
	ck_assert_uint_eq(q2_program_stops(i, major, minor, 0), 0);
	ck_assert_uint_eq(q2_program_stops(1000, major, minor, ~0u), 0);
	ck_assert(!q2_program_at(1000, 0, &p));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("refusals");
	TCase *tc = tcase_create("files"), *none = tcase_create("none");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, dumps, 0,
			    sizeof(refused_dumps) / sizeof(*refused_dumps));
	tcase_add_test(tc, one_layer);
	tcase_add_test(tc, forecasts);
	tcase_add_test(tc, layers);
	tcase_add_test(tc, snapshots);
	tcase_add_test(tc, guests);
	tcase_add_test(tc, stopped);
	tcase_add_test(tc, differences);
	tcase_add_loop_test(none, measures, 0,
			    sizeof(refused_measures) / sizeof(*refused_measures));
	tcase_add_test(none, fresh);
	tcase_add_loop_test(none, programs, 0, sizeof(readers) / sizeof(*readers));
	suite_add_tcase(s, tc);
	suite_add_tcase(s, none);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
