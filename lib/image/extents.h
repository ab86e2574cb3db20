/*
 * extents.h - what each byte of a guest's disk is in one image, in guest order.
 *
 * SPDX-License-Identifier: MIT
 *
 * A map answers for one tree (the active disk or a snapshot) of one QCOW2 image,
 * or for a raw image, without a view to backing files.  It keeps two small
 * windows and reads each table once if asked in rising order; holes in tables
 * are skipped.  Nothing is an error here: what cannot be read or makes no sense is
 * an extent of kind Q2_MAP_UNREADABLE, and the map goes on behind it.
 */
#ifndef Q2_IMAGE_EXTENTS_H
#define Q2_IMAGE_EXTENTS_H

#include "format/entry.h"
#include "image/holemap.h"
#include "image/image.h"

enum q2_map_kind {
	Q2_MAP_NONE,	   /* not in this image: the backing file's, or zeros */
	Q2_MAP_ZERO,	   /* reads as zeros, has no host bytes */
	Q2_MAP_ZERO_ALLOC, /* reads as zeros, keeps host bytes; a raw hole */
	Q2_MAP_DATA,	   /* the bytes at `host` (encrypted if geom.crypt) */
	Q2_MAP_COMPRESSED, /* one compressed cluster */
	Q2_MAP_UNREADABLE
};

/* Why an extent is Q2_MAP_UNREADABLE. */
enum q2_map_why {
	Q2_WHY_NONE,
	Q2_WHY_L1_MISSING, /* the L1 table is unusable, or too short */
	Q2_WHY_L1_READ,	   /* I/O error in the L1 table, or past the end */
	Q2_WHY_L1_ENTRY,   /* `faults` of the L1 entry */
	Q2_WHY_L2_READ,	   /* I/O error in the L2 table */
	Q2_WHY_L2_ENTRY	   /* `faults` of the L2 entry */
};

struct q2_extent {
	uint64_t guest;
	uint64_t length;
	/* Where the bytes of `guest` lie in the image's file, or in its data
	 * file if it has one.  Compressed: where the stream of the whole
	 * cluster starts, which may start before `guest`.  Q2_MAP_NONE has a
	 * host offset where subclusters are preallocated. */
	uint64_t host;
	uint64_t stored; /* compressed: bytes to the end of the last sector */
	enum q2_map_kind kind;
	bool has_host;
	/* The host bytes are certainly zeros because the file has a hole there
	 * or ends before; only told if q2_map_holes() was asked for. */
	bool hole;
	enum q2_map_why why;
	unsigned faults; /* enum q2_entry_fault */
};

struct q2_map {
	struct q2_image img; /* geometry all zero for a raw image */
	struct q2_tree tree;
	struct q2_io *host_io; /* borrowed: where `host` is; NULL: not open */
	uint64_t size;	       /* bytes that the map covers */
	bool raw;
	bool probe;
	bool no_l1; /* there should be an L1 table, but it cannot be used */
	uint8_t *l1;
	uint32_t l1_first; /* slots that l1[] holds, or that are zeros */
	uint32_t l1_n;
	enum { Q2_L1_HELD, Q2_L1_ZEROS, Q2_L1_BAD } l1_state;
	struct q2_holes l1_holes;
	uint8_t *l2;
	struct q2_range l2_held; /* what of the file l2[] holds */
	struct q2_range l2_bad;	 /* could not be read, or is past the end */
	struct q2_range l2_zero; /* lies in a hole */
	struct q2_holes l2_holes;
	struct q2_holemap probed; /* of host_io */
	/* enum q2_entry_fault: whatever was met so far, whether it changes the map
	 * or not. */
	struct q2_seen_faults {
		unsigned l1;
		unsigned l2;
		unsigned compressed; /* L2 entries of compressed clusters */
	} seen;
};

/* Starts a map of one tree; *img and *tree are copied, what they borrow stays
 * borrowed.  `data` is the open data file, or NULL. */
enum q2_status q2_map_open(struct q2_map *m, const struct q2_image *img,
			   const struct q2_tree *tree, struct q2_io *data,
			   struct q2_err *err) Q2_MUST_CHECK;

/* A raw image: data and holes, as far as the file system tells.  Needs no
 * q2_map_close(), but bears it. */
void q2_map_open_raw(struct q2_map *m, struct q2_io *io);

/* From now on data is told from holes of the file that it lies in. */
void q2_map_holes(struct q2_map *m, bool probe);

/* *out starts at `guest`, is not empty, and is at most `length` bytes long;
 * guest < m->size.  It ends early wherever that is convenient: the next one may
 * be of the same kind. */
void q2_map_at(struct q2_map *m, uint64_t guest, uint64_t length,
	       struct q2_extent *out);

void q2_map_close(struct q2_map *m);

/* True if the refcounts claim much more than the file stores: QEMU then takes
 * the image for one with preallocated metadata, and looks for holes where its
 * data lies. */
enum q2_status q2_map_preallocated(const struct q2_image *img, bool *yes,
				   struct q2_err *err) Q2_MUST_CHECK;

#endif
