/*
 * failalloc.h - the library's allocations are counted, and one of them can fail.
 *
 * SPDX-License-Identifier: MIT
 *
 * For programs that are linked with --wrap=calloc,--wrap=q2_regrow.  What the
 * tests themselves allocate comes from malloc() and realloc().
 */
#ifndef FAILALLOC_H
#define FAILALLOC_H

/* An allocation to fail: the k-th from now on; 0: none. */
void fail_alloc_at(unsigned long k);
unsigned long allocs_done(void);

/* Says what went wrong, and ends the program. */
void die(const char *format, ...)
	__attribute__((format(printf, 1, 2), noreturn));

#endif
