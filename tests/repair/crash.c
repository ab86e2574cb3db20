/*
 * crash.c - stops a repair everywhere, and looks at what is there then.
 *
 * SPDX-License-Identifier: MIT
 *
 * usage: crash [-m STOPS] IMAGE...
 *
 * For each image, in memory above the file, which is never written, and for the plans
 * of -y and of -p: the file as it was, the file made longer, and then every beginning
 * of the writes, the last one torn at each sector.  None is left out, but states that
 * are equal byte by byte are looked at once, and of a plan with more than STOPS (3000)
 * different ones only every nth is, evenly.  Of each of them
 *  - redo leads to the repaired image, byte by byte, and undo to the old one;
 *  - each guest cluster reads as in one of the two;
 *  - no cluster in use has a refcount below its references that had not before, if
 *    all of the references were known then.
 * And for the journal of each plan
 *  - cut off anywhere, or with zeros from anywhere on, it is refused;
 *  - with its next state written in part, to each byte, it says that state or the one
 *    before.
 * Prints what does not hold, and "crash: N passed, N failed", with the number of
 * states before that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "repair/planfile.h"
#include "../support/testview.h"

#define SECTOR 512u
#define LOWS 65536u
#define CUTS 4000u /* of a journal; a shorter one is cut at each byte */
#define CUT_BYTES (UINT64_C(4) << 30) /* all of them together, more or less */

static const char *name;
static const char *policy;
static bool held;
static unsigned long states, stops, passed_over;
static size_t stops_max = 3000;

static void complain(const char *what, const char *more)
{
	fprintf(stderr, "%s: %s: %s%s%s\n", name, policy, what,
		*more ? ": " : "", more);
	held = false;
}

static struct q2_io *above(struct q2_io *base, struct q2_budget *budget)
{
	struct q2_io *io;

	if (q2_io_overlay(base, budget, &io, NULL) != Q2_OK)
		die("no memory");
	return io;
}

/* -------------------------------------------------------- what a state is worth */

/* Clusters of which the refcount is too low. */
struct lows {
	uint64_t host[LOWS];
	size_t n;
};

static void on_found(void *ctx, const struct q2_finding *f)
{
	struct lows *l = ctx;

	if ((f->problem->number == Q2_P_REFCOUNT_LOW ||
	     f->problem->number == Q2_P_REFCOUNT_ZERO) && l->n < LOWS)
		l->host[l->n++] = f->host;
}

struct look {
	struct view at[VIEWS];
	size_t n;
	bool opens;
	bool partial;
	struct lows lows;
};

static void look(struct q2_io *io, struct look *k)
{
	const struct q2_check_opts opts = {.flags = Q2_CHECK_FULL,
					   .found = on_found,
					   .ctx = &k->lows};
	struct q2_check_result res;

	k->n = k->lows.n = 0;
	k->opens = view_all(io, k->at, &k->n, NULL, &res, NULL, 0);
	if (q2_check(io, &opts, &res, NULL) != Q2_OK)
		die("a check failed");
	k->partial = res.partial;
}

/* Whether each cluster reads as in one of the two. */
static bool between(const struct look *now, const struct look *a,
		    const struct look *b)
{
	size_t n = a->n < now->n ? a->n : now->n;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < now->at[i].n; k++) {
			uint64_t v = now->at[i].at[k];

			if (v == VIEW_ANY || (k < a->at[i].n &&
					      a->at[i].at[k] <= VIEW_ANY) ||
			    (k < a->at[i].n && a->at[i].at[k] == v) ||
			    (i < b->n && k < b->at[i].n && b->at[i].at[k] == v))
				continue;
			return false;
		}
	return true;
}

static bool was_low(const struct look *before, uint64_t host)
{
	for (size_t i = 0; i < before->lows.n; i++)
		if (before->lows.host[i] == host)
			return true;
	return before->lows.n == LOWS;
}

/* ------------------------------------------------------------------- states seen */

/* A set of digests. */
struct seen {
	uint64_t *at;
	size_t n;
	size_t room; /* a power of two */
};

static bool add(struct seen *s, uint64_t digest)
{
	size_t i;

	if (2 * (s->n + 1) > s->room) {
		struct seen larger = {NULL, 0, s->room ? 2 * s->room : 1024};

		larger.at = calloc(larger.room, sizeof(*larger.at));
		if (larger.at == NULL)
			die("no memory");
		for (size_t k = 0; k < s->room; k++)
			if (s->at[k])
				(void)add(&larger, s->at[k]);
		free(s->at);
		*s = larger;
	}
	digest |= 1;
	for (i = digest >> 8 & (s->room - 1); s->at[i]; i = (i + 1) & (s->room - 1))
		if (s->at[i] == digest)
			return false;
	s->at[i] = digest;
	s->n++;
	return true;
}

/* ------------------------------------------------------------------- one plan */

