/*
 * refmap.c - how many references each host cluster has: about a byte each.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/refmap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/vec.h"

#define LIST_MIN 16u
#define LIST_MAX 512u
/* A byte cell that does not tell: look into the list.  Counts below 63 fit. */
#define BYTE_LISTED 0xfcu
#define MAX_WIDE ((UINT64_C(1) << 62) - 1)
/* Memory for byte cells that is had without having counted much. */
#define SPARE (UINT64_C(16) << 20)

/* Cells that are listed one by one, in no order. */
struct list {
	uint64_t *cell; /* one block with the next */
	uint16_t *at;
	unsigned n;
	unsigned room;
};

/* A page has one of three forms: a list; byte cells, with a list of those that do
 * not fit into one; or wide cells. */
struct q2_page {
	uint64_t number;
	uint8_t *bytes;
	uint64_t *wide;
	struct list list;
};

void q2_refmap_init(struct q2_refmap *m, struct q2_budget *budget)
{
	memset(m, 0, sizeof(*m));
	m->budget = budget;
}

static uint64_t list_size(unsigned room)
{
	return room * (sizeof(uint64_t) + sizeof(uint16_t));
}

static void list_free(struct q2_refmap *m, struct list *l)
{
	q2_put(m->budget, l->cell, list_size(l->room));
	*l = (struct list){0};
}

static uint64_t *list_find(const struct list *l, unsigned cell)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->at[i] == cell)
			return &l->cell[i];
	return NULL;
}

static enum q2_status list_add(struct q2_refmap *m, struct list *l,
			       unsigned cell, uint64_t value,
			       struct q2_err *err)
{
	if (l->n == l->room) {
		struct list new = {.n = l->n,
				   .room = l->room ? 2 * l->room : 4};
		void *block;
		enum q2_status st = q2_get_raw(m->budget, list_size(new.room),
					       &block, err);

		if (st != Q2_OK)
			return st;
		new.cell = block;
		new.at = (uint16_t *)(new.cell + new.room);
		if (l->n) {
			memcpy(new.at, l->at, l->n * sizeof(*l->at));
			memcpy(new.cell, l->cell, l->n * sizeof(*l->cell));
		}
		list_free(m, l);
		*l = new;
	}
	l->at[l->n] = (uint16_t)cell;
	l->cell[l->n++] = value;
	return Q2_OK;
}

static void page_free(struct q2_refmap *m, struct q2_page *p)
{
	q2_put(m->budget, p->bytes, Q2_PAGE_CELLS);
	q2_put(m->budget, p->wide, Q2_PAGE_CELLS * sizeof(uint64_t));
	list_free(m, &p->list);
	q2_put(m->budget, p, sizeof(*p));
}

static void cache_free(struct q2_refmap *m)
{
	if (m->cache)
		q2_put(m->budget, m->cache,
		       (m->cache_mask + 1) * sizeof(*m->cache));
	m->cache = NULL;
}

void q2_refmap_free(struct q2_refmap *m)
{
	for (size_t i = 0; i < m->n_slots; i++)
		if (m->slots[i])
			page_free(m, m->slots[i]);
	q2_put(m->budget, m->slots, m->n_slots * sizeof(*m->slots));
	cache_free(m);
	q2_refmap_init(m, m->budget);
}

/* Where the page stands, or the empty slot where it would. */
static size_t slot_of(const struct q2_refmap *m, uint64_t number)
{
	size_t mask = m->n_slots - 1;
	size_t i = (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 20) &
		   mask;

	while (m->slots[i] && m->slots[i]->number != number)
		i = (i + 1) & mask;
	return i;
}

/* A small map has a small cache: it has to be cleared. */
static enum q2_status grow_cache(struct q2_refmap *m, struct q2_err *err)
{
	uint64_t n = q2_min(m->n_slots, Q2_PAGE_CACHE);
	enum q2_status st;
	void *block;

	if (m->cache && m->cache_mask + 1 == n)
		return Q2_OK;
	st = q2_get(m->budget, n * sizeof(*m->cache), &block, err);
	if (st != Q2_OK)
		return st;
	cache_free(m);
	m->cache = block;
	m->cache_mask = n - 1;
	return Q2_OK;
}

static enum q2_status grow_slots(struct q2_refmap *m, struct q2_err *err)
{
	struct q2_page **old = m->slots;
	size_t n_old = m->n_slots;
	size_t n_new = n_old ? 2 * n_old : 16;
	void *block;
	enum q2_status st =
		q2_get(m->budget, n_new * sizeof(*m->slots), &block, err);

	if (st != Q2_OK)
		return st;
	m->slots = block;
	m->n_slots = n_new;
	for (size_t i = 0; i < n_old; i++)
		if (old[i])
			m->slots[slot_of(m, old[i]->number)] = old[i];
	q2_put(m->budget, old, n_old * sizeof(*old));
	return grow_cache(m, err);
}

