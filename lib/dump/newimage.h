/*
 * newimage.h - writing a fresh QCOW2 image in one pass.
 *
 * SPDX-License-Identifier: MIT
 *
 * Clusters come in guest order and are appended.  An L2 table follows its data, a
 * refcount block the clusters that it covers; L1 table, refcount table and the last
 * blocks stand at the end, and the header is written last, so that what a crash
 * leaves is no image.  Memory: the L1 table, one L2 table, two refcount blocks.
 */
#ifndef Q2_DUMP_NEWIMAGE_H
#define Q2_DUMP_NEWIMAGE_H

#include "base/budget.h"
#include "dump/newbitmaps.h"
#include "io/io.h"

struct q2_newimage_opts {
	unsigned version; /* 2 or 3 */
	unsigned cluster_bits;
	unsigned ref_order; /* log2 of a refcount's bits */
	bool ext_l2;
	bool zstd; /* compressed clusters are zstd, else deflate */
	bool bitmaps; /* there will be some: version 3 only */
	uint64_t disk_size;
	const char *backing;	    /* name; NULL for none */
	const char *backing_format; /* needed with a backing name */
};

struct q2_newimage;

/* `io` and the texts are borrowed.  `io` is NULL: nothing is written, and bytes
 * are not looked at; all that comes of it is the length.  Q2_E_ARG: these options do not go
 * together. */
enum q2_status q2_newimage_open(struct q2_io *io,
				const struct q2_newimage_opts *opts,
				struct q2_budget *budget,
				struct q2_newimage **out,
				struct q2_err *err) Q2_MUST_CHECK;
void q2_newimage_free(struct q2_newimage *w);

/* Guest clusters come in rising order, each once at the most, by one of these.
 * What is left out reads from the backing file, or else as zeros.  `cluster` is
 * a guest cluster's number. */

/* `bytes` are one cluster; NULL stands for zeros.  With extended L2 entries only the subclusters in
 * `alloc` hold data; those in `zero` read as zeros. */
enum q2_status q2_newimage_data(struct q2_newimage *w, uint64_t cluster,
				const uint8_t *bytes, uint32_t alloc,
				uint32_t zero, struct q2_err *err)
	Q2_MUST_CHECK;
/* A stream of `len` bytes, less than a cluster. */
enum q2_status q2_newimage_compressed(struct q2_newimage *w, uint64_t cluster,
				      const uint8_t *bytes, size_t len,
				      struct q2_err *err) Q2_MUST_CHECK;
/* Reads as zeros, whatever the backing file holds.  Version 3 only. */
enum q2_status q2_newimage_zero(struct q2_newimage *w, uint64_t cluster,
				struct q2_err *err) Q2_MUST_CHECK;

/* Bytes so far; after q2_newimage_finish() those of the file. */
uint64_t q2_newimage_length(const struct q2_newimage *w);

/* Bytes that q2_newimage_save() takes now. */
size_t q2_newimage_state(const struct q2_newimage *w);

/* Writes what is held, and adds to `out` all that it takes to go on from here. */
enum q2_status q2_newimage_save(struct q2_newimage *w, struct q2_buf *out,
				struct q2_err *err) Q2_MUST_CHECK;

/* Goes on from there, right after q2_newimage_open() with the same options.  The file
 * has `size` bytes, *end of which count; false if the state makes no sense or is not
 * of this file, and then the writer is of no use any more. */
bool q2_newimage_restore(struct q2_newimage *w, const uint8_t *bytes,
			 size_t len, uint64_t size, uint64_t *end);

/* Adds a bitmap; after all of the data. */
enum q2_status q2_newimage_bitmap(struct q2_newimage *w,
				  const struct q2_newbitmap *b,
				  struct q2_err *err) Q2_MUST_CHECK;

/* Writes what is still missing, the header last, after a flush. */
enum q2_status q2_newimage_finish(struct q2_newimage *w,
				  struct q2_err *err) Q2_MUST_CHECK;

#endif
