/*
 * extents.c - qcow2-map extents: where the guest's bytes are.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>

#include "map.h"

static const struct q2_cli_option option_table[] = {
	OPTION_CHAIN,
	OPTIONS_ALLOW,
	OPTION_SNAPSHOT,
	OPTION_RAW,
	{"start-offset", 's', "SIZE", "where on the guest's disk to begin",
	 Q2_CLI_SIZE, AT(start), 0},
	{"max-length", 'l', "SIZE", "how much of it to show", Q2_CLI_SIZE,
	 AT(length), 0},
	{"holes", 0, NULL,
	 "tell data that lies in holes of the file, and is zeros", Q2_CLI_SET,
	 AT(holes), 1},
	{"output", 0, "text|json|ndjson|qemu",
	 "the map's form; text is the default, qemu is what\n"
	 "qemu-img map --output=json prints",
	 Q2_CLI_CHOICE, AT(output), 0},
	OPTIONS_USUAL,
	{"list-verbs", 0, NULL, "list the verbs", Q2_CLI_SET, AT(list_verbs),
	 1},
	{0},
};

struct walk {
	struct map *map;
	struct q2_rows_report *report;
};

static enum q2_status on_row(void *ctx, const struct q2_row *row)
{
	struct walk *walk = ctx;

	return q2_rows_add(walk->report, row);
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	struct walk *walk = ctx;

	return map_tick(walk->map, p);
}

static void extents(struct map *map, char *operands[])
{
	static const enum q2_rows_form forms[] = {
		Q2_ROWS_TEXT, Q2_ROWS_JSON, Q2_ROWS_NDJSON, Q2_ROWS_QEMU};
	const struct options *o = map->options;
	enum q2_rows_form form = forms[o->output];
	struct q2_rows_opts opts = {
		.start = o->start,
		.length = o->length,
		.merge = form == Q2_ROWS_QEMU ? Q2_MERGE_QEMU :
			 form == Q2_ROWS_TEXT ? Q2_MERGE_RUNS :
						Q2_MERGE_SAME,
		.holes = o->holes != 0,
		.row = on_row,
		.progress = on_progress,
	};
	struct walk walk = {.map = map};
	struct q2_sink sink = map_stream(map);
	struct q2_err err = {0};
	uint64_t unreadable = 0;
	enum q2_status st, end;
	struct q2_disk *disk = map_open(map, operands[0]);

	if (disk == NULL)
		return;
	opts.ctx = &walk;
	st = q2_rows_begin(disk, form, o->start, &sink, &walk.report, &err);
	if (st == Q2_OK)
		st = q2_disk_rows(disk, &opts, &err);
	end = q2_rows_end(walk.report, st == Q2_OK, &unreadable);
	map_fail(map, operands[0], st == Q2_OK ? end : st, &err);
	if (unreadable)
		map->status |= Q2_EXIT_PROBLEMS;
	q2_disk_close(disk);
}

const struct verb map_extents = {
	.name = "extents",
	.what = "where the guest's bytes are (the default)",
	.tool = {
		.name = "qcow2-map extents",
		.operands = "IMAGE",
		.purpose = "Show which host bytes hold which bytes of the "
			   "guest's disk.",
		.options = option_table,
	},
	.min = 1,
	.max = 1,
	.run = extents,
};
