/*
 * xml.c - text that others chose, in SVG and HTML.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "report/page.h"

#define REPLACEMENT "\xef\xbf\xbd"

static const char *entity(uint32_t c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return NULL;
	}
}

/* Characters that XML documents may hold, and that do no more than show. */
static bool allowed(uint32_t c)
{
	return c == '\n' || (c >= 0x20 && c != 0x7f &&
			     !(c >= 0x80 && c <= 0x9f) &&
			     (c & 0xfffe) != 0xfffe &&
			     !(c >= 0xfdd0 && c <= 0xfdef));
}

void q2_xml_put(struct q2_buf *out, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	while (n > 0) {
		uint32_t c = 0;
		size_t len = q2_utf8(p, n, &c);

		if (len == 0 || !allowed(c))
			q2_buf_text(out, REPLACEMENT);
		else if (entity(c))
			q2_buf_text(out, entity(c));
		else
			q2_buf_add(out, p, len);
		len = len ? len : 1;
		p += len;
		n -= len;
	}
}

void q2_xml_text(struct q2_buf *out, const char *text)
{
	q2_xml_put(out, text, strlen(text));
}

void q2_xml_name(struct q2_buf *out, const char *name)
{
	struct q2_buf b = {0};

	q2_buf_escape(&b, name, strlen(name));
	q2_buf_fail_as(out, &b);
	q2_xml_put(out, b.at, b.n);
	q2_buf_free(&b);
}

/* Bytes that so many characters take from p on. */
static size_t skip(const char *p, size_t n, size_t characters)
{
	size_t at = 0;

	for (; at < n && characters; characters--) {
		uint32_t c;
		size_t len = q2_utf8((const uint8_t *)p + at, n - at, &c);

		at += len ? len : 1;
	}
	return at;
}

static size_t count(const char *p, size_t n)
{
	size_t characters = 0;

	for (size_t at = 0; at < n; at += skip(p + at, n - at, 1))
		characters++;
	return characters;
}

void q2_text_short(struct q2_buf *out, const char *text, size_t n, size_t most)
{
	size_t characters = count(text, n), head, from;

	if (characters <= most) {
		q2_buf_add(out, text, n);
		return;
	}
	head = skip(text, n, most / 3);
	from = skip(text, n, characters - (most - most / 3 - 1));
	q2_buf_add(out, text, head);
	q2_buf_text(out, "\xe2\x80\xa6");
	q2_buf_add(out, text + from, n - from);
}

static void bytes_short(struct q2_buf *out, const char *bytes, size_t n,
			size_t most)
{
	struct q2_buf b = {0};

	q2_buf_escape(&b, bytes, n);
	q2_buf_fail_as(out, &b);
	q2_text_short(out, b.at, b.n, most);
	q2_buf_free(&b);
}

void q2_name_short(struct q2_buf *out, const char *name, size_t most)
{
	bytes_short(out, name, strlen(name), most);
}

void q2_xml_short(struct q2_buf *out, const char *bytes, size_t n, size_t most)
{
	struct q2_buf b = {0};

	bytes_short(&b, bytes, n, most);
	q2_buf_fail_as(out, &b);
	q2_xml_put(out, b.at, b.n);
	q2_buf_free(&b);
}

void q2_xml_short_name(struct q2_buf *out, const char *name, size_t most)
{
	q2_xml_short(out, name, strlen(name), most);
}
