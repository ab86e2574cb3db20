/*
 * budget.h - memory whose amount an image decides, under one limit.
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything sized by what an image holds is allocated here.  Blocks carry no
 * header: the caller says the size again when it frees.
 */
#ifndef Q2_BASE_BUDGET_H
#define Q2_BASE_BUDGET_H

#include "q2.h"

struct q2_budget {
	uint64_t limit; /* bytes; 0 for none */
	uint64_t used;
	uint64_t peak;
};

/* *out = `size` zeroed bytes.  Q2_E_BUDGET or Q2_E_NOMEM leave *out NULL. */
enum q2_status q2_get(struct q2_budget *b, uint64_t size, void **out,
		      struct q2_err *err) Q2_MUST_CHECK;

/* The same for bytes. */
static inline enum q2_status q2_get_bytes(struct q2_budget *b, uint64_t size,
					  uint8_t **out, struct q2_err *err)
{
	void *block;
	enum q2_status st = q2_get(b, size, &block, err);

	*out = block;
	return st;
}

/* As q2_get() without the zeros: what the block holds is undefined. */
enum q2_status q2_get_raw(struct q2_budget *b, uint64_t size, void **out,
			  struct q2_err *err) Q2_MUST_CHECK;

/* Grows *block (NULL at first) from old_size to new_size bytes; the new part is
 * zeroed.  On failure *block stays as it was. */
enum q2_status q2_regrow(struct q2_budget *b, uint64_t old_size,
			 uint64_t new_size, void **block,
			 struct q2_err *err) Q2_MUST_CHECK;

/* Frees a block of `size` bytes; NULL is fine. */
void q2_put(struct q2_budget *b, void *block, uint64_t size);

#endif
