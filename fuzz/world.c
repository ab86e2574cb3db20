/*
 * world.c - the files of an input, and the disk that rows make of them.
 *
 * SPDX-License-Identifier: MIT
 *
 * M-1: rows are a partition of the disk, however they are merged.
 */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include "base/endian.h"
#include "base/err.h"

static const uint8_t tail[7] = {'Q', '2', 'P', 'A', 'C', 'K', 0};

void q2f_world_make(struct q2f_world *w, const struct q2f_input *in)
{
	const uint8_t *end = in->image + in->size;
	unsigned more = in->size >= Q2F_PACK_TAIL ? end[-8] : 0;
	uint64_t room = in->size - Q2F_PACK_TAIL, sum = 0;

	*w = (struct q2f_world){.file = {*in}, .n = 1};
	if (in->size < Q2F_PACK_TAIL || memcmp(end - 7, tail, 7) != 0 ||
	    more >= Q2F_FILES || 4 * (uint64_t)more > room)
		return;
	room -= UINT64_C(4) * more;
	for (unsigned i = 0; i < more; i++)
		sum += q2_be32(in->image + room + 4 * i);
	if (sum > room)
		return;
	w->file[0].size = (size_t)(room - sum);
	w->file[0].ctl.hole = 0;
	for (unsigned i = 0; i < more; i++) {
		const struct q2f_input *before = &w->file[w->n - 1];

		w->file[w->n] = w->file[0];
		w->file[w->n].image = before->image + before->size;
		w->file[w->n].size = q2_be32(in->image + room + 4 * i);
		w->n++;
	}
}

enum q2_status q2f_world_open(void *ctx, const char *path, struct q2_io **io,
			      struct q2_err *err)
{
	struct q2f_world *w = ctx;

	*io = NULL;
	if (strlen(path) > 4096)
		q2f_violation("I-6", "a path of %zu bytes", strlen(path));
	if (w->opened == w->n)
		return q2_fail(err, Q2_E_IO, 2, Q2_NO_OFFSET, "no such file");
	*io = q2f_io_new(&w->file[w->opened++]);
	return Q2_OK;
}

enum q2_status q2f_world_chain(struct q2f_world *w, bool alone,
			       struct q2_budget *budget,
			       struct q2_chain *chain, struct q2_err *err)
{
	static const char *const allow[] = {"base", "/", NULL};
	static const char *const formats[] = {NULL, "raw", "qcow2", "vmdk"};
	static const char *const data[] = {
		NULL, "data", "file:data",
		"json:{\"driver\":\"qcow2\",\"file.filename\":\"data\"}"};
	static const char *const tops[] = {
		"image", "file:image",
		"json:{\"driver\":\"raw\",\"file.filename\":\"image\"}",
		"json:{\"driver\":\"qcow2\",\"file.filename\":\"image\"}",
		"nbd://server/export", "json:{", "", "image"};
	unsigned c = w->choice;
	const struct q2_policy policy = {.backing = !alone && !(c & 1),
					 .data_files = !alone && !(c & 2),
					 .data_if_any = c & 2,
					 .allow_probe = !(c & 4),
					 .may_say_format = c & 8,
					 .allow_any = !(c & 16),
					 .allow = c & 16 ? allow : NULL,
					 .max_layers = c & 32 ? 2 : 0,
					 .enough = c & 64 ? 1 : 0,
					 .backing_format = formats[c >> 7 & 3],
					 .data_file = data[c >> 9 & 3],
					 .open = q2f_world_open,
					 .ctx = w};

	/* The last name is of a file that is not there. */
	w->opened = (c >> 11 & 7) == 7 ? w->n : 0;
	return q2_chain_open(tops[c >> 11 & 7], Q2_FORMAT_QCOW2, &policy,
			     budget, chain, err);
}

/* ---------------------------------------------------------------- the rows */

