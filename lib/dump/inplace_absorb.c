/*
 * inplace_absorb.c - what is below comes into the top image.
 *
 * SPDX-License-Identifier: MIT
 *
 * Unit by unit (a cluster of the top image, or a subcluster): where the top image has
 * nothing, the layers above the one that stays are asked.  Data is written; zeros
 * are, where something lies below that would show through.
 */
#include <errno.h>

#include "base/err.h"
#include "base/zeros.h"
#include "dump/inplace.h"

static uint64_t unit_of(const struct q2_inplace *ip)
{
	const struct q2_geom *g = q2_writer_geom(ip->top);

	return g->ext_l2 ? g->cluster_size / 32 : g->cluster_size;
}

/* Bytes of the disk that stays below, or 0. */
static uint64_t base_size(const struct q2_inplace *ip)
{
	return ip->base < ip->chain.n ? ip->chain.layers[ip->base]->map.size :
					0;
}

/* What a unit has to become.  Where it is mixed, it is data. */
static enum q2_status judge_unit(struct q2_inplace *ip, uint64_t at,
				 uint64_t len, enum q2_shows *shows,
				 struct q2_err *err)
{
	uint64_t done = 0;
	bool zeros = false, below = false;

	*shows = Q2_SHOWS_DATA;
	while (done < len) {
		uint64_t n = len - done;
		enum q2_shows here;
		enum q2_status st = q2_view_at(&ip->upper, at + done, &n,
					       &here, err);

		if (st != Q2_OK || here == Q2_SHOWS_DATA)
			return st;
		/* Zeros over nothing need not be said. */
		if (here == Q2_SHOWS_ZEROS && at + done < base_size(ip))
			zeros = true;
		else
			below = true;
		done += n;
	}
	if (zeros && below)
		return Q2_OK;
	*shows = zeros ? Q2_SHOWS_ZEROS : Q2_SHOWS_BELOW;
	return Q2_OK;
}

/* How much from `at` on, whole units before `end`, surely needs nothing done. */
static enum q2_status skip(struct q2_inplace *ip, uint64_t at, uint64_t end,
			   uint64_t *n, struct q2_err *err)
{
	enum q2_shows shows = Q2_SHOWS_DATA;
	enum q2_status st;

	*n = end - at;
	st = q2_view_at(&ip->upper, at, n, &shows, err);
	if (shows == Q2_SHOWS_DATA ||
	    (shows == Q2_SHOWS_ZEROS && at < base_size(ip)))
		*n = 0;
	else if (at + *n < end)
		*n -= q2_min(*n, (at + *n) % unit_of(ip));
	return st;
}

enum q2_status q2_absorb_next(struct q2_inplace *ip, uint64_t at,
			      struct q2_lack *out, struct q2_err *err)
{
	uint64_t size = q2_writer_geom(ip->top)->disk_size;
	uint64_t unit = unit_of(ip);
	uint64_t end = at;

	*out = (struct q2_lack){.at = at};
	while (at < size) {
		enum q2_shows shows;
		uint64_t n;
		enum q2_status st = Q2_OK;

		if (at >= end) {
			enum q2_holds holds = Q2_HOLDS_DATA;

			st = q2_write_look(ip->top, at, &holds, &n, err);
			if (st != Q2_OK)
				return st;
			end = at + n;
			if (holds != Q2_HOLDS_NOTHING) {
				if (out->len)
					return Q2_OK;
				at = end;
				continue;
			}
		}
		if (out->len == 0) {
			st = skip(ip, at, end, &n, err);
			if (st != Q2_OK)
				return st;
			at += n;
			if (n)
				continue;
		}
		n = q2_min(unit - at % unit, end - at);
		st = judge_unit(ip, at, n, &shows, err);
		if (st != Q2_OK)
			return st;
		if (out->len && (shows != out->shows ||
				 out->len + n > Q2_INPLACE_BUF))
			return Q2_OK;
		if (shows != Q2_SHOWS_BELOW) {
			if (out->len == 0)
				*out = (struct q2_lack){at, 0, shows};
			out->len += n;
		}
		at += n;
	}
	return Q2_OK;
}

