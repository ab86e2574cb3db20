/*
 * table.c - the audit's table, by libsmartcols as in lsblk and findmnt.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/types.h>

#include "map.h"
#ifdef HAVE_SMARTCOLS
#include <libsmartcols.h>
#else
#include "plaincols.h"
#endif

enum column {
	C_FILE,
	C_FORMAT,
	C_CAPACITY,
	C_LENGTH,
	C_ALLOCATION,
	C_COMMITMENT,
	C_GROWTH,
	C_RATIO,
	C_SNAPSHOTS,
	C_OVERLAYS,
	C_BASE,
	C_FLAGS,
	COLUMNS
};

static const struct column_def {
	const char *name;
	int flags;
} defs[COLUMNS] = {
	[C_FILE] = {"FILE", SCOLS_FL_TREE},
	[C_FORMAT] = {"FORMAT", 0},
	[C_CAPACITY] = {"CAPACITY", SCOLS_FL_RIGHT},
	[C_LENGTH] = {"LENGTH", SCOLS_FL_RIGHT},
	[C_ALLOCATION] = {"ALLOCATION", SCOLS_FL_RIGHT},
	[C_COMMITMENT] = {"COMMITMENT", SCOLS_FL_RIGHT},
	[C_GROWTH] = {"GROWTH", SCOLS_FL_RIGHT},
	[C_RATIO] = {"RATIO", SCOLS_FL_RIGHT},
	[C_SNAPSHOTS] = {"SNAPSHOTS", SCOLS_FL_RIGHT},
	[C_OVERLAYS] = {"OVERLAYS", SCOLS_FL_RIGHT},
	[C_BASE] = {"BASE", 0},
	[C_FLAGS] = {"FLAGS", 0},
};

struct table {
	struct map *map;
	const struct q2_scan *scan;
	enum column column[COLUMNS];
	size_t n_columns;
	struct libscols_table *t;
	struct libscols_line **line; /* of each file; NULL: none yet */
	size_t n;
};

/* Sizes as people read them, or in bytes. */
static void put_size(const struct map *map, struct q2_buf *b, uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	double n = (double)bytes;
	size_t i = 0;

	if (map->options->audit.bytes) {
		q2_buf_u64(b, bytes);
		return;
	}
	for (; n >= 1024 && i < 6; i++)
		n /= 1024;
	q2_buf_format(b, i == 0 || n >= 100 ? "%.0f%c" : "%.1f%c", n, units[i]);
}

static void put_flags(struct q2_buf *b, unsigned flags)
{
	const char *comma = "";

	for (unsigned i = 0; q2_file_flag_text(i); i++)
		if (flags & 1u << i) {
			q2_buf_format(b, "%s%s", comma, q2_file_flag_text(i));
			comma = ",";
		}
}

/* Two digits. */
static unsigned long hex(const char *digits)
{
	char two[3] = {digits[0], digits[1], '\0'};

	return strtoul(two, NULL, 16);
}

/* libsmartcols escapes a backslash before an x, since it writes such escapes
 * itself: bytes are octal here, as in ls -b. */
static void put_path(struct q2_buf *b, const char *path)
{
	struct q2_buf text = {0};
	const char *at;

	q2_buf_escape(&text, path, strlen(path));
	q2_buf_add(&text, "", 1);
	for (at = text.failed ? "" : text.at; *at;) {
		size_t plain = strcspn(at, "\\");

		q2_buf_add(b, at, plain);
		at += plain;
		if (*at == '\0')
			break;
		if (at[1] == 'x')
			q2_buf_format(b, "\\%03lo", hex(at + 2));
		else if (at[1] == '\\' && at[2] == 'x')
			q2_buf_text(b, "\\134");
		else
			q2_buf_add(b, at, 2);
		at += at[1] == 'x' ? 4 : 2;
	}
	b->failed |= text.failed;
	q2_buf_free(&text);
}

static void put_base(const struct table *t, struct q2_buf *b,
		     const struct q2_scan_file *f)
{
	struct q2_scan_file base;

	if (q2_scan_file(t->scan, f->base, &base))
		put_path(b, base.path);
	else if (f->backing)
		put_path(b, f->backing);
}

