/*
 * inflate.c - the contents of compressed clusters.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/inflate.h"

#include <stdlib.h>

#include "base/err.h"
#include "image/decode.h"

#define HOLE_MIN (UINT64_C(128) << 10) /* bytes worth asking for holes */

struct q2_inflate {
	struct q2_io *io;
	struct q2_budget *budget;
	uint8_t *in; /* two clusters: the longest range that can be named */
	uint8_t *out;
	size_t cluster_size;
	bool zstd;
	struct q2_decoder *decoder; /* NULL before the first stream: it is large */
};

static enum q2_status no_memory(struct q2_err *err)
{
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
		       "no memory for inflating");
}

enum q2_status q2_inflate_new(const struct q2_image *img,
			      struct q2_inflate **work, struct q2_err *err)
{
	uint64_t cs = img->geom.cluster_size;
	struct q2_inflate *w;
	void *block;
	enum q2_status st;

	*work = NULL;
	if (!img->geom.inflatable)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "unknown compression type");
	w = calloc(1, sizeof(*w));
	if (w == NULL)
		return no_memory(err);
	w->io = img->io;
	w->budget = img->budget;
	w->cluster_size = (size_t)cs;
	w->zstd = img->geom.zstd;
	st = q2_get_raw(w->budget, 2 * cs, &block, err);
	w->in = block;
	if (st == Q2_OK) {
		st = q2_get_raw(w->budget, cs, &block, err);
		w->out = block;
	}
	if (st != Q2_OK) {
		q2_inflate_free(w);
		return st;
	}
	*work = w;
	return Q2_OK;
}

void q2_inflate_free(struct q2_inflate *w)
{
	if (w == NULL)
		return;
	q2_decoder_free(w->decoder);
	q2_put(w->budget, w->in, 2 * w->cluster_size);
	q2_put(w->budget, w->out, w->cluster_size);
	free(w);
}

enum q2_status q2_inflate(struct q2_inflate *w, struct q2_range host,
			  const uint8_t **bytes, size_t *n, bool *whole,
			  struct q2_err *err)
{
	uint64_t there = 0;
	size_t used;
	enum q2_status st;

	*bytes = NULL;
	*n = 0;
	*whole = false;
	if (host.len > 2 * w->cluster_size)
		return q2_fail(err, Q2_E_ARG, 0, host.start,
			       "no descriptor names so long a range");
	if (host.start < w->io->size)
		there = q2_min(host.len, w->io->size - host.start);
	/* A long range that is all hole: zeros are no stream, and a hostile
	 * image can name it by the hundred thousand. */
	if (there > HOLE_MIN) {
		struct q2_range data = q2_io_data(w->io, host.start);

		if (data.len == 0 || data.start >= host.start + there)
			return Q2_OK;
	}
	st = q2_pread(w->io, w->in, (size_t)there,
		      q2_min(host.start, w->io->size), err);
	if (st == Q2_OK && w->decoder == NULL)
		st = q2_decoder_new(w->zstd, &w->decoder, err);
	if (st != Q2_OK)
		return st;
	st = q2_decode(w->decoder, w->in, (size_t)there, w->out,
		       w->cluster_size, n, &used, err);
	if (st != Q2_OK)
		return st;
	*bytes = w->out;
	*whole = *n == w->cluster_size;
	return Q2_OK;
}
