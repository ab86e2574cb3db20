/*
 * json.c - a writer of JSON that keeps nothing but its place.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/json.h"

#include <string.h>

static bool on_one_line(const struct q2_json *j)
{
	return j->indent == 0 || (j->flat != 0 && j->depth >= j->flat);
}

static void newline(struct q2_json *j)
{
	if (on_one_line(j))
		return;
	q2_buf_char(j->out, '\n');
	q2_buf_fill(j->out, ' ', (size_t)j->depth * j->indent);
}

/* How many of the bytes stand for themselves in a string: ASCII, mostly. */
static size_t plain(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' &&
	       p[i] != '\\')
		i++;
	return i;
}

/* Appends one character that is not plain; returns how many bytes it took. */
static size_t put_special(struct q2_buf *out, const uint8_t *p, size_t n)
{
	uint32_t c = 0;
	size_t len = q2_utf8(p, n, &c);

	if (len == 0)
		q2_buf_text(out, "\\ufffd");
	else if (c == '"')
		q2_buf_text(out, "\\\"");
	else if (c == '\\')
		q2_buf_text(out, "\\\\");
	else if (c == '\n')
		q2_buf_text(out, "\\n");
	else if (c == '\t')
		q2_buf_text(out, "\\t");
	else if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		q2_buf_format(out, "\\u%04x", (unsigned)c);
	else
		q2_buf_add(out, p, len);
	return len > 0 ? len : 1;
}

static void put_string(struct q2_buf *out, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	q2_buf_char(out, '"');
	while (n > 0) {
		size_t len = plain(p, n);

		if (len > 0)
			q2_buf_add(out, p, len);
		else
			len = put_special(out, p, n);
		p += len;
		n -= len;
	}
	q2_buf_char(out, '"');
}

/* Whatever stands between the previous value and the next one. */
static void begin_value(struct q2_json *j, const char *key)
{
	if (j->begun)
		q2_buf_text(j->out, on_one_line(j) ? ", " : ",");
	if (j->depth > 0)
		newline(j);
	j->begun = true;
	if (key == NULL)
		return;
	put_string(j->out, key, strlen(key));
	q2_buf_text(j->out, ": ");
}

void q2_json_open(struct q2_json *j, const char *key, char kind)
{
	begin_value(j, key);
	q2_buf_char(j->out, kind);
	j->depth++;
	j->begun = false;
}

void q2_json_open_flat(struct q2_json *j, const char *key, char kind)
{
	q2_json_open(j, key, kind);
	if (j->flat == 0)
		j->flat = j->depth;
}

void q2_json_close(struct q2_json *j, char kind)
{
	bool flat = on_one_line(j);

	if (j->flat == j->depth)
		j->flat = 0;
	j->depth--;
	if (j->begun && !flat)
		newline(j);
	q2_buf_char(j->out, kind == '{' ? '}' : ']');
	j->begun = true;
}

void q2_json_u64(struct q2_json *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	q2_buf_u64(j->out, value);
}

void q2_json_bool(struct q2_json *j, const char *key, bool value)
{
	begin_value(j, key);
	q2_buf_text(j->out, value ? "true" : "false");
}

void q2_json_hex(struct q2_json *j, const char *key, uint64_t value)
{
	begin_value(j, key);
	q2_buf_char(j->out, '"');
	q2_buf_hex(j->out, value);
	q2_buf_char(j->out, '"');
}

void q2_json_text(struct q2_json *j, const char *key, const char *text)
{
	q2_json_bytes(j, key, text, strlen(text));
}

void q2_json_bytes(struct q2_json *j, const char *key, const void *bytes,
		   size_t n)
{
	begin_value(j, key);
	put_string(j->out, bytes, n);
}

bool q2_is_utf8(const char *text)
{
	size_t n = strlen(text), len;
	uint32_t code;

	for (; n; n -= len, text += len) {
		len = q2_utf8((const uint8_t *)text, n, &code);
		if (len == 0)
			return false;
	}
	return true;
}

void q2_put_hex(struct q2_buf *out, const char *text)
{
	for (; *text; text++)
		q2_buf_format(out, "%02x", (unsigned)(uint8_t)*text);
}

void q2_json_name(struct q2_json *j, const char *key, const char *bytes_key,
		  const char *text)
{
	struct q2_buf b = {0};

	q2_json_text(j, key, text);
	if (q2_is_utf8(text))
		return;
	q2_put_hex(&b, text);
	q2_buf_fail_as(j->out, &b);
	q2_json_bytes(j, bytes_key, b.at, b.n);
	q2_buf_free(&b);
}
