/*
 * forecast_flatten.c - how large one image made of a whole chain will be.
 *
 * SPDX-License-Identifier: MIT
 *
 * The tables tell the most that there can be: each cluster that has data anywhere
 * is stored in full.  What is all zeros, and how well the rest compresses, only
 * reading tells: then it is the dump itself that runs, but writes nothing.
 */
#include <string.h>

#include "base/err.h"
#include "dump/dump.h"
#include "dump/fill.h"
#include "dump/pack.h"
#include "dump/qcow2.h"

#define TICK 1024u /* pieces between two calls of the progress function */

struct counting {
	struct q2_guest *guest;
	const struct q2_dump_opts *opts;
	struct q2_flatten_cost *cost;
	struct q2_qcow2_sink sink; /* what a dump would take as it is */
	struct q2_newimage *image; /* nothing is written; NULL: raw */
	uint64_t cs;	/* of the new image; of a raw one: of the file system */
	uint64_t next;	/* clusters before were counted */
	uint64_t seen;	/* of those counted, in jobs that were looked at */
	size_t job;	/* bytes of a job; 0: none */
	unsigned percent;
	uint32_t pieces;
};

/* Clusters up to the one before `end` are stored in full. */
static enum q2_status count_plain(struct counting *c, uint64_t at,
				  uint64_t end, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (; at < end && st == Q2_OK; at++) {
		c->cost->tables_data += c->cs;
		if (c->job && q2_sampled(at * c->cs / c->job, c->percent))
			c->seen++;
		if (c->image)
			st = q2_newimage_data(c->image, at, NULL, 0, 0, err);
	}
	return st;
}

static enum q2_status count_stream(struct counting *c, uint64_t at,
				   const struct q2_piece *p,
				   struct q2_err *err)
{
	uint64_t len = q2_min(p->e.stored, c->cs - 1);

	c->cost->tables_data += c->cs;
	c->cost->verbatim += len;
	if (c->job && q2_sampled(at * c->cs / c->job, c->percent))
		c->seen++;
	return q2_newimage_compressed(c->image, at, NULL, (size_t)len, err);
}

static enum q2_status count_piece(struct counting *c, const struct q2_piece *p,
				  struct q2_err *err)
{
	uint64_t at = p->e.guest / c->cs;
	uint64_t end = q2_div_up(p->e.guest + p->e.length, c->cs);
	enum q2_status st;

	if (!q2_piece_to_read(c->guest, p))
		return Q2_OK;
	if (p->e.kind == Q2_MAP_UNREADABLE)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "'%.100s' cannot be read at guest offset %llu; "
			       "qcow2-fsck tells more",
			       c->guest->view.layers[p->depth]->path,
			       (unsigned long long)p->e.guest);
	at = q2_max(at, c->next);
	/* Where narrow refcounts keep streams apart, shorter ones may take more
	 * room than longer ones: those count in full. */
	if (c->image && at < end && p->e.guest % c->cs == 0 &&
	    q2_dump_image(c->opts, 0).ref_order >= 4 &&
	    q2_qcow2_takes(&c->sink, c->guest, p))
		st = count_stream(c, at, p, err);
	else
		st = count_plain(c, at, end, err);
	c->next = q2_max(c->next, end);
	return st;
}

static enum q2_status tick(struct counting *c, uint64_t at, struct q2_err *err)
{
	const struct q2_read_opts *o = &c->opts->scan;
	struct q2_progress p = {"looking", at, c->guest->size};

	if (++c->pieces % TICK || !o->progress || !o->progress(o->ctx, &p))
		return Q2_OK;
	return q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET, "interrupted");
}

static enum q2_status count_all(struct counting *c, struct q2_err *err)
{
	uint64_t size = c->guest->size;
	enum q2_status st = Q2_OK;

	for (uint64_t at = 0; at < size && st == Q2_OK;) {
		struct q2_piece p;

		q2_guest_at(c->guest, at, size - at, &p);
		st = count_piece(c, &p, err);
		at += p.e.length;
		if (st == Q2_OK)
			st = tick(c, at, err);
	}
	return st;
}

/* What the tables alone tell. */
static enum q2_status look(struct counting *c, struct q2_err *err)
{
	struct q2_flatten_cost *cost = c->cost;
	struct q2_newimage_opts n = q2_dump_image(c->opts, c->guest->size);
	enum q2_status st = Q2_OK;

