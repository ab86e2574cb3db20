/*
 * t_repair.c - targets repair and rescue.
 *
 * SPDX-License-Identifier: MIT
 *
 * R-1 a plan converges, and what it leaves is what it said; R-2 a second one is
 * empty; R-3 the result is that of a check of the real file; R-4 what a guest
 * could read without doubt it still reads; R-6 what is written is the plan, and
 * undoing gives back every byte; R-7 from each prefix of the writes both redo and
 * undo lead on, and the guest's data is there; R-8 the file grows little; D-1 the
 * memory of a plan follows what is stored; I-7 nothing is left behind.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "format/header.h"
#include "t_beginnings.h"
#include "t_repair.h"

/* Tables of the largest sizes that the format allows may be claimed. */
#define CLAIMS (UINT64_C(80) << 20)
#define FAR (UINT64_C(1) << 20) /* growth that takes a thousand times as long */
/* A new L1 table of the largest size: at hand, and as it will be written. */
#define TABLES (UINT64_C(2) * 8 * Q2_L1_MAX)
#define SMALL 65536u /* bytes of an image that is repaired in each way */

/* A user, who stops it at the call that was asked for, and does not want all. */
struct user {
	uint32_t left;
	uint64_t most; /* that may have been allocated by then; 0: any */
	unsigned pick;
	unsigned asked; /* how often */
};
#define ATTACHED 24u

/* How long a fuzzer's execution waits for a plan, in calls of progress and in bytes
 * allocated, over and over; 0: until it is made.  Of a few images the search for one
 * wrong bit, or clusters of 2 MiB, would take as long as a hundred others: those are
 * for replaying, and for one input of many. */
struct patience {
	uint32_t calls;
	uint64_t bytes;
};
static struct patience patience;

static struct patience patience_for(const struct q2f_input *in)
{
	struct patience p = {0};

	if (!q2f_sampled(in, 2048)) {
		p.calls = q2f_sampled(in, 256) ? 500 : 40;
		p.bytes = UINT64_C(16) << 20;
	}
	return p;
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	struct user *u = ctx;

	return q2f_stops(&u->left, p) || (u->most && q2f_heap.taken > u->most);
}

static bool wanted(void *ctx, const struct q2_problem *p, uint64_t count)
{
	struct user *u = ctx;

	if (count == 0)
		q2f_violation("C-1", "it is asked about no problem %u",
			      (unsigned)p->number);
	if (u->pick & Q2F_ONE_NOT) {
		q2f_place(Q2F_PLACE_ASKED, ++u->asked);
		return u->asked != u->pick % 256;
	}
	return u->pick % 256 == 0 ||
	       (u->pick % 256 != 1 && (p->number * (u->pick % 256) >> 3) % 2);
}

struct q2_io *q2f_repair_io(const struct q2f_input *in, bool writable)
{
	struct q2_io *io;

	if ((writable ? q2_io_memory_rw(in->image, in->size, 0, &io, NULL) :
			q2_io_memory(in->image, in->size, &io, NULL)) != Q2_OK)
		abort();
	io->is_device = in->ctl.flags & Q2F_ASK && in->ctl.pick & Q2F_DEVICE;
	return io;
}

uint8_t *q2f_repair_room(struct q2f_input *in)
{
	size_t more = ((size_t)(in->ctl.pick >> Q2F_ROOM_BITS) << 10) +
		      (0 - in->size) % 512;
	uint8_t *bytes;

	if (!(in->ctl.flags & Q2F_ASK && in->ctl.pick & Q2F_DEVICE))
		return NULL;
	bytes = q2f_own(in->size + more);
	memcpy(bytes, in->image, in->size);
	in->image = bytes;
	in->size += more;
	return bytes;
}

enum q2_status q2f_repair_plan(const struct q2f_input *in, struct q2_io *io,
				struct q2_plan **plan,
				struct q2_plan_result *result)
{
	uint32_t stop = in->ctl.stop ? in->ctl.stop : patience.calls;
	struct user user = {
		.left = stop,
		.most = patience.bytes ? q2f_heap.taken + patience.bytes : 0,
		.pick = in->ctl.pick,
	};
	bool ask = in->ctl.flags & Q2F_ASK;
	unsigned bits = in->size > 23 ? in->image[23] % 22 : 9;
	struct q2_attach attach[ATTACHED];
	struct q2_plan_opts opts = {
		.flags = (in->ctl.flags & Q2F_ALL ? Q2_PLAN_ALL : 0) |
			 (in->ctl.flags & Q2F_RESCUE ? Q2_PLAN_RESCUE : 0) |
			 (in->ctl.flags & Q2F_FREE ? Q2_PLAN_FREE_ORPHANS : 0),
		.progress = stop ? on_progress : NULL,
		.wanted = ask ? wanted : NULL,
		.attach = attach,
		.n_attach = ask && in->ctl.pick & Q2F_BELONGS ? ATTACHED : 0,
		.ctx = &user,
	};
	uint64_t before = q2f_heap.peak = q2f_heap.live;
	struct q2_err err = {0};
	enum q2_status st;

