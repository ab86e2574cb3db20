/*
 * test_files.c - files that others change, targets of every kind, and what is asked
 * for at the edges.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/budget.h"
#include "io/file.h"
#include "io/target.h"

static char dir[] = "/tmp/q2-test-files-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[128];

	ck_assert_int_lt(snprintf(path, sizeof(path), "%s/%s", dir, name), 128);
	return path;
}

static int make_file(const char *name, const void *bytes, size_t n)
{
	int fd = open(in_dir(name), O_RDWR | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	return fd;
}

START_TEST(test_limits)
{
	struct q2_budget budget = {0};
	struct q2_io *memory, *over, *fixed;

	ck_assert_int_eq(q2_io_memory("abcd", 4, &fixed, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_memory_rw("abcd", 4, 3, &memory, NULL), Q2_E_IO);
	ck_assert_ptr_null(memory);
	ck_assert_int_eq(q2_io_memory_rw("abcd", 4, 4, &memory, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(memory, "e", 1, 4, NULL), Q2_E_IO);
	ck_assert_int_eq(q2_pwrite(memory, "e", 1, UINT64_MAX, NULL), Q2_E_RANGE);
	ck_assert_int_eq(q2_pwrite(memory, "ef", 2, UINT64_MAX, NULL),
			 Q2_E_RANGE);
	ck_assert_int_eq(q2_pwrite(memory, "", 0, 7, NULL), Q2_OK);
	ck_assert_uint_eq(q2_io_size(memory), 4);
	ck_assert_mem_eq(q2_io_memory_bytes(memory), "abcd", 4);
	/* Not for reading only, not outside, not where there is no way to do it. */
	ck_assert_int_eq(q2_io_discard(fixed, (struct q2_range){0, 4}, NULL),
			 Q2_E_ARG);
	ck_assert_int_eq(q2_io_discard(memory, (struct q2_range){0, 5}, NULL),
			 Q2_E_ARG);
	ck_assert_int_eq(q2_io_discard(memory, (struct q2_range){0, 4}, NULL),
			 Q2_E_UNSUPPORTED);
	ck_assert_int_eq(q2_io_overlay(memory, &budget, &over, NULL), Q2_OK);
	/* A file that the overlay lies over, and that is shorter since. */
	ck_assert_int_eq(q2_resize(memory, 1, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(over, "x", 1, 0, NULL), Q2_E_RANGE);
	q2_io_close(over);
	ck_assert_uint_eq(budget.used, 0);
	q2_io_close(memory);
	q2_io_close(fixed);
}
END_TEST

/* The patch lies before what the base has, in it, behind it, and where nothing is. */
START_TEST(test_patched)
{
	static const struct {
		uint64_t patch, from;
		struct q2_range data; /* the first from there on */
	} at[] = {
		{0, 0, {0, 4}},	      {4096, 0, {4096, 4}},
		{8192, 8192, {8192, 4096}}, {16384, 0, {8192, 4096}},
		{16384, 12288, {16384, 4}}, {0, 12288, {16384, 0}},
	};
	char block[4096];
	struct q2_io *base;
	struct q2_patched p;
	int fd;

	memset(block, 'x', sizeof(block));
	fd = make_file("holes", "", 0);
	ck_assert_int_eq(pwrite(fd, block, sizeof(block), 8192), 4096);
	ck_assert_int_eq(ftruncate(fd, 16384), 0);
	close(fd);
	ck_assert_int_eq(q2_io_open(in_dir("holes"), &base, NULL), Q2_OK);
	for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
		struct q2_range r;
		char four[4];

		q2_io_patched(&p, base, at[i].patch, (const uint8_t *)"abcd", 4);
		ck_assert_int_eq(q2_pread(&p.io, four, 4, at[i].patch, NULL),
				 Q2_OK);
		ck_assert_mem_eq(four, "abcd", 4);
		r = q2_io_data(&p.io, at[i].from);
		ck_assert_uint_eq(r.len, at[i].data.len);
		if (r.len)
			ck_assert_uint_eq(r.start, at[i].data.start);
	}
	/* None of the patch is read. */
	ck_assert_int_eq(q2_pread(&p.io, block, 4, 8192, NULL), Q2_OK);
	ck_assert_mem_eq(block, "xxxx", 4);
	q2_io_close(base);
	/* A base that cannot be read any more. */
	ck_assert_int_eq(q2_io_open(in_dir("holes"), &base, NULL), Q2_OK);
	ck_assert_int_eq(truncate(in_dir("holes"), 0), 0);
	q2_io_patched(&p, base, 0, (const uint8_t *)"abcd", 4);
	ck_assert_int_eq(q2_pread(&p.io, block, 4, 0, NULL), Q2_E_IO);
	q2_io_close(base);
	unlink(in_dir("holes"));
}
END_TEST

