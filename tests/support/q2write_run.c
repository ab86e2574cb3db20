/*
 * q2write_run.c - random operations on an image, and the same on a plain array.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "image/snaptable.h"
#include "image/extents.h"
#include "image/inflate.h"
#include "q2write.h"

#define SECTOR 512u

static uint64_t below_limit(struct run *r, uint64_t limit)
{
	r->random = r->random * UINT64_C(6364136223846793005) +
		    UINT64_C(1442695040888963407);
	return limit ? (r->random >> 24) % limit : 0;
}

enum q2_status read_blob(void *ctx, void *buf, size_t len, uint64_t off,
			 struct q2_err *err)
{
	const struct blob *b = ctx;
	size_t n = off < b->n ? (size_t)q2_min(len, b->n - off) : 0;

	(void)err;
	if (n)
		memcpy(buf, b->bytes + off, n);
	memset((char *)buf + n, 0, len - n);
	return Q2_OK;
}

static struct blob copy_blob(const struct blob *b, size_t n)
{
	struct blob out = {malloc(n + 1), n};
	size_t there = (size_t)q2_min(n, b->n);

	if (out.bytes == NULL)
		die("no memory");
	memcpy(out.bytes, b->bytes, there);
	memset(out.bytes + there, 0, n - there);
	return out;
}

static void remember(struct run *r, struct blob view)
{
	r->history = realloc(r->history,
			     (r->n_history + 1) * sizeof(*r->history));
	if (r->history == NULL)
		die("no memory");
	r->history[r->n_history++] = view;
}

/* Notes for the events that came since: during which operation they were. */
static void note_events(struct run *r)
{
	size_t n = r->t.n_log;

	r->op_at = realloc(r->op_at, (n + 1) * sizeof(*r->op_at));
	r->committed_at = realloc(r->committed_at,
				  (n + 1) * sizeof(*r->committed_at));
	if (r->op_at == NULL || r->committed_at == NULL)
		die("no memory");
	for (; r->n_at < n; r->n_at++) {
		r->op_at[r->n_at] = r->n_history - 1;
		r->committed_at[r->n_at] = r->committed;
	}
}

void run_open(struct run *r, const struct setup *s)
{
	*r = (struct run){.s = s, .random = s->seed};
	if (q2_io_memory_rw(s->start.bytes, s->start.n, 0, &r->mem, NULL) !=
	    Q2_OK)
		die("no memory");
	test_io_open(&r->t, r->mem);
	r->below = (struct q2_below){read_blob,
				     (void *)(uintptr_t)&s->below,
				     s->below.n};
	remember(r, copy_blob(&s->view, s->view.n));
}

static struct q2_writer_opts options(const struct run *r)
{
	return (struct q2_writer_opts){.below = r->s->below.n ? &r->below :
								NULL,
				       .flags = r->s->flags,
				       .batch = r->s->batch};
}

enum q2_status run_start(struct run *r)
{
	struct q2_writer_opts opts = options(r);

	return q2_writer_open(&r->t.io, &r->budget, &opts, &r->w, NULL);
}

void run_close(struct run *r)
{
	q2_writer_close(r->w);
	q2_io_close(&r->t.io);
	q2_io_close(r->mem);
	for (unsigned i = 0; i < r->n_history; i++)
		free(r->history[i].bytes);
	free(r->history);
	free(r->op_at);
	free(r->committed_at);
	if (r->budget.used)
		die("%s: %llu bytes are leaked", r->s->image,
		    (unsigned long long)r->budget.used);
}

/* A range of the disk, often aligned, often small. */
static void some_range(struct run *r, uint64_t size, uint64_t *off,
		       uint64_t *len)
{
	uint64_t cs = q2_writer_geom(r->w)->cluster_size;
	uint64_t unit = below_limit(r, 3) ? (below_limit(r, 2) ? cs : SECTOR) :
					    1;
	uint64_t most = below_limit(r, 4) ? 2 * cs : 12 * cs;

	*off = below_limit(r, size) / unit * unit;
	*len = q2_min(below_limit(r, most) / unit * unit + unit, size - *off);
}

static enum q2_status some_write(struct run *r, struct blob *view,
				 uint64_t off, uint64_t len)
{
	uint64_t tag = r->n_history;

	for (uint64_t i = 0; i < len; i++)
		view->bytes[off + i] =
			(uint8_t)((off + i) * 7 + (off + i) / 512 + tag * 37);
	return q2_write(r->w, view->bytes + off, (size_t)len, off, NULL);
}

static enum q2_status some_discard(struct run *r, struct blob *view,
				   uint64_t off, uint64_t len)
{
	const struct q2_geom *g = q2_writer_geom(r->w);
	uint64_t end = off + len;

	if (g->version > 2 || r->s->below.n == 0) {
		uint64_t from = q2_div_up(off, g->cluster_size)
				<< g->cluster_bits;

		if (end < view->n)
			end = end >> g->cluster_bits << g->cluster_bits;
		if (from < end)
			memset(view->bytes + from, 0, (size_t)(end - from));
	}
	return q2_write_discard(r->w, off, len, NULL);
}

