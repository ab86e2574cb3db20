/*
 * test_newimage.c - images written from start to end: whole, interrupted, and where
 * writing or memory fails; and the journal that tells how far it was.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/testio.h"
#include "base/budget.h"
#include "dump/journal.h"
#include "dump/newimage.h"

#define CLUSTER 512u
#define CLUSTERS 1200u

static const struct q2_newimage_opts forms[] = {
	/* 64 clusters to a refcount block, 64 to an L2 table */
	{.version = 3, .cluster_bits = 9, .ref_order = 6, .bitmaps = true,
	 .disk_size = CLUSTERS * CLUSTER},
	/* refcounts of one bit, so that streams share no cluster */
	{.version = 3, .cluster_bits = 9, .ref_order = 0,
	 .disk_size = CLUSTERS * CLUSTER},
	{.version = 2, .cluster_bits = 9, .ref_order = 4,
	 .disk_size = CLUSTERS * CLUSTER, .backing = "base.raw",
	 .backing_format = "raw"},
};

#define FORMS (sizeof(forms) / sizeof(*forms))

static enum q2_status ones(void *ctx, uint8_t *buf, size_t len, uint64_t off,
			   struct q2_err *err)
{
	(void)ctx;
	(void)off;
	(void)err;
	memset(buf, 0xff, len);
	return Q2_OK;
}

/* Some of each kind, by the number of the cluster. */
static enum q2_status add(struct q2_newimage *w, uint64_t c, bool zeros,
			  struct q2_err *err)
{
	/* The stream of a DEFLATE block, as it is stored, of one byte; it is padded
	 * to lie over the ends of clusters. */
	static uint8_t stream[300] = {1, 1, 0, 0xfe, 0xff, 'x'};
	uint8_t bytes[CLUSTER];

	memset(bytes, (int)(c % 251 + 1), sizeof(bytes));
	if (c % 5 == 0)
		return q2_newimage_compressed(w, c, stream, sizeof(stream), err);
	if (c % 7 == 0 && zeros)
		return q2_newimage_zero(w, c, err);
	return q2_newimage_data(w, c, c % 11 ? bytes : NULL, 0, 0, err);
}

static enum q2_status fill(struct q2_newimage *w,
			   const struct q2_newimage_opts *o, uint64_t from,
			   struct q2_err *err)
{
	struct q2_newbitmap map = {.name = "map", .name_len = 3, .gran = 9,
				   .enabled = true, .disk_size = o->disk_size,
				   .read = ones};
	enum q2_status st = Q2_OK;

	for (uint64_t c = from; c < CLUSTERS && st == Q2_OK; c++)
		st = add(w, c, o->version == 3, err);
	if (st == Q2_OK && o->bitmaps)
		st = q2_newimage_bitmap(w, &map, err);
	return st == Q2_OK ? q2_newimage_finish(w, err) : st;
}

static enum q2_status make(struct q2_io *io, const struct q2_newimage_opts *o,
			   struct q2_budget *budget, uint64_t *length,
			   struct q2_err *err)
{
	struct q2_newimage *w;
	enum q2_status st = q2_newimage_open(io, o, budget, &w, err);

	if (st != Q2_OK)
		return st;
	st = fill(w, o, 0, err);
	*length = q2_newimage_length(w);
	q2_newimage_free(w);
	return st;
}

static struct q2_io *memory(void)
{
	struct q2_io *io;

	ck_assert_int_eq(q2_io_memory_rw("", 0, 0, &io, NULL), Q2_OK);
	return io;
}

/* What was counted is what is written, and that is clean. */
START_TEST(test_whole)
{
	struct q2_check_opts opts = {0};
	struct q2_check_result r = {0};
	struct q2_budget budget = {0};
	uint64_t counted, length;
	struct q2_io *io = memory();

	ck_assert_int_eq(make(NULL, &forms[_i], &budget, &counted, NULL), Q2_OK);
	ck_assert_int_eq(make(io, &forms[_i], &budget, &length, NULL), Q2_OK);
	ck_assert_uint_eq(budget.used, 0);
	ck_assert_uint_eq(length, counted);
	ck_assert_uint_eq(io->size, length);
	ck_assert_int_eq(q2_check(io, &opts, &r, NULL), Q2_OK);
	ck_assert_int_eq(r.verdict, Q2_CLEAN);
	ck_assert(!r.partial);
	q2_io_close(io);
}
END_TEST

