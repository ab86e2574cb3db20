/*
 * rescue_head.h - what a header that is made anew would say, and the search for it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_RESCUE_HEAD_H
#define Q2_REPAIR_RESCUE_HEAD_H

#include "format/snapshot.h"
#include "repair/rescue.h"

struct q2_head {
	unsigned bits;	/* of the cluster size */
	unsigned order; /* log2 of a refcount's width */
	unsigned version;
	unsigned crypt;
	bool ext_l2;
	bool zstd;
	uint64_t size;
	uint64_t l1_offset;
	uint32_t l1_size;
	uint64_t rt_offset;
	uint32_t rt_clusters;
	uint32_t snapshots;
	uint64_t snap_offset;
	uint64_t backing_offset;
	uint32_t backing_size;
	uint64_t luks_offset; /* 0: none that must be told */
	uint64_t luks_len;
	uint64_t coverage; /* clusters of the file that the refcounts count */
};
Q2_VEC(q2_heads, struct q2_head)

/* A run of clusters that may be an L1 table. */
struct q2_l1_run {
	uint64_t first; /* cluster */
	uint64_t n;
	uint64_t entries; /* in use */
};
Q2_VEC(q2_l1_runs, struct q2_l1_run)

/* What stands in the clusters that the refcounts of a head count. */
struct q2_roots {
	struct q2_l1_runs l1; /* without those of snapshots */
	uint32_t snapshots;
	uint64_t snap_offset;
	uint64_t disk_size; /* that the youngest snapshot tells; 0: none */
	bool old; /* a snapshot's record that only version 2 has */
};

struct q2_judgement {
	uint64_t corruptions;
	uint64_t leaks;
	uint64_t before;   /* empty clusters that leak just before the L1 table */
	uint64_t loose;	   /* the first cluster of zeros that leaks; 0: none */
	uint64_t luks;	   /* offset of a LUKS header that leaks; 0: none */
	uint64_t packed;   /* a descriptor of compressed data; 0: none */
	uint64_t mapped;   /* guest clusters with data */
};

struct q2_headless {
	struct q2_repair *r;
	struct q2_head best;
	struct q2_judgement score;
	struct q2_roots roots; /* of the best; without L1 runs */
	uint64_t *l1;	       /* of the best, offsets */
	const char *why;       /* where the size is from */
	bool sure;
	bool keeps_extensions;
};

/* What a check has to say of the file with this header. */
enum q2_status q2_head_judge(struct q2_repair *r, const struct q2_head *h,
			     struct q2_judgement *v);
bool q2_head_better(const struct q2_judgement *a, const struct q2_judgement *b);

/* Fields of x->best that no table tells. */
enum q2_status q2_head_luks(struct q2_headless *x);
void q2_head_compression(struct q2_headless *x);
/* Whether an extension that is still there names an external data file. */
bool q2_head_data_file(struct q2_repair *r);
/* Whether tables are there as only an image with an external data file has them. */
enum q2_status q2_tables_apart(struct q2_repair *r, bool *apart) Q2_MUST_CHECK;
enum q2_status q2_head_extensions(struct q2_headless *x);
enum q2_status q2_head_size(struct q2_headless *x);

/* The header and the extensions behind it, with their end. */
#define Q2_HEAD_ROOM (Q2_HEADER_READ + 32u)
void q2_head_bytes(const struct q2_head *h, uint8_t bytes[Q2_HEAD_ROOM]);
bool q2_head_geom(const struct q2_head *h, uint64_t file_size,
		  struct q2_geom *g);

/* Refcount tables of which the first block counts the header, the table and
 * itself: without L1 tables, by falling coverage. */
enum q2_status q2_find_reftables(struct q2_repair *r, struct q2_heads *heads);
enum q2_status q2_find_roots(struct q2_repair *r, const struct q2_head *h,
			     struct q2_roots *roots);

#endif
