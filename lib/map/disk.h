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
};

/* Bytes of the disk that is shown. */
static inline uint64_t q2_disk_bytes(const struct q2_disk *disk)
{
	return q2_chain_size(&disk->chain);
}

#endif
