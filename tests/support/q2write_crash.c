/*
 * q2write_crash.c - the image as it is when the machine stops at any moment.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "q2write.h"
#include "torn.h"

#define SECTOR 512u
#define TORN_MAX 3u /* places at which one write is torn */
#define PARTS 3u    /* selections of what was not flushed, for each flush */

static struct q2_io *fresh(const struct run *r)
{
	struct q2_io *io;

	if (q2_io_memory_rw(r->s->start.bytes, r->s->start.n, 0, &io, NULL) !=
	    Q2_OK)
		die("no memory");
	return io;
}

static struct q2_io *clone(struct q2_io *from)
{
	struct q2_io *io;

	if (q2_io_memory_rw(q2_io_memory_bytes(from), (size_t)q2_io_size(from),
			    0, &io, NULL) != Q2_OK)
		die("no memory");
	return io;
}

static void apply(struct q2_io *io, const struct test_event *e, size_t from,
		  size_t len)
{
	enum q2_status st = Q2_OK;

	if (e->op == TEST_WRITE && len)
		st = q2_pwrite(io, e->bytes + from, len, e->off + from, NULL);
	else if (e->op == TEST_RESIZE)
		st = q2_resize(io, e->off, NULL);
	if (st != Q2_OK)
		die("no memory");
}

static void judge(struct run *r, struct q2_io *io, size_t event,
		  const char *how, unsigned n)
{
	unsigned from = event ? r->committed_at[event - 1] : 0;
	unsigned to = event < r->n_at ? r->op_at[event] : r->n_history - 1;
	char what[80];

	snprintf(what, sizeof(what), "event %zu of %zu, %s %u", event, r->n_at,
		 how, n);
	compare(r, io, from, to, false, what);
}

/* The write at hand gets through in part. */
static void torn(struct run *r, struct q2_io *state, size_t event)
{
	const struct test_event *e = &r->t.log[event];
	size_t before = e->off % SECTOR;
	size_t sectors = (before + e->len) / SECTOR;
	size_t step = sectors / (TORN_MAX + 1) + 1;

	if (e->op != TEST_WRITE)
		return;
	for (size_t i = step; i < sectors; i += step) {
		struct q2_io *io = clone(state);

		apply(io, e, 0, i * SECTOR - before);
		judge(r, io, event, "torn after", (unsigned)i);
		q2_io_close(io);
	}
}

/* Of the events [from, to) each sector sees only a beginning. */
static void part(struct run *r, struct q2_io *state, size_t from, size_t to,
		 unsigned number)
{
	struct q2_io *io = clone(state);

	for (size_t i = from; i < to; i++) {
		const struct test_event *e = &r->t.log[i];

		if (e->op == TEST_RESIZE)
			apply(io, e, 0, 0);
		for (size_t at = 0, n; at < e->len; at += n) {
			n = (size_t)q2_min(SECTOR - (e->off + at) % SECTOR,
					   e->len - at);
			if (i < reached((e->off + at) / SECTOR, from, to,
					number))
				apply(io, e, at, n);
		}
	}
	judge(r, io, to - 1, "part", number);
	q2_io_close(io);
}

void crash_all(struct run *r)
{
	struct q2_io *state = fresh(r);
	struct q2_io *flushed = clone(state);
	size_t since = 0;

	for (size_t i = 0; i < r->t.n_log; i++) {
		const struct test_event *e = &r->t.log[i];

		judge(r, state, i, "whole", 0);
		torn(r, state, i);
		apply(state, e, 0, e->len);
		if (e->op != TEST_FLUSH)
			continue;
		for (unsigned k = 0; k < PARTS && i > since; k++)
			part(r, flushed, since, i, k);
		q2_io_close(flushed);
		flushed = clone(state);
		since = i + 1;
	}
	compare(r, state, r->committed, r->n_history - 1, true, "at the end");
	q2_io_close(state);
	q2_io_close(flushed);
}
