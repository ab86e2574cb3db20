/*
 * test_journal.c - applying under a journal, and what it says after each end.
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
#include "../support/testplan.h"

static char folder[] = "/tmp/q2journal-XXXXXX";
static char path[64];
static char image[64];
static struct test_case c;

static void set_up(void)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/journal", folder);
	snprintf(image, sizeof(image), "%s/image", folder);
	test_case_make(&c, 5, 14);
}

static void tear_down(void)
{
	(void)unlink(path);
	(void)unlink(image);
	ck_assert_int_eq(rmdir(folder), 0);
	test_case_free(&c);
}

static bool exists(const char *name)
{
	return access(name, F_OK) == 0;
}

static enum q2_plan_state state(void)
{
	struct q2_plan_info info;
	struct q2_plan *plan;

	ck_assert_int_eq(q2_plan_load(path, 0, &plan, &info, NULL), Q2_OK);
	q2_plan_free(plan);
	return info.state;
}

/* A plan that frees what has to be saved is not applied without that. */
START_TEST(test_orphans)
{
	struct q2_export range = {0, 100, false};
	struct q2_apply_opts opts = {.orphans = path};
	struct q2_io *io = test_open(&c.before);
	enum q2_outcome out;
	struct stat sb;

	ck_assert_int_eq(q2_exports_push(&c.plan->exports, &c.plan->budget, range, NULL), Q2_OK);
	ck_assert_uint_eq(q2_plan_orphans(c.plan), 100);
	ck_assert_int_eq(q2_journal_apply(c.plan, io, NULL, NULL, &out, NULL), Q2_E_REFUSED);
	ck_assert_int_eq(out, Q2_OUT_UNTOUCHED);
	ck_assert(test_holds(io, &c.before));
	ck_assert_int_eq(q2_journal_apply(c.plan, io, NULL, &opts, &out, NULL), Q2_OK);
	ck_assert(test_holds(io, &c.after));
	ck_assert_int_eq(stat(path, &sb), 0);
	ck_assert_int_eq(sb.st_size % 4096, 100);
	q2_io_close(io);
}
END_TEST

START_TEST(test_to_and_fro)
{
	struct q2_io *io = test_open(&c.before);
	enum q2_outcome out;

	ck_assert_int_eq(q2_journal_apply(c.plan, io, path, NULL, &out, NULL),
			 Q2_OK);
	ck_assert_int_eq(out, Q2_OUT_DONE);
	ck_assert(test_holds(io, &c.after));
	ck_assert_int_eq(state(), Q2_STATE_FINISHED);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(q2_journal_undo(path, io, NULL, &out, NULL),
				 Q2_OK);
		ck_assert_int_eq(out, Q2_OUT_DONE);
		ck_assert(test_holds(io, &c.before));
		ck_assert_int_eq(state(), Q2_STATE_UNDONE);
		/* Twice is as good as once, and takes no room in the file. */
		ck_assert_int_eq(q2_journal_undo(path, io, NULL, &out, NULL),
				 Q2_OK);
		ck_assert_int_eq(q2_journal_redo(path, io, NULL, &out, NULL),
				 Q2_OK);
		ck_assert(test_holds(io, &c.after));
		ck_assert_int_eq(state(), Q2_STATE_FINISHED);
	}
	q2_io_close(io);
}
END_TEST

START_TEST(test_existing)
{
	struct q2_io *io = test_open(&c.before);
	struct q2_err err = {0};
	enum q2_outcome out;

	ck_assert_int_eq(q2_plan_save(c.plan, path, Q2_PLAN_REVIEW, false, NULL),
			 Q2_OK);
	ck_assert_int_eq(q2_journal_apply(c.plan, io, path, NULL, &out, &err),
			 Q2_E_IO);
	ck_assert_int_eq(out, Q2_OUT_UNTOUCHED);
	ck_assert(test_holds(io, &c.before));
	ck_assert(exists(path));
	/* A plan is not a journal. */
	ck_assert_int_eq(q2_journal_undo(path, io, NULL, &out, NULL), Q2_E_ARG);
	ck_assert_int_eq(out, Q2_OUT_UNTOUCHED);
	q2_io_close(io);
}
END_TEST