static enum q2_status some_resize(struct run *r, struct blob *view)
{
	uint64_t more = (below_limit(r, 40) + 1) * SECTOR;
	struct q2_err err = {0};
	struct blob larger;
	enum q2_status st;

	if (r->s->no_resize || view->n > (1u << 21))
		return Q2_OK;
	if (below_limit(r, 3) == 0)
		more *= 32;
	larger = copy_blob(view, view->n + (size_t)more);
	free(view->bytes);
	*view = larger;
	st = q2_write_resize(r->w, view->n, false, &err);
	if (st == Q2_E_UNSUPPORTED)
		die("%s: cannot grow: %s", r->s->image, err.text);
	return st;
}

static enum q2_status some_empty(struct run *r, struct blob *view)
{
	if (below_limit(r, 4))
		return Q2_OK;
	(void)read_blob((void *)(uintptr_t)&r->s->below, view->bytes, view->n,
			0, NULL);
	return q2_write_empty(r->w, NULL);
}

static enum q2_status operation(struct run *r)
{
	struct blob view = copy_blob(&r->history[r->n_history - 1],
				     r->history[r->n_history - 1].n);
	uint64_t kind = below_limit(r, 32);
	uint64_t off, len;
	enum q2_status st = Q2_OK;
	bool commits = false;

	some_range(r, view.n, &off, &len);
	/* In the history first: any part of it may be on the disk when it
	 * fails. */
	if (kind < 15) {
		st = some_write(r, &view, off, len);
	} else if (kind < 22) {
		memset(view.bytes + off, 0, (size_t)len);
		st = q2_write_zeros(r->w, off, len,
				    kind & 1 ? Q2_ZEROS_KEEP : Q2_ZEROS_PLAIN,
				    NULL);
	} else if (kind < 26) {
		st = some_discard(r, &view, off, len);
	} else if (kind == 26) {
		st = some_resize(r, &view);
	} else if (kind == 27) {
		st = some_empty(r, &view);
	} else {
		st = q2_write_commit(r->w, NULL);
		commits = st == Q2_OK && kind != 28;
		if (kind == 28 && st == Q2_OK)
			st = q2_write_shrink(r->w, NULL);
	}
	remember(r, view);
	note_events(r);
	if (commits)
		r->committed = r->n_history - 1;
	return st;
}

enum q2_status run_operations(struct run *r)
{
	enum q2_status st = Q2_OK;

	for (unsigned i = 0; i < r->s->ops && st == Q2_OK; i++) {
		unsigned last = r->n_history - 1;

		st = operation(r);
		if (st == Q2_OK && !r->quiet &&
		    r->committed == r->n_history - 1) {
			char what[40];

			snprintf(what, sizeof(what), "operation %u", i);
			compare(r, r->mem, last + 1, last + 1, true, what);
		}
	}
	if (st == Q2_OK)
		st = q2_write_commit(r->w, NULL);
	note_events(r);
	if (st == Q2_OK)
		r->committed = r->n_history - 1;
	return st;
}

static void print_finding(void *ctx, const struct q2_finding *f)
{
	char text[300];

	(void)ctx;
	if (f->problem->severity == Q2_ADVICE)
		return;
	q2_finding_message(f, text, sizeof(text));
	fprintf(stderr, "  %s: %s\n", f->problem->id, text);
}

struct excuses {
	const struct setup *s;
	unsigned serious;
};

static void weigh(void *ctx, const struct q2_finding *f)
{
	struct excuses *e = ctx;

	e->serious += f->problem->severity == Q2_CORRUPT && !e->s->excused(f);
}

static void check(struct run *r, struct q2_io *io, bool clean,
		  const char *what)
{
	struct q2_check_opts opts = {.flags = Q2_CHECK_DATA};
	struct q2_check_result result;

	if (q2_check(io, &opts, &result, NULL) != Q2_OK)
		die("%s: %s: cannot be checked", r->s->image, what);
	if (result.verdict == Q2_CLEAN ||
	    (!clean && result.verdict == Q2_LEAKS))
		return;
	if (r->s->excused && !clean) {
		struct excuses e = {r->s, 0};

		opts.found = weigh;
		opts.ctx = &e;
		if (q2_check(io, &opts, &result, NULL) == Q2_OK && !e.serious)
			return;
	}
	opts.found = print_finding;
	if (q2_check(io, &opts, &result, NULL) != Q2_OK)
		die("%s: cannot be checked", what);
	die("%s: seed %llu: %s: the check says %s", r->s->image,
	    (unsigned long long)r->s->seed, what,
	    q2_verdict_text(result.verdict));
}

static bool fits(const struct run *r, const uint8_t *got, uint64_t off,
		 size_t n, unsigned from, unsigned to)
{
	for (unsigned i = to + 1; i-- > from;) {
		const struct blob *b = &r->history[i];

		if (off + n <= b->n && memcmp(got, b->bytes + off, n) == 0)
			return true;
	}
	return false;
}

