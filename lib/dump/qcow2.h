/*
 * qcow2.h - the sink that writes a fresh QCOW2 image.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_QCOW2_H
#define Q2_DUMP_QCOW2_H

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
	uint64_t copied; /* clusters */
};

extern const struct q2_sink_ops q2_qcow2_ops;

#endif
