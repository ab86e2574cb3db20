/*
 * render.c - findings, sizes and paragraphs as text for people.
 *
 * SPDX-License-Identifier: MIT
 *
 * Messages name the fields that they show: {host} {guest} {other} are offsets
 * and come out as hexadecimal, {field:x} does so for any other number, {text}
 * is escaped for terminals, {kind} is a name.  {field:thing} is a number of
 * things ("1 thing", "2 things"), {field:no|yes} a word for 0 and one for more.
 */
#include "report/report.h"

#include <string.h>

static const struct placeholder {
	const char *name;
	unsigned field;
} placeholders[] = {
	{"host", Q2_F_HOST},	     {"guest", Q2_F_GUEST},
	{"other", Q2_F_OTHER},	     {"length", Q2_F_LENGTH},
	{"found", Q2_F_FOUND},	     {"expected", Q2_F_EXPECTED},
	{"count", Q2_F_COUNT},	     {"index", Q2_F_INDEX},
	{"l1", Q2_F_L1},	     {"l2", Q2_F_L2},
	{"kind", Q2_F_KIND},	     {"text", Q2_F_TEXT},
	{"tree", Q2_F_TREE},
};

#define PLACEHOLDERS (sizeof(placeholders) / sizeof(placeholders[0]))

uint64_t q2_field_value(const struct q2_finding *f, unsigned field)
{
	switch (field) {
	case Q2_F_HOST:
		return f->host;
	case Q2_F_GUEST:
		return f->guest;
	case Q2_F_OTHER:
		return f->other;
	case Q2_F_LENGTH:
		return f->length;
	case Q2_F_FOUND:
		return f->found;
	case Q2_F_EXPECTED:
		return f->expected;
	case Q2_F_COUNT:
		return f->fields & Q2_F_COUNT ? f->count : 1;
	case Q2_F_TREE:
		return f->tree;
	case Q2_F_L1:
		return f->l1;
	case Q2_F_L2:
		return f->l2;
	case Q2_F_INDEX:
		return f->index;
	default:
		return 0;
	}
}

bool q2_field_is_raw(const struct q2_problem *p, unsigned field)
{
	return (field == Q2_F_FOUND && strstr(p->message, "{found:x}")) ||
	       (field == Q2_F_EXPECTED && strstr(p->message, "{expected:x}"));
}

/* What stands between braces. */
struct slot {
	unsigned field; /* 0: no field */
	const char *style; /* after the colon; NULL: none */
	size_t style_len;
};

static bool is_style(const struct slot *s, const char *style)
{
	return s->style && s->style_len == strlen(style) &&
	       memcmp(s->style, style, s->style_len) == 0;
}

static void render_number(struct q2_buf *out, const struct slot *s,
			  uint64_t value)
{
	const char *style = s->style ? s->style : "";
	const char *bar = memchr(style, '|', s->style_len);
	const char *end = style + s->style_len;

	if (bar) {
		if (value == 0)
			q2_buf_add(out, style, (size_t)(bar - style));
		else
			q2_buf_add(out, bar + 1, (size_t)(end - bar) - 1);
		return;
	}
	q2_buf_u64(out, value);
	if (s->style == NULL)
		return;
	q2_buf_char(out, ' ');
	if (value == 1 || end[-1] != 'y') {
		q2_buf_add(out, s->style, s->style_len);
		q2_buf_text(out, value == 1 ? "" : "s");
	} else {
		q2_buf_add(out, s->style, s->style_len - 1);
		q2_buf_text(out, "ies");
	}
}

static void render_field(struct q2_buf *out, const struct q2_finding *f,
			 const struct slot *s)
{
	if (!(f->fields & s->field) && s->field != Q2_F_COUNT)
		q2_buf_char(out, '?');
	else if (s->field == Q2_F_TEXT)
		q2_buf_escape(out, f->text, f->text_len);
	else if (s->field == Q2_F_KIND)
		q2_buf_text(out, q2_kind_text(f->kind));
	else if (s->field == Q2_F_TREE && f->tree == Q2_TREE_ACTIVE)
		q2_buf_text(out, "the active disk");
	else if (is_style(s, "x") ||
		 (s->field & (Q2_F_HOST | Q2_F_GUEST | Q2_F_OTHER)))
		q2_buf_hex(out, q2_field_value(f, s->field));
	else
		render_number(out, s, q2_field_value(f, s->field));
}

static struct slot parse_slot(const char *name, size_t len)
{
	const char *colon = memchr(name, ':', len);
	size_t n = colon ? (size_t)(colon - name) : len;
	struct slot s = {0};

	if (colon) {
		s.style = colon + 1;
		s.style_len = len - n - 1;
	}
	for (size_t i = 0; i < PLACEHOLDERS; i++)
		if (strlen(placeholders[i].name) == n &&
		    memcmp(placeholders[i].name, name, n) == 0)
			s.field = placeholders[i].field;
	return s;
}

void q2_render_message(struct q2_buf *out, const struct q2_finding *f)
{
	const char *p = f->problem->message;

	for (;;) {
		const char *open = strchr(p, '{');
		const char *close = open ? strchr(open, '}') : NULL;
		struct slot s;

		if (close == NULL)
			break;
		q2_buf_add(out, p, (size_t)(open - p));
		s = parse_slot(open + 1, (size_t)(close - open) - 1);
		if (s.field != 0)
			render_field(out, f, &s);
		else
			q2_buf_add(out, open, (size_t)(close - open) + 1);
		p = close + 1;
	}
	q2_buf_text(out, p);
}

size_t q2_finding_message(const struct q2_finding *f, char *out, size_t size)
{
	struct q2_buf b;

	q2_buf_fix(&b, out, size > 0 ? size - 1 : 0);
	q2_render_message(&b, f);
	if (size > 0)
		out[b.n < size ? b.n : size - 1] = '\0';
	return b.n;
}

void q2_render_size(struct q2_buf *out, uint64_t bytes)
{
	unsigned unit = 0;
	uint64_t whole, hundredths;

	while (unit < 6 && bytes >> (10 * (unit + 1)) != 0)
		unit++;
	if (unit == 0) {
		q2_buf_format(out, "%u byte%s", (unsigned)bytes,
			      bytes == 1 ? "" : "s");
		return;
	}
	whole = bytes >> (10 * unit);
	/* Rounded down: 1023.999 KiB must not read as 1024. */
	hundredths = ((bytes >> (10 * (unit - 1))) & 1023) * 100 / 1024;
	q2_buf_u64(out, whole);
	if (bytes != whole << (10 * unit))
		q2_buf_format(out, ".%02u", (unsigned)hundredths);
	q2_buf_format(out, " %ciB", "BKMGTPE"[unit]);
}

void q2_render_wrapped(struct q2_buf *out, const char *text, size_t indent,
		       size_t width)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t word = strcspn(text, " ");

		if (column > 0 && column + 1 + word > width) {
			q2_buf_char(out, '\n');
			column = 0;
		}
		if (column == 0) {
			q2_buf_fill(out, ' ', indent);
			column = indent;
		} else {
			q2_buf_char(out, ' ');
			column++;
		}
		q2_buf_add(out, text, word);
		column += word;
		text += word;
		text += strspn(text, " ");
	}
	q2_buf_char(out, '\n');
}
