/*
 * test_write.c - what can be written: files, memory, new files, locks.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/testio.h"

static char folder[] = "/tmp/q2write-XXXXXX";
static char path[64];

static void set_up(void)
{
	strcpy(folder + sizeof(folder) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/image", folder);
}

static void tear_down(void)
{
	(void)unlink(path);
	ck_assert_int_eq(rmdir(folder), 0);
}

static void make_file(const char *bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, strlen(bytes)),
			 (ssize_t)strlen(bytes));
	close(fd);
}

static void expect_file(const char *bytes, size_t n)
{
	char buf[256];
	int fd = open(path, O_RDONLY);
	ssize_t got = read(fd, buf, sizeof(buf));

	close(fd);
	ck_assert_int_eq(got, (ssize_t)n);
	ck_assert_mem_eq(buf, bytes, n);
}

START_TEST(test_file)
{
	struct q2_err err = {0};
	struct q2_io *io;
	char buf[4];

	make_file("0123456789");
	ck_assert_int_eq(q2_io_open_rw(path, &io, NULL), Q2_OK);
	ck_assert(io->writable);
	ck_assert_uint_eq(q2_io_size(io), 10);
	ck_assert_int_eq(q2_pwrite(io, "abc", 3, 2, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(io, "xyz", 3, 12, NULL), Q2_OK);
	ck_assert_uint_eq(io->size, 15);
	ck_assert_int_eq(q2_flush(io, NULL), Q2_OK);
	expect_file("01abc56789\0\0xyz", 15);
	ck_assert_int_eq(q2_pread(io, buf, 4, 1, NULL), Q2_OK);
	ck_assert_mem_eq(buf, "1abc", 4);
	ck_assert_int_eq(q2_resize(io, 5, NULL), Q2_OK);
	expect_file("01abc", 5);
	ck_assert_int_eq(q2_resize(io, 8, NULL), Q2_OK);
	ck_assert_uint_eq(io->size, 8);
	expect_file("01abc\0\0\0", 8);
	ck_assert_int_eq(q2_resize(io, UINT64_MAX, &err), Q2_E_RANGE);
	q2_io_close(io);
	expect_file("01abc\0\0\0", 8);
}
END_TEST

START_TEST(test_refusals)
{
	struct q2_err err = {0};
	struct q2_io *io;

	ck_assert_int_eq(q2_io_open_rw(folder, &io, &err), Q2_E_ARG);
	ck_assert_int_eq(err.sys_errno, EISDIR);
	ck_assert_ptr_null(io);
	err = (struct q2_err){0};
	ck_assert_int_eq(q2_io_open_rw(path, &io, &err), Q2_E_IO);
	ck_assert_int_eq(err.sys_errno, ENOENT);
	err = (struct q2_err){0};
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(q2_io_open_rw(path, &io, &err), Q2_E_ARG);
}
END_TEST

START_TEST(test_locks)
{
	struct q2_err err = {0};
	struct q2_io *io, *other, *reader;

	make_file("0123456789");
	ck_assert_int_eq(q2_io_open(path, &reader, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_in_use(reader), Q2_USE_NONE);
	ck_assert_int_eq(q2_io_open_rw(path, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_in_use(reader), Q2_USE_WRITER);
	/* Our own locks are not somebody else's. */
	ck_assert_int_eq(q2_io_in_use(io), Q2_USE_NONE);
	ck_assert_int_eq(q2_io_open_rw(path, &other, &err), Q2_E_IN_USE);
	ck_assert_int_eq(err.code, Q2_E_IN_USE);
	ck_assert_ptr_null(other);
	q2_io_close(io);
	ck_assert_int_eq(q2_io_in_use(reader), Q2_USE_NONE);
	ck_assert_int_eq(q2_io_open_rw(path, &io, NULL), Q2_OK);
	q2_io_close(io);
	q2_io_close(reader);
}
END_TEST

/* Another process holds the byte; its number must be told. */
static void hold(off_t byte, const char *wanted)
{
	int ready[2], done[2];
	struct q2_err err = {0};
	struct q2_io *io;
	char text[64], c;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		struct flock lock = {.l_type = F_RDLCK,
				     .l_whence = SEEK_SET,
				     .l_start = byte,
				     .l_len = 1};
		int fd = open(path, O_RDONLY);

		close(done[1]);
		if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
			_exit(1);
		if (write(ready[1], "x", 1) != 1 || read(done[0], &c, 1) < 0)
			_exit(2);
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_int_eq(q2_io_open_rw(path, &io, &err), Q2_E_IN_USE);
	ck_assert_ptr_nonnull(strstr(err.text, wanted));
	snprintf(text, sizeof(text), "byte %d,", (int)byte);
	ck_assert_ptr_nonnull(strstr(err.text, text));
	snprintf(text, sizeof(text), "by process %d (", (int)pid);
	ck_assert_ptr_nonnull(strstr(err.text, text));
	close(done[1]);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(done[0]);
	close(ready[0]);
	close(ready[1]);
	ck_assert_int_eq(q2_io_open_rw(path, &io, NULL), Q2_OK);
	q2_io_close(io);
}

