/*
 * patched.c - another image, of which a few bytes are others.
 *
 * SPDX-License-Identifier: MIT
 *
 * An overlay does the same for any writing; this one costs nothing to make, for who
 * looks at hundreds of versions.
 */
#include <string.h>

#include "io/io.h"

/* The patch's part of [off, off + len): starts and ends in the file. */
static struct q2_range part_of(const struct q2_patched *p, uint64_t off,
			       uint64_t len)
{
	uint64_t start = q2_max(off, p->off);
	uint64_t end = q2_min(off + len, p->off + p->n);

	return (struct q2_range){start, end > start ? end - start : 0};
}

static enum q2_status patched_pread(struct q2_io *io, void *buf, size_t len,
				    uint64_t off, struct q2_err *err)
{
	const struct q2_patched *p = (const struct q2_patched *)io;
	struct q2_range part = part_of(p, off, len);
	enum q2_status st = q2_pread_zero(p->base, buf, len, off, err);

	if (st == Q2_OK && part.len)
		memcpy((char *)buf + (part.start - off),
		       p->bytes + (part.start - p->off), (size_t)part.len);
	return st;
}

static struct q2_range patched_data(struct q2_io *io, uint64_t off)
{
	const struct q2_patched *p = (const struct q2_patched *)io;
	struct q2_range below = q2_io_data(p->base, off);
	struct q2_range part = part_of(p, off, io->size - off);

	if (below.len && (!part.len || below.start <= part.start))
		return below;
	return part.len ? part : (struct q2_range){io->size, 0};
}

static void patched_soon(struct q2_io *io, struct q2_range range)
{
	q2_io_soon(((const struct q2_patched *)io)->base, range);
}

static const struct q2_io_ops patched_ops = {
	.pread = patched_pread,
	.data = patched_data,
	.soon = patched_soon,
};

void q2_io_patched(struct q2_patched *p, struct q2_io *base, uint64_t off,
		   const uint8_t *bytes, size_t n)
{
	*p = (struct q2_patched){
		.io = {.ops = &patched_ops,
		       .size = q2_max(base->size, off + n),
		       .stored = q2_add_sat(base->stored, n),
		       .is_device = base->is_device},
		.base = base,
		.off = off,
		.bytes = bytes,
		.n = n,
	};
}