/* What was added since it was opened does not belong to it. */
START_TEST(test_longer)
{
	int fd = make_file("image", "", 0);
	struct q2_range r;
	struct q2_io *io;

	ck_assert_int_eq(ftruncate(fd, 65536), 0);
	ck_assert_int_eq(q2_io_open(in_dir("image"), &io, NULL), Q2_OK);
	ck_assert_int_eq(pwrite(fd, "more", 4, 1 << 20), 4);
	r = q2_io_data(io, 0);
	/* A file system without holes says that all is data. */
	ck_assert(r.len == 0 || q2_end(r) == 65536);
	close(fd);
	q2_io_close(io);
	unlink(in_dir("image"));
}
END_TEST

START_TEST(test_times)
{
	int fd = make_file("image", "image", 5);
	struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1234, .tv_nsec = 5}};
	uint64_t when = 0, facts = 0;
	struct q2_io *io;
	struct stat sb;
	int ends[2];

	ck_assert_int_eq(futimens(fd, old), 0);
	close(fd);
	ck_assert_int_eq(q2_io_open(in_dir("image"), &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_changed(io, &when, NULL), Q2_OK);
	ck_assert_uint_eq(when, UINT64_C(1234000000005));
	/* 0 is not a time. */
	ck_assert_int_eq(q2_io_set_changed(io, 0, NULL), Q2_OK);
	ck_assert_int_eq(stat(in_dir("image"), &sb), 0);
	ck_assert_int_eq(sb.st_mtim.tv_sec, 1234);
	ck_assert(q2_io_facts(io, 1, &facts));
	ck_assert_ptr_null(q2_io_unseen(io));
	q2_io_close(io);
	/* What is no file has no facts, and what is none of ours no traces. */
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert(!q2_fd_facts(ends[0], 1, &facts));
	close(ends[0]);
	close(ends[1]);
	ck_assert_int_eq(q2_io_memory("abcd", 4, &io, NULL), Q2_OK);
	ck_assert(!q2_io_facts(io, 1, &facts));
	ck_assert(!q2_io_traces(io, 1, &facts));
	ck_assert_ptr_null(q2_io_unseen(io));
	ck_assert_int_eq(q2_io_changed(io, &when, NULL), Q2_OK);
	ck_assert_uint_eq(when, 0);
	ck_assert_int_eq(q2_io_set_changed(io, 5, NULL), Q2_OK);
	q2_io_close(io);
	unlink(in_dir("image"));
}
END_TEST

/* ------------------------------------------------------------------ targets */
static struct q2_target *new_target(const char *name, unsigned flags)
{
	struct q2_target *t;

	ck_assert_int_eq(q2_target_open(in_dir(name), flags, &t, NULL), Q2_OK);
	return t;
}

START_TEST(test_target)
{
	struct q2_range all = {0, 5000};
	struct q2_target *t = new_target("new", 0);
	uint8_t bytes[5000];
	struct stat sb;

	/* A hole takes no blocks, and no request for none does anything. */
	ck_assert_int_eq(q2_target_reserve(t, 0, NULL), Q2_OK);
	ck_assert_int_eq(q2_target_zero(t, all, NULL), Q2_OK);
	ck_assert_uint_eq(q2_target_io(t)->size, 0);
	ck_assert_int_eq(q2_target_reserve(t, 5000, NULL), Q2_OK);
	ck_assert_uint_eq(q2_target_io(t)->size, 5000);
	q2_target_forget(t);
	ck_assert_str_eq(q2_target_path(t), in_dir("new.part"));
	ck_assert_int_eq(q2_target_sync(t, NULL), Q2_OK);
	ck_assert_int_eq(q2_target_publish(t, NULL), Q2_OK);
	ck_assert_str_eq(q2_target_path(t), in_dir("new"));
	q2_target_close(t);
	ck_assert_int_eq(stat(in_dir("new"), &sb), 0);
	ck_assert_int_eq(sb.st_size, 5000);

	t = new_target("new", Q2_TARGET_REPLACE | Q2_TARGET_FULL |
				      Q2_TARGET_NO_SYNC);
	ck_assert_int_eq(q2_target_zero(t, (struct q2_range){7, 0}, NULL),
			 Q2_OK);
	ck_assert_int_eq(q2_target_zero(t, all, NULL), Q2_OK);
	ck_assert_int_eq(q2_resize(q2_target_io(t), 5000, NULL), Q2_OK);
	ck_assert_int_eq(q2_pread(q2_target_io(t), bytes, 5000, 0, NULL), Q2_OK);
	for (size_t i = 0; i < sizeof(bytes); i++)
		ck_assert_uint_eq(bytes[i], 0);
	q2_target_close(t);
	ck_assert_int_ne(access(in_dir("new.part"), F_OK), 0);
	unlink(in_dir("new"));
	q2_target_close(NULL);
}
END_TEST

