/*
 * test_writer.c - the writer where tables must move: long L1 and refcount tables.
 *
 * SPDX-License-Identifier: MIT
 *
 * With clusters of 512 bytes and refcounts of 64 bits a refcount block covers 64
 * clusters, so that an L1 table of a few MiB needs blocks that cannot all lie among
 * the clusters that they count, and more of them than the refcount table names.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../support/testio.h"
#include "base/endian.h"
#include "format/refcount.h"
#include "image/write.h"

#define CS 512u
#define MIB (UINT64_C(1) << 20)
#define START (4 * CS)

/* Header, refcount table, one block and an L1 table of one cluster; order is log2 of
 * a refcount's bits. */
static void make_image(uint8_t *at, unsigned order, uint64_t size)
{
	memset(at, 0, START);
	q2_put_be32(at, 0x514649fb);
	q2_put_be32(at + 4, 3);
	q2_put_be32(at + 20, 9);
	q2_put_be64(at + 24, size);
	q2_put_be32(at + 36, (uint32_t)((size + 32767) / 32768));
	q2_put_be64(at + 40, 3 * CS);
	q2_put_be64(at + 48, CS);
	q2_put_be32(at + 56, 1);
	q2_put_be32(at + 96, order);
	q2_put_be32(at + 100, 104);
	q2_put_be64(at + CS, 2 * CS);
	for (uint64_t i = 0; i < 4; i++)
		q2_refcount_set(at + 2 * CS, order, i, 1);
}

static enum q2_verdict verdict_of(struct q2_io *io)
{
	struct q2_check_opts opts = {0};
	struct q2_check_result r;

	ck_assert_int_eq(q2_check(io, &opts, &r, NULL), Q2_OK);
	return r.verdict;
}

static struct q2_io *memory_of(const uint8_t *bytes)
{
	struct q2_io *io;

	ck_assert_int_eq(q2_io_memory_rw(bytes, START, 0, &io, NULL), Q2_OK);
	return io;
}

/* The disk grows; at each write, whole and torn, the image is sound. */
static void grow_to(unsigned order, uint64_t size)
{
	uint8_t bytes[START], back[3] = {0};
	struct q2_writer_opts opts = {0};
	struct q2_budget budget = {0};
	struct q2_writer *w;
	struct test_io t;
	struct q2_io *mem;

	make_image(bytes, order, 64 * 1024);
	mem = memory_of(bytes);
	ck_assert_int_eq(verdict_of(mem), Q2_CLEAN);
	test_io_open(&t, mem);
	ck_assert_int_eq(q2_writer_open(&t.io, &budget, &opts, &w, NULL),
			 Q2_OK);
	ck_assert_int_eq(q2_write(w, "one", 3, 5, NULL), Q2_OK);
	ck_assert_int_eq(q2_write_resize(w, size, false, NULL), Q2_OK);
	ck_assert_uint_eq(q2_writer_geom(w)->disk_size, size);
	ck_assert_int_eq(q2_write(w, "two", 3, size - 3, NULL), Q2_OK);
	ck_assert_int_eq(q2_write_commit(w, NULL), Q2_OK);
	ck_assert_int_eq(q2_write_read(w, back, 3, size - 3, NULL), Q2_OK);
	ck_assert_mem_eq(back, "two", 3);
	ck_assert_int_eq(q2_write_read(w, back, 3, 5, NULL), Q2_OK);
	ck_assert_mem_eq(back, "one", 3);
	ck_assert_int_eq(verdict_of(mem), Q2_CLEAN);
	q2_writer_close(w);
	ck_assert_uint_eq(budget.used, 0);
	for (size_t n = 0; n <= t.n_log; n++) {
		size_t len = n < t.n_log ? t.log[n].len : 0;

		for (size_t torn = 0; torn <= len; torn += len / 2 + 512) {
			struct q2_io *io = memory_of(bytes);

			test_io_replay(&t, n, torn - torn % 512, io);
			ck_assert_int_le(verdict_of(io), Q2_LEAKS);
			q2_io_close(io);
		}
	}
	q2_io_close(&t.io);
	q2_io_close(mem);
}

START_TEST(test_long_tables)
{
	/* Blocks behind the run; then a longer refcount table, too. */
	static const struct {
		unsigned order;
		uint64_t size;
	} cases[] = {
		{6, 100 * MIB}, {6, 200 * MIB}, {6, 1500 * MIB},
		{6, 9000 * MIB}, {5, 1200 * MIB}, {4, 3000 * MIB},
		{3, 3000 * MIB}, {0, 9000 * MIB},
	};

	grow_to(cases[_i].order, cases[_i].size);
}
END_TEST

/* Which clusters the file has, as the refcounts say. */
START_TEST(test_refcount_set)
{
	for (unsigned order = 0; order <= 6; order++) {
		uint8_t block[64];
		unsigned n = 512u >> order;

		memset(block, 0xff, sizeof(block));
		for (unsigned i = 0; i < n; i++)
			q2_refcount_set(block, order, i,
					i & q2_refcount_max(order));
		for (unsigned i = 0; i < n; i++)
			ck_assert_uint_eq(q2_refcount(block, order, i),
					  i & q2_refcount_max(order));
	}
}
END_TEST

/* A device that is full: nothing is half done. */
START_TEST(test_device)
{
	uint8_t bytes[START];
	struct q2_writer_opts opts = {0};
	struct q2_budget budget = {0};
	struct q2_err err = {0};
	static uint8_t data[64 * CS];
	struct q2_writer *w;
	struct q2_io *mem = NULL;

	make_image(bytes, 4, 64 * 1024);
	mem = memory_of(bytes);
	ck_assert_int_eq(q2_resize(mem, 40 * CS, NULL), Q2_OK);
	mem->is_device = true;
	ck_assert_int_eq(q2_writer_open(mem, &budget, &opts, &w, NULL), Q2_OK);
	memset(data, 'x', sizeof(data));
	/* 35 clusters and their table fill it. */
	ck_assert_int_eq(q2_write(w, data, 35 * CS, 0, NULL), Q2_OK);
	ck_assert_int_eq(q2_write_commit(w, NULL), Q2_OK);
	ck_assert_int_eq(verdict_of(mem), Q2_CLEAN);
	/* What is given back is there again, and no more than that. */
	ck_assert_int_eq(q2_write_discard(w, 0, 2 * CS, NULL), Q2_OK);
	ck_assert_int_eq(q2_write_commit(w, NULL), Q2_OK);
	ck_assert_int_eq(q2_write(w, data, 2 * CS, 50 * CS, NULL), Q2_OK);
	ck_assert_int_eq(q2_write_commit(w, NULL), Q2_OK);
	ck_assert_int_eq(verdict_of(mem), Q2_CLEAN);
	ck_assert_int_eq(q2_write(w, data, CS, 0, &err), Q2_E_IO);
	ck_assert_str_eq(err.text, "the device is full");
	ck_assert_int_eq(q2_write_commit(w, NULL), Q2_E_IO);
	q2_writer_close(w);
	ck_assert_int_eq(verdict_of(mem), Q2_CLEAN);
	ck_assert_uint_eq(q2_io_size(mem), 40 * CS);
	q2_io_close(mem);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("writer");
	TCase *tables = tcase_create("writer");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tables, 300);
	tcase_add_loop_test(tables, test_long_tables, 0, 8);
	tcase_add_test(tables, test_refcount_set);
	tcase_add_test(tables, test_device);
	suite_add_tcase(suite, tables);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
