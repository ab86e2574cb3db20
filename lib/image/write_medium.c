/*
 * write_medium.c - where the writer's data lie, and in which form.
 *
 * SPDX-License-Identifier: MIT
 *
 * All that knows of encryption and of data files: the rest of the writer asks here
 * for room, and has bytes put and got.
 *
 * In a data file each cluster of the disk has its own place, so that none is shared
 * or counted (format, "External data file").  What was written there is seen as soon
 * as the map leads to it, so that the file is flushed before the image's.  A place
 * that is given up is punched when no map on the disk leads to it any more.
 */
#include <string.h>

#include "base/err.h"
#include "image/write_int.h"

enum q2_status q2_w_medium_open(struct q2_writer *w,
				const struct q2_writer_opts *opts,
				struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_wmedium *m = &w->medium;
	enum q2_status st;
	void *block;

	if (g->data_file && opts->data == NULL)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, 0,
			       "cannot write to an image without its data file");
	if (g->crypt && opts->veil == NULL &&
	    !(w->flags & Q2_WRITER_REHEARSAL))
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, 0,
			       "cannot write to an encrypted image without its "
			       "key");
	m->io = g->data_file ? opts->data : w->img.io;
	m->apart = g->data_file;
	m->raw = g->raw_data && !g->crypt;
	if (g->crypt == 0 || opts->veil == NULL)
		return Q2_OK;
	m->veil = opts->veil;
	st = q2_get(w->img.budget, g->cluster_size, &block, err);
	m->hidden = block;
	return st;
}

void q2_w_medium_close(struct q2_writer *w)
{
	struct q2_wmedium *m = &w->medium;

	q2_put(w->img.budget, m->hidden, w->img.geom.cluster_size);
	q2_wfrees_free(&m->gone, w->img.budget);
}

enum q2_status q2_w_medium_flush(struct q2_writer *w, struct q2_err *err)
{
	struct q2_wmedium *m = &w->medium;
	enum q2_status st = m->unflushed ? q2_flush(m->io, err) : Q2_OK;

	if (st == Q2_OK)
		m->unflushed = false;
	return st;
}

static enum q2_status put(struct q2_writer *w, const void *buf, size_t len,
			  uint64_t host, struct q2_err *err)
{
	if (!w->medium.apart)
		return q2_w_put(w, buf, len, host, err);
	w->medium.unflushed = true;
	return q2_pwrite(w->medium.io, buf, len, host, err);
}

enum q2_status q2_w_data_put(struct q2_writer *w, const void *buf, size_t len,
			     uint64_t guest, uint64_t host, struct q2_err *err)
{
	const struct q2_wmedium *m = &w->medium;
	enum q2_status st;

	if (w->flags & Q2_WRITER_REHEARSAL)
		return q2_w_data_count(w, len, host, err);
	if (m->veil == NULL)
		return put(w, buf, len, host, err);
	memcpy(m->hidden, buf, len);
	st = m->veil->hide(m->veil->ctx, m->hidden, len, guest, host, err);
	return st == Q2_OK ? put(w, m->hidden, len, host, err) : st;
}

enum q2_status q2_w_data_get(struct q2_writer *w, void *buf, size_t len,
			     uint64_t guest, uint64_t host, struct q2_err *err)
{
	return q2_veil_read(w->medium.veil, w->medium.io, buf, len, guest,
			    host, err);
}

uint64_t q2_w_data_unit(const struct q2_writer *w)
{
	return w->img.geom.crypt ? Q2_VEIL_UNIT : 1;
}

bool q2_w_data_zeros(const struct q2_writer *w, struct q2_range host)
{
	struct q2_range data;

	if (w->img.geom.crypt || !w->medium.apart)
		return false;
	data = q2_io_data(w->medium.io, host.start);
	return data.len == 0 || data.start >= q2_end(host);
}

enum q2_status q2_w_data_place(struct q2_writer *w, uint64_t guest,
			       uint64_t *host, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	enum q2_status st;
	uint64_t clu;

	*host = guest & ~(g->cluster_size - 1);
	if (w->medium.apart)
		return Q2_OK;
	st = q2_w_alloc(w, &clu, err);
	if (st != Q2_OK)
		return st;
	*host = clu << g->cluster_bits;
	q2_w_placed(w, Q2_PLACED_DATA, clu, 1);
	return Q2_OK;
}

enum q2_status q2_w_data_own(struct q2_writer *w, const struct q2_went *e,
			     bool *own, struct q2_err *err)
{
	uint64_t refcount;
	enum q2_status st;

	*own = e->placed;
	if (!e->placed || w->medium.apart)
		return Q2_OK;
	st = q2_w_refcount(w, q2_cluster(&w->img.geom, e->host).n, &refcount,
			   err);
	*own = refcount == 1; /* 0 after a failure */
	return st;
}

