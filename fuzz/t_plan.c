/*
 * t_plan.c - target plan: stored plans, and backups of the metadata.
 *
 * SPDX-License-Identifier: MIT
 *
 * P-1 stored plans come back as they were, and no changed byte passes; P-2 a
 * backup puts every byte of the metadata back; I-7 nothing is left behind.
 */
#include <stdlib.h>
#include <string.h>

#include "t_repair.h"

/* A plan file with one byte changed is refused: it is read before an image is
 * touched, so nothing wrong in it may pass. */
static void flip(const uint8_t *bytes, size_t n, size_t at)
{
	uint8_t *copy = malloc(n);
	struct q2_io *io;
	struct q2_plan *plan;
	struct q2_plan_info info;

	if (copy == NULL)
		abort();
	memcpy(copy, bytes, n);
	copy[at] ^= (uint8_t)(1u << at % 8);
	if (q2_io_memory(copy, n, &io, NULL) != Q2_OK)
		abort();
	if (q2_pf_read(io, 0, &plan, &info, NULL) == Q2_OK) {
		q2_plan_free(plan);
		q2f_violation("P-1", "a plan file with byte %zu of %zu changed is taken",
			      at, n);
	}
	q2_io_close(io);
	free(copy);
}

static void round_trip(const struct repair *r)
{
	struct q2_io *file, *again;
	struct q2_plan *plan;
	struct q2_plan_info info;
	const uint8_t *bytes;
	size_t n;

	if (q2_io_memory_rw("", 0, 0, &file, NULL) != Q2_OK ||
	    q2_io_memory_rw("", 0, 0, &again, NULL) != Q2_OK)
		abort();
	if (q2_pf_write(r->plan, Q2_PLAN_REVIEW, 0, file, NULL) != Q2_OK)
		q2f_violation("P-1", "a plan cannot be stored");
	if (q2_pf_read(file, 0, &plan, &info, NULL) != Q2_OK)
		q2f_violation("P-1", "a stored plan cannot be read");
	if (q2_pf_write(plan, Q2_PLAN_REVIEW, 0, again, NULL) != Q2_OK)
		q2f_violation("P-1", "a plan that was read cannot be stored");
	n = (size_t)q2_io_size(file);
	bytes = q2_io_memory_bytes(file);
	if (!q2f_repair_holds(again, bytes, n))
		q2f_violation("P-1", "a plan changes when it is stored twice");
	for (size_t i = 0; i < 16; i++)
		flip(bytes, n, (i * n / 16 + r->in->ctl.pick) % n);
	q2_plan_free(plan);
	q2_io_close(file);
	q2_io_close(again);
}

/* No plan that makes no sense is carried out, wherever it comes from. */
static void unsound(const struct repair *r)
{
	struct q2_edit *e = r->plan->edits.at, was = e[0];
	size_t n = r->plan->edits.n;

	for (unsigned i = 0; i < 11; i++) {
		struct q2_plan whole = *r->plan;
		struct q2_edit last = e[n - 1];
		struct q2_export odd = {0, i == 9 ? 0 : UINT64_MAX, false};

		/* Behind the old end there was nothing. */
		if (i == 8 && was.offset >= whole.old_size)
			continue;
		if (i == 0)
			e[0].action = (uint32_t)r->plan->actions.n;
		else if (i == 1)
			e[0].offset = r->plan->new_size + 512;
		else if (i == 2)
			e[0].before_len = e[0].len + 1;
		else if (i == 3)
			e[0].len = 0;
		else if (i == 4)
			e[n - 1].phase = Q2_PHASES;
		else if (i == 5)
			r->plan->new_size = r->plan->old_size - 1;
		else if (i == 6)
			r->plan->new_size = UINT64_MAX;
		else if (i == 7)
			r->plan->is_device = r->plan->new_size++;
		else if (i == 8)
			e[0].before_len = 0;
		else
			r->plan->exports = (struct q2_exports){&odd, 1, 1};
		if (q2_plan_apply(r->plan, r->image, NULL, NULL) == Q2_OK)
			q2f_violation("R-6", "nonsense %u is carried out", i);
		if (!q2f_repair_holds(r->image, r->in->image, r->in->size))
			q2f_violation("R-6", "nonsense %u writes", i);
		*r->plan = whole;
		e[n - 1] = last;
		e[0] = was;
	}
}

/* Nor one on an image of another length. */
static void misfit(const struct repair *r)
{
	size_t n = (size_t)q2_max(r->plan->old_size, r->plan->new_size) + 512;
	uint8_t *bytes = q2f_own(n);
	struct q2_io *io;

	if (q2_io_memory(bytes, n, &io, NULL) != Q2_OK)
		abort();
	if (q2_plan_verify(r->plan, io, 0, NULL) != Q2_E_CHANGED)
		q2f_violation("R-6", "a plan fits %zu bytes, too", n);
	q2_io_close(io);
	q2f_own_free(bytes);
}

