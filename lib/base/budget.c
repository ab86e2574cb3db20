/*
 * budget.c - memory whose amount an image decides, under one limit.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/budget.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"

static enum q2_status charge(struct q2_budget *b, uint64_t size,
			     struct q2_err *err)
{
	if (size > SIZE_MAX / 2)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "the image asks for %llu bytes of memory",
			       (unsigned long long)size);
	if (b->limit && (b->used > b->limit || size > b->limit - b->used))
		return q2_fail(err, Q2_E_BUDGET, 0, Q2_NO_OFFSET,
			       "the limit of %llu bytes of memory is reached",
			       (unsigned long long)b->limit);
	b->used += size;
	b->peak = q2_max(b->peak, b->used);
	return Q2_OK;
}

static enum q2_status get(struct q2_budget *b, uint64_t size, bool zeroed,
			  void **out, struct q2_err *err)
{
	enum q2_status st = charge(b, size, err);
	size_t n = size ? (size_t)size : 1;

	*out = NULL;
	if (st != Q2_OK)
		return st;
	*out = zeroed ? calloc(1, n) : malloc(n);
	if (*out == NULL) {
		b->used -= size;
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory for %llu bytes",
			       (unsigned long long)size);
	}
	return Q2_OK;
}

enum q2_status q2_get(struct q2_budget *b, uint64_t size, void **out,
		      struct q2_err *err)
{
	return get(b, size, true, out, err);
}

enum q2_status q2_get_raw(struct q2_budget *b, uint64_t size, void **out,
			  struct q2_err *err)
{
	return get(b, size, false, out, err);
}

enum q2_status q2_regrow(struct q2_budget *b, uint64_t old_size,
			 uint64_t new_size, void **block, struct q2_err *err)
{
	enum q2_status st;
	void *grown;

	assert(new_size >= old_size);
	st = charge(b, new_size - old_size, err);
	if (st != Q2_OK)
		return st;
	grown = realloc(*block, new_size ? (size_t)new_size : 1);
	if (grown == NULL) {
		b->used -= new_size - old_size;
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory for %llu bytes",
			       (unsigned long long)new_size);
	}
	memset((char *)grown + old_size, 0, (size_t)(new_size - old_size));
	*block = grown;
	return Q2_OK;
}

void q2_put(struct q2_budget *b, void *block, uint64_t size)
{
	if (block == NULL)
		return;
	assert(b->used >= size);
	b->used -= size;
	free(block);
}
