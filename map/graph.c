/*
 * graph.c - qcow2-map graph: who depends on whom.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

static const struct q2_cli_option option_table[] = {
	{"dependants", 0, "FILE",
	 "only the files that depend on this one, a line each", Q2_CLI_TEXT,
	 AT(dependants), 0},
	{"output", 0, "text|json|ndjson|dot", "the form; text is the default",
	 Q2_CLI_CHOICE, AT(output), 0},
	{"progress-fd", 'C', "FD",
	 "write lines \"phase done total\" to a descriptor", Q2_CLI_FD,
	 AT(progress_fd), 0},
	Q2_CLI_SANDBOX_OPTIONS(AT(sandbox)),
	{"quiet", 'q', NULL, "no progress on the terminal", Q2_CLI_SET,
	 AT(quiet), 1},
	{0},
};

#define GRAVE                                                                  \
	(Q2_FF_NO_BASE | Q2_FF_LOOP | Q2_FF_BASE_FORMAT | Q2_FF_NO_DATA_FILE)

/* "I/N", the I-th of N parts. */
static bool parse_shard(const char *text, struct q2_scan_opts *opts)
{
	char *end;

	if (text == NULL)
		return true;
	if (*text < '1' || *text > '9')
		return false;
	opts->part = (unsigned)strtoul(text, &end, 10);
	if (end - text > 6 || *end != '/' || end[1] < '1' || end[1] > '9')
		return false;
	text = end + 1;
	opts->parts = (unsigned)strtoul(text, &end, 10);
	return end - text <= 6 && *end == '\0' && opts->part <= opts->parts;
}

/* Tells what is wrong with the files. */
static void complain(struct map *map, const struct q2_scan *scan)
{
	struct q2_scan_file f;

	for (size_t i = 0; q2_scan_file(scan, i, &f); i++) {
		if (f.flags & GRAVE)
			map->status |= Q2_EXIT_PROBLEMS;
		if (f.kind != Q2_FILE_BAD)
			continue;
		q2_cli_progress_clear(&map->progress);
		q2_cli_complain(map->tool, f.path, f.error);
		map->status |= Q2_EXIT_FAILED;
	}
}

struct q2_scan *map_scan(struct map *map, char *operands[])
{
	const struct audit_options *audit = &map->options->audit;
	struct q2_scan_opts opts = {.progress = map_tick, .ctx = map};
	struct q2_scan *scan;
	struct q2_err err = {0};
	enum q2_status st;

	if (!parse_shard(audit->shard, &opts)) {
		map->status = q2_cli_misuse(map->tool, "two numbers I/N are "
					    "wanted, I from 1 to N",
					    audit->shard);
		return NULL;
	}
	st = q2_scan_new(&opts, &scan, &err);
	for (; st == Q2_OK && *operands; operands++) {
		map->progress.about = *operands;
		st = audit->merge ? q2_scan_join(scan, *operands, &err) :
				    q2_scan_add(scan, *operands, &err);
	}
	if (st == Q2_OK)
		st = q2_scan_link(scan, &err);
	map_fail(map, NULL, st, &err);
	if (st != Q2_OK) {
		q2_scan_free(scan);
		return NULL;
	}
	complain(map, scan);
	return scan;
}

enum answer { UNKNOWN, UNDER_WAY, NO, YES };

/* Finds out whether file i has `on` among its bases, or as its data file; and the
 * same for all of its bases on the way. */
static void ask(const struct q2_scan *scan, size_t i, size_t on,
		unsigned char *answer)
{
	unsigned char found = NO;
	struct q2_scan_file f;

	for (size_t at = i; q2_scan_file(scan, at, &f); at = f.base) {
		/* A loop that has come around says no. */
		if (answer[at] != UNKNOWN) {
			found = answer[at] == YES ? YES : NO;
			break;
		}
		answer[at] = UNDER_WAY;
		if (f.base == on || f.data_file == on) {
			found = YES;
			break;
		}
	}
	for (; q2_scan_file(scan, i, &f) && answer[i] == UNDER_WAY; i = f.base)
		answer[i] = found;
}

/* Whether it may have other bases than are known.  A raw one has none itself. */
static bool leads_away(const struct q2_scan_file *f)
{
	return f->flags & Q2_FF_NOT_A_FILE ||
	       (f->flags & Q2_FF_OUTSIDE && !(f->flags & Q2_FF_NO_BASE) &&
		f->backing && f->base == Q2_NO_FILE &&
		(f->format == NULL || strcmp(f->format, "raw") != 0));
}

static enum q2_status dependants(struct map *map, const struct q2_scan *scan)
{
	struct q2_sink sink = map_stream(map);
	size_t on = q2_scan_find(scan, map->options->dependants), n = 0;
	size_t unknown = 0;
	struct q2_scan_file f;
	struct q2_buf b = {0};
	unsigned char *answer;
	enum q2_status st = Q2_OK;

	if (on == Q2_NO_FILE) {
		q2_cli_complain(map->tool, map->options->dependants,
				"it is not among the files that were scanned");
		map->status |= Q2_EXIT_FAILED;
		return Q2_OK;
	}
	while (q2_scan_file(scan, n, &f)) {
		unknown += n != on && leads_away(&f);
		n++;
	}
	answer = calloc(n + 1, 1);
	if (answer == NULL)
		return Q2_E_NOMEM;
	for (size_t i = 0; q2_scan_file(scan, i, &f); i++) {
		if (answer[i] == UNKNOWN)
			ask(scan, i, on, answer);
		if (i == on || answer[i] != YES)
			continue;
		q2_buf_escape(&b, f.path, strlen(f.path));
		q2_buf_char(&b, '\n');
	}
	free(answer);
	if (unknown) {
		q2_cli_complain(map->tool, map->options->dependants,
				"there may be more: some images name what was "
				"not looked at");
		map->status |= Q2_EXIT_PROBLEMS;
	}
	if (b.failed)
		st = Q2_E_NOMEM;
	else if (b.n && sink.write(sink.ctx, b.at, b.n))
		st = Q2_E_IO;
	q2_buf_free(&b);
	return st;
}

static void graph(struct map *map, char *operands[])
{
	static const enum q2_scan_form forms[] = {Q2_SCAN_TREE, Q2_SCAN_JSON,
						  Q2_SCAN_NDJSON, Q2_SCAN_DOT};
	struct q2_sink sink = map_stream(map);
	struct q2_scan *scan;
	struct q2_err err = {0};
	enum q2_status st;

	if (map->options->dependants && map->options->output != 0) {
		map->status = q2_cli_misuse(map->tool, "--dependants is for "
					    "text only", NULL);
		return;
	}
	scan = map_scan(map, operands);
	if (scan == NULL)
		return;
	st = map->options->dependants ?
		     dependants(map, scan) :
		     q2_scan_report(scan, forms[map->options->output], &sink);
	map_fail(map, NULL, st, &err);
	q2_scan_free(scan);
}

const struct verb map_graph = {
	.name = "graph",
	.what = "who depends on whom, in files and folders",
	.tool = {
		.name = "qcow2-map graph",
		.operands = "PATH...",
		.purpose = "Show which images depend on which, in these files "
			   "and folders.",
		.options = option_table,
	},
	.min = 1,
	.max = UINT_MAX,
	.scans = true,
	.run = graph,
};
