/*
 * raw.h - the sink that writes a raw image.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_RAW_H
#define Q2_DUMP_RAW_H

#include "dump/journal.h"
#include "dump/pass.h"
#include "io/target.h"

struct q2_raw_sink {
	struct q2_target *target; /* borrowed */
	bool zeros; /* zeros are to be written, too */
	/* One thread writes at a time: several would wait for the file's own
	 * lock, at the cost of processor time. */
	pthread_mutex_t lock;
	struct q2_journal *journal; /* borrowed; NULL for none */
};

/* For a stream jobs are written in order, else by whoever read them. */
extern const struct q2_sink_ops q2_raw_ops;
extern const struct q2_sink_ops q2_stream_ops;

/* For q2_pass's skip; ctx is a struct q2_raw_sink. */
uint64_t q2_raw_skip(void *ctx, uint64_t at);

#endif