static void put_cell(const struct table *t, struct q2_buf *b, enum column c,
		     const struct q2_scan_file *f)
{
	switch (c) {
	case C_FILE:
		put_path(b, f->path);
		break;
	case C_FORMAT:
		q2_buf_text(b, f->kind == Q2_FILE_RAW	? "raw" :
			       f->kind == Q2_FILE_QCOW2 ? "qcow2" : "?");
		break;
	case C_CAPACITY:
		put_size(t->map, b, f->capacity);
		break;
	case C_LENGTH:
		put_size(t->map, b, f->length);
		break;
	case C_ALLOCATION:
		if (f->is_device)
			q2_buf_text(b, "unknown");
		else
			put_size(t->map, b, f->allocation);
		break;
	case C_COMMITMENT:
		put_size(t->map, b, f->commitment);
		break;
	case C_GROWTH:
		put_size(t->map, b, f->growth);
		break;
	case C_RATIO:
		if (f->allocation && !f->is_device)
			q2_buf_format(b, "%.2f", (double)f->commitment /
						 (double)f->allocation);
		break;
	case C_SNAPSHOTS:
		q2_buf_u64(b, f->snapshots);
		break;
	case C_OVERLAYS:
		q2_buf_u64(b, f->overlays);
		break;
	case C_BASE:
		put_base(t, b, f);
		break;
	case C_FLAGS:
		put_flags(b, f->flags);
		break;
	case COLUMNS:
		break;
	}
}

/* The columns that were asked for; false and a complaint if one is unknown. */
static bool choose(struct table *t)
{
	static const char usual[] =
		"file,format,capacity,length,allocation,commitment,base";
	const char *names = t->map->options->audit.columns;

	for (names = names ? names : usual; *names;) {
		size_t len = strcspn(names, ","), i = 0;

		while (i < COLUMNS && (strlen(defs[i].name) != len ||
				       strncasecmp(defs[i].name, names, len)))
			i++;
		if (i == COLUMNS || t->n_columns == COLUMNS) {
			t->map->status = q2_cli_misuse(
				t->map->tool, i == COLUMNS ?
				"unknown column" : "too many columns", names);
			return false;
		}
		t->column[t->n_columns++] = (enum column)i;
		names += len + (names[len] == ',');
	}
	return true;
}

static bool add_columns(struct table *t)
{
	for (size_t i = 0; i < t->n_columns; i++) {
		const struct column_def *d = &defs[t->column[i]];
		int flags = d->flags;

		if (!t->map->options->audit.tree)
			flags &= ~SCOLS_FL_TREE;
		if (!scols_table_new_column(t->t, d->name, 0, flags))
			return false;
	}
	return true;
}

static bool fill(const struct table *t, struct libscols_line *line,
		 const struct q2_scan_file *f)
{
	for (size_t i = 0; i < t->n_columns; i++) {
		struct q2_buf b = {0};
		bool ok;

		put_cell(t, &b, t->column[i], f);
		q2_buf_add(&b, "", 1);
		ok = !b.failed && scols_line_set_data(line, i, b.at) == 0;
		q2_buf_free(&b);
		if (!ok)
			return false;
	}
	return true;
}

/* In a tree bases go before their overlays; those in loops stand alone. */
static bool add_line(struct table *t, size_t i)
{
	struct libscols_line *parent = NULL;
	struct q2_scan_file f;

	if (!q2_scan_file(t->scan, i, &f))
		return false;
	if (t->map->options->audit.tree && f.base != Q2_NO_FILE &&
	    !(f.flags & Q2_FF_LOOP))
		parent = t->line[f.base];
	t->line[i] = scols_table_new_line(t->t, parent);
	return t->line[i] && fill(t, t->line[i], &f);
}

/* How many bases each file stands on, and those of each number in turn: first[k]
 * and from there next[], where n ends. */
struct levels {
	size_t *height; /* SIZE_MAX: not known yet */
	size_t *first;
	size_t *next;
};

/* The height of file i, and of all that it stands on.  `next` is room for the way
 * there. */
static void climb(const struct table *t, struct levels *l, size_t i)
{
	size_t n = 0, height = 0;
	struct q2_scan_file f;

	while (q2_scan_file(t->scan, i, &f)) {
		if (l->height[i] != SIZE_MAX) {
			height = l->height[i] + 1;
			break;
		}
		l->next[n++] = i;
		i = f.flags & Q2_FF_LOOP ? Q2_NO_FILE : f.base;
	}
	while (n)
		l->height[l->next[--n]] = height++;
}

/* Level by level, so that bases come first, and in the order of the files. */
static bool add_levels(struct table *t, struct levels *l)
{
	for (size_t i = 0; i <= t->n; i++) {
		l->height[i] = SIZE_MAX;
		l->first[i] = t->n;
	}
	for (size_t i = 0; i < t->n; i++)
		climb(t, l, i);
	for (size_t i = t->n; i-- > 0;) {
		l->next[i] = l->first[l->height[i]];
		l->first[l->height[i]] = i;
	}
	for (size_t k = 0; k < t->n; k++)
		for (size_t i = l->first[k]; i < t->n; i = l->next[i])
			if (!add_line(t, i))
				return false;
	return true;
}

