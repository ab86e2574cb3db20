/*
 * test_io.c - memory, overlay and files as input and output.
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
#include <unistd.h>

#include "base/budget.h"
#include "io/io.h"

#define BASE 50000u
#define MAX (1u << 18)
#define ROUNDS 10000

static uint64_t seed;

static uint32_t next_number(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

START_TEST(test_memory)
{
	static const char text[] = "0123456789";
	struct q2_err err = {0};
	struct q2_io *io;
	char buf[16];
	uint64_t dev, inode;

	ck_assert_int_eq(q2_io_memory(text, 10, &io, NULL), Q2_OK);
	ck_assert_uint_eq(q2_io_size(io), 10);
	ck_assert_int_eq(q2_pread(io, buf, 4, 6, NULL), Q2_OK);
	ck_assert_mem_eq(buf, "6789", 4);
	ck_assert_int_eq(q2_pread(io, buf, 0, 10, NULL), Q2_OK);
	ck_assert_int_eq(q2_pread(io, buf, 5, 6, &err), Q2_E_RANGE);
	ck_assert_int_eq(err.code, Q2_E_RANGE);
	ck_assert_uint_eq(err.offset, 6);
	ck_assert_int_eq(q2_pread(io, buf, 1, UINT64_MAX, NULL), Q2_E_RANGE);
	memset(buf, 'x', sizeof(buf));
	ck_assert_int_eq(q2_pread_zero(io, buf, 6, 8, NULL), Q2_OK);
	ck_assert_mem_eq(buf, "89\0\0\0\0x", 7);
	ck_assert_int_eq(q2_pread_zero(io, buf, 6, 1000, NULL), Q2_OK);
	ck_assert_mem_eq(buf, "\0\0\0\0\0\0x", 7);
	ck_assert_int_eq(q2_pwrite(io, buf, 1, 0, NULL), Q2_E_ARG);
	ck_assert_int_eq(q2_resize(io, 1, NULL), Q2_E_ARG);
	ck_assert_int_eq(q2_flush(io, NULL), Q2_OK);
	ck_assert_uint_eq(q2_io_data(io, 3).len, 7);
	ck_assert_uint_eq(q2_io_data(io, 10).len, 0);
	ck_assert(!q2_io_identity(io, &dev, &inode));
	ck_assert_int_eq(q2_io_in_use(io), Q2_USE_NONE);
	q2_io_close(io);
	q2_io_close(NULL);
}
END_TEST

/* The overlay, and the plain array that it must agree with. */
struct twin {
	struct q2_io *io;
	uint8_t model[MAX];
	uint64_t size;
};

static void compare(struct twin *t, uint64_t off, size_t len)
{
	static uint8_t buf[MAX];

	ck_assert_int_eq(q2_pread(t->io, buf, len, off, NULL), Q2_OK);
	ck_assert_mem_eq(buf, t->model + off, len);
}

/* What the hints leave out must be zeros. */
static void compare_data(struct twin *t)
{
	unsigned missed = 0;
	uint64_t off = 0;

	while (off < t->size) {
		struct q2_range r = q2_io_data(t->io, off);

		ck_assert_uint_ge(r.start, off);
		ck_assert_uint_le(q2_end(r), t->size);
		ck_assert(r.len || r.start == t->size);
		for (; off < r.start; off++)
			missed += t->model[off] != 0;
		off += r.len;
	}
	ck_assert_uint_eq(missed, 0);
	ck_assert_uint_eq(q2_io_data(t->io, t->size).len, 0);
}

static void write_some(struct twin *t)
{
	static uint8_t buf[MAX];
	uint64_t off = next_number(MAX);
	size_t len = next_number(next_number(8) ? 600 : 30000);

	len = (size_t)q2_min(len, MAX - off);
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)next_number(256);
	/* Rarely far from the end, so that the file is not always large. */
	if (next_number(10))
		off %= t->size + 1;
	ck_assert_int_eq(q2_pwrite(t->io, buf, len, off, NULL), Q2_OK);
	memcpy(t->model + off, buf, len);
	if (len)
		t->size = q2_max(t->size, off + len);
}

