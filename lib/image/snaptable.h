/*
 * snaptable.h - the internal snapshots of an image, for those who use them.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Snapshots".  Unlike the check it searches nothing: the table ends
 * where its first damaged record stands.
 */
#ifndef Q2_IMAGE_SNAPTABLE_H
#define Q2_IMAGE_SNAPTABLE_H

#include "base/vec.h"
#include "format/snapshot.h"
#include "image/image.h"

struct q2_snap {
	struct q2_tree tree; /* its disk; id is the record's index */
	struct q2_snapshot record;
	const char *id; /* as in the file, terminated; owned by the table */
	const char *name;
};
Q2_VEC(q2_snap_vec, struct q2_snap)

struct q2_snaptable {
	struct q2_snap_vec snaps;
	bool damaged; /* there should be more records */
	uint64_t text_bytes;
	char *texts;
};

/* Reads the table of `img`.  To be freed after failure, too. */
enum q2_status q2_snaptable_read(const struct q2_image *img,
				 struct q2_snaptable *table,
				 struct q2_err *err) Q2_MUST_CHECK;
void q2_snaptable_free(struct q2_snaptable *table, struct q2_budget *budget);

/* The snapshot with this id or, if there is none, with this name, as qemu-img
 * finds it; NULL if there is neither. */
const struct q2_snap *q2_snaptable_find(const struct q2_snaptable *table,
					const char *id_or_name);

#endif