/* A journal says how far its image is, and that is what is read. */
static void states(const struct repair *r)
{
	static const enum q2_plan_state order[] = {
		Q2_STATE_APPLYING, Q2_STATE_FINISHED, Q2_STATE_UNDOING,
		Q2_STATE_UNDONE, Q2_STATE_APPLYING};
	struct q2_plan_info info;
	struct q2_plan *plan;
	struct q2_io *file;

	if (q2_io_memory_rw("", 0, 0, &file, NULL) != Q2_OK)
		abort();
	if (q2_pf_write(r->plan, Q2_PLAN_JOURNAL, 1, file, NULL) != Q2_OK)
		q2f_violation("P-1", "a journal cannot be stored");
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
		if (q2_pf_add_state(file, order[i], i, false, NULL) != Q2_OK)
			q2f_violation("P-1", "state %zu cannot be added", i);
		if (q2_pf_read(file, 0, &plan, &info, NULL) != Q2_OK)
			q2f_violation("P-1", "a journal cannot be read");
		q2_plan_free(plan);
		if (strcmp(q2_plan_state_text(info.state), "unknown") == 0 ||
		    info.state != order[i] || info.changed != i)
			q2f_violation("P-1", "state %d instead of %d",
				      (int)info.state, (int)order[i]);
	}
	q2_io_close(file);
}

/* What a backup has, turned into something else. */
static struct q2_io *damaged(const struct q2f_input *in,
			     const struct q2_plan *backup, uint64_t cut)
{
	uint8_t *bytes = q2f_own(in->size);
	struct q2_io *io;

	memcpy(bytes, in->image, in->size);
	for (size_t i = 0; i < backup->edits.n; i++) {
		const struct q2_edit *e = &backup->edits.at[i];

		if (!q2_inside(e->offset, e->len, in->size) ||
		    memcmp(bytes + e->offset, e->after, e->len) != 0)
			q2f_violation("P-2", "a backup holds something else");
		for (uint32_t k = 0; k < e->len; k++)
			bytes[e->offset + k] ^= 0x55;
	}
	if (q2_io_memory_rw(bytes, in->size - (size_t)cut, 0, &io, NULL) !=
	    Q2_OK)
		abort();
	q2f_own_free(bytes);
	return io;
}

static void restore(const struct q2f_input *in, const struct q2_plan *backup,
		    uint64_t cut)
{
	struct q2_io *io = damaged(in, backup, cut);
	struct q2_err err = {0};
	struct q2_plan *plan;
	const uint8_t *now;

	if (q2_restore_make(backup, io, 0, &plan, &err) != Q2_OK)
		q2f_violation("P-2", "it cannot be put back: %s", err.text);
	if (q2_plan_apply(plan, io, NULL, &err) != Q2_OK)
		q2f_violation("P-2", "it cannot be carried out: %s", err.text);
	now = q2_io_memory_bytes(io);
	if (q2_io_size(io) != in->size)
		q2f_violation("P-2", "the file has another length");
	if (cut == 0 && memcmp(now, in->image, in->size) != 0)
		q2f_violation("P-2", "the file is another one");
	for (size_t i = 0; i < backup->edits.n; i++) {
		const struct q2_edit *e = &backup->edits.at[i];

		if (memcmp(now + e->offset, e->after, e->len) != 0)
			q2f_violation("P-2", "bytes at %llu are lost",
				      (unsigned long long)e->offset);
	}
	q2_plan_free(plan);
	q2_io_close(io);
}

/* A backup that makes no sense, or of more than a device has, is not put back. */
static void unsound_backup(const struct q2f_input *in, struct q2_plan *backup)
{
	struct q2_edit *last = &backup->edits.at[backup->edits.n - 1];
	struct q2_edit was = *last;
	struct q2_plan *plan;
	struct q2_io *io;

	if (q2_io_memory_rw(in->image, (size_t)was.offset, 0, &io, NULL) !=
	    Q2_OK)
		abort();
	io->is_device = true;
	if (q2_restore_make(backup, io, 0, &plan, NULL) != Q2_E_RANGE)
		q2f_violation("P-2", "a device of %llu bytes is enough",
			      (unsigned long long)was.offset);
	for (unsigned i = 0; i < 4; i++) {
		if (i == 0)
			last->len = 0;
		else if (i == 1)
			last->action = (uint32_t)backup->actions.n;
		else if (i == 2)
			last->offset = backup->old_size;
		else
			last->len = UINT32_MAX;
		if (q2_restore_make(backup, io, 0, &plan, NULL) != Q2_E_FORMAT)
			q2f_violation("P-2", "nonsense %u is put back", i);
		*last = was;
	}
	q2_io_close(io);
}

