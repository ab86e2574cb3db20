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

/* The first piece that ends behind `off`. */
static size_t find(const struct q2_holemap *h, uint64_t off)
{
	size_t low = 0, high = h->data.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (q2_end(h->data.at[mid]) <= off)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct q2_range q2_holemap_data(struct q2_holemap *h, struct q2_io *io,
				struct q2_budget *b, uint64_t off)
{
	struct q2_range r;
	size_t i = h->last;

	if (!h->filled)
		fill(h, io, b);
	if (h->too_many)
		return q2_io_data(io, off);
	if (i >= h->data.n || q2_end(h->data.at[i]) <= off ||
	    (i > 0 && q2_end(h->data.at[i - 1]) > off))
		i = find(h, off);
	h->last = i;
	if (i == h->data.n)
		return (struct q2_range){io->size, 0};
	r = h->data.at[i];
	if (r.start < off)
		r = (struct q2_range){off, q2_end(r) - off};
	return r;
}

void q2_holemap_free(struct q2_holemap *h, struct q2_budget *b)
{
	if (h->data.at)
		q2_range_vec_free(&h->data, b);
	*h = (struct q2_holemap){0};
}
