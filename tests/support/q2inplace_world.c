/*
 * q2inplace_world.c - the files of a chain in memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "image/snaptable.h"
#include "q2inplace.h"

/* One opening of a file. */
struct handle {
	struct q2_io io;
	struct world *w;
	unsigned file;
};

static bool fails(struct world *w, int kind)
{
	return ++w->done[kind] == w->fail_at[kind];
}

static struct q2_io *mem_of(const struct handle *h)
{
	return h->w->files[h->file].mem;
}

static void record(struct handle *h, enum event_op op, uint64_t off,
		   const void *bytes, size_t len)
{
	struct world *w = h->w;
	struct event e = {h->file, op, off, len, NULL};

	if (!w->logging)
		return;
	w->log = realloc(w->log, (w->n_log + 1) * sizeof(*w->log));
	e.bytes = malloc(len + 1);
	if (w->log == NULL || e.bytes == NULL)
		die("no memory");
	if (len && bytes)
		memcpy(e.bytes, bytes, len);
	w->log[w->n_log++] = e;
}

static enum q2_status handle_pread(struct q2_io *io, void *buf, size_t len,
				   uint64_t off, struct q2_err *err)
{
	struct handle *h = (struct handle *)io;

	if (fails(h->w, 2))
		return q2_fail_errno(err, EIO, off, "read error");
	return q2_pread_zero(mem_of(h), buf, len, off, err);
}

static enum q2_status handle_pwrite(struct q2_io *io, const void *buf,
				    size_t len, uint64_t off,
				    struct q2_err *err)
{
	struct handle *h = (struct handle *)io;
	enum q2_status st;

	if (fails(h->w, 0))
		return q2_fail_errno(err, EIO, off, "write error");
	record(h, EVENT_WRITE, off, buf, len);
	st = q2_pwrite(mem_of(h), buf, len, off, err);
	io->size = mem_of(h)->size;
	return st;
}

static enum q2_status handle_resize(struct q2_io *io, uint64_t size,
				    struct q2_err *err)
{
	struct handle *h = (struct handle *)io;
	enum q2_status st;

	record(h, EVENT_RESIZE, size, NULL, 0);
	st = q2_resize(mem_of(h), size, err);
	io->size = mem_of(h)->size;
	return st;
}

static enum q2_status handle_flush(struct q2_io *io, struct q2_err *err)
{
	struct handle *h = (struct handle *)io;

	if (fails(h->w, 1))
		return q2_fail_errno(err, EIO, Q2_NO_OFFSET, "cannot flush");
	record(h, EVENT_FLUSH, 0, NULL, 0);
	return Q2_OK;
}

enum q2_status discard_bytes(struct q2_io *io, uint64_t off, size_t len)
{
	enum q2_status st;
	uint8_t *rubbish = malloc(len);

	if (rubbish == NULL)
		die("no memory");
	memset(rubbish, 0xd5, len);
	st = q2_pwrite(io, rubbish, len, off, NULL);
	free(rubbish);
	return st;
}

static enum q2_status handle_discard(struct q2_io *io, struct q2_range range,
				     struct q2_err *err)
{
	struct handle *h = (struct handle *)io;

	(void)err;
	record(h, EVENT_DISCARD, range.start, NULL, (size_t)range.len);
	return discard_bytes(mem_of(h), range.start, (size_t)range.len);
}

static void handle_close(struct q2_io *io)
{
	free(io);
}

static const struct q2_io_ops handle_ops = {
	.pread = handle_pread,
	.pwrite = handle_pwrite,
	.resize = handle_resize,
	.flush = handle_flush,
	.discard = handle_discard,
	.close = handle_close,
};

static bool slurp(const char *path, struct bytes *b)
{
	FILE *f = fopen(path, "rb");
	long n;

	*b = (struct bytes){0};
	if (f == NULL)
		return false;
	if (fseek(f, 0, SEEK_END) != 0 || (n = ftell(f)) < 0)
		die("%s: cannot be read", path);
	rewind(f);
	b->n = (size_t)n;
	b->at = malloc(b->n + 1);
	if (b->at == NULL || fread(b->at, 1, b->n, f) != b->n)
		die("%s: cannot be read", path);
	fclose(f);
	return true;
}

static enum q2_status find_file(struct world *w, const char *path,
				unsigned *out, struct q2_err *err)
{
	struct file *f;

	for (*out = 0; *out < w->n_files; ++*out)
		if (strcmp(w->files[*out].name, path) == 0)
			return Q2_OK;
	if (w->n_files == FILES_MAX)
		die("too many files");
	f = &w->files[w->n_files];
	if (!slurp(path, &f->start))
		return q2_fail_errno(err, ENOENT, Q2_NO_OFFSET, "cannot open");
	f->name = strdup(path);
	if (f->name == NULL ||
	    q2_io_memory_rw(f->start.at, f->start.n, 0, &f->mem, NULL) !=
		    Q2_OK)
		die("no memory");
	w->n_files++;
	return Q2_OK;
}

static enum q2_status open_handle(struct world *w, const char *path,
				  bool writable, struct q2_io **io,
				  struct q2_err *err)
{
	struct handle *h;
	unsigned file;
	enum q2_status st = find_file(w, path, &file, err);

	*io = NULL;
	if (st != Q2_OK)
		return st;
	h = malloc(sizeof(*h));
	if (h == NULL)
		die("no memory");
	*h = (struct handle){.w = w, .file = file};
	h->io.ops = &handle_ops;
	h->io.size = h->io.stored = mem_of(h)->size;
	h->io.writable = writable;
	*io = &h->io;
	return Q2_OK;
}

static enum q2_status open_ro(void *ctx, const char *path, struct q2_io **io,
			      struct q2_err *err)
{
	return open_handle(ctx, path, false, io, err);
}

