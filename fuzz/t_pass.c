/*
 * t_pass.c - passes over a guest besides the plain ones of target dump.
 *
 * SPDX-License-Identifier: MIT
 *
 * M-7 two guests with the same bytes are the same, side by side; a part that is
 * skipped and recalled has the digest that it had; what is shared is what is read; a
 * fresh image over what is kept reads as the whole chain did; and an image that is not
 * written has the length of the one that is.
 */
#include <string.h>

#include "t_fresh.h"

enum q2_status q2f_pack(struct q2_guest *g, struct q2f_pack *p,
			struct q2_err *err)
{
	const struct q2_newimage_opts *n = p->form;
	uint32_t stop = p->stop;
	struct q2_read_opts opts = {.threads = 2, .salvage = true,
				    .progress = q2f_stops, .ctx = &stop};
	struct q2_pass s = {.opts = &opts,
			    .guest = {g},
			    .length = n->disk_size,
			    .phase = "fuzz",
			    .below = p->below,
			    .sink = &q2_qcow2_ops,
			    .cluster = (size_t)1 << n->cluster_bits};
	struct q2_qcow2_sink sink = {.scan = &s,
				     .version = n->version,
				     .cluster = s.cluster,
				     .ext_l2 = n->ext_l2,
				     .percent = p->percent,
				     .compress = p->compress};
	enum q2_status st = q2_newimage_open(p->io, n, &g->budget, &sink.image,
					     err);

	s.ctx = &sink;
	s.skip = p->percent ? q2_qcow2_skip : NULL;
	if (st == Q2_OK && p->compress != Q2_COMPRESS_NONE)
		st = q2_packer_new(p->compress, 0, &sink.packers[0], err);
	if (st == Q2_OK)
		st = q2_pass_run(&s, err);
	if (st == Q2_OK)
		st = q2_newimage_finish(sink.image, err);
	if (st == Q2_OK)
		p->length = q2_newimage_length(sink.image);
	q2_packer_free(sink.packers[0]);
	q2_newimage_free(sink.image);
	return st;
}

static void need(enum q2_status st, const struct q2_err *err, const char *what)
{
	if (st != Q2_OK)
		q2f_violation("M-7", "%s: %s", what, err->text);
}

/* ---------------------------------------------------------------- two sides */

static const uint8_t *block_of(const struct q2_part *part, size_t at)
{
	static const uint8_t zeros[Q2_BLOCK_SIZE];
	size_t block = at / Q2_BLOCK_SIZE;

	return q2_blocks_has(&part->blocks[block / Q2_CHUNK_BLOCKS],
			     block % Q2_CHUNK_BLOCKS) ?
		       part->bytes + at : zeros;
}

static enum q2_status compare(void *ctx, unsigned thread, struct q2_job *job,
			      struct q2_err *err)
{
	(void)ctx;
	(void)thread;
	(void)err;
	for (size_t at = 0; at < job->len; at += Q2_BLOCK_SIZE)
		if (memcmp(block_of(&job->part[0], at),
			   block_of(&job->part[1], at),
			   (size_t)q2_min(Q2_BLOCK_SIZE, job->len - at)))
			q2f_violation("M-7", "two sides differ at %llu",
				      (unsigned long long)(job->at + at));
	return Q2_OK;
}

/* The guest beside its own bytes, of which the last ones may be missing: what is not
 * there reads as zeros, which are looked at no more. */
static void two_sides(struct q2_guest *g, const struct q2f_view *view,
		      uint64_t choice)
{
	static const struct q2_sink_ops ops[] = {
		{.work = compare}, {.work = compare, .transient = true}};
	struct q2f_world raw = {.file = {{.image = view->bytes,
					  .size = view->n}}, .n = 1};
	struct q2_read_opts opts = {.threads = 1};
	struct q2_pass s = {.opts = &opts,
			    .length = view->n,
			    .phase = "fuzz",
			    .gap_max = choice & 2 ? 4096 : 0,
			    .sink = &ops[choice & 1]};
	struct q2_err err = {0};
	struct q2_guest other;

	while (choice & 4 && raw.file[0].size > 512 &&
	       view->bytes[raw.file[0].size - 1] == 0)
		raw.file[0].size--;
	if (q2f_open_guest(&other, &raw, true) != Q2_OK)
		return;
	s.guest[choice >> 3 & 1] = g;
	s.guest[~choice >> 3 & 1] = &other;
	need(q2_pass_run(&s, &err), &err, "comparing");
	q2f_close_guest(&other);
}

