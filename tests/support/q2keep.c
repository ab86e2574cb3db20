/*
 * q2keep.c - a check that is interrupted and goes on says what one that is not says.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: q2keep [--data] [--chain] IMAGE
 *        q2keep --rescue IMAGE
 *
 * The latter does so with the plan of a repair that searches the file.
 *
 * Each state that a check can leave is gone on from; a check is interrupted after
 * each number of steps, again and again, until it is at its end; states are damaged,
 * cut short, and cannot be written.  Prints what does not hold; exit status 1 then.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "q2.h"
#include "repair/plan.h"

#define STATES 64u
#define DAMAGES 48u

static const char *name;
static unsigned flags = Q2_CHECK_FULL;
static bool rescue;
static struct q2_io *io;
static int failures;

/* All that a check says. */
struct told {
	struct q2_buf findings;
	struct q2_check_result result;
	enum q2_status st;
	unsigned ticks;
};

struct trial {
	struct told *told;
	unsigned until;	      /* interrupted at that tick; 0: never */
	bool always;	      /* write every state */
	bool refuse;	      /* fail to write */
	struct q2_buf writing;
	struct q2_buf states[STATES]; /* if always; or the last one, at [0] */
	size_t n_states;
	unsigned refused;
	const struct q2_buf *from; /* NULL: from the beginning */
	size_t at;
};

static int collect(void *ctx, const char *bytes, size_t n)
{
	q2_buf_add(ctx, bytes, n);
	return 0;
}

static void on_found(void *ctx, const struct q2_finding *f)
{
	struct trial *t = ctx;
	const struct q2_sink sink = {collect, &t->told->findings};

	if (q2_finding_json(f, "image", &sink) != Q2_OK)
		abort();
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	struct trial *t = ctx;

	(void)p;
	return ++t->told->ticks == t->until;
}

static bool wanted(void *ctx, bool pressing)
{
	const struct trial *t = ctx;

	return pressing || t->always || t->refuse;
}

static int add(void *ctx, const char *bytes, size_t n)
{
	struct trial *t = ctx;

	if (t->refuse)
		return -1;
	q2_buf_add(&t->writing, bytes, n);
	return 0;
}

static void end(void *ctx, bool whole)
{
	struct trial *t = ctx;

	t->refused += !whole;
	if (whole && (!t->always || t->n_states < STATES)) {
		if (!t->always && t->n_states)
			q2_buf_free(&t->states[--t->n_states]);
		t->states[t->n_states++] = t->writing;
	} else {
		q2_buf_free(&t->writing);
	}
	t->writing = (struct q2_buf){0};
}

static size_t take(void *ctx, void *bytes, size_t n)
{
	struct trial *t = ctx;
	size_t left = t->from->n - t->at;

	/* Pieces of any size have to do. */
	n = n < 7 ? n : 7;
	n = n < left ? n : left;
	memcpy(bytes, t->from->at + t->at, n);
	t->at += n;
	return n;
}

/* All of a plan, as text: its writes with their bytes. */
static void tell_plan(struct told *told, const struct q2_plan *plan,
		      const struct q2_plan_result *result)
{
	const struct q2_sink sink = {collect, &told->findings};

	q2_buf_format(&told->findings, "\nrounds %u, converged %d\n",
		      result->rounds, !result->not_converged);
	if (plan == NULL)
		return;
	if (q2_plan_json(plan, NULL, Q2_TEXT_ALL, &sink) != Q2_OK)
		abort();
	for (size_t i = 0; i < plan->edits.n; i++) {
		const struct q2_edit *e = &plan->edits.at[i];

		q2_buf_format(&told->findings, "\n%d %" PRIu64 " ",
			      (int)e->phase, e->offset);
		q2_buf_add(&told->findings, e->after, (size_t)e->len);
	}
}

static void plan(struct trial *t, struct told *told,
		 const struct q2_check_keep *keep)
{
	const struct q2_plan_opts opts = {.flags = Q2_PLAN_ALL |
						   Q2_PLAN_RESCUE,
					  .found = on_found,
					  .progress = on_progress,
					  .ctx = t,
					  .keep = keep};
	struct q2_plan_result result;
	struct q2_plan *made;
	struct q2_err err = {0};

	told->st = q2_plan_make(io, &opts, &made, &result, &err);
	tell_plan(told, made, &result);
	told->result = result.after;
	q2_plan_free(made);
}

static void check(struct trial *t, struct told *told, bool plain)
{
	const struct q2_check_keep keep = {.wanted = wanted,
					   .write = add,
					   .end = end,
					   .read = t->from ? take : NULL,
					   .ctx = t};
	const struct q2_check_opts opts = {.flags = flags,
					   .path = name,
					   .found = on_found,
					   .progress = on_progress,
					   .ctx = t,
					   .keep = plain ? NULL : &keep};
	struct q2_err err = {0};

	*told = (struct told){0};
	t->told = told;
	t->at = 0;
	if (rescue)
		plan(t, told, opts.keep);
	else
		told->st = q2_check(io, &opts, &told->result, &err);
	told->result.peak_memory = 0;
}

