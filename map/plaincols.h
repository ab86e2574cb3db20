/*
 * plaincols.h - tables where there is no libsmartcols to link with: in static
 * programs, as distributions have it only as a shared library.
 *
 * SPDX-License-Identifier: MIT
 *
 * The few functions of it that are used here, by the same names, and to the same
 * bytes: text is ASCII, and lines are as long as they need to be.
 */
#ifndef MAP_PLAINCOLS_H
#define MAP_PLAINCOLS_H

#include <stddef.h>

enum { SCOLS_FL_TREE = 1, SCOLS_FL_RIGHT = 2 };
enum { SCOLS_TERMFORCE_NEVER };

struct libscols_table;
struct libscols_line;

struct libscols_table *scols_new_table(void);
void scols_unref_table(struct libscols_table *t);

void scols_table_enable_noheadings(struct libscols_table *t, int on);
void scols_table_set_termforce(struct libscols_table *t, int force);
void scols_table_enable_ascii(struct libscols_table *t, int on);

/* All columns come before the first line.  `name` is borrowed. */
const char *scols_table_new_column(struct libscols_table *t, const char *name,
				   double hint, int flags);

/* `parent` is NULL, or a line of the table.  Owned by the table. */
struct libscols_line *scols_table_new_line(struct libscols_table *t,
					   struct libscols_line *parent);

/* 0, or not: no memory.  The text is copied. */
int scols_line_set_data(struct libscols_line *line, size_t column,
			const char *text);

/* *text is to be freed. */
int scols_print_table_to_string(struct libscols_table *t, char **text);

#endif