struct walk {
	struct q2f_view *v;
	struct q2_disk *disk;
	uint64_t at;
	uint64_t end; /* of the view: 0 if nothing is to be read */
	uint64_t rows;
	uint64_t reads_as; /* bytes by content, to compare ways of merging */
};

/* libdeflate gives the length codes 286 and 287, which the format leaves out, a
 * meaning that zlib refuses: both are right. */
static bool lenient(const uint8_t *in, size_t n, uint8_t *out, size_t cs)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	size_t used, got = 0;
	bool whole = d && libdeflate_deflate_decompress_ex(d, in, n, out, cs,
							   &used, &got) ==
				  LIBDEFLATE_SUCCESS && got == cs;

	libdeflate_free_decompressor(d);
	return whole;
}

/* A magic of RFC 8878: the library may know older ones. */
static bool zstd_magic(const uint8_t *in, size_t n)
{
	uint32_t magic = 0;

	for (size_t i = 4; n >= 4 && i-- > 0;)
		magic = magic << 8 | in[i];
	return n < 4 || magic == 0xfd2fb528 || magic >> 4 == 0x184d2a5;
}

bool q2f_inflated(bool zstd, uint8_t *in, size_t n, uint8_t *out, size_t cs)
{
	bool whole;

	if (zstd) {
		ZSTD_DStream *z = ZSTD_createDStream();
		ZSTD_inBuffer from = {in, n, 0};
		ZSTD_outBuffer to = {out, cs, 0};
		size_t left = 0;

		while (z && !ZSTD_isError(left) && to.pos < cs) {
			size_t before = from.pos + to.pos;

			if (left == 0 && !zstd_magic(in + from.pos, n - from.pos))
				break;
			left = ZSTD_decompressStream(z, &to, &from);
			if (from.pos + to.pos == before)
				break;
		}
		whole = to.pos == cs && left == 0;
		ZSTD_freeDStream(z);
	} else {
		z_stream z = {.next_in = in, .avail_in = (uInt)n,
			      .next_out = out, .avail_out = (uInt)cs};

		if (inflateInit2(&z, -15) != Z_OK)
			abort();
		inflate(&z, Z_FINISH);
		whole = z.avail_out == 0 || lenient(in, n, out, cs);
		inflateEnd(&z);
	}
	return whole;
}

/* What the file holds; zeros past its end. */
static void copy(struct q2_io *io, uint64_t from, uint8_t *to, size_t len)
{
	const uint8_t *bytes;
	size_t n = q2f_io_view(io, &bytes);
	size_t there = from < n ? (size_t)q2_min(len, n - from) : 0;

	if (there)
		memcpy(to, bytes + from, there);
	memset(to + there, 0, len - there);
}

static bool packed(const struct q2_layer *l, const struct q2_row *r,
		   uint8_t *to, size_t len)
{
	const struct q2_geom *g = &l->opened.img.geom;
	size_t cs = (size_t)g->cluster_size;
	size_t skip = (size_t)(r->guest & (cs - 1));
	uint64_t n = r->host < l->io->size ? l->io->size - r->host : 0;
	uint8_t *in = q2f_own(2 * cs), *out = q2f_own(cs);
	bool whole;

	n = q2_min(n, q2_min(r->stored, 2 * cs));
	copy(l->io, r->host, in, (size_t)n);
	whole = g->inflatable && q2f_inflated(g->zstd, in, (size_t)n, out, cs);
	if (skip + len > cs)
		q2f_violation("M-1", "a compressed row of %zu bytes", len);
	if (whole)
		memcpy(to, out + skip, len);
	q2f_own_free(in);
	q2f_own_free(out);
	return whole;
}