struct trial {
	const struct q2_plan *plan;
	struct q2_io *base;
	struct q2_io *done; /* repaired */
	struct look before, after, now;
	struct seen seen;
	bool counting; /* how many states there are */
	size_t step, place;
};

/* A pointer past the end leads somewhere when the file has grown. */
static void note_grown(struct trial *t, struct q2_io *io)
{
	const struct q2_check_opts opts = {.flags = Q2_CHECK_FULL,
					   .found = on_found,
					   .ctx = &t->before.lows};
	struct q2_check_result res;

	if (q2_check(io, &opts, &res, NULL) != Q2_OK)
		die("a check failed");
}

static void judge(struct trial *t, struct q2_io *io, const char *where)
{
	char more[160];

	look(io, &t->now);
	if (t->before.opens &&
	    (!t->now.opens || !between(&t->now, &t->before, &t->after)))
		complain("a crash makes it worse", where);
	for (size_t i = 0; i < t->now.lows.n && t->before.opens && !t->before.partial; i++)
		if (!was_low(&t->before, t->now.lows.host[i])) {
			snprintf(more, sizeof(more), "%s, of %#llx", where,
				 (unsigned long long)t->now.lows.host[i]);
			complain("a crash leaves a refcount too low", more);
			break;
		}
	view_free(t->now.at, t->now.n);
}

static void recover(const struct trial *t, struct q2_io *io, const char *where)
{
	static const struct q2_apply_opts opts;
	struct q2_budget budget = {0};
	struct q2_io *again = above(io, &budget);
	struct q2_err err = {0};

	if (q2_plan_redo(t->plan, again, &opts, &err) != Q2_OK)
		complain("redo fails", err.text);
	else if (!plan_same(t->plan, again, t->done))
		complain("redo leads elsewhere", where);
	q2_io_close(again);
	again = above(io, &budget);
	err = (struct q2_err){0};
	if (q2_plan_undo(t->plan, again, &opts, &err) != Q2_OK)
		complain("undo fails", err.text);
	else if (!plan_same(t->plan, again, t->base))
		complain("undo leads elsewhere", where);
	q2_io_close(again);
}

/* The digest of a state: of each sector by itself, so that it follows a write. */
static uint64_t sector(struct q2_io *io, uint64_t at)
{
	uint8_t bytes[SECTOR];

	if (q2_pread_zero(io, bytes, SECTOR, at, NULL) != Q2_OK)
		die("cannot read");
	return q2_hash_on(at + 1, bytes, SECTOR);
}

static void stop(struct trial *t, struct q2_io *io, uint64_t digest, size_t edit,
		 size_t torn)
{
	char where[80];

	if (!t->counting)
		stops++;
	if (!add(&t->seen, q2_hash_on(digest, &io->size, sizeof(io->size))))
		return;
	if (t->counting || t->place++ % t->step) {
		passed_over += !t->counting;
		return;
	}
	states++;
	snprintf(where, sizeof(where), "after %zu writes and %zu bytes", edit,
		 torn);
	judge(t, io, where);
	recover(t, io, where);
}

static void walk(struct trial *t)
{
	const struct q2_plan *p = t->plan;
	struct q2_budget budget = {0};
	struct q2_io *io = above(t->base, &budget);
	uint64_t digest = 0;

	stop(t, io, digest, 0, 0);
	if (p->new_size > p->old_size &&
	    q2_resize(io, p->new_size, NULL) != Q2_OK)
		die("cannot grow");
	if (!t->counting)
		note_grown(t, io);
	stop(t, io, digest, 0, 0);
	for (size_t i = 0; i < p->edits.n && held; i++) {
		const struct q2_edit *e = &p->edits.at[i];

		for (size_t at = 0; at < e->len && held;) {
			uint64_t first = (e->offset + at) & ~(uint64_t)(SECTOR - 1);
			size_t n = (size_t)q2_min(first + SECTOR - e->offset - at,
						  e->len - at);

			digest -= sector(io, first);
			if (q2_pwrite(io, e->after + at, n, e->offset + at,
				      NULL) != Q2_OK)
				die("cannot write");
			digest += sector(io, first);
			at += n;
			stop(t, io, digest, i + (at == e->len),
			     at == e->len ? 0 : at);
		}
	}
	if (held && !plan_same(p, io, t->done))
		complain("all writes lead elsewhere", "");
	q2_io_close(io);
}

static void stop_everywhere(struct trial *t)
{
	t->counting = true;
	walk(t);
	t->counting = false;
	t->step = t->seen.n / stops_max + 1;
	free(t->seen.at);
	t->seen = (struct seen){0};
	walk(t);
}

/* ------------------------------------------------------------------- its journal */

static enum q2_status read_back(const uint8_t *bytes, size_t n,
				enum q2_plan_state *state)
{
	struct q2_plan_info info = {0};
	struct q2_plan *plan;
	struct q2_io *io;
	enum q2_status st;