	c->cs = 4096;
	if (c->opts->format == Q2_DUMP_QCOW2) {
		c->sink.cluster = (size_t)1 << n.cluster_bits;
		c->sink.compress = c->opts->compress;
		st = q2_newimage_open(NULL, &n, &c->guest->budget, &c->image,
				      err);
		c->cs = c->sink.cluster;
	}
	if (st == Q2_OK)
		st = count_all(c, err);
	if (st == Q2_OK && c->image)
		st = q2_newimage_finish(c->image, err);
	cost->bound = c->image ? q2_newimage_length(c->image) :
				 cost->tables_data;
	q2_newimage_free(c->image);
	c->image = NULL;
	return st;
}

/* From the part of the data that was read to all of it. */
static uint64_t scaled(const struct counting *c, uint64_t n)
{
	uint64_t all = c->cost->tables_data / c->cs;

	if (c->seen == 0 || all == c->seen)
		return n;
	return (uint64_t)((double)n * (double)all / (double)c->seen);
}

static uint64_t estimate(const struct counting *c, const struct q2_dump_run *d)
{
	const struct q2_flatten_cost *cost = c->cost;
	uint64_t streams = scaled(c, d->sums.stream_bytes);
	uint64_t clusters = scaled(c, d->sums.plain) +
			    q2_div_up(streams, c->cs);
	uint64_t meta = cost->bound - q2_min(cost->bound, cost->tables_data);

	if (c->opts->format == Q2_DUMP_RAW)
		return q2_min(cost->bound, scaled(c, cost->data));
	return q2_min(cost->bound, meta + clusters * c->cs);
}

struct raw_pass {
	struct q2_pass pass;
	unsigned percent;
};

static uint64_t raw_skip(void *ctx, uint64_t at)
{
	const struct raw_pass *r = ctx;

	return q2_sampled(at / r->pass.job_size, r->percent) ?
		       0 : r->pass.job_size;
}

static enum q2_status read_raw(struct q2_dump_run *d, struct q2_err *err)
{
	static const struct q2_sink_ops nothing = {0};
	struct raw_pass r = {.pass = q2_dump_scan(d), .percent = d->percent};
	enum q2_status st;

	r.pass.sink = &nothing;
	r.pass.ctx = &r;
	r.pass.skip = raw_skip;
	st = q2_pass_run(&r.pass, err);
	d->result->data = r.pass.data;
	d->sums.job = r.pass.job_size;
	return st;
}

static enum q2_status judge(const struct q2_dump_opts *o, struct q2_err *err)
{
	unsigned bits = o->refcount_bits;

	if (bits > 64 || (bits & (bits - 1)) != 0)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "refcounts have 1, 2, 4, 8, 16, 32 or 64 bits");
	if (!q2_pack_level_ok(o->compress, o->level))
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "no such level of compression");
	return Q2_OK;
}

enum q2_status q2_forecast_flatten(struct q2_guest *guest,
				   const struct q2_dump_opts *opts,
				   unsigned percent,
				   struct q2_flatten_cost *cost,
				   struct q2_err *err)
{
	struct q2_dump_result result = {.size = guest->size};
	struct q2_dump_run d = {.guest = guest,
				.opts = opts,
				.result = &result,
				.length = guest->size,
				.percent = percent};
	struct counting c = {.guest = guest,
			     .opts = opts,
			     .cost = cost,
			     .percent = percent};
	enum q2_status st = judge(opts, err);

	*cost = (struct q2_flatten_cost){.disk = guest->size,
					 .percent = percent};
	if (st == Q2_OK && percent)
		st = opts->format == Q2_DUMP_RAW ? read_raw(&d, err) :
						   q2_dump_qcow2(&d, err);
	c.job = d.sums.job;
	cost->data = result.data;
	if (st == Q2_OK)
		st = look(&c, err);
	if (st != Q2_OK)
		return st;
	cost->looked_at = c.seen * c.cs;
	cost->exact = percent >= 100;
	cost->estimate = percent && !cost->exact &&
			 (c.seen || cost->tables_data == 0);
	if (cost->exact)
		cost->length = opts->format == Q2_DUMP_RAW ? result.data :
							     d.sums.length;
	else if (cost->estimate)
		cost->length = estimate(&c, &d);
	return Q2_OK;
}
