/*
 * cells.h - for each host cluster what it is and whose: two bytes.
 *
 * SPDX-License-Identifier: MIT
 *
 * Pages exist only where something was marked.
 */
#ifndef Q2_MAP_CELLS_H
#define Q2_MAP_CELLS_H

#include "base/budget.h"
#include "base/num.h"

#define Q2_CELLS_BITS 9
#define Q2_CELLS_PAGE (1u << Q2_CELLS_BITS)

/* A cell: what it is in the lowest 3 bits, whether the active disk refers to it
 * in the next one, and above that which snapshot does: 0 for none,
 * Q2_OWNER_SEVERAL, or an owner's number from 1 on. */
enum q2_cell_kind {
	Q2_CELL_NONE,
	Q2_CELL_L2,
	Q2_CELL_DATA,
	Q2_CELL_COMPRESSED,
	Q2_CELL_VMSTATE,
	Q2_CELL_MIXED /* it is named as two different things */
};
#define Q2_CELL_KIND 7u
#define Q2_CELL_ACTIVE 8u
#define Q2_CELL_OWNER_SHIFT 4u
#define Q2_OWNER_SEVERAL 0xfffu
#define Q2_OWNERS_MAX 0xffeu

static inline enum q2_cell_kind q2_cell_kind(uint16_t cell)
{
	return (enum q2_cell_kind)(cell & Q2_CELL_KIND);
}

static inline unsigned q2_cell_owner(uint16_t cell)
{
	return cell >> Q2_CELL_OWNER_SHIFT;
}

/* Both references together: those of `old`, and those of `more`. */
static inline uint16_t q2_cell_join(uint16_t old, uint16_t more)
{
	unsigned a = q2_cell_owner(old), b = q2_cell_owner(more);
	unsigned kind = old & Q2_CELL_KIND;

	if (kind == Q2_CELL_NONE)
		return more;
	if (kind != (more & Q2_CELL_KIND))
		kind = Q2_CELL_MIXED;
	if (a != b)
		a = a == 0 ? b : b == 0 ? a : Q2_OWNER_SEVERAL;
	return (uint16_t)(kind | ((old | more) & Q2_CELL_ACTIVE) |
			  a << Q2_CELL_OWNER_SHIFT);
}

struct q2_cell_page {
	uint64_t number;
	uint16_t at[Q2_CELLS_PAGE];
};

struct q2_cells {
	struct q2_budget *budget;
	struct q2_cell_page **slots; /* open addressing by number */
	size_t n_slots;		     /* 0 or a power of two */
	size_t n;
	struct q2_cell_page *last;
	bool sorted; /* slots[0 … n) are the pages in order: no more marking */
};

void q2_cells_init(struct q2_cells *c, struct q2_budget *budget);
void q2_cells_free(struct q2_cells *c);

/* The page of this cluster, made if it is not there. */
enum q2_status q2_cells_page(struct q2_cells *c, uint64_t clu,
			     struct q2_cell_page **page,
			     struct q2_err *err) Q2_MUST_CHECK;

static inline enum q2_status q2_cells_mark(struct q2_cells *c, uint64_t clu,
					   uint16_t more, struct q2_err *err)
{
	struct q2_cell_page *p = c->last;
	enum q2_status st;

	if (p == NULL || p->number != clu >> Q2_CELLS_BITS) {
		st = q2_cells_page(c, clu, &p, err);
		if (st != Q2_OK)
			return st;
	}
	p->at[clu % Q2_CELLS_PAGE] = q2_cell_join(p->at[clu % Q2_CELLS_PAGE],
						  more);
	return Q2_OK;
}

/* The same for n clusters in a row. */
enum q2_status q2_cells_mark_run(struct q2_cells *c, uint64_t clu, uint64_t n,
				 uint16_t more,
				 struct q2_err *err) Q2_MUST_CHECK;

uint16_t q2_cells_get(struct q2_cells *c, uint64_t clu);

/* Puts the pages in order; then the first one with a number of at least
 * `number` is slots[q2_cells_seek()], or it is n. */
void q2_cells_sort(struct q2_cells *c);
size_t q2_cells_seek(const struct q2_cells *c, uint64_t number);

#endif
