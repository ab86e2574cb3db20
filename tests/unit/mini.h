/*
 * mini.h - small images in memory for unit tests, and a counting reader.
 *
 * SPDX-License-Identifier: MIT
 *
 * Written from the format text, without the library's help.
 */
#ifndef MINI_H
#define MINI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"

struct mini {
	uint8_t *bytes;
	size_t size;
	unsigned bits; /* log2 of the cluster size */
	unsigned version;
};

static inline void mini_put(struct mini *m, size_t at, unsigned bytes,
			    uint64_t v)
{
	while (bytes--) {
		m->bytes[at + bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static inline size_t mini_cs(const struct mini *m)
{
	return (size_t)1 << m->bits;
}

/* Cluster 0 is the header, 3 is the L1 table; the tests fill in the others. */
static inline struct mini mini_new(unsigned version, unsigned bits,
				   size_t clusters, uint64_t disk,
				   uint32_t l1_size)
{
	struct mini m = {.bits = bits, .version = version};

	m.size = clusters << bits;
	m.bytes = calloc(1, m.size);
	mini_put(&m, 0, 4, 0x514649fb);
	mini_put(&m, 4, 4, version);
	mini_put(&m, 20, 4, bits);
	mini_put(&m, 24, 8, disk);
	mini_put(&m, 36, 4, l1_size);
	mini_put(&m, 40, 8, 3 * mini_cs(&m));
	mini_put(&m, 48, 8, 1 * mini_cs(&m));
	mini_put(&m, 56, 4, 1);
	if (version == 3) {
		mini_put(&m, 96, 4, 4);
		mini_put(&m, 100, 4, 104);
	}
	return m;
}

static inline void mini_l1(struct mini *m, size_t slot, uint64_t v)
{
	mini_put(m, 3 * mini_cs(m) + 8 * slot, 8, v);
}

/* Entry `i`, of `width` bytes, of the table in this cluster. */
static inline void mini_l2(struct mini *m, size_t cluster, size_t i,
			   unsigned width, uint64_t v, uint64_t bitmap)
{
	size_t at = cluster * mini_cs(m) + i * width;

	mini_put(m, at, 8, v);
	if (width == 16)
		mini_put(m, at + 8, 8, bitmap);
}

/* An extension of the header with text, 8-aligned at `at`; returns its end. */
static inline size_t mini_ext(struct mini *m, size_t at, uint32_t type,
			      const char *text)
{
	size_t n = strlen(text);

	mini_put(m, at, 4, type);
	mini_put(m, at + 4, 4, n);
	memcpy(m->bytes + at + 8, text, n);
	return (at + 8 + n + 7) & ~(size_t)7;
}

/* Names a backing file; format may be NULL. */
static inline void mini_backing(struct mini *m, const char *name,
				const char *format)
{
	size_t at = m->version == 3 ? 104 : 72;

	if (format)
		at = mini_ext(m, at, 0xe2792aca, format);
	at += 8; /* the end mark */
	memcpy(m->bytes + at, name, strlen(name));
	mini_put(m, 8, 8, at);
	mini_put(m, 16, 4, strlen(name));
}

/* Reads that are counted; one range may fail; one range may be a hole. */
struct counted {
	struct q2_io io;
	const uint8_t *data;
	unsigned reads;
	struct q2_range bad;
	struct q2_range hole;
};

static inline enum q2_status counted_pread(struct q2_io *io, void *buf,
					   size_t len, uint64_t off,
					   struct q2_err *err)
{
	struct counted *c = (struct counted *)io;

	(void)err;
	c->reads++;
	if (q2_overlap(c->bad, (struct q2_range){off, len}))
		return Q2_E_IO;
	memcpy(buf, c->data + off, len);
	return Q2_OK;
}

static inline void counted_close(struct q2_io *io)
{
	(void)io;
}

static inline struct q2_range counted_data(struct q2_io *io, uint64_t off)
{
	const struct counted *c = (const struct counted *)io;

	if (off >= c->hole.start && off < q2_end(c->hole))
		off = q2_end(c->hole);
	if (off >= io->size)
		return (struct q2_range){io->size, 0};
	if (c->hole.len && off < c->hole.start)
		return (struct q2_range){off, c->hole.start - off};
	return (struct q2_range){off, io->size - off};
}

static inline struct counted counted_new(const struct mini *m)
{
	static const struct q2_io_ops ops = {.pread = counted_pread,
					     .close = counted_close,
					     .data = counted_data};

	return (struct counted){
		.io = {.ops = &ops, .size = m->size, .stored = m->size},
		.data = m->bytes,
	};
}

#endif
