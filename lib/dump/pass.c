/*
 * pass.c - jobs out, jobs in: the loop of the caller's thread.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/pass.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "dump/fill.h"

/* Memory for jobs and readers, besides what the maps take. */
#define ROOM ((size_t)40 << 20)
/* What is only passed on: so little stays in a processor's own cache until then. */
#define PASSED_ON ((size_t)256 << 10)

static size_t sides(const struct q2_pass *s)
{
	return s->guest[1] ? 2 : 1;
}

static size_t job_size(const struct q2_pass *s)
{
	size_t least = s->digest || !s->sink->transient ? Q2_CHUNK_SIZE :
							  PASSED_ON;
	size_t size = s->cluster;

	for (size_t i = 0; i < sides(s); i++)
		if (q2_guest_cluster(s->guest[i]) > size)
			size = q2_guest_cluster(s->guest[i]);
	return size > least ? size : least;
}

unsigned q2_pass_threads(const struct q2_pass *s)
{
	long there = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t n = s->opts->threads ? s->opts->threads :
		     there > 0 ? (uint64_t)there : 1;
	/* A thread has two or three jobs, what it reads into, and what it packs
	 * into. */
	size_t each = 5 * job_size(s) * sides(s) + s->thread_room;

	return (unsigned)q2_max(1, q2_min(q2_min(n, Q2_CREW_MAX),
					  ROOM / each));
}

static void work(void *ctx, unsigned thread, size_t slot)
{
	struct q2_pass *s = ctx;
	struct q2_job *job = &s->team.jobs[slot];

	if (job->kind != Q2_JOB_DATA)
		return;
	for (size_t side = 0; s->sink->transient && side < sides(s); side++)
		job->part[side].bytes = s->team.bytes[thread][side];
	q2_job_read(s, thread, job);
	if (job->status == Q2_OK && s->sink->work)
		job->status = s->sink->work(s->ctx, thread, job, &job->err);
}

static enum q2_status get_bytes(const struct q2_pass *s, uint8_t **bytes,
				struct q2_err *err)
{
	void *block;

	if (posix_memalign(&block, 4096, s->job_size) != 0)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	*bytes = block;
	return Q2_OK;
}

static enum q2_status make_job(struct q2_pass *s, struct q2_job *job,
			       struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (size_t side = 0; side < sides(s) && !s->sink->transient &&
	     st == Q2_OK; side++)
		st = get_bytes(s, &job->part[side].bytes, err);
	if (st != Q2_OK)
		return st;
	return s->sink->prepare ? s->sink->prepare(s->ctx, job, err) : Q2_OK;
}

static void drop_job(struct q2_pass *s, struct q2_job *job)
{
	if (s->sink->dispose)
		s->sink->dispose(s->ctx, job);
	for (size_t side = 0; side < 2; side++) {
		if (!s->sink->transient)
			free(job->part[side].bytes);
		free(job->part[side].pieces);
	}
	free(job->losses);
}

static enum q2_status make_thread(struct q2_pass *s, unsigned t,
				  struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (size_t side = 0; side < sides(s) && st == Q2_OK; side++) {
		st = q2_reader_new(s->guest[side], &s->team.readers[t][side],
				   err);
		if (st == Q2_OK && s->sink->transient)
			st = get_bytes(s, &s->team.bytes[t][side], err);
	}
	return st;
}

static enum q2_status prepare(struct q2_pass *s, unsigned threads,
			      struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	s->team.n_jobs = s->sink->transient ? Q2_CREW_SLOTS / 2 :
						  2 * (size_t)threads + 1;
	s->team.jobs = calloc(s->team.n_jobs, sizeof(*s->team.jobs));
	if (s->team.jobs == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	for (size_t i = 0; i < s->team.n_jobs && st == Q2_OK; i++)
		st = make_job(s, &s->team.jobs[i], err);
	for (unsigned t = 0; t < threads && st == Q2_OK; t++)
		st = make_thread(s, t, err);
	return st;
}

static void clean_up(struct q2_pass *s)
{
	for (size_t i = 0; s->team.jobs != NULL && i < s->team.n_jobs; i++)
		drop_job(s, &s->team.jobs[i]);
	free(s->team.jobs);
	s->team.jobs = NULL;
	for (unsigned t = 0; t < Q2_CREW_MAX; t++)
		for (unsigned side = 0; side < 2; side++) {
			q2_reader_free(s->team.readers[t][side]);
			s->team.readers[t][side] = NULL;
			free(s->team.bytes[t][side]);
			s->team.bytes[t][side] = NULL;
		}
	q2_digest_free(&s->disk);
}

static enum q2_status tell(struct q2_pass *s, struct q2_err *err)
{
	struct q2_progress p = {s->phase, s->done, s->length};

	if (s->opts->progress && s->opts->progress(s->opts->ctx, &p))
		return q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
			       "interrupted");
	return Q2_OK;
}

static enum q2_status retire(struct q2_pass *s, struct q2_job *job,
			     struct q2_err *err)
{
	enum q2_status st = job->status;

	if (st != Q2_OK) {
		if (err && err->code == Q2_OK)
			*err = job->err;
		return st;
	}
	q2_job_account(s, job);
	if (s->sink->retire)
		st = s->sink->retire(s->ctx, job, err);
	s->done = job->at + job->len;
	/* What was read must be there for a while before more may be. */
	while (st == Q2_OK && q2_pace_wait(&s->pace, s->data))
		st = tell(s, err);
	return st == Q2_OK ? tell(s, err) : st;
}

static bool skip(struct q2_pass *s)
{
	uint64_t n = s->skip ? s->skip(s->ctx, s->next) : 0;

	n -= s->next + n < s->length ? n % s->job_size : 0;
	s->next += n;
	return n != 0;
}

static enum q2_status loop(struct q2_pass *s, struct q2_err *err)
{
	enum q2_status st = tell(s, err);
	size_t slot;

	while (st == Q2_OK) {
		while (s->next < s->length && skip(s))
			;
		if (s->next < s->length &&
		    q2_crew_slot(&s->team.crew, &slot)) {
			st = q2_job_fill(s, &s->team.jobs[slot], err);
			if (st != Q2_OK)
				break;
			q2_job_ahead(s, &s->team.jobs[slot]);
			q2_crew_submit(&s->team.crew);
			continue;
		}
		if (!q2_crew_oldest(&s->team.crew, &slot))
			break;
		st = retire(s, &s->team.jobs[slot], err);
		q2_crew_retire(&s->team.crew);
	}
	return st;
}

static enum q2_status start_digest(struct q2_pass *s, struct q2_err *err)
{
	enum q2_status st = q2_digest_start(&s->disk, s->length, err);
	struct q2_digest d;
	uint64_t number;

	while (st == Q2_OK && s->recall && s->recall(s->ctx, &number, &d))
		q2_digest_add(&s->disk, number, &d);
	return st;
}

enum q2_status q2_pass_run(struct q2_pass *s, struct q2_err *err)
{
	unsigned threads = q2_pass_threads(s);
	enum q2_status st;

	s->job_size = job_size(s);
	q2_pace_start(&s->pace, s->opts->rate);
	st = prepare(s, threads, err);
	if (st == Q2_OK && s->digest)
		st = start_digest(s, err);
	if (st == Q2_OK) {
		q2_crew_start(&s->team.crew, threads, s->team.n_jobs, work,
			      s);
		st = loop(s, err);
		q2_crew_stop(&s->team.crew);
	}
	if (st == Q2_OK && s->digest)
		s->result = q2_digest_end(&s->disk);
	clean_up(s);
	return st;
}
