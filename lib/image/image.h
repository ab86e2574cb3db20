/*
 * image.h - an opened image: its bytes, its geometry, and bounded reading.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_IMAGE_IMAGE_H
#define Q2_IMAGE_IMAGE_H

#include "base/budget.h"
#include "format/geom.h"
#include "io/io.h"

/* One L1 table to be walked.  `id` is Q2_TREE_ACTIVE or a snapshot's index. */
struct q2_tree {
	uint32_t id;
	uint32_t l1_entries;
	uint64_t l1_offset; /* cluster aligned */
	uint64_t disk_size; /* of the guest's disk in this tree, bytes */
};

struct q2_image {
	struct q2_io *io;      /* borrowed */
	struct q2_budget *budget; /* borrowed */
	struct q2_geom geom;
};

/* Tells holes from data where a table's place is asked for in rising order.
 * Used only if more is to be read than the file stores, as in a sparse file
 * whose header claims the world: there, holes must cost nothing. */
struct q2_holes {
	struct q2_io *io;
	bool enabled;
	uint64_t asked; /* `known` is the first data at or after this */
	struct q2_range known;
};

/* `claimed`: bytes that will be asked about. */
void q2_holes_init(struct q2_holes *h, struct q2_io *io, uint64_t claimed);

/* True if the range is certainly all zeros. */
bool q2_holes_covers(struct q2_holes *h, struct q2_range range);

#endif