/* ------------------------------------------------------- skipped, and shared */

#define CHUNKS (Q2F_VIEW / Q2_CHUNK_SIZE + 1)

struct part {
	bool has[CHUNKS];
	struct q2_digest digest[CHUNKS];
	uint64_t told; /* of these */
	uint64_t end;  /* of what is skipped, in bytes */
	uint8_t *bytes; /* what was shared is put here */
	bool refuse;	/* to share */
};

static enum q2_status collect(void *ctx, struct q2_job *job, struct q2_err *err)
{
	struct part *p = ctx;

	(void)err;
	for (size_t i = 0; i < Q2_JOB_CHUNKS &&
			   job->at / Q2_CHUNK_SIZE + i < CHUNKS; i++)
		if (job->kind == Q2_JOB_DATA && job->has_digest[i] &&
		    i * Q2_CHUNK_SIZE < job->len) {
			p->has[job->at / Q2_CHUNK_SIZE + i] = true;
			p->digest[job->at / Q2_CHUNK_SIZE + i] = job->digest[i];
		}
	return Q2_OK;
}

static uint64_t skip(void *ctx, uint64_t at)
{
	const struct part *p = ctx;

	return at < p->end ? p->end - at : 0;
}

static bool recall(void *ctx, uint64_t *number, struct q2_digest *digest)
{
	struct part *p = ctx;

	while (p->told < CHUNKS && p->told * Q2_CHUNK_SIZE < p->end) {
		*number = p->told++;
		if (p->has[*number]) {
			*digest = p->digest[*number];
			return true;
		}
	}
	return false;
}

static void skipped(struct q2_guest *g, uint64_t length,
		    const struct q2_digest *want, uint64_t choice)
{
	static const struct q2_sink_ops ops = {.retire = collect};
	struct q2_read_opts opts = {.threads = 1};
	struct part p = {.end = 0};

	for (unsigned i = 0; i < 2; i++) {
		struct q2_pass s = {.opts = &opts,
				    .guest = {g},
				    .length = length,
				    .phase = "fuzz",
				    .digest = true,
				    .gap_max = choice & 1 ? 65536 : 0,
				    .skip = i ? skip : NULL,
				    .recall = i ? recall : NULL,
				    .sink = &ops,
				    .ctx = &p};
		struct q2_err err = {0};

		need(q2_pass_run(&s, &err), &err, "skipping");
		if (memcmp(&s.result, want, sizeof(*want)) != 0)
			q2f_violation("M-7", "run %u has another digest", i);
		p.end = choice & 2 ? length : 0;
	}
}

static bool share(void *ctx, uint64_t at, struct q2_io *from,
		  struct q2_range host)
{
	struct part *p = ctx;

	return !p->refuse && q2_pread_zero(from, p->bytes + at,
					   (size_t)host.len, host.start,
					   NULL) == Q2_OK;
}

static enum q2_status place(void *ctx, struct q2_job *job, struct q2_err *err)
{
	struct part *p = ctx;

	(void)err;
	for (size_t at = 0; job->kind == Q2_JOB_DATA && at < job->len;
	     at += Q2_BLOCK_SIZE) {
		const uint8_t *from = block_of(&job->part[0], at);

		if (from == job->part[0].bytes + at)
			memcpy(p->bytes + job->at + at, from,
			       (size_t)q2_min(Q2_BLOCK_SIZE, job->len - at));
	}
	return Q2_OK;
}

static void shared(struct q2_guest *g, const struct q2f_view *view,
		   uint64_t choice)
{
	static const struct q2_sink_ops ops = {.retire = place, .share = share};
	struct q2_read_opts opts = {.threads = 1};
	struct part p = {.bytes = q2f_own(view->n + Q2_BLOCK_SIZE),
			 .refuse = choice & 1};
	struct q2_pass s = {.opts = &opts,
			    .guest = {g},
			    .length = view->n,
			    .phase = "fuzz",
			    .sink = &ops,
			    .ctx = &p};
	struct q2_err err = {0};

	need(q2_pass_run(&s, &err), &err, "sharing");
	if (memcmp(p.bytes, view->bytes, view->n) != 0)
		q2f_violation("M-7", "what is shared is not what is read");
	q2f_own_free(p.bytes);
}

