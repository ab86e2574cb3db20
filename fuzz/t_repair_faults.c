/*
 * t_repair_faults.c - target crash-repair, and repairs in which something fails.
 *
 * SPDX-License-Identifier: MIT
 *
 * R-7 wherever it fails, the guest's data is there, and redo and undo lead on, also
 * where a write comes to the disk later than the next ones, up to a flush; I-7
 * nothing is left behind; C-4 a plan that could be made in spite of a failure is
 * as true as any other.
 */
#include <stdlib.h>
#include <string.h>

#include "check/problem.h"
#include "t_repair.h"

#define PREFIXES 12u /* of the writes that are tried, spread over all */

/* Whether structures lie on one another. */
static bool overlapping(const struct repair *r)
{
	for (size_t i = 0; i < r->plan->actions.n; i++)
		if (r->plan->actions.at[i].problem == Q2_P_METADATA_OVERLAP)
			return true;
	return false;
}

/* Guest data on a block that the mended header leads to: the block is written to before
 * there is a copy to name, which nothing else could count. */
static bool lies_on_block(const struct q2_action *a)
{
	unsigned needed = Q2_F_GUEST | Q2_F_LENGTH;

	return a->problem == Q2_P_DATA_ON_METADATA &&
	       a->effect == Q2_EFFECT_SUSPECT &&
	       (a->f.fields & needed) == needed;
}

/* What nobody could open before may wait for its guest until the repair has gone on;
 * and where roots are searched for, the disk may be another one afterwards.  What lies
 * on the old snapshot table may be written before the header names the new one. */
static void interrupted(const struct repair *r, struct q2_io *io)
{
	struct repair disk = *r;
	bool own = false;

	if (!r->guest.opens || r->in->ctl.flags & Q2F_RESCUE)
		return;
	for (size_t i = 0; i < r->plan->actions.n; i++) {
		const struct q2_action *a = &r->plan->actions.at[i];

		if (!lies_on_block(a))
			continue;
		if (!own)
			q2f_repair_before(&disk);
		own = true;
		q2f_guest_doubt(&disk.guest, a->f.tree, a->f.guest,
				a->f.length);
	}
	if (overlapping(r))
		disk.guest.n_snapshots = 0;
	q2f_repair_guest(&disk, io, "R-7");
	disk.guest.n_snapshots = r->guest.n_snapshots;
	if (own)
		q2f_guest_free(&disk.guest);
}

#define NONE SIZE_MAX

/* One of the writes after the last flush before event `n`, or NONE: a disk may have
 * those after it, but not this one. */
static size_t delayed(const struct repair *r, size_t n)
{
	size_t from = n;

	while (from > 0 && r->log.log[from - 1].op == TEST_WRITE)
		from--;
	return n - from > 1 ? from + n % (n - from - 1) : NONE;
}

/* Puts the sectors of write number `not` back to what they were before it: later writes
 * to the same sectors are not on the disk either. */
static void take_back(const struct repair *r, size_t not, struct q2_io *io)
{
	const struct test_event *e = &r->log.log[not];
	uint64_t from = e->off / 512 * 512, end = e->off + e->len + 511;
	struct q2_io *then = q2f_repair_io(r->in, true);

	test_io_replay(&r->log, not, 0, then);
	end = q2_min(end / 512 * 512, q2_io_size(then));
	if (from < end && q2_pwrite(io, q2_io_memory_bytes(then) + from,
				    (size_t)(end - from), from, NULL) != Q2_OK)
		abort();
	q2_io_close(then);
}

/* Not what is counted too low: while pointers change one after another, a place
 * that is shared wrongly has more references for a moment. */
struct danger {
	uint64_t clusters; /* in use, and free by their refcounts */
	bool unknown;	   /* what counts them is to be made anew */
};

