/*
 * test_planfile.c - plans stored, read back, and refused.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/testio.h"
#include "../support/testplan.h"
#include "base/endian.h"
#include "base/hash.h"
#include "repair/planfile.h"

static struct q2_io *store(const struct q2_plan *plan, enum q2_plan_kind kind)
{
	struct q2_io *io;

	ck_assert_int_eq(q2_io_memory_rw(NULL, 0, 0, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_pf_write(plan, kind, 0, io, NULL), Q2_OK);
	return io;
}

static void same_action(const struct q2_action *a, const struct q2_action *b)
{
	ck_assert_uint_eq(a->problem, b->problem);
	ck_assert_int_eq(a->effect, b->effect);
	ck_assert_str_eq(a->text, b->text);
	ck_assert_ptr_eq(a->f.problem, b->f.problem);
	ck_assert_uint_eq(a->f.fields, b->f.fields);
	ck_assert_uint_eq(a->f.host, b->f.host);
	ck_assert_uint_eq(a->f.guest, b->f.guest);
	ck_assert_uint_eq(a->f.length, b->f.length);
	ck_assert_uint_eq(a->f.tree, b->f.tree);
	ck_assert_uint_eq(a->f.text_len, b->f.text_len);
	ck_assert_mem_eq(a->f.text, b->f.text, sizeof(a->f.text));
}

static void same_edit(const struct q2_edit *a, const struct q2_edit *b)
{
	ck_assert_int_eq(a->phase, b->phase);
	ck_assert_uint_eq(a->action, b->action);
	ck_assert_uint_eq(a->offset, b->offset);
	ck_assert_uint_eq(a->before_len, b->before_len);
	ck_assert_uint_eq(a->len, b->len);
	ck_assert(memcmp(a->before, b->before, a->before_len) == 0);
	ck_assert(memcmp(a->after, b->after, a->len) == 0);
}

static void same(const struct q2_plan *a, const struct q2_plan *b)
{
	ck_assert_uint_eq(a->old_size, b->old_size);
	ck_assert_uint_eq(a->new_size, b->new_size);
	ck_assert_uint_eq(a->identity, b->identity);
	ck_assert_int_eq(a->is_device, b->is_device);
	ck_assert_uint_eq(a->actions.n, b->actions.n);
	ck_assert_uint_eq(a->edits.n, b->edits.n);
	for (size_t i = 0; i < a->actions.n; i++)
		same_action(&a->actions.at[i], &b->actions.at[i]);
	for (size_t i = 0; i < a->edits.n; i++)
		same_edit(&a->edits.at[i], &b->edits.at[i]);
}

START_TEST(test_round_trip)
{
	struct q2_plan_info info;
	struct q2_plan *read;
	struct test_case c;
	struct q2_io *io;

	test_case_make(&c, (uint64_t)_i, 20);
	for (int kind = Q2_PLAN_REVIEW; kind <= Q2_PLAN_BACKUP; kind++) {
		io = store(c.plan, (enum q2_plan_kind)kind);
		ck_assert_int_eq(q2_pf_read(io, 0, &read, &info, NULL), Q2_OK);
		same(c.plan, read);
		ck_assert_int_eq((int)info.kind, kind);
		ck_assert_int_eq(info.state, kind == Q2_PLAN_JOURNAL
						     ? Q2_STATE_APPLYING
						     : Q2_STATE_NONE);
		q2_plan_free(read);
		q2_io_close(io);
	}
	test_case_free(&c);
}
END_TEST

/* A file of these bytes must not be read. */
static void refused(const uint8_t *bytes, size_t n, enum q2_status expected)
{
	struct q2_err err = {0};
	struct q2_plan *read;
	struct q2_io *io;

	ck_assert_int_eq(q2_io_memory(bytes, n, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_pf_read(io, 0, &read, NULL, &err), expected);
	ck_assert_ptr_null(read);
	ck_assert_int_eq(err.code, expected);
	ck_assert_uint_gt(strlen(err.text), 10);
	q2_io_close(io);
}

static void mark(struct q2_io *io, enum q2_plan_state state)
{
	ck_assert_int_eq(q2_pf_add_state(io, state, 77, false, NULL), Q2_OK);
}

START_TEST(test_damage)
{
	struct test_case c;
	struct q2_io *io;
	uint8_t *bytes;
	size_t n;

	test_case_make(&c, 100 + (uint64_t)_i, 3);
	io = store(c.plan, _i % 2 ? Q2_PLAN_REVIEW : Q2_PLAN_JOURNAL);
	if (_i == 0)
		mark(io, Q2_STATE_FINISHED);
	n = (size_t)io->size;
	bytes = malloc(n + 1);
	ck_assert_ptr_nonnull(bytes);
	memcpy(bytes, q2_io_memory_bytes(io), n);
	bytes[n] = 0;
	for (size_t len = 0; len < n; len++)
		refused(bytes, len, Q2_E_FORMAT);
	refused(bytes, n + 1, Q2_E_FORMAT);
	for (size_t at = 0; at < n; at++) {
		uint8_t flip = (uint8_t)(1 << test_number(8));

		bytes[at] ^= flip;
		refused(bytes, n, Q2_E_FORMAT);
		bytes[at] ^= flip;
	}
	free(bytes);
	q2_io_close(io);
	test_case_free(&c);
}
END_TEST

START_TEST(test_foreign)
{
	static const char qcow2[512] = "QFI\373\0\0\0\3";
	struct q2_err err = {0};
	struct q2_plan *read;
	struct test_case c;
	struct q2_io *io;

	refused((const uint8_t *)qcow2, sizeof(qcow2), Q2_E_FORMAT);
	refused(NULL, 0, Q2_E_FORMAT);
	/* A later format is called so. */
	test_case_make(&c, 7, 3);
	io = store(c.plan, Q2_PLAN_REVIEW);
	ck_assert_int_eq(q2_pwrite(io, "\0\0\0\2", 4, Q2_PF_H_VERSION, NULL),
			 Q2_OK);
	ck_assert_int_eq(q2_pf_read(io, 0, &read, NULL, &err), Q2_E_FORMAT);
	ck_assert_ptr_nonnull(strstr(err.text, "format 2"));
	q2_io_close(io);
	test_case_free(&c);
}
END_TEST

/* What somebody wrote with a right checksum is judged nevertheless. */
START_TEST(test_counts_without_end)
{
	uint8_t h[Q2_PF_HEADER + 32];
	struct test_case c;
	struct q2_io *io;

	test_case_make(&c, 8, 3);
	io = store(c.plan, Q2_PLAN_REVIEW);
	memcpy(h, q2_io_memory_bytes(io), sizeof(h));
	q2_put_be64(h + Q2_PF_H_EDITS, UINT64_MAX);
	q2_put_be64(h + Q2_PF_H_ACTIONS, UINT64_MAX);
	q2_put_be64(h + Q2_PF_H_LENGTH, sizeof(h));
	q2_put_be64(h + Q2_PF_H_CHECKSUM, q2_hash(h, Q2_PF_H_CHECKSUM));
	refused(h, sizeof(h), Q2_E_FORMAT);
	for (int i = 0; i < 64; i++) {
		q2_put_be64(h + Q2_PF_H_LENGTH, UINT64_C(1) << i);
		q2_put_be64(h + Q2_PF_H_CHECKSUM,
			    q2_hash(h, Q2_PF_H_CHECKSUM));
		refused(h, sizeof(h), Q2_E_FORMAT);
	}
	q2_io_close(io);
	test_case_free(&c);
}
END_TEST

START_TEST(test_unsound_is_refused)
{
	struct q2_plan *read;
	struct test_case c;
	struct q2_io *io;

	test_case_make(&c, 9, 3);
	c.plan->edits.at[0].offset = c.plan->new_size;
	io = store(c.plan, Q2_PLAN_JOURNAL);
	ck_assert_int_eq(q2_pf_read(io, 0, &read, NULL, NULL), Q2_E_FORMAT);
	ck_assert_ptr_null(read);
	q2_io_close(io);
	test_case_free(&c);
}
END_TEST

static struct q2_plan_info state_of(struct q2_io *io)
{
	struct q2_plan_info info;
	struct q2_plan *read;

	ck_assert_int_eq(q2_pf_read(io, 0, &read, &info, NULL), Q2_OK);
	q2_plan_free(read);
	return info;
}

START_TEST(test_states)
{
	struct q2_err err = {0};
	struct test_case c;
	struct q2_io *io;
	struct test_io t;
	uint64_t size;

	test_case_make(&c, 10, 5);
	io = store(c.plan, Q2_PLAN_JOURNAL);
	size = io->size;
	ck_assert_int_eq(state_of(io).state, Q2_STATE_APPLYING);
	test_io_open(&t, io);
	ck_assert_int_eq(q2_pf_add_state(&t.io, Q2_STATE_FINISHED, 123456789,
					 true, NULL),
			 Q2_OK);
	/* One sector, then durable. */
	ck_assert_uint_eq(t.n_log, 2);
	ck_assert_uint_eq(t.log[0].off % 512, 0);
	ck_assert_uint_eq(t.log[0].len, 512);
	ck_assert_int_eq(t.log[1].op, TEST_FLUSH);
	q2_io_close(&t.io);
	ck_assert_int_eq(state_of(io).state, Q2_STATE_FINISHED);
	ck_assert_uint_eq(state_of(io).changed, 123456789);
	ck_assert(state_of(io).discarded);
	for (unsigned n = 1; n + 1 < Q2_PF_SLOTS; n += 2) {
		mark(io, Q2_STATE_UNDOING);
		ck_assert_int_eq(state_of(io).state, Q2_STATE_UNDOING);
		mark(io, Q2_STATE_UNDONE);
		ck_assert_int_eq(state_of(io).state, Q2_STATE_UNDONE);
		ck_assert(!state_of(io).discarded);
	}
	ck_assert_int_eq(q2_pf_add_state(io, Q2_STATE_APPLYING, 0, false, &err),
			 Q2_E_RANGE);
	ck_assert_int_eq(state_of(io).state, Q2_STATE_UNDONE);
	ck_assert_uint_eq(io->size, size);
	q2_io_close(io);
	test_case_free(&c);
}
END_TEST

/* A state is not taken from the journal of another plan. */
START_TEST(test_foreign_state)
{
	struct test_case a, b;
	struct q2_io *x, *y;
	uint8_t slot[Q2_PF_SLOT];
	struct q2_plan *read;
	const uint64_t end = Q2_PF_SLOTS * Q2_PF_SLOT;

	test_case_make(&a, 11, 5);
	test_case_make(&b, 12, 5);
	x = store(a.plan, Q2_PLAN_JOURNAL);
	y = store(b.plan, Q2_PLAN_JOURNAL);
	mark(x, Q2_STATE_FINISHED);
	ck_assert_int_eq(q2_pread(x, slot, sizeof(slot), x->size - end, NULL),
			 Q2_OK);
	ck_assert_int_eq(q2_pwrite(y, slot, sizeof(slot), y->size - end, NULL),
			 Q2_OK);
	ck_assert_int_eq(q2_pf_read(y, 0, &read, NULL, NULL), Q2_E_FORMAT);
	q2_io_close(x);
	q2_io_close(y);
	test_case_free(&a);
	test_case_free(&b);
}
END_TEST

START_TEST(test_write_faults)
{
	struct test_case c;

	test_case_make(&c, 13, 300);
	for (unsigned k = 1;; k++) {
		struct q2_err err = {0};
		struct q2_io *base;
		struct test_io t;
		enum q2_status st;

		ck_assert_int_eq(q2_io_memory_rw(NULL, 0, 0, &base, NULL),
				 Q2_OK);
		test_io_open(&t, base);
		t.faults.fail_at[TEST_WRITE] = k;
		st = q2_pf_write(c.plan, Q2_PLAN_JOURNAL, 0, &t.io, &err);
		ck_assert_int_eq(st, err.code);
		ck_assert(st == Q2_OK || st == Q2_E_IO);
		q2_io_close(&t.io);
		q2_io_close(base);
		if (st == Q2_OK) {
			ck_assert_uint_gt(k, 2);
			break;
		}
	}
	test_case_free(&c);
}
END_TEST

START_TEST(test_read_faults_and_memory)
{
	struct q2_plan *read;
	struct test_case c;
	struct q2_io *base;

	test_case_make(&c, 14, 300);
	base = store(c.plan, Q2_PLAN_JOURNAL);
	for (unsigned k = 1;; k++) {
		struct test_io t;
		enum q2_status st;

		test_io_open(&t, base);
		t.faults.fail_at[TEST_READ] = k;
		st = q2_pf_read(&t.io, 0, &read, NULL, NULL);
		q2_io_close(&t.io);
		if (st == Q2_OK)
			break;
		ck_assert_int_eq(st, Q2_E_IO);
		ck_assert_ptr_null(read);
	}
	q2_plan_free(read);
	ck_assert_int_eq(q2_pf_read(base, 10000, &read, NULL, NULL),
			 Q2_E_BUDGET);
	ck_assert_ptr_null(read);
	q2_io_close(base);
	test_case_free(&c);
}
END_TEST

/* Long runs of zeros cost nothing in the file, and come back. */
START_TEST(test_zeros)
{
	static const uint8_t zeros[3 << 20];
	struct q2_plan *plan, *read;
	struct q2_io *io;

	ck_assert_int_eq(q2_plan_new(0, &plan, NULL), Q2_OK);
	plan->old_size = plan->new_size = sizeof(zeros);
	ck_assert_int_eq(q2_actions_push(&plan->actions, &plan->budget,
					 (struct q2_action){.text = ""}, NULL),
			 Q2_OK);
	for (int i = 0; i < 100; i++) {
		struct q2_edit e = {.offset = 0,
				    .len = 2 << 20,
				    .before_len = 2 << 20,
				    .before = zeros,
				    .after = zeros};

		ck_assert_int_eq(q2_edits_push(&plan->edits, &plan->budget, e,
					       NULL),
				 Q2_OK);
	}
	io = store(plan, Q2_PLAN_REVIEW);
	ck_assert_uint_lt(io->size, 10000);
	ck_assert_int_eq(q2_pf_read(io, 4 << 20, &read, NULL, NULL), Q2_OK);
	same(plan, read);
	q2_plan_free(read);
	q2_io_close(io);
	/* Longer ones are written. */
	plan->edits.at[0].len = plan->edits.at[0].before_len = sizeof(zeros);
	io = store(plan, Q2_PLAN_REVIEW);
	ck_assert_uint_gt(io->size, 2 * sizeof(zeros));
	ck_assert_int_eq(q2_pf_read(io, 0, &read, NULL, NULL), Q2_OK);
	same(plan, read);
	q2_plan_free(read);
	q2_io_close(io);
	q2_plan_free(plan);
}
END_TEST

/* Every limit is either enough or refused, and never in between. */
START_TEST(test_every_limit)
{
	struct test_case c;
	struct q2_io *base;
	bool enough = false;

	test_case_make(&c, 17, 200);
	base = store(c.plan, Q2_PLAN_JOURNAL);
	for (uint64_t limit = 1; !enough; limit += 1 + limit / 16) {
		struct q2_plan *read;
		struct q2_err err = {0};
		enum q2_status st = q2_pf_read(base, limit, &read, NULL, &err);

		enough = st == Q2_OK;
		ck_assert(enough || st == Q2_E_BUDGET);
		ck_assert_int_eq(err.code, st);
		ck_assert(enough == (read != NULL));
		q2_plan_free(read);
	}
	q2_io_close(base);
	test_case_free(&c);
}
END_TEST

START_TEST(test_files)
{
	char dir[] = "/tmp/q2planfile-XXXXXX";
	char path[64];
	struct q2_err err = {0};
	struct q2_plan *read;
	struct test_case c;

	test_case_make(&c, 15, 5);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/plan", dir);
	ck_assert_int_eq(q2_plan_save(c.plan, path, Q2_PLAN_REVIEW, false, NULL),
			 Q2_OK);
	ck_assert_int_eq(q2_plan_save(c.plan, path, Q2_PLAN_REVIEW, false, &err),
			 Q2_E_IO);
	ck_assert_int_eq(q2_plan_save(c.plan, path, Q2_PLAN_REVIEW, true, NULL),
			 Q2_OK);
	ck_assert_int_eq(q2_plan_load(path, 0, &read, NULL, NULL), Q2_OK);
	same(c.plan, read);
	q2_plan_free(read);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(q2_plan_load(path, 0, &read, NULL, NULL), Q2_E_IO);
	ck_assert_ptr_null(read);
	/* Nothing is left over. */
	ck_assert_int_eq(rmdir(dir), 0);
	test_case_free(&c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("planfile");
	TCase *t = tcase_create("planfile");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_round_trip, 0, 20);
	tcase_add_loop_test(t, test_damage, 0, 4);
	tcase_add_test(t, test_foreign);
	tcase_add_test(t, test_counts_without_end);
	tcase_add_test(t, test_unsound_is_refused);
	tcase_add_test(t, test_states);
	tcase_add_test(t, test_foreign_state);
	tcase_add_test(t, test_write_faults);
	tcase_add_test(t, test_read_faults_and_memory);
	tcase_add_test(t, test_zeros);
	tcase_add_test(t, test_every_limit);
	tcase_add_test(t, test_files);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
