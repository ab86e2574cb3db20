/*
 * failalloc.c - instead of the real ones, by --wrap.
 *
 * SPDX-License-Identifier: MIT
 */
#include "failalloc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/budget.h"

static unsigned long alloc_count;
static unsigned long alloc_fails;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
enum q2_status __real_q2_regrow(struct q2_budget *b, uint64_t old_size,
				uint64_t new_size, void **block,
				struct q2_err *err);
enum q2_status __wrap_q2_regrow(struct q2_budget *b, uint64_t old_size,
				uint64_t new_size, void **block,
				struct q2_err *err);

void *__wrap_calloc(size_t n, size_t size)
{
	return ++alloc_count == alloc_fails ? NULL : __real_calloc(n, size);
}

enum q2_status __wrap_q2_regrow(struct q2_budget *b, uint64_t old_size,
				uint64_t new_size, void **block,
				struct q2_err *err)
{
	if (++alloc_count == alloc_fails)
		return Q2_E_NOMEM;
	return __real_q2_regrow(b, old_size, new_size, block, err);
}

void fail_alloc_at(unsigned long k)
{
	alloc_fails = k;
	alloc_count = 0;
}

unsigned long allocs_done(void)
{
	return alloc_count;
}

void die(const char *format, ...)
{
	va_list ap;

	fail_alloc_at(0);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}
