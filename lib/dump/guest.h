/*
 * guest.h - an opened chain with its keys: what a guest reads.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_GUEST_H
#define Q2_DUMP_GUEST_H

#include "dump/keys.h"

struct q2_guest {
	struct q2_budget budget;
	struct q2_chain chain;
	struct q2_chain view; /* the layers that are shown: a part of `chain` */
	struct q2_key **keys; /* for each layer of `chain`; NULL: plain */
	uint32_t bitmaps;
	uint64_t size;
};

/* As q2_guest_open(), but the image's bytes are in `io`, borrowed; `path` is what
 * it is called. */
enum q2_status q2_guest_open_io(struct q2_io *io, const char *path,
				const struct q2_guest_opts *opts,
				struct q2_guest **guest,
				struct q2_err *err) Q2_MUST_CHECK;

/* The key of a layer of the view; NULL if its data are plain. */
static inline const struct q2_key *q2_guest_key(const struct q2_guest *g,
						unsigned depth)
{
	return g->keys[(size_t)(g->view.layers - g->chain.layers) + depth];
}

/* Whether its data are encrypted, whether its key is known or not. */
static inline bool q2_layer_encrypted(const struct q2_guest *g, unsigned depth)
{
	const struct q2_layer *layer = g->view.layers[depth];

	return !layer->raw && layer->opened.img.geom.crypt != 0;
}

/* Whether data are meant to be in clusters of a data file that lie past its end,
 * where no writer leaves any. */
bool q2_guest_cut(const struct q2_guest *g, const struct q2_piece *p);

/* Q2_E_FORMAT if a header is damaged so that its layer may read as something else
 * than it should: the text names the problem of the catalogue. */
enum q2_status q2_guest_sound(struct q2_guest *g, const struct q2_layer *layer,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Reads a layer's first cluster; to be freed with q2_put(). */
enum q2_status q2_guest_first(struct q2_guest *g, const struct q2_opened *layer,
			      uint8_t **bytes,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Whether any layer of the view is encrypted. */
bool q2_guest_encrypted(const struct q2_guest *g);

/* The largest cluster of any layer of the view, in bytes; 0: all are raw. */
size_t q2_guest_cluster(const struct q2_guest *g);

/* What the guest reads at a place, as q2_chain_at(). */
static inline void q2_guest_at(struct q2_guest *g, uint64_t guest,
			       uint64_t length, struct q2_piece *out)
{
	q2_chain_at(&g->view, guest, length, out);
}

#endif
