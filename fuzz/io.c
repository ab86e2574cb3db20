/*
 * io.c - an image in memory that counts how it is read.
 *
 * SPDX-License-Identifier: MIT
 *
 * The allowance of reads is the fuel of all loops (I-10): it depends on what is
 * stored, never on what the header or a hole claims.  Writing would be possible, and
 * breaks a promise (C-3).
 */
#include <string.h>

#include "base/err.h"
#include "io/io.h"
#include "q2fuzz.h"

/* Tables of the largest sizes that the format allows, over holes, are read in
 * pieces of 64 KiB: a few thousand reads.  Beyond that, each stored sector may
 * be read some times over.  (Of the corpus, the cases and generated images none takes
 * a quarter of this.) */
#define READS_FREE 16384u
#define READS_A_SECTOR 64u
#define BYTES_FREE (UINT64_C(128) << 20)
#define BYTES_A_BYTE 128u
#define SECTOR 512u

struct q2f_io {
	struct q2_io io;
	const uint8_t *data;
	uint64_t stored;
	uint64_t reads;
	uint64_t bytes;
	uint64_t fail_read;
	bool sector; /* fail_read is one that cannot be read */
	bool holes;  /* sectors of zeros are not stored */
	bool failed;
};

static void burn(struct q2f_io *m, size_t len)
{
	m->reads++;
	m->bytes += len;
	if (m->reads > READS_FREE + READS_A_SECTOR * (m->stored / 512 + 1))
		q2f_violation("I-10", "%llu reads of %llu stored bytes",
			      (unsigned long long)m->reads,
			      (unsigned long long)m->stored);
	if (m->bytes > BYTES_FREE + BYTES_A_BYTE * m->stored)
		q2f_violation("I-10", "%llu bytes read of %llu stored ones",
			      (unsigned long long)m->bytes,
			      (unsigned long long)m->stored);
}

static enum q2_status io_pread(struct q2_io *io, void *buf, size_t len,
			       uint64_t off, struct q2_err *err)
{
	struct q2f_io *m = (struct q2f_io *)io;
	uint64_t there = off < m->stored ? m->stored - off : 0;
	size_t n = there < len ? (size_t)there : len;

	if (off > io->size || len > io->size - off)
		q2f_violation("I-4", "a read of %zu bytes at %llu", len,
			      (unsigned long long)off);
	burn(m, len);
	if (m->fail_read && !m->sector)
		q2f_place(Q2F_PLACE_IO, m->reads);
	if (m->sector ? off / SECTOR < m->fail_read &&
				(off + len + SECTOR - 1) / SECTOR >=
					m->fail_read :
			m->reads == m->fail_read) {
		m->failed = q2f_fault_reached = true;
		return q2_fail(err, Q2_E_IO, 5, off, "a read was made to fail");
	}
	if (n)
		memcpy(buf, m->data + off, n);
	memset((uint8_t *)buf + n, 0, len - n);
	return Q2_OK;
}

/* Whether the sector around the byte holds anything. */
static bool holds(const struct q2f_io *m, uint64_t off)
{
	uint64_t from = off / SECTOR * SECTOR;
	size_t n = (size_t)q2_min(SECTOR, m->stored - from);

	return m->data[from] || memcmp(m->data + from, m->data + from + 1,
				       n - 1) != 0;
}

static struct q2_range io_data(struct q2_io *io, uint64_t off)
{
	const struct q2f_io *m = (const struct q2f_io *)io;
	uint64_t end = m->stored;

	while (m->holes && off < m->stored && !holds(m, off))
		off = off / SECTOR * SECTOR + SECTOR;
	if (off >= m->stored)
		return (struct q2_range){io->size, 0};
	if (m->holes)
		for (end = off; end < m->stored && holds(m, end);)
			end = q2_min(end / SECTOR * SECTOR + SECTOR, m->stored);
	return (struct q2_range){off, end - off};
}

static void io_close(struct q2_io *io)
{
	q2f_own_free(io);
}

/* It could be written to, as any image that belongs to who looks at it. */
static enum q2_status io_pwrite(struct q2_io *io, const void *buf, size_t len,
				uint64_t off, struct q2_err *err)
{
	(void)io;
	(void)buf;
	(void)err;
	q2f_violation("C-3", "%zu bytes are written at %llu by who only reads",
		      len, (unsigned long long)off);
}

static enum q2_status io_resize(struct q2_io *io, uint64_t size,
				struct q2_err *err)
{
	(void)io;
	(void)err;
	q2f_violation("C-3", "the file is made %llu bytes long by who only reads",
		      (unsigned long long)size);
}

static enum q2_status io_discard(struct q2_io *io, struct q2_range range,
				 struct q2_err *err)
{
	(void)io;
	(void)err;
	q2f_violation("C-3", "%llu bytes are given back by who only reads",
		      (unsigned long long)range.len);
}

static const struct q2_io_ops ops = {
	.pread = io_pread,
	.pwrite = io_pwrite,
	.resize = io_resize,
	.discard = io_discard,
	.close = io_close,
	.data = io_data,
};

struct q2_io *q2f_io_new(const struct q2f_input *in)
{
	struct q2f_io *m = q2f_own(sizeof(*m));

	m->io.ops = &ops;
	m->io.size = in->size + in->ctl.hole;
	m->io.stored = m->stored = in->size;
	m->io.writable = true;
	m->data = in->image;
	m->fail_read = in->ctl.fail_read;
	/* It costs a look at every byte. */
	m->holes = q2f_thorough && in->size / SECTOR % 2;
	m->sector = in->ctl.flags & Q2F_SECTOR && m->fail_read;
	return &m->io;
}

bool q2f_io_failed(const struct q2_io *io)
{
	return ((const struct q2f_io *)io)->failed;
}

uint64_t q2f_io_reads(const struct q2_io *io)
{
	return ((const struct q2f_io *)io)->reads;
}

uint64_t q2f_io_bytes(const struct q2_io *io)
{
	return ((const struct q2f_io *)io)->bytes;
}

size_t q2f_io_view(const struct q2_io *io, const uint8_t **bytes)
{
	const struct q2f_io *m = (const struct q2f_io *)io;

	*bytes = m->data;
	return (size_t)m->stored;
}
