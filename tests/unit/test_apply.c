/*
 * test_apply.c - plans carried out, interrupted anywhere, redone and undone.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../support/testio.h"
#include "../support/testplan.h"
#include "repair/apply.h"

#define CASES 60
#define EDITS 14

/* Both ways must lead from here to where they should. */
static void both_ways(const struct test_case *c, struct q2_io *crashed)
{
	struct test_image here = {.size = crashed->size};
	struct q2_io *io;

	ck_assert_uint_le(here.size, TEST_MAX);
	memcpy(here.bytes, q2_io_memory_bytes(crashed), (size_t)here.size);
	io = test_open(&here);
	ck_assert_int_eq(q2_plan_undo(c->plan, io, NULL, NULL), Q2_OK);
	ck_assert(test_holds(io, &c->before));
	q2_io_close(io);
	io = test_open(&here);
	ck_assert_int_eq(q2_plan_redo(c->plan, io, NULL, NULL), Q2_OK);
	ck_assert(test_holds(io, &c->after));
	q2_io_close(io);
}

/* Crashes after every write, the last one torn at every sector. */
static void every_prefix(const struct test_case *c,
			 const struct test_image *start,
			 const struct test_io *t)
{
	for (size_t n = 0; n <= t->n_log; n++) {
		const struct test_event *e = &t->log[n];
		size_t torn = 0;

		do {
			struct q2_io *io = test_open(start);

			test_io_replay(t, n, torn, io);
			both_ways(c, io);
			q2_io_close(io);
			torn += torn ? 512
				     : 512 - (size_t)(n < t->n_log ? e->off & 511
								   : 0);
		} while (n < t->n_log && e->op == TEST_WRITE && torn < e->len);
	}
}

START_TEST(test_prefixes)
{
	struct test_case c;
	struct test_io t;
	struct q2_io *base;

	test_case_make(&c, (uint64_t)_i, EDITS);
	base = test_open(&c.before);
	test_io_open(&t, base);
	ck_assert_int_eq(q2_plan_apply(c.plan, &t.io, NULL, NULL), Q2_OK);
	ck_assert(test_holds(base, &c.after));
	ck_assert_int_eq(t.log[t.n_log - 1].op, TEST_FLUSH);
	every_prefix(&c, &c.before, &t);
	q2_io_close(&t.io);
	/* And so for undoing. */
	test_io_open(&t, base);
	ck_assert_int_eq(q2_plan_undo(c.plan, &t.io, NULL, NULL), Q2_OK);
	ck_assert(test_holds(base, &c.before));
	every_prefix(&c, &c.after, &t);
	q2_io_close(&t.io);
	q2_io_close(base);
	test_case_free(&c);
}
END_TEST

/* The first events of the log up to a flush, and of those after it, sector by
 * sector, some of the first: a disk may write in any order. */
static struct q2_io *reordered(const struct test_image *start,
			       const struct test_io *t, size_t flushed)
{
	static unsigned kept[TEST_MAX / 512 + 1];
	struct q2_io *io = test_open(start);
	size_t n = flushed;

	test_io_replay(t, flushed, 0, io);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		kept[i] = test_number(5);
	for (; n < t->n_log && t->log[n].op == TEST_WRITE; n++) {
		const struct test_event *e = &t->log[n];

		for (size_t at = 0; at < e->len;) {
			uint64_t off = e->off + at;
			size_t len = (size_t)(512 - (off & 511));

			if (len > e->len - at)
				len = e->len - at;
			if (kept[off / 512] &&
			    q2_pwrite(io, e->bytes + at, len, off, NULL) !=
				    Q2_OK)
				abort();
			kept[off / 512] -= kept[off / 512] > 0;
			at += len;
		}
	}
	return io;
}

