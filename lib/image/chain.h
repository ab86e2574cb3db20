/*
 * chain.h - an image with the files below it, and the guest's disk through all
 * of them.
 *
 * SPDX-License-Identifier: MIT
 *
 * What an image names is opened only as the policy allows.  Names are understood
 * as in resolve.h, formats as the overlay, or the name, states them.
 */
#ifndef Q2_IMAGE_CHAIN_H
#define Q2_IMAGE_CHAIN_H

#include "image/extents.h"
#include "image/open.h"

#define Q2_CHAIN_MAX 200u /* layers; QEMU's own limit of nested opens is near */

struct q2_policy {
	bool backing;	    /* follow backing files */
	bool data_files;    /* open external data files */
	bool data_if_any;   /* the same, but do without those that cannot be had */
	bool allow_probe;   /* a file without a stated format: look at it */
	/* The format, such as "raw", of those files; NULL: not known. */
	const char *backing_format;
	bool may_say_format; /* the user has an option for it */
	bool allow_any;	    /* files anywhere; servers are not meant */
	/* Folders, NULL at the end, whose files may be opened besides those in
	 * the folder of the image, and URIs of servers; NULL for none. */
	const char *const *allow;
	const char *data_file; /* of the image itself; NULL: as it says */
	unsigned max_layers;   /* 0: Q2_CHAIN_MAX */
	unsigned enough;       /* so many will do, if the next cannot be had; 0: no */
	/* Opens a file by the path that its name means; NULL: q2_io_open().
	 * With a function of the caller's no file system is asked where paths
	 * lead: they are compared as texts, and ".." is outside. */
	enum q2_status (*open)(void *ctx, const char *path, struct q2_io **io,
			       struct q2_err *err);
	void *ctx;
};

enum q2_format {
	Q2_FORMAT_QCOW2,
	Q2_FORMAT_RAW,
	Q2_FORMAT_PROBE /* QCOW2 if it begins so, else raw */
};

struct q2_layer {
	struct q2_io *io;   /* owned */
	struct q2_io *data; /* its data file, owned; NULL if not opened */
	struct q2_opened opened; /* all zero for a raw file */
	struct q2_map map;	 /* of opened.active, or another tree */
	bool raw;
	char *path; /* by which it was opened, as in a report */
	char *data_path; /* the same of the data file; NULL if not opened */
};

struct q2_chain {
	struct q2_budget *budget;
	struct q2_layer **layers; /* from the top; the image itself is 0 */
	unsigned n;
	bool cut; /* the last layer names a backing file that was not followed */
};

/* Opens the image at `path`, and what is below as far as the policy says.  On
 * failure the error's text names the file concerned; Q2_E_REFUSED names the
 * option that would allow it, and *chain is empty. */
enum q2_status q2_chain_open(const char *path, enum q2_format format,
			     const struct q2_policy *policy,
			     struct q2_budget *budget, struct q2_chain *chain,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Has the top layer show another tree of its own (a snapshot). */
enum q2_status q2_chain_tree(struct q2_chain *chain,
			     const struct q2_tree *tree,
			     struct q2_err *err) Q2_MUST_CHECK;

void q2_chain_close(struct q2_chain *chain);

/* Which layer below the top one a user means: its number, or the file of that name,
 * by whatever path or link if `look` is set.  chain->n: none. */
unsigned q2_chain_below(const struct q2_chain *chain, const char *text,
			bool look);

/* Bytes of the guest's disk: that of the top layer. */
static inline uint64_t q2_chain_size(const struct q2_chain *chain)
{
	return chain->layers[0]->map.size;
}

/* What the guest reads at a place: the first layer that has it. */
struct q2_piece {
	/* As the layer's map says; of kind Q2_MAP_NONE if no layer has it,
	 * which reads as zeros unless the chain is cut. */
	struct q2_extent e;
	/* The layer that has it.  If none has: the last one that could have
	 * had it, which is above a backing file that ends before. */
	unsigned depth;
};

/* *out starts at `guest`, is not empty and at most `length` bytes long;
 * guest < q2_chain_size().  Neighbours may be of the same kind. */
void q2_chain_at(struct q2_chain *chain, uint64_t guest, uint64_t length,
		 struct q2_piece *out);

/* Calls `take` for each piece of [guest, guest + length), as far as the disk
 * reaches, in order; ends with the first status other than Q2_OK. */
enum q2_status q2_chain_walk(struct q2_chain *chain, uint64_t guest,
			     uint64_t length,
			     enum q2_status (*take)(void *ctx,
						    const struct q2_piece *p),
			     void *ctx) Q2_MUST_CHECK;

#endif