static enum q2_status find_or_make(struct q2_refmap *m, uint64_t number,
				   struct q2_page **page, struct q2_err *err)
{
	enum q2_status st;
	void *block;
	size_t i;

	if (2 * (m->n_pages + 1) > m->n_slots) {
		st = grow_slots(m, err);
		if (st != Q2_OK)
			return st;
	}
	i = slot_of(m, number);
	if (m->slots[i] == NULL) {
		st = q2_get(m->budget, sizeof(struct q2_page), &block, err);
		if (st != Q2_OK)
			return st;
		m->slots[i] = block;
		m->slots[i]->number = number;
		m->n_pages++;
	}
	*page = m->slots[i];
	return Q2_OK;
}

static const struct q2_page *find(const struct q2_refmap *m, uint64_t number)
{
	return m->n_slots ? m->slots[slot_of(m, number)] : NULL;
}

/* Whether so many references were counted that byte cells are worth their memory:
 * else a hostile image gets a page for each few references. */
static bool may_widen(const struct q2_refmap *m, const struct q2_page *p)
{
	if (p->list.n < LIST_MIN)
		return false;
	return p->list.n >= LIST_MAX ||
	       m->byte_pages * Q2_PAGE_CELLS <= SPARE + 4 * m->added;
}

/* From a list to byte cells; what does not fit into a byte stays listed. */
static enum q2_status widen_list(struct q2_refmap *m, struct q2_page *p,
				 struct q2_err *err)
{
	struct list all = p->list;
	void *block;
	enum q2_status st = q2_get(m->budget, Q2_PAGE_CELLS, &block, err);

	if (st != Q2_OK)
		return st;
	p->bytes = block;
	p->list = (struct list){0};
	m->byte_pages++;
	for (unsigned i = 0; i < all.n && st == Q2_OK; i++)
		if (all.cell[i] < BYTE_LISTED) {
			p->bytes[all.at[i]] = (uint8_t)all.cell[i];
		} else {
			p->bytes[all.at[i]] = BYTE_LISTED;
			st = list_add(m, &p->list, all.at[i], all.cell[i],
				      err);
		}
	list_free(m, &all);
	return st;
}

/* From byte cells to wide ones. */
static enum q2_status widen_bytes(struct q2_refmap *m, struct q2_page *p,
				  struct q2_err *err)
{
	struct q2_cached_page *c = &m->cache[p->number & m->cache_mask];
	void *block;
	enum q2_status st = q2_get(m->budget, Q2_PAGE_CELLS * sizeof(uint64_t),
				   &block, err);

	if (st != Q2_OK)
		return st;
	p->wide = block;
	for (unsigned i = 0; i < Q2_PAGE_CELLS; i++)
		p->wide[i] = p->bytes[i];
	for (unsigned i = 0; i < p->list.n; i++)
		p->wide[p->list.at[i]] = p->list.cell[i];
	if (c->cells == p->bytes)
		c->cells = NULL;
	q2_put(m->budget, p->bytes, Q2_PAGE_CELLS);
	p->bytes = NULL;
	m->byte_pages--;
	list_free(m, &p->list);
	return Q2_OK;
}

static uint64_t page_cell(const struct q2_page *p, unsigned cell)
{
	const uint64_t *listed;

	if (p->wide)
		return p->wide[cell];
	if (p->bytes && p->bytes[cell] != BYTE_LISTED)
		return p->bytes[cell];
	listed = list_find(&p->list, cell);
	return listed ? *listed : 0;
}

static enum q2_status page_set(struct q2_refmap *m, struct q2_page *p,
			       unsigned cell, uint64_t value,
			       struct q2_err *err)
{
	uint64_t *listed;
	enum q2_status st = Q2_OK;

	if (p->bytes == NULL && p->wide == NULL && may_widen(m, p))
		st = widen_list(m, p, err);
	if (st == Q2_OK && p->bytes && p->list.n >= LIST_MAX)
		st = widen_bytes(m, p, err);
	if (st != Q2_OK)
		return st;
	if (p->wide) {
		p->wide[cell] = value;
		return Q2_OK;
	}
	if (p->bytes) {
		m->cache[p->number & m->cache_mask] =
			(struct q2_cached_page){p->number, p->bytes};
		if (value < BYTE_LISTED) {
			p->bytes[cell] = (uint8_t)value;
			return Q2_OK;
		}
		p->bytes[cell] = BYTE_LISTED;
	}
	listed = list_find(&p->list, cell);
	if (listed == NULL)
		return list_add(m, &p->list, cell, value, err);
	*listed = value;
	return Q2_OK;
}

static enum q2_mark combine(uint64_t count, enum q2_mark a, enum q2_mark b)
{
	if (count == 0)
		return b;
	if (a == Q2_MARK_COMPRESSED || b == Q2_MARK_COMPRESSED)
		return Q2_MARK_COMPRESSED;
	if (a == Q2_MARK_COPIED || b == Q2_MARK_COPIED)
		return Q2_MARK_COPIED;
	return a == Q2_MARK_CLEAR ? a : b;
}