static bool add_tree(struct table *t)
{
	struct levels l = {.height = calloc(t->n + 1, sizeof(size_t)),
			   .first = calloc(t->n + 1, sizeof(size_t)),
			   .next = calloc(t->n + 1, sizeof(size_t))};
	bool ok = l.height && l.first && l.next && add_levels(t, &l);

	free(l.height);
	free(l.first);
	free(l.next);
	return ok;
}

static bool add_lines(struct table *t)
{
	if (t->map->options->audit.tree)
		return add_tree(t);
	for (size_t i = 0; i < t->n; i++)
		if (!add_line(t, i))
			return false;
	return true;
}

static enum q2_status put(struct map *map, const char *text, size_t n)
{
	struct q2_sink sink = map_stream(map);

	return sink.write(sink.ctx, text, n) ? Q2_E_IO : Q2_OK;
}

static void put_volume(const struct table *t, struct q2_buf *b,
		       const struct q2_scan_volume *v)
{
	uint64_t room = v->room, promised = v->commitment;
	/* A block device has the same number and more; see q2_scan_volume. */
	dev_t device = (dev_t)(v->device & UINT32_MAX);

	q2_buf_format(b, "\n%s %u:%u: %llu file%s, allocation ",
		      v->is_device ? "block device" : "file system",
		      major(device), minor(device),
		      (unsigned long long)v->files, v->files == 1 ? "" : "s");
	if (v->is_device)
		q2_buf_text(b, "unknown");
	else
		put_size(t->map, b, v->allocation);
	q2_buf_text(b, ", commitment ");
	put_size(t->map, b, promised);
	q2_buf_text(b, "\n  may grow by ");
	put_size(t->map, b, v->growth);
	if (v->known) {
		q2_buf_text(b, v->is_device ? "; size " : "; free ");
		put_size(t->map, b, v->is_device ? v->size : v->free);
		q2_buf_text(b, promised > room ? "; short by " : "; headroom ");
		put_size(t->map, b, promised > room ? promised - room :
						      room - promised);
		q2_buf_format(b, "; committed %.2f times", map_ratio(v));
	}
	q2_buf_char(b, '\n');
}

/* What each file system has to bear. */
static enum q2_status put_volumes(struct table *t)
{
	struct q2_scan_volume v;
	struct q2_buf b = {0};
	enum q2_status st;

	for (size_t i = 0; q2_scan_volume(t->scan, i, &v); i++)
		put_volume(t, &b, &v);
	st = b.failed ? Q2_E_NOMEM :
	     b.n      ? put(t->map, b.at, b.n) : Q2_OK;
	q2_buf_free(&b);
	return st;
}

static enum q2_status print(struct table *t)
{
	enum q2_status st = Q2_E_NOMEM;
	char *text = NULL;

	t->t = scols_new_table();
	if (t->t == NULL)
		return st;
	scols_table_enable_noheadings(t->t, t->map->options->audit.no_headings);
	/* Lines are as long as they need to be, on terminals as elsewhere. */
	scols_table_set_termforce(t->t, SCOLS_TERMFORCE_NEVER);
	scols_table_enable_ascii(t->t, 1);
	if (add_columns(t) && add_lines(t) &&
	    scols_print_table_to_string(t->t, &text) == 0 && text) {
		st = put(t->map, text, strlen(text));
		/* The last line has no newline of its own. */
		if (st == Q2_OK && *text && text[strlen(text) - 1] != '\n')
			st = put(t->map, "\n", 1);
	}
	free(text);
	scols_unref_table(t->t);
	return st;
}

enum q2_status map_table(struct map *map, const struct q2_scan *scan)
{
	struct table t = {.map = map, .scan = scan};
	struct q2_scan_file f;
	enum q2_status st;

	if (!choose(&t))
		return Q2_OK;
	while (q2_scan_file(scan, t.n, &f))
		t.n++;
	t.line = calloc(t.n + 1, sizeof(*t.line));
	if (t.line == NULL)
		return Q2_E_NOMEM;
	st = t.n ? print(&t) : Q2_OK;
	if (st == Q2_OK && !map->options->audit.no_headings)
		st = put_volumes(&t);
	free(t.line);
	return st;
}