/* What is refused before the first write leaves no journal. */
START_TEST(test_changed)
{
	struct test_image other = c.before;
	struct q2_io *io;
	enum q2_outcome out;

	other.bytes[0] ^= 1;
	io = test_open(&other);
	ck_assert_int_eq(q2_journal_apply(c.plan, io, path, NULL, &out, NULL),
			 Q2_E_CHANGED);
	ck_assert_int_eq(out, Q2_OUT_UNTOUCHED);
	ck_assert(!exists(path));
	ck_assert(test_holds(io, &other));
	q2_io_close(io);
}
END_TEST

/* The k-th write, flush or resize fails; once, or for good. */
START_TEST(test_failures)
{
	static const enum test_op ops[] = {TEST_WRITE, TEST_FLUSH, TEST_RESIZE};
	enum test_op op = ops[_i / 2];
	unsigned taken_back = 0, unfinished = 0;

	for (unsigned k = 1;; k++) {
		struct q2_io *base = test_open(&c.before);
		struct test_io t;
		enum q2_outcome out;
		enum q2_status st;

		test_io_open(&t, base);
		t.faults.fail_at[op] = k;
		t.faults.stay_broken = _i % 2;
		st = q2_journal_apply(c.plan, &t.io, path, NULL, &out, NULL);
		if (st == Q2_OK) {
			q2_io_close(&t.io);
			q2_io_close(base);
			break;
		}
		ck_assert_int_ne(out, Q2_OUT_DONE);
		if (out == Q2_OUT_UNFINISHED) {
			unfinished++;
			ck_assert_int_eq(state(), Q2_STATE_APPLYING);
			ck_assert_int_eq(q2_journal_undo(path, base, NULL, &out,
							 NULL),
					 Q2_OK);
			ck_assert_int_eq(state(), Q2_STATE_UNDONE);
			(void)unlink(path);
		} else {
			taken_back += out == Q2_OUT_TAKEN_BACK;
			ck_assert(!exists(path));
		}
		ck_assert(test_holds(base, &c.before));
		q2_io_close(&t.io);
		q2_io_close(base);
	}
	/* A file that cannot be made longer is as it was. */
	ck_assert_uint_gt(_i % 2 && op != TEST_RESIZE ? unfinished : taken_back,
			  0);
}
END_TEST

static bool stop_at(void *ctx, const struct q2_progress *p)
{
	return p->done == *(const uint64_t *)ctx;
}

START_TEST(test_interrupts)
{
	for (uint64_t k = 0; k < c.plan->edits.n; k++) {
		struct q2_apply_opts opts = {.progress = stop_at, .ctx = &k};
		struct q2_io *io = test_open(&c.before);
		enum q2_outcome out;

		ck_assert_int_eq(q2_journal_apply(c.plan, io, path, &opts, &out,
						  NULL),
				 Q2_E_INTERRUPTED);
		ck_assert_int_eq(out, k ? Q2_OUT_TAKEN_BACK : Q2_OUT_UNTOUCHED);
		ck_assert(!exists(path));
		ck_assert(test_holds(io, &c.before));
		/* Undoing stays where it was stopped; the journal says so. */
		ck_assert_int_eq(q2_journal_apply(c.plan, io, path, NULL, &out,
						  NULL),
				 Q2_OK);
		ck_assert_int_eq(q2_journal_undo(path, io, &opts, &out, NULL),
				 Q2_E_INTERRUPTED);
		ck_assert_int_eq(out,
				 k ? Q2_OUT_UNFINISHED : Q2_OUT_UNTOUCHED);
		ck_assert_int_eq(state(), k ? Q2_STATE_UNDOING
					    : Q2_STATE_FINISHED);
		if (k % 2) {
			ck_assert_int_eq(q2_journal_undo(path, io, NULL, &out,
							 NULL),
					 Q2_OK);
			ck_assert(test_holds(io, &c.before));
		} else {
			ck_assert_int_eq(q2_journal_redo(path, io, NULL, &out,
							 NULL),
					 Q2_OK);
			ck_assert(test_holds(io, &c.after));
		}
		(void)unlink(path);
		q2_io_close(io);
	}
}
END_TEST

