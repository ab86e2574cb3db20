/*
 * inplace_commit.c - what the upper layers have goes into the base.
 *
 * SPDX-License-Identifier: MIT
 *
 * The top image shows the same while the base changes under it, since it goes on to
 * have all that is copied.  Only when the base has it for good, the top image is
 * given the base's name (if it is not its own base already), and is emptied.
 */
#include <string.h>

#include "base/err.h"
#include "dump/inplace.h"

#define BLOCK UINT64_C(4096) /* of file systems */

static const struct q2_layer *base_of(const struct q2_inplace *ip)
{
	return ip->chain.layers[ip->base];
}

static uint64_t size_of_base(const struct q2_inplace *ip)
{
	return ip->target ? q2_writer_geom(ip->target)->disk_size :
			    ip->base_io->size;
}

/* Bytes that the guest of the top image sees. */
static uint64_t size_of_top(const struct q2_inplace *ip)
{
	return q2_view_size(&ip->upper);
}

/* Makes the base as large as the top image's disk, or with `try_only` tells whether
 * that can be done. */
static enum q2_status grow(struct q2_inplace *ip, bool try_only,
			   struct q2_err *err)
{
	uint64_t size = size_of_top(ip);

	if (size <= size_of_base(ip))
		return Q2_OK;
	if (ip->target)
		return q2_write_resize(ip->target, size, try_only, err);
	if (ip->base_io->is_device)
		return q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET,
			       "the base is a device of %llu bytes, the disk "
			       "has %llu",
			       (unsigned long long)ip->base_io->size,
			       (unsigned long long)size);
	if (try_only)
		return Q2_OK;
	/* With a hole: a resize may take the space for all of it. */
	return q2_pwrite(ip->base_io, "", 1, size - 1, err);
}

static enum q2_status put(struct q2_inplace *ip, const uint8_t *buf, size_t n,
			  uint64_t at, struct q2_err *err)
{
	return ip->target ? q2_write(ip->target, buf, n, at, err) :
			    q2_pwrite(ip->base_io, buf, n, at, err);
}

static enum q2_status put_data(struct q2_inplace *ip, uint64_t at,
			       uint64_t len, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	ip->result->data += len;
	for (uint64_t done = 0, n; done < len && st == Q2_OK; done += n) {
		n = q2_min(len - done, Q2_INPLACE_BUF);
		st = q2_view_read(&ip->upper, ip->buf, (size_t)n, at + done,
				  err);
		if (st == Q2_OK)
			st = put(ip, ip->buf, (size_t)n, at + done, err);
	}
	return st;
}

/* In a raw base only what is no hole needs to be written. */
static enum q2_status raw_zeros(struct q2_inplace *ip, uint64_t at,
				uint64_t len, struct q2_err *err)
{
	uint64_t end = at + len;
	enum q2_status st = Q2_OK;

	memset(ip->buf, 0, Q2_INPLACE_BUF);
	while (at < end && st == Q2_OK) {
		struct q2_range data = q2_io_data(ip->base_io, at);
		uint64_t n;

		if (data.len == 0 || data.start >= end)
			break;
		at = q2_max(at, data.start);
		n = q2_min(q2_min(end, q2_end(data)) - at, Q2_INPLACE_BUF);
		st = q2_pwrite(ip->base_io, ip->buf, (size_t)n, at, err);
		at += n;
	}
	return st;
}

static enum q2_status put_zeros(struct q2_inplace *ip, uint64_t at,
				uint64_t len, struct q2_err *err)
{
	ip->result->zeros += len;
	if (ip->target)
		return q2_write_zeros(ip->target, at, len, Q2_ZEROS_PLAIN,
				      err);
	return raw_zeros(ip, at, len, err);
}

/* Calls `take` for each part of the disk that the base has to get. */
static enum q2_status for_each(struct q2_inplace *ip, const char *phase,
			       enum q2_status (*take)(struct q2_inplace *ip,
						      uint64_t at,
						      uint64_t len,
						      bool zeros,
						      struct q2_err *err),
			       struct q2_err *err)
{
	uint64_t size = size_of_top(ip);
	enum q2_status st = Q2_OK;

	for (uint64_t at = 0, len; at < size && st == Q2_OK; at += len) {
		enum q2_shows shows = Q2_SHOWS_BELOW;

		len = size - at;
		st = q2_view_at(&ip->upper, at, &len, &shows, err);
		if (st == Q2_OK && shows != Q2_SHOWS_BELOW)
			st = take(ip, at, len, shows == Q2_SHOWS_ZEROS, err);
		if (st == Q2_OK)
			st = q2_inplace_tick(ip, phase, at + len, size, err);
	}
	return st;
}

static enum q2_status push(struct q2_inplace *ip, uint64_t at, uint64_t len,
			   bool zeros, struct q2_err *err)
{
	return zeros ? put_zeros(ip, at, len, err) : put_data(ip, at, len, err);
}

