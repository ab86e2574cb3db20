/*
 * ask.c - questions about each problem, before anything is planned.
 *
 * SPDX-License-Identifier: MIT
 *
 * They go to standard error: standard output is for the report, which comes when
 * all is done.  Answers are lines, from a terminal or not; the end of input is
 * as good as "q".
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fsck.h"

#define EXAMPLES 3
#define LINE 300

struct examples {
	unsigned number; /* of the problem */
	unsigned n;
	char *text[EXAMPLES];
};

struct questions {
	struct fsck *fsck;
	const char *path;
	struct examples *problems;
	size_t n;
	bool all; /* yes to all that is still to come */
	bool quit;
};

struct questions *fsck_questions_new(struct fsck *fsck, const char *path)
{
	struct questions *q = calloc(1, sizeof(*q));

	if (q) {
		q->fsck = fsck;
		q->path = path;
	}
	return q;
}

void fsck_questions_free(struct questions *q)
{
	if (q == NULL)
		return;
	for (size_t i = 0; i < q->n; i++)
		for (unsigned k = 0; k < q->problems[i].n; k++)
			free(q->problems[i].text[k]);
	free(q->problems);
	free(q);
}

static struct examples *examples_of(struct questions *q, unsigned number)
{
	struct examples *grown;

	for (size_t i = 0; i < q->n; i++)
		if (q->problems[i].number == number)
			return &q->problems[i];
	grown = realloc(q->problems, (q->n + 1) * sizeof(*grown));
	if (grown == NULL)
		return NULL;
	q->problems = grown;
	grown[q->n] = (struct examples){.number = number};
	return &grown[q->n++];
}

/* The first few findings of each problem are shown with the question. */
void fsck_questions_add(struct questions *q, const struct q2_finding *f)
{
	struct examples *e = examples_of(q, f->problem->number);
	char line[LINE];

	if (e == NULL || e->n == EXAMPLES)
		return;
	(void)q2_finding_message(f, line, sizeof(line));
	e->text[e->n] = strdup(line);
	e->n += e->text[e->n] != NULL;
}

static void tell(const char *text, size_t n)
{
	if (write(STDERR_FILENO, text, n) < 0)
		return; /* whoever does not see the question cannot answer */
}

static void put_question(struct questions *q, const struct q2_problem *p,
			 uint64_t count, bool safe)
{
	const struct examples *e = examples_of(q, p->number);
	struct q2_buf b = {0};

	q2_buf_char(&b, '\n');
	q2_buf_escape(&b, q->path, strlen(q->path));
	q2_buf_format(&b, ": %s (%s): ", p->id, q2_severity_text(p->severity));
	q2_buf_u64(&b, count);
	q2_buf_format(&b, "\n  %s\n", p->explanation);
	for (unsigned i = 0; e && i < e->n; i++)
		q2_buf_format(&b, "    %s\n", e->text[i]);
	if (e && count > e->n)
		q2_buf_text(&b, "    ...\n");
	q2_buf_format(&b, "Repair%s? (y)es, (n)o, yes to (a)ll, (q)uit [%c] ",
		      safe ? ", which changes nothing that the guest reads"
			   : "",
		      safe ? 'y' : 'n');
	tell(b.at, b.failed ? 0 : b.n);
	q2_buf_free(&b);
}

/* One line, without its end; false at the end of input, or after a signal.
 * read() would be resumed after a signal; poll() is not. */
static bool read_line(char *line, size_t size)
{
	size_t n = 0;

	for (;;) {
		struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
		char c;
		ssize_t got;

		if (poll(&wait, 1, -1) < 0 && errno == EINTR &&
		    !q2_cli_interrupted())
			continue;
		if (q2_cli_interrupted())
			return false;
		got = read(STDIN_FILENO, &c, 1);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0 && n == 0)
			return false;
		if (got <= 0 || c == '\n')
			break;
		if (n + 1 < size)
			line[n++] = c;
	}
	line[n] = '\0';
	return true;
}

bool fsck_questions_ask(struct questions *q, const struct q2_problem *p,
			uint64_t count)
{
	/* What leaks, or is counted too high, may be all that is left of data. */
	bool safe = p->fix == Q2_FIX_SAFE && p->severity != Q2_LEAK;
	char line[64];

	if (q->quit || q->all)
		return q->all && !q->quit;
	q2_cli_progress_clear(&q->fsck->progress);
	for (;;) {
		put_question(q, p, count, safe);
		if (!read_line(line, sizeof(line)))
			strcpy(line, "q");
		switch (line[0]) {
		case '\0':
			return safe;
		case 'y':
		case 'Y':
			return true;
		case 'n':
		case 'N':
			return false;
		case 'a':
		case 'A':
			q->all = true;
			return true;
		case 'q':
		case 'Q':
			q->quit = true;
			return false;
		}
	}
}

bool fsck_questions_quit(const struct questions *q)
{
	return q->quit;
}
