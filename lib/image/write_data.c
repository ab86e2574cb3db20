/*
 * write_data.c - the guest's writes, zeros and discards, cluster by cluster.
 *
 * SPDX-License-Identifier: MIT
 *
 * What is written to a cluster goes in place if the cluster belongs to the active
 * disk alone, and to a new one otherwise, together with what the old one has
 * elsewhere.  Subclusters that have no data are left that way.
 */
#include <string.h>

#include "base/err.h"
#include "image/write_int.h"

/* A change inside one cluster. */
struct change {
	const uint8_t *buf; /* len bytes */
	size_t len;
	uint64_t guest;
	uint64_t in;	  /* guest, from the cluster's start */
	uint32_t touched; /* subclusters */
	struct q2_went e; /* the entry as it is */
	bool own;	  /* e.host has refcount 1 */
};

/* Subclusters from number `from` to before number `to`. */
static uint32_t bits(uint64_t from, uint64_t to)
{
	return (uint32_t)((UINT64_C(1) << to) - (UINT64_C(1) << from));
}

static uint32_t all_of(const struct q2_writer *w)
{
	return bits(0, w->subs);
}

static enum q2_status learn(struct q2_writer *w, struct change *c,
			    struct q2_err *err)
{
	enum q2_status st = q2_w_entry(w, c->guest, &c->e, err);

	c->in = c->guest & (w->img.geom.cluster_size - 1);
	c->touched = bits(c->in / w->sub,
			  q2_div_up(c->in + c->len, w->sub));
	c->own = false;
	return st == Q2_OK ? q2_w_data_own(w, &c->e, &c->own, err) : st;
}

/* Writes bytes [from, to) of the cluster to `host`: the change, and around it what
 * is there now. */
static enum q2_status put_range(struct q2_writer *w, const struct change *c,
				uint64_t from, uint64_t to, uint64_t host,
				struct q2_err *err)
{
	uint64_t base = c->guest - c->in;
	enum q2_status st = Q2_OK;

	if (w->flags & Q2_WRITER_REHEARSAL)
		return q2_w_data_put(w, NULL, (size_t)(to - from), base + from,
				     host + from, err);
	if (from == c->in && to == c->in + c->len)
		return q2_w_data_put(w, c->buf, c->len, base + from,
				     host + from, err);
	if (from < c->in)
		st = q2_w_old(w, &c->e, w->bounce, (size_t)(c->in - from),
			      base + from, err);
	memcpy(w->bounce + (c->in - from), c->buf, c->len);
	if (st == Q2_OK && to > c->in + c->len)
		st = q2_w_old(w, &c->e, w->bounce + (c->in + c->len - from),
			      (size_t)(to - c->in - c->len),
			      c->guest + c->len, err);
	if (st != Q2_OK)
		return st;
	return q2_w_data_put(w, w->bounce, (size_t)(to - from), base + from,
			     host + from, err);
}

static enum q2_status in_place(struct q2_writer *w, struct change *c,
			       struct q2_err *err)
{
	uint64_t first = c->in / w->sub;
	uint64_t last = (c->in + c->len - 1) / w->sub;
	uint64_t unit = q2_w_data_unit(w);
	uint64_t from = c->in & ~(unit - 1);
	uint64_t to = (c->in + c->len + unit - 1) & ~(unit - 1);
	enum q2_status st;

	/* A subcluster that gets its first data gets all of it. */
	if (!(c->e.alloc >> first & 1))
		from = first * w->sub;
	if (!(c->e.alloc >> last & 1))
		to = (last + 1) * w->sub;
	st = put_range(w, c, from, to, c->e.host, err);
	q2_w_written(w, c->guest, true);
	if (st != Q2_OK || (c->touched & ~c->e.alloc) == 0)
		return st;
	c->e.alloc |= c->touched;
	c->e.zero &= ~c->touched;
	return q2_w_entry_set(w, c->guest, &c->e, true, err);
}

