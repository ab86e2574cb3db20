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
	{"output", 0, "text|json|ndjson|qemu|blocks|svg|html",
	 "the map's form; text is the default, qemu is what\n"
	 "qemu-img map --output=json prints, the last three are\n"
	 "pictures, blocks one of characters",
	 Q2_CLI_CHOICE, AT(output), 0},
	OPTION_ORDER,
	OPTIONS_USUAL,
	{"list-verbs", 0, NULL, "list the verbs", Q2_CLI_SET, AT(list_verbs),
	 1},
	{0},
};

enum { FORM_QEMU = 3, FIRST_PICTURE };

struct walk {
	struct map *map;
	struct q2_rows_report *report;
	struct q2_picture *picture; /* or else this one */
};

static enum q2_status on_row(void *ctx, const struct q2_row *row)
{
	struct walk *walk = ctx;

	if (walk->picture == NULL)
		return q2_rows_add(walk->report, row);
	return q2_picture_add_row(walk->picture, row);
}

static bool on_progress(void *ctx, const struct q2_progress *p)
{
	struct walk *walk = ctx;

	return map_tick(walk->map, p);
}

/* The map as a list. */
static enum q2_status list(struct walk *walk, struct q2_disk *disk,
			   struct q2_rows_opts *opts, struct q2_err *err)
{
	static const enum q2_rows_form forms[] = {
		Q2_ROWS_TEXT, Q2_ROWS_JSON, Q2_ROWS_NDJSON, Q2_ROWS_QEMU};
	enum q2_rows_form form = forms[walk->map->options->output];
	struct q2_sink sink = map_stream(walk->map);
	enum q2_status st, end;

	opts->merge = form == Q2_ROWS_QEMU ? Q2_MERGE_QEMU :
		      form == Q2_ROWS_TEXT ? Q2_MERGE_RUNS : Q2_MERGE_SAME;
	st = q2_rows_begin(disk, form, opts->start, &sink, &walk->report, err);
	if (st == Q2_OK)
		st = q2_disk_rows(disk, opts, err);
	end = q2_rows_end(walk->report, st == Q2_OK, NULL);
	return st == Q2_OK ? end : st;
}

static enum q2_status draw(struct walk *walk, struct q2_disk *disk,
			   struct q2_rows_opts *opts, struct q2_err *err)
{
	int form = walk->map->options->output - FIRST_PICTURE;
	struct q2_picture_opts how =
		map_picture(walk->map, (enum q2_picture_form)form);
	struct q2_sink sink = map_stream(walk->map);
	enum q2_status st = q2_picture_of_disk(disk, &how, &walk->picture, err);

	if (st == Q2_OK)
		st = q2_disk_rows(disk, opts, err);
	if (st == Q2_OK)
		st = q2_picture_report(walk->picture, &sink);
	q2_picture_free(walk->picture);
	return st;
}

static void extents(struct map *map, char *operands[])
{
	const struct options *o = map->options;
	struct walk walk = {.map = map};
	struct q2_rows_opts opts = {.start = o->start,
				    .length = o->length,
				    .merge = Q2_MERGE_RUNS,
				    .holes = o->holes != 0,
				    .row = on_row,
				    .progress = on_progress,
				    .ctx = &walk};
	struct q2_err err = {0};
	enum q2_status st;
	struct q2_disk *disk;

	if (o->hilbert >= 0 && o->output <= FIRST_PICTURE) {
		map->status = q2_cli_misuse(map->tool, "--order is for svg and "
					    "html", NULL);
		return;
	}
	if (map_allows_in_vain(map))
		return;
	disk = map_open(map, operands[0]);
	if (disk == NULL)
		return;
	st = o->output < FIRST_PICTURE ? list(&walk, disk, &opts, &err) :
					 draw(&walk, disk, &opts, &err);
	map_fail(map, operands[0], st, &err);
	map_tell_damage(map, operands[0], disk, o->output >= FORM_QEMU);
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
