/*
 * world.h - the files that an input holds, and a guest's disk read from them.
 *
 * SPDX-License-Identifier: MIT
 *
 * An input is one image, or a pack of several: image 0, the others behind it, the
 * length of each of these (4 bytes, big-endian), their number (1 byte), "Q2PACK",
 * and a byte 0.  Names do not matter: what is opened first is image 0, what is
 * opened next is the next one.
 */
#ifndef Q2F_WORLD_H
#define Q2F_WORLD_H

#include "image/chain.h"
#include "map/disk.h"
#include "q2fuzz.h"

#define Q2F_FILES 8u
#define Q2F_PACK_TAIL 8u

struct q2f_world {
	struct q2f_input file[Q2F_FILES];
	unsigned n;
	unsigned opened;
	/* What the user allows and says: 0 is all, and nothing; see world.c. */
	unsigned choice;
};

void q2f_world_make(struct q2f_world *w, const struct q2f_input *in);

/* For struct q2_policy; ctx is the world. */
enum q2_status q2f_world_open(void *ctx, const char *path, struct q2_io **io,
			      struct q2_err *err);

/* Opens image 0 and, unless `alone`, what it names; *budget is the chain's. */
enum q2_status q2f_world_chain(struct q2f_world *w, bool alone,
			       struct q2_budget *budget,
			       struct q2_chain *chain, struct q2_err *err);

/* Inflates one cluster with the reference decoders, of zstd as many frames as it
 * takes, the last one to its end; false if it is not one. */
bool q2f_inflated(bool zstd, uint8_t *in, size_t n, uint8_t *out, size_t cs);

#define Q2F_VIEW (UINT64_C(1) << 20) /* so much of a disk is looked at */

/* The start of a disk, put together from rows without the library's readers. */
struct q2f_view {
	size_t n;	/* bytes */
	uint8_t *bytes; /* zeros where nothing could be read */
	uint8_t *lost;	/* by sector of 512 bytes: it could not */
	uint64_t n_lost; /* bytes */
	uint64_t rows;
	bool closed; /* encrypted, or in a file that is not open: not read */
};

/* Walks the rows of the disk, which have to be a partition of it (M-1), in each
 * manner of merging, and reads what they name. */
void q2f_view_make(struct q2f_view *v, struct q2_disk *disk);
void q2f_view_free(struct q2f_view *v);

#endif
