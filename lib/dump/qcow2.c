/*
 * qcow2.c - from jobs to clusters of a fresh image.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/qcow2.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/hash.h"
#include "dump/fill.h"

#define SUBS 32u

/* What a cluster of a job becomes. */
struct cell {
	enum { CELL_NONE, CELL_ZERO, CELL_DATA, CELL_PACKED } kind;
	bool copied;
	uint32_t alloc; /* subclusters with data */
	uint32_t zero;
	size_t at; /* packed: in `store` */
	size_t len;
};

struct pack {
	struct cell *cells;
	uint8_t *store; /* as large as the job: streams are shorter */
	size_t used;
};

static enum q2_status prepare(void *ctx, struct q2_job *job, struct q2_err *err)
{
	const struct q2_qcow2_sink *sink = ctx;
	size_t n = sink->scan->job_size / sink->cluster;
	struct pack *p = calloc(1, sizeof(*p));

	job->extra = p;
	if (p != NULL)
		p->cells = calloc(n, sizeof(*p->cells));
	if (p != NULL && sink->compress != Q2_COMPRESS_NONE)
		p->store = malloc(sink->scan->job_size);
	if (p == NULL || p->cells == NULL ||
	    (p->store == NULL && sink->compress != Q2_COMPRESS_NONE))
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	return Q2_OK;
}

static void dispose(void *ctx, struct q2_job *job)
{
	struct pack *p = job->extra;

	(void)ctx;
	if (p == NULL)
		return;
	free(p->cells);
	free(p->store);
	free(p);
	job->extra = NULL;
}

bool q2_qcow2_takes(const struct q2_qcow2_sink *sink, const struct q2_guest *g,
		    const struct q2_piece *p)
{
	const struct q2_geom *geom = &g->view.layers[p->depth]->opened.img.geom;

	return p->e.kind == Q2_MAP_COMPRESSED &&
	       sink->compress != Q2_COMPRESS_NONE &&
	       geom->zstd == (sink->compress == Q2_COMPRESS_ZSTD) &&
	       geom->cluster_size == sink->cluster &&
	       (p->e.length == sink->cluster ||
		p->e.guest + p->e.length == g->size);
}

bool q2_sampled(uint64_t job, unsigned percent)
{
	uint64_t of = percent && percent < 100 ? 100 / percent : 1;
	uint64_t group = job / of;

	return job % of == q2_hash(&group, sizeof(group)) % of;
}

/* A stream that can be taken as it is: it was inflated, so it is sound. */
static void packed(void *ctx, struct q2_job *job, size_t at,
		   const struct q2_piece *piece, const struct q2_packed *from)
{
	const struct q2_qcow2_sink *sink = ctx;
	struct pack *p = job->extra;
	struct cell *cell = &p->cells[at / sink->cluster];

	if (!q2_qcow2_takes(sink, sink->scan->guest[0], piece) ||
	    at % sink->cluster || from->len >= sink->cluster ||
	    from->len > sink->scan->job_size - p->used)
		return;
	memcpy(p->store + p->used, from->bytes, from->len);
	cell->kind = CELL_PACKED;
	cell->copied = true;
	cell->at = p->used;
	cell->len = from->len;
	p->used += from->len;
}

static bool block_set(const struct q2_part *part, size_t block)
{
	return q2_blocks_has(&part->blocks[block / Q2_CHUNK_BLOCKS],
			     block % Q2_CHUNK_BLOCKS);
}

/* Whether [at, at + len) of the part is all zeros; its bytes are made valid. */
static bool all_zeros(const struct q2_part *part, size_t at, size_t len)
{
	bool zeros = true;

	if (len < Q2_BLOCK_SIZE)
		return !block_set(part, at / Q2_BLOCK_SIZE) ||
		       q2_zeros(part->bytes + at, len);
	for (size_t b = at / Q2_BLOCK_SIZE; b < (at + len) / Q2_BLOCK_SIZE; b++)
		zeros = zeros && !block_set(part, b);
	return zeros;
}

static void make_valid(const struct q2_job *job, size_t at, size_t len)
{
	const struct q2_part *part = &job->part[0];
	size_t end = at + len;

	for (size_t b = at / Q2_BLOCK_SIZE; b * Q2_BLOCK_SIZE < end; b++) {
		size_t from = b * Q2_BLOCK_SIZE;

		if (!block_set(part, b))
			memset(part->bytes + from, 0, Q2_BLOCK_SIZE);
	}
	/* The last cluster may reach past the disk's end. */
	if (end > job->len)
		memset(part->bytes + job->len, 0, end - (size_t)job->len);
}

static void subclusters(const struct q2_qcow2_sink *sink,
			const struct q2_part *part, size_t at,
			struct cell *cell)
{
	size_t sub = sink->cluster / SUBS;

	cell->alloc = cell->zero = 0;
	for (unsigned i = 0; i < SUBS; i++) {
		if (!q2_zeros(part->bytes + at + i * sub, sub))
			cell->alloc |= UINT32_C(1) << i;
		else if (sink->scan->below)
			cell->zero |= UINT32_C(1) << i;
	}
}