/* What the snapshot holds, read through its own map. */
static void read_snapshot(struct run *r, const struct q2_image *img,
			  const struct q2_snap *snap, struct blob *out)
{
	struct q2_inflate *work = NULL;
	struct q2_extent e;
	struct q2_map map;

	if (q2_map_open(&map, img, &snap->tree, NULL, NULL) != Q2_OK ||
	    q2_inflate_new(img, &work, NULL) != Q2_OK)
		die("cannot map a snapshot");
	for (uint64_t at = 0; at < out->n && at < map.size; at += e.length) {
		uint8_t *to = out->bytes + at;
		const uint8_t *bytes;
		enum q2_status st = Q2_OK;
		bool whole = true;
		size_t n;

		q2_map_at(&map, at, out->n - at, &e);
		if (e.kind == Q2_MAP_DATA) {
			st = q2_pread_zero(img->io, to, (size_t)e.length,
					   e.host, NULL);
		} else if (e.kind == Q2_MAP_COMPRESSED) {
			struct q2_range host = {e.host, e.stored};

			st = q2_inflate(work, host, &bytes, &n, &whole, NULL);
			if (st == Q2_OK && whole)
				memcpy(to, bytes + at % img->geom.cluster_size,
				       (size_t)e.length);
		} else if (e.kind == Q2_MAP_NONE) {
			st = read_blob((void *)(uintptr_t)&r->s->below, to,
				       (size_t)e.length, at, NULL);
		} else if (e.kind == Q2_MAP_UNREADABLE) {
			whole = false;
		}
		if (st != Q2_OK || !whole)
			die("a snapshot cannot be read");
	}
	q2_inflate_free(work);
	q2_map_close(&map);
}

static void compare_snapshots(struct run *r, const struct q2_image *img,
			      const char *what)
{
	struct q2_snaptable table = {0};

	if (q2_snaptable_read(img, &table, NULL) != Q2_OK ||
	    table.snaps.n != r->s->n_snaps)
		die("%s: %s: snapshots are missing", r->s->image, what);
	for (unsigned i = 0; i < r->s->n_snaps; i++) {
		const struct blob *want = &r->s->snaps[i];
		struct blob got = {calloc(1, want->n + 1), want->n};

		read_snapshot(r, img, &table.snaps.at[i], &got);
		if (memcmp(got.bytes, want->bytes, want->n) != 0)
			die("%s: seed %llu: %s: snapshot %u has changed",
			    r->s->image, (unsigned long long)r->s->seed, what,
			    i);
		free(got.bytes);
	}
	q2_snaptable_free(&table, img->budget);
}

/* A bitmap that still is enabled has missed nothing. */
static void compare_bitmaps(struct run *r, struct q2_io *io,
			    const uint8_t *view, uint64_t size,
			    const char *what)
{
	struct q2_writer_opts opts = options(r);
	struct q2_budget budget = {0};
	struct q2_writer *w;
	enum q2_status st;

	if (!(r->s->flags & Q2_WRITER_STALE_BITMAPS))
		return;
	opts.flags = 0;
	st = q2_writer_open(io, &budget, &opts, &w, NULL);
	q2_writer_close(w);
	if (st != Q2_OK && (size != r->s->view.n ||
			    memcmp(view, r->s->view.bytes, (size_t)size) != 0))
		die("%s: %s: an enabled bitmap is stale", r->s->image, what);
}

void compare(struct run *r, struct q2_io *io, unsigned from, unsigned to,
	     bool clean, const char *what)
{
	struct q2_writer_opts opts = options(r);
	struct q2_budget budget = {0};
	struct q2_image img = {.io = io, .budget = &budget};
	struct q2_writer *w;
	uint8_t *got;
	uint64_t size;

	check(r, io, clean, what);
	opts.flags |= Q2_WRITER_SAME_VIEW; /* only to read */
	if (q2_writer_open(io, &budget, &opts, &w, NULL) != Q2_OK)
		die("%s: %s: cannot be opened", r->s->image, what);
	size = q2_writer_geom(w)->disk_size;
	got = malloc((size_t)size + 1);
	if (got == NULL ||
	    q2_write_read(w, got, (size_t)size, 0, NULL) != Q2_OK)
		die("%s: %s: cannot be read", r->s->image, what);
	if (!(r->history[to].n == size &&
	      memcmp(got, r->history[to].bytes, (size_t)size) == 0))
		for (uint64_t at = 0; at < size; at += SECTOR) {
			size_t n = (size_t)q2_min(SECTOR, size - at);

			if (!fits(r, got + at, at, n, from, to))
				die("%s: seed %llu: %s: wrong data at %llu "
				    "(history %u to %u)", r->s->image,
				    (unsigned long long)r->s->seed, what,
				    (unsigned long long)at, from, to);
		}
	compare_bitmaps(r, io, got, size, what);
	free(got);
	img.geom = *q2_writer_geom(w);
	q2_writer_close(w);
	compare_snapshots(r, &img, what);
	if (budget.used)
		die("%s: memory is lost", what);
}
