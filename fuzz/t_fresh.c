/*
 * t_fresh.c - fresh images, cluster by cluster: stopped and taken up again.
 *
 * SPDX-License-Identifier: MIT
 *
 * M-7 what was written by hand reads the same, with a stop in the middle, zeros that
 * are said to be zeros, and a bitmap; what makes no sense is refused.
 */
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "dump/newimage.h"
#include "t_fresh.h"

static const uint8_t *expected; /* bytes of the bitmap that come last are zeros */
static uint64_t bitmap_bytes;

static enum q2_status read_bits(void *ctx, uint8_t *buf, size_t len,
				uint64_t off, struct q2_err *err)
{
	(void)ctx;
	(void)err;
	for (size_t i = 0; i < len; i++)
		buf[i] = off + i + 1 >= bitmap_bytes ? 0 :
			 (off + i) / 512 % 3 == 0    ? 0 :
			 (off + i) / 512 % 3 == 1    ? 0xff :
						       expected[off % 7];
	return Q2_OK;
}

static void refused(struct q2_newimage_opts n)
{
	struct q2_budget budget = {0};
	struct q2_newimage *image;
	struct q2_err err = {0};

	if (q2_newimage_open(NULL, &n, &budget, &image, &err) != Q2_E_ARG ||
	    err.code != Q2_E_ARG)
		q2f_violation("M-7", "version %u, %u cluster bits, refcount order %u, %llu bytes: not refused",
			      n.version, n.cluster_bits, n.ref_order,
			      (unsigned long long)n.disk_size);
	q2_newimage_free(image);
}

static void refusals(struct q2_newimage_opts n)
{
	static char name[500];
	struct q2_newimage_opts bad = n;

	memset(name, 'n', sizeof(name) - 1);
	bad.backing = name;
	bad.backing_format = "raw";
	bad.cluster_bits = 9;
	bad.ext_l2 = false;
	refused(bad);
	bad = n;
	bad.disk_size = UINT64_C(1) << 62;
	refused(bad);
	bad.cluster_bits = 8;
	refused(bad);
	bad.cluster_bits = 22;
	refused(bad);
	bad = n;
	bad.ref_order = 7;
	refused(bad);
	bad = n;
	bad.disk_size += 511;
	refused(bad);
	bad = n;
	bad.version = 2;
	bad.ref_order = 3;
	refused(bad);
	bad.ref_order = 4;
	bad.zstd = bad.ext_l2 = false;
	bad.bitmaps = true;
	refused(bad);
	bad = n;
	bad.ext_l2 = true;
	bad.cluster_bits = 12;
	refused(bad);
}

static void need(enum q2_status st, const struct q2_err *err, const char *what)
{
	if (st != Q2_OK)
		q2f_violation("M-7", "%s: %s", what, err->text);
}

