/*
 * disk.h - an image opened to be mapped.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_MAP_DISK_H
#define Q2_MAP_DISK_H

#include "image/chain.h"
#include "image/snaptable.h"

struct q2_disk {
	struct q2_budget budget;
	struct q2_chain chain;
	struct q2_snaptable snapshots; /* of the image itself */
	bool *found; /* problems by place in the catalogue; NULL: not looked yet */
};

/* Judges the headers of all layers, once.  A header that can no longer be read is
 * no reason to fail. */
enum q2_status q2_disk_judge(struct q2_disk *disk,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Whether the L1 table does not lie wholly in the file. */
static inline bool q2_map_l1_outside(const struct q2_map *m)
{
	return m->tree.l1_entries &&
	       !q2_inside(m->tree.l1_offset, UINT64_C(8) * m->tree.l1_entries,
			  m->img.geom.file_size);
}

/* A problem of an entry or a table; NULL: none. */
void q2_disk_note(struct q2_disk *disk, const struct q2_problem *problem);

/* Bytes of the disk that is shown. */
static inline uint64_t q2_disk_bytes(const struct q2_disk *disk)
{
	return q2_chain_size(&disk->chain);
}

#endif