static void on_danger(void *ctx, const struct q2_finding *f)
{
	enum q2_problem_id id = (enum q2_problem_id)f->problem->number;
	struct danger *d = ctx;

	if (id == Q2_P_REFCOUNT_ZERO)
		d->clusters++;
	else if (id == Q2_P_REFBLOCK_MISSING)
		d->clusters += f->count;
	else if (id == Q2_P_REFCOUNT_ORDER || id == Q2_P_REFCOUNT_OVERFLOW ||
		 id == Q2_P_METADATA_OVERLAP ||
		 (id >= Q2_P_REFTABLE_UNALIGNED && id <= Q2_P_REFTABLE_LIMIT) ||
		 (id >= Q2_P_REFTABLE_RESERVED && id <= Q2_P_REFBLOCK_SHARED))
		d->unknown = true;
}

/* What a writer would overwrite that starts on the image as it is. */
static struct danger danger_of(struct q2_io *io)
{
	struct danger d = {0};
	struct q2f_said s = {.also = on_danger, .ctx = &d};

	q2f_run_check(io, 0, &s);
	d.unknown |= s.status != Q2_OK || s.result.partial ||
		     s.result.verdict == Q2_UNREADABLE;
	return d;
}

/* Whether the header's version, cluster size and refcount width stay as they are: all
 * else is read in another way then. */
static bool same_shape(const struct repair *r, const uint8_t *end)
{
	static const unsigned fields[] = {4, 20, 96};

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (r->in->size < fields[i] + 4 ||
		    memcmp(r->in->image + fields[i], end + fields[i], 4) != 0)
			return false;
	return true;
}

/* At no crash point there is more of that than before. */
static void judge_counts(const struct repair *r, struct q2_io *io, size_t n,
			 const uint8_t *end)
{
	struct danger before, now = danger_of(io);
	struct q2_io *first;

	if (now.clusters == 0 || !same_shape(r, end))
		return;
	first = q2f_repair_io(r->in, false);
	before = danger_of(first);
	if (!before.unknown && now.clusters > before.clusters)
		q2f_violation("R-7", "after %zu writes %llu clusters in use seem free, %llu before",
			      n, (unsigned long long)now.clusters,
			      (unsigned long long)before.clusters);
	q2_io_close(first);
}

/* A crash after `n` events, of which one write (not NONE) is not on the disk yet; of
 * the next one, a write, sectors may have got through. */
static void crash(struct repair *r, size_t n, size_t sectors, size_t not,
		  const uint8_t *end)
{
	struct q2_io *io = q2f_repair_io(r->in, true);
	struct q2_err err = {0};
	size_t torn = sectors && n < r->log.n_log ?
		      sectors * 512 - r->log.log[n].off % 512 : 0;

	test_io_replay(&r->log, n, torn, io);
	if (not != NONE)
		take_back(r, not, io);
	else if (torn == 0)
		judge_counts(r, io, n, end);
	interrupted(r, io);
	if (n % 2) {
		q2f_repair_undo(r, io, "R-7");
	} else {
		if (q2_plan_redo(r->plan, io, NULL, &err) != Q2_OK)
			q2f_violation("R-7", "after %zu writes it cannot go on: %s",
				      n, err.text);
		if (!q2f_repair_holds(io, end, r->plan->new_size))
			q2f_violation("R-7", "going on leaves another file");
	}
	q2_io_close(io);
}

int q2f_crash_repair(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct repair r;
	uint8_t *end;
	size_t n, step;
	uint8_t *room = q2f_repair_room(&in);

	q2f_heap_watch(0);
	in.ctl.flags |= size % 2 ? 0 : Q2F_ALL;
	if (!q2f_repair_start(&r, &in)) {
		q2f_own_free(room);
		return 0;
	}
	q2f_repair_apply(&r);
	end = q2f_repair_promised(&r);
	n = r.log.n_log;
	step = n / PREFIXES + 1;
	for (size_t i = in.ctl.pick % step; i <= n; i += step) {
		size_t not = delayed(&r, i);

		crash(&r, i, i % 3 == 0, NONE, end);
		if (not != NONE)
			crash(&r, i, 0, not, end);
	}
	free(end);
	q2f_repair_finish(&r);
	q2f_heap_empty("a repair");
	q2f_own_free(room);
	return 0;
}