	for (uint32_t i = 0; i < ATTACHED; i++)
		attach[i] = (struct q2_attach){i % 5, (i + UINT64_C(1)) << bits};
	st = q2_plan_make(io, &opts, plan, result, &err);
	q2f_heap_judge("a plan", before + TABLES, in->size);
	if (st != Q2_OK && err.code == Q2_OK)
		q2f_violation("C-1", "planning: status %d without a cause",
			      (int)st);
	if (st != Q2_OK && *plan)
		q2f_violation("I-7", "planning failed, but left a plan");
	return st;
}

uint64_t q2f_plan_digest(const struct q2_plan *plan)
{
	uint64_t sum = plan->new_size;

	for (size_t i = 0; i < plan->edits.n; i++) {
		const struct q2_edit *e = &plan->edits.at[i];

		sum = 31 * sum + e->offset;
		sum = 31 * sum + q2_hash(e->after, e->len);
	}
	return sum | 1;
}

bool q2f_repair_holds(struct q2_io *io, const uint8_t *bytes, uint64_t size)
{
	return q2_io_size(io) == size &&
	       memcmp(q2_io_memory_bytes(io), bytes, (size_t)size) == 0;
}

/* The bytes that the plan says there will be; to be freed. */
uint8_t *q2f_repair_promised(const struct repair *r)
{
	const struct q2_plan *p = r->plan;
	uint64_t room = p->new_size > r->in->size ? p->new_size : r->in->size;
	uint8_t *want = calloc(1, (size_t)(room ? room : 1));

	if (want == NULL)
		abort();
	memcpy(want, r->in->image, r->in->size);
	for (size_t i = 0; i < p->edits.n; i++) {
		const struct q2_edit *e = &p->edits.at[i];

		if (e->offset > room || e->len > room - e->offset)
			q2f_violation("I-8", "an edit at %llu, past the file's end",
				      (unsigned long long)e->offset);
		memcpy(want + e->offset, e->after, e->len);
	}
	return want;
}

/* An L1 table that reaches as far as the disk, with the long entries of subclusters. */
static uint64_t l1_bytes(uint64_t disk, unsigned cluster_bits)
{
	return ((disk >> (2 * cluster_bits - 4)) + 1) * 8 +
	       (UINT64_C(1) << cluster_bits);
}

/* There may be new metadata for what there is; each disk may get an L1 table for its size,
 * with what the old one had besides, and a copy of what the disks share.  It may be put
 * behind what damaged tables claim, where the file has a hole then. */
static void judge_growth(const struct repair *r)
{
	const struct q2_check_result *after = &r->result.after;
	const struct q2_plan *p = r->plan;
	uint64_t written = 0, most = p->old_size + p->old_size / 2 +
				     (UINT64_C(16) << after->cluster_bits);
	struct q2f_guest g;
	uint8_t *bytes;

	for (size_t i = 0; i < p->edits.n; i++) {
		const struct q2_edit *e = &p->edits.at[i];
		uint64_t end = e->offset + e->len;

		if (end > p->old_size)
			written += end - q2_max(e->offset, p->old_size);
	}
	if (written <= most && p->new_size <= most + CLAIMS)
		return;
	bytes = q2f_repair_promised(r);
	q2f_guest_read(&g, bytes, (size_t)p->new_size, false);
	most += (after->snapshots + UINT64_C(1)) *
		(after->allocated_clusters << after->cluster_bits);
	most += (p->new_size >> after->cluster_bits) * after->refcount_bits / 8;
	most += l1_bytes(after->virtual_size, after->cluster_bits);
	for (size_t i = 0; i < after->snapshots; i++)
		most += p->old_size +
			l1_bytes(i < g.n_snapshots ? g.snapshots[i].disk :
						     after->virtual_size,
				 after->cluster_bits);
	q2f_guest_free(&g);
	free(bytes);
	/* Before a long table there may be as long a hole. */
	if (written > most || p->new_size > 2 * most + CLAIMS)
		q2f_violation("R-8", "the file grows from %llu to %llu bytes, with %llu written behind its end, where %llu would do",
			      (unsigned long long)p->old_size,
			      (unsigned long long)p->new_size,
			      (unsigned long long)written,
			      (unsigned long long)most);
}

