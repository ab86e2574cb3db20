/*
 * buf.c - a buffer that text is appended to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void q2_buf_fix(struct q2_buf *b, char *store, size_t size)
{
	*b = (struct q2_buf){.at = store, .room = size, .given = true};
}

void q2_buf_pipe(struct q2_buf *b, char *store, size_t size, q2_drain *drain,
		 void *ctx)
{
	q2_buf_fix(b, store, size);
	b->drain = drain;
	b->ctx = ctx;
}

void q2_buf_flush(struct q2_buf *b)
{
	if (b->failed || b->drain == NULL || b->n == 0)
		return;
	if (b->drain(b->ctx, b->at, b->n) != 0)
		b->failed = true;
	b->n = 0;
}

void q2_buf_free(struct q2_buf *b)
{
	if (!b->given)
		free(b->at);
	*b = (struct q2_buf){0};
}

static void grow(struct q2_buf *b, size_t n)
{
	size_t room = b->room + b->room / 2 + 256;
	char *at;

	if (n > SIZE_MAX / 2 - room) {
		b->failed = true;
		return;
	}
	if (room < b->n + n)
		room = b->n + n;
	at = realloc(b->at, room);
	if (at == NULL) {
		b->failed = true;
		return;
	}
	b->at = at;
	b->room = room;
}

void q2_buf_add(struct q2_buf *b, const void *bytes, size_t n)
{
	size_t left;

	if (b->failed || n == 0)
		return;
	if (b->drain != NULL && n > b->room - b->n) {
		q2_buf_flush(b);
		if (n > b->room && !b->failed) {
			b->failed = b->drain(b->ctx, bytes, n) != 0;
			return;
		}
	} else if (!b->given && n > b->room - b->n) {
		grow(b, n);
	}
	if (b->failed)
		return;
	left = b->n < b->room ? b->room - b->n : 0;
	if (left > 0)
		memcpy(b->at + b->n, bytes, n < left ? n : left);
	b->n += n;
}

void q2_buf_text(struct q2_buf *b, const char *text)
{
	q2_buf_add(b, text, strlen(text));
}

void q2_buf_char(struct q2_buf *b, char c)
{
	q2_buf_add(b, &c, 1);
}

void q2_buf_fill(struct q2_buf *b, char c, size_t n)
{
	while (n-- > 0)
		q2_buf_char(b, c);
}

static void number(struct q2_buf *b, uint64_t value, unsigned base)
{
	char digits[20];
	size_t i = sizeof(digits);

	do {
		digits[--i] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	q2_buf_add(b, digits + i, sizeof(digits) - i);
}

void q2_buf_u64(struct q2_buf *b, uint64_t value)
{
	number(b, value, 10);
}

void q2_buf_hex(struct q2_buf *b, uint64_t value)
{
	q2_buf_add(b, "0x", 2);
	number(b, value, 16);
}

void q2_buf_format(struct q2_buf *b, const char *format, ...)
{
	char line[1024];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(line))
		b->failed = true;
	else
		q2_buf_add(b, line, (size_t)n);
}

size_t q2_utf8(const uint8_t *p, size_t n, uint32_t *code)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = n == 0	   ? 0
		     : p[0] < 0x80 ? 1
		     : p[0] < 0xc2 ? 0
		     : p[0] < 0xe0 ? 2
		     : p[0] < 0xf0 ? 3
		     : p[0] < 0xf5 ? 4
				   : 0;
	uint32_t c;

	if (len == 0 || len > n)
		return 0;
	c = len == 1 ? p[0] : p[0] & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*code = c;
	return len;
}

/* Besides the control characters proper these are the ones that reorder or
 * break the line they stand in: a file name must not rewrite the report. */
static bool printable(uint32_t c)
{
	return c >= 0x20 && c != 0x7f && !(c >= 0x80 && c <= 0x9f) &&
	       !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069) &&
	       c != 0x200e && c != 0x200f && c != 0xfeff;
}

void q2_buf_escape(struct q2_buf *b, const void *bytes, size_t n)
{
	static const char named[] = "\a\b\t\n\v\f\r\\";
	static const char letter[] = "abtnvfr\\";
	const uint8_t *p = bytes;

	while (n > 0) {
		uint32_t c = 0;
		size_t len = q2_utf8(p, n, &c);
		const char *at = memchr(named, *p, sizeof(named) - 1);

		if (at != NULL) {
			char pair[2] = {'\\', letter[at - named]};

			q2_buf_add(b, pair, 2);
			len = 1;
		} else if (len > 0 && printable(c)) {
			q2_buf_add(b, p, len);
		} else {
			len = len > 0 ? len : 1;
			for (size_t i = 0; i < len; i++)
				q2_buf_format(b, "\\x%02x", p[i]);
		}
		p += len;
		n -= len;
	}
}
