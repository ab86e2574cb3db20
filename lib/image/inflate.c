/*
 * inflate.c - the contents of compressed clusters: deflate and zstd.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/inflate.h"

#include <stdlib.h>

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/err.h"

#define RAW_DEFLATE (-15) /* no header, the whole window that deflate allows */
/* What QEMU's decoder takes.  A window is address space only: no more of it is
 * touched than comes out, and we stop after one cluster. */
#define WINDOW_LOG 27

#define HOLE_MIN (UINT64_C(128) << 10) /* bytes worth asking for holes */

struct q2_inflate {
	struct q2_io *io;
	struct q2_budget *budget;
	uint8_t *in; /* two clusters: the longest range that can be named */
	uint8_t *out;
	size_t cluster_size;
	struct libdeflate_decompressor *fast; /* deflate only */
	z_stream exact;			      /* deflate only */
	bool exact_ready;
	ZSTD_DCtx *zstd; /* zstd only */
};

static enum q2_status no_memory(struct q2_err *err)
{
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
		       "no memory for inflating");
}

static enum q2_status make_decoders(struct q2_inflate *w, bool zstd,
				    struct q2_err *err)
{
	if (zstd) {
		w->zstd = ZSTD_createDCtx();
		if (w->zstd == NULL ||
		    ZSTD_isError(ZSTD_DCtx_setParameter(
			    w->zstd, ZSTD_d_windowLogMax, WINDOW_LOG)))
			return no_memory(err);
		return Q2_OK;
	}
	w->fast = libdeflate_alloc_decompressor();
	w->exact_ready = inflateInit2(&w->exact, RAW_DEFLATE) == Z_OK;
	return w->fast && w->exact_ready ? Q2_OK : no_memory(err);
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
	st = q2_get(w->budget, 2 * cs, &block, err);
	w->in = block;
	if (st == Q2_OK) {
		st = q2_get(w->budget, cs, &block, err);
		w->out = block;
	}
	if (st == Q2_OK)
		st = make_decoders(w, img->geom.zstd, err);
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
	libdeflate_free_decompressor(w->fast);
	if (w->exact_ready)
		inflateEnd(&w->exact);
	ZSTD_freeDCtx(w->zstd);
	q2_put(w->budget, w->in, 2 * w->cluster_size);
	q2_put(w->budget, w->out, w->cluster_size);
	free(w);
}

/* zlib decodes as far as it gets, and so says where that is. */
static enum q2_status exact_deflate(struct q2_inflate *w, size_t in, size_t *n,
				    struct q2_err *err)
{
	z_stream *z = &w->exact;

	if (inflateReset(z) != Z_OK)
		return no_memory(err);
	z->next_in = w->in;
	z->avail_in = (uInt)in;
	z->next_out = w->out;
	z->avail_out = (uInt)w->cluster_size;
	if (inflate(z, Z_FINISH) == Z_MEM_ERROR)
		return no_memory(err);
	*n = w->cluster_size - z->avail_out;
	return Q2_OK;
}

/* libdeflate is far faster, but knows whole streams only.  A stream that goes on
 * after a cluster, or breaks there, is as good as any to a reader. */
static enum q2_status from_deflate(struct q2_inflate *w, size_t in, size_t *n,
			      struct q2_err *err)
{
	size_t used;
	enum libdeflate_result r = libdeflate_deflate_decompress_ex(
		w->fast, w->in, in, w->out, w->cluster_size, &used, n);

	return r == LIBDEFLATE_SUCCESS ? Q2_OK : exact_deflate(w, in, n, err);
}

/* Several frames may follow one another. */
static enum q2_status from_zstd(struct q2_inflate *w, size_t in, size_t *n,
			   struct q2_err *err)
{
	ZSTD_inBuffer from = {w->in, in, 0};
	ZSTD_outBuffer to = {w->out, w->cluster_size, 0};

	ZSTD_DCtx_reset(w->zstd, ZSTD_reset_session_only);
	while (to.pos < to.size) {
		size_t before = from.pos + to.pos;
		size_t r = ZSTD_decompressStream(w->zstd, &to, &from);

		if (ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation)
			return no_memory(err);
		if (ZSTD_isError(r) || from.pos + to.pos == before)
			break;
	}
	*n = to.pos;
	return Q2_OK;
}

enum q2_status q2_inflate(struct q2_inflate *w, struct q2_range host,
			  const uint8_t **bytes, size_t *n, bool *whole,
			  struct q2_err *err)
{
	uint64_t there = 0;
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
	if (st != Q2_OK)
		return st;
	st = w->zstd ? from_zstd(w, (size_t)there, n, err) :
		       from_deflate(w, (size_t)there, n, err);
	if (st != Q2_OK)
		return st;
	*bytes = w->out;
	*whole = *n == w->cluster_size;
	return Q2_OK;
}