START_TEST(test_reordered)
{
	struct test_case c;
	struct test_io t;
	struct q2_io *base;

	test_case_make(&c, 1000 + (uint64_t)_i, 3 * EDITS);
	base = test_open(&c.before);
	test_io_open(&t, base);
	ck_assert_int_eq(q2_plan_apply(c.plan, &t.io, NULL, NULL), Q2_OK);
	for (size_t n = 0; n < t.n_log; n++)
		for (unsigned k = 0; k < 4 && t.log[n].op == TEST_FLUSH; k++) {
			struct q2_io *io = reordered(&c.before, &t, n + 1);

			both_ways(&c, io);
			q2_io_close(io);
		}
	q2_io_close(&t.io);
	q2_io_close(base);
	test_case_free(&c);
}
END_TEST

typedef enum q2_status way(const struct q2_plan *, struct q2_io *,
			   const struct q2_apply_opts *, struct q2_err *);

/* The k-th operation of one kind fails, at first only it, then all after it. */
static void fail_each(const struct test_case *c, way *go,
		      const struct test_image *start, enum test_op op)
{
	for (unsigned k = 1, ended = 0; !ended; k++)
		for (unsigned how = 0; how < 3; how++) {
			struct q2_io *base = test_open(start);
			struct q2_err err = {0};
			struct test_io t;

			test_io_open(&t, base);
			t.faults.fail_at[op] = k;
			t.faults.stay_broken = how == 1;
			t.faults.torn = how == 2;
			if (go(c->plan, &t.io, NULL, &err) == Q2_OK)
				ended = t.done[op] < k;
			else
				ck_assert_int_eq(err.code, Q2_E_IO);
			ck_assert(ended || err.code != Q2_OK);
			both_ways(c, base);
			q2_io_close(&t.io);
			q2_io_close(base);
		}
}

START_TEST(test_faults)
{
	struct test_case c;

	test_case_make(&c, 2000 + (uint64_t)_i, EDITS);
	for (enum test_op op = TEST_READ; op < TEST_OPS; op++) {
		fail_each(&c, q2_plan_apply, &c.before, op);
		fail_each(&c, q2_plan_redo, &c.before, op);
		fail_each(&c, q2_plan_undo, &c.after, op);
	}
	test_case_free(&c);
}
END_TEST

/* Whatever byte is changed: refused before the first write, or it made no
 * difference. */
START_TEST(test_changed)
{
	static way *const ways[] = {q2_plan_apply, q2_plan_redo, q2_plan_undo};
	struct test_case c;
	unsigned refused = 0;

	test_case_make(&c, 3000 + (uint64_t)_i, EDITS);
	for (size_t w = 0; w < 3; w++) {
		const struct test_image *start = w == 2 ? &c.after : &c.before;
		const struct test_image *end = w == 2 ? &c.before : &c.after;

		for (size_t at = 0; at < start->size; at++) {
			struct test_image now = *start;
			struct q2_err err = {0};
			struct q2_io *base;
			struct test_io t;

			now.bytes[at] ^= (uint8_t)(1 + test_number(255));
			base = test_open(&now);
			test_io_open(&t, base);
			if (ways[w](c.plan, &t.io, NULL, &err) == Q2_OK) {
				ck_assert(test_holds(base, end));
			} else {
				refused++;
				ck_assert_int_eq(err.code, Q2_E_CHANGED);
				ck_assert(test_holds(base, &now));
				ck_assert_uint_eq(t.n_log, 0);
			}
			q2_io_close(&t.io);
			q2_io_close(base);
		}
	}
	ck_assert_uint_gt(refused, 0);
	test_case_free(&c);
}
END_TEST