START_TEST(test_holder)
{
	make_file("0123456789");
	hold(100, "\"consistent read\"");
	hold(101, "\"write\"");
	hold(102, "\"write unchanged\"");
	hold(201, "forbids us \"write\"");
	hold(203, "\"resize\"");
}
END_TEST

START_TEST(test_memory)
{
	struct q2_err err = {0};
	struct q2_io *io;

	ck_assert_int_eq(q2_io_memory_rw("abcdef", 6, 600, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(io, "xy", 2, 1, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(io, "z", 1, 8, NULL), Q2_OK);
	ck_assert_uint_eq(q2_io_size(io), 9);
	ck_assert_mem_eq(q2_io_memory_bytes(io), "axydef\0\0z", 9);
	ck_assert_int_eq(q2_resize(io, 2, NULL), Q2_OK);
	ck_assert_int_eq(q2_resize(io, 500, NULL), Q2_OK);
	ck_assert_mem_eq(q2_io_memory_bytes(io), "ax\0\0\0\0\0\0\0\0", 10);
	ck_assert_int_eq(q2_pwrite(io, "z", 1, 600, &err), Q2_E_IO);
	ck_assert_uint_eq(q2_io_size(io), 500);
	q2_io_close(io);
}
END_TEST

START_TEST(test_create)
{
	struct q2_err err = {0};
	struct q2_io *io;

	/* Not published: it leaves nothing, as tear_down() sees. */
	ck_assert_int_eq(q2_io_create(path, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(io, "new", 3, 0, NULL), Q2_OK);
	ck_assert_int_ne(access(path, F_OK), 0);
	q2_io_close(io);
	ck_assert_int_ne(access(path, F_OK), 0);

	ck_assert_int_eq(q2_io_create(path, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(io, "new", 3, 0, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_publish(io, false, NULL), Q2_OK);
	expect_file("new", 3);
	q2_io_close(io);

	ck_assert_int_eq(q2_io_create(path, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(io, "other", 5, 0, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_publish(io, false, &err), Q2_E_IO);
	ck_assert_int_eq(err.sys_errno, EEXIST);
	expect_file("new", 3);
	ck_assert_int_eq(q2_io_publish(io, true, NULL), Q2_OK);
	expect_file("other", 5);
	q2_io_close(io);
	expect_file("other", 5);
	ck_assert_int_eq(q2_io_create("/nonexistent/x", &io, &err), Q2_E_IO);
	ck_assert_ptr_null(io);
}
END_TEST

START_TEST(test_faults)
{
	struct q2_io *base, *copy;
	struct test_io t;

	ck_assert_int_eq(q2_io_memory_rw("abcdef", 6, 0, &base, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_memory_rw("abcdef", 6, 0, &copy, NULL), Q2_OK);
	test_io_open(&t, base);
	t.faults.fail_at[TEST_WRITE] = 2;
	ck_assert_int_eq(q2_pwrite(&t.io, "123", 3, 0, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(&t.io, "456", 3, 3, NULL), Q2_E_IO);
	ck_assert_mem_eq(q2_io_memory_bytes(base), "123def", 6);
	t.faults.no_space = 2;
	ck_assert_int_eq(q2_pwrite(&t.io, "78", 2, 6, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(&t.io, "9", 1, 8, NULL), Q2_E_IO);
	ck_assert_uint_eq(t.n_log, 2);
	test_io_replay(&t, 1, 1, copy);
	ck_assert_uint_eq(copy->size, 7);
	ck_assert_mem_eq(q2_io_memory_bytes(copy), "123def7", 7);
	q2_io_close(&t.io);
	q2_io_close(base);
	q2_io_close(copy);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("write");
	TCase *t = tcase_create("write");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_file);
	tcase_add_test(t, test_refusals);
	tcase_add_test(t, test_locks);
	tcase_add_test(t, test_holder);
	tcase_add_test(t, test_memory);
	tcase_add_test(t, test_create);
	tcase_add_test(t, test_faults);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