	if (q2_io_memory(bytes, n, &io, NULL) != Q2_OK)
		die("no memory");
	st = q2_pf_read(io, 0, &plan, &info, NULL);
	*state = info.state;
	q2_plan_free(plan);
	q2_io_close(io);
	return st;
}

static void cut(const uint8_t *all, size_t n)
{
	uint8_t *part = calloc(1, n);
	enum q2_plan_state state;
	size_t end = n - Q2_PF_SLOTS * Q2_PF_SLOT, step;

	if (part == NULL)
		die("no memory");
	step = end / (size_t)q2_min(CUTS, CUT_BYTES / n + 1) + 1;
	for (size_t i = 0; i < n; i += i + 2 * SECTOR < n ? step : step / 4096 + 1)
		if (read_back(all, i, &state) == Q2_OK) {
			complain("a journal that was cut is accepted", "");
			break;
		}
	for (size_t i = 0; i < end; i += step) {
		memcpy(part, all, i);
		/* Unless what is missing was zeros anyway. */
		if (memcmp(part, all, n) &&
		    read_back(part, n, &state) != Q2_E_FORMAT) {
			complain("a journal with zeros is not refused", "");
			break;
		}
	}
	free(part);
}

static void tear_state(uint8_t *all, size_t n, enum q2_plan_state from,
		       enum q2_plan_state to)
{
	struct q2_io *io;
	uint8_t *later = malloc(n);
	enum q2_plan_state state;
	size_t at = 0;

	if (later == NULL ||
	    q2_io_memory_rw(all, n, n, &io, NULL) != Q2_OK)
		die("no memory");
	if (q2_pf_add_state(io, to, 123456789, false, NULL) != Q2_OK ||
	    q2_pread(io, later, n, 0, NULL) != Q2_OK)
		die("cannot add a state");
	while (at < n && all[at] == later[at])
		at++;
	for (size_t i = at & ~(size_t)511, k = 0; k < 64; i++, k++) {
		enum q2_status st = read_back(all, n, &state);

		if (st != Q2_OK || (state != from && state != to)) {
			complain("a state written in part is not understood", "");
			break;
		}
		all[i] = later[i];
	}
	memcpy(all, later, n);
	free(later);
	q2_io_close(io);
}

static void journal(const struct q2_plan *p)
{
	struct q2_io *io;
	uint8_t *all;
	size_t n;

	if (q2_io_memory_rw(NULL, 0, UINT64_C(64) << 20, &io, NULL) != Q2_OK ||
	    q2_pf_write(p, Q2_PLAN_JOURNAL, 0, io, NULL) != Q2_OK)
		die("cannot write a journal");
	n = (size_t)io->size;
	all = malloc(n);
	if (all == NULL || q2_pread(io, all, n, 0, NULL) != Q2_OK)
		die("no memory");
	q2_io_close(io);
	cut(all, n);
	tear_state(all, n, Q2_STATE_APPLYING, Q2_STATE_FINISHED);
	tear_state(all, n, Q2_STATE_FINISHED, Q2_STATE_UNDOING);
	tear_state(all, n, Q2_STATE_UNDOING, Q2_STATE_UNDONE);
	free(all);
}

static void try_plan(struct q2_io *base, unsigned flags)
{
	static struct trial t; /* it is large */
	const struct q2_plan_opts opts = {.flags = flags};
	static const struct q2_apply_opts apply;
	struct q2_budget budget = {0};
	struct q2_plan_result res;
	struct q2_plan *plan;

	t = (struct trial){.base = base, .done = above(base, &budget)};
	if (q2_plan_make(base, &opts, &plan, &res, NULL) != Q2_OK)
		die("no plan");
	t.plan = plan;
	if (q2_plan_apply(plan, t.done, &apply, NULL) != Q2_OK)
		complain("it cannot be applied", "");
	look(base, &t.before);
	look(t.done, &t.after);
	if (held && q2_plan_edits(plan)) {
		stop_everywhere(&t);
		journal(plan);
	}
	view_free(t.before.at, t.before.n);
	view_free(t.after.at, t.after.n);
	free(t.seen.at);
	q2_plan_free(plan);
	q2_io_close(t.done);
}

int main(int argc, char *argv[])
{
	unsigned passed = 0, failed = 0;
	int c;

	while ((c = getopt(argc, argv, "m:")) != -1)
		if (c == 'm')
			stops_max = (size_t)atoi(optarg);
		else
			return 2;
	for (int i = optind; i < argc; i++) {
		struct q2_io *base;

		name = argv[i];
		held = true;
		if (q2_io_open(name, &base, NULL) != Q2_OK)
			die("cannot open an image");
		policy = "-y";
		try_plan(base, Q2_PLAN_ALL);
		policy = "-p";
		try_plan(base, 0);
		q2_io_close(base);
		passed += held;
		failed += !held;
	}
	printf("crash: %lu stops, %lu states that differ, %lu stops passed over\n",
	       stops, states, passed_over);
	printf("crash: %u passed, %u failed\n", passed, failed);
	return failed != 0;
}
