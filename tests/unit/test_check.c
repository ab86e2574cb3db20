/*
 * test_check.c - a whole check in memory: faults at every read and at every
 * allocation, any single byte wrong, and a bound on memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/io.h"

#define CS 512u
#define CLUSTERS 9u
#define SIZE (CS * CLUSTERS)

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

/* Clusters: 0 header, 1 refcount table, 2 refcount block, 3 L1, 4 L2, 5 and 6
 * data, 7 snapshot table, 8 the snapshot's L1.  The snapshot shares the L2. */
static void build(uint8_t *b)
{
	memset(b, 0, SIZE);
	put32(b, 0x514649fb);
	put32(b + 4, 3);
	put32(b + 20, 9);
	put64(b + 24, 64 * 1024);
	put32(b + 36, 2);
	put64(b + 40, 3 * CS);
	put64(b + 48, 1 * CS);
	put32(b + 56, 1);
	put32(b + 60, 1);
	put64(b + 64, 7 * CS);
	put32(b + 96, 4);
	put32(b + 100, 104);
	put64(b + 1 * CS, 2 * CS);
	for (unsigned i = 0; i < CLUSTERS; i++)
		b[2 * CS + 2 * i + 1] = i >= 4 && i <= 6 ? 2 : 1;
	put64(b + 3 * CS, 4 * CS);
	put64(b + 8 * CS, 4 * CS);
	put64(b + 4 * CS, 5 * CS);
	put64(b + 4 * CS + 8 * 3, 6 * CS);
	put64(b + 7 * CS, 8 * CS);
	put32(b + 7 * CS + 8, 2);
	b[7 * CS + 13] = 1;		 /* length of the id */
	b[7 * CS + 15] = 1;		 /* length of the name */
	put32(b + 7 * CS + 36, 24);	 /* extra data */
	put64(b + 7 * CS + 48, 64 * 1024); /* disk size */
	put64(b + 7 * CS + 56, UINT64_MAX);
	b[7 * CS + 64] = '1';
	b[7 * CS + 65] = 's';
}

struct seen {
	unsigned n;
	uint64_t sum; /* of the findings' order and content */
};

static void on_found(void *ctx, const struct q2_finding *f)
{
	struct seen *s = ctx;

	s->n++;
	s->sum = s->sum * 1099511628211u + f->problem->number + f->host * 3 +
		 f->guest * 5 + f->found * 7;
}

static enum q2_status check_io(struct q2_io *io, uint64_t limit,
			       struct q2_check_result *result,
			       struct seen *seen)
{
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA,
				     .max_memory = limit,
				     .found = on_found,
				     .ctx = seen};

	*seen = (struct seen){0};
	return q2_check(io, &opts, result, NULL);
}

static enum q2_status check_bytes(const uint8_t *b, size_t n, uint64_t limit,
				  struct q2_check_result *result,
				  struct seen *seen)
{
	struct q2_io *io;
	enum q2_status st;

	ck_assert_int_eq(q2_io_memory(b, n, &io, NULL), Q2_OK);
	st = check_io(io, limit, result, seen);
	q2_io_close(io);
	return st;
}

START_TEST(sound_image_is_clean)
{
	uint8_t b[SIZE];
	struct q2_check_result r;
	struct seen s;

	build(b);
	ck_assert_int_eq(check_bytes(b, SIZE, 0, &r, &s), Q2_OK);
	ck_assert_int_eq(r.verdict, Q2_CLEAN);
	ck_assert_uint_eq(s.n, 0);
	ck_assert_uint_eq(r.allocated_clusters, 2);
	ck_assert_uint_eq(r.total_clusters, 128);
	ck_assert_uint_eq(r.image_end_offset, SIZE);
	ck_assert_uint_eq(r.snapshots, 1);
}
END_TEST

/* A layer over memory: the first byte that the k-th read asks for is bad. */
struct failing {
	struct q2_io io;
	struct q2_io *below;
	unsigned left; /* reads until then; afterwards `bad` is set */
	bool hit;
	uint64_t bad;
};

static enum q2_status failing_pread(struct q2_io *io, void *buf, size_t len,
				    uint64_t off, struct q2_err *err)
{
	struct failing *f = (struct failing *)io;

	if (!f->hit && f->left-- == 0) {
		f->hit = true;
		f->bad = off;
	}
	if (f->hit && off <= f->bad && f->bad - off < len)
		return q2_fail(err, Q2_E_IO, 5, off, "made to fail");
	return q2_pread(f->below, buf, len, off, err);
}

static const struct q2_io_ops failing_ops = {.pread = failing_pread};

