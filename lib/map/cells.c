/*
 * cells.c - for each host cluster what it is and whose: two bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/cells.h"

#include <assert.h>

#include "base/vec.h"

void q2_cells_init(struct q2_cells *c, struct q2_budget *budget)
{
	*c = (struct q2_cells){.budget = budget};
}

void q2_cells_free(struct q2_cells *c)
{
	for (size_t i = 0; i < c->n_slots; i++)
		q2_put(c->budget, c->slots[i], sizeof(**c->slots));
	q2_put(c->budget, c->slots, c->n_slots * sizeof(*c->slots));
	q2_cells_init(c, c->budget);
}

/* Where the page stands, or the empty slot where it would. */
static size_t slot_of(const struct q2_cells *c, uint64_t number)
{
	size_t mask = c->n_slots - 1;
	size_t i = (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 20) &
		   mask;

	while (c->slots[i] && c->slots[i]->number != number)
		i = (i + 1) & mask;
	return i;
}

static enum q2_status grow(struct q2_cells *c, struct q2_err *err)
{
	struct q2_cell_page **old = c->slots;
	size_t n_old = c->n_slots;
	size_t n_new = n_old ? 2 * n_old : 64;
	void *block;
	enum q2_status st = q2_get(c->budget, n_new * sizeof(*c->slots),
				   &block, err);

	if (st != Q2_OK)
		return st;
	c->slots = block;
	c->n_slots = n_new;
	for (size_t i = 0; i < n_old; i++)
		if (old[i])
			c->slots[slot_of(c, old[i]->number)] = old[i];
	q2_put(c->budget, old, n_old * sizeof(*old));
	return Q2_OK;
}

enum q2_status q2_cells_page(struct q2_cells *c, uint64_t clu,
			     struct q2_cell_page **page, struct q2_err *err)
{
	uint64_t number = clu >> Q2_CELLS_BITS;
	enum q2_status st;
	void *block;
	size_t i;

	assert(!c->sorted);
	if (2 * (c->n + 1) > c->n_slots) {
		st = grow(c, err);
		if (st != Q2_OK)
			return st;
	}
	i = slot_of(c, number);
	if (c->slots[i] == NULL) {
		st = q2_get(c->budget, sizeof(**c->slots), &block, err);
		if (st != Q2_OK)
			return st;
		c->slots[i] = block;
		c->slots[i]->number = number;
		c->n++;
	}
	c->last = *page = c->slots[i];
	return Q2_OK;
}

enum q2_status q2_cells_mark_run(struct q2_cells *c, uint64_t clu, uint64_t n,
				 uint16_t more, struct q2_err *err)
{
	while (n) {
		uint64_t first = clu % Q2_CELLS_PAGE;
		uint64_t part = q2_min(n, Q2_CELLS_PAGE - first);
		struct q2_cell_page *p = c->last;
		enum q2_status st;

		if (p == NULL || p->number != clu >> Q2_CELLS_BITS) {
			st = q2_cells_page(c, clu, &p, err);
			if (st != Q2_OK)
				return st;
		}
		for (uint64_t i = first; i < first + part; i++)
			p->at[i] = p->at[i] ? q2_cell_join(p->at[i], more) :
					      more;
		clu += part;
		n -= part;
	}
	return Q2_OK;
}

uint16_t q2_cells_get(struct q2_cells *c, uint64_t clu)
{
	uint64_t number = clu >> Q2_CELLS_BITS;
	size_t i;

	if (c->n == 0)
		return 0;
	if (c->last == NULL || c->last->number != number) {
		i = c->sorted ? q2_cells_seek(c, number) : slot_of(c, number);
		if (i >= c->n_slots || c->slots[i] == NULL ||
		    c->slots[i]->number != number)
			return 0;
		c->last = c->slots[i];
	}
	return c->last->at[clu % Q2_CELLS_PAGE];
}

static int by_number(const void *a, const void *b)
{
	const struct q2_cell_page *x = *(struct q2_cell_page *const *)a;
	const struct q2_cell_page *y = *(struct q2_cell_page *const *)b;

	return (x->number > y->number) - (x->number < y->number);
}

void q2_cells_sort(struct q2_cells *c)
{
	size_t n = 0;

	/* Empty slots last. */
	for (size_t i = 0; i < c->n_slots; i++) {
		struct q2_cell_page *page = c->slots[i];

		c->slots[i] = NULL;
		if (page)
			c->slots[n++] = page;
	}
	q2_sort(c->slots, n, sizeof(*c->slots), by_number);
	c->sorted = true;
}

size_t q2_cells_seek(const struct q2_cells *c, uint64_t number)
{
	size_t low = 0, high = c->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (c->slots[mid]->number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}