/* What is held goes to a buffer, and a new writer takes it up from there. */
static void stop(struct q2_newimage **image, struct q2_io *io,
		 const struct q2_newimage_opts *n, struct q2_budget *budget)
{
	struct q2_buf state = {0};
	struct q2_err err = {0};
	uint64_t end, length = q2_newimage_length(*image);

	need(q2_newimage_save(*image, &state, &err), &err, "saving");
	if (state.failed || state.n > q2_newimage_state(*image) + 16)
		q2f_violation("M-7", "a state of %zu bytes, not %zu", state.n,
			      q2_newimage_state(*image));
	q2_newimage_free(*image);
	need(q2_newimage_open(io, n, budget, image, &err), &err, "again");
	if (q2_newimage_restore(*image, (const uint8_t *)state.at, state.n / 2,
				q2_io_size(io), &end))
		q2f_violation("M-7", "half a state is taken");
	q2_newimage_free(*image);
	need(q2_newimage_open(io, n, budget, image, &err), &err, "again");
	if (!q2_newimage_restore(*image, (const uint8_t *)state.at, state.n,
				 q2_io_size(io), &end) || end != length)
		q2f_violation("M-7", "its own state is refused, or ends at %llu",
			      (unsigned long long)end);
	q2_buf_free(&state);
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static void fill(struct q2_newimage **image, struct q2_io *io,
		 const struct q2_newimage_opts *n, struct q2_budget *budget,
		 const struct q2f_view *view, uint64_t choice)
{
	size_t cs = (size_t)1 << n->cluster_bits;
	uint64_t clusters = (view->n + cs - 1) / cs, at = choice % clusters;
	uint8_t *bytes = q2f_own(cs);
	struct q2_err err = {0};

	for (uint64_t c = 0; c < clusters; c++) {
		size_t len = (size_t)q2_min(cs, view->n - c * cs);

		memcpy(bytes, view->bytes + c * cs, len);
		memset(bytes + len, 0, cs - len);
		if (c == at)
			stop(image, io, n, budget);
		if (!is_zero(bytes, cs))
			need(q2_newimage_data(*image, c, bytes, UINT32_MAX, 0,
					      &err),
			     &err, "a cluster");
		else if (n->version == 3 && c % 2)
			need(q2_newimage_zero(*image, c, &err), &err, "zeros");
		else if (c % 4 == 0)
			need(q2_newimage_data(*image, c, NULL, UINT32_MAX, 0,
					      &err),
			     &err, "a cluster of zeros");
	}
	if (q2_newimage_data(*image, UINT64_C(1) << 40, NULL, 0, 0, &err) !=
	    Q2_E_RANGE)
		q2f_violation("M-7", "a cluster past the end is taken");
	q2f_own_free(bytes);
}

static void add_bitmap(struct q2_newimage *image, const struct q2f_view *view,
		       uint64_t choice)
{
	struct q2_newbitmap b = {.name = "b", .name_len = 1, .gran = 9,
				 .enabled = choice & 1, .disk_size = view->n,
				 .read = read_bits};
	struct q2_err err = {0};

	expected = (const uint8_t *)"\1\2\4\10\20\40\100";
	bitmap_bytes = (view->n / 512 + 7) / 8;
	need(q2_newimage_bitmap(image, &b, &err), &err, "a bitmap");
}

enum q2_status q2f_fresh_large(struct q2_io *io, unsigned cluster_bits,
			       struct q2_err *err)
{
	const struct q2_newimage_opts n = {.version = 3, .ref_order = 4,
					   .cluster_bits = cluster_bits,
					   .disk_size = 3 << 20};
	size_t cs = (size_t)1 << cluster_bits;
	uint8_t *bytes = q2f_own(cs);
	struct q2_budget budget = {0};
	struct q2_newimage *image;
	enum q2_status st = q2_newimage_open(io, &n, &budget, &image, err);

	memset(bytes, 0x5a, cs);
	for (uint64_t c = 0; c < n.disk_size / cs && st == Q2_OK; c++)
		st = c % 3 == 1 ? q2_newimage_zero(image, c, err) :
				  q2_newimage_data(image, c, bytes, UINT32_MAX,
						   0, err);
	if (st == Q2_OK)
		st = q2_newimage_finish(image, err);
	q2_newimage_free(image);
	q2f_own_free(bytes);
	if (budget.used)
		q2f_violation("I-7", "a large image leaves %llu bytes behind",
			      (unsigned long long)budget.used);
	return st;
}

/* Clusters of zeros, of ones, and of both; a read that fails, if `bad` is not 0. */
static enum q2_status read_more(void *ctx, uint8_t *buf, size_t len,
				uint64_t off, struct q2_err *err)
{
	const uint64_t *bad = ctx;

	if (*bad && off / 512 + 1 >= *bad)
		return q2_fail(err, Q2_E_IO, 5, off, "a read was made to fail");
	memset(buf, off / 512 % 3 == 1 ? 0xff : 0, len);
	if (off / 512 % 3 == 2)
		buf[len / 2] = 0x18;
	return Q2_OK;
}

enum q2_status q2f_fresh_bitmaps(struct q2_io *io, uint64_t bad,
				 struct q2_err *err)
{
	const struct q2_newimage_opts n = {.version = 3, .cluster_bits = 9,
					   .ref_order = 4, .bitmaps = true,
					   .disk_size = (9 << 20) + 512};
	struct q2_newbitmap b = {.name = "b", .name_len = 1, .gran = 9,
				 .disk_size = n.disk_size, .ctx = &bad,
				 .read = read_more};
	struct q2_newbitmap far = {.name = "far", .name_len = 3, .gran = 9,
				   .disk_size = UINT64_C(1) << 50,
				   .ctx = &bad, .read = read_more};
	struct q2_budget budget = {0};
	struct q2_newimage *image;
	enum q2_status st = q2_newimage_open(io, &n, &budget, &image, err);

	if (st == Q2_OK && q2_newimage_bitmap(image, &far, NULL) == Q2_OK)
		q2f_violation("M-7", "a bitmap of 2^41 bits is taken");
	if (st == Q2_OK)
		st = q2_newimage_bitmap(image, &b, err);
	if (st == Q2_OK)
		st = q2_newimage_finish(image, err);
	q2_newimage_free(image);
	if (budget.used)
		q2f_violation("I-7", "a bitmap leaves %llu bytes behind",
			      (unsigned long long)budget.used);
	return st;
}

static void judge(struct q2_io *io, const struct q2f_view *view)
{
	struct q2f_world w = {.file = {{.image = q2_io_memory_bytes(io),
					.size = (size_t)q2_io_size(io)}},
			      .n = 1};
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA};
	struct q2_check_result result;
	struct q2_disk disk = {0};
	struct q2f_view now;

	if (q2_check(io, &opts, &result, NULL) != Q2_OK ||
	    result.verdict != Q2_CLEAN)
		q2f_violation("M-7", "an image that was taken up again is %s",
			      q2_verdict_text(result.verdict));
	if (q2f_world_chain(&w, true, &disk.budget, &disk.chain, NULL) != Q2_OK)
		q2f_violation("M-7", "the result cannot be opened");
	q2f_view_make(&now, &disk);
	if (now.n != view->n || now.n_lost ||
	    memcmp(now.bytes, view->bytes, now.n) != 0)
		q2f_violation("M-7", "an image that was taken up again reads otherwise");
	q2f_view_free(&now);
	q2_chain_close(&disk.chain);
}

void q2f_fresh_by_hand(const struct q2f_view *view,
		       struct q2_newimage_opts n, uint64_t choice)
{
	struct q2_budget budget = {0};
	struct q2_newimage *image;
	struct q2_err err = {0};
	struct q2_io *io;

	n.zstd = false;
	n.bitmaps = n.version == 3;
	refusals(n);
	if (q2_io_memory_rw("", 0, 0, &io, NULL) != Q2_OK)
		q2f_violation("I-7", "no memory");
	need(q2_newimage_open(io, &n, &budget, &image, &err), &err, "opening");
	fill(&image, io, &n, &budget, view, choice);
	if (n.bitmaps)
		add_bitmap(image, view, choice);
	need(q2_newimage_finish(image, &err), &err, "the end");
	if (q2_newimage_length(image) != q2_io_size(io))
		q2f_violation("M-7", "%llu bytes are called %llu",
			      (unsigned long long)q2_io_size(io),
			      (unsigned long long)q2_newimage_length(image));
	q2_newimage_free(image);
	judge(io, view);
	q2_io_close(io);
	if (budget.used)
		q2f_violation("I-7", "a fresh image leaves %llu bytes behind",
			      (unsigned long long)budget.used);
}
