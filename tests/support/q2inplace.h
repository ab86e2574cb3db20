/*
 * q2inplace.h - flattening in place, on files in memory that may crash.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2INPLACE_H
#define Q2INPLACE_H

#include "dump/inplace.h"
#include "failalloc.h"

#define FILES_MAX 16
#define VIEWS_MAX 32

struct bytes {
	uint8_t *at;
	size_t n;
};

/* A file of the chain.  Its name is the path by which it is opened. */
struct file {
	char *name;
	struct bytes start;
	struct q2_io *mem; /* as it is now */
};

enum event_op { EVENT_WRITE, EVENT_RESIZE, EVENT_FLUSH, EVENT_DISCARD };

struct event {
	unsigned file;
	enum event_op op;
	uint64_t off; /* or the new size */
	size_t len;
	uint8_t *bytes;
};

/* Something that somebody reads, and that must stay as it is. */
struct view {
	unsigned file;
	uint32_t tree; /* Q2_TREE_ACTIVE or a snapshot */
	struct bytes want;
};

struct world {
	const char *top;
	const struct q2_inplace_opts *opts;
	struct file files[FILES_MAX];
	unsigned n_files;
	struct view views[VIEWS_MAX];
	unsigned n_views;
	struct event *log;
	size_t n_log;
	bool logging;
	unsigned done[3]; /* writes, flushes, reads */
	unsigned fail_at[3];
};

/* What is in the range then is anything but what was. */
enum q2_status discard_bytes(struct q2_io *io, uint64_t off, size_t len);

struct q2_inplace_files world_files(struct world *w);
/* Puts every file back to its start. */
void world_reset(struct world *w);
/* Loads the chain, and notes what is read in it; `view` is what the guest of the
 * top image reads, as somebody else has it. */
void world_load(struct world *w, const char *view);
void world_free(struct world *w);
/* Dies unless all views are as they were, and no image is worse than leaky. */
void world_compare(struct world *w, const char *what);

#endif
