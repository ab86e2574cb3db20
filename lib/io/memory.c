/*
 * memory.c - an image held in memory: borrowed and read-only, or our own.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/io.h"

struct memory {
	struct q2_io io;
	const uint8_t *data;
	uint8_t *own; /* the same, if it may be written */
	size_t room;  /* of `own`; bytes past the size are zeros */
	uint64_t limit;
};

static enum q2_status memory_pread(struct q2_io *io, void *buf, size_t len,
				   uint64_t off, struct q2_err *err)
{
	const struct memory *m = (const struct memory *)io;

	(void)err;
	memcpy(buf, m->data + off, len);
	return Q2_OK;
}

static enum q2_status make_room(struct memory *m, uint64_t size,
				struct q2_err *err)
{
	size_t room = (size_t)q2_max(size, m->room + m->room / 2);
	uint8_t *grown;

	if (size > m->limit)
		return q2_fail(err, Q2_E_IO, 0, size,
			       "the image in memory must not grow that large");
	if (size <= m->room)
		return Q2_OK;
	grown = realloc(m->own, room);
	if (grown == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory for an image");
	memset(grown + m->room, 0, room - m->room);
	m->data = m->own = grown;
	m->room = room;
	return Q2_OK;
}

static enum q2_status memory_resize(struct q2_io *io, uint64_t size,
				    struct q2_err *err)
{
	struct memory *m = (struct memory *)io;
	enum q2_status st = make_room(m, size, err);

	if (st != Q2_OK)
		return st;
	if (size < io->size)
		memset(m->own + size, 0, (size_t)(io->size - size));
	io->size = io->stored = size;
	return Q2_OK;
}

static enum q2_status memory_pwrite(struct q2_io *io, const void *buf,
				    size_t len, uint64_t off,
				    struct q2_err *err)
{
	struct memory *m = (struct memory *)io;
	enum q2_status st = Q2_OK;

	if (off + len > io->size)
		st = memory_resize(io, off + len, err);
	if (st == Q2_OK)
		memcpy(m->own + off, buf, len);
	return st;
}

static enum q2_status memory_flush(struct q2_io *io, struct q2_err *err)
{
	(void)io;
	(void)err;
	return Q2_OK;
}

static void memory_close(struct q2_io *io)
{
	struct memory *m = (struct memory *)io;

	free(m->own);
	free(m);
}

static const struct q2_io_ops memory_ops = {
	.pread = memory_pread,
	.pwrite = memory_pwrite,
	.resize = memory_resize,
	.flush = memory_flush,
	.close = memory_close,
};

enum q2_status q2_io_memory(const void *data, size_t size, struct q2_io **io,
			    struct q2_err *err)
{
	struct memory *m = calloc(1, sizeof(*m));

	*io = NULL;
	if (m == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory for an image");
	m->io.ops = &memory_ops;
	m->io.size = m->io.stored = size;
	m->data = data;
	*io = &m->io;
	return Q2_OK;
}

enum q2_status q2_io_memory_rw(const void *data, size_t size, uint64_t limit,
			       struct q2_io **io, struct q2_err *err)
{
	enum q2_status st = q2_io_memory(NULL, 0, io, err);
	struct memory *m = (struct memory *)*io;

	if (st != Q2_OK)
		return st;
	m->limit = q2_min(limit ? limit : SIZE_MAX, SIZE_MAX / 2);
	m->io.writable = true;
	st = memory_resize(&m->io, size, err);
	if (st != Q2_OK) {
		memory_close(&m->io);
		*io = NULL;
		return st;
	}
	if (size)
		memcpy(m->own, data, size);
	return Q2_OK;
}

const uint8_t *q2_io_memory_bytes(const struct q2_io *io)
{
	return ((const struct memory *)io)->data;
}