static void resize_some(struct twin *t)
{
	uint64_t size = next_number(3) ? next_number(MAX) :
					 next_number(64) * 4096;

	ck_assert_int_eq(q2_resize(t->io, size, NULL), Q2_OK);
	if (size < t->size)
		memset(t->model + size, 0, (size_t)(t->size - size));
	t->size = size;
}

static void run_against_model(struct q2_io *base, struct q2_budget *budget,
			      struct twin *t)
{
	ck_assert_int_eq(q2_io_overlay(base, budget, &t->io, NULL), Q2_OK);
	t->size = base->size;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned what = next_number(100);

		if (what < 30) {
			write_some(t);
		} else if (what < 33) {
			resize_some(t);
		} else if (what < 35) {
			compare_data(t);
		} else if (t->size) {
			uint64_t off = next_number((uint32_t)t->size);
			uint64_t len = next_number(what < 40 ? MAX : 9000);

			compare(t, off, (size_t)q2_min(len, t->size - off));
		}
		ck_assert_uint_eq(q2_io_size(t->io), t->size);
	}
	compare(t, 0, (size_t)t->size);
	ck_assert_int_eq(q2_flush(t->io, NULL), Q2_OK);
	q2_io_close(t->io);
}

START_TEST(test_overlay_model)
{
	static uint8_t bytes[BASE], before[BASE];
	static struct twin t;
	struct q2_budget budget = {0};
	struct q2_io *base;

	seed = (uint64_t)_i;
	for (size_t i = 0; i < BASE; i++)
		bytes[i] = (uint8_t)(1 + next_number(255));
	memcpy(before, bytes, BASE);
	memset(&t, 0, sizeof(t));
	memcpy(t.model, bytes, BASE);
	ck_assert_int_eq(q2_io_memory(bytes, BASE, &base, NULL), Q2_OK);
	run_against_model(base, &budget, &t);
	ck_assert_uint_eq(budget.used, 0);
	ck_assert_mem_eq(bytes, before, BASE);
	ck_assert_uint_eq(base->size, BASE);
	q2_io_close(base);
}
END_TEST

