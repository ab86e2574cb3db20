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

uint64_t q2_base_size(const struct q2_inplace *ip)
{
	return ip->target ? q2_writer_geom(ip->target)->disk_size :
			    ip->base_file.io->size;
}

/* Bytes that the guest of the top image sees. */
uint64_t q2_commit_size(const struct q2_inplace *ip)
{
	return q2_view_size(&ip->upper);
}

/* Makes the base as large as the top image's disk, or with `try_only` tells whether
 * that can be done. */
static enum q2_status grow(struct q2_inplace *ip, bool try_only,
			   struct q2_err *err)
{
	uint64_t size = q2_commit_size(ip);

	if (size <= q2_base_size(ip))
		return Q2_OK;
	if (ip->target)
		return q2_write_resize(ip->target, size, try_only, err);
	if (ip->base_file.io->is_device)
		return q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET,
			       "the base is a device of %llu bytes, the disk "
			       "has %llu",
			       (unsigned long long)ip->base_file.io->size,
			       (unsigned long long)size);
	if (try_only)
		return Q2_OK;
	/* With a hole: a resize may take the space for all of it. */
	return q2_pwrite(ip->base_file.io, "", 1, size - 1, err);
}

static enum q2_status put(struct q2_inplace *ip, const uint8_t *buf, size_t n,
			  uint64_t at, struct q2_err *err)
{
	return ip->target ? q2_write(ip->target, buf, n, at, err) :
			    q2_pwrite(ip->base_file.io, buf, n, at, err);
}

static enum q2_status put_data(struct q2_inplace *ip, uint64_t at,
			       uint64_t len, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (uint64_t done = 0, n; done < len && st == Q2_OK; done += n) {
		n = q2_min(len - done, Q2_INPLACE_BUF);
		ip->result->data += n;
		if (!ip->rehearsing)
			st = q2_view_read(&ip->upper, ip->buf, (size_t)n,
					  at + done, err);
		if (st == Q2_OK)
			st = put(ip, ip->buf, (size_t)n, at + done, err);
		if (st == Q2_OK)
			st = q2_inplace_tick(ip, ip->phase, at + done,
					     q2_commit_size(ip), err);
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
		struct q2_range data = q2_io_data(ip->base_file.io, at);
		uint64_t n;

		if (data.len == 0 || data.start >= end)
			break;
		at = q2_max(at, data.start);
		n = q2_min(q2_min(end, q2_end(data)) - at, Q2_INPLACE_BUF);
		st = q2_pwrite(ip->base_file.io, ip->buf, (size_t)n, at, err);
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
enum q2_status q2_commit_parts(struct q2_inplace *ip, const char *phase,
			       enum q2_status (*take)(struct q2_inplace *ip,
						      uint64_t at,
						      uint64_t len,
						      bool zeros,
						      struct q2_err *err),
			       struct q2_err *err)
{
	uint64_t size = q2_commit_size(ip);
	enum q2_status st = Q2_OK;

	ip->phase = phase;
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

enum q2_status q2_commit_may_grow(struct q2_inplace *ip, struct q2_err *err)
{
	return grow(ip, true, err);
}

enum q2_status q2_commit_base(struct q2_inplace *ip, const char *phase,
			      struct q2_err *err)
{
	enum q2_status st = grow(ip, false, err);

	if (st == Q2_OK)
		st = q2_commit_parts(ip, phase, push, err);
	if (st == Q2_OK)
		st = ip->target ? q2_write_commit(ip->target, err) :
				  q2_flush(ip->base_file.io, err);
	return st;
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
	enum q2_status st = q2_commit_base(ip, "committing", err);

	return st == Q2_OK ? leave_top(ip, err) : st;
}
