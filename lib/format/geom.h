/*
 * geom.h - the geometry of an image: the trust boundary.
 *
 * SPDX-License-Identifier: MIT
 *
 * It exists only if the header's root fields are in range; then it is immutable,
 * no shift or product made from it overflows, and a table whose header fields
 * are unusable has a length of 0.  All code after it takes const struct q2_geom.
 */
#ifndef Q2_FORMAT_GEOM_H
#define Q2_FORMAT_GEOM_H

#include "base/num.h"
#include "format/header.h"

struct q2_geom {
	unsigned version;
	unsigned cluster_bits;
	unsigned l2_bits;     /* log2 of the entries of an L2 table */
	unsigned entry_bits;  /* log2 of the bytes of an L2 entry: 3 or 4 */
	unsigned ref_order;   /* log2 of a refcount's width in bits */
	unsigned block_bits;  /* log2 of the refcounts in a block */
	unsigned offset_bits; /* of a compressed descriptor's offset */
	unsigned crypt;
	bool ext_l2;
	bool data_file;
	bool raw_data;
	bool zstd;
	bool inflatable; /* the compression type is known */
	uint64_t cluster_size;
	uint64_t file_size;
	uint64_t file_clusters; /* the last one may be there in part */
	uint64_t disk_size;
	uint64_t disk_clusters;
	uint32_t l1_needed;	  /* entries that disk_size asks for */
	uint32_t l1_entries;	  /* usable; 0 if the table is not */
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint64_t reftable_bytes;  /* usable; 0 if the table is not */
	uint64_t snaptable_offset;
	uint32_t snapshots;	  /* records to look for; 0 if unusable */
};

/* False if the header's faults leave no geometry; *g is then all zero. */
bool q2_geom_make(const struct q2_header *h, const struct q2_header_faults *f,
		  uint64_t file_size, struct q2_geom *g);

static inline uint64_t q2_offset(const struct q2_geom *g, struct q2_clu c)
{
	return c.n << g->cluster_bits;
}

static inline struct q2_clu q2_cluster(const struct q2_geom *g, uint64_t off)
{
	return (struct q2_clu){off >> g->cluster_bits};
}

/* The guest offset of entry l2 in the table of slot l1. */
static inline uint64_t q2_guest(const struct q2_geom *g, uint64_t l1,
				uint64_t l2)
{
	return ((l1 << g->l2_bits) + l2) << g->cluster_bits;
}

/* How many of the entries of an L1 table at `off` the file holds: all others are 0. */
static inline uint32_t q2_l1_there(const struct q2_geom *g, uint64_t off,
				   uint32_t entries)
{
	uint64_t bytes = off < g->file_size ? g->file_size - off : 0;

	return (uint32_t)q2_min(entries, q2_div_up(bytes, 8));
}

#endif
