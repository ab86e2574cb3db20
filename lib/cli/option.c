/*
 * option.c - option tables: parsing, and the lists for shells.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/option.h"

#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MAX 64
#define FIRST_VALUE 256 /* getopt_long's value of the table's first option */

/* The same in every tool; the last two are for completion only. */
static const struct q2_cli_option common[] = {
	{.name = "help", .letter = 'h', .help = "show this text"},
	{.name = "version", .letter = 'V', .help = "show the version"},
	{.name = "long-options"},
	{.name = "short-options"},
	{.name = NULL},
};

enum { HELP, VERSION, LONG_OPTIONS, SHORT_OPTIONS };

/* What getopt_long() wants, made from a tool's table and the common one. */
struct parser {
	const struct q2_cli_option *option[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 1];
	char shorts[3 * OPTIONS_MAX + 2];
	size_t n;
};

static void add_table(struct parser *p, const struct q2_cli_option *table)
{
	size_t end = strlen(p->shorts);

	for (; table->name != NULL && p->n < OPTIONS_MAX; table++) {
		p->longs[p->n] = (struct option){
			table->name,
			table->arg ? required_argument : no_argument, NULL,
			FIRST_VALUE + (int)p->n};
		p->option[p->n++] = table;
		if (table->letter == 0)
			continue;
		p->shorts[end++] = table->letter;
		if (table->arg != NULL)
			p->shorts[end++] = ':';
	}
}

/* `value` is what getopt_long() returned for one of them. */
static const struct q2_cli_option *option_of(const struct parser *p, int value)
{
	size_t i = 0;

	if (value >= FIRST_VALUE)
		return p->option[value - FIRST_VALUE];
	while (p->option[i]->letter != value)
		i++;
	return p->option[i];
}

static int print(const struct q2_buf *text)
{
	struct q2_cli_output out;

	q2_cli_output_open(&out, STDOUT_FILENO);
	if (!text->failed)
		(void)q2_cli_output_add(&out, text->at, text->n);
	(void)q2_cli_output_commit(&out);
	return text->failed ? ENOMEM : q2_cli_output_close(&out);
}

static void list_long(struct q2_buf *b, const struct q2_cli_option *option)
{
	for (; option->name != NULL; option++) {
		if (option->help == NULL)
			continue;
		q2_buf_format(b, "--%s", option->name);
		if (option->arg != NULL)
			q2_buf_format(b, "=%s", option->arg);
		q2_buf_char(b, '\n');
	}
}

static void list_short(struct q2_buf *b, const struct q2_cli_option *option)
{
	for (; option->name != NULL; option++)
		if (option->letter != 0)
			q2_buf_format(b, "-%c\n", option->letter);
}

static int do_common(const struct q2_cli_tool *tool, ptrdiff_t which)
{
	struct q2_buf b = {0};
	int error;

	switch (which) {
	case HELP:
		q2_cli_help(&b, tool, common);
		break;
	case VERSION:
		q2_buf_format(&b, "%s (qcow2-progs) %s\n", tool->name,
			      Q2_VERSION);
		break;
	case LONG_OPTIONS:
		list_long(&b, tool->options);
		list_long(&b, common);
		break;
	case SHORT_OPTIONS:
		list_short(&b, tool->options);
		list_short(&b, common);
		break;
	}
	error = print(&b);
	q2_buf_free(&b);
	if (error == 0)
		return 0;
	q2_cli_complain(tool, "standard output", strerror(error));
	return Q2_EXIT_FAILED;
}

/* The index of `word` in "one|two|three", or -1. */
static int choice(const char *words, const char *word)
{
	size_t len = strlen(word);

	for (int i = 0;; i++) {
		size_t n = strcspn(words, "|");

		if (n == len && memcmp(words, word, n) == 0)
			return i;
		if (words[n] == '\0')
			return -1;
		words += n + 1;
	}
}

