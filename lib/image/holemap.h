/*
 * holemap.h - where a sparse file has data, for questions in any order.
 *
 * SPDX-License-Identifier: MIT
 *
 * The file system is asked once, from start to end.  A file in too many pieces
 * is asked about each time.  Guests write in random order: an index saves most of
 * the search.
 */
#ifndef Q2_IMAGE_HOLEMAP_H
#define Q2_IMAGE_HOLEMAP_H

#include "base/vec.h"
#include "io/io.h"

Q2_VEC(q2_range_vec, struct q2_range)

struct q2_holemap {
	struct q2_range_vec data; /* in rising order */
	/* Of each part of the file of 1 << `shift` bytes the first piece that ends
	 * behind its start, and what follows the last part; NULL without memory. */
	uint32_t *index;
	size_t parts;
	unsigned shift;
	bool filled;
	bool too_many;
};

/* As q2_io_data(): the first data at or after `off`; {size, 0} for none. */
struct q2_range q2_holemap_data(struct q2_holemap *h, struct q2_io *io,
				struct q2_budget *b, uint64_t off);
void q2_holemap_free(struct q2_holemap *h, struct q2_budget *b);

#endif
