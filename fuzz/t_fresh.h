/*
 * t_fresh.h - the parts of target dump.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_T_FRESH_H
#define Q2F_T_FRESH_H

#include "dump/qcow2.h"
#include "world.h"

/* Writes what `view` has, in the form `n`, and reads it again (M-7). */
void q2f_fresh_by_hand(const struct q2f_view *view,
		       struct q2_newimage_opts n, uint64_t choice);

/* A fresh image of no data with a bitmap, read 512 bytes at a time; of these the
 * bad-th cannot be read; 0: all can. */
enum q2_status q2f_fresh_bitmaps(struct q2_io *io, uint64_t bad,
				 struct q2_err *err);

/* A fresh image of 3 MiB, of which more is written at a time than is held back. */
enum q2_status q2f_fresh_large(struct q2_io *io, unsigned cluster_bits,
			       struct q2_err *err);

/* The guest of a world's files, or of one raw file. */
enum q2_status q2f_open_guest(struct q2_guest *g, struct q2f_world *w, bool raw);
void q2f_close_guest(struct q2_guest *g);

/* Some form of a fresh image. */
struct q2_newimage_opts q2f_form(uint64_t choice, uint64_t size,
				 enum q2_compress *compress);

/* A guest written into a fresh image. */
struct q2f_pack {
	const struct q2_newimage_opts *form;
	enum q2_compress compress;
	struct q2_io *io; /* NULL: its length is all that is wanted */
	uint32_t stop;	  /* the call of progress that stops it; 0: none */
	uint32_t below;	  /* layers from here on are kept; 0: none */
	unsigned percent; /* of the disk that is looked at; 0: all */
	uint64_t length;  /* set: of the image */
};
enum q2_status q2f_pack(struct q2_guest *g, struct q2f_pack *p,
			struct q2_err *err);

/* Other passes over the guest, of which nothing is lost; `want` is its digest. */
void q2f_passes(struct q2_guest *g, const struct q2f_world *w,
		const struct q2f_view *view, const struct q2_digest *want,
		uint64_t choice);

/* What comes of secrets for a chain with encrypted layers. */
void q2f_keys(struct q2_guest *g, unsigned choice);

#endif
