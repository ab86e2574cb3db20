/*
 * write_int.h - what the parts of the writer share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_IMAGE_WRITE_INT_H
#define Q2_IMAGE_WRITE_INT_H

#include "base/vec.h"
#include "format/entry.h"
#include "image/inflate.h"
#include "image/veil.h"
#include "image/write.h"

#define Q2_W_SECTOR 512u
#define Q2_W_SLOTS 1024u

/* ------------------------------------------------- tables: write_cache.c */

enum q2_wkind { Q2_W_REFS, Q2_W_L2 };

/* A refcount block or an L2 table: one cluster. */
struct q2_wblock {
	struct q2_wblock *next; /* in the same slot */
	uint64_t clu;
	enum q2_wkind kind;
	bool fresh;	/* nothing on the disk refers to it: written whole */
	bool dirty;
	uint32_t from;	/* what is dirty: bytes [from, to) */
	uint32_t to;
	uint64_t used;	/* when */
	uint8_t *bytes;
};

struct q2_wcache {
	struct q2_wblock *slots[Q2_W_SLOTS];
	uint64_t n;
	uint64_t n_dirty;
	uint64_t clock;
};

/* ----------------------------------------------- refcounts: write_refs.c */

/* A new refcount block that the refcount table on the disk does not name yet. */
struct q2_wlink {
	uint64_t index; /* in the refcount table */
	bool self;	/* the block counts itself */
};
Q2_VEC(q2_wlinks, struct q2_wlink)
Q2_VEC(q2_wfrees, uint64_t)

struct q2_wrefs {
	uint64_t *table;  /* offsets of refcount blocks, 0: none */
	uint64_t entries; /* of the table */
	uint64_t clu;	  /* where the table lies */
	bool moved;	  /* not yet where the header says */
	uint64_t hint;	  /* no cluster below this is free */
	uint64_t top;	  /* no cluster from this on is in use */
	struct q2_wlinks links;
	struct q2_wfrees frees; /* one reference each, to be dropped */
};

/* ----------------------------------------------- data: write_medium.c */

struct q2_wmedium {
	struct q2_io *io; /* where they lie: the image's file, or its data file */
	const struct q2_veil *veil; /* NULL: they are stored as they are */
	bool apart;	  /* it is a data file: a cluster lies at its guest offset */
	bool raw;	  /* somebody may read that file without the map */
	bool unflushed;	  /* the data file */
	uint8_t *hidden;	/* a cluster for what is encrypted, or NULL */
	struct q2_wfrees gone;	/* of a data file: places that were given up */
};

/* ------------------------------------------------------------- the writer */

struct q2_wl1 {
	uint64_t *at; /* entries */
	uint32_t n;
	uint64_t clu;
	bool moved;
	uint32_t from; /* dirty: entries [from, to) */
	uint32_t to;
};

/* What is counted, and what counting needs: write_count.c. */
struct q2_wcount {
	struct q2_writer_counts sums;
	uint64_t old_size;     /* bytes of the file when it was opened */
	uint64_t last;	       /* guest cluster that was written last, plus 1 */
	uint64_t last_block;   /* rehearsal: the last one put, plus 1 */
	struct q2_range known; /* no hole of the file */
};

struct q2_writer {
	struct q2_image img; /* geometry follows what is done */
	const struct q2_below *below;
	unsigned flags;
	uint64_t batch;
	unsigned subs;	/* subclusters in a cluster: 1 or 32 */
	uint64_t sub;	/* bytes */
	bool zero_flag; /* the format has one */
	bool marked;	/* autoclear bits and bitmaps are dealt with */
	bool unflushed; /* the image's file */
	struct q2_err broken; /* code is Q2_OK as long as all is well */
	uint8_t sector[Q2_W_SECTOR]; /* the file's first, as on the disk */
	struct q2_wcache cache;
	struct q2_wrefs refs;
	struct q2_wl1 l1;
	struct q2_wmedium medium;
	bool resized;
	struct q2_inflate *inflate; /* NULL until needed */
	uint8_t *bounce;	    /* a cluster */
	uint8_t *zeros;		    /* a cluster of them */
	struct q2_wcount count;
};

/* Writes to the file. */
enum q2_status q2_w_put(struct q2_writer *w, const void *buf, size_t len,
			uint64_t off, struct q2_err *err) Q2_MUST_CHECK;
/* Flushes whatever was written since the last time, data first. */
enum q2_status q2_w_barrier(struct q2_writer *w,
			    struct q2_err *err) Q2_MUST_CHECK;

/* Q2_OK if the writer may be used for changing the image. */
enum q2_status q2_w_ready(struct q2_writer *w,
			  struct q2_err *err) Q2_MUST_CHECK;
/* Remembers a failure for good; returns st. */
enum q2_status q2_w_end(struct q2_writer *w, enum q2_status st,
			struct q2_err *err);
/* Between two steps: ends the batch if it is large, and forgets what the cache need
 * not hold.  No pointer into the cache lives across this call. */
