/*
 * refmap_keep.c - a map of references written down, and made again of that.
 *
 * SPDX-License-Identifier: MIT
 *
 * For each page its number, and runs of cells that are alike: count, mark, length.
 */
#include "image/refmap.h"

#include <string.h>

#include "base/err.h"

static bool alike(struct q2_ref a, struct q2_ref b)
{
	return a.count == b.count && (a.count == 0 || a.mark == b.mark);
}

static void put_run(struct q2_buf *out, struct q2_ref ref, unsigned n)
{
	q2_put_number(out, ref.count);
	if (ref.count)
		q2_put_number(out, ref.mark);
	q2_put_number(out, n);
}

/* Byte cells that are the same need not be decoded. */
static unsigned same_bytes(const uint8_t *bytes, unsigned at)
{
	unsigned n = 1;

	if (bytes == NULL || bytes[at] > Q2_CELL_MAX)
		return 1;
	while (at + n < Q2_PAGE_CELLS && bytes[at + n] == bytes[at])
		n++;
	return n;
}

static void put_page(const struct q2_refmap *m, uint64_t number,
		     struct q2_buf *out)
{
	bool absent;
	const uint8_t *bytes = q2_refmap_view(m, number, &absent).bytes;
	struct q2_ref run = {0};
	unsigned n = 0, step;

	q2_put_number(out, number);
	for (unsigned i = 0; i < Q2_PAGE_CELLS; i += step) {
		struct q2_ref ref = q2_refmap_get(m, (number << Q2_PAGE_BITS) +
							     i);

		step = same_bytes(bytes, i);
		if (n && !alike(run, ref)) {
			put_run(out, run, n);
			n = 0;
		}
		run = ref;
		n += step;
	}
	put_run(out, run, n);
}

enum q2_status q2_refmap_put(struct q2_refmap *m, struct q2_buf *out,
			     struct q2_err *err)
{
	uint64_t *numbers;
	size_t n;
	enum q2_status st = q2_refmap_pages(m, &numbers, &n, err);

	if (st != Q2_OK)
		return st;
	q2_put_number(out, n);
	for (size_t i = 0; i < n && !out->failed; i++)
		put_page(m, numbers[i], out);
	q2_put(m->budget, numbers, n * sizeof(*numbers));
	return Q2_OK;
}

/* As if each had been counted one after the other. */
static enum q2_status add_run(struct q2_refmap *m, uint64_t clu, uint64_t n,
			      struct q2_ref ref, struct q2_err *err)
{
	uint64_t value = ref.count << 2 | (unsigned)ref.mark;
	struct q2_ref before;
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < n && st == Q2_OK; i++) {
		uint8_t *cells = q2_refmap_cells(m, clu + i);

		if (cells && ref.count < 63 && value <= Q2_CELL_MAX) {
			memset(cells + (clu + i) % Q2_PAGE_CELLS, (int)value,
			       (size_t)(n - i));
			m->added += n - i;
			break;
		}
		st = q2_refmap_add(m, clu + i, ref.count, ref.mark, &before,
				   err);
	}
	return st;
}

static enum q2_status take_page(struct q2_refmap *m, struct q2_source *in,
				uint64_t clusters, struct q2_err *err)
{
	uint64_t number = q2_take_up_to(in, clusters >> Q2_PAGE_BITS);
	enum q2_status st = Q2_OK;
	unsigned at = 0;

	while (at < Q2_PAGE_CELLS && st == Q2_OK && !in->failed) {
		struct q2_ref ref = {.count = q2_take_number(in)};
		uint64_t n;

		if (ref.count)
			ref.mark = (enum q2_mark)q2_take_up_to(
				in, Q2_MARK_COMPRESSED);
		n = q2_take_up_to(in, Q2_PAGE_CELLS - at);
		in->failed |= n == 0;
		if (ref.count && !in->failed)
			st = add_run(m, (number << Q2_PAGE_BITS) + at, n, ref,
				     err);
		at += (unsigned)n;
	}
	return st;
}

enum q2_status q2_refmap_take(struct q2_refmap *m, struct q2_source *in,
			      uint64_t clusters, struct q2_err *err)
{
	uint64_t n = q2_take_number(in);
	enum q2_status st = Q2_OK;

	q2_refmap_free(m);
	for (; n && st == Q2_OK && !in->failed; n--)
		st = take_page(m, in, clusters, err);
	return st;
}
