/*
 * t_write.c - target write: a sound image is changed as a guest would.
 *
 * SPDX-License-Identifier: MIT
 *
 * W-1 each moment of a run of writes leaves an image that is clean or leaky, in
 * which each sector reads as before or as after, snapshots as ever; also when an
 * operation or an allocation fails; W-3 see t_rough.c.  The judge is tests/support/q2write*.c, which
 * ends in die() when a promise is broken.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/hash.h"
#include "image/snaptable.h"
#include "t_medium.h"
#include "t_write.h"
#include "world.h"

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

/* What shows through: the next file, as the chain has it; n is SIZE_MAX if it
 * cannot be had. */
static struct blob below_of(const struct q2f_world *w, bool raw)
{
	struct q2f_world lower = {.n = w->n - 1};
	struct blob b = {NULL, SIZE_MAX};
	struct q2_disk disk = {0};

	if (raw) {
		b = (struct blob){q2f_own(w->file[1].size + 1),
				  w->file[1].size};
		memcpy(b.bytes, w->file[1].image, b.n);
		return b;
	}
	memcpy(lower.file, w->file + 1, lower.n * sizeof(*lower.file));
	if (q2f_world_chain(&lower, false, &disk.budget, &disk.chain, NULL) !=
	    Q2_OK)
		return b;
	b = view_of(&disk);
	q2_chain_close(&disk.chain);
	return b;
}

/* The files of the input.  An image that names a backing file, and comes alone, gets
 * itself: as a raw one that is as good as any. */
static void files_of(struct q2f_world *w, const struct q2f_input *in,
		     bool names_one)
{
	q2f_world_make(w, in);
	if (w->n == 1 && names_one) {
		w->file[1] = w->file[0];
		w->n = 2;
	}
}

/* *counted: clusters that are not there have refcounts, and leak when the file grows. */
static bool sound(const struct q2f_input *in, struct q2_check_result *result,
		  bool *counted)
{
	bool good;
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA,
				     .found = behind,
				     .ctx = counted};
	struct q2_io *io;

	if (q2_io_memory(in->image, in->size, &io, NULL) != Q2_OK)
		abort();
	good = q2_check(io, &opts, result, NULL) == Q2_OK &&
	       result->verdict == Q2_CLEAN && result->version >= 2 &&
	       result->virtual_size <= DISK_MAX &&
	       result->virtual_size % 512 == 0 && !*counted;
	q2_io_close(io);
	return good;
}

