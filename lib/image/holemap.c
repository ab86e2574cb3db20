/*
 * holemap.c - where a sparse file has data, for questions in any order.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/holemap.h"

#define PIECES_MAX 65536u

static void fill(struct q2_holemap *h, struct q2_io *io, struct q2_budget *b)
{
	struct q2_range r = q2_io_data(io, 0);

	h->filled = true;
	while (r.len) {
		if (h->data.n == PIECES_MAX ||
		    q2_range_vec_push(&h->data, b, r, NULL) != Q2_OK) {
			h->too_many = true;
			q2_range_vec_free(&h->data, b);
			return;
		}
		r = q2_io_data(io, q2_end(r));
	}
}

/* The first piece from `low` to `high` that ends behind `off`, or else `high`. */
static size_t find(const struct q2_holemap *h, uint64_t off, size_t low,
		   size_t high)
{
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (q2_end(h->data.at[mid]) <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static uint64_t index_bytes(const struct q2_holemap *h)
{
	return (h->parts + 1) * (uint64_t)sizeof(*h->index);
}

/* At least as many parts as pieces, at most about four times as many. */
static void make_index(struct q2_holemap *h, uint64_t size,
		       struct q2_budget *b)
{
	void *block;
	size_t at = 0;

	if (h->data.n == 0 || size == 0)
		return;
	while (size >> h->shift >= h->data.n * (uint64_t)4)
		h->shift++;
	h->parts = (size_t)((size - 1) >> h->shift) + 1;
	if (q2_get_raw(b, index_bytes(h), &block, NULL) != Q2_OK)
		return;
	h->index = block;
	for (size_t i = 0; i < h->parts; i++) {
		while (at < h->data.n &&
		       q2_end(h->data.at[at]) <= (uint64_t)i << h->shift)
			at++;
		h->index[i] = (uint32_t)at;
	}
	h->index[h->parts] = (uint32_t)h->data.n;
}

static size_t look_up(const struct q2_holemap *h, uint64_t off)
{
	uint64_t part = off >> h->shift;

	if (h->index == NULL || part >= h->parts)
		return find(h, off, 0, h->data.n);
	/* What ends behind the next part's start ends behind `off`, too. */
	return find(h, off, h->index[part], h->index[part + 1]);
}

struct q2_range q2_holemap_data(struct q2_holemap *h, struct q2_io *io,
				struct q2_budget *b, uint64_t off)
{
	struct q2_range r;
	size_t i;

	if (!h->filled) {
		fill(h, io, b);
		make_index(h, io->size, b);
	}
	if (h->too_many)
		return q2_io_data(io, off);
	i = look_up(h, off);
	if (i == h->data.n)
		return (struct q2_range){io->size, 0};
	r = h->data.at[i];
	if (r.start < off)
		r = (struct q2_range){off, q2_end(r) - off};
	return r;
}

void q2_holemap_free(struct q2_holemap *h, struct q2_budget *b)
{
	if (h->index)
		q2_put(b, h->index, index_bytes(h));
	if (h->data.at)
		q2_range_vec_free(&h->data, b);
	*h = (struct q2_holemap){0};
}
