/*
 * t_dump.c - target dump: what a guest reads, written out and read again.
 *
 * SPDX-License-Identifier: MIT
 *
 * M-4 what is measured is enough; M-5 what is read is what the rows of the map name;
 * M-6 ranges are a partition, and what is lost is told, and only then; M-7 the same
 * bytes have the same digest, stored raw or in a fresh image, which a check calls clean.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "t_fresh.h"
#include "world.h"
#include "../tests/support/testio.h"

struct copy {
	const struct q2f_view *want;
	uint8_t *bytes;
	uint8_t *lost; /* by sector */
	uint64_t at;   /* of the next range */
};

/* ------------------------------------------------------------------ guests */

enum q2_status q2f_open_guest(struct q2_guest *g, struct q2f_world *w,
			      bool raw)
{
	const struct q2_policy policy = {.backing = true,
					 .data_files = true,
					 .allow_probe = true,
					 .allow_any = true,
					 .open = q2f_world_open,
					 .ctx = w};
	enum q2_status st;

	*g = (struct q2_guest){0};
	w->opened = 0;
	st = q2_chain_open("image", raw ? Q2_FORMAT_RAW : Q2_FORMAT_QCOW2,
			   &policy, &g->budget, &g->chain, NULL);
	if (st != Q2_OK)
		return st;
	g->keys = q2f_own(g->chain.n * sizeof(struct q2_key *));
	g->view = g->chain;
	g->size = q2_chain_size(&g->view);
	for (unsigned i = 0; i < g->chain.n; i++) {
		q2_map_holes(&g->chain.layers[i]->map, true);
		(void)!q2_guest_sound(g, g->chain.layers[i], NULL);
	}
	return Q2_OK;
}

void q2f_close_guest(struct q2_guest *g)
{
	q2f_own_free(g->keys);
	q2_chain_close(&g->chain);
	if (g->budget.used)
		q2f_violation("I-7", "a guest leaves %llu bytes behind",
			      (unsigned long long)g->budget.used);
}

/* ------------------------------------------------------------------ copying */

static enum q2_status take(void *ctx, struct q2_job *job, struct q2_err *err)
{
	struct copy *c = ctx;

	(void)err;
	if (job->kind != Q2_JOB_DATA)
		return Q2_OK;
	for (size_t at = 0; at < job->len; at += Q2_BLOCK_SIZE) {
		size_t block = at / Q2_BLOCK_SIZE;
		size_t n = (size_t)q2_min(Q2_BLOCK_SIZE, job->len - at);

		if (q2_blocks_has(&job->part[0].blocks[block / Q2_CHUNK_BLOCKS],
				  block % Q2_CHUNK_BLOCKS))
			memcpy(c->bytes + job->at + at,
			       job->part[0].bytes + at, n);
	}
	return Q2_OK;
}

static void on_range(void *ctx, enum q2_range_kind kind, uint64_t guest,
		     uint64_t length, const char *why)
{
	struct copy *c = ctx;

	if (guest != c->at || length == 0 || length > c->want->n - c->at)
		q2f_violation("M-6", "a range of %llu bytes at %llu, after %llu",
			      (unsigned long long)length,
			      (unsigned long long)guest,
			      (unsigned long long)c->at);
	c->at += length;
	if (kind != Q2_RANGE_LOST)
		return;
	if (why == NULL || why[0] == 0)
		q2f_violation("M-6", "a loss without a cause");
	memset(c->lost + guest / 512, 1, (size_t)(length + 511) / 512);
}

/* The digest of the start of the disk, as far as the view goes. */
static struct q2_digest copied(struct q2_guest *g, struct copy *c)
{
	static const struct q2_sink_ops ops = {.retire = take};
	struct q2_read_opts opts = {.threads = 1,
				    .salvage = true,
				    .range = on_range,
				    .ctx = c};
	struct q2_pass s = {.opts = &opts,
			    .guest = {g},
			    .length = c->want->n,
			    .phase = "fuzz",
			    .digest = true,
			    .sink = &ops,
			    .ctx = c};
	struct q2_err err = {0};

