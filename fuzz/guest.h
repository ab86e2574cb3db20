/*
 * guest.h - what a guest reads from an image, cluster by cluster.
 *
 * SPDX-License-Identifier: MIT
 *
 * A reader of its own, for tiny images, that shares nothing with the library.
 */
#ifndef Q2F_GUEST_H
#define Q2F_GUEST_H

#include "q2fuzz.h"

/* Digests up to this are of no data. */
#define Q2F_GUEST_ZEROS 2u

struct q2f_guest {
	uint64_t cluster_size; /* 0: the image was not read */
	bool plain; /* no subclusters, no encryption */
	bool opens; /* L1 reaches as far as the disk: else QEMU refuses it */
	uint64_t disk;
	size_t n;
	/* By guest cluster of the disk: a digest of what is read, or 0 if that is in
	 * doubt: a table or cluster is out of the file, unaligned, or has a reference
	 * that is not another disk's to the same place. */
	uint64_t *digest;
	/* Of the active disk: those of snapshots whose records are sound. */
	struct q2f_guest *snapshots;
	size_t n_snapshots;
	uint32_t index; /* a snapshot's number in the table, */
	uint64_t name;	/* a digest of its id and name, */
	uint64_t bare;	/* of its name alone, */
	uint64_t l1;	/* and where its table is */
	bool sound;	/* nothing is wrong with its record */
};

/* `strict`: doubt everything that has two references.  Otherwise only what
 * cannot be read at all is 0. */
void q2f_guest_read(struct q2f_guest *g, const uint8_t *image, size_t size,
		    bool strict);
/* Strict, and what its refcount does not confirm is in doubt, too. */
void q2f_guest_read_counted(struct q2f_guest *g, const uint8_t *image,
			    size_t size);
/* The same of a raw image, in sectors. */
void q2f_guest_read_raw(struct q2f_guest *g, const uint8_t *image, size_t size);
void q2f_guest_free(struct q2f_guest *g);

/* Bytes [start, start + len) of a disk are in doubt: of a snapshot's by its number, or
 * of the active one's (Q2_TREE_ACTIVE). */
void q2f_guest_doubt(struct q2f_guest *g, uint32_t tree, uint64_t start,
		     uint64_t len);

/* Violates `oracle` if these bytes, the start of the same disk, or of a snapshot's (as
 * above), are not what was read from a plain image. */
void q2f_guest_same(const struct q2f_guest *g, uint32_t tree,
		    const uint8_t *bytes, size_t n, const char *oracle);

/* The same of a chain of n layers, the top one first: what shows through those above it
 * is looked at, as far as each layer could be read. */
void q2f_guest_layered(const struct q2f_guest *layers, size_t n,
		       const uint8_t *bytes, size_t size, const char *oracle);

/* Violates `oracle` if a cluster that was beyond doubt now reads otherwise. */
void q2f_guest_compare(const struct q2f_guest *before,
		       const struct q2f_guest *after, const char *oracle);

#endif
