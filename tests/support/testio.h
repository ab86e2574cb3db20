/*
 * testio.h - a layer that records writes and lets chosen operations fail.
 *
 * SPDX-License-Identifier: MIT
 *
 * Faults are counted, never random: "the k-th write fails" is the same in every
 * run.  Counting starts at 1; 0 is never.
 */
#ifndef TESTIO_H
#define TESTIO_H

#include "io/io.h"

enum test_op { TEST_READ, TEST_WRITE, TEST_RESIZE, TEST_FLUSH, TEST_OPS };

/* What was done, in order. */
struct test_event {
	enum test_op op;
	uint64_t off; /* or the new size */
	size_t len;
	uint8_t *bytes; /* that were written */
};

struct test_faults {
	unsigned fail_at[TEST_OPS]; /* the k-th operation of that kind fails */
	bool stay_broken;  /* and so do all after it, of any kind but reading */
	size_t torn;	   /* of a write that fails, so many sectors get through */
	uint64_t no_space; /* bytes that may be added to the file; 0: any */
	uint64_t bad;	   /* this sector, from 1 on, can never be read */
};

struct test_io {
	struct q2_io io;
	struct q2_io *base; /* borrowed */
	struct test_faults faults;
	unsigned done[TEST_OPS]; /* how often each was asked for */
	bool broken;
	uint64_t added;
	struct test_event *log;
	size_t n_log;
};

/* `base` must outlive it; q2_io_close(&t->io) frees the log, too. */
void test_io_open(struct test_io *t, struct q2_io *base);

/* Called, if not NULL, for each operation of a kind of which one is to fail: it is the
 * k-th. */
extern void (*test_io_asked)(enum test_op op, unsigned k);

/* Does to `io` the first n events of the log, of the one after that only the
 * first `torn` bytes. */
void test_io_replay(const struct test_io *t, size_t n, size_t torn,
		    struct q2_io *io);

#endif