static void backups(const struct q2f_input *in)
{
	const struct q2_plan_opts opts = {0};
	struct q2_check_result found;
	struct q2_plan *made, *backup;
	struct q2_plan_info info;
	struct q2_err err = {0};
	struct q2_io *io, *file;

	if (q2_io_memory(in->image, in->size, &io, NULL) != Q2_OK)
		return;
	if (q2_backup_make(io, Q2_BACKUP_KEYS, &opts, &made, &found, &err) ==
	    Q2_OK) {
		if (q2_io_memory_rw("", 0, 0, &file, NULL) != Q2_OK)
			abort();
		if (q2_pf_write(made, Q2_PLAN_BACKUP, 0, file, NULL) != Q2_OK ||
		    q2_pf_read(file, 0, &backup, &info, NULL) != Q2_OK ||
		    info.kind != Q2_PLAN_BACKUP)
			q2f_violation("P-2", "a backup cannot be stored");
		restore(in, backup, 0);
		restore(in, backup, in->size / 2);
		unsound_backup(in, backup);
		q2_plan_free(backup);
		q2_plan_free(made);
		q2_io_close(file);
	} else if (err.code == Q2_OK) {
		q2f_violation("C-1", "no backup, and no cause");
	}
	q2_io_close(io);
}

/* A backup made from `io`, stored in `file`, read and put back. */
static enum q2_status there_and_back(struct q2_io *io, struct q2_io *file,
				     uint32_t stop, struct q2_err *err)
{
	const struct q2_plan_opts opts = {.progress = q2f_stops,
					  .ctx = &stop};
	struct q2_plan *made = NULL, *backup = NULL, *plan = NULL;
	struct q2_check_result found;
	struct q2_plan_info info;
	enum q2_status st;

	st = q2_backup_make(io, Q2_BACKUP_KEYS, &opts, &made, &found, err);
	if (st == Q2_OK)
		st = q2_pf_write(made, Q2_PLAN_BACKUP, 1, file, err);
	if (st == Q2_OK)
		st = q2_pf_read(file, 0, &backup, &info, err);
	if (st == Q2_OK)
		st = q2_restore_make(backup, io, 0, &plan, err);
	q2_plan_free(plan);
	q2_plan_free(backup);
	q2_plan_free(made);
	return st;
}

/* The same while something fails: it says so, and leaves nothing behind. */
static void backup_faults(const struct q2f_input *in)
{
	struct q2_io *io = q2f_io_new(in), *file;
	struct q2_err err = {0};
	struct test_io t;
	enum q2_status st;

	q2f_heap_watch(in->ctl.fail_alloc);
	st = q2_io_memory_rw("", 0, 0, &file, &err);
	if (st == Q2_OK) {
		test_io_open(&t, file);
		for (unsigned op = 0; op < TEST_OPS; op++)
			t.faults.fail_at[op] = in->ctl.fail_write;
		/* What writes down the operations may not fail. */
		st = there_and_back(io, in->ctl.fail_write ? &t.io : file,
				    in->ctl.stop, &err);
		for (unsigned op = 0; op < TEST_OPS; op++)
			if (in->ctl.fail_write &&
			    t.done[op] >= in->ctl.fail_write) {
				q2f_fault_reached = true;
				if (st == Q2_OK)
					q2f_violation("P-2", "failure %u of kind %u was overlooked",
						      in->ctl.fail_write, op);
			}
		q2_io_close(&t.io);
		q2_io_close(file);
	}
	if (st != Q2_OK && err.code == Q2_OK)
		q2f_violation("C-1", "a backup: status %d without a cause",
			      (int)st);
	q2f_heap_empty("a backup");
	q2_io_close(io);
}

int q2f_plan(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct q2_io *io;
	struct q2_plan *plan;
	struct q2_plan_info info;
	struct repair r;

	/* Making plans is the other targets' work. */
	if (q2f_faulty(&in.ctl)) {
		backup_faults(&in);
		return 0;
	}
	q2f_heap_watch(0);
	/* As a plan file by itself. */
	if (q2_io_memory(in.image, in.size, &io, NULL) != Q2_OK)
		return 0;
	if (q2_pf_read(io, 0, &plan, &info, NULL) == Q2_OK)
		q2_plan_free(plan);
	q2_io_close(io);
	if (q2f_sampled(&in, 8))
		backups(&in);
	in.ctl.flags |= Q2F_ALL;
	for (unsigned i = 0; i < (q2f_thorough ? 2 : 1); i++) {
		if (q2f_repair_start(&r, &in)) {
			round_trip(&r);
			states(&r);
			if (q2f_sampled(&in, 8))
				q2f_forged(&r);
			unsound(&r);
			misfit(&r);
			q2f_repair_finish(&r);
		}
		in.ctl.flags ^= Q2F_FREE;
	}
	q2f_heap_empty("a plan");
	return 0;
}