/* Whichever write fails is told, and nothing after it counts as done. */
START_TEST(test_no_writing)
{
	enum test_op op = _i % 2 ? TEST_FLUSH : TEST_WRITE;
	unsigned last = 0;

	for (unsigned k = 1; last == 0; k++) {
		struct q2_budget budget = {0};
		struct q2_io *base = memory();
		struct q2_err err = {0};
		struct test_io t;
		uint64_t length;
		enum q2_status st;

		test_io_open(&t, base);
		t.faults.fail_at[op] = k;
		st = make(&t.io, &forms[_i / 2], &budget, &length, &err);
		ck_assert_uint_eq(budget.used, 0);
		if (t.done[op] < k) {
			ck_assert_int_eq(st, Q2_OK);
			last = k;
		} else {
			ck_assert_int_eq(st, Q2_E_IO);
			ck_assert_str_ne(err.text, "");
		}
		q2_io_close(&t.io);
		q2_io_close(base);
	}
	ck_assert_uint_ge(last, 2);
}
END_TEST

START_TEST(test_no_memory)
{
	enum q2_status st = Q2_E_BUDGET;

	for (uint64_t limit = 1; st != Q2_OK; limit += 97 + limit / 64) {
		struct q2_budget budget = {.limit = limit};
		struct q2_io *io = memory();
		uint64_t length;

		st = make(io, &forms[_i], &budget, &length, NULL);
		ck_assert(st == Q2_OK || st == Q2_E_BUDGET);
		ck_assert_uint_eq(budget.used, 0);
		ck_assert_uint_le(budget.peak, limit);
		q2_io_close(io);
	}
}
END_TEST

/* Saved after each of some clusters, it goes on to the same bytes; but not from a
 * state that is too short, too long, or of a file that is shorter. */
START_TEST(test_go_on)
{
	static const uint64_t at[] = {0, 1, 5, 63, 64, 65, 66, 300, 1199, 1200};
	struct q2_budget budget = {0};
	struct q2_io *whole = memory();
	uint64_t length;

	ck_assert_int_eq(make(whole, &forms[_i], &budget, &length, NULL), Q2_OK);
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		struct q2_io *io = memory();
		struct q2_newimage *w;
		struct q2_buf state = {0};
		uint64_t end;

		ck_assert_int_eq(q2_newimage_open(io, &forms[_i], &budget, &w,
						  NULL), Q2_OK);
		for (uint64_t c = 0; c < at[i]; c++)
			ck_assert_int_eq(add(w, c, forms[_i].version == 3, NULL),
					 Q2_OK);
		ck_assert_int_eq(q2_newimage_save(w, &state, NULL), Q2_OK);
		ck_assert_uint_le(state.n, q2_newimage_state(w));
		q2_newimage_free(w);
		for (size_t n = 0; n <= state.n; n += n + 20 < state.n ? 19 : 1) {
			ck_assert_int_eq(q2_newimage_open(io, &forms[_i],
							  &budget, &w, NULL),
					 Q2_OK);
			ck_assert_msg(q2_newimage_restore(
					      w, (uint8_t *)state.at, n,
					      UINT64_MAX, &end) ==
					      (n == state.n),
				      "%zu of %zu", n, state.n);
			if (n < state.n)
				q2_newimage_free(w);
		}
		ck_assert_uint_eq(end, io->size);
		ck_assert_int_eq(fill(w, &forms[_i], at[i], NULL), Q2_OK);
		q2_newimage_free(w);
		ck_assert_uint_eq(io->size, whole->size);
		ck_assert_mem_eq(q2_io_memory_bytes(io),
				 q2_io_memory_bytes(whole), (size_t)io->size);
		ck_assert_int_eq(q2_newimage_open(io, &forms[_i], &budget, &w,
						  NULL), Q2_OK);
		ck_assert(!q2_newimage_restore(w, (uint8_t *)state.at, state.n,
					       end - 1, &end));
		q2_newimage_free(w);
		q2_buf_add(&state, "", 1);
		ck_assert_int_eq(q2_newimage_open(io, &forms[_i], &budget, &w,
						  NULL), Q2_OK);
		ck_assert(!q2_newimage_restore(w, (uint8_t *)state.at, state.n,
					       UINT64_MAX, &end));
		q2_newimage_free(w);
		q2_buf_free(&state);
		q2_io_close(io);
	}
	ck_assert_uint_eq(budget.used, 0);
	q2_io_close(whole);
}
END_TEST

