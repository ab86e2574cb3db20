/*
 * refcheck_own.h - the state of the reference checker, for its own files.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_REFCHECK_OWN_H
#define Q2F_REFCHECK_OWN_H

#include "refcheck.h"

#define RC_CLUSTERS 16384u /* of the largest image that is looked at */
#define RC_REFS 65536u
#define RC_TREES 64u
#define RC_BITMAPS 64u

enum rc_kind { RC_META, RC_TABLE, RC_DATA, RC_STREAM };

/* Of a cluster. */
enum rc_is {
	RC_KNOWN = 1, /* a block has its refcount */
	RC_TOLD = 2   /* the library names it */
};

/* One reference to one host cluster. */
struct rc_ref {
	uint32_t clu;
	uint32_t weight;
	enum rc_kind kind;
	bool active; /* from the active tree */
	bool copied;
	uint64_t guest; /* of a table: its slot, or UINT64_MAX if it has several */
	uint64_t start; /* a stream's first byte, and its end */
	uint64_t end;
};

struct rc_tree {
	uint64_t offset;
	uint64_t entries;
	uint64_t disk; /* bytes */
	bool active;
	uint64_t record; /* a snapshot's, */
	uint32_t index;	 /* and its number in the table */
	bool sound;	 /* nothing is wrong with that record */
};

struct q2f_refcheck {
	const uint8_t *b;
	uint64_t size;
	uint64_t clusters;
	uint64_t cs;
	unsigned bits, version, order, crypt, l2_bits;
	bool ext_l2, data_file, raw_data, bitmaps_promised;
	uint64_t disk;
	uint64_t l1_at, l1_n, l1_needed;
	uint64_t rt_at, rt_bytes;
	uint64_t snap_at, snaps;
	uint64_t stale; /* the extension of bitmaps out of date; 0: none */
	uint64_t ext_at, ext_end; /* extension area; 0: none */
	struct rc_tree trees[RC_TREES];
	unsigned n_trees;
	struct rc_ref *refs;
	unsigned n_refs, room;
	uint64_t *stored;  /* refcounts by cluster, if known */
	uint64_t *counted; /* by cluster */
	uint8_t *is;	   /* by cluster: enum rc_is */
	uint64_t mapped;
	/* The judgement. */
	bool refused;	 /* there is no geometry */
	bool corrupt, leaks;
	unsigned bad; /* how often something was called corrupt */
	bool guess;	 /* other readers may judge and count otherwise */
	bool guess_counts; /* ... may count otherwise */
	char why[96];	 /* the first corruption */
	/* What the library said. */
	uint64_t heuristic; /* corruptions that come from weighing evidence */
	char lib[32];	    /* the first of the others */
	char wrong[160];    /* a cluster told of wrongly */
};

void rc_bad(struct q2f_refcheck *r, const char *why);
uint64_t rc_get(const struct q2f_refcheck *r, uint64_t off, unsigned bytes);
void rc_meta(struct q2f_refcheck *r, uint64_t at, uint64_t len);
void rc_add(struct q2f_refcheck *r, struct rc_ref ref);

void rc_header(struct q2f_refcheck *r);
void rc_extensions(struct q2f_refcheck *r);
void rc_snapshots(struct q2f_refcheck *r);
void rc_bitmaps(struct q2f_refcheck *r, uint64_t ext);
void rc_stale(struct q2f_refcheck *r);
void rc_trees(struct q2f_refcheck *r);
void rc_counts(struct q2f_refcheck *r);

#endif