static bool writable_fd(const char *text, int *fd)
{
	uint64_t n;
	int flags;

	if (!q2_cli_number(text, &n) || n > INT_MAX)
		return false;
	*fd = (int)n;
	flags = fcntl(*fd, F_GETFL);
	return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

static bool append(struct q2_cli_list *list, const char *arg)
{
	if (list->n == Q2_CLI_LIST_MAX)
		return false;
	list->at[list->n++] = arg;
	return true;
}

static bool set(const struct q2_cli_option *o, const char *arg, void *options)
{
	char *at = (char *)options + o->at;
	uint64_t size;
	int n = o->value;

	switch (o->type) {
	case Q2_CLI_SET:
		break;
	case Q2_CLI_CHOICE:
		n = choice(o->arg, arg);
		if (n < 0)
			return false;
		break;
	case Q2_CLI_FD:
		if (!writable_fd(arg, &n))
			return false;
		break;
	case Q2_CLI_SIZE:
		if (!q2_cli_size(arg, &size))
			return false;
		memcpy(at, &size, sizeof(size));
		return true;
	case Q2_CLI_NUMBER:
		if (!q2_cli_number(arg, &size))
			return false;
		memcpy(at, &size, sizeof(size));
		return true;
	case Q2_CLI_TEXT:
		memcpy(at, &arg, sizeof(arg));
		return true;
	case Q2_CLI_LIST:
		return append((struct q2_cli_list *)(void *)at, arg);
	}
	memcpy(at, &n, sizeof(n));
	return true;
}

static int bad_argument(const struct q2_cli_tool *tool,
			const struct q2_cli_option *o, const char *arg)
{
	struct q2_buf b = {0};
	int status;

	q2_buf_format(&b, "--%s takes ", o->name);
	if (o->type == Q2_CLI_CHOICE)
		q2_buf_format(&b, "one of %s", o->arg);
	else if (o->type == Q2_CLI_FD)
		q2_buf_text(&b, "a file descriptor that is open for writing");
	else if (o->type == Q2_CLI_LIST)
		q2_buf_format(&b, "%d values at the most", Q2_CLI_LIST_MAX);
	else if (o->type == Q2_CLI_NUMBER)
		q2_buf_text(&b, "a whole number");
	else
		q2_buf_text(&b, "a size such as 1048576, 512M or 2GiB");
	q2_buf_add(&b, "", 1);
	status = q2_cli_misuse(tool, b.failed ? "bad argument" : b.at, arg);
	q2_buf_free(&b);
	return status;
}

/* getopt_long() returned '?' or ':'. */
static int bad_option(const struct q2_cli_tool *tool, int got, char *argv[])
{
	char letter[3] = {'-', (char)optopt, '\0'};
	bool is_long = optopt == 0 || optopt >= FIRST_VALUE;
	/* A long option is always the argument before optind; of a cluster
	 * of letters only optopt tells which one it was. */
	const char *about = is_long ? argv[optind - 1] : letter;

	if (got == ':')
		return q2_cli_misuse(tool, "the option needs an argument",
				     about);
	if (is_long && optopt != 0)
		return q2_cli_misuse(tool, "the option takes no argument",
				     about);
	return q2_cli_misuse(tool, "unknown or ambiguous option", about);
}

int q2_cli_parse(const struct q2_cli_tool *tool, int argc, char *argv[],
		 void *options, int *first)
{
	struct parser p = {.shorts = ":"};
	int got;

	add_table(&p, tool->options);
	add_table(&p, common);
	opterr = 0;
	while ((got = getopt_long(argc, argv, p.shorts, p.longs, NULL)) != -1) {
		const struct q2_cli_option *o;

		if (got == '?' || got == ':')
			return bad_option(tool, got, argv);
		o = option_of(&p, got);
		if (o >= common && o < common + sizeof(common) / sizeof(*o))
			return do_common(tool, o - common);
		if (!set(o, optarg, options))
			return bad_argument(tool, o, optarg);
	}
	*first = optind;
	return -1;
}