/* Writes data; units of zeros are none. */
static enum q2_status put_data(struct q2_inplace *ip, uint64_t at,
			       uint64_t len, struct q2_err *err)
{
	uint64_t unit = unit_of(ip);
	enum q2_status st = Q2_OK;

	if (!ip->rehearsing)
		st = q2_view_read(&ip->under, ip->buf, (size_t)len, at, err);
	for (uint64_t done = 0, n; done < len && st == Q2_OK; done += n) {
		n = q2_min(unit - (at + done) % unit, len - done);
		if (ip->rehearsing || !q2_all_zero(ip->buf + done, (size_t)n)) {
			ip->result->data += n;
			st = q2_write(ip->top, ip->buf + done, (size_t)n,
				      at + done, err);
		} else if (at + done < base_size(ip)) {
			ip->result->zeros += n;
			st = q2_write_zeros(ip->top, at + done, n,
					    Q2_ZEROS_PLAIN, err);
		}
	}
	return st;
}

static enum q2_status fill(struct q2_inplace *ip, const struct q2_lack *l,
			   struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	if (l->shows == Q2_SHOWS_ZEROS) {
		ip->result->zeros += l->len;
		return q2_write_zeros(ip->top, l->at, l->len, Q2_ZEROS_PLAIN,
				      err);
	}
	/* A unit may be longer than the buffer. */
	for (uint64_t done = 0, n; done < l->len && st == Q2_OK; done += n) {
		n = q2_min(l->len - done, Q2_INPLACE_BUF);
		st = put_data(ip, l->at + done, n, err);
	}
	return st;
}

/* Whether what was placed behind the end of the file is more than there is room for:
 * the rest need not be read. */
static enum q2_status judge_room(const struct q2_inplace *ip,
				 struct q2_err *err)
{
	unsigned bits = q2_writer_geom(ip->top)->cluster_bits;
	struct q2_writer_counts n;
	uint64_t clusters = 0;

	if (!ip->to_the_room)
		return Q2_OK;
	q2_writer_counts(ip->top, &n);
	for (unsigned i = 0; i < Q2_PLACED_COUNT; i++)
		clusters += n.behind[i];
	if (q2_inplace_elsewhere(&ip->top_file))
		n.apart = 0;
	/* The last one may be there in part. */
	if (((q2_max(clusters, 1) - 1) << bits) + n.apart <=
	    ip->result->available)
		return Q2_OK;
	return q2_fail(err, Q2_E_IO, ENOSPC, Q2_NO_OFFSET, "no room");
}

enum q2_status q2_absorb_copy(struct q2_inplace *ip, const char *phase,
			      struct q2_err *err)
{
	uint64_t size = q2_writer_geom(ip->top)->disk_size;
	struct q2_lack l = {0};
	enum q2_status st;

	do {
		st = q2_absorb_next(ip, l.at + l.len, &l, err);
		if (st == Q2_OK && l.len)
			st = fill(ip, &l, err);
		if (st == Q2_OK)
			st = judge_room(ip, err);
		if (st == Q2_OK)
			st = q2_inplace_tick(ip, phase, l.at, size, err);
	} while (st == Q2_OK && l.len);
	return st == Q2_OK ? q2_write_commit(ip->top, err) : st;
}

enum q2_status q2_absorb(struct q2_inplace *ip, struct q2_err *err)
{
	const char *format;
	uint64_t name_size;
	enum q2_status st;
	char *name;

	/* What was copied must be there before the name goes. */
	st = q2_absorb_copy(ip, "absorbing", err);
	if (st == Q2_OK)
		st = q2_inplace_name(ip, &name, &name_size, &format, err);
	if (st != Q2_OK)
		return st;
	st = q2_write_backing(ip->top, name, format, false, err);
	q2_put(&ip->budget, name, name_size);
	return st;
}