static enum q2_status open_rw(void *ctx, const char *path, struct q2_io **io,
			      struct q2_err *err)
{
	return open_handle(ctx, path, true, io, err);
}

struct q2_inplace_files world_files(struct world *w)
{
	return (struct q2_inplace_files){open_ro, open_rw, w};
}

void world_reset(struct world *w)
{
	for (unsigned i = 0; i < w->n_files; i++) {
		struct file *f = &w->files[i];

		q2_io_close(f->mem);
		if (q2_io_memory_rw(f->start.at, f->start.n, 0, &f->mem,
				    NULL) != Q2_OK)
			die("no memory");
	}
}

static struct q2_chain open_chain(struct world *w, const char *path,
				  struct q2_budget *budget, const char *what)
{
	struct q2_policy policy = {.backing = true,
				   .data_files = true,
				   .open = open_ro,
				   .ctx = w};
	struct q2_err err = {0};
	struct q2_chain chain;

	if (q2_chain_open(path, Q2_FORMAT_QCOW2, &policy, budget, &chain,
			  &err) != Q2_OK)
		die("%s: %s", what, err.text);
	return chain;
}

/* Reads one tree of an image with all that is below it. */
static struct bytes read_view(struct world *w, unsigned file, uint32_t tree,
			      const char *what)
{
	struct q2_budget budget = {0};
	struct q2_chain chain = open_chain(w, w->files[file].name, &budget,
					   what);
	struct q2_snaptable table = {0};
	struct q2_view *v = malloc(sizeof(*v));
	struct q2_keyring keys;
	struct q2_err err = {0};
	enum q2_status st = q2_keyring_open(&keys, &chain, w->opts->secrets,
					    w->opts->n_secrets, &err);
	struct bytes b;

	if (v == NULL)
		die("no memory");
	if (st == Q2_OK && tree != Q2_TREE_ACTIVE) {
		st = q2_snaptable_read(&chain.layers[0]->opened.img, &table,
				       &err);
		if (st == Q2_OK && tree >= table.snaps.n)
			die("%s: a snapshot is missing", what);
		if (st == Q2_OK)
			st = q2_chain_tree(&chain, &table.snaps.at[tree].tree,
					   &err);
		q2_snaptable_free(&table, &budget);
	}
	q2_view_init(v, &chain, &keys, 0, chain.n);
	b.n = (size_t)q2_view_size(v);
	b.at = malloc(b.n + 1);
	if (b.at == NULL)
		die("no memory");
	if (st == Q2_OK)
		st = q2_view_read(v, b.at, b.n, 0, &err);
	if (st != Q2_OK)
		die("%s: %s cannot be read: %s", what, w->files[file].name,
		    err.text);
	q2_view_free(v);
	q2_keyring_close(&keys);
	free(v);
	q2_chain_close(&chain);
	return b;
}

static void add_view(struct world *w, unsigned file, uint32_t tree)
{
	if (w->n_views == VIEWS_MAX)
		die("too many views");
	w->views[w->n_views++] = (struct view){
		file, tree, read_view(w, file, tree, "at the start")};
}

void world_load(struct world *w, const char *view)
{
	struct q2_budget budget = {0};
	struct q2_chain chain = open_chain(w, w->top, &budget, w->top);
	bool commit = w->opts->job == Q2_COMMIT;
	struct bytes want;

	for (unsigned i = 0; i < chain.n; i++) {
		const struct q2_layer *l = chain.layers[i];
		unsigned file;

		if (l->raw || find_file(w, l->path, &file, NULL) != Q2_OK)
			continue;
		/* Nobody may use the others while a commit changes their base. */
		if (i == 0 || !commit)
			add_view(w, file, Q2_TREE_ACTIVE);
		for (uint32_t k = 0; k < l->opened.img.geom.snapshots; k++)
			add_view(w, file, k);
	}
	q2_chain_close(&chain);
	if (!slurp(view, &want) || want.n != w->views[0].want.n ||
	    memcmp(want.at, w->views[0].want.at, want.n) != 0)
		die("%s: is not read as it should be", w->top);
	free(want.at);
}

void world_free(struct world *w)
{
	for (unsigned i = 0; i < w->n_files; i++) {
		q2_io_close(w->files[i].mem);
		free(w->files[i].start.at);
		free(w->files[i].name);
	}
	for (unsigned i = 0; i < w->n_views; i++)
		free(w->views[i].want.at);
	for (size_t i = 0; i < w->n_log; i++)
		free(w->log[i].bytes);
	free(w->log);
}

static void check(const struct file *f, const char *what)
{
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA};
	struct q2_check_result r;

	if (q2_check(f->mem, &opts, &r, NULL) != Q2_OK ||
	    (!r.is_raw && r.verdict > Q2_LEAKS))
		die("%s: the check of %s says %s", what, f->name,
		    q2_verdict_text(r.verdict));
}

void world_compare(struct world *w, const char *what)
{
	bool logging = w->logging;

	w->logging = false;
	for (unsigned i = 0; i < w->n_files; i++)
		check(&w->files[i], what);
	for (unsigned i = 0; i < w->n_views; i++) {
		const struct view *v = &w->views[i];
		struct bytes got = read_view(w, v->file, v->tree, what);
		size_t at = 0;

		if (got.n != v->want.n)
			die("%s: %s has another size", what,
			    w->files[v->file].name);
		while (at < got.n && got.at[at] == v->want.at[at])
			at++;
		if (at < got.n)
			die("%s: %s (tree %u) differs at %zu", what,
			    w->files[v->file].name, v->tree, at);
		free(got.at);
	}
	w->logging = logging;
}
