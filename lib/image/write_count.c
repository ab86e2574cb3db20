/*
 * write_count.c - what a writer has done, and doing as if.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/write_int.h"

#define BLOCK UINT64_C(4096) /* of file systems */

void q2_w_placed(struct q2_writer *w, enum q2_placed what, uint64_t clu,
		 uint64_t n)
{
	struct q2_writer_counts *c = &w->count.sums;
	uint64_t end = q2_div_up(w->count.old_size, w->img.geom.cluster_size);
	uint64_t inside = q2_min(n, end - q2_min(end, clu));

	c->inside[what] += inside;
	c->behind[what] += n - inside;
}

void q2_w_written(struct q2_writer *w, uint64_t guest, bool in_place)
{
	uint64_t number = (guest >> w->img.geom.cluster_bits) + 1;

	/* Parts of one cluster come one after the other. */
	if (in_place && number != w->count.last)
		w->count.sums.overwritten++;
	w->count.last = number;
}

void q2_writer_counts(const struct q2_writer *w, struct q2_writer_counts *out)
{
	*out = w->count.sums;
	out->end = w->refs.top;
}

/* Adds the holes of the file with the data in [at, end), in whole blocks. */
static void count_holes(struct q2_writer *w, uint64_t at, uint64_t end,
			uint64_t *sum)
{
	struct q2_wcount *c = &w->count;
	struct q2_range *known = &c->known;

	while (at < end) {
		if (known->len == 0 || at < known->start ||
		    at >= q2_end(*known)) {
			*known = q2_io_data(w->medium.io, at);
			if (known->len == 0 || known->start > at) {
				uint64_t to = known->len ?
					q2_min(end, known->start) : end;

				*sum += q2_div_up(to - at, BLOCK) * BLOCK;
				at = to;
				continue;
			}
		}
		at = q2_end(*known);
	}
}

enum q2_status q2_w_data_count(struct q2_writer *w, size_t len, uint64_t host,
			       struct q2_err *err)
{
	struct q2_wcount *c = &w->count;
	uint64_t end = host + len;
	uint64_t first = host / BLOCK;

	if (first + 1 == c->last_block)
		first++;
	c->last_block = q2_div_up(end, BLOCK);
	if (w->medium.apart) {
		/* On a device all is there already. */
		if (!w->medium.io->is_device)
			count_holes(w, first * BLOCK, c->last_block * BLOCK,
				    &c->sums.apart);
		return Q2_OK;
	}
	count_holes(w, first * BLOCK,
		    q2_min(c->last_block * BLOCK, c->old_size),
		    &c->sums.holes);
	return end > w->img.io->size ? q2_resize(w->img.io, end, err) : Q2_OK;
}