static enum q2_status to_new(struct q2_writer *w, struct change *c,
			     struct q2_err *err)
{
	uint32_t keep = c->e.compressed ? all_of(w) : c->e.alloc;
	uint32_t data = keep | c->touched;
	struct q2_went e = {.placed = true,
			    .alloc = data,
			    .zero = c->e.zero & ~data};
	uint64_t first = 0, last = w->subs - 1;
	enum q2_status st = q2_w_data_place(w, c->guest, &e.host, err);

	if (st != Q2_OK)
		return st;
	while (!(data >> first & 1))
		first++;
	while (!(data >> last & 1))
		last--;
	q2_w_written(w, c->guest, false);
	st = put_range(w, c, first * w->sub, (last + 1) * w->sub, e.host, err);
	if (st == Q2_OK)
		st = q2_w_entry_set(w, c->guest, &e, true, err);
	return st == Q2_OK ? q2_w_data_drop(w, &c->e, err) : st;
}

enum q2_status q2_w_cluster(struct q2_writer *w, const uint8_t *buf,
			    size_t len, uint64_t guest, struct q2_err *err)
{
	struct change c = {.buf = buf, .len = len, .guest = guest};
	enum q2_status st = learn(w, &c, err);

	if (st != Q2_OK)
		return st;
	return c.own ? in_place(w, &c, err) : to_new(w, &c, err);
}

/* Bounds, readiness, and the length of the part in the first cluster. */
static enum q2_status inside(struct q2_writer *w, uint64_t guest, uint64_t len,
			     struct q2_err *err)
{
	enum q2_status st = q2_w_ready(w, err);

	if (st != Q2_OK)
		return st;
	if (!q2_inside(guest, len, w->img.geom.disk_size))
		return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
			       "the range lies past the disk's end");
	return Q2_OK;
}

static uint64_t in_cluster(const struct q2_writer *w, uint64_t guest,
			   uint64_t len)
{
	uint64_t cs = w->img.geom.cluster_size;

	return q2_min(len, cs - (guest & (cs - 1)));
}

enum q2_status q2_write(struct q2_writer *w, const void *buf, size_t len,
			uint64_t guest, struct q2_err *err)
{
	const uint8_t *from = buf;
	enum q2_status st = inside(w, guest, len, err);

	if (st != Q2_OK)
		return st;
	while (len && st == Q2_OK) {
		size_t n = (size_t)in_cluster(w, guest, len);

		st = q2_w_relax(w, err);
		if (st == Q2_OK)
			st = q2_w_cluster(w, from, n, guest, err);
		from += n;
		guest += n;
		len -= n;
	}
	return q2_w_end(w, st, err);
}

/* Zeros by writing them; nothing is done where there are zeros already. */
static enum q2_status write_zeros(struct q2_writer *w, uint64_t guest,
				  uint64_t len, struct q2_err *err)
{
	while (len) {
		uint64_t in = guest & (w->img.geom.cluster_size - 1);
		size_t n = (size_t)q2_min(len, w->sub - in % w->sub);
		uint32_t bit = UINT32_C(1) << in / w->sub;
		struct q2_went e;
		enum q2_status st = q2_w_entry(w, guest, &e, err);
		bool zero = !e.compressed && !(e.alloc & bit) &&
			    ((e.zero & bit) || !q2_w_shows(w, guest));

		if (e.alloc & bit)
			zero = q2_w_data_zeros(w, (struct q2_range){
							  e.host + in, n});
		if (st == Q2_OK && !zero)
			st = q2_w_cluster(w, w->zeros, n, guest, err);
		if (st != Q2_OK)
			return st;
		guest += n;
		len -= n;
	}
	return Q2_OK;
}

/* Gives the subclusters `gone` of the cluster at `guest` the state zero (or, if the
 * format has no such state, nothing at all). */
static enum q2_status zero_bits(struct q2_writer *w, uint64_t guest,
				uint32_t gone, bool keep, struct q2_err *err)
{
	struct change c = {.guest = guest, .len = 1};
	enum q2_status st = learn(w, &c, err);
	struct q2_went e = c.e;
	bool drop;

	if (st != Q2_OK)
		return st;
	if (e.compressed)
		e = (struct q2_went){0};
	e.alloc &= ~gone;
	e.zero = w->zero_flag ? e.zero | gone : 0;
	drop = c.e.compressed ||
	       (e.placed && e.alloc == 0 && !(keep && c.own && w->zero_flag));
	if (drop)
		e.placed = false;
	if (!drop && e.alloc == c.e.alloc && e.zero == c.e.zero)
		return Q2_OK;
	st = q2_w_entry_set(w, guest, &e, c.own, err);
	return st == Q2_OK && drop ? q2_w_data_drop(w, &c.e, err) : st;
}

