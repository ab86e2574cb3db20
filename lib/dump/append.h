/*
 * append.h - a growing file, and the refcounts of what is appended to it.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Host cluster management".
 */
#ifndef Q2_DUMP_APPEND_H
#define Q2_DUMP_APPEND_H

#include "base/buf.h"
#include "base/vec.h"
#include "io/io.h"

Q2_VEC(q2_offsets, uint64_t)

struct q2_append {
	struct q2_io *io; /* NULL: nothing is written, lengths are counted */
	struct q2_budget *budget;
	unsigned cluster_bits;
	unsigned ref_order;
	unsigned block_bits; /* log2 of the refcounts in a block */
	uint64_t end;	     /* offset of the next byte to be appended */
	uint8_t *store;	     /* bytes before `end` that are not written yet */
	size_t held;
	uint64_t block;	     /* number of the block that fills up */
	uint8_t *counts[2];  /* its refcounts, and those of the next block */
	struct q2_offsets blocks; /* where the blocks before it are */
};

enum q2_status q2_append_open(struct q2_append *a, struct q2_io *io,
			      unsigned cluster_bits, unsigned ref_order,
			      struct q2_budget *budget,
			      struct q2_err *err) Q2_MUST_CHECK;
void q2_append_free(struct q2_append *a);

/* Appends one whole cluster with a refcount of 1, at *at; NULL stands for zeros. */
enum q2_status q2_append_cluster(struct q2_append *a, const uint8_t *bytes,
				 uint64_t *at,
				 struct q2_err *err) Q2_MUST_CHECK;

/* Appends a stream that shares its clusters with its neighbours, as far as
 * refcounts of this width allow. */
enum q2_status q2_append_stream(struct q2_append *a, const uint8_t *bytes,
				size_t len, uint64_t *at,
				struct q2_err *err) Q2_MUST_CHECK;

/* Writes what is held, and adds to `out` all that it takes to go on from here. */
enum q2_status q2_append_save(struct q2_append *a, struct q2_buf *out,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Goes on from there, right after q2_append_open() with the same numbers.  Returns
 * how many of the `len` bytes it was, or 0 if they make no sense. */
size_t q2_append_restore(struct q2_append *a, const uint8_t *bytes, size_t len,
			 struct q2_err *err);

/* Where the next whole cluster will be, if q2_append_finish() comes next. */
enum q2_status q2_append_place(struct q2_append *a, uint64_t *at,
			       struct q2_err *err) Q2_MUST_CHECK;

struct q2_append_piece {
	const uint8_t *bytes;
	size_t len; /* any number of clusters, the last one filled with zeros */
};

/* Appends these pieces, the first of what comes last, one after the other.  *table is
 * where the refcount table is then; it has *clusters of them.  Nothing can be appended
 * after that. */
enum q2_status q2_append_finish(struct q2_append *a,
				const struct q2_append_piece *pieces, size_t n,
				uint64_t *table, uint32_t *clusters,
				struct q2_err *err) Q2_MUST_CHECK;

#endif