START_TEST(test_other_size)
{
	static way *const ways[] = {q2_plan_apply, q2_plan_redo, q2_plan_undo};
	struct test_case c;

	test_case_make(&c, 4000, EDITS);
	for (size_t w = 0; w < 3; w++)
		for (uint64_t size = 0; size < TEST_MAX; size += 1) {
			struct test_image now = w == 2 ? c.after : c.before;
			struct q2_err err = {0};
			struct q2_io *base;

			now.size = size;
			if (size == c.plan->old_size ||
			    (w && size == c.plan->new_size))
				continue;
			base = test_open(&now);
			ck_assert_int_eq(ways[w](c.plan, base, NULL, &err),
					 Q2_E_CHANGED);
			ck_assert(test_holds(base, &now));
			q2_io_close(base);
		}
	test_case_free(&c);
}
END_TEST

static struct test_case by_hand(void)
{
	static const uint8_t zero[8], one[8] = "\1\1\1\1\1\1\1\1";
	struct test_case c;

	memset(&c, 0, sizeof(c));
	c.before.size = c.after.size = 2048;
	ck_assert_int_eq(q2_plan_new(0, &c.plan, NULL), Q2_OK);
	c.plan->old_size = c.plan->new_size = 2048;
	c.plan->identity = 0;
	ck_assert_int_eq(q2_actions_push(&c.plan->actions, &c.plan->budget,
					 (struct q2_action){.text = ""}, NULL),
			 Q2_OK);
	for (unsigned i = 0; i < 4; i++) {
		struct q2_edit e = {.phase = i < 2 ? Q2_PH_NEW : Q2_PH_LOWER,
				    .offset = 600 * i,
				    .len = 8,
				    .before_len = 8,
				    .before = zero,
				    .after = one};

		ck_assert_int_eq(q2_edits_push(&c.plan->edits, &c.plan->budget,
					       e, NULL),
				 Q2_OK);
		memcpy(c.after.bytes + e.offset, one, 8);
	}
	return c;
}

static void identify(struct test_case *c)
{
	struct q2_io *io = test_open(&c->before);

	ck_assert_int_eq(q2_plan_identity(c->plan, io, &c->plan->identity,
					  NULL),
			 Q2_OK);
	q2_io_close(io);
}

static void expect_log(const struct test_io *t, const char *expected)
{
	char log[64];
	size_t n = 0;

	for (size_t i = 0; i < t->n_log && n < sizeof(log) - 1; i++)
		log[n++] = (char)(t->log[i].op == TEST_FLUSH ?
					  'f' :
					  '0' + t->log[i].off / 600);
	log[n] = '\0';
	ck_assert_str_eq(log, expected);
}

/* A flush after each phase that writes, in either direction. */
START_TEST(test_order)
{
	struct test_case c = by_hand();
	struct q2_io *base;
	struct test_io t;

	identify(&c);
	base = test_open(&c.before);
	test_io_open(&t, base);
	ck_assert_int_eq(q2_plan_apply(c.plan, &t.io, NULL, NULL), Q2_OK);
	expect_log(&t, "01f23f");
	q2_io_close(&t.io);
	test_io_open(&t, base);
	ck_assert_int_eq(q2_plan_undo(c.plan, &t.io, NULL, NULL), Q2_OK);
	expect_log(&t, "32f10f");
	q2_io_close(&t.io);
	/* Nothing is left to be done: nothing is written. */
	test_io_open(&t, base);
	ck_assert_int_eq(q2_plan_undo(c.plan, &t.io, NULL, NULL), Q2_OK);
	expect_log(&t, "");
	q2_io_close(&t.io);
	q2_io_close(base);
	test_case_free(&c);
}
END_TEST

static bool stop_at_third(void *ctx, const struct q2_progress *p)
{
	unsigned *calls = ctx;

	ck_assert_uint_eq(p->total, 4);
	++*calls;
	return p->done == 3;
}

