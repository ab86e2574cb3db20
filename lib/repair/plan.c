/*
 * plan.c - an empty plan, and the memory that belongs to one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "base/num.h"
#include "io/io.h"

#ifdef Q2_COVERAGE /* each time: see q2_more_room() */
#define FIRST_PIECE UINT64_C(1)
#define PIECE UINT64_C(1)
#else
#define FIRST_PIECE UINT64_C(4096) /* most plans are small */
#define PIECE (UINT64_C(256) << 10)
#endif
#define IDENTITY (UINT64_C(64) << 10)

enum q2_status q2_plan_new(uint64_t max_memory, struct q2_plan **plan,
			   struct q2_err *err)
{
	*plan = calloc(1, sizeof(**plan));
	if (*plan == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory for a plan");
	(*plan)->budget.limit = max_memory;
	return Q2_OK;
}

void q2_plan_free(struct q2_plan *plan)
{
	if (plan == NULL)
		return;
	q2_edits_free(&plan->edits, &plan->budget);
	q2_actions_free(&plan->actions, &plan->budget);
	q2_exports_free(&plan->exports, &plan->budget);
	while (plan->store) {
		struct q2_piece *next = plan->store->next;

		q2_put(&plan->budget, plan->store, plan->store->size);
		plan->store = next;
	}
	free(plan);
}

size_t q2_plan_edits(const struct q2_plan *plan)
{
	return plan->edits.n;
}

uint8_t *q2_plan_keep(struct q2_plan *plan, const void *bytes, size_t n,
		      struct q2_err *err)
{
	struct q2_piece *p = plan->store;
	uint8_t *at;

	if (p == NULL || n > p->size - sizeof(*p) - p->used) {
		size_t size = sizeof(*p) +
			      (size_t)q2_max(p ? PIECE : FIRST_PIECE, n);
		void *block;

		if (q2_get_raw(&plan->budget, size, &block, err) != Q2_OK)
			return NULL;
		p = block;
		p->size = size;
		p->used = 0;
		p->next = plan->store;
		plan->store = p;
	}
	at = p->bytes + p->used;
	p->used += n;
	if (bytes && n)
		memcpy(at, bytes, n);
	else if (n)
		memset(at, 0, n);
	return at;
}

enum q2_status q2_plan_identity(const struct q2_plan *plan, struct q2_io *io,
				uint64_t *digest, struct q2_err *err)
{
	size_t n = (size_t)q2_min(IDENTITY, plan->old_size);
	uint8_t *bytes = malloc(n + 1);
	enum q2_status st;

	if (bytes == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	st = q2_pread_zero(io, bytes, n, 0, err);
	for (size_t i = plan->edits.n; i-- > 0 && st == Q2_OK;) {
		const struct q2_edit *e = &plan->edits.at[i];

		if (e->offset < n)
			memcpy(bytes + e->offset, e->before,
			       (size_t)q2_min(e->before_len, n - e->offset));
	}
	if (st == Q2_OK)
		*digest = q2_hash(bytes, n);
	free(bytes);
	return st;
}

const char *q2_effect_text(enum q2_effect effect)
{
	switch (effect) {
	case Q2_EFFECT_NONE:
		return "none";
	case Q2_EFFECT_GAIN:
		return "gain";
	case Q2_EFFECT_SUSPECT:
		return "suspect";
	case Q2_EFFECT_LOSS:
		return "loss";
	case Q2_EFFECT_KEPT:
		return "kept";
	}
	return "unknown";
}
