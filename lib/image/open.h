/*
 * open.h - what an image's header says: geometry, active tree, names.
 *
 * SPDX-License-Identifier: MIT
 *
 * For readers, not for the check: it takes what can be used, and refuses what has
 * no geometry.  Nothing that the image names is opened.
 */
#ifndef Q2_IMAGE_OPEN_H
#define Q2_IMAGE_OPEN_H

#include "format/bitmap.h"
#include "image/image.h"

#define Q2_FORMAT_ROOM 16u /* a backing format's name with its NUL */

/* The files that an image names, cut at a NUL as QEMU does. */
struct q2_names {
	char backing[Q2_BACKING_MAX + 1]; /* empty: none */
	char format[Q2_FORMAT_ROOM];	  /* of the backing file; empty: none */
	char data_file[Q2_BACKING_MAX + 1];
	bool backing_bad; /* there is one, but its name is out of range */
};

struct q2_opened {
	struct q2_image img;
	struct q2_header header;
	struct q2_header_faults faults;
	struct q2_tree active; /* l1_entries: 0 if the table is unusable */
	struct q2_names names;
	struct q2_bitmaps_ext bitmaps; /* all zero if there are none to trust */
	struct q2_range luks; /* where the header is said to be that has the keys */
};

/* Fills *out from the first cluster of `io`; both pointers are borrowed as long
 * as out->img is in use.  Q2_E_FORMAT if these bytes are no QCOW2 image, or one
 * that no reader can make sense of. */
enum q2_status q2_image_open(struct q2_io *io, struct q2_budget *budget,
			     struct q2_opened *out,
			     struct q2_err *err) Q2_MUST_CHECK;

/* *qcow2: whether the first bytes say QCOW2 (version 2 or later), without looking
 * further. */
enum q2_status q2_image_probe(struct q2_io *io, bool *qcow2,
			      struct q2_err *err) Q2_MUST_CHECK;

/* The same; an I/O error counts as no. */
bool q2_image_is_qcow2(struct q2_io *io);

/* A disk's size as guests see it: readers drop what is not a whole sector. */
#define Q2_SECTOR 512u
static inline uint64_t q2_shown_size(uint64_t size)
{
	return size & ~(uint64_t)(Q2_SECTOR - 1);
}

#endif
