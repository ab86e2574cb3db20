/*
 * overlay.c - a writable copy-on-write layer in memory.
 *
 * SPDX-License-Identifier: MIT
 *
 * Pages that were written are held in a hash table.  Where there is none, the
 * base shows through up to `shown`; that only ever shrinks, so what was cut off
 * once reads as zeros when the file grows again.  Bytes of pages past the end of
 * the file are zeros.
 */
#include <stdlib.h>
#include <string.h>

#include "base/budget.h"
#include "base/err.h"
#include "io/io.h"

#define PAGE_BITS 12
#define PAGE ((size_t)1 << PAGE_BITS)
#define FIRST_SLOTS 64u

struct page {
	struct page *next; /* in the same slot */
	uint64_t number;
	uint8_t bytes[PAGE];
};

struct overlay {
	struct q2_io io;
	struct q2_io *base;
	struct q2_budget *budget;
	uint64_t shown;
	struct page **slots;
	size_t n_slots; /* a power of two */
	size_t n_pages;
	uint64_t *sorted; /* numbers of all pages; NULL: to be made anew */
	size_t n_sorted;
};

static size_t slot_of(const struct overlay *o, uint64_t number)
{
	return (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 32) &
	       (o->n_slots - 1);
}

static struct page *find(const struct overlay *o, uint64_t number)
{
	struct page *p = o->slots[slot_of(o, number)];

	while (p && p->number != number)
		p = p->next;
	return p;
}

static enum q2_status grow_table(struct overlay *o, size_t n_slots,
				 struct q2_err *err)
{
	struct page **old = o->slots;
	size_t n_old = o->n_slots;
	enum q2_status st;
	void *block;

	st = q2_get(o->budget, n_slots * sizeof(*o->slots), &block, err);
	if (st != Q2_OK)
		return st;
	o->slots = block;
	o->n_slots = n_slots;
	for (size_t i = 0; i < n_old; i++)
		while (old[i]) {
			struct page *p = old[i];
			size_t at = slot_of(o, p->number);

			old[i] = p->next;
			p->next = o->slots[at];
			o->slots[at] = p;
		}
	q2_put(o->budget, old, n_old * sizeof(*old));
	return Q2_OK;
}

static void forget_order(struct overlay *o)
{
	q2_put(o->budget, o->sorted, o->n_sorted * sizeof(*o->sorted));
	o->sorted = NULL;
	o->n_sorted = 0;
}

static enum q2_status read_base(struct overlay *o, void *buf, size_t len,
				uint64_t off, struct q2_err *err)
{
	uint64_t there = off < o->shown ? q2_min(len, o->shown - off) : 0;

	if (there < len)
		memset((char *)buf + there, 0, len - (size_t)there);
	return there ? q2_pread(o->base, buf, (size_t)there, off, err) : Q2_OK;
}

/* Makes sure that there is a page, with what was to be read there. */
static enum q2_status need_page(struct overlay *o, uint64_t number,
				struct q2_err *err)
{
	enum q2_status st;
	struct page *p;
	void *block;
	size_t at;

	if (find(o, number))
		return Q2_OK;
	if (o->n_pages == o->n_slots) {
		st = grow_table(o, 2 * o->n_slots, err);
		if (st != Q2_OK)
			return st;
	}
	st = q2_get_raw(o->budget, sizeof(*p), &block, err);
	if (st != Q2_OK)
		return st;
	p = block;
	st = read_base(o, p->bytes, PAGE, number << PAGE_BITS, err);
	if (st != Q2_OK) {
		q2_put(o->budget, p, sizeof(*p));
		return st;
	}
	at = slot_of(o, number);
	p->number = number;
	p->next = o->slots[at];
	o->slots[at] = p;
	o->n_pages++;
	o->io.stored = q2_add_sat(o->io.stored, PAGE);
	forget_order(o);
	return Q2_OK;
}

/* The part of [off, off + len) that lies in one page. */
static size_t in_page(uint64_t off, size_t len)
{
	return (size_t)q2_min(len, PAGE - (off & (PAGE - 1)));
}

static enum q2_status overlay_pread(struct q2_io *io, void *buf, size_t len,
				    uint64_t off, struct q2_err *err)
{
	struct overlay *o = (struct overlay *)io;
	uint8_t *to = buf;

	if (o->n_pages == 0)
		return read_base(o, buf, len, off, err);
	while (len) {
		const struct page *p = find(o, off >> PAGE_BITS);
		size_t n = in_page(off, len);
		enum q2_status st;

		if (p) {
			memcpy(to, p->bytes + (off & (PAGE - 1)), n);
		} else {
			/* One read for as many pages as there are none of. */
			while (n < len && !find(o, (off + n) >> PAGE_BITS))
				n += in_page(off + n, len - n);
			st = read_base(o, to, n, off, err);
			if (st != Q2_OK)
				return st;
		}
		to += n;
		off += n;
		len -= n;
	}
	return Q2_OK;
}

static enum q2_status overlay_pwrite(struct q2_io *io, const void *buf,
				     size_t len, uint64_t off,
				     struct q2_err *err)
{
	struct overlay *o = (struct overlay *)io;
	const uint8_t *from = buf;
	uint64_t end = off + len;