/* -------------------------------------------------------------- kept backing */

static bool has_data_files(const struct q2_chain *c)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->layers[i]->data)
			return true;
	return false;
}

static void reads_as(struct q2f_world *w, uint64_t length,
		     const struct q2_digest *want)
{
	static const struct q2_sink_ops nothing = {0};
	struct q2_read_opts opts = {.threads = 1};
	struct q2_pass s = {.opts = &opts,
			    .length = length,
			    .phase = "fuzz",
			    .digest = true,
			    .sink = &nothing};
	struct q2_err err = {0};
	struct q2_guest g;

	need(q2f_open_guest(&g, w, false), &err, "opening what is over a file");
	s.guest[0] = &g;
	need(q2_pass_run(&s, &err), &err, "reading what is over a file");
	if (g.size != length || memcmp(&s.result, want, sizeof(*want)) != 0)
		q2f_violation("M-7", "over what is kept it reads otherwise");
	q2f_close_guest(&g);
}

/* The upper layers only, into an image over the others. */
static void kept(struct q2_guest *g, const struct q2f_world *w,
		 uint64_t length, const struct q2_digest *want, uint64_t choice)
{
	uint32_t below = 1 + (uint32_t)(choice % (g->chain.n - 1));
	enum q2_compress compress;
	struct q2_newimage_opts n = q2f_form(choice, length, &compress);
	struct q2f_pack p = {.form = &n, .compress = compress, .below = below};
	struct q2f_world over = {.n = 1};
	struct q2_err err = {0};
	const uint8_t *bytes;
	struct q2_io *io;

	n.backing = "base";
	n.backing_format = g->chain.layers[below]->raw ? "raw" : "qcow2";
	if (q2_io_memory_rw("", 0, 0, &io, NULL) != Q2_OK)
		return;
	p.io = io;
	need(q2f_pack(g, &p, &err), &err, "writing over a file");
	bytes = q2_io_memory_bytes(io);
	over.file[0] = (struct q2f_input){.image = bytes,
					  .size = (size_t)q2_io_size(io)};
	for (unsigned i = below; i < w->n && i < g->chain.n; i++)
		over.file[over.n++] = w->file[i];
	reads_as(&over, length, want);
	q2_io_close(io);
}

/* ---------------------------------------------------------------- not written */

static void only_length(struct q2_guest *g, uint64_t length, uint64_t choice)
{
	enum q2_compress compress;
	struct q2_newimage_opts n = q2f_form(choice, length, &compress);
	struct q2f_pack a = {.form = &n, .compress = compress}, b = a;
	struct q2_err err = {0};

	need(q2f_pack(g, &a, &err), &err, "measuring");
	b.percent = choice & 1 ? 100 : 40;
	need(q2f_pack(g, &b, &err), &err, "sampling");
	if (b.length > a.length || (b.percent == 100 && b.length != a.length))
		q2f_violation("M-7", "%u in a hundred make %llu bytes, all %llu",
			      b.percent, (unsigned long long)b.length,
			      (unsigned long long)a.length);
	if (q2_io_memory_rw("", 0, 0, &b.io, NULL) != Q2_OK)
		return;
	b.percent = 0;
	need(q2f_pack(g, &b, &err), &err, "writing");
	if (b.length != a.length)
		q2f_violation("M-7", "%llu bytes are expected, and %llu written",
			      (unsigned long long)a.length,
			      (unsigned long long)b.length);
	q2_io_close(b.io);
}

void q2f_passes(struct q2_guest *g, const struct q2f_world *w,
		const struct q2f_view *view, const struct q2_digest *want,
		uint64_t choice)
{
	for (unsigned i = 0; i < (q2f_thorough ? 2 : 1); i++) {
		two_sides(g, view, choice + 5 * i);
		skipped(g, view->n, want, choice + 3 * i);
		shared(g, view, choice + i);
		only_length(g, view->n, choice + 7 * i);
		if (g->chain.n > 1 && w->n >= g->chain.n &&
		    !has_data_files(&g->chain))
			kept(g, w, view->n, want, choice + i);
	}
}