enum q2_status q2_w_data_drop(struct q2_writer *w, const struct q2_went *e,
			      struct q2_err *err)
{
	struct q2_wmedium *m = &w->medium;
	uint64_t clu = q2_cluster(&w->img.geom, e->host).n;

	if (e->compressed)
		return q2_w_drop(w, e->stream, err);
	if (!e->placed)
		return Q2_OK;
	if (!m->apart)
		return q2_w_drop(w, (struct q2_range){e->host, 1}, err);
	if (w->flags & Q2_WRITER_REHEARSAL)
		return Q2_OK;
	return q2_wfrees_push(&m->gone, w->img.budget, clu, err);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* What may have come back since is still in use. */
static enum q2_status is_gone(struct q2_writer *w, uint64_t guest, bool *gone,
			      struct q2_err *err)
{
	struct q2_went e;
	enum q2_status st = Q2_OK;

	*gone = guest >= w->img.geom.disk_size;
	if (*gone)
		return Q2_OK;
	st = q2_w_entry(w, guest, &e, err);
	*gone = st == Q2_OK && !e.placed;
	return st;
}

/* Where space cannot be given back it stays taken, and that is all. */
static enum q2_status punch(struct q2_writer *w, struct q2_range range,
			    struct q2_err *err)
{
	uint64_t size = w->medium.io->size;
	struct q2_err why = {0};
	enum q2_status st;

	if (range.start >= size)
		return Q2_OK;
	range.len = q2_min(range.len, size - range.start);
	st = q2_io_discard(w->medium.io, range, &why);
	if (st == Q2_OK || st == Q2_E_UNSUPPORTED)
		return Q2_OK;
	return q2_fail(err, st, why.sys_errno, why.offset, "%s", why.text);
}

enum q2_status q2_w_medium_punch(struct q2_writer *w, struct q2_err *err)
{
	unsigned bits = w->img.geom.cluster_bits;
	struct q2_wfrees *gone = &w->medium.gone;
	struct q2_range run = {0, 0};
	enum q2_status st = Q2_OK;

	q2_sort(gone->at, gone->n, sizeof(*gone->at), by_number);
	for (size_t i = 0; i < gone->n && st == Q2_OK; i++) {
		uint64_t at = gone->at[i] << bits;
		bool yes;

		st = is_gone(w, at, &yes, err);
		if (st != Q2_OK || !yes || (run.len && at < q2_end(run)))
			continue;
		if (run.len && at > q2_end(run)) {
			st = punch(w, run, err);
			run.len = 0;
		}
		if (run.len == 0)
			run.start = at;
		run.len += UINT64_C(1) << bits;
	}
	if (st == Q2_OK && run.len)
		st = punch(w, run, err);
	gone->n = 0;
	return st;
}

/* ----------------------------------------------------------------- growing */

enum q2_status q2_w_medium_may_grow(struct q2_writer *w, uint64_t size,
				    struct q2_err *err)
{
	const struct q2_wmedium *m = &w->medium;

	if (!m->apart || !m->io->is_device || size <= m->io->size)
		return Q2_OK;
	return q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET,
		       "the data file is a device of %llu bytes, the disk "
		       "would have %llu", (unsigned long long)m->io->size,
		       (unsigned long long)size);
}

enum q2_status q2_w_medium_grow(struct q2_writer *w, uint64_t size,
				struct q2_err *err)
{
	struct q2_wmedium *m = &w->medium;
	enum q2_status st;

	if (!m->apart || size <= m->io->size)
		return Q2_OK;
	if (w->flags & Q2_WRITER_REHEARSAL)
		return q2_w_data_count(w, 1, size - 1, err);
	/* With a hole: a resize may take the space for all of it. */
	st = put(w, "", 1, size - 1, err);
	return st == Q2_OK ? q2_w_medium_flush(w, err) : st;
}

/* A raw reader must find the zeros, unless it only sees what is encrypted. */
enum q2_status q2_w_data_claim(struct q2_writer *w, uint64_t from, uint64_t to,
			       struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint32_t all = w->subs == 32 ? UINT32_MAX : 1;
	enum q2_status st = Q2_OK;

	if (!g->raw_data)
		return Q2_OK;
	from = q2_div_up(from, g->cluster_size) << g->cluster_bits;
	for (; from < to && st == Q2_OK; from += g->cluster_size) {
		struct q2_went e = {.placed = true, .host = from};
		struct q2_range host = {from, q2_min(to - from,
						     g->cluster_size)};

		if (w->medium.raw)
			e.alloc = all;
		else
			e.zero = all;
		if (w->medium.raw && !q2_w_data_zeros(w, host))
			st = q2_w_data_put(w, w->zeros, (size_t)host.len, from,
					   from, err);
		if (st == Q2_OK)
			st = q2_w_entry_set(w, from, &e, true, err);
	}
	return st;
}
