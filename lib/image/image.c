/*
 * image.c - knowing the holes of a sparse file.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/image.h"

void q2_holes_init(struct q2_holes *h, struct q2_io *io, uint64_t claimed)
{
	*h = (struct q2_holes){.io = io, .enabled = claimed > io->stored};
}

bool q2_holes_covers(struct q2_holes *h, struct q2_range range)
{
	if (!h->enabled || range.len == 0)
		return false;
	if (h->known.len == 0 || range.start < h->asked ||
	    range.start >= q2_end(h->known)) {
		h->asked = range.start;
		h->known = q2_io_data(h->io, range.start);
		if (h->known.len == 0) /* no more data at all */
			h->known = (struct q2_range){h->io->size, UINT64_MAX -
							      h->io->size};
	}
	return q2_end(range) <= h->known.start;
}
