/*
 * io.c - what all kinds of input and output share: bounds and defaults.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/io.h"

#include <string.h>

#include "base/err.h"

enum q2_status q2_pread(struct q2_io *io, void *buf, size_t len, uint64_t off,
			struct q2_err *err)
{
	if (!q2_inside(off, len, io->size))
		return q2_fail(err, Q2_E_RANGE, 0, off,
			       "%zu bytes lie past the end of the file", len);
	return len ? io->ops->pread(io, buf, len, off, err) : Q2_OK;
}

enum q2_status q2_pread_zero(struct q2_io *io, void *buf, size_t len,
			     uint64_t off, struct q2_err *err)
{
	uint64_t there = off < io->size ? q2_min(io->size - off, len) : 0;

	if (there < len)
		memset((char *)buf + there, 0, len - (size_t)there);
	return q2_pread(io, buf, (size_t)there, q2_min(off, io->size), err);
}

enum q2_status q2_pwrite(struct q2_io *io, const void *buf, size_t len,
			 uint64_t off, struct q2_err *err)
{
	uint64_t end;

	if (!io->writable)
		return q2_fail(err, Q2_E_ARG, 0, off, "opened read-only");
	if (!q2_add(off, len, &end) || end > INT64_MAX)
		return q2_fail(err, Q2_E_RANGE, 0, off, "offset too large");
	return len ? io->ops->pwrite(io, buf, len, off, err) : Q2_OK;
}

enum q2_status q2_resize(struct q2_io *io, uint64_t size, struct q2_err *err)
{
	if (!io->writable)
		return q2_fail(err, Q2_E_ARG, 0, size, "opened read-only");
	return io->ops->resize(io, size, err);
}

enum q2_status q2_flush(struct q2_io *io, struct q2_err *err)
{
	return io->writable ? io->ops->flush(io, err) : Q2_OK;
}

enum q2_status q2_io_discard(struct q2_io *io, struct q2_range range,
			     struct q2_err *err)
{
	if (!io->writable || !q2_inside(range.start, range.len, io->size))
		return q2_fail(err, Q2_E_ARG, 0, range.start,
			       "cannot be discarded");
	if (io->ops->discard == NULL)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, range.start,
			       "space cannot be given back here");
	return range.len ? io->ops->discard(io, range, err) : Q2_OK;
}

struct q2_range q2_io_data(struct q2_io *io, uint64_t off)
{
	if (off >= io->size)
		return (struct q2_range){io->size, 0};
	if (io->ops->data == NULL)
		return (struct q2_range){off, io->size - off};
	return io->ops->data(io, off);
}

void q2_io_soon(struct q2_io *io, struct q2_range range)
{
	if (io->ops->soon && range.start < io->size)
		io->ops->soon(io, range);
}

void q2_io_close(struct q2_io *io)
{
	if (io)
		io->ops->close(io);
}

uint64_t q2_io_size(const struct q2_io *io)
{
	return io->size;
}
