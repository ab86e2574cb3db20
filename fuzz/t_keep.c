/*
 * t_keep.c - target keep: checks and plans that go on from a kept state.
 *
 * SPDX-License-Identifier: MIT
 *
 * S-1 whenever the state was kept, what goes on from it says the same as what was
 * never interrupted, and so does what kept it; S-2 a state that cannot be whole is
 * not called so, and one that is damaged does no harm; I-7 nothing is left behind.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "world.h"
#include "../tests/support/testio.h"

#define PIECE 61u    /* bytes that are given at a time */
#define SMALL 65536u /* bytes of an image for which plans are made so often */

/* A state in memory. */
struct state {
	uint8_t *bytes;
	size_t n;
	size_t room;
	size_t at;	    /* reading */
	uint32_t asked;	    /* how often */
	uint32_t wanted;    /* at this asking it is kept; 0: when pressed */
	uint32_t writes;
	uint32_t fail_write;
	bool whole;
	uint32_t stop; /* the call of progress that stops it; 0: none */
	uint32_t calls;
};

static bool state_wanted(void *ctx, bool pressing)
{
	struct state *s = ctx;
	bool yes = ++s->asked == s->wanted ||
		   (s->wanted == 0 && pressing && s->stop);

	if (yes) {
		s->n = 0;
		s->whole = false;
	}
	return yes;
}

static int state_write(void *ctx, const char *bytes, size_t n)
{
	struct state *s = ctx;

	if (s->fail_write)
		q2f_place(Q2F_PLACE_STATE, s->writes + 1);
	if (++s->writes == s->fail_write) {
		q2f_fault_reached = true;
		return -1;
	}
	if (s->room - s->n < n) {
		uint8_t *more = q2f_own(2 * s->room + n);

		if (s->n)
			memcpy(more, s->bytes, s->n);
		q2f_own_free(s->bytes);
		s->bytes = more;
		s->room = 2 * s->room + n;
	}
	memcpy(s->bytes + s->n, bytes, n);
	s->n += n;
	return 0;
}

static void state_end(void *ctx, bool whole)
{
	struct state *s = ctx;

	if (whole && s->fail_write && s->writes >= s->fail_write)
		q2f_violation("S-2", "a state is whole, though a write failed");
	s->whole = whole;
}

static size_t state_read(void *ctx, void *bytes, size_t n)
{
	struct state *s = ctx;

	if (n > PIECE)
		n = PIECE;
	if (n > s->n - s->at)
		n = s->n - s->at;
	if (n)
		memcpy(bytes, s->bytes + s->at, n);
	s->at += n;
	return n;
}

static struct q2_check_keep keeping(struct state *s, bool going_on)
{
	s->at = 0;
	return (struct q2_check_keep){.wanted = state_wanted,
				      .write = state_write,
				      .end = state_end,
				      .read = going_on ? state_read : NULL,
				      .ctx = s};
}

/* One run with a state: of a check, or of a plan.  What it came to is one number,
 * 0 if it was not carried through. */
typedef uint64_t one_run(const struct q2f_input *in,
			 const struct q2_check_keep *keep, struct state *s);
struct kept {
	one_run *once;
	unsigned moments; /* at which a state is kept, of one image */
	unsigned damages; /* of one state */
	bool weighs; /* what there is no memory for is no evidence */
};

static uint64_t check_once(const struct q2f_input *in,
			   const struct q2_check_keep *keep, struct state *s)
{
	struct q2f_said said = {.keep = keep, .stop = s->stop};
	struct q2_check_result *r = &said.result;
	struct q2_io *io = q2f_io_new(in);
	uint64_t sum = 0;

	q2f_heap_watch(in->ctl.fail_alloc);
	q2f_run_check(io, in->ctl.flags, &said);
	q2f_heap_empty("a check");
	q2_io_close(io);
	if (said.status == Q2_OK) {
		const uint64_t all[] = {
			said.digest, said.findings, (uint64_t)r->verdict,
			r->partial, r->corruptions, r->leaks, r->advice,
			r->check_errors, r->allocated_clusters,
			r->fragmented_clusters, r->compressed_clusters,
			r->image_end_offset, r->data_file_end};

		sum = q2_hash(all, sizeof(all)) | 1;
	}
	return sum;
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	struct state *s = ctx;

	(void)p;
	if (s->stop)
		q2f_place(Q2F_PLACE_STOP, s->calls + 1);
	if (++s->calls != s->stop)
		return false;
	q2f_fault_reached = true;
	return true;
}