/* Another one has its temporary name since: that is neither published nor removed. */
START_TEST(test_target_taken)
{
	struct q2_target *t = new_target("new", 0);
	struct q2_err err = {0};

	ck_assert_int_eq(unlink(in_dir("new.part")), 0);
	close(make_file("new.part", "mine", 4));
	ck_assert_int_eq(q2_target_publish(t, &err), Q2_E_CHANGED);
	ck_assert_ptr_nonnull(strstr(err.text, "no longer"));
	q2_target_close(t);
	ck_assert_int_eq(access(in_dir("new.part"), F_OK), 0);
	ck_assert_int_ne(access(in_dir("new"), F_OK), 0);
	unlink(in_dir("new.part"));
}
END_TEST

START_TEST(test_target_kept)
{
	struct q2_target *t = new_target("new", Q2_TARGET_KEEP);

	ck_assert_int_eq(q2_pwrite(q2_target_io(t), "half", 4, 0, NULL), Q2_OK);
	q2_target_close(t);
	t = new_target("new", Q2_TARGET_CONTINUE);
	ck_assert(q2_target_continued(t));
	ck_assert_uint_eq(q2_target_io(t)->size, 4);
	q2_target_close(t);
	ck_assert_int_ne(access(in_dir("new.part"), F_OK), 0);
	/* What lies there under the temporary name is no file of ours. */
	ck_assert_int_eq(mkfifo(in_dir("new.part"), 0600), 0);
	ck_assert_int_eq(q2_target_open(in_dir("new"), Q2_TARGET_CONTINUE, &t,
					NULL),
			 Q2_E_ARG);
	ck_assert_ptr_null(t);
	unlink(in_dir("new.part"));
}
END_TEST

/* A reader that takes its time: the pipe is full, and must not be waited for in
 * vain. */
static void *read_all(void *ctx)
{
	static char bytes[4096];
	const int *fd = ctx;
	static size_t all;
	ssize_t n;

	usleep(20000);
	while ((n = read(*fd, bytes, sizeof(bytes))) > 0)
		for (ssize_t i = 0; i < n; i++)
			all += bytes[i] == 'x';
	return &all;
}

START_TEST(test_stream)
{
	static char bytes[300000];
	int ends[2], out = dup(STDOUT_FILENO);
	struct q2_target *t;
	pthread_t thread;
	enum q2_status st;
	uint64_t dev, inode;
	void *all;

	memset(bytes, 'x', sizeof(bytes));
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, read_all, &ends[0]), 0);
	ck_assert_int_eq(q2_target_open("-", 0, &t, NULL), Q2_OK);
	ck_assert_ptr_null(q2_target_io(t));
	ck_assert_int_ge(dup2(ends[1], STDOUT_FILENO), 0);
	ck_assert(q2_target_identity("-", &dev, &inode));
	st = q2_target_append(t, bytes, sizeof(bytes), NULL);
	if (st == Q2_OK)
		st = q2_target_zero(t, (struct q2_range){0, 10}, NULL);
	if (st == Q2_OK)
		st = q2_target_reserve(t, 10, NULL);
	if (st == Q2_OK)
		st = q2_target_sync(t, NULL);
	q2_target_forget(t);
	if (st == Q2_OK)
		st = q2_target_publish(t, NULL);
	q2_target_close(t);
	ck_assert_int_ge(dup2(out, STDOUT_FILENO), 0);
	close(out);
	close(ends[1]);
	ck_assert_int_eq(pthread_join(thread, &all), 0);
	close(ends[0]);
	ck_assert_int_eq(st, Q2_OK);
	ck_assert_uint_eq(*(size_t *)all, sizeof(bytes));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("files");
	TCase *t = tcase_create("files");
	SRunner *r = srunner_create(s);
	int failed;

	if (mkdtemp(dir) == NULL)
		return EXIT_FAILURE;
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_patched);
	tcase_add_test(t, test_longer);
	tcase_add_test(t, test_times);
	tcase_add_test(t, test_target);
	tcase_add_test(t, test_target_taken);
	tcase_add_test(t, test_target_kept);
	tcase_add_test(t, test_stream);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	rmdir(dir);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