	/* All pages first: what fails must not have changed anything. */
	for (uint64_t i = off >> PAGE_BITS; i <= (end - 1) >> PAGE_BITS; i++) {
		enum q2_status st = need_page(o, i, err);

		if (st != Q2_OK)
			return st;
	}
	while (off < end) {
		struct page *p = find(o, off >> PAGE_BITS);
		size_t n = in_page(off, (size_t)(end - off));

		memcpy(p->bytes + (off & (PAGE - 1)), from, n);
		from += n;
		off += n;
	}
	o->io.size = q2_max(o->io.size, end);
	return Q2_OK;
}

static void drop_pages(struct overlay *o, uint64_t first)
{
	for (size_t i = 0; i < o->n_slots; i++) {
		struct page **at = &o->slots[i];

		while (*at) {
			struct page *p = *at;

			if (p->number < first) {
				at = &p->next;
				continue;
			}
			*at = p->next;
			q2_put(o->budget, p, sizeof(*p));
			o->n_pages--;
			o->io.stored -= q2_min(o->io.stored, PAGE);
		}
	}
	forget_order(o);
}

static enum q2_status overlay_resize(struct q2_io *io, uint64_t size,
				     struct q2_err *err)
{
	struct overlay *o = (struct overlay *)io;
	size_t cut = (size_t)(size & (PAGE - 1));

	if (size > INT64_MAX)
		return q2_fail(err, Q2_E_RANGE, 0, size, "size too large");
	if (size < io->size) {
		struct page *last = find(o, size >> PAGE_BITS);

		if (last && cut)
			memset(last->bytes + cut, 0, PAGE - cut);
		drop_pages(o, (size >> PAGE_BITS) + (cut != 0));
		o->shown = q2_min(o->shown, size);
	}
	io->size = size;
	return Q2_OK;
}

static enum q2_status overlay_flush(struct q2_io *io, struct q2_err *err)
{
	(void)io;
	(void)err;
	return Q2_OK;
}

static void overlay_close(struct q2_io *io)
{
	struct overlay *o = (struct overlay *)io;

	if (o->slots)
		drop_pages(o, 0);
	q2_put(o->budget, o->slots, o->n_slots * sizeof(*o->slots));
	free(o);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Reading usually comes after all writing, so this is done once. */
static bool put_in_order(struct overlay *o)
{
	uint64_t *numbers;
	void *block;
	size_t n = 0;

	if (o->sorted)
		return true;
	if (q2_get(o->budget, o->n_pages * sizeof(*numbers), &block, NULL) !=
	    Q2_OK)
		return false;
	numbers = block;
	for (size_t i = 0; i < o->n_slots; i++)
		for (const struct page *p = o->slots[i]; p; p = p->next)
			numbers[n++] = p->number;
	qsort(numbers, n, sizeof(*numbers), by_number);
	o->sorted = numbers;
	o->n_sorted = n;
	return true;
}

/* The first run of pages that ends after `off`; {size, 0} if there is none. */
static struct q2_range next_pages(const struct overlay *o, uint64_t off)
{
	uint64_t number = off >> PAGE_BITS;
	size_t low = 0, high = o->n_sorted;
	uint64_t start, end;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (o->sorted[mid] < number)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == o->n_sorted)
		return (struct q2_range){o->io.size, 0};
	start = q2_max(off, o->sorted[low] << PAGE_BITS);
	while (low + 1 < o->n_sorted &&
	       o->sorted[low + 1] == o->sorted[low] + 1)
		low++;
	end = q2_min((o->sorted[low] + 1) << PAGE_BITS, o->io.size);
	return (struct q2_range){start, end - start};
}

static struct q2_range overlay_data(struct q2_io *io, uint64_t off)
{
	struct overlay *o = (struct overlay *)io;
	struct q2_range below = {io->size, 0};
	struct q2_range pages = {io->size, 0};

	if (o->n_pages) {
		if (!put_in_order(o))
			return (struct q2_range){off, io->size - off};
		pages = next_pages(o, off);
	}
	if (off < o->shown)
		below = q2_io_data(o->base, off);
	if (below.start >= o->shown)
		below.len = 0;
	below.len = q2_min(below.len, o->shown - q2_min(o->shown, below.start));
	if (below.len && (!pages.len || below.start <= pages.start))
		return below;
	return pages;
}

static void overlay_soon(struct q2_io *io, struct q2_range range)
{
	struct overlay *o = (struct overlay *)io;

	if (range.start < o->shown)
		q2_io_soon(o->base, range);
}

static const struct q2_io_ops overlay_ops = {
	.pread = overlay_pread,
	.pwrite = overlay_pwrite,
	.resize = overlay_resize,
	.flush = overlay_flush,
	.close = overlay_close,
	.data = overlay_data,
	.soon = overlay_soon,
};

enum q2_status q2_io_overlay(struct q2_io *base, struct q2_budget *budget,
			     struct q2_io **io, struct q2_err *err)
{
	struct overlay *o = calloc(1, sizeof(*o));
	enum q2_status st;

	*io = NULL;
	if (o == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory for an overlay");
	o->io.ops = &overlay_ops;
	o->io.size = base->size;
	o->io.stored = base->stored;
	o->io.writable = true;
	o->io.is_device = base->is_device;
	o->base = base;
	o->budget = budget;
	o->shown = base->size;
	st = grow_table(o, FIRST_SLOTS, err);
	if (st != Q2_OK) {
		free(o);
		return st;
	}
	*io = &o->io;
	return Q2_OK;
}