/* Between the members may be anything. */
static bool same_result(const struct q2_check_result *a,
			const struct q2_check_result *b)
{
	const struct q2_check_result *each[2] = {a, b};
	uint64_t all[2][22];

	for (unsigned i = 0; i < 2; i++) {
		const struct q2_check_result *r = each[i];
		const uint64_t members[22] = {
			r->verdict, r->is_raw, r->partial, r->in_use,
			r->version, r->cluster_bits, r->refcount_bits,
			r->snapshots, r->bitmaps, r->virtual_size,
			r->file_size, r->corruptions, r->leaks, r->advice,
			r->check_errors, r->total_clusters,
			r->allocated_clusters, r->fragmented_clusters,
			r->compressed_clusters, r->image_end_offset,
			r->data_file_end, r->peak_memory};

		memcpy(all[i], members, sizeof(members));
	}
	return memcmp(all[0], all[1], sizeof(all[0])) == 0;
}

static bool same(const struct told *a, const struct told *b)
{
	return a->st == b->st && a->findings.n == b->findings.n &&
	       (a->findings.n == 0 ||
		memcmp(a->findings.at, b->findings.at, a->findings.n) == 0) &&
	       same_result(&a->result, &b->result);
}

static void forget(struct trial *t)
{
	for (size_t i = 0; i < t->n_states; i++)
		q2_buf_free(&t->states[i]);
	q2_buf_free(&t->writing);
	*t = (struct trial){0};
}

static void expect(const struct told *want, struct told *got, const char *what,
		   unsigned long long which)
{
	if (!same(want, got)) {
		failures++;
		fprintf(stderr, "%s: %s %llu: not the same\n", name, what, which);
		fprintf(stderr, "status %d, not %d; findings:\n%.*snot:\n%.*s",
			(int)got->st, (int)want->st, (int)got->findings.n,
			got->findings.at ? got->findings.at : "",
			(int)want->findings.n,
			want->findings.at ? want->findings.at : "");
	}
	q2_buf_free(&got->findings);
}

/* Altered states end the check, or it says something; neither of them crashes. */
static void damage(const struct q2_buf *state)
{
	size_t damages = rescue ? DAMAGES / 4 : DAMAGES;

	for (size_t i = 0; i < damages; i++) {
		size_t at = i * state->n / damages;
		char was = state->at[at];
		struct trial t = {.from = state};
		struct q2_buf cut = *state;
		struct told told;

		state->at[at] = (char)(was ^ (1 << i % 8));
		check(&t, &told, false);
		q2_buf_free(&told.findings);
		forget(&t);
		state->at[at] = was;
		cut.n = at;
		t.from = &cut;
		check(&t, &told, false);
		if (told.st != Q2_E_FORMAT && told.st != Q2_E_REFUSED) {
			failures++;
			fprintf(stderr, "%s: a state cut to %zu bytes is taken\n",
				name, at);
		}
		q2_buf_free(&told.findings);
		forget(&t);
	}
}

static size_t from_each_state(const struct told *want)
{
	struct trial all = {.always = true};
	struct told told;
	size_t n;

	check(&all, &told, false);
	expect(want, &told, "with states written", 0);
	n = all.n_states;
	for (size_t i = 0; i < n; i++) {
		struct trial t = {.from = &all.states[i]};

		check(&t, &told, false);
		expect(want, &told, "from state", i);
		forget(&t);
	}
	if (n)
		damage(&all.states[n / 2]);
	forget(&all);
	return n;
}

/* Interrupted every `step` ticks, and gone on with.  A step that is too small to
 * get anywhere is made longer. */
static void interrupted(const struct told *want, unsigned step)
{
	struct q2_buf state = {0};
	struct told told;
	unsigned long long first = step;

	for (unsigned runs = 0; runs < 400; runs++) {
		struct trial t = {.until = step,
				  .from = state.n ? &state : NULL};

		check(&t, &told, false);
		if (told.st != Q2_E_INTERRUPTED) {
			expect(want, &told, "interrupted at", first);
			forget(&t);
			q2_buf_free(&state);
			return;
		}
		if (t.n_states && (t.states[0].n != state.n ||
				   memcmp(t.states[0].at, state.at, state.n))) {
			q2_buf_free(&state);
			state = t.states[0];
			t.n_states = 0;
			/* Plans take long, and have many states. */
			step += rescue ? step / 8 + 1 : 0;
		} else {
			step += step / 2 + 1;
		}
		q2_buf_free(&told.findings);
		forget(&t);
	}
	failures++;
	fprintf(stderr, "%s: interrupted at %llu: never done\n", name, first);
	q2_buf_free(&state);
}

int main(int argc, char *argv[])
{
	struct trial plain = {0};
	struct trial refused = {.refuse = true};
	struct told want, told;
	size_t n;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--data") == 0)
			flags |= Q2_CHECK_DATA;
		else if (strcmp(argv[i], "--chain") == 0)
			flags |= Q2_CHECK_CHAIN;
		else if (strcmp(argv[i], "--rescue") == 0)
			rescue = true;
		else if (argv[i][0] != '-')
			name = argv[i];
	}
	if (name == NULL || q2_io_open(name, &io, NULL) != Q2_OK)
		return 2;
	check(&plain, &want, true);
	n = from_each_state(&want);
	for (unsigned step = 1; step <= want.ticks && step < 2000;
	     step += rescue ? 3 * step + 1 : step / 2 + 1)
		interrupted(&want, step);
	check(&refused, &told, false);
	expect(&want, &told, "states that cannot be written", 0);
	if ((refused.refused == 0) != (n == 0)) {
		failures++;
		fprintf(stderr, "%s: a state that failed is not told\n", name);
	}
	printf("%zu states\n", n);
	forget(&refused);
	q2_buf_free(&want.findings);
	q2_io_close(io);
	return failures != 0;
}
