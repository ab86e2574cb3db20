/*
 * q2write.h - exercising the writer on an image in memory: what the parts share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2WRITE_H
#define Q2WRITE_H

#include "failalloc.h"
#include "image/write.h"
#include "testio.h"

#define SNAPS_MAX 8

struct blob {
	uint8_t *bytes;
	size_t n;
};

/* What the command line says. */
struct setup {
	const char *image;
	struct blob start; /* the image file as it was */
	struct blob view;  /* what the guest reads in it */
	struct blob below; /* the disk below; n = 0: none */
	struct blob snaps[SNAPS_MAX];
	unsigned n_snaps;
	uint64_t seed;
	unsigned ops;
	uint64_t batch;
	unsigned flags; /* enum q2_writer_flag */
	bool no_resize;
	/* What is no corruption although the check says so; NULL: nothing. */
	bool (*excused)(const struct q2_finding *f);
	const char *out; /* NULL: the result is not stored */
};

/* A run of operations: the image, the writer, and what the guest should read
 * after each operation. */
struct run {
	const struct setup *s;
	struct q2_io *mem;
	struct test_io t;
	struct q2_budget budget;
	struct q2_below below;
	struct q2_writer *w;
	uint64_t random;
	struct blob *history; /* after operation i - 1; 0 is the start */
	unsigned n_history;
	unsigned *op_at; /* for each event of the log: history[] when it was done */
	unsigned *committed_at; /* and the last one that was committed */
	size_t n_at;
	unsigned committed;
	bool quiet; /* nothing is compared on the way */
};

struct blob load(const char *path);
void store(const char *path, const void *bytes, size_t n);
enum q2_status read_blob(void *ctx, void *buf, size_t len, uint64_t off,
			 struct q2_err *err);

void run_open(struct run *r, const struct setup *s);
/* Opens the writer; not part of run_open(), as it may be made to fail. */
enum q2_status run_start(struct run *r);
/* Does up to s->ops operations; the first failure ends it. */
enum q2_status run_operations(struct run *r);
void run_close(struct run *r);

/* Reads the image with a fresh writer and compares: each 512 bytes must be as in
 * one of history[from] … history[to], and a check must find nothing worse than
 * leaks (with `clean`, nothing at all).  Dies with `what` otherwise. */
void compare(struct run *r, struct q2_io *io, unsigned from, unsigned to,
	     bool clean, const char *what);

/* Every prefix of the log, with torn writes, and parts of what was not flushed. */
void crash_all(struct run *r);

/* Operations such as write:OFFSET:LENGTH:BYTE on the file itself; see
 * q2write_script.c.  The exit status. */
int script_mode(const struct setup *s, char **ops, int n);

#endif
