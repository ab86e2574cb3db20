/*
 * memory.c - an image held in memory, read-only and borrowed.
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
};

static enum q2_status memory_pread(struct q2_io *io, void *buf, size_t len,
				   uint64_t off, struct q2_err *err)
{
	const struct memory *m = (const struct memory *)io;

	(void)err;
	memcpy(buf, m->data + off, len);
	return Q2_OK;
}

static void memory_close(struct q2_io *io)
{
	free(io);
}

static const struct q2_io_ops memory_ops = {
	.pread = memory_pread,
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