	if (q2_pass_run(&s, &err) != Q2_OK)
		q2f_violation("M-6", "salvaging fails: %s", err.text);
	if (c->at != c->want->n)
		q2f_violation("M-6", "the ranges end at %llu of %zu",
			      (unsigned long long)c->at, c->want->n);
	for (size_t i = 0; i < c->want->n / 512; i++)
		if (c->lost[i] != c->want->lost[i])
			q2f_violation("M-6", "sector %zu is %s lost as the map has it",
				      i, c->want->lost[i] ? "" : "not");
	if (memcmp(c->bytes, c->want->bytes, c->want->n) != 0)
		q2f_violation("M-5", "a dump has not what the map names");
	return s.result;
}

static struct q2_digest digest(struct q2_guest *g, uint64_t length,
			       enum q2_status *st)
{
	static const struct q2_sink_ops nothing = {0};
	struct q2_read_opts opts = {.threads = 1};
	struct q2_pass s = {.opts = &opts,
			    .guest = {g},
			    .length = length,
			    .phase = "fuzz",
			    .digest = true,
			    .sink = &nothing};

	*st = q2_pass_run(&s, NULL);
	return s.result;
}

static void same(const struct q2_digest *a, const uint8_t *image, size_t n,
		 uint64_t length, bool raw)
{
	struct q2f_world w = {.file = {{.image = image, .size = n}}, .n = 1};
	struct q2_digest b;
	struct q2_guest g;
	enum q2_status st;

	if (q2f_open_guest(&g, &w, raw) != Q2_OK)
		q2f_violation("M-7", "the result cannot be opened");
	if (g.size != length)
		q2f_violation("M-7", "a disk of %llu bytes became one of %llu",
			      (unsigned long long)length,
			      (unsigned long long)g.size);
	b = digest(&g, length, &st);
	if (st != Q2_OK || memcmp(a, &b, sizeof(b)) != 0)
		q2f_violation("M-7", "the %s result reads otherwise",
			      raw ? "raw" : "QCOW2");
	q2f_close_guest(&g);
}

/* ------------------------------------------------------------ a fresh image */

/* Some form of a fresh image. */
struct q2_newimage_opts q2f_form(uint64_t choice, uint64_t size,
				 enum q2_compress *compress)
{
	struct q2_newimage_opts n = {
		.version = choice & 1 ? 3 : 2,
		.cluster_bits = 9 + (unsigned)(choice >> 1) % 8,
		.ref_order = choice & 1 ? (unsigned)(choice >> 4) % 7 : 4,
		.disk_size = size,
	};

	*compress = (enum q2_compress)((choice >> 7) % 3);
	if (n.version == 2 && *compress == Q2_COMPRESS_ZSTD)
		*compress = Q2_COMPRESS_ZLIB;
	n.zstd = *compress == Q2_COMPRESS_ZSTD;
	n.ext_l2 = n.version == 3 && n.cluster_bits >= 14 && (choice >> 9) & 1;
	return n;
}

/* What is measured is enough for what is written, if nothing is compressed. */
static void judge_measured(struct q2_guest *g, const struct q2_newimage_opts *n,
			   uint64_t length)
{
	const struct q2_measure_opts opts = {
		.version = n->version,
		.cluster_size = UINT64_C(1) << n->cluster_bits,
		.refcount_bits = 1u << n->ref_order,
		.ext_l2 = n->ext_l2};
	struct q2_disk disk = {.chain = g->view};
	struct q2_measure m;

	if (q2_disk_bytes(&disk) == n->disk_size &&
	    q2_disk_measure(&disk, 0, &opts, &m, NULL) == Q2_OK &&
	    length > m.required)
		q2f_violation("M-4", "%llu bytes are measured, %llu written",
			      (unsigned long long)m.required,
			      (unsigned long long)length);
	free(disk.found);
	for (unsigned i = 0; i < g->chain.n; i++)
		q2_map_holes(&g->chain.layers[i]->map, true);
}

