/*
 * write_read.c - reading through the writer: what the guest has at this moment.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/err.h"
#include "image/write_int.h"

bool q2_w_shows(const struct q2_writer *w, uint64_t guest)
{
	return w->below && guest < w->below->size;
}

/* What shows through where the image has nothing. */
static enum q2_status read_below(struct q2_writer *w, uint8_t *buf, size_t len,
				 uint64_t guest, struct q2_err *err)
{
	/* Past the disk's end nothing of it is the guest's. */
	uint64_t end = w->below ? q2_min(w->below->size,
					 w->img.geom.disk_size) : 0;
	size_t there = guest < end ? (size_t)q2_min(len, end - guest) : 0;

	memset(buf + there, 0, len - there);
	if (there == 0)
		return Q2_OK;
	return w->below->read(w->below->ctx, buf, there, guest, err);
}

static enum q2_status read_stream(struct q2_writer *w,
				  const struct q2_went *e, uint8_t *buf,
				  size_t len, uint64_t guest,
				  struct q2_err *err)
{
	size_t at = (size_t)(guest & (w->img.geom.cluster_size - 1));
	enum q2_status st = Q2_OK;
	const uint8_t *bytes;
	bool whole;
	size_t n;

	if (w->inflate == NULL)
		st = q2_inflate_new(&w->img, &w->inflate, err);
	if (st == Q2_OK)
		st = q2_inflate(w->inflate, e->stream, &bytes, &n, &whole,
				err);
	if (st != Q2_OK)
		return st;
	if (!whole)
		return q2_fail(err, Q2_E_FORMAT, 0, e->stream.start,
			       "a compressed cluster cannot be inflated");
	memcpy(buf, bytes + at, len);
	return Q2_OK;
}

enum q2_status q2_w_old(struct q2_writer *w, const struct q2_went *e,
			void *buf, size_t len, uint64_t guest,
			struct q2_err *err)
{
	uint64_t mask = w->img.geom.cluster_size - 1;
	uint8_t *to = buf;

	if (e->compressed)
		return read_stream(w, e, to, len, guest, err);
	while (len) {
		uint64_t in = guest & mask;
		uint32_t bit = UINT32_C(1) << in / w->sub;
		size_t n = (size_t)q2_min(len, w->sub - in % w->sub);
		enum q2_status st = Q2_OK;

		if (e->alloc & bit)
			st = q2_w_data_get(w, to, n, guest, e->host + in, err);
		else if (e->zero & bit)
			memset(to, 0, n);
		else
			st = read_below(w, to, n, guest, err);
		if (st != Q2_OK)
			return st;
		to += n;
		guest += n;
		len -= n;
	}
	return Q2_OK;
}

enum q2_status q2_write_read(struct q2_writer *w, void *buf, size_t len,
			     uint64_t guest, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint8_t *to = buf;

	if (!q2_inside(guest, len, g->disk_size))
		return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
			       "the range lies past the disk's end");
	while (len) {
		uint64_t in = guest & (g->cluster_size - 1);
		size_t n = (size_t)q2_min(len, g->cluster_size - in);
		struct q2_went e;
		enum q2_status st = q2_w_entry(w, guest, &e, err);

		if (st == Q2_OK)
			st = q2_w_old(w, &e, to, n, guest, err);
		if (st != Q2_OK)
			return st;
		q2_w_trim(w, q2_max(16, 2 * w->batch / g->cluster_size));
		to += n;
		guest += n;
		len -= n;
	}
	return Q2_OK;
}

static enum q2_holds holds_of(const struct q2_went *e, uint32_t bit)
{
	if (e->compressed || (e->alloc & bit))
		return Q2_HOLDS_DATA;
	return e->zero & bit ? Q2_HOLDS_ZEROS : Q2_HOLDS_NOTHING;
}

enum q2_status q2_write_look(struct q2_writer *w, uint64_t guest,
			     enum q2_holds *holds, uint64_t *len,
			     struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t at = guest;
	uint64_t table = g->cluster_size << g->l2_bits;
	uint64_t end = q2_min(g->disk_size, guest + table);

	*holds = Q2_HOLDS_NOTHING;
	*len = 0;
	if (guest >= g->disk_size)
		return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
			       "the range lies past the disk's end");
	while (at < end) {
		uint64_t in = at & (g->cluster_size - 1);
		struct q2_went e = {0};
		enum q2_holds here;
		enum q2_status st;

		/* A whole table that is not there. */
		if (w->l1.at[at / table] == 0) {
			if (*holds != Q2_HOLDS_NOTHING)
				break;
			at = q2_min(end, at + table - at % table);
			continue;
		}
		st = q2_w_entry(w, at, &e, err);
		if (st != Q2_OK)
			return st;
		here = holds_of(&e, UINT32_C(1) << in / w->sub);
		if (at == guest)
			*holds = here;
		if (here != *holds)
			break;
		at += w->sub - in % w->sub;
	}
	q2_w_trim(w, q2_max(16, 2 * w->batch / g->cluster_size));
	*len = q2_min(at, g->disk_size) - guest;
	return Q2_OK;
}
