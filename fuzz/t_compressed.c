/*
 * t_compressed.c - target compressed: every word of the image as a descriptor.
 *
 * SPDX-License-Identifier: MIT
 *
 * D-2: a stream yields one cluster at the most, whatever it says; I-5; and the
 * same bytes twice (C-2).
 */
#include "base/endian.h"
#include "base/hash.h"
#include "image/inflate.h"
#include "format/entry.h"
#include "q2fuzz.h"

#define STREAMS 64u /* tried in one image */

static void one(struct q2_inflate *work, const struct q2_geom *g,
		struct q2_range host)
{
	const uint8_t *bytes;
	uint64_t first;
	size_t n, again;
	bool whole;

	if (q2_inflate(work, host, &bytes, &n, &whole, NULL) != Q2_OK)
		return;
	if (n > g->cluster_size || (whole && n != g->cluster_size))
		q2f_violation("D-2", "a stream yields %zu bytes", n);
	first = q2_hash(bytes, n);
	if (q2_inflate(work, host, &bytes, &again, &whole, NULL) == Q2_OK &&
	    (again != n || q2_hash(bytes, n) != first))
		q2f_violation("C-2", "a stream inflates to two things");
}

static void streams(const struct q2_image *img, const struct q2f_input *in)
{
	struct q2_inflate *work;
	struct q2_range wide = {0, 2 * img->geom.cluster_size + 1};
	enum q2_status st = q2_inflate_new(img, &work, NULL);
	unsigned left = STREAMS;
	const uint8_t *bytes;
	bool whole;
	size_t n;

	if (img->geom.inflatable == (st == Q2_E_UNSUPPORTED))
		q2f_violation("D-2", "a method is %s known",
			      img->geom.inflatable ? "not" : "");
	if (st != Q2_OK)
		return;
	if (q2_inflate(work, wide, &bytes, &n, &whole, NULL) != Q2_E_ARG)
		q2f_violation("D-2", "more than two clusters are taken");
	for (size_t at = 0; at + 8 <= in->size && left; at += 8) {
		uint64_t raw = q2_be64(in->image + at) | Q2_COMPRESSED;
		struct q2_l2_entry e;

		if (!(q2_be64(in->image + at) & Q2_COMPRESSED))
			continue;
		e = q2_l2_decode(&img->geom, raw & ~Q2_COPIED, 0, 0);
		if (!e.refers)
			continue;
		if (e.host.len == 0 || e.host.len > 2 * img->geom.cluster_size +
							    512)
			q2f_violation("I-5", "descriptor %llx names %llu bytes",
				      (unsigned long long)raw,
				      (unsigned long long)e.host.len);
		one(work, &img->geom, e.host);
		left--;
	}
	q2_inflate_free(work);
}

int q2f_compressed(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct q2_io *io = q2f_io_new(&in);
	struct q2_budget budget = {0};
	struct q2_image img = {.io = io, .budget = &budget};
	struct q2_header h;
	struct q2_header_faults faults;

	q2f_heap_watch(in.ctl.fail_alloc);
	q2_header_parse(in.image, in.size, &h);
	q2_header_judge(&h, io->size, &faults);
	if (h.magic == Q2_MAGIC &&
	    q2_geom_make(&h, &faults, io->size, &img.geom))
		streams(&img, &in);
	(void)q2f_heap_done();
	if (budget.used || q2f_heap.blocks)
		q2f_violation("I-7", "inflating leaves %llu bytes behind",
			      (unsigned long long)budget.used);
	q2_io_close(io);
	in.ctl.flags |= Q2F_DATA;
	q2f_check_input(&in, NULL);
	return 0;
}