enum q2_status q2_w_relax(struct q2_writer *w,
			  struct q2_err *err) Q2_MUST_CHECK;

/* The block at this cluster, read if need be. */
enum q2_status q2_w_get(struct q2_writer *w, uint64_t clu, enum q2_wkind kind,
			struct q2_wblock **out,
			struct q2_err *err) Q2_MUST_CHECK;
/* An empty block in new space. */
enum q2_status q2_w_new(struct q2_writer *w, uint64_t clu, enum q2_wkind kind,
			struct q2_wblock **out,
			struct q2_err *err) Q2_MUST_CHECK;
/* Bytes [from, to) were changed. */
void q2_w_dirty(struct q2_writer *w, struct q2_wblock *b, uint64_t from,
		uint64_t to);
/* Writes the dirty blocks of one kind, the fresh ones or the others. */
enum q2_status q2_w_blocks_put(struct q2_writer *w, enum q2_wkind kind,
			       bool fresh,
			       struct q2_err *err) Q2_MUST_CHECK;
/* Drops clean blocks until no more than `keep` blocks are held; 0: all. */
void q2_w_trim(struct q2_writer *w, uint64_t keep);
/* Drops the block at a cluster that is no table any more. */
void q2_w_forget(struct q2_writer *w, uint64_t clu);

enum q2_status q2_w_refs_load(struct q2_writer *w,
			      struct q2_err *err) Q2_MUST_CHECK;
void q2_w_refs_free(struct q2_writer *w);
/* How many references the cluster has; those to be dropped are still counted. */
enum q2_status q2_w_refcount(struct q2_writer *w, uint64_t clu, uint64_t *out,
			     struct q2_err *err) Q2_MUST_CHECK;
/* A free cluster, its refcount set to 1. */
enum q2_status q2_w_alloc(struct q2_writer *w, uint64_t *clu,
			  struct q2_err *err) Q2_MUST_CHECK;
/* n of them in a row, at the end of what is in use. */
enum q2_status q2_w_alloc_run(struct q2_writer *w, uint64_t n, uint64_t *clu,
			      struct q2_err *err) Q2_MUST_CHECK;
/* Drops one reference to each cluster that the host range touches, at the batch's
 * end. */
enum q2_status q2_w_drop(struct q2_writer *w, struct q2_range host,
			 struct q2_err *err) Q2_MUST_CHECK;