static void fresh(struct q2_guest *g, const struct q2f_view *view,
		  const struct q2_digest *d, uint64_t choice)
{
	enum q2_compress compress;
	struct q2_newimage_opts n = q2f_form(choice, view->n, &compress);
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA};
	struct q2_check_result result;
	struct q2f_pack p = {.form = &n, .compress = compress};
	struct q2_err err = {0};
	struct q2_io *io;

	if (q2_io_memory_rw("", 0, 0, &io, NULL) != Q2_OK)
		abort();
	p.io = io;
	if (q2f_pack(g, &p, &err) != Q2_OK)
		q2f_violation("M-7", "a fresh image cannot be written: %s",
			      err.text);
	if (q2_check(io, &opts, &result, NULL) != Q2_OK ||
	    result.verdict != Q2_CLEAN)
		q2f_violation("M-7", "a fresh image of version %u, %u cluster bits, refcount order %u is %s",
			      n.version, n.cluster_bits, n.ref_order,
			      q2_verdict_text(result.verdict));
	same(d, q2_io_memory_bytes(io), (size_t)q2_io_size(io), view->n,
	     false);
	if (compress == Q2_COMPRESS_NONE && q2f_thorough)
		judge_measured(g, &n, p.length);
	q2_io_close(io);
}

/* A bitmap of more than a cluster. */
static void fresh_bitmaps(void)
{
	struct q2_check_opts opts = {0};
	struct q2_check_result result;
	struct q2_err err = {0};
	struct q2_io *io;

	if (q2_io_memory_rw("", 0, 0, &io, NULL) != Q2_OK)
		abort();
	if (q2f_fresh_bitmaps(io, 0, &err) != Q2_OK ||
	    q2_check(io, &opts, &result, NULL) != Q2_OK ||
	    result.verdict != Q2_CLEAN)
		q2f_violation("M-7", "a bitmap is written as %s: %s",
			      q2_verdict_text(result.verdict), err.text);
	q2_io_close(io);
}

static void judge(struct q2_guest *g, const struct q2f_world *w,
		  const struct q2f_view *view, const struct q2f_input *in)
{
	struct copy c = {.want = view,
			 .bytes = q2f_own(view->n + 1),
			 .lost = q2f_own(view->n / 512 + 1)};
	uint64_t choice = in->ctl.pick +
			  q2_hash(in->image,
				  (size_t)q2_min(in->size, 4096));
	struct q2_digest salvaged, strict;
	enum q2_status st;

	salvaged = copied(g, &c);
	strict = digest(g, view->n, &st);
	if ((st == Q2_OK) != (view->n_lost == 0))
		q2f_violation("M-6", "status %d, and %llu bytes are lost",
			      (int)st, (unsigned long long)view->n_lost);
	if (st == Q2_OK && memcmp(&salvaged, &strict, sizeof(strict)) != 0)
		q2f_violation("M-7", "salvaging gives another digest");
	same(&salvaged, view->bytes, view->n, view->n, true);
	fresh(g, view, &salvaged, choice);
	/* Replaying, some other forms. */
	if (q2f_thorough)
		fresh_bitmaps();
	for (unsigned i = 1; i < 4 && q2f_thorough; i++) {
		enum q2_compress compress;

		fresh(g, view, &salvaged, choice * (2 * i + 1) >> i);
		q2f_fresh_by_hand(view, q2f_form(choice >> i, view->n, &compress),
				  choice >> 3);
	}
	if (q2f_sampled(in, 4) && view->n_lost == 0)
		q2f_passes(g, w, view, &salvaged, choice);
	q2f_own_free(c.bytes);
	q2f_own_free(c.lost);
}

/* Writes fail long before the end. */
static void large_fault(uint32_t k, unsigned cluster_bits)
{
	struct q2_err err = {0};
	struct test_io t;
	struct q2_io *io;
	enum q2_status st;
	bool hit;

	if (q2_io_memory_rw("", 0, 0, &io, NULL) != Q2_OK)
		abort();
	test_io_open(&t, io);
	t.faults.fail_at[TEST_WRITE] = k;
	st = q2f_fresh_large(&t.io, cluster_bits, &err);
	hit = t.done[TEST_WRITE] >= k;
	q2f_fault_reached |= hit;
	if ((st == Q2_OK) == hit || (st != Q2_OK && err.code == Q2_OK))
		q2f_violation("M-6", "failure %u of a large image: status %d",
			      k, (int)st);
	q2_io_close(&t.io);
	q2_io_close(io);
}

