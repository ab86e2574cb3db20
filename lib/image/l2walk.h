/*
 * l2walk.h - reading every distinct L2 table once, and counting what it names.
 *
 * SPDX-License-Identifier: MIT
 *
 * The second half of walking once.  Tables of one L1 slot are read together, so
 * that an entry which snapshots share can be told from two guest clusters that
 * share a host cluster; otherwise in the order of the file.
 */
#ifndef Q2_IMAGE_L2WALK_H
#define Q2_IMAGE_L2WALK_H

#include <string.h>

#include "format/entry.h"
#include "image/l2refs.h"
#include "image/refmap.h"

/* A part of one L2 table: `n` entries from number `first` on. */
struct q2_l2slice {
	const struct q2_l2ref *ref;
	const uint8_t *bytes;
	uint32_t first;
	uint32_t n;
	uint32_t from; /* of them: these were counted before */
	/* The same part of the `earlier` other tables of the slot: table t at
	 * `others + t * stride`. */
	const uint8_t *others;
	uint32_t earlier;
	size_t stride;
};

/* How far a walk came.  So many tables are done, in its order, all of their groups;
 * of the next group, unless `entries` is 0, what comes before entry number `entries`
 * of refs->tables.at[table]. */
struct q2_l2_place {
	uint64_t tables;
	uint32_t table;
	uint32_t entries;
};

struct q2_l2reader {
	enum q2_status (*slice)(void *ctx, const struct q2_l2slice *s);
	/* A table could not be read; the status to return. */
	enum q2_status (*unreadable)(void *ctx, const struct q2_l2ref *ref,
				     enum q2_status status,
				     const struct q2_err *why);
	/* Between tables; anything but Q2_OK ends the walk. */
	enum q2_status (*tick)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
	struct q2_l2_place from; /* where to begin; of these refs, or zeros */
};

/* Q2_E_FORMAT: there is no such place to begin at. */
enum q2_status q2_l2_read(const struct q2_image *img,
			  const struct q2_l2refs *refs,
			  const struct q2_l2reader *reader,
			  struct q2_err *err) Q2_MUST_CHECK;

/* One entry on its way through the counting. */
struct q2_l2visit {
	const struct q2_l2ref *ref;
	uint32_t index;
	uint64_t raw;
	uint64_t bitmap;
	bool repeat; /* an earlier table of this slot has the same entry */
	struct q2_l2_entry e;
};

struct q2_count {
	const struct q2_image *img;
	struct q2_refmap *map;
	struct q2_err *err;
	/* An entry with faults, past the disk's end, or compressed. */
	enum q2_status (*odd)(void *ctx, const struct q2_l2visit *v);
	/* The cluster has references from elsewhere already. */
	enum q2_status (*shared)(void *ctx, uint64_t clu);
	void *ctx;
	/* As qemu-img check counts them: in the active tree. */
	uint64_t allocated;
	uint64_t fragmented;
	uint64_t compressed;
	uint64_t mapped;      /* data file: entries that are not unallocated */
	uint64_t data_end;    /* data file: the highest end that is mapped */
	uint64_t next;	      /* offset that would continue the last one */
};

/* Counts the references of one slice into the map. */
enum q2_status q2_l2_count(struct q2_count *c,
			   const struct q2_l2slice *s) Q2_MUST_CHECK;

/* Whether entry `i` of the slice is all zeros. */
static inline bool q2_l2_blank(const struct q2_geom *g,
			       const struct q2_l2slice *s, uint32_t i)
{
	static const uint8_t zeros[16];

	return memcmp(s->bytes + ((size_t)i << g->entry_bits), zeros,
		      (size_t)1 << g->entry_bits) == 0;
}

/* Entry `i` of the slice, decoded. */
void q2_l2_visit(const struct q2_geom *g, const struct q2_l2slice *s,
		 uint32_t i, struct q2_l2visit *v);

#endif
