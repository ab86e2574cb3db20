/*
 * lint.c - qcow2-map lint: a gate for images from strangers.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

static const struct q2_cli_option option_table[] = {
	{"allow", 0, "IDS",
	 "accept images in spite of these rules, separated by\n"
	 "commas; 'all' is every one; may be given again",
	 Q2_CLI_LIST, AT(lint.allow), 0},
	{"refuse", 0, "IDS", "refuse images for these, too; goes before --allow",
	 Q2_CLI_LIST, AT(lint.refuse), 0},
	{"require-reader", 0, "NAMES",
	 "refuse images that these cannot read, separated by\n"
	 "commas, such as qemu-2.12,libqcow; may be given again",
	 Q2_CLI_LIST, AT(lint.readers), 0},
	{"max-size", 0, "SIZE", "refuse larger disks (size-limit)",
	 Q2_CLI_SIZE, AT(lint.max_size), 0},
	{"max-ratio", 0, "N",
	 "refuse disks that are more than so many times larger\n"
	 "than their file (ratio-limit)",
	 Q2_CLI_NUMBER, AT(lint.max_ratio), 0},
	OPTION_RAW,
	{"list-rules", 0, NULL, "list the rules", Q2_CLI_SET, AT(lint.list),
	 1},
	Q2_CLI_SANDBOX_OPTIONS(AT(sandbox)),
	{"output", 0, "text|json", "the form; text is the default",
	 Q2_CLI_CHOICE, AT(output), 0},
	{0},
};

#define NOTES_MAX 64

struct notes {
	const struct q2_lint_rule *rule[NOTES_MAX];
	const char *what[NOTES_MAX]; /* allocated, or NULL */
	bool refused[NOTES_MAX];
	size_t n;
	bool failed;
};

static void on_note(void *ctx, const struct q2_lint_rule *rule,
		    const char *what)
{
	struct notes *notes = ctx;

	if (notes->n == NOTES_MAX) {
		notes->failed = true;
		return;
	}
	notes->rule[notes->n] = rule;
	notes->what[notes->n] = what ? strdup(what) : NULL;
	notes->failed |= what && notes->what[notes->n] == NULL;
	notes->n++;
}

/* Whether the word is among those between the text's commas. */
static bool names(const char *text, const char *word)
{
	size_t len = strlen(word);

	while (*text) {
		size_t n = strcspn(text, ",");

		if (n == len && memcmp(text, word, n) == 0)
			return true;
		text += n + (text[n] == ',');
	}
	return false;
}

static bool listed(const struct q2_cli_list *list, const char *id)
{
	for (size_t i = 0; i < list->n; i++)
		if (names(list->at[i], id) || names(list->at[i], "all"))
			return true;
	return false;
}

static bool refuses(const struct lint_options *o,
		    const struct q2_lint_rule *rule)
{
	return listed(&o->refuse, rule->id) ||
	       (rule->unsafe && !listed(&o->allow, rule->id));
}

static bool known(const char *text, size_t n)
{
	const struct q2_lint_rule *rule;

	if (n == 3 && memcmp(text, "all", 3) == 0)
		return true;
	for (size_t i = 0; (rule = q2_lint_rule(i)); i++)
		if (strlen(rule->id) == n && memcmp(rule->id, text, n) == 0)
			return true;
	return false;
}

/* A rule that is misspelt must not open the gate. */
static bool all_known(struct map *map, const struct q2_cli_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		for (const char *at = list->at[i];;) {
			size_t n = strcspn(at, ",");

			if (!known(at, n)) {
				map->status = q2_cli_misuse(
					map->tool, "no such rule; see "
					"--list-rules", at);
				return false;
			}
			if (at[n] == '\0')
				break;
			at += n + 1;
		}
	return true;
}

/* ----------------------------------------------------------------- readers */
/* The n bytes at `at` as a reader; false if there is none. */
static bool parse_reader(const char *at, size_t n, size_t *i, unsigned *major,
			 unsigned *minor)
{
	char name[64];

	if (n >= sizeof(name))
		return false;
	memcpy(name, at, n);
	name[n] = '\0';
	return q2_program_parse(name, i, major, minor);
}

static bool all_readers_known(struct map *map)
{
	const struct q2_cli_list *list = &map->options->lint.readers;
	unsigned major, minor;
	size_t reader;

	for (size_t i = 0; i < list->n; i++)
		for (const char *at = list->at[i];;) {
			size_t n = strcspn(at, ",");

			if (!parse_reader(at, n, &reader, &major, &minor)) {
				map->status = q2_cli_misuse(
					map->tool, "no such reader; the manual "
					"page lists them", at);
				return false;
			}
			if (at[n] == '\0')
				break;
			at += n + 1;
		}
	return true;
}

