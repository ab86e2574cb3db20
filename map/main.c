/*
 * main.c - qcow2-map: the verbs, and what they share.
 *
 * SPDX-License-Identifier: MIT
 */
#include <locale.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "map.h"

#define STREAM_SIZE 65536u

static const struct verb *const verbs[] = {
	&map_extents,	&map_layout,  &map_space,
	&map_snapshots, &map_measure, &map_graph,
	&map_audit,	&map_lint,    &map_forecast,
};

#define VERBS (sizeof(verbs) / sizeof(*verbs))

static uint64_t half_of_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	long size = sysconf(_SC_PAGESIZE);

	if (pages <= 0 || size <= 0)
		return (uint64_t)512 << 20;
	return (uint64_t)pages * (uint64_t)size / 2;
}

const char *map_backing_format(const struct options *options)
{
	static const char *const names[] = {"raw", "qcow2"};

	return options->backing_format < 0 ? NULL :
					     names[options->backing_format];
}

bool map_allows_in_vain(struct map *map)
{
	const struct options *o = map->options;

	if (o->chain || !(o->allow.n || o->allow_any || o->allow_probe ||
			  o->backing_format >= 0))
		return false;
	map->status = q2_cli_misuse(map->tool, "what is said of backing files "
				    "is for --chain", NULL);
	return true;
}

struct q2_disk *map_open(struct map *map, const char *path)
{
	const struct options *o = map->options;
	struct q2_disk_opts opts = {.raw = o->raw != 0,
				    .chain = o->chain != 0,
				    .allow_probe = o->allow_probe != 0,
				    .backing_format = map_backing_format(o),
				    .allow_any = o->allow_any != 0,
				    .allow = o->allow.at,
				    .snapshot = o->snapshot,
				    .max_memory = o->max_memory};
	struct q2_err err = {0};
	struct q2_disk *disk;
	enum q2_status st = q2_disk_open(path, &opts, &disk, &err);

	map->progress.about = path;
	map_fail(map, path, st, &err);
	return disk;
}

struct q2_survey *map_survey(struct map *map, const char *path)
{
	struct q2_survey_opts opts = {.max_memory = map->options->max_memory,
				      .progress = map_tick,
				      .ctx = map};
	struct q2_survey *survey;
	struct q2_err err = {0};
	enum q2_status st;

	map->progress.about = path;
	st = q2_survey_open(path, &opts, &survey, &err);
	map_fail(map, path, st, &err);
	if (survey && q2_survey_result(survey)->verdict == Q2_CORRUPTED)
		map->status |= Q2_EXIT_PROBLEMS;
	return survey;
}

void map_fail(struct map *map, const char *about, enum q2_status st,
	      const struct q2_err *err)
{
	if (st == Q2_OK)
		return;
	q2_cli_progress_clear(&map->progress);
	/* What is wrong with stdout is said at the end. */
	if (map->out.error != 0)
		return;
	if (st == Q2_E_INTERRUPTED || q2_cli_interrupted()) {
		map->status |= Q2_EXIT_INTERRUPTED;
		return;
	}
	map->status |= Q2_EXIT_FAILED;
	q2_cli_complain(map->tool, about,
			err->code ? err->text : q2_status_text(st));
}

void map_tell_damage(struct map *map, const char *path,
		     const struct q2_disk *disk, bool in_words)
{
	struct q2_buf b = {0};
	const char *before = "damaged; qcow2-fsck tells more: ";

	for (size_t i = 0; q2_problem_at(i); i++)
		if (q2_problem_at(i)->severity == Q2_CORRUPT &&
		    q2_disk_found(disk, i)) {
			q2_buf_format(&b, "%s%s", before, q2_problem_at(i)->id);
			before = ", ";
		}
	if (b.n)
		map->status |= Q2_EXIT_PROBLEMS;
	q2_buf_add(&b, "", 1);
	q2_cli_progress_clear(&map->progress);
	if (b.n > 1 && in_words)
		q2_cli_complain(map->tool, path, b.failed ? "damaged" : b.at);
	q2_buf_free(&b);
}