START_TEST(test_interrupt)
{
	struct test_case c = by_hand();
	struct q2_err err = {0};
	unsigned calls = 0;
	struct q2_apply_opts opts = {.progress = stop_at_third, .ctx = &calls};
	struct q2_io *base;
	struct test_io t;

	identify(&c);
	base = test_open(&c.before);
	test_io_open(&t, base);
	ck_assert_int_eq(q2_plan_apply(c.plan, &t.io, &opts, &err),
			 Q2_E_INTERRUPTED);
	ck_assert_int_eq(err.code, Q2_E_INTERRUPTED);
	ck_assert_uint_ge(calls, 4);
	/* What was written is durable. */
	expect_log(&t, "01f2f");
	both_ways(&c, base);
	q2_io_close(&t.io);
	q2_io_close(base);
	test_case_free(&c);
}
END_TEST

START_TEST(test_memory_limit)
{
	struct test_case c = by_hand();
	struct q2_apply_opts opts = {.max_memory = 1000};
	struct q2_io *base;

	identify(&c);
	base = test_open(&c.before);
	ck_assert_int_eq(q2_plan_apply(c.plan, base, &opts, NULL), Q2_E_BUDGET);
	ck_assert(test_holds(base, &c.before));
	q2_io_close(base);
	test_case_free(&c);
}
END_TEST

/* Every limit is either enough, or nothing is written. */
START_TEST(test_every_limit)
{
	struct test_case c;
	bool enough = false;

	test_case_make(&c, 18, 40);
	for (uint64_t limit = 1; !enough; limit += 1 + limit / 8) {
		struct q2_apply_opts opts = {.max_memory = limit};
		struct q2_io *base = test_open(&c.before);
		enum q2_status st = q2_plan_apply(c.plan, base, &opts, NULL);

		enough = st == Q2_OK;
		ck_assert(enough || st == Q2_E_BUDGET);
		ck_assert(test_holds(base, enough ? &c.after : &c.before));
		q2_io_close(base);
	}
	test_case_free(&c);
}
END_TEST

/* A device is never made longer, and a plan must make sense. */
START_TEST(test_unsound)
{
	struct test_case c = by_hand();
	struct q2_plan *p = c.plan;
	struct q2_edit *e = &p->edits.at[2];
	struct q2_edit good = *e;

	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_OK);
	e->offset = 2041;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	p->new_size = 2049;
	e->before_len = 7;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_OK);
	e->before_len = 6;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	e->before_len = 7;
	p->is_device = true;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	p->is_device = false;
	p->new_size = 2047;
	*e = good;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	p->new_size = 2048;
	e->offset = UINT64_MAX - 3;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	*e = good;
	e->phase = Q2_PH_MARK;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	*e = good;
	e->action = 1;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	*e = good;
	e->before_len = 9;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	*e = good;
	e->len = e->before_len = 0;
	ck_assert_int_eq(q2_plan_sound(p, NULL), Q2_E_FORMAT);
	test_case_free(&c);
}
END_TEST

/* Two edits of one place that do not fit each other. */
START_TEST(test_contradiction)
{
	struct test_case c = by_hand();
	struct q2_err err = {0};
	struct q2_io *base;

	identify(&c);
	c.plan->edits.at[3].offset = 4;
	base = test_open(&c.before);
	ck_assert_int_eq(q2_plan_apply(c.plan, base, NULL, &err), Q2_E_FORMAT);
	ck_assert_uint_eq(err.offset, 4);
	ck_assert(test_holds(base, &c.before));
	q2_io_close(base);
	test_case_free(&c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("apply");
	TCase *t = tcase_create("apply");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_prefixes, 0, CASES);
	tcase_add_loop_test(t, test_reordered, 0, CASES);
	tcase_add_loop_test(t, test_faults, 0, CASES / 4);
	tcase_add_loop_test(t, test_changed, 0, CASES / 6);
	tcase_add_test(t, test_other_size);
	tcase_add_test(t, test_order);
	tcase_add_test(t, test_interrupt);
	tcase_add_test(t, test_memory_limit);
	tcase_add_test(t, test_every_limit);
	tcase_add_test(t, test_unsound);
	tcase_add_test(t, test_contradiction);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