static const struct q2_lint_rule *rule_named(const char *id)
{
	const struct q2_lint_rule *rule = NULL;

	for (size_t i = 0; (rule = q2_lint_rule(i)); i++)
		if (strcmp(rule->id, id) == 0)
			break;
	return rule;
}

/* A note if the reader, the n bytes at `name`, does not meet the needs. */
static void require(struct notes *notes, const char *name, size_t n,
		    unsigned needs)
{
	unsigned major, minor, stops;
	const char *comma = ": ";
	struct q2_buf b = {0};
	size_t i;

	if (!parse_reader(name, n, &i, &major, &minor))
		return;
	stops = q2_program_stops(i, major, minor, needs);
	if (stops == 0)
		return;
	q2_buf_add(&b, name, n);
	for (unsigned k = 0; q2_need_text(k); k++)
		if (stops & 1u << k) {
			q2_buf_text(&b, comma);
			q2_buf_text(&b, q2_need_text(k));
			comma = ", ";
		}
	q2_buf_add(&b, "", 1);
	if (b.failed)
		notes->failed = true;
	else
		on_note(notes, rule_named("reader"), b.at);
	q2_buf_free(&b);
}

static void require_all(const struct q2_cli_list *list, struct notes *notes,
			unsigned needs)
{
	for (size_t i = 0; i < list->n; i++)
		for (const char *at = list->at[i]; *at;) {
			size_t n = strcspn(at, ",");

			require(notes, at, n, needs);
			at += n + (at[n] == ',');
		}
}

/* A limit; 0: there is none. */
static uint64_t given(uint64_t limit)
{
	return limit == UINT64_MAX ? 0 : limit;
}

static void one(struct map *map, const char *path)
{
	const struct lint_options *o = &map->options->lint;
	struct notes notes = {.n = 0};
	struct q2_lint_opts opts = {.raw = map->options->raw != 0,
				    .max_size = given(o->max_size),
				    .max_ratio = given(o->max_ratio),
				    .note = on_note,
				    .ctx = &notes};
	struct q2_sink sink = map_stream(map);
	struct q2_err err = {0};
	unsigned needs;
	enum q2_status st = q2_lint(path, &opts, &needs, &err);

	if (st == Q2_OK)
		require_all(&o->readers, &notes, needs);
	if (st == Q2_OK && notes.failed)
		st = Q2_E_NOMEM;
	for (size_t i = 0; i < notes.n; i++) {
		notes.refused[i] = refuses(o, notes.rule[i]);
		if (st == Q2_OK && notes.refused[i])
			map->status |= Q2_EXIT_PROBLEMS;
	}
	if (st == Q2_OK)
		st = q2_lint_report(path, notes.rule, notes.what,
				    notes.refused, notes.n, needs,
				    map->options->output ? Q2_MAP_JSON :
							   Q2_MAP_TEXT, &sink);
	map_fail(map, path, st, &err);
	for (size_t i = 0; i < notes.n; i++)
		free((void *)(uintptr_t)notes.what[i]);
}

static void list_rules(struct map *map)
{
	struct q2_sink sink = map_stream(map);
	const struct q2_lint_rule *rule;
	struct q2_buf b = {0};

	for (size_t i = 0; (rule = q2_lint_rule(i)); i++)
		q2_buf_format(&b, "%-24s %-7s %s\n", rule->id,
			      rule->unsafe ? "refused" : "note",
			      rule->meaning);
	if (!b.failed)
		(void)sink.write(sink.ctx, b.at, b.n);
	q2_buf_free(&b);
}

static void lint(struct map *map, char *operands[])
{
	const struct lint_options *o = &map->options->lint;

	if (!all_known(map, &o->allow) || !all_known(map, &o->refuse) ||
	    !all_readers_known(map))
		return;
	if (o->max_size == 0 || o->max_ratio == 0) {
		map->status = q2_cli_misuse(map->tool, "--max-size and "
					    "--max-ratio take more than 0", NULL);
		return;
	}
	if (o->list) {
		list_rules(map);
		return;
	}
	if (operands[0] == NULL) {
		map->status = q2_cli_misuse(map->tool, "an operand is missing",
					    NULL);
		return;
	}
	one(map, operands[0]);
}

const struct verb map_lint = {
	.name = "lint",
	.what = "whether an image from strangers is safe to open",
	.tool = {
		.name = "qcow2-map lint",
		.operands = "IMAGE",
		.purpose = "Tell whether an image from strangers is safe to "
			   "open, and who can read it.",
		.epilogue = "Exit status: 0 if it is accepted, 4 if it is "
			    "refused, 8 if it could not be\nlooked at, 16 for "
			    "wrong usage.",
		.options = option_table,
	},
	.min = 0,
	.max = 1,
	.run = lint,
};
