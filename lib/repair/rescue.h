/*
 * rescue.h - searching the file for what no pointer leads to any more.
 *
 * SPDX-License-Identifier: MIT
 *
 * The steps do nothing without Q2_PLAN_RESCUE.
 */
#ifndef Q2_REPAIR_RESCUE_H
#define Q2_REPAIR_RESCUE_H

#include "format/entry.h"
#include "image/inflate.h"
#include "repair/repair.h"

/* A header for a file that lost its own. */
enum q2_status q2_rescue_header(struct q2_repair *r);
/* An L1 table that names nothing. */
enum q2_status q2_rescue_l1(struct q2_repair *r);
/* Tables that were not put back by anything else. */
enum q2_status q2_rescue_tables(struct q2_repair *r);

/* The guest's disk as far as its tables are known. */
struct q2_gdisk {
	struct q2_image img;
	uint64_t *l1; /* host offsets of L2 tables, 0: none; borrowed */
	uint64_t slots;
	struct q2_inflate *inflate; /* made when it is needed */
};

/* Reads what the guest would; what is not allocated, or cannot be read, is zeros.
 * True if all of it was allocated and read. */
bool q2_gdisk_read(struct q2_gdisk *g, uint64_t off, uint8_t *to, size_t n);
/* The first `n` bytes (4096 at the most) of the cluster that an entry of the table
 * at `table` names.  False if there is none. */
bool q2_gdisk_cluster(struct q2_gdisk *g, uint64_t table, uint32_t index,
		      uint64_t skip, uint8_t *to, size_t n);
void q2_gdisk_free(struct q2_gdisk *g);

/* An ext2, 3 or 4 file system. */
struct q2_extfs {
	uint64_t start; /* on the disk */
	uint64_t blocks;
	uint32_t block_size;
	uint32_t per_group;
	uint32_t first_block;
	uint32_t group; /* that this superblock is kept in */
	uint32_t desc_size;
	uint32_t inode_size;
	bool meta_bg; /* descriptors lie elsewhere than we look */
};
/* From the bytes of a superblock (at least 1024 - 2 * 334 of them). */
#define Q2_EXTFS_BYTES 512u
bool q2_extfs_parse(const uint8_t *sb, struct q2_extfs *fs);

/* Starts of partitions in an MBR or GPT; 0 if there is no table. */
#define Q2_PARTITIONS 16u
struct q2_partitions {
	unsigned n;
	uint64_t start[Q2_PARTITIONS]; /* bytes */
	uint64_t end;	/* of the last one, bytes */
	uint64_t disk;	/* exact size of the disk, bytes; 0: not told */
};
void q2_partitions_read(struct q2_gdisk *g, struct q2_partitions *p);
/* Whether the sector is a partition table of a disk's first one. */
bool q2_is_mbr(const uint8_t *sector, struct q2_partitions *p);

/* How long the disk is, by what is on it; 0 if nothing tells.  *what names the
 * evidence. */
uint64_t q2_gdisk_size(struct q2_gdisk *g, const char **what, bool *exact);

#endif
