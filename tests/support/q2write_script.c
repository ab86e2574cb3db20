/*
 * q2write_script.c - operations from the command line, on a real file.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "q2write.h"

#define FIELDS 4

/* Splits "a:b:c" in place. */
static unsigned split(char *text, char *field[FIELDS])
{
	unsigned n = 0;

	while (text && n < FIELDS) {
		field[n++] = text;
		text = strchr(text, ':');
		if (text)
			*text++ = '\0';
	}
	for (unsigned i = n; i < FIELDS; i++)
		field[i] = NULL;
	return n;
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n;

	if (text == NULL)
		die("a number is missing");
	n = strtoull(text, &end, 0);
	return n << (*end == 'G' ? 30 : *end == 'M' ? 20 : *end == 'K' ? 10 : 0);
}

static enum q2_status fill(struct q2_writer *w, char *const *f,
			   struct q2_err *err)
{
	uint64_t off = number(f[1]);
	size_t len = (size_t)number(f[2]);
	uint8_t *bytes = malloc(len + 1);
	enum q2_status st;

	if (bytes == NULL)
		die("no memory");
	memset(bytes, (int)number(f[3]), len);
	st = q2_write(w, bytes, len, off, err);
	free(bytes);
	return st;
}

static enum q2_status operation(struct q2_writer *w, char *text,
				struct q2_err *err)
{
	char *f[FIELDS];
	unsigned n = split(text, f);

	if (strcmp(f[0], "write") == 0)
		return fill(w, f, err);
	if (strcmp(f[0], "zeros") == 0)
		return q2_write_zeros(w, number(f[1]), number(f[2]),
				      n > 3 ? Q2_ZEROS_KEEP : Q2_ZEROS_PLAIN,
				      err);
	if (strcmp(f[0], "discard") == 0)
		return q2_write_discard(w, number(f[1]), number(f[2]), err);
	if (strcmp(f[0], "resize") == 0)
		return q2_write_resize(w, number(f[1]), false, err);
	if (strcmp(f[0], "empty") == 0)
		return q2_write_empty(w, err);
	if (strcmp(f[0], "shrink") == 0)
		return q2_write_shrink(w, err);
	if (strcmp(f[0], "commit") == 0)
		return q2_write_commit(w, err);
	if (strcmp(f[0], "backing") == 0)
		return q2_write_backing(w, f[1], f[2], false, err);
	die("unknown operation '%s'", f[0]);
}

int script_mode(const struct setup *s, char **ops, int n)
{
	struct q2_below below = {read_blob, (void *)(uintptr_t)&s->below,
				 s->below.n};
	struct q2_writer_opts opts = {.flags = s->flags,
				      .batch = s->batch,
				      .below = s->below.n ? &below : NULL};
	struct q2_budget budget = {0};
	struct q2_writer *w = NULL;
	struct q2_err err = {0};
	struct q2_io *io;
	enum q2_status st = q2_io_open_rw(s->image, &io, &err);

	if (st == Q2_OK)
		st = q2_writer_open(io, &budget, &opts, &w, &err);
	for (int i = 0; i < n && st == Q2_OK; i++)
		st = operation(w, ops[i], &err);
	if (st == Q2_OK)
		st = q2_write_commit(w, &err);
	q2_writer_close(w);
	q2_io_close(io);
	if (st != Q2_OK)
		fprintf(stderr, "q2write: %s: %s\n", s->image, err.text);
	return st == Q2_OK ? 0 : 1;
}