/* Fills in what the image holds; false if it is none to be written to. */
static bool prepare(struct setup *s, const struct q2f_input *in)
{
	struct q2_check_result result;
	struct q2_disk disk = {0};
	struct q2f_world w;
	bool good, counted = false;

	files_of(&w, in, in->size > 16 && q2_be64(in->image + 8));
	s->start = (struct blob){q2f_unconst(w.file[0].image), w.file[0].size};
	good = sound(&w.file[0], &result, &counted);
	if (!counted)
		q2f_medium(&w.file[0], &result);
	if (!good ||
	    q2f_world_chain(&w, w.n == 1, &disk.budget, &disk.chain, NULL) !=
		    Q2_OK)
		return false;
	good = views(s, &disk);
	if (good && disk.chain.n > 1) {
		s->below = below_of(&w, disk.chain.layers[1]->raw);
		good = s->below.n != SIZE_MAX && s->below.n != 0;
	}
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

/* Whoever changes nothing that a guest reads may leave bitmaps alone. */
static void judge_same_view(const struct setup *s)
{
	struct setup same = *s;

	same.flags = Q2_WRITER_SAME_VIEW;
	if (s->flags == 0 && !accepted(&same))
		die("the view stays, and it is refused for that");
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

/* What the writer says that the image has is a partition of the disk, and true. */
static void judge_looks(const struct setup *s)
{
	uint8_t *bytes = q2f_own(s->view.n + 1);
	uint64_t at = 0, len = 0;
	enum q2_holds holds;
	struct run r;

	run_open(&r, s);
	if (run_start(&r) != Q2_OK)
		die("it cannot be opened again");
	for (; at < s->view.n; at += len) {
		if (q2_write_look(r.w, at, &holds, &len, NULL) != Q2_OK ||
		    len == 0 || len > s->view.n - at)
			die("%llu bytes are told of at %llu of %zu",
			    (unsigned long long)len, (unsigned long long)at,
			    s->view.n);
		if (holds == Q2_HOLDS_DATA ||
		    (holds == Q2_HOLDS_NOTHING && s->below.n))
			continue;
		for (uint64_t i = 0; i < len; i++)
			if (s->view.bytes[at + i])
				die("byte %llu is no zero",
				    (unsigned long long)(at + i));
	}
	if (q2_write_read(r.w, bytes, s->view.n, 0, NULL) != Q2_OK ||
	    memcmp(bytes, s->view.bytes, s->view.n) != 0)
		die("the writer reads something else");
	if (q2_write_read(r.w, bytes, 1, s->view.n, NULL) == Q2_OK)
		die("it reads past the disk's end");
	run_close(&r);
	q2f_own_free(bytes);
}

/* Another name for the backing file, or none: the guest's bytes stay. */
static void judge_backing(const struct setup *s, const char *name,
			  const char *format)
{
	struct q2_writer_counts counts;
	enum q2_status tried, st;
	struct run r;

	run_open(&r, s);
	if (run_start(&r) != Q2_OK)
		die("it cannot be opened again");
	tried = q2_write_backing(r.w, name, format, true, NULL);
	for (size_t i = 0; i < r.t.n_log; i++)
		if (r.t.log[i].op == TEST_WRITE && tried == Q2_OK)
			die("trying writes");
	st = q2_write_backing(r.w, name, format, false, NULL);
	if (st != tried)
		die("another backing file: status %d, then %d", (int)tried,
		    (int)st);
	q2_writer_counts(r.w, &counts);
	if (counts.end * q2_writer_geom(r.w)->cluster_size >
	    q2_io_size(r.mem) + q2_writer_geom(r.w)->cluster_size)
		die("clusters behind the file's end are in use");
	if (st == Q2_OK)
		compare(&r, r.mem, 0, 0, true, "another backing file");
	run_close(&r);
}

/* The same failure at any of these times. */
static void faults(const struct setup *s, unsigned kind, unsigned k)
{
	fault_run(s, kind, k);
	if (!q2f_thorough)
		return;
	/* What takes so many is writing, and writing again. */
	if (k < 300)
		q2f_fault_growth(s, kind, k);
	for (unsigned change = 0; change < 4 && k < 24; change++)
		q2f_fault_change(s, kind, k, change);
}

static void runs(struct setup *s, const struct q2f_input *in)
{
	uint64_t h = s->seed / 8;

	if (in->ctl.fail_alloc)
		faults(s, TEST_OPS, in->ctl.fail_alloc);
	else if (in->ctl.fail_read)
		faults(s, TEST_READ, in->ctl.fail_read);
	else if (in->ctl.fail_write)
		for (unsigned op = TEST_WRITE; op < TEST_OPS; op++)
			faults(s, op, in->ctl.fail_write);
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
		if (good && q2f_thorough && !q2f_faulty(&in.ctl)) {
			judge_same_view(&s);
			q2f_judge_refusals(&in, s.flags);
			judge_looks(&s);
			q2f_judge_growth(&s);
			q2f_judge_long_l1(&s);
			judge_backing(&s, "Q2-CANARY-DO-NOT-OPEN", "raw");
			judge_backing(&s, "Q2-CANARY-DO-NOT-OPEN", NULL);
			judge_backing(&s, NULL, NULL);
		}
		if (good)
			runs(&s, &in);
		for (unsigned i = 0; good && q2f_thorough && i < 6; i++) {
			s.seed += UINT64_C(0x9e3779b97f4a7c15);
			s.ops = s.seed % 8 == 7 ? CRASH_OPS : LONG;
			runs(&s, &in);
		}
	}
	if (q2f_sampled(&in, 8))
		q2f_rough(&in);
	if (s.below.n != SIZE_MAX)
		q2f_own_free(s.below.bytes);
	if (s.view.n != SIZE_MAX)
		q2f_own_free(s.view.bytes);
	for (unsigned i = 0; i < s.n_snaps; i++)
		q2f_own_free(s.snaps[i].bytes);
	return 0;
}
