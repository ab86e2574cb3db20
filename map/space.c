/*
 * space.c - qcow2-map space: where the bytes of a file went.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>

#include "map.h"

static const struct q2_cli_option option_table[] = {
	{"output", 0, "text|json|html",
	 "the form; text is the default, html a page with a chart",
	 Q2_CLI_CHOICE, AT(output), 0},
	OPTIONS_USUAL,
	{0},
};

struct sums {
	struct q2_space space;
	uint64_t next; /* host offset that would go on */
};

static enum q2_status add(void *ctx, const struct q2_use_row *row)
{
	struct sums *s = ctx;

	q2_space_add(&s->space, row);
	s->space.tail = row->use == Q2_U_FREE ? row->length : 0;
	return Q2_OK;
}

static enum q2_status add_extent(void *ctx, const struct q2_row *row)
{
	struct sums *s = ctx;

	if (row->content == Q2_C_COMPRESSED)
		s->space.compressed += row->length;
	if (row->content != Q2_C_DATA)
		return Q2_OK;
	s->space.data += row->length;
	s->space.extents++;
	s->space.seeks += row->host != s->next;
	s->next = row->host + row->length;
	return Q2_OK;
}

/* The active disk in the guest's order. */
static enum q2_status walk_disk(const char *path, uint64_t max_memory,
				struct sums *sums, struct q2_err *err)
{
	struct q2_disk_opts opts = {.max_memory = max_memory};
	struct q2_rows_opts rows = {.length = UINT64_MAX,
				    .row = add_extent,
				    .ctx = sums};
	struct q2_disk *disk;
	enum q2_status st = q2_disk_open(path, &opts, &disk, err);

	if (st == Q2_OK)
		st = q2_disk_rows(disk, &rows, err);
	q2_disk_close(disk);
	return st;
}

static void space(struct map *map, char *operands[])
{
	static const enum q2_map_form forms[] = {Q2_MAP_TEXT, Q2_MAP_JSON,
						 Q2_MAP_HTML};
	const struct options *o = map->options;
	struct q2_sink sink = map_stream(map);
	struct sums sums = {0};
	struct q2_layout_opts opts = {.length = UINT64_MAX,
				      .row = add,
				      .ctx = &sums};
	struct q2_err err = {0};
	struct q2_survey *survey;
	/* One after the other: servers may have one client at a time. */
	enum q2_status st = walk_disk(operands[0], o->max_memory, &sums, &err);

	if (st != Q2_OK) {
		map_fail(map, operands[0], st, &err);
		return;
	}
	survey = map_survey(map, operands[0]);
	if (survey == NULL)
		return;
	st = q2_survey_layout(survey, &opts, &err);
	if (st == Q2_OK)
		st = q2_space_report(survey, operands[0], &sums.space,
				     forms[o->output], &sink);
	map_fail(map, operands[0], st, &err);
	q2_survey_close(survey);
}

const struct verb map_space = {
	.name = "space",
	.what = "where the bytes of the file went",
	.tool = {
		.name = "qcow2-map space",
		.operands = "IMAGE",
		.purpose = "Show where the bytes of an image's file went.",
		.options = option_table,
	},
	.min = 1,
	.max = 1,
	.run = space,
};
