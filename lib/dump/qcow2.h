/*
 * qcow2.h - the sink that writes a fresh QCOW2 image.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_QCOW2_H
#define Q2_DUMP_QCOW2_H

#include "dump/journal.h"
#include "dump/newimage.h"
#include "dump/pack.h"
#include "dump/pass.h"

struct q2_qcow2_sink {
	struct q2_newimage *image; /* borrowed, like the packers */
	const struct q2_pass *scan;
	unsigned version;
	size_t cluster;
	bool ext_l2;
	enum q2_compress compress;
	struct q2_packer *packers[Q2_CREW_MAX]; /* if it compresses */
	unsigned percent; /* of the jobs that are wanted; 0: all */
	uint64_t copied; /* clusters */
	uint64_t plain;	 /* clusters */
	uint64_t stream_bytes;
	struct q2_target *target;   /* borrowed, like */
	struct q2_journal *journal; /* this: NULL for none */
};

/* Whether a job is one of `percent` in a hundred, spread evenly. */
bool q2_sampled(uint64_t job, unsigned percent);
/* A stream of another image that is taken as it is. */
bool q2_qcow2_takes(const struct q2_qcow2_sink *sink, const struct q2_guest *g,
		    const struct q2_piece *p);

extern const struct q2_sink_ops q2_qcow2_ops;

/* For q2_pass's skip; ctx is a struct q2_qcow2_sink. */
uint64_t q2_qcow2_skip(void *ctx, uint64_t at);

#endif