/* A slot that the L1 table does not have; a table of refcounts larger than readers
 * take; a cluster that the disk does not have. */
START_TEST(test_limits)
{
	struct q2_budget budget = {0};
	struct q2_buf state = {0};
	struct q2_io *io = memory();
	struct q2_newimage *w;
	struct q2_append a = {0};
	struct q2_err err = {0};
	uint64_t end, table;
	uint32_t clusters;

	ck_assert_int_eq(q2_newimage_open(io, &forms[0], &budget, &w, NULL),
			 Q2_OK);
	ck_assert_int_eq(add(w, CLUSTERS + 100, true, &err), Q2_E_RANGE);
	ck_assert_int_eq(q2_newimage_save(w, &state, NULL), Q2_OK);
	q2_newimage_free(w);
	/* The slot stands after the two numbers and the two blocks. */
	state.at[16 + 2 * CLUSTER + 7] = 100;
	memset(state.at + 16 + 2 * CLUSTER, 0, 7);
	for (int i = 0; i < 100 * 8; i++)
		q2_buf_char(&state, 0);
	ck_assert_int_eq(q2_newimage_open(io, &forms[0], &budget, &w, NULL),
			 Q2_OK);
	ck_assert(!q2_newimage_restore(w, (uint8_t *)state.at, state.n,
				       UINT64_MAX, &end));
	q2_newimage_free(w);
	q2_buf_free(&state);
	q2_io_close(io);

	ck_assert_int_eq(q2_append_open(&a, NULL, 9, 6, &budget, NULL), Q2_OK);
	err = (struct q2_err){0};
	a.block = 1 << 20;
	a.end = a.block << 6 << 9;
	ck_assert_int_eq(q2_append_finish(&a, NULL, 0, &table, &clusters, &err),
			 Q2_E_UNSUPPORTED);
	ck_assert_ptr_nonnull(strstr(err.text, "refcount table"));
	q2_append_free(&a);
	q2_append_free(&a);
	ck_assert_uint_eq(budget.used, 0);
}
END_TEST

/* ------------------------------------------------------------------ journal */
static char dir[] = "/tmp/q2-test-newimage-XXXXXX";
static char target_path[100], journal_path[150];
static const struct q2_journal_key key = {0x1234567, UINT64_C(1) << 40};

#define STATE "the state of the writer\n, twice"
#define FAR (UINT64_C(100) << 20)

