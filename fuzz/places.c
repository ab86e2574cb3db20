/*
 * places.c - the places of the code where something can fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "base/hash.h"
#include "places.h"
#include "q2fuzz.h"
#include "../tests/support/testio.h"

/* What is counted down from its end was not begun anew at the beginning. */
#define MOST (UINT32_C(1) << 24)

static unsigned depth; /* 0: nothing is noted */
static struct {
	uint64_t *hash; /* 0: free */
	size_t n;
	size_t room; /* a power of two */
} seen;
static struct {
	uint32_t *k;
	size_t n;
	size_t room;
} noted;

struct calls {
	uint64_t at[Q2F_DEPTH_MAX];
	unsigned n;
};

static _Unwind_Reason_Code one_call(struct _Unwind_Context *context, void *ctx)
{
	struct calls *c = ctx;

	if (c->n >= depth)
		return _URC_END_OF_STACK;
	c->at[c->n++] = (uint64_t)_Unwind_GetIP(context);
	return _URC_NO_REASON;
}

/* True if it was not there. */
static bool insert(uint64_t hash)
{
	size_t i = (size_t)hash & (seen.room - 1);

	while (seen.hash[i] && seen.hash[i] != hash)
		i = (i + 1) & (seen.room - 1);
	if (seen.hash[i])
		return false;
	seen.hash[i] = hash;
	return true;
}

static void grow(void)
{
	uint64_t *old = seen.hash;
	size_t n = seen.room;

	if (2 * (seen.n + 1) <= seen.room)
		return;
	seen.room = n ? 2 * n : 4096;
	seen.hash = q2f_own(seen.room * sizeof(*seen.hash));
	for (size_t i = 0; i < n; i++)
		if (old[i])
			insert(old[i]);
	q2f_own_free(old);
}

static void note(uint64_t k)
{
	if (noted.n == noted.room) {
		uint32_t *old = noted.k;

		noted.room = 2 * noted.room + 64;
		noted.k = q2f_own(noted.room * sizeof(*noted.k));
		if (noted.n)
			memcpy(noted.k, old, noted.n * sizeof(*old));
		q2f_own_free(old);
	}
	noted.k[noted.n++] = (uint32_t)k;
}

void q2f_place(unsigned kind, uint64_t k)
{
	struct calls c = {.n = 0};

	if (depth == 0 || k > MOST)
		return;
	_Unwind_Backtrace(one_call, &c);
	grow();
	if (!insert((q2_hash(c.at, c.n * sizeof(*c.at)) + kind) | 1))
		return;
	seen.n++;
	note(k);
}

bool q2f_stops(void *ctx, const struct q2_progress *p)
{
	uint32_t *left = ctx;

	(void)p;
	if (*left == 0)
		return false;
	/* While places are noted it counts down from the largest number. */
	q2f_place(Q2F_PLACE_STOP, Q2F_NEVER - *left + UINT64_C(1));
	if (--*left)
		return false;
	q2f_fault_reached = true;
	return true;
}

static void on_operation(enum test_op op, unsigned k)
{
	q2f_place(op, k);
}

void q2f_places_forget(void)
{
	if (seen.room)
		memset(seen.hash, 0, seen.room * sizeof(*seen.hash));
	seen.n = 0;
}

void q2f_places_begin(unsigned calls)
{
	depth = calls < Q2F_DEPTH_MAX ? calls : Q2F_DEPTH_MAX;
	noted.n = 0;
	test_io_asked = on_operation;
}

static int rising(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

size_t q2f_places_end(const uint32_t **k)
{
	size_t n = 0;

	depth = 0;
	test_io_asked = NULL;
	*k = noted.k;
	if (noted.n)
		qsort(noted.k, noted.n, sizeof(*noted.k), rising);
	for (size_t i = 0; i < noted.n; i++)
		if (i == 0 || noted.k[i] != noted.k[i - 1])
			noted.k[n++] = noted.k[i];
	return n;
}
