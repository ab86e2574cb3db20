/*
 * jsonline.c - reading one JSON object from a line of text, strictly.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/jsonline.h"

#include <string.h>

#include "base/buf.h"

#define DEPTH_MAX 8u

struct reader {
	const uint8_t *p;
	const uint8_t *end;
	char *out; /* where the next text goes */
	const char *why;
};

static bool fail(struct reader *r, const char *why)
{
	if (r->why == NULL)
		r->why = why;
	return false;
}

static void skip_blanks(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' ||
				 *r->p == '\r' || *r->p == '\n'))
		r->p++;
}

/* Whether the next character is c, which is taken then. */
static bool take(struct reader *r, char c)
{
	skip_blanks(r);
	if (r->p == r->end || *r->p != (uint8_t)c)
		return false;
	r->p++;
	return true;
}

static bool word(struct reader *r, const char *text)
{
	size_t n = strlen(text);

	if ((size_t)(r->end - r->p) < n || memcmp(r->p, text, n) != 0)
		return false;
	r->p += n;
	return true;
}

/* ------------------------------------------------------------------ strings */
static bool hex4(struct reader *r, uint32_t *code)
{
	if (r->end - r->p < 4)
		return fail(r, "a text does not end");
	*code = 0;
	for (int i = 0; i < 4; i++) {
		uint8_t c = *r->p++;
		uint32_t digit = c >= '0' && c <= '9' ? c - 48u :
				 c >= 'a' && c <= 'f' ? c - 97u + 10 :
				 c >= 'A' && c <= 'F' ? c - 65u + 10 : 16u;

		if (digit > 15)
			return fail(r, "an escape is not one");
		*code = *code << 4 | digit;
	}
	return true;
}

static void put_utf8(struct reader *r, uint32_t c)
{
	if (c < 0x80) {
		*r->out++ = (char)c;
		return;
	}
	if (c < 0x800) {
		*r->out++ = (char)(0xc0 | c >> 6);
	} else if (c < 0x10000) {
		*r->out++ = (char)(0xe0 | c >> 12);
		*r->out++ = (char)(0x80 | (c >> 6 & 0x3f));
	} else {
		*r->out++ = (char)(0xf0 | c >> 18);
		*r->out++ = (char)(0x80 | (c >> 12 & 0x3f));
		*r->out++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*r->out++ = (char)(0x80 | (c & 0x3f));
}

/* Behind \u. */
static bool unicode(struct reader *r)
{
	uint32_t high = 0, low = 0;

	if (!hex4(r, &high))
		return false;
	if (high >= 0xd800 && high < 0xdc00) {
		if (!word(r, "\\u") || !hex4(r, &low) || low < 0xdc00 ||
		    low > 0xdfff)
			return fail(r, "a lone surrogate in a text");
		high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
	} else if (high >= 0xdc00 && high <= 0xdfff) {
		return fail(r, "a lone surrogate in a text");
	}
	if (high == 0)
		return fail(r, "a NUL in a text");
	put_utf8(r, high);
	return true;
}

static bool escape(struct reader *r)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (r->p == r->end)
		return fail(r, "a text does not end");
	if (*r->p == 'u') {
		r->p++;
		return unicode(r);
	}
	at = *r->p ? strchr(from, *r->p) : NULL;
	if (at == NULL)
		return fail(r, "an escape is not one");
	*r->out++ = to[at - from];
	r->p++;
	return true;
}

/* A decoded text is never longer than what it was written as. */
static bool string(struct reader *r, const char **text)
{
	uint32_t code;

	if (!take(r, '"'))
		return fail(r, "a text is missing");
	*text = r->out;
	while (r->p < r->end && *r->p != '"') {
		size_t n = q2_utf8(r->p, (size_t)(r->end - r->p), &code);

		if (n == 0)
			return fail(r, "a text is not UTF-8");
		if (*r->p < 0x20)
			return fail(r, "a control character in a text");
		if (*r->p == '\\') {
			r->p++;
			if (!escape(r))
				return false;
			continue;
		}
		memcpy(r->out, r->p, n);
		r->out += n;
		r->p += n;
	}
	if (r->p == r->end)
		return fail(r, "a text does not end");
	r->p++;
	*r->out++ = '\0';
	return true;
}