START_TEST(each_read_may_fail)
{
	uint8_t b[SIZE];
	struct q2_check_result r;
	struct seen s;
	struct q2_io *below;
	unsigned k;

	build(b);
	ck_assert_int_eq(q2_io_memory(b, SIZE, &below, NULL), Q2_OK);
	for (k = 0; k < 1000; k++) {
		struct failing f = {.io = {.ops = &failing_ops,
					   .size = SIZE,
					   .stored = SIZE},
				    .below = below,
				    .left = k};
		enum q2_status st = check_io(&f.io, 0, &r, &s);

		if (!f.hit)
			break;
		/* Never "clean" without having read everything. */
		ck_assert_msg(st == Q2_E_IO || r.verdict != Q2_CLEAN ||
				      r.partial,
			      "read %u", k);
	}
	ck_assert_uint_gt(k, 5);
	ck_assert_uint_lt(k, 1000);
	q2_io_close(below);
}
END_TEST

START_TEST(each_allocation_may_fail)
{
	uint8_t b[SIZE];
	struct q2_check_result r;
	struct seen s;
	uint64_t peak;
	unsigned refused = 0;

	build(b);
	ck_assert_int_eq(check_bytes(b, SIZE, 0, &r, &s), Q2_OK);
	peak = r.peak_memory;
	for (uint64_t limit = 1; limit < peak; limit += 16) {
		enum q2_status st = check_bytes(b, SIZE, limit, &r, &s);

		ck_assert_int_eq(st, Q2_E_BUDGET);
		ck_assert_uint_le(r.peak_memory, limit);
		refused++;
	}
	ck_assert_uint_gt(refused, 100);
	ck_assert_int_eq(check_bytes(b, SIZE, peak, &r, &s), Q2_OK);
}
END_TEST

/* Any byte with any of some values: no crash, the same answer twice, little
 * memory.  Run under sanitizers, this is a small fuzzer. */
START_TEST(any_byte_may_be_wrong)
{
	static const uint8_t values[] = {0x00, 0x01, 0x02, 0x10, 0x40,
					 0x7f, 0x80, 0xff};
	uint8_t b[SIZE];
	struct q2_check_result r;
	struct seen first, again;

	for (size_t at = 0; at < SIZE; at++) {
		if (at / CS == 5 || at / CS == 6) /* guest data */
			continue;
		for (size_t v = 0; v < sizeof(values); v++) {
			build(b);
			b[at] ^= values[v];
			ck_assert_int_eq(check_bytes(b, SIZE, 0, &r, &first),
					 Q2_OK);
			ck_assert_uint_le(r.peak_memory, 1u << 20);
			ck_assert_int_eq(check_bytes(b, SIZE, 0, &r, &again),
					 Q2_OK);
			ck_assert(first.n == again.n &&
				  first.sum == again.sum);
		}
	}
}
END_TEST

START_TEST(any_length)
{
	uint8_t b[SIZE];
	struct q2_check_result r;
	struct seen s;

	build(b);
	for (size_t n = 0; n < SIZE; n++) {
		enum q2_status st = check_bytes(b, n, 0, &r, &s);

		ck_assert_int_eq(st, Q2_OK);
		ck_assert(n > SIZE - CS || r.verdict != Q2_CLEAN);
	}
}
END_TEST

/* A header that claims the world over a file that is nothing but holes. */
static struct q2_range no_data(struct q2_io *io, uint64_t off)
{
	(void)off;
	return (struct q2_range){io->size, 0};
}

static enum q2_status header_pread(struct q2_io *io, void *buf, size_t len,
				   uint64_t off, struct q2_err *err)
{
	struct failing *f = (struct failing *)io;

	memset(buf, 0, len);
	if (off >= CS)
		return Q2_OK;
	return q2_pread(f->below, buf, (size_t)q2_min(len, CS - off), off, err);
}

static const struct q2_io_ops hole_ops = {.pread = header_pread,
					  .data = no_data};

START_TEST(claims_cost_nothing)
{
	uint8_t b[SIZE];
	struct q2_check_result r;
	struct seen s;
	struct failing f = {.io = {.ops = &hole_ops,
				   .size = INT64_MAX,
				   .stored = SIZE}};

	build(b);
	put64(b + 24, UINT64_C(128) << 30);
	put32(b + 36, 4194304);
	put64(b + 40, UINT64_C(1) << 40);
	put64(b + 48, UINT64_C(1) << 41);
	put32(b + 56, 16384);
	put32(b + 60, 65536);
	put64(b + 64, UINT64_C(1) << 42);
	ck_assert_int_eq(q2_io_memory(b, SIZE, &f.below, NULL), Q2_OK);
	ck_assert_int_eq(check_io(&f.io, 0, &r, &s), Q2_OK);
	ck_assert_uint_le(r.peak_memory, 32u << 20);
	q2_io_close(f.below);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("check");
	TCase *t = tcase_create("check");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, sound_image_is_clean);
	tcase_add_test(t, each_read_may_fail);
	tcase_add_test(t, each_allocation_may_fail);
	tcase_add_test(t, any_byte_may_be_wrong);
	tcase_add_test(t, any_length);
	tcase_add_test(t, claims_cost_nothing);
	tcase_set_timeout(t, 300);
	suite_add_tcase(s, t);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
