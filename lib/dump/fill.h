/*
 * fill.h - cutting the disk into jobs, and reading them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_FILL_H
#define Q2_DUMP_FILL_H

#include "dump/pass.h"

/* Makes the job that starts at s->next, and moves that on. */
enum q2_status q2_job_fill(struct q2_pass *s, struct q2_job *job,
			   struct q2_err *err) Q2_MUST_CHECK;

/* Has the kernel begin to read what the job needs, which is a hint. */
void q2_job_ahead(const struct q2_pass *s, const struct q2_job *job);

/* Whether plain data may get into the result without being read. */
static inline bool q2_job_may_share(const struct q2_pass *s)
{
	return s->sink->share && !s->digest && !s->opts->range &&
	       !atomic_load(&s->cannot_share);
}

/* Reads what was filled in, by a thread of the crew.  Failures go to the job. */
void q2_job_read(struct q2_pass *s, unsigned thread, struct q2_job *job);

/* Adds a job that is done to the pass's sums and digest, and tells the caller. */
void q2_job_account(struct q2_pass *s, const struct q2_job *job);

/* Whether a piece is more than zeros, as far as the maps tell. */
bool q2_piece_to_read(const struct q2_guest *g, const struct q2_piece *p);

static inline bool q2_job_kept(const struct q2_job *job, size_t cluster)
{
	return job->kept[cluster / 64] >> (cluster % 64) & 1;
}

#endif
