/*
 * pass.h - going over a guest's disk, or two of them, with many threads.
 *
 * SPDX-License-Identifier: MIT
 *
 * The disk is cut into jobs.  The caller's thread walks the maps and fills them,
 * the crew reads, inflates and decrypts them and does what the sink wants done
 * in parallel, and the caller's thread hands them to the sink in order.  What is
 * certainly zeros costs neither memory nor reading.
 */
#ifndef Q2_DUMP_PASS_H
#define Q2_DUMP_PASS_H

#include <stdatomic.h>

#include "dump/crew.h"
#include "dump/digest.h"
#include "dump/guest.h"
#include "dump/pace.h"
#include "dump/read.h"

#define Q2_JOB_MAX ((size_t)2 << 20) /* the largest cluster */
#define Q2_JOB_CHUNKS (Q2_JOB_MAX / Q2_CHUNK_SIZE)
#define Q2_JOB_CLUSTERS (Q2_JOB_MAX / 512)

/* One guest's part of a job. */
struct q2_part {
	struct q2_piece *pieces; /* those that are not gaps, in order */
	size_t n;
	size_t room;
	uint8_t *bytes;
	/* Only the bytes of these blocks are valid, others are zeros. */
	struct q2_blocks blocks[Q2_JOB_CHUNKS];
};

struct q2_loss {
	uint64_t guest;
	uint64_t length;
	char why[112];
};

enum q2_job_kind {
	Q2_JOB_DATA,
	Q2_JOB_GAP, /* zeros; or left to the backing file that is kept */
	Q2_JOB_ZERO /* zeros that hide what the kept backing file has */
};

struct q2_job {
	enum q2_job_kind kind;
	uint64_t at;  /* bytes from the start of the pass */
	uint64_t len; /* at most the pass's job size, unless there are no data */
	struct q2_part part[2];
	/* With a kept backing file: clusters of the result to be written. */
	uint64_t kept[Q2_JOB_CLUSTERS / 64];
	bool has_digest[Q2_JOB_CHUNKS]; /* not all zeros */
	struct q2_digest digest[Q2_JOB_CHUNKS];
	struct q2_loss *losses;
	size_t n_losses;
	enum q2_status status;
	struct q2_err err;
	void *extra; /* the sink's */
};

struct q2_sink_ops {
	/* Only `work` looks at a job's bytes: they may lie where the next job
	 * of the same thread will lie, which a processor has at hand. */
	bool transient;
	/* By a thread of the crew: plain data, in whole blocks from `at` bytes
	 * of the disk on, need not be read if this returns true.  False: it
	 * cannot be done, not with what follows either.  May be NULL. */
	bool (*share)(void *ctx, uint64_t at, struct q2_io *from,
		      struct q2_range host);
	/* Each job's own memory, made before the first and freed after the last;
	 * NULL: none needed. */
	enum q2_status (*prepare)(void *ctx, struct q2_job *job,
				  struct q2_err *err);
	void (*dispose)(void *ctx, struct q2_job *job);
	/* By a thread of the crew: a compressed cluster of `job` was read, at
	 * `at` bytes from the job's start.  NULL: not interested. */
	void (*packed)(void *ctx, struct q2_job *job, size_t at,
		       const struct q2_piece *p, const struct q2_packed *packed);
	/* By a thread of the crew, for jobs with data.  May be NULL. */
	enum q2_status (*work)(void *ctx, unsigned thread, struct q2_job *job,
			       struct q2_err *err);
	/* In order, by the caller's thread.  May be NULL. */
	enum q2_status (*retire)(void *ctx, struct q2_job *job,
				 struct q2_err *err);
};

/* The threads, and what they have in hand. */
struct q2_team {
	struct q2_crew crew;
	size_t n_jobs;
	struct q2_job *jobs;
	struct q2_reader *readers[Q2_CREW_MAX][2];
	uint8_t *bytes[Q2_CREW_MAX][2]; /* a thread's own, if transient */
};

struct q2_pass {
	const struct q2_read_opts *opts;
	struct q2_guest *guest[2]; /* the second may be NULL */
	uint64_t start;		   /* on the guests' disks */
	uint64_t length;
	const char *phase;
	bool digest;	  /* make the chunks' digests */
	size_t cluster;	  /* of the result: jobs are made of these; or 0 */
	size_t thread_room; /* bytes that the sink takes for each thread */
	uint32_t below;	  /* layers from here on are the kept backing; 0: none */
	uint64_t gap_max; /* longest gap at a time; 0: no limit */
	/* Asked before a job: how many bytes from `at` on are done already. */
	uint64_t (*skip)(void *ctx, uint64_t at);
	/* With `digest`: the chunks of what is skipped, one at a call, in rising
	 * order; false behind the last one.  May be NULL. */
	bool (*recall)(void *ctx, uint64_t *number, struct q2_digest *digest);
	const struct q2_sink_ops *sink;
	void *ctx;

	/* Results. */
	uint64_t data;
	uint64_t lost;
	struct q2_digest result;

	/* Private. */
	size_t job_size;
	atomic_bool cannot_share; /* the sink has said so */
	uint64_t next; /* from here on jobs are to be made */
	uint64_t done;
	struct q2_pace pace;
	struct q2_team team;
	struct q2_digest_disk disk;
};

/* How many threads to use, by the options and the machine. */
unsigned q2_pass_threads(const struct q2_pass *s);

enum q2_status q2_pass_run(struct q2_pass *s, struct q2_err *err) Q2_MUST_CHECK;

#endif
