/*
 * serial.h - numbers and bytes one after the other, for a state that is kept.
 *
 * SPDX-License-Identifier: MIT
 *
 * Numbers take seven bits a byte, the lowest first.  What is written goes to a
 * q2_buf; what is read comes in pieces from a function.  Any bytes can be read: a
 * failure sticks, and then everything is zero.
 */
#ifndef Q2_BASE_SERIAL_H
#define Q2_BASE_SERIAL_H

#include "base/buf.h"

static inline void q2_put_number(struct q2_buf *b, uint64_t v)
{
	uint8_t bytes[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		bytes[n++] = (uint8_t)(v | 0x80);
	bytes[n++] = (uint8_t)v;
	q2_buf_add(b, bytes, n);
}

struct q2_source {
	/* Up to n bytes, as many as there are; 0 at the end. */
	size_t (*read)(void *ctx, void *bytes, size_t n);
	void *ctx;
	bool failed; /* it ended too early, or a number was none */
	size_t at;
	size_t n;
	uint8_t held[4096];
};

uint8_t q2_take_byte(struct q2_source *s);
uint64_t q2_take_number(struct q2_source *s);

/* A number that must not be greater than `most`. */
uint64_t q2_take_up_to(struct q2_source *s, uint64_t most);

#endif
