/*
 * env.c - the input's trailer, violations, and counted allocations.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/hash.h"
#include "q2fuzz.h"

static const uint8_t magic[5] = {'Q', '2', 'C', 'T', 1};

/* Of the input at hand: what decides of q2f_sampled().  0: not drawn yet. */
static uint64_t lot;

struct q2f_input q2f_split(const uint8_t *data, size_t size)
{
	struct q2f_input in = {.image = data, .size = size};
	const uint8_t *t;

	lot = 0;
	if (size < Q2F_TRAILER)
		return in;
	t = data + size - Q2F_TRAILER;
	if (memcmp(t, magic, sizeof(magic)) != 0)
		return in;
	in.size -= Q2F_TRAILER;
	in.ctl = (struct q2f_control){.flags = t[5],
				      .pick = q2_be16(t + 6),
				      .fail_alloc = q2_be32(t + 8),
				      .fail_read = q2_be32(t + 12),
				      .fail_write = q2_be32(t + 16),
				      .hole = q2_be64(t + 20),
				      .stop = q2_be32(t + 28)};
	/* No file is longer than an off_t can say. */
	if (in.ctl.hole > (uint64_t)INT64_MAX - in.size)
		in.ctl.hole = INT64_MAX - in.size;
	return in;
}

bool q2f_thorough;

void q2f_keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 8 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	mallopt(M_TOP_PAD, 1 << 20);
	mallopt(M_MXFAST, 0); /* nothing to put together after each large block */
}

bool q2f_sampled(const struct q2f_input *in, unsigned n)
{
	if (lot == 0 && !q2f_thorough)
		lot = q2_hash(in->image, in->size) | UINT64_C(1) << 63;
	return q2f_thorough || lot % n == 0;
}

static void put(uint8_t *p, unsigned n, uint64_t v)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

void q2f_trailer(uint8_t *out, const struct q2f_control *ctl)
{
	memset(out, 0, Q2F_TRAILER);
	memcpy(out, magic, sizeof(magic));
	out[5] = (uint8_t)ctl->flags;
	put(out + 6, 2, ctl->pick);
	put(out + 8, 4, ctl->fail_alloc);
	put(out + 12, 4, ctl->fail_read);
	put(out + 16, 4, ctl->fail_write);
	put(out + 20, 8, ctl->hole);
	put(out + 28, 4, ctl->stop);
}

uint8_t *q2f_unconst(const uint8_t *p)
{
	uint8_t *q;

	memcpy(&q, &p, sizeof(q));
	return q;
}

const char *q2f_context = "";
void (*q2f_on_violation)(const char *oracle);

const char *q2f_known = "";
uint64_t q2f_known_seen;

static void tell(const char *oracle, const char *format, va_list ap)
{
	fprintf(stderr, "violation of %s%s: ", oracle, q2f_context);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	if (q2f_on_violation)
		q2f_on_violation(oracle);
}

void q2f_violation(const char *oracle, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	tell(oracle, format, ap);
	va_end(ap);
	abort();
}

bool q2f_open_violation(const char *oracle, const char *format, ...)
{
	va_list ap;

	if (strstr(q2f_known, oracle)) {
		q2f_known_seen++;
		return true;
	}
	va_start(ap, format);
	tell(oracle, format, ap);
	va_end(ap);
	abort();
}

/* ------------------------------------------------------------- allocations */

struct q2f_heap q2f_heap;
bool q2f_fault_reached;
static uint64_t fail_at;
static uint64_t watched_from; /* calls that were before */
static bool only_zeroed;
static bool failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
int __real_posix_memalign(void **p, size_t align, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *p);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg);

void q2f_heap_watch(uint32_t fail)
{
	q2f_heap = (struct q2f_heap){0};
	fail_at = fail;
	watched_from = 0;
	only_zeroed = failed = false;
}

void q2f_heap_watch_zeroed(uint32_t fail)
{
	fail_at = fail ? q2f_heap.calls + fail : 0;
	watched_from = q2f_heap.calls;
	only_zeroed = true;
	failed = false;
}

bool q2f_heap_done(void)
{
	fail_at = 0;
	return failed;
}

#define HEAP_FREE (UINT64_C(24) << 20)
#define HEAP_A_BYTE 64u
#define SMALL 1024u

void q2f_heap_judge(const char *what, uint64_t before, uint64_t stored)
{
	if (q2f_heap.peak > before + HEAP_FREE + HEAP_A_BYTE * stored)
		q2f_violation("D-1", "%s takes %llu bytes of heap for %llu stored ones",
			      what, (unsigned long long)(q2f_heap.peak - before),
			      (unsigned long long)stored);
}

void q2f_heap_empty(const char *what)
{
	(void)q2f_heap_done();
	if (q2f_heap.blocks)
		q2f_violation("I-7", "%s leaves %llu blocks behind", what,
			      (unsigned long long)q2f_heap.blocks);
}

void *q2f_own(size_t size)
{
	void *p = __real_calloc(1, size ? size : 1);

	if (p == NULL)
		abort();
	return p;
}

void q2f_own_free(void *p)
{
	__real_free(p);
}

static bool refuse(bool zeroed)
{
	if (only_zeroed && !zeroed)
		return false;
	q2f_heap.calls++;
	if (fail_at)
		q2f_place(Q2F_PLACE_ALLOC, q2f_heap.calls - watched_from);
	if (q2f_heap.calls != fail_at)
		return false;
	failed = q2f_fault_reached = true;
	return true;
}

static void *count(void *p)
{
	size_t size;

	if (p == NULL)
		return NULL;
	size = malloc_usable_size(p);
	q2f_heap.blocks++;
	q2f_heap.taken += size;
	q2f_heap.live += size;
	if (q2f_heap.live > q2f_heap.peak)
		q2f_heap.peak = q2f_heap.live;
	return p;
}

static void discount(void *p)
{
	if (p == NULL)
		return;
	q2f_heap.blocks--;
	q2f_heap.live -= malloc_usable_size(p);
}

void *__wrap_malloc(size_t size)
{
	return refuse(false) ? NULL : count(__real_malloc(size));
}

/* Small blocks as malloc() has them at hand, which glibc's calloc() does not look at. */
void *__wrap_calloc(size_t n, size_t size)
{
	void *p;

	if (refuse(true))
		return NULL;
	if (n > SMALL || size > SMALL || n * size > SMALL)
		return count(__real_calloc(n, size));
	p = count(__real_malloc(n * size));
	return p ? memset(p, 0, n * size) : NULL;
}

void *__wrap_realloc(void *p, size_t size)
{
	void *q;

	if (refuse(false))
		return NULL;
	discount(p);
	q = __real_realloc(p, size);
	count(q ? q : p);
	return q;
}

char *__wrap_strdup(const char *text)
{
	char *p = __wrap_malloc(strlen(text) + 1);

	return p ? strcpy(p, text) : NULL;
}

int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
	int error = refuse(false) ? ENOMEM :
				    __real_posix_memalign(p, align, size);

	if (error == 0)
		count(*p);
	return error;
}

/* Everything happens in one thread, in the same order each time. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*start)(void *), void *arg)
{
	(void)thread;
	(void)attr;
	(void)start;
	(void)arg;
	return EAGAIN;
}

void __wrap_free(void *p)
{
	discount(p);
	__real_free(p);
}