/* The steps of a commit that concern refcounts. */
enum q2_status q2_w_refs_link(struct q2_writer *w,
			      struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_w_refs_table_put(struct q2_writer *w,
				   struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_w_refs_lower(struct q2_writer *w,
			       struct q2_err *err) Q2_MUST_CHECK;
/* Brings refs.top down to what is in use. */
enum q2_status q2_w_refs_top(struct q2_writer *w,
			     struct q2_err *err) Q2_MUST_CHECK;

/* ---------------------------------------------- counting: write_count.c */

/* n new clusters at clu have this use. */
void q2_w_placed(struct q2_writer *w, enum q2_placed what, uint64_t clu,
		 uint64_t n);
/* The guest's cluster was written: in place, or elsewhere. */
void q2_w_written(struct q2_writer *w, uint64_t guest, bool in_place);
/* Rehearsal: data would be put there. */
enum q2_status q2_w_data_count(struct q2_writer *w, size_t len, uint64_t host,
			       struct q2_err *err) Q2_MUST_CHECK;

/* One cluster's entry.  Without subclusters, bit 0 stands for all of it. */
struct q2_went {
	bool compressed;
	bool placed;   /* it has a cluster at `host`, which may be 0 in a data file */
	uint64_t host;
	struct q2_range stream; /* compressed */
	uint32_t alloc;
	uint32_t zero;
};

/* --------------------------------------------------- tables: write_map.c */

enum q2_status q2_w_l1_load(struct q2_writer *w,
			    struct q2_err *err) Q2_MUST_CHECK;
void q2_w_l1_free(struct q2_writer *w);
/* The L2 table of the slot, NULL if there is none. */
enum q2_status q2_w_l2_read(struct q2_writer *w, uint64_t slot,
			    struct q2_wblock **out,
			    struct q2_err *err) Q2_MUST_CHECK;
/* One that belongs to the active disk alone; new, or copied, if need be. */
enum q2_status q2_w_l2_own(struct q2_writer *w, uint64_t slot, bool copy,
			   struct q2_wblock **out,
			   struct q2_err *err) Q2_MUST_CHECK;
void q2_w_l1_set(struct q2_writer *w, uint64_t slot, uint64_t raw);
/* Writes the dirty part in place. */
enum q2_status q2_w_l1_put(struct q2_writer *w,
			   struct q2_err *err) Q2_MUST_CHECK;
/* Writes all of it to where it lies now. */
enum q2_status q2_w_l1_put_all(struct q2_writer *w,
			       struct q2_err *err) Q2_MUST_CHECK;
/* Moves the table to new space, with room for n entries. */
enum q2_status q2_w_l1_move(struct q2_writer *w, uint32_t n,
			    struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_w_entry(struct q2_writer *w, uint64_t guest,
			  struct q2_went *e,
			  struct q2_err *err) Q2_MUST_CHECK;
/* Stores the entry; `own` says whether its host cluster has refcount 1. */
enum q2_status q2_w_entry_set(struct q2_writer *w, uint64_t guest,
			      const struct q2_went *e, bool own,
			      struct q2_err *err) Q2_MUST_CHECK;

/* -------------------------------- where data lie, and how: write_medium.c */

enum q2_status q2_w_medium_open(struct q2_writer *w,
				const struct q2_writer_opts *opts,
				struct q2_err *err) Q2_MUST_CHECK;
void q2_w_medium_close(struct q2_writer *w);
/* Makes what was written to a data file durable. */
enum q2_status q2_w_medium_flush(struct q2_writer *w,
				 struct q2_err *err) Q2_MUST_CHECK;
/* Puts data inside one cluster, or in a rehearsal does as if; gets them.  What is put
 * begins and ends with a unit. */
enum q2_status q2_w_data_put(struct q2_writer *w, const void *buf, size_t len,
			     uint64_t guest, uint64_t host,
			     struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_w_data_get(struct q2_writer *w, void *buf, size_t len,
			     uint64_t guest, uint64_t host,
			     struct q2_err *err) Q2_MUST_CHECK;
/* Bytes of a unit: a power of two, a sector at the most. */
uint64_t q2_w_data_unit(const struct q2_writer *w);
/* Whether what is stored there certainly reads as zeros. */
bool q2_w_data_zeros(const struct q2_writer *w, struct q2_range host);
/* A place for the guest's cluster that nothing on the disk refers to, or that is its
 * own anyway. */
enum q2_status q2_w_data_place(struct q2_writer *w, uint64_t guest,
			       uint64_t *host,
			       struct q2_err *err) Q2_MUST_CHECK;
/* *own: the entry's place belongs to the active disk alone. */
enum q2_status q2_w_data_own(struct q2_writer *w, const struct q2_went *e,
			     bool *own, struct q2_err *err) Q2_MUST_CHECK;
/* Gives up what the entry refers to, at the batch's end. */
enum q2_status q2_w_data_drop(struct q2_writer *w, const struct q2_went *e,
			      struct q2_err *err) Q2_MUST_CHECK;
/* Gives the space back, once no map on the disk leads there. */
enum q2_status q2_w_medium_punch(struct q2_writer *w,
				 struct q2_err *err) Q2_MUST_CHECK;
/* Whether the data file can be as long as a disk of `size` bytes; makes it so. */
enum q2_status q2_w_medium_may_grow(struct q2_writer *w, uint64_t size,
				    struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_w_medium_grow(struct q2_writer *w, uint64_t size,
				struct q2_err *err) Q2_MUST_CHECK;
/* Where each cluster has to be mapped: maps [from, to), which is new, as zeros. */
enum q2_status q2_w_data_claim(struct q2_writer *w, uint64_t from, uint64_t to,
			       struct q2_err *err) Q2_MUST_CHECK;

/* ---------------------------------------------------- data: write_data.c */

/* Writes inside one cluster; no bounds are tested. */
enum q2_status q2_w_cluster(struct q2_writer *w, const uint8_t *buf,
			    size_t len, uint64_t guest,
			    struct q2_err *err) Q2_MUST_CHECK;

/* Zeros inside one cluster; no bounds are tested. */
enum q2_status q2_w_zero(struct q2_writer *w, uint64_t guest, uint64_t len,
			 struct q2_err *err) Q2_MUST_CHECK;

/* ------------------------------------------------ reading: write_read.c */

/* Whether anything but zeros may show through at `guest`. */
bool q2_w_shows(const struct q2_writer *w, uint64_t guest);

/* Reads a range inside one cluster with entry e. */
enum q2_status q2_w_old(struct q2_writer *w, const struct q2_went *e,
			void *buf, size_t len, uint64_t guest,
			struct q2_err *err) Q2_MUST_CHECK;

/* ----------------------------------------------- header: write_header.c */

/* Before the first change: autoclear bits and bitmaps. */
enum q2_status q2_w_mark(struct q2_writer *w,
			 struct q2_err *err) Q2_MUST_CHECK;
/* Fails if there are enabled bitmaps and no flag that allows them. */
enum q2_status q2_w_bitmaps_judge(struct q2_writer *w,
				  struct q2_err *err) Q2_MUST_CHECK;
/* Fails if a bitmap whose contents count has not just as many entries as a disk of
 * `size` bytes wants.  What the bits past the old end say is of no disk yet; a writer
 * leaves them zero. */
enum q2_status q2_w_bitmaps_reach(struct q2_writer *w, uint64_t size,
				  struct q2_err *err) Q2_MUST_CHECK;

#endif
