/*
 * buf.h - a buffer that text is appended to.
 *
 * SPDX-License-Identifier: MIT
 *
 * Three uses of one struct: growing in memory (start with {0}), cut off at a
 * fixed size, or handing its bytes on whenever it is full.  A failure sticks:
 * later calls do nothing, and the caller looks at `failed` once, at the end.
 */
#ifndef Q2_BASE_BUF_H
#define Q2_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Takes n bytes; anything but 0 means that no more are wanted. */
typedef int q2_drain(void *ctx, const char *bytes, size_t n);

struct q2_buf {
	char *at;
	size_t n;    /* bytes held; in a fixed buffer: bytes ever added */
	size_t room; /* bytes that `at` has room for */
	bool given;  /* `at` is the caller's: it is neither grown nor freed */
	bool failed; /* no memory, or the drain refused */
	q2_drain *drain;
	void *ctx;
};

/* Keeps the first `size` bytes in `store` and counts the others. */
void q2_buf_fix(struct q2_buf *b, char *store, size_t size);

/* Collects in `store` and hands on to `drain` what does not fit; the rest goes
 * with q2_buf_flush(). */
void q2_buf_pipe(struct q2_buf *b, char *store, size_t size, q2_drain *drain,
		 void *ctx);

void q2_buf_flush(struct q2_buf *b);
void q2_buf_free(struct q2_buf *b);

/* What failed to be written to `part` is missing in `b`, too. */
static inline void q2_buf_fail_as(struct q2_buf *b, const struct q2_buf *part)
{
	b->failed |= part->failed;
}

void q2_buf_add(struct q2_buf *b, const void *bytes, size_t n);
void q2_buf_text(struct q2_buf *b, const char *text);
void q2_buf_char(struct q2_buf *b, char c);
void q2_buf_fill(struct q2_buf *b, char c, size_t n);
void q2_buf_u64(struct q2_buf *b, uint64_t value); /* decimal */
void q2_buf_hex(struct q2_buf *b, uint64_t value); /* with 0x */
void q2_buf_format(struct q2_buf *b, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Bytes that somebody else chose, safe to print on a terminal: control
 * characters and bytes that are not UTF-8 as C escapes, \\ for \. */
void q2_buf_escape(struct q2_buf *b, const void *bytes, size_t n);

/* Length of the UTF-8 sequence that p starts with (1 to 4, *code its
 * character), or 0 if the n bytes there do not start with a valid one. */
size_t q2_utf8(const uint8_t *p, size_t n, uint32_t *code);

#endif
