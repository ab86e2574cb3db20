/*
 * testio.c - a layer that records writes and lets chosen operations fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include "testio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void (*test_io_asked)(enum test_op op, unsigned k);

static bool fails(struct test_io *t, enum test_op op)
{
	t->done[op]++;
	if (test_io_asked && t->faults.fail_at[op])
		test_io_asked(op, t->done[op]);
	if (t->broken && op != TEST_READ)
		return true;
	if (t->done[op] != t->faults.fail_at[op])
		return false;
	t->broken = t->faults.stay_broken;
	return true;
}

static void record(struct test_io *t, enum test_op op, uint64_t off,
		   const void *bytes, size_t len)
{
	struct test_event e = {op, off, len, NULL};

	t->log = realloc(t->log, (t->n_log + 1) * sizeof(*t->log));
	if (t->log == NULL)
		abort();
	if (len) {
		e.bytes = malloc(len);
		if (e.bytes == NULL)
			abort();
		memcpy(e.bytes, bytes, len);
	}
	t->log[t->n_log++] = e;
}

static enum q2_status test_pread(struct q2_io *io, void *buf, size_t len,
				 uint64_t off, struct q2_err *err)
{
	struct test_io *t = (struct test_io *)io;

	if (fails(t, TEST_READ) ||
	    (t->faults.bad && off / 512 < t->faults.bad &&
	     (off + len + 511) / 512 >= t->faults.bad))
		return q2_fail_errno(err, EIO, off, "read error");
	return q2_pread(t->base, buf, len, off, err);
}

static enum q2_status test_pwrite(struct q2_io *io, const void *buf, size_t len,
				  uint64_t off, struct q2_err *err)
{
	struct test_io *t = (struct test_io *)io;
	uint64_t end = off + len;
	enum q2_status st;

	if (end > io->size) {
		t->added += end - io->size;
		if (t->faults.no_space && t->added > t->faults.no_space)
			return q2_fail_errno(err, ENOSPC, off, "write error");
	}
	if (fails(t, TEST_WRITE)) {
		bool first = t->done[TEST_WRITE] == t->faults.fail_at[TEST_WRITE];
		size_t n = t->faults.torn * 512;

		n = first && n ? (size_t)q2_min(n - (off & 511), len) : 0;
		if (n && q2_pwrite(t->base, buf, n, off, NULL) == Q2_OK)
			io->size = t->base->size;
		return q2_fail_errno(err, EIO, off, "write error");
	}
	record(t, TEST_WRITE, off, buf, len);
	st = q2_pwrite(t->base, buf, len, off, err);
	io->size = t->base->size;
	return st;
}

static enum q2_status test_resize(struct q2_io *io, uint64_t size,
				  struct q2_err *err)
{
	struct test_io *t = (struct test_io *)io;
	enum q2_status st;

	if (size > io->size) {
		t->added += size - io->size;
		if (t->faults.no_space && t->added > t->faults.no_space)
			return q2_fail_errno(err, ENOSPC, size,
					     "cannot resize");
	}
	if (fails(t, TEST_RESIZE))
		return q2_fail_errno(err, EIO, size, "cannot resize");
	record(t, TEST_RESIZE, size, NULL, 0);
	st = q2_resize(t->base, size, err);
	io->size = t->base->size;
	return st;
}

static enum q2_status test_flush(struct q2_io *io, struct q2_err *err)
{
	struct test_io *t = (struct test_io *)io;

	if (fails(t, TEST_FLUSH))
		return q2_fail_errno(err, EIO, Q2_NO_OFFSET, "cannot flush");
	record(t, TEST_FLUSH, 0, NULL, 0);
	return q2_flush(t->base, err);
}

static void test_close(struct q2_io *io)
{
	struct test_io *t = (struct test_io *)io;

	for (size_t i = 0; i < t->n_log; i++)
		free(t->log[i].bytes);
	free(t->log);
	t->log = NULL;
	t->n_log = 0;
}

static const struct q2_io_ops test_ops = {
	.pread = test_pread,
	.pwrite = test_pwrite,
	.resize = test_resize,
	.flush = test_flush,
	.close = test_close,
};

void test_io_open(struct test_io *t, struct q2_io *base)
{
	*t = (struct test_io){.base = base};
	t->io.ops = &test_ops;
	t->io.size = t->io.stored = base->size;
	t->io.writable = base->writable;
	t->io.is_device = base->is_device;
}

void test_io_replay(const struct test_io *t, size_t n, size_t torn,
		    struct q2_io *io)
{
	for (size_t i = 0; i <= n && i < t->n_log; i++) {
		const struct test_event *e = &t->log[i];
		size_t len = i < n ? e->len : (size_t)q2_min(torn, e->len);
		enum q2_status st = Q2_OK;

		if (e->op == TEST_WRITE)
			st = q2_pwrite(io, e->bytes, len, e->off, NULL);
		else if (e->op == TEST_RESIZE && i < n)
			st = q2_resize(io, e->off, NULL);
		if (st != Q2_OK)
			abort();
	}
}