/* ------------------------------------------------------------------- faults */

/* A plan that something failed under: it may be another one, but not a wrong one.  What
 * could not be read proves nothing: the guest's data is there. */
static void judge_odd_plan(const struct q2f_input *in, struct q2_plan *plan,
			   const struct q2_plan_result *result)
{
	struct repair r = {.in = in, .plan = plan, .result = *result};

	if (q2_plan_edits(plan) == 0)
		return;
	r.image = q2f_repair_io(in, true);
	test_io_open(&r.log, r.image);
	q2f_repair_before(&r);
	q2f_repair_apply(&r);
	/* Evidence that is weighed may have been what could not be read. */
	if (!result->after.partial)
		q2f_repair_result(&r);
	if (!(in->ctl.flags & (Q2F_RESCUE | Q2F_ASK)))
		q2f_repair_guest(&r, r.image, "C-4");
	q2f_repair_undo(&r, r.image, "R-6");
	q2f_guest_free(&r.guest);
	q2_io_close(&r.log.io);
	q2_io_close(r.image);
}

static void plan_faults(const struct q2f_input *in)
{
	struct q2_plan_result result;
	struct q2_plan *plan = NULL;
	struct test_io t;
	struct q2_io *io = q2f_repair_io(in, false);
	enum q2_status st;

	test_io_open(&t, io);
	if (in->ctl.flags & Q2F_SECTOR)
		t.faults.bad = in->ctl.fail_read;
	else
		t.faults.fail_at[TEST_READ] = in->ctl.fail_read;
	q2f_heap_watch(in->ctl.fail_alloc);
	st = q2f_repair_plan(in, &t.io, &plan, &result);
	(void)q2f_heap_done();
	if (in->ctl.fail_read && t.done[TEST_READ] >= in->ctl.fail_read)
		q2f_fault_reached = true;
	if (st == Q2_OK) {
		judge_odd_plan(in, plan, &result);
		q2_plan_free(plan);
	}
	q2f_heap_empty("planning");
	q2_io_close(&t.io);
	q2_io_close(io);
	q2f_heap_watch(0);
}

/* The k-th operation of one kind fails, and nothing after it works; then both ways
 * out are taken. */
static void apply_faults(struct repair *r, enum test_op op, unsigned k)
{
	uint8_t *end = q2f_repair_promised(r);
	struct q2_err err = {0};
	struct test_io t;
	struct q2_io *io = q2f_repair_io(r->in, true);
	enum q2_status st;
	bool reached;

	test_io_open(&t, io);
	t.faults.fail_at[op] = k;
	t.faults.torn = k % 3;
	t.faults.stay_broken = true;
	st = q2_plan_apply(r->plan, &t.io, NULL, &err);
	reached = t.done[op] >= k;
	q2f_fault_reached |= reached;
	if (st != Q2_OK && !reached)
		q2f_violation("R-6", "it fails without a fault: %s", err.text);
	if (st == Q2_OK && reached)
		q2f_violation("R-7", "failure %u of kind %d was overlooked", k,
			      (int)op);
	interrupted(r, io);
	if (k % 2) {
		q2f_repair_undo(r, io, "R-7");
	} else {
		if (q2_plan_redo(r->plan, io, NULL, &err) != Q2_OK)
			q2f_violation("R-7", "after failure %u it cannot go on: %s",
				      k, err.text);
		if (!q2f_repair_holds(io, end, r->plan->new_size))
			q2f_violation("R-7", "going on leaves another file");
	}
	q2_io_close(&t.io);
	q2_io_close(io);
	free(end);
}

