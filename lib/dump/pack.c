/*
 * pack.c - deflate by libdeflate, and zstd.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/pack.h"

#include <stdlib.h>

#include <libdeflate.h>
#include <zstd.h>

#include "base/err.h"

#define DEFLATE_LEVEL 3
#define DEFLATE_MAX 12
#define ZSTD_LEVEL 3

struct q2_packer {
	struct libdeflate_compressor *deflate;
	ZSTD_CCtx *zstd;
};

bool q2_pack_level_ok(enum q2_compress method, int level)
{
	switch (method) {
	case Q2_COMPRESS_ZLIB:
		return level >= 0 && level <= DEFLATE_MAX;
	case Q2_COMPRESS_ZSTD:
		return level >= 0 && level <= ZSTD_maxCLevel();
	default:
		return level == 0;
	}
}

size_t q2_pack_memory(enum q2_compress method, int level, size_t cluster)
{
	if (method == Q2_COMPRESS_ZLIB)
		return level >= 10 ? (size_t)9 << 20 : (size_t)1 << 20;
	if (method == Q2_COMPRESS_ZSTD)
		return ((size_t)1 << 20) +
		       cluster * (level > 12 ? 16u : level > 5 ? 8u : 4u);
	return 0;
}

static enum q2_status make(struct q2_packer *p, enum q2_compress method,
			   int level, struct q2_err *err)
{
	if (method == Q2_COMPRESS_ZLIB) {
		p->deflate = libdeflate_alloc_compressor(
			level ? level : DEFLATE_LEVEL);
		if (p->deflate != NULL)
			return Q2_OK;
	} else {
		p->zstd = ZSTD_createCCtx();
		if (p->zstd != NULL &&
		    !ZSTD_isError(ZSTD_CCtx_setParameter(
			    p->zstd, ZSTD_c_compressionLevel,
			    level ? level : ZSTD_LEVEL)))
			return Q2_OK;
	}
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
		       "no memory for compressing");
}

enum q2_status q2_packer_new(enum q2_compress method, int level,
			     struct q2_packer **out, struct q2_err *err)
{
	struct q2_packer *p = calloc(1, sizeof(*p));
	enum q2_status st;

	*out = NULL;
	if (p == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	st = make(p, method, level, err);
	if (st == Q2_OK)
		*out = p;
	else
		q2_packer_free(p);
	return st;
}

void q2_packer_free(struct q2_packer *p)
{
	if (p == NULL)
		return;
	if (p->deflate)
		libdeflate_free_compressor(p->deflate);
	ZSTD_freeCCtx(p->zstd);
	free(p);
}

size_t q2_pack(struct q2_packer *p, const uint8_t *bytes, size_t n,
	       uint8_t *out, size_t room)
{
	size_t len;

	if (p->deflate)
		return libdeflate_deflate_compress(p->deflate, bytes, n, out,
						   room);
	len = ZSTD_compress2(p->zstd, out, room, bytes, n);
	return ZSTD_isError(len) ? 0 : len;
}