static void read_row(struct walk *w, const struct q2_row *r)
{
	const struct q2_layer *l = w->disk->chain.layers[r->depth];
	struct q2f_view *v = w->v;
	size_t len = (size_t)(q2_min(w->end, r->guest + r->length) - r->guest);
	uint8_t *to = v->bytes + r->guest;
	bool lost = r->content == Q2_C_UNREADABLE;

	if ((r->flags & (Q2_ROW_ENCRYPTED | Q2_ROW_BELOW)) ||
	    (r->content == Q2_C_DATA && l->map.host_io == NULL))
		v->closed = true;
	else if (r->content == Q2_C_DATA)
		copy(l->map.host_io, r->host, to, len);
	else if (r->content == Q2_C_COMPRESSED)
		lost = !packed(l, r, to, len);
	if (!lost)
		return;
	v->n_lost += len;
	memset(v->lost + r->guest / 512, 1, (len + 511) / 512);
}

static enum q2_status on_row(void *ctx, const struct q2_row *r)
{
	struct walk *w = ctx;
	const struct q2_disk *d = w->disk;

	w->rows++;
	if (r->guest != w->at || r->length == 0 ||
	    r->length > q2_disk_bytes(d) - w->at)
		q2f_violation("M-1", "a row of %llu bytes at %llu, after %llu",
			      (unsigned long long)r->length,
			      (unsigned long long)r->guest,
			      (unsigned long long)w->at);
	w->at += r->length;
	if (r->depth >= d->chain.n || r->content > Q2_C_UNREADABLE ||
	    (r->content == Q2_C_UNREADABLE && r->problem == NULL))
		q2f_violation("M-1", "a row of depth %u with content %d",
			      r->depth, (int)r->content);
	w->reads_as += (uint64_t)(r->content > Q2_C_ZERO_ALLOC) * r->length;
	if (r->guest < w->end)
		read_row(w, r);
	return Q2_OK;
}

/* False if a fault ended it early. */
static bool rows(struct walk *w, enum q2_merge merge)
{
	const struct q2_rows_opts opts = {.length = UINT64_MAX,
					  .merge = merge,
					  .row = on_row,
					  .ctx = w};
	enum q2_status st = q2_disk_rows(w->disk, &opts, NULL);

	if (st == Q2_E_NOMEM || st == Q2_E_IO || st == Q2_E_BUDGET)
		return false;
	if (st != Q2_OK || w->at != q2_disk_bytes(w->disk))
		q2f_violation("M-1", "the rows end at %llu of %llu, status %d",
			      (unsigned long long)w->at,
			      (unsigned long long)q2_disk_bytes(w->disk),
			      (int)st);
	return true;
}

/* Whether a read was made to fail: the next walk may read the same, or not. */
static bool failed(const struct q2_disk *disk)
{
	for (unsigned i = 0; i < disk->chain.n; i++) {
		const struct q2_layer *l = disk->chain.layers[i];

		if (q2f_io_failed(l->io) ||
		    (l->map.host_io && q2f_io_failed(l->map.host_io)))
			return true;
	}
	return false;
}

void q2f_view_make(struct q2f_view *v, struct q2_disk *disk)
{
	struct walk w = {.v = v, .disk = disk};
	uint64_t content = 0;
	bool whole = true;

	*v = (struct q2f_view){0};
	v->n = (size_t)q2_min(q2_disk_bytes(disk), Q2F_VIEW);
	v->bytes = q2f_own(v->n + 1);
	v->lost = q2f_own(v->n / 512 + 1);
	for (unsigned merge = 0; merge < (q2f_thorough ? 3u : 1u); merge++) {
		w.at = w.rows = w.reads_as = 0;
		w.end = merge == 0 ? v->n : 0;
		whole = rows(&w, (enum q2_merge)merge) && whole;
		if (merge && whole && w.reads_as != content && !failed(disk))
			q2f_violation("M-1", "merging rows changes what they are");
		content = w.reads_as;
	}
	v->rows = w.rows;
	/* A disk on the stack is closed by its parts. */
	free(disk->found);
	disk->found = NULL;
}

void q2f_view_free(struct q2f_view *v)
{
	q2f_own_free(v->bytes);
	q2f_own_free(v->lost);
	*v = (struct q2f_view){0};
}