/* The user stops it before a write; then both ways out. */
static void apply_stopped(struct repair *r, uint32_t k)
{
	uint8_t *end = q2f_repair_promised(r);
	uint32_t left = k;
	struct q2_apply_opts opts = {.progress = q2f_stops,
				     .ctx = &left};
	struct q2_err err = {0};
	struct q2_io *io = q2f_repair_io(r->in, true);
	enum q2_status st;

	st = q2_plan_apply(r->plan, io, &opts, &err);
	if ((st == Q2_E_INTERRUPTED) != (left == 0))
		q2f_violation("R-7", "stopped at %u: status %d", k, (int)st);
	interrupted(r, io);
	left = k / 2;
	if (k % 2) {
		q2f_repair_undo(r, io, "R-7");
	} else {
		/* Stopped once more. */
		if (q2_plan_redo(r->plan, io, &opts, NULL) == Q2_E_INTERRUPTED &&
		    q2_plan_redo(r->plan, io, NULL, &err) != Q2_OK)
			q2f_violation("R-7", "it cannot go on: %s", err.text);
		if (!q2f_repair_holds(io, end, r->plan->new_size))
			q2f_violation("R-7", "going on leaves another file");
	}
	q2_io_close(io);
	free(end);
}

/* Storing the plan, and reading it again. */
static void file_faults(const struct repair *r, enum test_op op, unsigned k)
{
	struct q2_io *file;
	struct test_io t;
	struct q2_plan *plan = NULL;
	struct q2_plan_info info;
	struct q2_err err = {0};
	enum q2_status st;

	if (q2_io_memory_rw("", 0, 0, &file, NULL) != Q2_OK)
		abort();
	test_io_open(&t, file);
	t.faults.fail_at[op] = k;
	t.faults.stay_broken = true;
	st = q2_pf_write(r->plan, Q2_PLAN_JOURNAL, 1, &t.io, &err);
	if (st == Q2_OK)
		st = q2_pf_add_state(&t.io, Q2_STATE_APPLYING, 2, false, &err);
	if (st == Q2_OK)
		st = q2_pf_read(&t.io, 0, &plan, &info, &err);
	if (t.done[op] >= k && st == Q2_OK)
		q2f_violation("P-1", "failure %u of kind %d was overlooked", k,
			      (int)op);
	if (st != Q2_OK && (err.code == Q2_OK || t.done[op] < k))
		q2f_violation("P-1", "status %d: %s", (int)st, err.text);
	q2f_fault_reached |= t.done[op] >= k;
	q2_plan_free(plan);
	q2_io_close(&t.io);
	q2_io_close(file);
}

void q2f_repair_faults(const struct q2f_input *in)
{
	static const enum test_op ops[] = {TEST_WRITE, TEST_FLUSH, TEST_RESIZE,
					   TEST_READ};
	struct q2f_input sound = *in;
	struct repair r;

	/* Where nothing is believed to be of use, it has to be known. */
	if (in->ctl.flags & Q2F_SECTOR) {
		for (unsigned i = 0; i < (q2f_thorough ? 3 : 1); i++) {
			plan_faults(&sound);
			sound.ctl.flags |= i ? Q2F_FREE : Q2F_ALL;
		}
		return;
	}
	if (in->ctl.fail_alloc || in->ctl.fail_read || in->ctl.stop)
		plan_faults(in);
	if (in->ctl.fail_write == 0 && in->ctl.stop == 0)
		return;
	sound.ctl.fail_write = sound.ctl.fail_alloc = 0;
	sound.ctl.fail_read = sound.ctl.stop = 0;
	if (!q2f_repair_start(&r, &sound))
		return;
	if (in->ctl.stop)
		apply_stopped(&r, in->ctl.stop);
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops) &&
			   in->ctl.fail_write; i++) {
		apply_faults(&r, ops[i], in->ctl.fail_write);
		file_faults(&r, ops[i], in->ctl.fail_write);
	}
	q2f_repair_finish(&r);
}