enum q2_status q2_refmap_add(struct q2_refmap *m, uint64_t clu,
			     uint64_t weight, enum q2_mark mark,
			     struct q2_ref *before, struct q2_err *err)
{
	unsigned cell = (unsigned)(clu % Q2_PAGE_CELLS);
	struct q2_page *page;
	uint64_t old;
	enum q2_status st = find_or_make(m, clu >> Q2_PAGE_BITS, &page, err);

	if (st != Q2_OK)
		return st;
	old = page_cell(page, cell);
	before->count = old >> 2;
	before->mark = (enum q2_mark)(old & 3);
	m->added++;
	mark = combine(before->count, before->mark, mark);
	weight = q2_min(q2_add_sat(before->count, weight), MAX_WIDE);
	return page_set(m, page, cell, weight << 2 | (unsigned)mark, err);
}

struct q2_ref q2_refmap_get(const struct q2_refmap *m, uint64_t clu)
{
	const struct q2_page *p = find(m, clu >> Q2_PAGE_BITS);
	uint64_t v = p ? page_cell(p, (unsigned)(clu % Q2_PAGE_CELLS)) : 0;

	return (struct q2_ref){v >> 2, (enum q2_mark)(v & 3)};
}

struct q2_page_view q2_refmap_view(const struct q2_refmap *m, uint64_t number,
				   bool *absent)
{
	const struct q2_page *p = find(m, number);

	*absent = p == NULL;
	return (struct q2_page_view){number, p ? p->bytes : NULL};
}

static int by_cell(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

unsigned q2_refmap_used(const struct q2_refmap *m, uint64_t number,
			uint16_t cells[Q2_PAGE_CELLS])
{
	const struct q2_page *p = find(m, number);
	unsigned n = 0;

	if (p == NULL)
		return 0;
	if (p->bytes == NULL && p->wide == NULL) {
		for (n = 0; n < p->list.n; n++)
			cells[n] = p->list.at[n];
		q2_sort(cells, n, sizeof(*cells), by_cell);
		return n;
	}
	for (unsigned i = 0; i < Q2_PAGE_CELLS; i++) {
		uint64_t eight = 1;

		if (p->wide == NULL && i % 8 == 0)
			memcpy(&eight, p->bytes + i, 8);
		if (eight == 0)
			i += 7;
		else if (p->wide ? p->wide[i] != 0 : p->bytes[i] != 0)
			cells[n++] = (uint16_t)i;
	}
	return n;
}

uint64_t q2_refmap_most(const struct q2_refmap *m, uint64_t clu, uint64_t n)
{
	uint64_t last = (clu + n - 1) >> Q2_PAGE_BITS, most = 0;

	for (uint64_t i = clu >> Q2_PAGE_BITS; i <= last; i++) {
		const struct q2_page *p = find(m, i);

		if (p)
			most += p->bytes || p->wide ? Q2_PAGE_CELLS : p->list.n;
	}
	return most;
}

/* The first cell from this one on that is not zero; Q2_PAGE_CELLS if there is none. */
static unsigned next_cell(const struct q2_page *p, unsigned cell)
{
	unsigned next = Q2_PAGE_CELLS;

	if (p->bytes || p->wide) {
		while (cell < next &&
		       (p->wide ? p->wide[cell] : p->bytes[cell]) == 0)
			cell++;
		return cell;
	}
	for (unsigned i = 0; i < p->list.n; i++)
		if (p->list.at[i] >= cell && p->list.at[i] < next)
			next = p->list.at[i];
	return next;
}

uint64_t q2_refmap_next(const struct q2_refmap *m, uint64_t clu, uint64_t end)
{
	while (clu < end) {
		uint64_t number = clu >> Q2_PAGE_BITS;
		const struct q2_page *p = find(m, number);
		unsigned cell = p ? next_cell(p, clu % Q2_PAGE_CELLS) :
				    Q2_PAGE_CELLS;

		clu = (number << Q2_PAGE_BITS) + cell;
		if (cell < Q2_PAGE_CELLS)
			break;
	}
	return q2_min(clu, end);
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a;
	const uint64_t *y = b;

	return (*x > *y) - (*x < *y);
}

enum q2_status q2_refmap_pages(struct q2_refmap *m, uint64_t **numbers,
			       size_t *n, struct q2_err *err)
{
	void *block;
	enum q2_status st;

	*numbers = NULL;
	*n = 0;
	st = q2_get_raw(m->budget, m->n_pages * sizeof(uint64_t), &block, err);
	if (st != Q2_OK)
		return st;
	*numbers = block;
	for (size_t i = 0; i < m->n_slots; i++)
		if (m->slots[i])
			(*numbers)[(*n)++] = m->slots[i]->number;
	assert(*n == m->n_pages);
	q2_sort(*numbers, *n, sizeof(uint64_t), by_number);
	return Q2_OK;
}