static int stream(void *ctx, const char *bytes, size_t n)
{
	struct q2_cli_output *out = ctx;

	if (q2_cli_output_add(out, bytes, n) != 0)
		return -1;
	if (out->buf.n < STREAM_SIZE)
		return 0;
	/* Whoever reads slowly holds us here. */
	return q2_cli_output_commit(out) != 0 || q2_cli_interrupted() ? -1 : 0;
}

struct q2_sink map_stream(struct map *map)
{
	return (struct q2_sink){stream, &map->out};
}

bool map_tick(void *ctx, const struct q2_progress *p)
{
	struct map *map = ctx;

	return q2_cli_progress_tick(&map->progress, p) || map->out.error != 0;
}

static int list_verbs(struct q2_cli_output *out)
{
	for (size_t i = 0; i < VERBS; i++) {
		const char *name = verbs[i]->name;

		(void)q2_cli_output_add(out, name, strlen(name));
		(void)q2_cli_output_add(out, "\n", 1);
	}
	return 0;
}

static int run(const struct verb *verb, const struct q2_cli_tool *tool,
	       const struct options *options, int n, char *operands[])
{
	struct map map = {.tool = tool, .options = options};
	int error;

	if (n < (int)verb->min && !options->list_verbs)
		return q2_cli_misuse(tool, "an operand is missing", NULL);
	if ((unsigned)n > verb->max)
		return q2_cli_misuse(tool, "too many operands",
				     operands[verb->max]);
	q2_cli_output_open(&map.out, STDOUT_FILENO);
	q2_cli_progress_open(&map.progress, tool, options->progress_fd,
			     options->quiet != 0);
	for (int i = 0; i < n; i++)
		if (!q2_cli_name(tool, operands[i]))
			map.status = Q2_EXIT_FAILED;
	if (map.status == 0)
		map.status = map_confine(&map, verb, operands);
	if (map.status != 0)
		;
	else if (options->list_verbs)
		map.status = list_verbs(&map.out);
	else
		verb->run(&map, operands);
	q2_cli_progress_clear(&map.progress);
	(void)q2_cli_output_commit(&map.out);
	error = q2_cli_output_close(&map.out);
	if (error != 0) {
		q2_cli_complain(tool, "standard output", strerror(error));
		map.status |= Q2_EXIT_FAILED;
	}
	return map.status;
}

/* The text that lists the verbs, for --help of the tool as a whole. */
static void describe(struct q2_buf *b)
{
	q2_buf_text(b, "Verbs, which stand first and have a --help each:\n");
	for (size_t i = 0; i < VERBS; i++)
		q2_buf_format(b, "  %-12s %s\n", verbs[i]->name,
			      verbs[i]->what);
	q2_buf_text(b,
		    "\nExit status: the sum of 4 (parts of an image are "
		    "damaged), 8 (something could\nnot be read or opened), 16 "
		    "(wrong usage) and 32 (interrupted); else 0.");
	q2_buf_add(b, "", 1);
}

int main(int argc, char *argv[])
{
	struct options options = {.progress_fd = -1,
				  .backing_format = -1,
				  .length = UINT64_MAX,
				  .size = UINT64_MAX,
				  .host = UINT64_MAX,
				  .guest = UINT64_MAX,
				  .hilbert = -1,
				  .lint = {.max_size = UINT64_MAX,
					   .max_ratio = UINT64_MAX},
				  .forecast = {.sample = UINT64_MAX},
				  .max_memory = half_of_memory()};
	const struct verb *verb = verbs[0];
	struct q2_cli_tool tool = verb->tool;
	struct q2_buf text = {0};
	int first, status, skip = 0;

	q2_cli_start();
	/* All that is printed is UTF-8, which libsmartcols has to know. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	for (size_t i = 0; argc > 1 && i < VERBS; i++)
		if (strcmp(argv[1], verbs[i]->name) == 0) {
			verb = verbs[i];
			skip = 1;
		}
	if (skip) {
		tool = verb->tool;
	} else {
		tool.name = "qcow2-map";
		describe(&text);
		tool.epilogue = text.failed ? NULL : text.at;
	}
	status = q2_cli_parse(&tool, argc - skip, argv + skip, &options,
			      &first);
	if (status < 0)
		status = run(verb, &tool, &options, argc - skip - first,
			     argv + skip + first);
	q2_buf_free(&text);
	return status;
}
