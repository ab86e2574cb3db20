/*
 * t_write.c - target write: a sound image is changed as a guest would.
 *
 * SPDX-License-Identifier: MIT
 *
 * W-1 each moment of a run of writes leaves an image that is clean or leaky, in
 * which each sector reads as before or as after, snapshots as ever; also when an
 * operation or an allocation fails.  The judge is tests/support/q2write*.c, which
 * ends in die() when a promise is broken.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "image/snaptable.h"
#include "world.h"
#include "../tests/support/q2write.h"

#define DISK_MAX (UINT64_C(160) << 10)
#define OPS 8u
#define CRASH_OPS 3u
#define LONG 30u

void die(const char *format, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	q2f_violation("W-1", "%s", text);
}

/* Evidence that is weighed may mislead about a leaked cluster: on disks of a few
 * clusters, one that is free is soon what an old record, or another size of
 * clusters, would explain. */
static bool excused(const struct q2_finding *f)
{
	return (f->problem->number >= 141 && f->problem->number <= 144) ||
	       f->problem->number == 518;
}

/* The whole disk that `disk` shows; n is SIZE_MAX if it cannot be had. */
static struct blob view_of(struct q2_disk *disk)
{
	struct blob b = {NULL, SIZE_MAX};
	struct q2f_view v;

	if (q2_disk_bytes(disk) > DISK_MAX)
		return b;
	q2f_view_make(&v, disk);
	if (!v.closed && v.n_lost == 0) {
		b = (struct blob){v.bytes, v.n};
		v.bytes = NULL;
	}
	q2f_view_free(&v);
	return b;
}

static bool views(struct setup *s, struct q2_disk *disk)
{
	const struct q2_image *img = &disk->chain.layers[0]->opened.img;

	s->view = view_of(disk);
	if (s->view.n == SIZE_MAX || s->view.n == 0 ||
	    q2_snaptable_read(img, &disk->snapshots, NULL) != Q2_OK)
		return false;
	for (size_t i = 0; i < disk->snapshots.snaps.n; i++) {
		const struct q2_snap *snap = &disk->snapshots.snaps.at[i];

		/* A table that a shorter disk shares is judged by the longer
		 * one, until it is shared no more. */
		if (i == SNAPS_MAX || snap->tree.disk_size < s->view.n ||
		    q2_chain_tree(&disk->chain, &snap->tree, NULL) != Q2_OK)
			return false;
		s->snaps[i] = view_of(disk);
		if (s->snaps[i].n == SIZE_MAX)
			return false;
		s->n_snaps++;
	}
	return true;
}

/* Refcounts behind the file's end: when it grows, these clusters are leaked. */
static void behind(void *ctx, const struct q2_finding *f)
{
	bool *any = ctx;

	*any |= strcmp(f->problem->id, "REFCOUNT_PAST_END") == 0;
}

/* Fills in what the image holds; false if it is none to be written to. */
static bool prepare(struct setup *s, const struct q2f_input *in)
{
	struct q2f_world w = {.file = {*in}, .n = 1};
	bool good, counted = false;
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA,
				     .found = behind,
				     .ctx = &counted};
	struct q2_check_result result;
	struct q2_disk disk = {0};
	struct q2_io *io;

	if (q2_io_memory(in->image, in->size, &io, NULL) != Q2_OK)
		abort();
	good = q2_check(io, &opts, &result, NULL) == Q2_OK &&
	       result.verdict == Q2_CLEAN && result.version >= 2 &&
	       result.virtual_size <= DISK_MAX &&
	       result.virtual_size % 512 == 0 && !counted;
	q2_io_close(io);
	if (!good || q2f_world_chain(&w, true, &disk.budget, &disk.chain,
				     NULL) != Q2_OK)
		return false;
	good = views(s, &disk);
	q2_snaptable_free(&disk.snapshots, &disk.budget);
	q2_chain_close(&disk.chain);
	return good;
}

/* What the writer takes at all; with bitmaps only if they go stale. */
static bool accepted(struct setup *s)
{
	struct run r;
	enum q2_status st;

	run_open(&r, s);
	st = run_start(&r);
	if (st == Q2_OK)
		s->no_resize = q2_write_resize(r.w, s->view.n + 512, true,
					       NULL) != Q2_OK;
	run_close(&r);
	return st == Q2_OK;
}

static void crash_run(const struct setup *s, bool crash)
{
	struct run r;

	run_open(&r, s);
	if (run_start(&r) != Q2_OK || run_operations(&r) != Q2_OK)
		die("an operation failed without a fault");
	compare(&r, r.mem, r.n_history - 1, r.n_history - 1, true, "the end");
	if (crash)
		crash_all(&r);
	run_close(&r);
}

/* The k-th operation of one kind fails, or the k-th allocation. */
static void fault_run(const struct setup *s, unsigned kind, unsigned k)
{
	enum q2_status st;
	struct run r;
	bool reached;

	run_open(&r, s);
	r.quiet = true;
	if (kind < TEST_OPS) {
		r.t.faults.fail_at[kind] = k;
		r.t.faults.torn = k % 3;
	} else {
		q2f_heap_watch_zeroed(k);
	}
	st = run_start(&r);
	if (st == Q2_OK)
		st = run_operations(&r);
	reached = q2f_heap_done();
	if (kind < TEST_OPS)
		reached = r.t.done[kind] >= k;
	if (reached && st == Q2_OK)
		die("failure %u of kind %u was overlooked", k, kind);
	q2f_fault_reached |= reached;
	compare(&r, r.mem, r.committed, r.n_history - 1, st == Q2_OK,
		"after a failure");
	run_close(&r);
}

static void runs(struct setup *s, const struct q2f_input *in)
{
	uint64_t h = s->seed / 8;

	if (in->ctl.fail_alloc)
		fault_run(s, TEST_OPS, in->ctl.fail_alloc);
	else if (in->ctl.fail_read)
		fault_run(s, TEST_READ, in->ctl.fail_read);
	else if (in->ctl.fail_write)
		fault_run(s, TEST_WRITE, in->ctl.fail_write);
	else if (s->seed % 8 < 4)
		fault_run(s, (unsigned)(h % (TEST_OPS + 1)),
			  1 + (unsigned)(h / 8 % 48));
	else
		crash_run(s, s->seed % 8 == 7);
}

int q2f_write(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct setup s = {.image = "image", .ops = OPS,
			  .excused = excused};

	s.start = (struct blob){q2f_unconst(in.image), in.size};
	s.seed = q2_hash(in.image, in.size) + in.ctl.pick;
	s.batch = s.seed & 64 ? 1024 : 0;
	if (s.seed % 8 == 7)
		s.ops = CRASH_OPS;
	if (in.ctl.hole == 0 && prepare(&s, &in)) {
		bool good = accepted(&s);

		if (!good) {
			s.flags = Q2_WRITER_STALE_BITMAPS;
			good = accepted(&s);
		}
		if (good)
			runs(&s, &in);
		for (unsigned i = 0; good && q2f_thorough && i < 6; i++) {
			s.seed += UINT64_C(0x9e3779b97f4a7c15);
			s.ops = s.seed % 8 == 7 ? CRASH_OPS : LONG;
			runs(&s, &in);
		}
	}
	if (s.view.n != SIZE_MAX)
		q2f_own_free(s.view.bytes);
	for (unsigned i = 0; i < s.n_snaps; i++)
		q2f_own_free(s.snaps[i].bytes);
	return 0;
}
