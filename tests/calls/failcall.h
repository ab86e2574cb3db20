/*
 * failcall.h - calls that leave the library are counted, and a chosen one fails.
 *
 * SPDX-License-Identifier: MIT
 *
 * For a program that is linked with --wrap for each function of failcall.list.
 */
#ifndef FAILCALL_H
#define FAILCALL_H

#include <stdbool.h>

enum fail_kind {
	FAIL_ALLOC = 1 << 0, /* memory, and what other libraries make of it */
	FAIL_OPEN = 1 << 1,
	FAIL_STAT = 1 << 2,
	FAIL_READ = 1 << 3,
	FAIL_WRITE = 1 << 4,
	FAIL_SIZE = 1 << 5, /* lengths, room, holes */
	FAIL_SYNC = 1 << 6,
	FAIL_NAME = 1 << 7,
	FAIL_LOCK = 1 << 8, /* locks and other requests to a descriptor */
	FAIL_SINK = 1 << 9, /* the test's own: see fail_now() */
	FAIL_THREAD = 1 << 10,
	FAIL_NET = 1 << 11 /* what libnbd does: see fakenbd.h */
};

enum fail_mode {
	FAIL_ONCE,
	FAIL_FROM, /* this one, and each after it */
	FAIL_SHORT, /* it does half of what it is asked to do */
	FAIL_NOTHING /* it does nothing, and does not say that it failed */
};

/* From now on calls of these kinds are counted; the k-th fails, with `error`.
 * k = 0: none does.  kinds = 0: nothing is counted. */
void fail_calls(unsigned kinds, unsigned long k, int error,
		enum fail_mode mode);
unsigned long fail_counted(void);

/* The calls of these kinds, of which none fails, are told apart by the functions that
 * lead to them, up to the next fail_calls(). */
void fail_trace(unsigned kinds);
/* Numbers of calls, in ascending order: the first and the last one that each way of
 * calling led to.  How many: `room` at the most. */
unsigned fail_places(unsigned long *calls, unsigned room);

/* Counts one call of this kind: whether it has to fail; errno is set then. */
bool fail_now(enum fail_kind kind);

/* From now on the clock goes on by two seconds each time that it is asked; or it is
 * the system's. */
void fail_fake_clock(bool fake);

/* Instead of a call of Landlock's, whose first argument is `first`. */
long fail_landlock(long number, long first);

/* Blocks of memory that were not freed yet. */
long fail_blocks(void);

#endif