/* Adds what of [at, at + len) is a hole in a raw base, or lies past its end, in
 * whole blocks, each once. */
static void cost_raw(struct q2_inplace *ip, uint64_t at, uint64_t len)
{
	uint64_t end = q2_div_up(at + len, BLOCK) * BLOCK;

	at = q2_max(at / BLOCK * BLOCK, ip->counted);
	ip->counted = q2_max(ip->counted, end);
	while (at < end) {
		struct q2_range data = q2_io_data(ip->base_io, at);

		if (data.len == 0 || data.start >= end) {
			ip->result->needed += end - at;
			return;
		}
		ip->result->needed += data.start > at ? data.start - at : 0;
		at = q2_end(data);
	}
}

/* Adds what a part costs at the most: clusters that the base does not have as its
 * own, each once, and the tables that may be missing. */
static enum q2_status cost(struct q2_inplace *ip, uint64_t at, uint64_t len,
			   bool zeros, struct q2_err *err)
{
	struct q2_map *map = &ip->chain.layers[ip->base]->map;
	const struct q2_geom *g;
	uint64_t end = at + len;

	(void)err;
	if (ip->target == NULL) {
		if (!zeros)
			cost_raw(ip, at, len);
		return Q2_OK;
	}
	g = q2_writer_geom(ip->target);
	for (uint64_t slot = at >> g->cluster_bits >> g->l2_bits;
	     slot <= (end - 1) >> g->cluster_bits >> g->l2_bits; slot++)
		if (slot >= ip->slots) {
			ip->slots = slot + 1;
			ip->result->needed += g->cluster_size;
		}
	if (zeros && g->version > 2)
		return Q2_OK;
	while (at < end) {
		struct q2_extent e = {.length = end - at};
		uint64_t first, last;

		if (at < map->size)
			q2_map_at(map, at, end - at, &e);
		first = q2_max(at >> g->cluster_bits, ip->counted);
		last = (at + e.length - 1) >> g->cluster_bits;
		at += e.length;
		if (!g->snapshots && (e.kind == Q2_MAP_DATA ||
				      e.kind == Q2_MAP_ZERO_ALLOC))
			continue;
		if (last < first)
			continue;
		ip->result->needed += (last - first + 1) << g->cluster_bits;
		ip->counted = last + 1;
	}
	return Q2_OK;
}

enum q2_status q2_commit_forecast(struct q2_inplace *ip, struct q2_err *err)
{
	enum q2_status st = grow(ip, true, err);
	uint64_t needed;

	if (st == Q2_OK)
		st = for_each(ip, "looking", cost, err);
	needed = ip->result->needed;

	if (st != Q2_OK)
		return st;
	if (ip->target && (needed || size_of_top(ip) > size_of_base(ip))) {
		const struct q2_geom *g = q2_writer_geom(ip->target);
		uint64_t clusters = needed >> g->cluster_bits;

		/* The L1 table may move. */
		if (size_of_top(ip) > size_of_base(ip))
			clusters += q2_l1_needed(size_of_top(ip),
						 g->cluster_bits,
						 1u << g->entry_bits) * 8 /
					    g->cluster_size + 1;
		clusters += (clusters >> g->block_bits) + 3;
		ip->result->needed = clusters << g->cluster_bits;
	}
	if (ip->target == NULL && size_of_top(ip) > size_of_base(ip))
		ip->result->needed += BLOCK; /* the last byte */
	if (ip->result->needed == 0)
		return Q2_OK;
	return q2_inplace_room(ip, ip->base_io, base_of(ip)->path,
			       ip->base_end, ip->result->needed, err);
}

/* The top image now has nothing that its base does not have. */
static enum q2_status leave_top(struct q2_inplace *ip, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	if (ip->base > 1) {
		const char *format;
		uint64_t size;
		char *name;

		st = q2_inplace_name(ip, &name, &size, &format, err);
		if (st != Q2_OK)
			return st;
		st = q2_write_backing(ip->top, name, format, false, err);
		q2_put(&ip->budget, name, size);
	}
	if (st != Q2_OK || (ip->opts->flags & Q2_INPLACE_KEEP))
		return st;
	st = q2_write_empty(ip->top, err);
	return st == Q2_OK ? q2_write_shrink(ip->top, err) : st;
}

enum q2_status q2_commit(struct q2_inplace *ip, struct q2_err *err)
{
	enum q2_status st = grow(ip, false, err);

	if (st == Q2_OK)
		st = for_each(ip, "committing", push, err);
	if (st == Q2_OK)
		st = ip->target ? q2_write_commit(ip->target, err) :
				  q2_flush(ip->base_io, err);
	return st == Q2_OK ? leave_top(ip, err) : st;
}
