/*
 * plaincols.c - plain tables and trees, as libsmartcols prints them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef HAVE_SMARTCOLS

#include "plaincols.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

#define COLUMNS_MAX 16u

struct libscols_line {
	struct libscols_line *parent;
	struct libscols_line *next;
	unsigned depth;
	bool is_last; /* of its parent's lines */
	char *cell[COLUMNS_MAX];
};

struct libscols_table {
	struct libscols_line *first;
	struct libscols_line **end;
	bool no_headings;
	bool is_tree;
	size_t n;
	const char *name[COLUMNS_MAX];
	int flags[COLUMNS_MAX];
	size_t width[COLUMNS_MAX];
};

struct libscols_table *scols_new_table(void)
{
	struct libscols_table *t = calloc(1, sizeof(*t));

	if (t)
		t->end = &t->first;
	return t;
}

void scols_unref_table(struct libscols_table *t)
{
	while (t && t->first) {
		struct libscols_line *line = t->first;

		t->first = line->next;
		for (size_t i = 0; i < COLUMNS_MAX; i++)
			free(line->cell[i]);
		free(line);
	}
	free(t);
}

void scols_table_enable_noheadings(struct libscols_table *t, int on)
{
	t->no_headings = on != 0;
}

void scols_table_set_termforce(struct libscols_table *t, int force)
{
	(void)t;
	(void)force; /* a terminal is never looked at */
}

void scols_table_enable_ascii(struct libscols_table *t, int on)
{
	(void)t;
	(void)on; /* nothing else is known */
}

const char *scols_table_new_column(struct libscols_table *t, const char *name,
				   double hint, int flags)
{
	(void)hint;
	if (t->n == COLUMNS_MAX)
		return NULL;
	t->name[t->n] = name;
	t->flags[t->n++] = flags;
	t->is_tree = t->is_tree || (flags & SCOLS_FL_TREE);
	return name;
}

struct libscols_line *scols_table_new_line(struct libscols_table *t,
					   struct libscols_line *parent)
{
	struct libscols_line *line = calloc(1, sizeof(*line));

	if (line == NULL)
		return NULL;
	line->parent = parent;
	line->depth = parent ? parent->depth + 1 : 0;
	line->is_last = true;
	for (struct libscols_line *l = t->first; l; l = l->next)
		if (l->parent == parent)
			l->is_last = false;
	*t->end = line;
	t->end = &line->next;
	return line;
}

/* Bytes beyond ASCII, and a backslash that could be taken for such, in
 * hexadecimal. */
int scols_line_set_data(struct libscols_line *line, size_t column,
			const char *text)
{
	struct q2_buf b = {0};

	for (; *text; text++) {
		if ((unsigned char)*text >= 0x80 ||
		    (text[0] == '\\' && text[1] == 'x'))
			q2_buf_format(&b, "\\x%02x", (unsigned char)*text);
		else
			q2_buf_char(&b, *text);
	}
	q2_buf_add(&b, "", 1);
	if (b.failed)
		q2_buf_free(&b);
	line->cell[column] = b.failed ? NULL : b.at;
	return b.failed;
}

static size_t indent(const struct libscols_table *t,
		     const struct libscols_line *line, size_t column)
{
	return t->flags[column] & SCOLS_FL_TREE ? 2 * line->depth : 0;
}

static void measure(struct libscols_table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		/* Headings count, shown or not. */
		t->width[i] = strlen(t->name[i]);
		for (struct libscols_line *l = t->first; l; l = l->next) {
			size_t n = indent(t, l, i) + strlen(l->cell[i]);

			t->width[i] = n > t->width[i] ? n : t->width[i];
		}
	}
}

/* The lines from a root to this one. */
static void put_branches(struct q2_buf *b, const struct libscols_line *line)
{
	if (line->parent == NULL)
		return;
	if (line->parent->parent) {
		const struct libscols_line *up = line->parent;
		size_t at = b->n;

		put_branches(b, up);
		/* What was a branch to `up` goes on, or has ended. */
		if (!b->failed)
			memcpy(b->at + at + 2 * (up->depth - 1),
			       up->is_last ? "  " : "| ", 2);
	}
	q2_buf_text(b, line->is_last ? "`-" : "|-");
}

static void put_cell(struct q2_buf *b, const struct libscols_table *t, size_t i,
		     const struct libscols_line *line, const char *text)
{
	size_t used = strlen(text) + (line ? indent(t, line, i) : 0);
	size_t pad = t->width[i] - used;
	bool right = t->flags[i] & SCOLS_FL_RIGHT;

	if (right)
		q2_buf_fill(b, ' ', pad);
	if (line && (t->flags[i] & SCOLS_FL_TREE))
		put_branches(b, line);
	q2_buf_text(b, text);
	if (i + 1 == t->n) {
		q2_buf_char(b, '\n');
		return;
	}
	q2_buf_fill(b, ' ', (right ? 0 : pad) + 1);
}

static void put_line(struct q2_buf *b, const struct libscols_table *t,
		     const struct libscols_line *line)
{
	for (size_t i = 0; i < t->n; i++)
		put_cell(b, t, i, line, line ? line->cell[i] : t->name[i]);
}

/* A line, and what hangs on it. */
static void put_below(struct q2_buf *b, const struct libscols_table *t,
		      const struct libscols_line *parent)
{
	for (const struct libscols_line *l = t->first; l; l = l->next)
		if (l->parent == parent) {
			put_line(b, t, l);
			put_below(b, t, l);
		}
}

int scols_print_table_to_string(struct libscols_table *t, char **text)
{
	struct q2_buf b = {0};

	measure(t);
	if (!t->no_headings && t->first)
		put_line(&b, t, NULL);
	if (t->is_tree)
		put_below(&b, t, NULL);
	else
		for (struct libscols_line *l = t->first; l; l = l->next)
			put_line(&b, t, l);
	/* Newlines stand between lines. */
	if (b.n > 0 && !b.failed)
		b.n--;
	q2_buf_add(&b, "", 1);
	if (b.failed) {
		q2_buf_free(&b);
		return -1;
	}
	*text = b.at;
	return 0;
}

#else
typedef int map_plaincols_unused; /* no file may be empty */
#endif