static void put_file(const char *bytes, size_t n)
{
	int fd = open(journal_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	close(fd);
}

static size_t get_file(char *bytes, size_t room)
{
	int fd = open(journal_path, O_RDONLY);
	ssize_t n = read(fd, bytes, room);

	ck_assert_int_ge(n, 1);
	close(fd);
	return (size_t)n;
}

/* What it says when it is opened; UINT64_MAX: it is refused. */
static uint64_t told(struct q2_journal **j, const struct q2_journal_key *of,
		     unsigned flags)
{
	enum q2_status st = q2_journal_open(target_path, of, flags, j, NULL);

	ck_assert(st == Q2_OK || st == Q2_E_REFUSED);
	return st == Q2_OK ? q2_journal_done(*j) : UINT64_MAX;
}

/* Cut anywhere, or with a bit that is another: it tells of what was noted, with what
 * was noted then, or of less. */
static void try_all(const char *bytes, size_t n, uint64_t done, uint64_t before,
		    bool state)
{
	static char other[4096];

	for (size_t i = 0; i <= 9 * n; i++) {
		struct q2_journal *j = NULL;
		uint64_t now;
		size_t len;

		memcpy(other, bytes, n);
		if (i >= n) {
			char *c = &other[(i - n) / 8 % n];

			*c = (char)(*c ^ 1 << i % 8);
		}
		put_file(other, i < n ? i : n);
		now = told(&j, &key, 0);
		if (i == n && j)
			ck_abort_msg("a bit of the head was ignored");
		if (now != UINT64_MAX) {
			ck_assert(now == done || now == before || now == 0);
			if (state && now == done) {
				ck_assert_ptr_nonnull(q2_journal_state(j, &len));
				ck_assert_uint_eq(len, sizeof(STATE));
				ck_assert_mem_eq(q2_journal_state(j, &len), STATE,
						 len);
			} else {
				ck_assert_ptr_null(q2_journal_state(j, &len));
			}
		}
		q2_journal_close(j, false);
	}
}

START_TEST(test_journal)
{
	struct q2_journal_key another = key;
	struct q2_journal *j = NULL;
	struct q2_target *t;
	static char bytes[4096];
	size_t n, len;

	ck_assert_int_eq(q2_target_open(target_path, Q2_TARGET_NO_SYNC, &t, NULL),
			 Q2_OK);
	/* There is none: only whoever begins anew gets one. */
	ck_assert_uint_eq(told(&j, &key, 0), UINT64_MAX);
	ck_assert_uint_eq(told(&j, &key, Q2_JOURNAL_REPLACE), 0);
	ck_assert_int_eq(q2_journal_note(j, t, 1, NULL), Q2_OK);
	ck_assert_int_eq(q2_journal_note(j, t, FAR, NULL), Q2_OK);
	ck_assert_int_eq(q2_journal_note(j, t, 3 * FAR, NULL), Q2_OK);
	q2_journal_close(j, false);
	n = get_file(bytes, sizeof(bytes));
	ck_assert_uint_eq(told(&j, &key, 0), 3 * FAR);
	q2_journal_close(j, false);
	try_all(bytes, n, 3 * FAR, FAR, false);
	/* It is of other work. */
	put_file(bytes, n);
	another.size = FAR;
	ck_assert_uint_eq(told(&j, &another, 0), UINT64_MAX);
	ck_assert_uint_eq(told(&j, &another, Q2_JOURNAL_REPLACE), 0);
	ck_assert_int_eq(q2_journal_keep(j, t, FAR, (const uint8_t *)STATE,
					 sizeof(STATE), NULL), Q2_OK);
	q2_journal_close(j, false);
	ck_assert_uint_eq(told(&j, &another, 0), FAR);
	ck_assert_ptr_nonnull(q2_journal_state(j, &len));
	ck_assert_int_eq(q2_journal_forget(j, NULL), Q2_OK);
	ck_assert_ptr_null(q2_journal_state(j, &len));
	q2_journal_close(j, false);
	ck_assert_uint_eq(told(&j, &another, 0), 0);
	q2_journal_close(j, true);
	ck_assert_int_ne(access(journal_path, F_OK), 0);

	ck_assert_uint_eq(told(&j, &key, Q2_JOURNAL_FRESH), 0);
	ck_assert_int_eq(q2_journal_keep(j, t, FAR, (const uint8_t *)STATE,
					 sizeof(STATE), NULL), Q2_OK);
	q2_journal_close(j, false);
	n = get_file(bytes, sizeof(bytes));
	try_all(bytes, n, FAR, 0, true);
	q2_target_close(t);
	unlink(journal_path);
}
END_TEST

/* Only a journal is removed as one. */
START_TEST(test_discard)
{
	static const char *const not[] = {"", "qcow2-dump", "qcow2-dump 2 of mine"};
	struct q2_journal *j;

	for (size_t i = 0; i < 3; i++) {
		put_file(not[i], strlen(not[i]));
		q2_journal_discard(target_path);
		ck_assert_int_eq(access(journal_path, F_OK), 0);
	}
	ck_assert_uint_eq(told(&j, &key, Q2_JOURNAL_FRESH), 0);
	q2_journal_close(j, false);
	q2_journal_discard(target_path);
	ck_assert_int_ne(access(journal_path, F_OK), 0);
	q2_journal_discard(target_path);
	/* More than any journal has. */
	put_file("qcow2-dump 1 ", 13);
	ck_assert_int_eq(truncate(journal_path, (off_t)300 << 20), 0);
	ck_assert_uint_eq(told(&j, &key, 0), UINT64_MAX);
	unlink(journal_path);
	q2_journal_close(NULL, true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("newimage");
	TCase *t = tcase_create("newimage");
	SRunner *r = srunner_create(s);
	int failed;

	if (mkdtemp(dir) == NULL)
		return EXIT_FAILURE;
	snprintf(target_path, sizeof(target_path), "%s/new", dir);
	snprintf(journal_path, sizeof(journal_path), "%s.part.journal",
		 target_path);
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_whole, 0, FORMS);
	tcase_add_loop_test(t, test_no_writing, 0, 2 * FORMS);
	tcase_add_loop_test(t, test_no_memory, 0, FORMS);
	tcase_add_loop_test(t, test_go_on, 0, FORMS);
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_journal);
	tcase_add_test(t, test_discard);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	rmdir(dir);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