static void set_time(time_t when)
{
	struct timespec times[2] = {{when, 0}, {when, 0}};

	ck_assert_int_eq(utimensat(AT_FDCWD, image, times, 0), 0);
}

/* On a file its time tells that somebody wrote to it, although no byte that
 * the plan knows of differs. */
START_TEST(test_time)
{
	int fd = open(image, O_WRONLY | O_CREAT, 0600);
	struct q2_err err = {0};
	enum q2_outcome out;
	struct stat sb;
	struct q2_io *io;

	ck_assert_int_eq(write(fd, c.before.bytes, (size_t)c.before.size),
			 (ssize_t)c.before.size);
	close(fd);
	set_time(1000000000);
	ck_assert_int_eq(q2_io_open_rw(image, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_journal_apply(c.plan, io, path, NULL, &out, NULL),
			 Q2_OK);
	ck_assert_int_eq(stat(image, &sb), 0);
	set_time(sb.st_mtim.tv_sec + 1);
	ck_assert_int_eq(q2_journal_undo(path, io, NULL, &out, &err),
			 Q2_E_CHANGED);
	ck_assert_int_eq(out, Q2_OUT_UNTOUCHED);
	ck_assert_int_eq(q2_journal_redo(path, io, NULL, &out, NULL),
			 Q2_E_CHANGED);
	ck_assert_ptr_nonnull(strstr(err.text, "touch -d @"));
	ck_assert_int_eq(state(), Q2_STATE_FINISHED);
	ck_assert_int_eq(utimensat(AT_FDCWD, image,
				   (struct timespec[2]){sb.st_mtim, sb.st_mtim},
				   0),
			 0);
	ck_assert_int_eq(q2_journal_undo(path, io, NULL, &out, NULL), Q2_OK);
	ck_assert(test_holds(io, &c.before));
	q2_io_close(io);
	ck_assert_int_eq(stat(image, &sb), 0);
	ck_assert_int_eq(sb.st_size, (off_t)c.before.size);
	/* The time is that of before, so that earlier journals fit again. */
	ck_assert_int_eq(sb.st_mtim.tv_sec, 1000000000);
	ck_assert_int_eq(sb.st_mtim.tv_nsec, 0);
}
END_TEST

START_TEST(test_no_journal)
{
	struct q2_io *base = test_open(&c.before);
	enum q2_outcome out;
	struct test_io t;

	ck_assert_int_eq(q2_journal_apply(c.plan, base, NULL, NULL, &out, NULL),
			 Q2_OK);
	ck_assert_int_eq(out, Q2_OUT_DONE);
	ck_assert(test_holds(base, &c.after));
	q2_io_close(base);
	base = test_open(&c.before);
	test_io_open(&t, base);
	t.faults.fail_at[TEST_WRITE] = 3;
	ck_assert_int_eq(q2_journal_apply(c.plan, &t.io, NULL, NULL, &out, NULL),
			 Q2_E_IO);
	ck_assert_int_eq(out, Q2_OUT_TAKEN_BACK);
	ck_assert(test_holds(base, &c.before));
	q2_io_close(&t.io);
	q2_io_close(base);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("journal");
	TCase *t = tcase_create("journal");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_orphans);
	tcase_add_test(t, test_to_and_fro);
	tcase_add_test(t, test_existing);
	tcase_add_test(t, test_changed);
	tcase_add_loop_test(t, test_failures, 0, 6);
	tcase_add_test(t, test_interrupts);
	tcase_add_test(t, test_time);
	tcase_add_test(t, test_no_journal);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