START_TEST(test_overlay_shrink_grow)
{
	static const uint8_t zeros[4500];
	static uint8_t ones[9000];
	struct q2_budget budget = {0};
	struct q2_io *base, *io;
	uint8_t buf[9000];

	memset(ones, 1, sizeof(ones));
	ck_assert_int_eq(q2_io_memory(ones, 9000, &base, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_overlay(base, &budget, &io, NULL), Q2_OK);
	/* One page is held, the others are not. */
	ck_assert_int_eq(q2_pwrite(io, "\2", 1, 5000, NULL), Q2_OK);
	ck_assert_int_eq(q2_resize(io, 4500, NULL), Q2_OK);
	ck_assert_int_eq(q2_pread(io, buf, 1, 4500, NULL), Q2_E_RANGE);
	ck_assert_int_eq(q2_resize(io, 9000, NULL), Q2_OK);
	ck_assert_int_eq(q2_pread(io, buf, 9000, 0, NULL), Q2_OK);
	ck_assert_mem_eq(buf, ones, 4500);
	ck_assert_mem_eq(buf + 4500, zeros, 4500);
	/* A page made later must not bring the base's bytes back. */
	ck_assert_int_eq(q2_pwrite(io, "\3", 1, 8500, NULL), Q2_OK);
	ck_assert_int_eq(q2_pread(io, buf, 9000, 0, NULL), Q2_OK);
	ck_assert_uint_eq(buf[8500], 3);
	ck_assert_uint_eq(buf[8499] | buf[8501] | buf[8999], 0);
	ck_assert_int_eq(q2_resize(io, (uint64_t)INT64_MAX + 1, NULL),
			 Q2_E_RANGE);
	ck_assert_int_eq(q2_pwrite(io, "", 1, INT64_MAX, NULL), Q2_E_RANGE);
	q2_io_close(io);
	q2_io_close(base);
}
END_TEST

START_TEST(test_overlay_sparse)
{
	struct q2_budget budget = {0};
	struct q2_io *base, *io;
	uint64_t far = UINT64_C(1) << 60;
	struct q2_range r;
	char buf[8];

	ck_assert_int_eq(q2_io_memory("abcd", 4, &base, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_overlay(base, &budget, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_pwrite(io, "end", 3, far, NULL), Q2_OK);
	ck_assert_int_eq(q2_pread(io, buf, 3, far, NULL), Q2_OK);
	ck_assert_mem_eq(buf, "end", 3);
	ck_assert_uint_lt(budget.peak, 20000);
	r = q2_io_data(io, 0);
	ck_assert_uint_eq(r.start, 0);
	ck_assert_uint_eq(r.len, 4);
	r = q2_io_data(io, 4);
	ck_assert_uint_eq(r.start, far);
	ck_assert_uint_eq(r.len, 3);
	q2_io_close(io);
	ck_assert_uint_eq(budget.used, 0);
	q2_io_close(base);
}
END_TEST

START_TEST(test_overlay_budget)
{
	static uint8_t zeros[20000], ones[20000];
	struct q2_budget budget = {0};
	struct q2_io *base, *io;
	uint8_t buf[1];

	memset(ones, 1, sizeof(ones));
	budget.limit = 100;
	ck_assert_int_eq(q2_io_memory(zeros, 20000, &base, NULL), Q2_OK);
	ck_assert_int_eq(q2_io_overlay(base, &budget, &io, NULL), Q2_E_BUDGET);
	ck_assert_ptr_null(io);
	budget.limit = 12000;
	ck_assert_int_eq(q2_io_overlay(base, &budget, &io, NULL), Q2_OK);
	/* All or nothing: the page that there was room for is unchanged. */
	ck_assert_int_eq(q2_pwrite(io, ones, 20000, 0, NULL), Q2_E_BUDGET);
	ck_assert_int_eq(q2_pread(io, buf, 1, 0, NULL), Q2_OK);
	ck_assert_uint_eq(buf[0], 0);
	q2_io_close(io);
	ck_assert_uint_eq(budget.used, 0);
	q2_io_close(base);
}
END_TEST

static char dir[] = "/tmp/q2-test-io-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned at;
	char *p = path[at++ % 4];

	ck_assert_int_lt(snprintf(p, 128, "%s/%s", dir, name), 128);
	return p;
}

static void make_file(const char *name, off_t size, const char *text)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	ck_assert_int_eq(pwrite(fd, text, strlen(text), 0),
			 (ssize_t)strlen(text));
	ck_assert_int_eq(close(fd), 0);
}

static void refuse(const char *name, enum q2_status status, int sys_errno)
{
	struct q2_err err = {0};
	struct q2_io *io;

	ck_assert_int_eq(q2_io_open(in_dir(name), &io, &err), status);
	ck_assert_ptr_null(io);
	ck_assert_int_eq(err.code, status);
	ck_assert_int_eq(err.sys_errno, sys_errno);
	ck_assert_str_ne(err.text, "");
}

START_TEST(test_file_refused)
{
	ck_assert_int_eq(mkfifo(in_dir("fifo"), 0600), 0);
	refuse("fifo", Q2_E_ARG, 0); /* and must not wait for a writer */
	refuse(".", Q2_E_ARG, EISDIR);
	refuse("missing", Q2_E_IO, ENOENT);
	refuse("../../dev/null", Q2_E_ARG, 0);
	unlink(in_dir("fifo"));
}
END_TEST

START_TEST(test_file)
{
	struct q2_err err = {0};
	struct q2_io *io;
	char buf[16];

	make_file("image", 10, "0123456789");
	ck_assert_int_eq(q2_io_open(in_dir("image"), &io, NULL), Q2_OK);
	ck_assert_uint_eq(q2_io_size(io), 10);
	ck_assert(!io->writable && !io->is_device);
	ck_assert_int_eq(q2_pread(io, buf, 4, 6, NULL), Q2_OK);
	ck_assert_mem_eq(buf, "6789", 4);
	ck_assert_int_eq(q2_pread(io, buf, 5, 6, NULL), Q2_E_RANGE);
	ck_assert_int_eq(q2_pwrite(io, buf, 1, 0, NULL), Q2_E_ARG);
	ck_assert_int_eq(q2_io_in_use(io), Q2_USE_NONE);
	/* Cut off behind our back. */
	ck_assert_int_eq(truncate(in_dir("image"), 5), 0);
	ck_assert_int_eq(q2_pread(io, buf, 10, 0, &err), Q2_E_IO);
	ck_assert_str_ne(err.text, "");
	q2_io_close(io);
	make_file("image", 0, "");
	ck_assert_int_eq(q2_io_open(in_dir("image"), &io, NULL), Q2_OK);
	ck_assert_uint_eq(q2_io_size(io), 0);
	ck_assert_uint_eq(q2_io_data(io, 0).len, 0);
	q2_io_close(io);
	unlink(in_dir("image"));
}
END_TEST

START_TEST(test_file_holes)
{
	off_t size = (off_t)1 << 30;
	struct q2_io *io;
	struct q2_range r;
	uint8_t byte;

	make_file("sparse", size, "start");
	ck_assert_int_eq(q2_io_open(in_dir("sparse"), &io, NULL), Q2_OK);
	ck_assert_uint_eq(q2_io_size(io), (uint64_t)size);
	ck_assert_uint_lt(io->stored, 1u << 20);
	r = q2_io_data(io, 0);
	ck_assert_uint_eq(r.start, 0);
	/* File systems without holes may say that all is data. */
	if (q2_end(r) < (uint64_t)size) {
		ck_assert_uint_ge(r.len, 5);
		r = q2_io_data(io, q2_end(r));
		ck_assert_uint_eq(r.start, (uint64_t)size);
		ck_assert_uint_eq(r.len, 0);
	}
	ck_assert_int_eq(q2_pread(io, &byte, 1, (uint64_t)size - 1, NULL),
			 Q2_OK);
	ck_assert_uint_eq(byte, 0);
	q2_io_soon(io, (struct q2_range){0, 4096});
	q2_io_close(io);
	unlink(in_dir("sparse"));
}
END_TEST

static struct identity {
	uint64_t dev;
	uint64_t inode;
} identity(const char *name)
{
	struct identity id = {0, 0};
	struct q2_io *io;

	ck_assert_int_eq(q2_io_open(in_dir(name), &io, NULL), Q2_OK);
	ck_assert(q2_io_identity(io, &id.dev, &id.inode));
	q2_io_close(io);
	return id;
}

START_TEST(test_file_identity)
{
	struct identity one, two;

	make_file("one", 1, "");
	make_file("two", 1, "");
	ck_assert_int_eq(symlink("one", in_dir("symbolic")), 0);
	ck_assert_int_eq(link(in_dir("one"), in_dir("hard")), 0);
	one = identity("one");
	two = identity("symbolic");
	ck_assert_mem_eq(&one, &two, sizeof(one));
	two = identity("hard");
	ck_assert_mem_eq(&one, &two, sizeof(one));
	two = identity("two");
	ck_assert_uint_eq(one.dev, two.dev);
	ck_assert_uint_ne(one.inode, two.inode);
	unlink(in_dir("one"));
	unlink(in_dir("two"));
	unlink(in_dir("symbolic"));
	unlink(in_dir("hard"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io");
	TCase *t = tcase_create("io");
	SRunner *r = srunner_create(s);
	int failed;

	if (mkdtemp(dir) == NULL)
		return EXIT_FAILURE;
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_memory);
	tcase_add_loop_test(t, test_overlay_model, 0, 4);
	tcase_add_test(t, test_overlay_shrink_grow);
	tcase_add_test(t, test_overlay_sparse);
	tcase_add_test(t, test_overlay_budget);
	tcase_add_test(t, test_file_refused);
	tcase_add_test(t, test_file);
	tcase_add_test(t, test_file_holes);
	tcase_add_test(t, test_file_identity);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	rmdir(dir);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
