/*
 * raw.c - a raw image: a sparse file, a device, a stream.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/raw.h"

#include "base/err.h"

/* Calls for the runs of blocks of one kind in [at, at + len) of the job: data or
 * zeros, each in order. */
static enum q2_status runs(struct q2_raw_sink *sink, const struct q2_job *job,
			   enum q2_status (*data)(struct q2_raw_sink *sink,
						  const uint8_t *bytes,
						  struct q2_range r,
						  struct q2_err *err),
			   enum q2_status (*zero)(struct q2_raw_sink *sink,
						  struct q2_range r,
						  struct q2_err *err),
			   struct q2_err *err)
{
	const struct q2_part *part = &job->part[0];
	size_t n_blocks = (size_t)(job->len + Q2_BLOCK_SIZE - 1) /
			  Q2_BLOCK_SIZE;
	enum q2_status st = Q2_OK;

	for (size_t i = 0, end; i < n_blocks && st == Q2_OK; i = end) {
		bool set = q2_blocks_has(&part->blocks[i / Q2_CHUNK_BLOCKS],
					 i % Q2_CHUNK_BLOCKS);
		size_t at = i * Q2_BLOCK_SIZE;
		struct q2_range r = {job->at + at, 0};

		for (end = i + 1; end < n_blocks; end++)
			if (q2_blocks_has(&part->blocks[end / Q2_CHUNK_BLOCKS],
					  end % Q2_CHUNK_BLOCKS) != set)
				break;
		r.len = q2_min(end * Q2_BLOCK_SIZE, job->len) - at;
		st = set ? data(sink, part->bytes + at, r, err) :
			   zero(sink, r, err);
	}
	return st;
}

static enum q2_status write_data(struct q2_raw_sink *sink,
				 const uint8_t *bytes, struct q2_range r,
				 struct q2_err *err)
{
	return q2_pwrite(q2_target_io(sink->target), bytes, (size_t)r.len,
			 r.start, err);
}

static enum q2_status write_zero(struct q2_raw_sink *sink, struct q2_range r,
				 struct q2_err *err)
{
	return sink->zeros ? q2_target_zero(sink->target, r, err) : Q2_OK;
}

static enum q2_status append_data(struct q2_raw_sink *sink,
				  const uint8_t *bytes, struct q2_range r,
				  struct q2_err *err)
{
	(void)r;
	return q2_target_append(sink->target, bytes, (size_t)r.len, err);
}

static enum q2_status append_zero(struct q2_raw_sink *sink, struct q2_range r,
				  struct q2_err *err)
{
	return q2_target_zero(sink->target, r, err);
}

static bool raw_share(void *ctx, uint64_t at, struct q2_io *from,
		      struct q2_range host)
{
	struct q2_raw_sink *sink = ctx;
	struct q2_range to = {at, host.len};

	return !sink->zeros &&
	       q2_target_share(sink->target, to, from, host.start);
}

static enum q2_status raw_work(void *ctx, unsigned thread, struct q2_job *job,
			       struct q2_err *err)
{
	struct q2_raw_sink *sink = ctx;
	enum q2_status st;

	(void)thread;
	pthread_mutex_lock(&sink->lock);
	st = runs(sink, job, write_data, write_zero, err);
	pthread_mutex_unlock(&sink->lock);
	return st;
}

static enum q2_status raw_retire(void *ctx, struct q2_job *job,
				 struct q2_err *err)
{
	struct q2_raw_sink *sink = ctx;
	struct q2_range all = {job->at, job->len};
	enum q2_status st = job->kind == Q2_JOB_DATA ?
				    Q2_OK : write_zero(sink, all, err);

	if (st == Q2_OK && sink->journal)
		st = q2_journal_note(sink->journal, sink->target,
				     job->at + job->len, err);
	return st;
}

static enum q2_status stream_retire(void *ctx, struct q2_job *job,
				    struct q2_err *err)
{
	struct q2_raw_sink *sink = ctx;

	if (job->kind == Q2_JOB_DATA)
		return runs(sink, job, append_data, append_zero, err);
	return append_zero(sink, (struct q2_range){job->at, job->len}, err);
}

uint64_t q2_raw_skip(void *ctx, uint64_t at)
{
	const struct q2_raw_sink *sink = ctx;
	uint64_t done = sink->journal ? q2_journal_done(sink->journal) : 0;

	return at < done ? done - at : 0;
}

const struct q2_sink_ops q2_raw_ops = {
	.transient = true,
	.share = raw_share,
	.work = raw_work,
	.retire = raw_retire,
};

const struct q2_sink_ops q2_stream_ops = {
	.retire = stream_retire,
};
