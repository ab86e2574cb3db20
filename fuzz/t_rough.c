/*
 * t_rough.c - part of target write: images that no check has seen, and refusals.
 *
 * SPDX-License-Identifier: MIT
 *
 * W-3 whatever an image holds, the writer ends, leaves nothing behind, and does no
 * more once something went wrong; what it refuses changes nothing.
 */
#include <string.h>

#include "base/err.h"
#include "t_write.h"

#define FILE_MAX 65536u	       /* bytes of an image */
#define ROOM (UINT64_C(4) << 20) /* bytes to which it may grow */
#define L1_ROUGH 4096u	       /* entries that a run of operations may look at */

struct rough {
	struct q2_io *mem;
	struct test_io t;
	struct q2_budget budget;
	struct q2_writer *w;
};

static enum q2_status no_read(void *ctx, void *buf, size_t len, uint64_t off,
			      struct q2_err *err)
{
	const bool *fails = ctx;

	memset(buf, 0x5e, len);
	return *fails ? q2_fail(err, Q2_E_IO, 5, off, "no base to be read") :
			Q2_OK;
}

static bool rough_open(struct rough *r, const struct q2f_input *in,
		       const struct q2_writer_opts *opts)
{
	const struct q2f_control *c = &in->ctl;
	struct q2_err err = {0};
	enum q2_status st;

	*r = (struct rough){0};
	if (q2_io_memory_rw(in->image, in->size, ROOM, &r->mem, NULL) != Q2_OK)
		q2f_violation("W-3", "no memory");
	test_io_open(&r->t, r->mem);
	r->t.io.is_device = c->pick & 1;
	r->t.faults.fail_at[TEST_READ] = c->fail_read;
	r->t.faults.fail_at[TEST_WRITE] = c->fail_write;
	q2f_heap_watch_zeroed(c->fail_alloc);
	st = q2_writer_open(&r->t.io, &r->budget, opts, &r->w, &err);
	if (st != err.code)
		q2f_violation("W-3", "opening: status %d, and %d", (int)st, (int)err.code);
	return st == Q2_OK;
}

static void rough_close(struct rough *r)
{
	q2_writer_close(r->w);
	q2f_fault_reached |= q2f_heap_done();
	for (unsigned op = 0; op < TEST_OPS; op++)
		q2f_fault_reached |= r->t.faults.fail_at[op] &&
				     r->t.done[op] >= r->t.faults.fail_at[op];
	if (r->budget.used)
		q2f_violation("W-3", "%llu bytes are leaked", (unsigned long long)r->budget.used);
	q2_io_close(&r->t.io);
	q2_io_close(r->mem);
}

static enum q2_status operation(struct q2_writer *w, unsigned op, uint64_t at,
				uint64_t len, struct q2_err *err)
{
	static uint8_t bytes[1536];
	uint64_t size = q2_writer_geom(w)->disk_size;
	enum q2_holds holds;

	switch (op) {
	case 0:
		return q2_write(w, bytes, (size_t)len, at, err);
	case 1:
		return q2_write_zeros(w, at, len, Q2_ZEROS_PLAIN, err);
	case 2:
		return q2_write_zeros(w, at, len, Q2_ZEROS_KEEP, err);
	case 3:
		return q2_write_discard(w, at, len, err);
	case 4:
		return q2_write_look(w, at, &holds, &len, err);
	case 5:
		return q2_write_read(w, bytes, (size_t)len, at, err);
	case 6:
		return q2_write_commit(w, err);
	case 7:
		return q2_write_empty(w, err);
	case 8:
		return q2_write_resize(w, size + 65536, false, err);
	default:
		return q2_write_shrink(w, err);
	}
}

/* Whether such a failure leaves the writer of no more use: it refuses for others. */
static bool final(enum q2_status st, unsigned op)
{
	return (st == Q2_E_IO || st == Q2_E_NOMEM || st == Q2_E_FORMAT) &&
	       (op < 4 || op == 6);
}

static void run_of(struct rough *r, const struct q2f_input *in)
{
	const struct q2_geom *g = q2_writer_geom(r->w);
	uint64_t size = g->disk_size;
	bool broken = false;
	size_t written = 0;

	for (unsigned i = 0; i < 24 && size; i++) {
		unsigned op = (i + in->ctl.pick) % 10;
		uint64_t at = size / 13 * i % size / 512 * 512;
		uint64_t len = q2_min(i % 3 ? 1536 : 512, size - at);
		struct q2_err err = {0};
		enum q2_status st;

		if (op == 7 && g->l1_entries > L1_ROUGH)
			continue;
		st = operation(r->w, op, at, len, &err);
		if (st != err.code)
			q2f_violation("W-3", "operation %u: status %d, and %d", op, (int)st,
			    (int)err.code);
		if (broken && op < 4 && st == Q2_OK)
			q2f_violation("W-3", "operation %u succeeds after a failure", op);
		if (broken && r->t.n_log != written)
			q2f_violation("W-3", "operation %u writes after a failure", op);
		broken |= final(st, op);
		written = r->t.n_log;
	}
}

void q2f_rough(const struct q2f_input *in)
{
	bool fails = in->ctl.pick & 2;
	const struct q2_below below = {no_read, &fails, 1u << 20};
	struct q2_writer_opts opts = {.flags = Q2_WRITER_STALE_BITMAPS,
				      .below = in->ctl.pick & 4 ? &below : NULL,
				      .batch = in->ctl.pick & 8 ? 1024 : 0};
	struct rough r;

	if (in->size > FILE_MAX || in->ctl.hole)
		return;
	if (rough_open(&r, in, &opts))
		run_of(&r, in);
	rough_close(&r);
}

void q2f_judge_refusals(const struct q2f_input *in, unsigned flags)
{
	static char name[1100], format[40];
	const struct q2_writer_opts opts = {.flags = flags};
	struct q2_writer *w;
	struct q2_budget b = {0};
	struct q2_io *io;
	uint64_t size;

	memset(name, 'n', sizeof(name) - 1);
	memset(format, 'f', sizeof(format) - 1);
	if (q2_io_memory(in->image, in->size, &io, NULL) != Q2_OK)
		q2f_violation("W-3", "no memory");
	if (q2_writer_open(io, &b, &opts, &w, NULL) == Q2_OK) {
		size = q2_writer_geom(w)->disk_size;
		for (unsigned op = 0; op < 4 && size >= 512; op++)
			if (operation(w, op, 0, 512, NULL) != Q2_E_ARG)
				q2f_violation("W-3", "operation %u on what is only read", op);
		for (unsigned op = 0; op < 6; op++)
			if (operation(w, op, size, 512, NULL) == Q2_OK)
				q2f_violation("W-3", "operation %u past the disk's end", op);
		if (q2_write_resize(w, size ? size - 1 : 0, true, NULL) !=
			    Q2_E_ARG && size)
			q2f_violation("W-3", "the disk gets shorter");
		if (q2_write_backing(w, name, NULL, true, NULL) != Q2_E_ARG ||
		    q2_write_backing(w, "", NULL, true, NULL) != Q2_E_ARG ||
		    q2_write_backing(w, "n", format, true, NULL) != Q2_E_ARG)
			q2f_violation("W-3", "a name that is too long");
		q2_writer_close(w);
	}
	q2_io_close(io);
	if (b.used)
		q2f_violation("W-3", "%llu bytes are leaked", (unsigned long long)b.used);
}