static void judge_plan(const struct repair *r)
{
	const struct q2_plan_result *res = &r->result;
	const struct q2_plan *p = r->plan;

	if (res->not_converged)
		(void)q2f_open_violation("R-1", "the plan does not converge");
	if (res->rounds > (res->before.verdict == Q2_UNREADABLE ? 4u : 3u))
		q2f_violation("R-1", "%u rounds", res->rounds);
	if (p->old_size != r->in->size)
		q2f_violation("R-6", "the plan is for another file");
	if (res->after.verdict != Q2_UNREADABLE)
		judge_growth(r);
	/* Of what nobody could read nothing was counted. */
	if (res->before.verdict == Q2_UNREADABLE)
		return;
	if (res->after.verdict == Q2_UNREADABLE)
		q2f_violation("R-1", "nothing can be read after");
	if (res->after.corruptions > res->before.corruptions)
		q2f_violation("R-1", "more corruptions after than before");
}

/* What the rehearsal said is what a check of the real file says. */
void q2f_repair_result(const struct repair *r)
{
	struct q2f_said s = {0};
	const struct q2_check_result *want = &r->result.after;

	q2f_run_check(r->image, 0, &s);
	if (s.status != Q2_OK || s.result.verdict != want->verdict ||
	    s.result.corruptions != want->corruptions ||
	    s.result.leaks != want->leaks)
		q2f_violation("R-3", "promised %s with %llu corruptions and %llu leaks, but %s with %llu and %llu",
			      q2_verdict_text(want->verdict),
			      (unsigned long long)want->corruptions,
			      (unsigned long long)want->leaks,
			      q2_verdict_text(s.result.verdict),
			      (unsigned long long)s.result.corruptions,
			      (unsigned long long)s.result.leaks);
}

static void judge_second(const struct repair *r)
{
	struct q2_plan *again;
	struct q2_plan_result res;

	if (q2f_repair_plan(r->in, r->image, &again, &res) != Q2_OK)
		q2f_violation("R-2", "a second plan cannot be made");
	if (q2_plan_edits(again))
		q2f_violation("R-2", "a second repair has %zu edits",
			      q2_plan_edits(again));
	q2_plan_free(again);
}

void q2f_repair_guest(const struct repair *r, struct q2_io *io,
			const char *oracle)
{
	struct q2f_guest after;

	q2f_guest_read(&after, q2_io_memory_bytes(io),
		       (size_t)q2_io_size(io), false);
	q2f_guest_compare(&r->guest, &after, oracle);
	q2f_guest_free(&after);
}

/* Where a report says that the guest gets data back, on evidence, what it read before
 * was in doubt. */
void q2f_repair_before(struct repair *r)
{
	q2f_guest_read(&r->guest, r->in->image, r->in->size, true);
	for (size_t i = 0; i < r->plan->actions.n; i++) {
		const struct q2_action *a = &r->plan->actions.at[i];
		unsigned needed = Q2_F_GUEST | Q2_F_LENGTH;

		if (a->effect == Q2_EFFECT_GAIN &&
		    (a->f.fields & needed) == needed)
			q2f_guest_doubt(&r->guest, a->f.tree, a->f.guest,
					a->f.length);
	}
}

/* False if there is nothing to do. */
bool q2f_repair_start(struct repair *r, const struct q2f_input *in)
{
	/* A copy that could be written to. */
	bool copied = in->size && q2f_sampled(in, 8);
	struct q2_io *plain = q2f_repair_io(in, copied);

	*r = (struct repair){.in = in};
	q2f_context = in->ctl.flags & Q2F_FREE ? " (free)" :
		      in->ctl.flags & Q2F_ALL ? " (all)" : " (safe)";
	if (q2f_repair_plan(in, plain, &r->plan, &r->result) != Q2_OK)
		r->plan = NULL;
	if (copied && !q2f_repair_holds(plain, in->image, in->size))
		q2f_violation("C-3", "planning changed the image");
	q2_io_close(plain);
	if (r->plan == NULL)
		return false;
	judge_plan(r);
	if (q2_plan_edits(r->plan) == 0) {
		q2_plan_free(r->plan);
		return false;
	}
	r->image = q2f_repair_io(in, true);
	test_io_open(&r->log, r->image);
	q2f_repair_before(r);
	return true;
}

void q2f_repair_finish(struct repair *r)
{
	q2_io_close(&r->log.io);
	q2_io_close(r->image);
	q2_plan_free(r->plan);
	q2f_guest_free(&r->guest);
}

void q2f_repair_apply(struct repair *r)
{
	struct q2_err err = {0};
	uint8_t *want = q2f_repair_promised(r);

	if (q2_plan_apply(r->plan, &r->log.io, NULL, &err) != Q2_OK)
		q2f_violation("R-6", "a fresh plan cannot be applied: %s",
			      err.text);
	if (!q2f_repair_holds(r->image, want, r->plan->new_size))
		q2f_violation("R-6", "the file is not what the plan says");
	free(want);
}