/* A copy during which something fails: it says so, with a cause. */
static void with_fault(const struct q2f_input *in)
{
	uint64_t choice = in->ctl.pick +
			  q2_hash(in->image,
				  (size_t)q2_min(in->size, 4096));
	enum q2_compress compress;
	struct q2_newimage_opts n;
	struct q2_err err = {0};
	struct test_io t;
	struct q2_guest g;
	struct q2f_world w;
	struct q2_io *io;
	enum q2_status st;

	q2f_world_make(&w, in);
	if (q2_io_memory_rw("", 0, 0, &io, NULL) != Q2_OK)
		abort();
	test_io_open(&t, io);
	t.faults.fail_at[TEST_WRITE] = in->ctl.fail_write;
	t.faults.fail_at[TEST_FLUSH] = in->ctl.fail_write;
	t.faults.fail_at[TEST_RESIZE] = in->ctl.fail_write;
	/* What writes down the operations may not fail. */
	q2f_heap_watch(in->ctl.fail_alloc);
	if (q2f_open_guest(&g, &w, false) == Q2_OK) {
		n = q2f_form(choice, q2_min(g.size, Q2F_VIEW), &compress);
		if (n.disk_size && !q2_guest_encrypted(&g)) {
			struct q2f_pack p = {
				.form = &n,
				.compress = compress,
				.io = in->ctl.fail_alloc ? io : &t.io,
				.stop = in->ctl.stop};

			st = q2f_pack(&g, &p, &err);
			if (st != Q2_OK && err.code == Q2_OK)
				q2f_violation("C-1", "copying: status %d without a cause",
					      (int)st);
			for (unsigned op = 0; op < TEST_OPS; op++) {
				bool hit = in->ctl.fail_write && op &&
					   t.done[op] >= in->ctl.fail_write;

				q2f_fault_reached |= hit;
				if (hit && st == Q2_OK)
					q2f_violation("M-6", "failure %u of kind %u was overlooked",
						      in->ctl.fail_write, op);
			}
		}
		q2f_close_guest(&g);
	}
	st = q2f_fresh_bitmaps(in->ctl.fail_alloc ? io : &t.io,
			       in->ctl.fail_read, &err);
	if (st != Q2_OK && err.code == Q2_OK)
		q2f_violation("C-1", "a bitmap: status %d without a cause",
			      (int)st);
	(void)q2f_heap_done();
	q2_io_close(&t.io);
	q2_io_close(io);
	for (unsigned bits = 9; bits <= 20 && q2f_thorough &&
	     in->ctl.fail_write && in->size / 512 % 4 == 0; bits += 11)
		large_fault(in->ctl.fail_write, bits);
}

int q2f_dump(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	uint64_t before = q2f_heap.blocks;
	struct q2f_world w;
	struct q2f_view view;
	struct q2_guest g;

	/* Faults are not the same in two passes. */
	if (q2f_faulty(&in.ctl)) {
		with_fault(&in);
		return 0;
	}
	q2f_world_make(&w, &in);
	if (q2f_open_guest(&g, &w, false) != Q2_OK)
		return 0;
	q2f_keys(&g, in.ctl.pick);
	if (!q2_guest_encrypted(&g)) {
		struct q2_disk disk = {.chain = g.chain};

		q2f_view_make(&view, &disk);
		for (unsigned i = 0; i < g.chain.n; i++)
			q2_map_holes(&g.chain.layers[i]->map, true);
		if (!view.closed && view.n)
			judge(&g, &w, &view, &in);
		q2f_view_free(&view);
	}
	q2f_close_guest(&g);
	if (q2f_heap.blocks != before)
		q2f_violation("I-7", "dumping leaves %llu blocks behind",
			      (unsigned long long)(q2f_heap.blocks - before));
	return 0;
}