/* Inside one cluster.  The range ends with the cluster if it ends with the disk. */
static enum q2_status zero_cluster(struct q2_writer *w, uint64_t guest,
				   uint64_t len, bool keep,
				   struct q2_err *err)
{
	uint64_t in = guest & (w->img.geom.cluster_size - 1);
	uint64_t from = q2_div_up(in, w->sub);
	uint64_t to = (in + len) / w->sub;
	uint64_t base = guest - in;
	struct q2_went e;
	enum q2_status st = q2_w_entry(w, guest, &e, err);

	if (st != Q2_OK)
		return st;
	if (guest + len == w->img.geom.disk_size)
		to = w->subs;
	/* No state for it: written zeros, or no entry where nothing lies below. */
	if (!w->zero_flag && q2_w_shows(w, base))
		from = to;
	/* A raw reader does not see the state. */
	if (w->medium.raw)
		from = to;
	/* A stream is all or nothing. */
	if (e.compressed && (from > 0 || to < w->subs))
		from = to;
	if (from >= to)
		return write_zeros(w, guest, len, err);
	if (from * w->sub > in)
		st = write_zeros(w, guest, from * w->sub - in, err);
	if (st == Q2_OK)
		st = zero_bits(w, guest, bits(from, to), keep, err);
	if (st == Q2_OK && to * w->sub < in + len)
		st = write_zeros(w, base + to * w->sub,
				 in + len - to * w->sub, err);
	return st;
}

enum q2_status q2_w_zero(struct q2_writer *w, uint64_t guest, uint64_t len,
			 struct q2_err *err)
{
	return zero_cluster(w, guest, len, false, err);
}

enum q2_status q2_write_zeros(struct q2_writer *w, uint64_t guest,
			      uint64_t len, enum q2_zeros how,
			      struct q2_err *err)
{
	enum q2_status st = inside(w, guest, len, err);

	if (st != Q2_OK)
		return st;
	while (len && st == Q2_OK) {
		uint64_t n = in_cluster(w, guest, len);

		st = q2_w_relax(w, err);
		if (st == Q2_OK)
			st = zero_cluster(w, guest, n, how == Q2_ZEROS_KEEP,
					  err);
		guest += n;
		len -= n;
	}
	return q2_w_end(w, st, err);
}

static enum q2_status discard_cluster(struct q2_writer *w, uint64_t guest,
				      struct q2_err *err)
{
	struct q2_went none = {0};
	struct q2_went e;
	enum q2_status st;

	if (w->below)
		return zero_bits(w, guest, all_of(w), false, err);
	st = q2_w_entry(w, guest, &e, err);
	if (st != Q2_OK || !(e.compressed || e.placed || e.zero))
		return st;
	st = q2_w_entry_set(w, guest, &none, false, err);
	return st == Q2_OK ? q2_w_data_drop(w, &e, err) : st;
}

enum q2_status q2_write_discard(struct q2_writer *w, uint64_t guest,
				uint64_t len, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t end = guest + len;
	enum q2_status st = inside(w, guest, len, err);

	if (st != Q2_OK)
		return st;
	if (w->below && !w->zero_flag)
		return Q2_OK;
	/* Each cluster stays mapped. */
	if (g->raw_data)
		return q2_write_zeros(w, guest, len, Q2_ZEROS_PLAIN, err);
	guest = q2_div_up(guest, g->cluster_size) << g->cluster_bits;
	for (; guest < end && st == Q2_OK; guest += g->cluster_size) {
		if (end - guest < g->cluster_size && end < g->disk_size)
			break;
		st = q2_w_relax(w, err);
		if (st == Q2_OK)
			st = discard_cluster(w, guest, err);
	}
	return q2_w_end(w, st, err);
}