void q2f_repair_undo(struct repair *r, struct q2_io *io, const char *oracle)
{
	struct q2_err err = {0};

	if (q2_plan_undo(r->plan, io, NULL, &err) != Q2_OK)
		q2f_violation(oracle, "it cannot be undone: %s", err.text);
	if (!q2f_repair_holds(io, r->in->image, r->in->size))
		q2f_violation(oracle, "undoing leaves another file");
}

/* A plan is for one image: not for another one, and not for what it has made. */
static void judge_others(const struct repair *r)
{
	struct q2_err err = {0};
	uint8_t *bytes = q2f_own(r->in->size + 512);
	struct q2_io *io;

	memcpy(bytes, r->in->image, r->in->size);
	for (unsigned i = 0; i < 3; i++) {
		enum q2_status st;

		/* As it is; longer; with another first byte. */
		bytes[0] ^= i == 2;
		io = q2f_repair_io(&(struct q2f_input){
			bytes, r->in->size + (i == 1 ? 512 : 0), r->in->ctl}, true);
		st = q2_plan_verify(r->plan, io, 0, &err);
		if (i == 0 ? st != Q2_OK : st != Q2_E_CHANGED)
			q2f_violation("R-6", "image %u: verifying gives status %d",
				      i, (int)st);
		if (i && q2_plan_apply(r->plan, io, NULL, NULL) !=
				 Q2_E_CHANGED)
			q2f_violation("R-6", "image %u: a plan for another one is applied",
				      i);
		if (i && memcmp(q2_io_memory_bytes(io), bytes, r->in->size))
			q2f_violation("R-6", "image %u: it was written to", i);
		q2_io_close(io);
	}
	if (q2_plan_verify(r->plan, r->image, 0, &err) == Q2_OK)
		q2f_violation("R-6", "it could be applied twice");
	q2f_own_free(bytes);
}

static void repair(struct q2f_input *in)
{
	/* To find the one wrong bit, hundreds of checks are made. */
	unsigned n = in->ctl.flags & Q2F_ALL || q2f_sampled(in, 64) ? 2 : 1;
	/* What is declined may be what the rest is based on. */
	bool declined = in->ctl.flags & Q2F_ASK &&
			in->ctl.pick & (Q2F_BELONGS | Q2F_ONE_NOT | 255);
	struct repair r;
	bool begun;

	if (n > 1 && ((q2f_thorough && in->size <= SMALL) ||
		      in->ctl.flags & Q2F_FREE))
		n = 3;
	for (unsigned all = 0; all < n; all++) {
		in->ctl.flags = (in->ctl.flags & Q2F_ASK) | (all ? Q2F_ALL : 0);
		in->ctl.flags |= all > 1 ? Q2F_FREE : 0;
		patience = patience_for(in);
		begun = q2f_repair_start(&r, in);
		patience = (struct patience){0};
		if (!begun)
			continue;
		/* In memory all that lies between is written, too. */
		if (r.plan->new_size > r.in->size + FAR && !q2f_thorough) {
			q2f_repair_finish(&r);
			continue;
		}
		q2f_repair_apply(&r);
		q2f_repair_result(&r);
		if (!declined)
			q2f_repair_guest(&r, r.image, "R-4");
		if (q2f_thorough)
			judge_others(&r);
		/* That would be asked for something else then. */
		if (q2f_sampled(in, 4) && !(declined && in->ctl.pick & Q2F_ONE_NOT))
			judge_second(&r);
		q2f_repair_undo(&r, r.image, "R-6");
		q2f_repair_finish(&r);
	}
}

int q2f_repair(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	uint8_t *room = q2f_repair_room(&in);

	q2f_heap_watch(0);
	if (q2f_faulty(&in.ctl)) {
		patience = patience_for(&in);
		q2f_repair_faults(&in);
		patience = (struct patience){0};
	} else {
		repair(&in);
	}
	q2f_heap_empty("a repair");
	q2f_own_free(room);
	return 0;
}

/* Where roots are lost, and found again, the disk may be another one than before:
 * what the guest reads is not compared. */
int q2f_rescue(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	uint8_t *room = q2f_repair_room(&in);
	struct repair r;

	if (q2f_thorough)
		q2f_beginnings();
	in.ctl.flags = (in.ctl.flags & Q2F_ASK) | Q2F_ALL | Q2F_RESCUE;
	q2f_heap_watch(0);
	if (q2f_faulty(&in.ctl)) {
		q2f_repair_faults(&in);
	} else if (q2f_repair_start(&r, &in)) {
		q2f_repair_apply(&r);
		q2f_repair_result(&r);
		q2f_repair_undo(&r, r.image, "R-6");
		q2f_repair_finish(&r);
	}
	q2f_heap_empty("a rescue");
	q2f_own_free(room);
	return 0;
}