static uint64_t plan_once(const struct q2f_input *in,
			  const struct q2_check_keep *keep, struct state *s)
{
	const struct q2_plan_opts opts = {
		.flags = Q2_PLAN_ALL |
			 (in->ctl.pick & 1 ? Q2_PLAN_RESCUE : 0) |
			 (in->ctl.flags & Q2F_FREE ? Q2_PLAN_FREE_ORPHANS : 0),
		.progress = on_progress,
		.ctx = s,
		.keep = keep,
	};
	struct q2_plan_result result;
	struct q2_err err = {0};
	struct q2_plan *plan;
	struct test_io t;
	struct q2_io *io;
	enum q2_status st;
	uint64_t sum = 0;

	if (q2_io_memory(in->image, in->size, &io, NULL) != Q2_OK)
		return 0;
	test_io_open(&t, io);
	t.faults.fail_at[TEST_READ] = in->ctl.fail_read;
	q2f_heap_watch(in->ctl.fail_alloc);
	st = q2_plan_make(&t.io, &opts, &plan, &result, &err);
	if (in->ctl.fail_read && t.done[TEST_READ] >= in->ctl.fail_read)
		q2f_fault_reached = true;
	if (st == Q2_OK)
		sum = q2f_plan_digest(plan);
	else if (err.code == Q2_OK)
		q2f_violation("C-1", "planning: status %d without a cause",
			      (int)st);
	q2_plan_free(plan);
	q2f_heap_empty("planning");
	q2_io_close(&t.io);
	q2_io_close(io);
	return sum;
}

/* Going on from a state with one byte changed, or without its end: any answer is a
 * right one, if there is one. */
static void damaged(const struct kept *of, const struct q2f_input *in, struct state *s)
{
	struct q2_check_keep keep = keeping(s, true);
	unsigned n = q2f_thorough ? of->damages : 1;
	uint64_t h = q2_hash(in->image, in->size) + in->ctl.pick;
	size_t whole = s->n;

	for (unsigned i = 0; i < n && whole; i++) {
		size_t at = (size_t)((h + i * whole / n) % whole);
		uint8_t before = s->bytes[at];

		s->bytes[at] ^= (uint8_t)(1u << (h + i) % 8);
		s->at = 0;
		(void)of->once(in, &keep, s);
		s->bytes[at] = before;
		s->n = at;
		s->at = 0;
		if (of->once(in, &keep, s))
			q2f_violation("S-2", "%zu of %zu bytes are taken for a state",
				      at, whole);
		s->n = whole;
	}
}

/* Keeps the state at the k-th asking, and goes on from there. */
static void at_moment(const struct kept *of, const struct q2f_input *in, uint32_t k,
		      uint64_t want)
{
	struct state s = {.wanted = k};
	struct q2_check_keep keep = keeping(&s, false);

	if (of->once(in, &keep, &s) != want)
		q2f_violation("S-1", "keeping the state changes what is said");
	if (s.whole) {
		s.wanted = 0;
		keep = keeping(&s, true);
		if (of->once(in, &keep, &s) != want)
			q2f_violation("S-1", "going on from the state of asking %u says something else",
				      k);
		damaged(of, in, &s);
	}
	q2f_own_free(s.bytes);
}

