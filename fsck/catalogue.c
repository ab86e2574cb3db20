/*
 * catalogue.c - --list-problems and --explain.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "fsck.h"

/* A JSON array of problems; the objects bring their own newline. */
struct array {
	struct q2_sink sink;
	bool begun;
};

static void put_text(const struct q2_sink *sink, const char *text)
{
	(void)sink->write(sink->ctx, text, strlen(text));
}

static enum q2_status put_element(struct array *a, const struct q2_problem *p)
{
	put_text(&a->sink, a->begun ? "," : "[");
	a->begun = true;
	return q2_problem_json(p, &a->sink);
}

/* Failures of the output are sticky: main() looks at them. */
static int finish(struct fsck *fsck, enum q2_status st)
{
	if (st != Q2_OK && fsck->out.error == 0) {
		q2_cli_complain(fsck->tool, NULL, q2_status_text(st));
		return Q2_EXIT_FAILED;
	}
	(void)q2_cli_output_commit(&fsck->out);
	return 0;
}

int fsck_list_problems(struct fsck *fsck)
{
	bool json = fsck->options->output != OUTPUT_TEXT;
	struct array array = {.sink = fsck_sink(fsck)};
	const struct q2_problem *p;
	enum q2_status st = Q2_OK;

	if (!json)
		st = q2_problem_line(NULL, &array.sink);
	for (size_t i = 0; st == Q2_OK && (p = q2_problem_at(i)); i++)
		st = json ? put_element(&array, p)
			  : q2_problem_line(p, &array.sink);
	if (json)
		put_text(&array.sink, "\n]\n");
	return finish(fsck, st);
}

/* A problem is named by its id or its number. */
static const struct q2_problem *look_up(const char *name)
{
	char *end;
	unsigned long number = strtoul(name, &end, 10);

	if (*name >= '0' && *name <= '9' && *end == '\0' && number < 100000)
		return q2_problem_by_number((unsigned)number);
	return q2_problem_by_id(name);
}

static enum q2_status explain(struct fsck *fsck, struct array *array,
			      const struct q2_problem *p)
{
	if (fsck->options->output != OUTPUT_TEXT)
		return put_element(array, p);
	if (array->begun)
		put_text(&array->sink, "\n");
	array->begun = true;
	return q2_problem_text(p, &array->sink);
}

int fsck_explain(struct fsck *fsck, const char *ids)
{
	struct array array = {.sink = fsck_sink(fsck)};
	enum q2_status st = Q2_OK;
	char *copy = strdup(ids);
	char *rest = copy;
	char *id;

	if (copy == NULL)
		return finish(fsck, Q2_E_NOMEM);
	while (st == Q2_OK && (id = strsep(&rest, ",")) != NULL) {
		const struct q2_problem *p = look_up(id);

		if (p == NULL) {
			q2_cli_misuse(fsck->tool,
				      "no such problem; see --list-problems",
				      id);
			free(copy);
			return Q2_EXIT_USAGE;
		}
		st = explain(fsck, &array, p);
	}
	free(copy);
	if (fsck->options->output != OUTPUT_TEXT)
		put_text(&array.sink, "\n]\n");
	return finish(fsck, st);
}
