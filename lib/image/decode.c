/*
 * decode.c - the decoders: libdeflate, zlib, zstd.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/decode.h"

#include <stdlib.h>

#define ZLIB_CONST /* next_in points to bytes that stay as they are */
#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/err.h"

#define RAW_DEFLATE (-15) /* no header, the whole window that deflate allows */
/* What QEMU's decoder takes.  A window is address space only: no more of it is
 * touched than comes out, and we stop after one cluster. */
#define WINDOW_LOG 27

struct q2_decoder {
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

static enum q2_status make(struct q2_decoder *d, bool zstd, struct q2_err *err)
{
	if (zstd) {
		d->zstd = ZSTD_createDCtx();
		if (d->zstd == NULL ||
		    ZSTD_isError(ZSTD_DCtx_setParameter(
			    d->zstd, ZSTD_d_windowLogMax, WINDOW_LOG)))
			return no_memory(err);
		return Q2_OK;
	}
	d->fast = libdeflate_alloc_decompressor();
	d->exact_ready = inflateInit2(&d->exact, RAW_DEFLATE) == Z_OK;
	return d->fast && d->exact_ready ? Q2_OK : no_memory(err);
}

enum q2_status q2_decoder_new(bool zstd, struct q2_decoder **out,
			      struct q2_err *err)
{
	struct q2_decoder *d = calloc(1, sizeof(*d));
	enum q2_status st;

	*out = NULL;
	if (d == NULL)
		return no_memory(err);
	st = make(d, zstd, err);
	if (st == Q2_OK)
		*out = d;
	else
		q2_decoder_free(d);
	return st;
}

void q2_decoder_free(struct q2_decoder *d)
{
	if (d == NULL)
		return;
	libdeflate_free_decompressor(d->fast);
	if (d->exact_ready)
		inflateEnd(&d->exact);
	ZSTD_freeDCtx(d->zstd);
	free(d);
}

/* zlib decodes as far as it gets, and so says where that is. */
static enum q2_status exact_deflate(struct q2_decoder *d, const uint8_t *in,
				    size_t len, uint8_t *out, size_t room,
				    size_t *n, struct q2_err *err)
{
	z_stream *z = &d->exact;

	(void)inflateReset(z); /* fails of one only that was not begun */
	z->next_in = in;
	z->avail_in = (uInt)len;
	z->next_out = out;
	z->avail_out = (uInt)room;
	if (inflate(z, Z_FINISH) == Z_MEM_ERROR)
		return no_memory(err);
	*n = room - z->avail_out;
	return Q2_OK;
}

/* libdeflate is far faster, but knows whole streams only.  A stream that goes on
 * after a cluster, or breaks there, is as good as any to a reader. */
static enum q2_status from_deflate(struct q2_decoder *d, const uint8_t *in,
				   size_t len, uint8_t *out, size_t room,
				   size_t *n, size_t *used, struct q2_err *err)
{
	if (libdeflate_deflate_decompress_ex(d->fast, in, len, out, room, used,
					     n) == LIBDEFLATE_SUCCESS)
		return Q2_OK;
	*used = 0;
	return exact_deflate(d, in, len, out, room, n, err);
}

/* Whether a frame of today's format may begin here.  The library may take those of
 * older ones, too, and then what comes out depends on what it decoded before. */
static bool is_frame(const uint8_t *p, size_t n)
{
	return n < 4 || ((p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f &&
			  p[3] == 0xfd) ||
			 (p[0] >> 4 == 5 && p[1] == 0x2a && p[2] == 0x4d &&
			  p[3] == 0x18));
}

/* Several frames may follow one another. */
static enum q2_status from_zstd(struct q2_decoder *d, const uint8_t *bytes,
				size_t len, uint8_t *out, size_t room,
				size_t *n, size_t *used, struct q2_err *err)
{
	ZSTD_inBuffer from = {bytes, len, 0};
	ZSTD_outBuffer to = {out, room, 0};
	size_t left = 0;

	ZSTD_DCtx_reset(d->zstd, ZSTD_reset_session_only);
	while (to.pos < to.size) {
		size_t before = from.pos + to.pos;

		if (left == 0 && !is_frame(bytes + from.pos, len - from.pos)) {
			left = 1;
			break;
		}
		left = ZSTD_decompressStream(d->zstd, &to, &from);
		if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
			return no_memory(err);
		if (ZSTD_isError(left) || from.pos + to.pos == before)
			break;
	}
	/* Where a frame has more than a cluster QEMU gives the guest an error. */
	*n = left == 0 || to.pos < to.size ? to.pos : 0;
	*used = left == 0 ? from.pos : 0;
	return Q2_OK;
}

enum q2_status q2_decode(struct q2_decoder *d, const uint8_t *in, size_t len,
			 uint8_t *out, size_t room, size_t *n, size_t *used,
			 struct q2_err *err)
{
	*n = 0;
	*used = 0;
	return d->zstd ? from_zstd(d, in, len, out, room, n, used, err) :
			 from_deflate(d, in, len, out, room, n, used, err);
}