/* Stopped by the user, and gone on with. */
static void stopped(const struct kept *of, const struct q2f_input *in, uint32_t call,
		    uint64_t want)
{
	struct state s = {.stop = call};
	struct q2_check_keep keep = keeping(&s, false);

	(void)of->once(in, &keep, &s);
	s.stop = 0;
	keep = keeping(&s, true);
	if (s.whole && of->once(in, &keep, &s) != want)
		q2f_violation("S-1", "going on after a stop says something else");
	q2f_own_free(s.bytes);
}

static void moments(const struct kept *of, const struct q2f_input *in)
{
	struct state s = {0};
	struct q2_check_keep keep = keeping(&s, false);
	uint64_t want = of->once(in, NULL, &s);
	uint64_t h = q2_hash(in->image, in->size) + in->ctl.pick;
	uint32_t calls;

	calls = s.calls;
	if (want == 0)
		return;
	if (of->once(in, &keep, &s) != want)
		q2f_violation("S-1", "that a state may be kept changes what is said");
	for (uint32_t i = 0; i < of->moments && s.asked && q2f_thorough; i++)
		if (i == 0 || i * s.asked / of->moments !=
				      (i - 1) * s.asked / of->moments)
			at_moment(of, in, 1 + i * s.asked / of->moments, want);
	if (s.asked)
		at_moment(of, in, 1 + (uint32_t)(h % s.asked), want);
	stopped(of, in, 1 + (uint32_t)(h % (calls + 8)), want);
}

/* While something fails: what was kept all the same is as good as any. */
static void faults(const struct kept *of, const struct q2f_input *in)
{
	struct q2f_input sound = *in;
	struct state s = {.wanted = in->ctl.stop ? 0 : 1 + in->ctl.pick,
			  .stop = in->ctl.stop,
			  .fail_write = in->ctl.fail_write};
	struct q2_check_keep keep = keeping(&s, false);
	uint64_t want;

	(void)of->once(in, &keep, &s);
	if (s.whole) {
		sound.ctl.fail_alloc = sound.ctl.fail_read = 0;
		s.wanted = s.fail_write = s.stop = s.calls = 0;
		want = of->once(&sound, NULL, &s);
		keep = keeping(&s, true);
		/* What could not be read then is not read again. */
		if (of->once(&sound, &keep, &s) != want && in->ctl.fail_read == 0 &&
		    !(of->weighs && in->ctl.fail_alloc))
			q2f_violation("S-1", "what was kept before a failure says something else");
		keep = keeping(&s, true);
		(void)of->once(in, &keep, &s);
	}
	q2f_own_free(s.bytes);
}

/* Only a file's times tell whether it was written to. */
static void no_identity(const struct q2f_input *in)
{
	const struct q2_attach attach = {.slot = 1, .host = 512};
	const struct q2_check_opts check = {.flags = in->ctl.flags};
	const struct q2_plan_opts plan = {.attach = &attach, .n_attach = 1};
	struct q2_io *io = q2f_io_new(in);
	uint64_t id;

	if (q2_check_identity(io, &check, &id) ||
	    q2_search_identity(io, &plan, &id))
		q2f_violation("S-2", "what lies in memory is known again");
	q2_io_close(io);
}

int q2f_keep(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	/* An odd choice: searches for what is lost. */
	static const struct kept checks = {check_once, 4, 8, false},
				 plans = {plan_once, 2, 2, true};
	struct q2f_world w;

	q2f_world_make(&w, &in);
	if (q2f_faulty(&in.ctl)) {
		faults(&checks, &in);
		faults(&plans, &in);
		return 0;
	}
	no_identity(&w.file[0]);
	moments(&checks, &w.file[0]);
	if (in.size <= SMALL && in.ctl.hole == 0 && q2f_sampled(&in, 8))
		moments(&plans, &w.file[0]);
	/* The second file as a state. */
	if (w.n > 1) {
		struct state s = {.bytes = q2f_unconst(w.file[1].image),
				  .n = w.file[1].size};
		struct q2_check_keep keep = keeping(&s, true);

		(void)check_once(&w.file[0], &keep, &s);
	}
	return 0;
}
