/*
 * help.c - the text of --help, and complaints on stderr.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>
#include <unistd.h>

#include "cli/option.h"

#define COLUMN 26 /* where the help texts start */

static void put_option(struct q2_buf *b, const struct q2_cli_option *o)
{
	size_t start = b->n;
	const char *line = o->help;

	if (o->letter != 0)
		q2_buf_format(b, "  -%c, --%s", o->letter, o->name);
	else
		q2_buf_format(b, "      --%s", o->name);
	if (o->arg != NULL)
		q2_buf_format(b, "=%s", o->arg);
	if (b->n - start > COLUMN - 2) {
		q2_buf_char(b, '\n');
		start = b->n;
	}
	for (;;) {
		size_t n = strcspn(line, "\n");

		q2_buf_fill(b, ' ', COLUMN - (b->n - start));
		q2_buf_add(b, line, n);
		q2_buf_char(b, '\n');
		if (line[n] == '\0')
			return;
		line += n + 1;
		start = b->n;
	}
}

static void put_table(struct q2_buf *b, const struct q2_cli_option *o)
{
	for (; o->name != NULL && !b->failed; o++)
		if (o->help != NULL)
			put_option(b, o);
}

void q2_cli_help(struct q2_buf *b, const struct q2_cli_tool *tool,
		 const struct q2_cli_option *common)
{
	q2_buf_format(b, "Usage: %s [options] %s\n%s\n\n", tool->name,
		      tool->operands, tool->purpose);
	put_table(b, tool->options);
	put_table(b, common);
	if (tool->epilogue != NULL)
		q2_buf_format(b, "\n%s\n", tool->epilogue);
}

/* One write, so that lines of several programs do not mix.  When stderr cannot
 * be written either there is nobody left to tell. */
static void say(struct q2_buf *b)
{
	if (!b->failed && write(STDERR_FILENO, b->at, b->n) < 0)
		b->failed = true;
	q2_buf_free(b);
}

static void put_complaint(struct q2_buf *b, const struct q2_cli_tool *tool,
			  const char *about, const char *what)
{
	q2_buf_format(b, "%s: ", tool->name);
	if (about != NULL) {
		q2_buf_escape(b, about, strlen(about));
		q2_buf_text(b, *about ? ": " : "'': ");
	}
	q2_buf_escape(b, what, strlen(what));
	q2_buf_char(b, '\n');
}

void q2_cli_complain(const struct q2_cli_tool *tool, const char *about,
		     const char *what)
{
	struct q2_buf b = {0};

	put_complaint(&b, tool, about, what);
	say(&b);
}

int q2_cli_misuse(const struct q2_cli_tool *tool, const char *what,
		  const char *about)
{
	struct q2_buf b = {0};

	put_complaint(&b, tool, about, what);
	q2_buf_format(&b, "%s --help lists the options.\n", tool->name);
	say(&b);
	return Q2_EXIT_USAGE;
}