static void one(struct q2_qcow2_sink *sink, unsigned thread,
		struct q2_job *job, size_t at)
{
	struct pack *p = job->extra;
	struct cell *cell = &p->cells[at / sink->cluster];
	struct q2_part *part = &job->part[0];
	size_t room;

	if (sink->scan->below && !q2_job_kept(job, at / sink->cluster)) {
		cell->kind = CELL_NONE;
		return;
	}
	if (all_zeros(part, at, sink->cluster)) {
		cell->kind = sink->scan->below ? CELL_ZERO : CELL_NONE;
		/* Version 2 has no other zeros. */
		if (cell->kind == CELL_ZERO && sink->version == 2)
			cell->kind = CELL_DATA;
		if (cell->kind == CELL_DATA)
			make_valid(job, at, sink->cluster);
		return;
	}
	if (cell->kind == CELL_PACKED)
		return;
	make_valid(job, at, sink->cluster);
	cell->kind = CELL_DATA;
	if (sink->compress != Q2_COMPRESS_NONE) {
		room = (size_t)q2_min(sink->cluster - 1,
				      sink->scan->job_size - p->used);
		cell->len = q2_pack(sink->packers[thread], part->bytes + at,
				    sink->cluster, p->store + p->used, room);
		cell->at = p->used;
		p->used += cell->len;
		if (cell->len)
			cell->kind = CELL_PACKED;
	}
	if (cell->kind == CELL_DATA && sink->ext_l2)
		subclusters(sink, part, at, cell);
}

static enum q2_status work(void *ctx, unsigned thread, struct q2_job *job,
			   struct q2_err *err)
{
	struct q2_qcow2_sink *sink = ctx;

	(void)err;
	for (size_t at = 0; at < job->len; at += sink->cluster)
		one(sink, thread, job, at);
	return Q2_OK;
}

static enum q2_status put(struct q2_qcow2_sink *sink, uint64_t cluster,
			  const struct q2_job *job, const struct cell *cell,
			  size_t at, struct q2_err *err)
{
	const struct pack *p = job->extra;

	switch (cell->kind) {
	case CELL_DATA:
		sink->plain++;
		return q2_newimage_data(sink->image, cluster,
					job->part[0].bytes + at, cell->alloc,
					cell->zero, err);
	case CELL_PACKED:
		sink->copied += cell->copied;
		sink->stream_bytes += cell->len;
		return q2_newimage_compressed(sink->image, cluster,
					      p->store + cell->at, cell->len,
					      err);
	case CELL_ZERO:
		return q2_newimage_zero(sink->image, cluster, err);
	default:
		return Q2_OK;
	}
}

/* Zeros without data come as one job, however many there are. */
static enum q2_status retire_zeros(struct q2_qcow2_sink *sink,
				   const struct q2_job *job,
				   struct q2_err *err)
{
	uint64_t end = q2_div_up(job->at + job->len, sink->cluster);
	enum q2_status st = Q2_OK;

	for (uint64_t c = job->at / sink->cluster; c < end && st == Q2_OK; c++)
		st = sink->version == 2 ?
			q2_newimage_data(sink->image, c, NULL, 0, 0, err) :
			q2_newimage_zero(sink->image, c, err);
	return st;
}

uint64_t q2_qcow2_skip(void *ctx, uint64_t at)
{
	const struct q2_qcow2_sink *sink = ctx;
	size_t size = sink->scan->job_size;
	uint64_t done = sink->journal ? q2_journal_done(sink->journal) : 0;

	if (at < done)
		return done - at;
	return q2_sampled(at / size, sink->percent) ? 0 : size;
}

/* Only where a run that goes on would begin a job, too. */
static enum q2_status note(struct q2_qcow2_sink *sink, uint64_t done,
			   struct q2_err *err)
{
	struct q2_buf state = {0};
	enum q2_status st;

	if (sink->journal == NULL || done % sink->scan->job_size ||
	    !q2_journal_due(sink->journal, done,
			    q2_newimage_state(sink->image)))
		return Q2_OK;
	st = q2_newimage_save(sink->image, &state, err);
	if (st == Q2_OK)
		st = q2_journal_keep(sink->journal, sink->target, done,
				     (const uint8_t *)state.at, state.n, err);
	q2_buf_free(&state);
	return st;
}

static enum q2_status retire(void *ctx, struct q2_job *job, struct q2_err *err)
{
	struct q2_qcow2_sink *sink = ctx;
	struct pack *p = job->extra;
	enum q2_status st = Q2_OK;

	if (job->kind == Q2_JOB_ZERO)
		return retire_zeros(sink, job, err);
	if (job->kind == Q2_JOB_GAP)
		return Q2_OK;
	for (size_t at = 0; at < job->len && st == Q2_OK; at += sink->cluster)
		st = put(sink, (job->at + at) / sink->cluster, job,
			 &p->cells[at / sink->cluster], at, err);
	memset(p->cells, 0,
	       sink->scan->job_size / sink->cluster * sizeof(*p->cells));
	p->used = 0;
	return st == Q2_OK ? note(sink, job->at + job->len, err) : st;
}

const struct q2_sink_ops q2_qcow2_ops = {
	.prepare = prepare,
	.dispose = dispose,
	.packed = packed,
	.work = work,
	.retire = retire,
};
