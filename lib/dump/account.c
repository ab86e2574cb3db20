/*
 * account.c - what is learnt from a job that is done.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/fill.h"

static void tell(const struct q2_pass *s, enum q2_range_kind kind, uint64_t at,
		 uint64_t end, const char *why)
{
	if (at < end)
		s->opts->range(s->opts->ctx, kind, s->start + at, end - at, why);
}

/* Data and zeros between two losses, [at, end) of the job. */
static void tell_blocks(const struct q2_pass *s, const struct q2_job *job,
			uint64_t at, uint64_t end)
{
	while (at < end) {
		size_t block = (size_t)(at / Q2_BLOCK_SIZE);
		const struct q2_blocks *b =
			&job->part[0].blocks[block / Q2_CHUNK_BLOCKS];
		size_t i = block % Q2_CHUNK_BLOCKS, n;
		bool data = q2_blocks_has(b, i);
		uint64_t to;

		for (n = 1; i + n < Q2_CHUNK_BLOCKS &&
			    q2_blocks_has(b, i + n) == data; n++)
			;
		to = q2_min(end, (uint64_t)(block + n) * Q2_BLOCK_SIZE);
		tell(s, data ? Q2_RANGE_DATA : Q2_RANGE_ZERO, job->at + at,
		     job->at + to, NULL);
		at = to;
	}
}

static void tell_ranges(const struct q2_pass *s, const struct q2_job *job)
{
	uint64_t at = 0;

	if (job->kind != Q2_JOB_DATA) {
		tell(s, Q2_RANGE_ZERO, job->at, job->at + job->len, NULL);
		return;
	}
	for (size_t i = 0; i < job->n_losses; i++) {
		const struct q2_loss *l = &job->losses[i];
		uint64_t from = l->guest - s->start - job->at;

		tell_blocks(s, job, at, from);
		at = from + l->length;
		tell(s, Q2_RANGE_LOST, job->at + from, job->at + at, l->why);
	}
	tell_blocks(s, job, at, job->len);
}

static void sum(struct q2_pass *s, const struct q2_job *job)
{
	for (size_t i = 0; i < job->n_losses; i++)
		s->lost += job->losses[i].length;
	for (size_t c = 0; c * Q2_CHUNK_SIZE < job->len; c++)
		for (size_t i = 0; i < Q2_CHUNK_BLOCKS / 64; i++)
			s->data += Q2_BLOCK_SIZE *
				(uint64_t)__builtin_popcountll(
					job->part[0].blocks[c].bits[i]);
}

static void digest(struct q2_pass *s, const struct q2_job *job)
{
	for (size_t c = 0; c * Q2_CHUNK_SIZE < job->len; c++) {
		uint64_t at = job->at + c * Q2_CHUNK_SIZE;

		if (!job->has_digest[c])
			continue;
		q2_digest_add(&s->disk, at >> Q2_CHUNK_BITS, &job->digest[c]);
		if (s->opts->chunk)
			s->opts->chunk(s->opts->ctx, s->start + at,
				       q2_min(Q2_CHUNK_SIZE, s->length - at),
				       &job->digest[c]);
	}
}

void q2_job_account(struct q2_pass *s, const struct q2_job *job)
{
	if (job->kind == Q2_JOB_DATA) {
		sum(s, job);
		digest(s, job);
	}
	if (s->opts->range)
		tell_ranges(s, job);
}