/* ------------------------------------------------------------------- values */
static bool number(struct reader *r, uint64_t *value)
{
	const uint8_t *start = r->p;

	*value = 0;
	for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) {
		uint64_t digit = *r->p - (uint64_t)'0';

		if (*value > (UINT64_MAX - digit) / 10)
			return fail(r, "a number is too large");
		*value = *value * 10 + digit;
	}
	if (r->p == start || (*start == '0' && r->p - start > 1) ||
	    (r->p < r->end && strchr(".eE+-", *r->p)))
		return fail(r, "a whole number is missing");
	return true;
}

static bool truth(struct reader *r, uint64_t *value)
{
	*value = word(r, "true");
	if (*value || word(r, "false"))
		return true;
	return fail(r, "true or false is missing");
}

static bool strings(struct reader *r, struct q2_json_value *v)
{
	const char *text;

	if (!take(r, '['))
		return fail(r, "a list is missing");
	v->text = r->out;
	if (take(r, ']'))
		return true;
	do {
		if (!string(r, &text))
			return false;
		v->count++;
	} while (take(r, ','));
	return take(r, ']') ? true : fail(r, "a list does not end");
}

static bool any(struct reader *r, unsigned depth);

/* Of members that nobody asked for. */
static bool any_container(struct reader *r, unsigned depth, bool object)
{
	char end = object ? '}' : ']';
	const char *key;

	if (depth == DEPTH_MAX)
		return fail(r, "it is nested too deeply");
	if (take(r, end))
		return true;
	do {
		if (object && !string(r, &key))
			return false;
		if (object && !take(r, ':'))
			return fail(r, "a colon is missing");
		if (!any(r, depth + 1))
			return false;
	} while (take(r, ','));
	return take(r, end) ? true :
			      fail(r, "an object or a list does not end");
}

/* A number of any kind: its characters only. */
static bool any_number(struct reader *r)
{
	const uint8_t *start = r->p;

	while (r->p < r->end && *r->p && strchr("0123456789.eE+-", *r->p))
		r->p++;
	return r->p > start ? true : fail(r, "a value is missing");
}

static bool any(struct reader *r, unsigned depth)
{
	char *out = r->out;
	const char *text;
	bool ok;

	skip_blanks(r);
	if (r->p < r->end && *r->p == '"') {
		ok = string(r, &text);
		r->out = out;
		return ok;
	}
	if (take(r, '{'))
		return any_container(r, depth, true);
	if (take(r, '['))
		return any_container(r, depth, false);
	if (word(r, "true") || word(r, "false") || word(r, "null"))
		return true;
	return any_number(r);
}

static bool known(struct reader *r, enum q2_json_type type,
		  struct q2_json_value *v)
{
	if (v->given)
		return fail(r, "a member is there twice");
	v->given = true;
	skip_blanks(r);
	switch (type) {
	case Q2_JSON_NUMBER:
		return number(r, &v->number);
	case Q2_JSON_BOOL:
		return truth(r, &v->number);
	case Q2_JSON_STRING:
		return string(r, &v->text);
	case Q2_JSON_STRINGS:
		break;
	}
	return strings(r, v);
}

const char *q2_json_line(const char *line, size_t n,
			 const struct q2_json_member *members,
			 size_t n_members, struct q2_json_value *value,
			 char *room)
{
	struct reader r = {.p = (const uint8_t *)line,
			   .end = (const uint8_t *)line + n,
			   .out = room};
	const char *key;

	memset(value, 0, n_members * sizeof(*value));
	if (!take(&r, '{'))
		return "it is no JSON object";
	if (!take(&r, '}')) {
		do {
			size_t i = 0;

			if (!string(&r, &key))
				return r.why;
			/* Nobody needs the key once it is known. */
			r.out = (char *)(uintptr_t)key;
			while (i < n_members &&
			       strcmp(members[i].key, key) != 0)
				i++;
			if (!take(&r, ':'))
				return "a colon is missing";
			if (i < n_members ?
				    !known(&r, members[i].type, &value[i]) :
				    !any(&r, 0))
				return r.why;
		} while (take(&r, ','));
		if (!take(&r, '}'))
			return "the object does not end";
	}
	skip_blanks(&r);
	return r.p < r.end ? "there is more behind the object" : NULL;
}
