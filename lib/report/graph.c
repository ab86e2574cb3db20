/*
 * graph.c - who depends on whom: a drawing of trees, and Graphviz's language.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "report/scan.h"

/* The overlays of each file: next[i] is the next one with the same base. */
struct forest {
	const struct q2_scan *scan;
	struct q2_buf *out;
	size_t n;
	size_t *first;
	size_t *next;
	bool *drawn;
};

static void put_flags(struct q2_buf *out, const struct q2_scan_file *f)
{
	for (unsigned i = 0; q2_file_flag_text(i); i++)
		if (f->flags & 1u << i)
			q2_buf_format(out, " [%s]", q2_file_flag_text(i));
}

static void put_line(struct q2_buf *out, const struct q2_scan *scan,
		     const struct q2_scan_file *f)
{
	struct q2_scan_file data;

	q2_buf_escape(out, f->path, strlen(f->path));
	if (f->kind == Q2_FILE_BAD) {
		q2_buf_text(out, ": ");
		q2_buf_escape(out, f->error, strlen(f->error));
	} else {
		q2_buf_text(out, f->kind == Q2_FILE_RAW ? " (raw, " :
							  " (qcow2, ");
		q2_render_size(out, f->capacity);
		q2_buf_char(out, ')');
	}
	put_flags(out, f);
	if (f->backing && f->base == Q2_NO_FILE) {
		q2_buf_text(out, " over '");
		q2_buf_escape(out, f->backing, strlen(f->backing));
		q2_buf_char(out, '\'');
	}
	if (q2_scan_file(scan, f->data_file, &data)) {
		q2_buf_text(out, " with data in ");
		q2_buf_escape(out, data.path, strlen(data.path));
	}
	if (f->names > 1)
		q2_buf_format(out, " (%zu paths)", f->names);
	q2_buf_char(out, '\n');
}

/* Where the drawing of one file's overlays has come to. */
struct level {
	size_t at;
	bool more; /* others follow at this level */
};

static void indent(const struct forest *t, const struct level *levels, size_t n)
{
	for (size_t i = 0; i + 1 < n; i++)
		q2_buf_text(t->out, levels[i].more ? "|  " : "   ");
	if (n)
		q2_buf_text(t->out, levels[n - 1].more ? "|- " : "`- ");
}

/* One tree, without recursion: chains may be long.  `levels` has room for all. */
static void draw(struct forest *t, size_t root, struct level *levels)
{
	struct q2_scan_file f;
	size_t at = root, n = 0;

	for (;;) {
		if (at != Q2_NO_FILE && !t->drawn[at] &&
		    q2_scan_file(t->scan, at, &f)) {
			t->drawn[at] = true;
			indent(t, levels, n);
			put_line(t->out, t->scan, &f);
			at = t->first[at];
			levels[n] = (struct level){at, false};
			if (at != Q2_NO_FILE) {
				levels[n].more = t->next[at] != Q2_NO_FILE;
				n++;
				continue;
			}
		}
		/* The next one at the innermost level that has any. */
		while (n && t->next[levels[n - 1].at] == Q2_NO_FILE)
			n--;
		if (n == 0)
			return;
		at = levels[n - 1].at = t->next[levels[n - 1].at];
		levels[n - 1].more = t->next[at] != Q2_NO_FILE;
	}
}

static void link_up(struct forest *t)
{
	struct q2_scan_file f;

	for (size_t i = t->n; i-- > 0;) {
		if (!q2_scan_file(t->scan, i, &f) || f.base == Q2_NO_FILE)
			continue;
		t->next[i] = t->first[f.base];
		t->first[f.base] = i;
	}
}

static void draw_all(struct forest *t, struct level *levels)
{
	struct q2_scan_file f;

	for (size_t i = 0; q2_scan_file(t->scan, i, &f); i++)
		if (f.base == Q2_NO_FILE)
			draw(t, i, levels);
	/* What is left stands on a loop, or is one. */
	for (size_t i = 0; i < t->n; i++)
		if (!t->drawn[i])
			draw(t, i, levels);
}

void q2_scan_put_tree(struct q2_buf *out, const struct q2_scan *scan)
{
	struct forest t = {.scan = scan, .out = out};
	struct q2_scan_file f;
	struct level *levels;

	while (q2_scan_file(scan, t.n, &f))
		t.n++;
	t.first = malloc((t.n + 1) * sizeof(*t.first));
	t.next = malloc((t.n + 1) * sizeof(*t.next));
	t.drawn = calloc(t.n + 1, sizeof(*t.drawn));
	levels = calloc(t.n + 2, sizeof(*levels));
	if (t.first && t.next && t.drawn && levels) {
		memset(t.first, 0xff, (t.n + 1) * sizeof(*t.first));
		memset(t.next, 0xff, (t.n + 1) * sizeof(*t.next));
		link_up(&t);
		draw_all(&t, levels);
	} else {
		out->failed = true;
	}
	free(t.first);
	free(t.next);
	free(t.drawn);
	free(levels);
}

/* ---------------------------------------------------------------- Graphviz */
/* One character.  A backslash, and so that of a newline, would start one of
 * Graphviz's own escapes, and is doubled. */
static void put_character(struct q2_buf *out, const char *text, size_t len)
{
	char escaped[32];
	struct q2_buf b;

	q2_buf_fix(&b, escaped, sizeof(escaped));
	if (*text == '"' || *text == '\\')
		q2_buf_char(&b, *text);
	else
		q2_buf_escape(&b, text, len);
	for (size_t i = 0; i < b.n; i++) {
		if (b.at[i] == '"' || b.at[i] == '\\')
			q2_buf_char(out, '\\');
		q2_buf_char(out, b.at[i]);
	}
}

static void put_label(struct q2_buf *out, const char *text)
{
	size_t n = strlen(text);

	q2_buf_char(out, '"');
	while (n) {
		uint32_t code;
		size_t len = q2_utf8((const uint8_t *)text, n, &code);

		if (len)
			put_character(out, text, len);
		else
			q2_buf_text(out, "\xef\xbf\xbd");
		len = len ? len : 1;
		text += len;
		n -= len;
	}
	q2_buf_char(out, '"');
}

void q2_scan_put_dot(struct q2_buf *out, const struct q2_scan *scan)
{
	struct q2_scan_file f;
	size_t missing = 0;

	q2_buf_text(out, "digraph images {\n  rankdir=BT;\n  node [shape=box];\n");
	for (size_t i = 0; q2_scan_file(scan, i, &f); i++) {
		q2_buf_format(out, "  f%zu [label=", i);
		put_label(out, f.path);
		if (f.kind == Q2_FILE_BAD)
			q2_buf_text(out, ", style=dashed");
		else if (f.flags & Q2_FF_LOOP)
			q2_buf_text(out, ", color=red");
		q2_buf_text(out, "];\n");
	}
	for (size_t i = 0; q2_scan_file(scan, i, &f); i++) {
		if (f.base != Q2_NO_FILE)
			q2_buf_format(out, "  f%zu -> f%zu;\n", i, f.base);
		else if (f.backing) {
			q2_buf_format(out, "  m%zu [style=dotted, label=",
				      missing);
			put_label(out, f.backing);
			q2_buf_format(out, "];\n  f%zu -> m%zu;\n", i,
				      missing++);
		}
		if (f.data_file != Q2_NO_FILE)
			q2_buf_format(out, "  f%zu -> f%zu [style=dashed];\n",
				      i, f.data_file);
	}
	q2_buf_text(out, "}\n");
}
