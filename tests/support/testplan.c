/*
 * testplan.c - plans made by chance, and what they must make of an image.
 *
 * SPDX-License-Identifier: MIT
 */
#include "testplan.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/io.h"

static uint64_t state;

void test_seed(uint64_t seed)
{
	state = seed;
}

uint32_t test_number(uint32_t below)
{
	state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (uint32_t)(state >> 33) % below;
}

static void need(bool condition)
{
	if (!condition)
		abort();
}

static void add_action(struct test_case *c)
{
	struct q2_action a = {
		.problem = q2_problem_at(test_number(20))->number,
		.effect = (enum q2_effect)test_number(4),
	};
	char text[] = "an action of a test, number 0";

	a.f.problem = q2_problem_by_number(a.problem);
	a.f.fields = Q2_F_HOST | Q2_F_GUEST | Q2_F_LENGTH | Q2_F_TEXT;
	a.f.host = test_number(TEST_MAX);
	a.f.guest = (uint64_t)test_number(TEST_MAX) << 20;
	a.f.length = 512;
	a.f.tree = Q2_TREE_ACTIVE;
	memcpy(a.f.text, "na\0me", 5);
	a.f.text_len = 5;
	text[sizeof(text) - 2] = (char)('0' + test_number(10));
	a.text = (const char *)q2_plan_keep(c->plan, text, sizeof(text), NULL);
	need(a.text != NULL);
	need(q2_actions_push(&c->plan->actions, &c->plan->budget, a, NULL) ==
	     Q2_OK);
}

/* A write somewhere, often where another one was. */
static void add_edit(struct test_case *c, enum q2_phase phase, uint64_t new_size)
{
	struct test_image *now = &c->after;
	struct q2_edit e = {.phase = phase};
	/* What is before may or may not count what the file is to get. */
	uint64_t known = test_number(2) ? now->size : new_size;
	uint8_t bytes[1600];

	e.len = 1 + test_number(test_number(3) ? 24 : 1500);
	e.offset = test_number((uint32_t)new_size);
	if (test_number(2))
		e.offset &= ~UINT64_C(511);
	e.len = (uint32_t)q2_min(e.len, new_size - e.offset);
	for (size_t i = 0; i < e.len; i++)
		bytes[i] = test_number(6) ? (uint8_t)test_number(256)
					  : now->bytes[e.offset + i];
	if (e.offset < known)
		e.before_len = (uint32_t)q2_min(e.len, known - e.offset);
	e.action = test_number((uint32_t)c->plan->actions.n);
	e.before = q2_plan_keep(c->plan, now->bytes + e.offset, e.before_len,
				NULL);
	e.after = q2_plan_keep(c->plan, bytes, e.len, NULL);
	need(e.before && e.after);
	memcpy(now->bytes + e.offset, bytes, e.len);
	now->size = q2_max(now->size, e.offset + e.len);
	need(q2_edits_push(&c->plan->edits, &c->plan->budget, e, NULL) == Q2_OK);
}

void test_case_make(struct test_case *c, uint64_t seed, unsigned n_edits)
{
	struct q2_io *io;
	uint64_t new_size;

	test_seed(seed);
	memset(c, 0, sizeof(*c));
	c->before.size = test_number(5) ? 1 + test_number(3000)
					: 512 * (1 + test_number(5));
	for (size_t i = 0; i < c->before.size; i++)
		c->before.bytes[i] = (uint8_t)test_number(256);
	new_size = c->before.size + (test_number(3) ? test_number(3000) : 0);
	c->after = c->before;
	need(q2_plan_new(0, &c->plan, NULL) == Q2_OK);
	add_action(c);
	add_action(c);
	for (unsigned i = 0; i < n_edits; i++)
		add_edit(c, (enum q2_phase)(i * Q2_PHASES / n_edits), new_size);
	c->after.size = new_size;
	c->plan->old_size = c->before.size;
	c->plan->new_size = new_size;
	io = test_open(&c->before);
	/* As no edit is made yet, nothing is to be taken from them. */
	{
		size_t n = c->plan->edits.n;

		c->plan->edits.n = 0;
		need(q2_plan_identity(c->plan, io, &c->plan->identity, NULL) ==
		     Q2_OK);
		c->plan->edits.n = n;
	}
	q2_io_close(io);
}

void test_case_free(struct test_case *c)
{
	q2_plan_free(c->plan);
}

struct q2_io *test_open(const struct test_image *image)
{
	struct q2_io *io;

	need(q2_io_memory_rw(image->bytes, (size_t)image->size, 0, &io, NULL) ==
	     Q2_OK);
	return io;
}

bool test_holds(struct q2_io *io, const struct test_image *image)
{
	uint8_t bytes[TEST_MAX];

	return io->size == image->size &&
	       q2_pread(io, bytes, (size_t)io->size, 0, NULL) == Q2_OK &&
	       memcmp(bytes, image->bytes, (size_t)io->size) == 0;
}
