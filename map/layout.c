/*
 * layout.c - qcow2-map layout: what each part of the file is for.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <stdlib.h>

#include "map.h"

static const struct q2_cli_option option_table[] = {
	{"host", 0, "OFFSET", "only the cluster around this byte of the file,\n"
	 "and every entry that names it", Q2_CLI_SIZE, AT(host), 0},
	{"guest", 0, "OFFSET", "the same for where this byte of the guest's "
	 "disk\nlies", Q2_CLI_SIZE, AT(guest), 0},
	OPTION_SNAPSHOT,
	{"output", 0, "text|json|ndjson|blocks|svg|html",
	 "the form; text is the default, blocks is a picture made\n"
	 "of characters, html a page to zoom and to point at",
	 Q2_CLI_CHOICE, AT(output), 0},
	OPTION_ORDER,
	OPTIONS_USUAL,
	{0},
};

enum { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_NDJSON, OUTPUT_BLOCKS,
       OUTPUT_SVG, OUTPUT_HTML };

static enum q2_status whole(struct map *map, const char *path,
			    struct q2_survey *survey, enum q2_map_form form,
			    struct q2_err *err)
{
	struct q2_sink sink = map_stream(map);
	struct q2_layout_opts opts = {.length = UINT64_MAX,
				      .guest = true,
				      .row = q2_layout_add};
	struct q2_layout_report *report;
	enum q2_status st, end;

	st = q2_layout_begin(survey, path, form, &sink, &report, err);
	opts.ctx = report;
	if (st == Q2_OK)
		st = q2_survey_layout(survey, &opts, err);
	end = q2_layout_end(report, st == Q2_OK);
	return st == Q2_OK ? end : st;
}

static enum q2_status picture(struct map *map, const char *path,
			      struct q2_survey *survey,
			      enum q2_picture_form form, struct q2_err *err)
{
	struct q2_sink sink = map_stream(map);
	struct q2_picture_opts how = map_picture(map, form);
	struct q2_layout_opts opts = {.length = UINT64_MAX,
				      .guest = form != Q2_PICTURE_BLOCKS,
				      .row = q2_picture_add_use};
	struct q2_picture *drawn;
	enum q2_status st = q2_picture_of_file(survey, path, &how, &drawn,
					       err);

	opts.ctx = drawn;
	if (st == Q2_OK)
		st = q2_survey_layout(survey, &opts, err);
	if (st == Q2_OK)
		st = q2_picture_report(drawn, &sink);
	q2_picture_free(drawn);
	return st;
}

static enum q2_status everything(struct map *map, const char *path,
				 struct q2_survey *survey, struct q2_err *err)
{
	static const enum q2_map_form forms[] = {Q2_MAP_TEXT, Q2_MAP_JSON,
						 Q2_MAP_NDJSON};
	int output = map->options->output;

	if (output >= OUTPUT_BLOCKS)
		return picture(map, path, survey,
			       (enum q2_picture_form)(output - OUTPUT_BLOCKS),
			       err);
	return whole(map, path, survey, forms[output], err);
}

/* Rows, and references, that are kept. */
struct address {
	struct q2_use_row row;
	struct q2_reference *at;
	size_t n;
	size_t room;
	bool no_memory;
};

static enum q2_status keep_row(void *ctx, const struct q2_use_row *row)
{
	struct address *a = ctx;

	a->row = *row;
	return Q2_OK;
}

static void keep_reference(void *ctx, const struct q2_reference *r)
{
	struct address *a = ctx;

	if (a->n == a->room) {
		size_t room = a->room ? 2 * a->room : 64;
		struct q2_reference *at =
			realloc(a->at, room * sizeof(*at));

		if (at == NULL) {
			a->no_memory = true;
			return;
		}
		a->at = at;
		a->room = room;
	}
	a->at[a->n++] = *r;
}

static enum q2_status one_host(struct map *map, const char *path,
			       struct q2_survey *survey, uint64_t host,
			       enum q2_map_form form, struct q2_err *err)
{
	struct q2_sink sink = map_stream(map);
	struct address a = {0};
	struct q2_layout_opts opts = {.start = host,
				      .length = 1,
				      .guest = true,
				      .row = keep_row,
				      .ctx = &a};
	enum q2_status st = q2_survey_layout(survey, &opts, err);

	if (st == Q2_OK && a.row.length == 0) {
		q2_cli_complain(map->tool, path,
				"the file ends before that offset");
		map->status |= Q2_EXIT_FAILED;
		return Q2_OK;
	}
	if (st == Q2_OK)
		st = q2_survey_references(survey, host, keep_reference, &a,
					  err);
	if (st == Q2_OK && a.no_memory)
		st = Q2_E_NOMEM;
	if (st == Q2_OK)
		st = q2_address_report(survey, path, &a.row, a.at, a.n, form,
				       &sink);
	free(a.at);
	return st;
}

static enum q2_status keep_host(void *ctx, const struct q2_row *row)
{
	*(struct q2_row *)ctx = *row;
	return Q2_OK;
}

/* Where it is instead. */
static void put_elsewhere(struct q2_buf *b, const struct q2_row *row)
{
	if (row->length == 0) {
		q2_buf_text(b, "past the end of the disk");
	} else if (row->flags & Q2_ROW_DATA_FILE) {
		q2_buf_text(b, "it is in the data file, at byte ");
		q2_buf_u64(b, row->host);
	} else {
		q2_buf_text(b, q2_content_text(row->content));
	}
}

/* The byte of the file that a byte of the guest's disk lies at; UINT64_MAX if it
 * lies nowhere in it, which was said then. */
static uint64_t host_of(struct map *map, const char *path, uint64_t guest)
{
	struct q2_row row = {.content = Q2_C_NONE};
	struct q2_rows_opts opts = {.start = guest,
				    .length = 1,
				    .row = keep_host,
				    .ctx = &row};
	struct q2_err err = {0};
	struct q2_disk *disk = map_open(map, path);
	struct q2_buf b = {0};
	enum q2_status st;

	if (disk == NULL)
		return UINT64_MAX;
	st = q2_disk_rows(disk, &opts, &err);
	q2_disk_close(disk);
	map_fail(map, path, st, &err);
	if (st != Q2_OK)
		return UINT64_MAX;
	if (row.length && (row.flags & (Q2_ROW_HOST | Q2_ROW_DATA_FILE)) ==
				  Q2_ROW_HOST)
		return row.host;
	q2_buf_text(&b, "the guest's byte is not in this file: ");
	put_elsewhere(&b, &row);
	q2_buf_add(&b, "", 1);
	q2_cli_complain(map->tool, path, b.failed ? "not in this file" : b.at);
	q2_buf_free(&b);
	map->status |= row.content == Q2_C_UNREADABLE ? Q2_EXIT_PROBLEMS :
							Q2_EXIT_FAILED;
	return UINT64_MAX;
}

/* What does not go together; NULL if all does. */
static const char *conflict(const struct options *o)
{
	bool one = o->host != UINT64_MAX || o->guest != UINT64_MAX;

	if (o->host != UINT64_MAX && o->guest != UINT64_MAX)
		return "--host and --guest exclude each other";
	if (o->output >= OUTPUT_BLOCKS && one)
		return "there is no picture of one address";
	if (o->snapshot && o->guest == UINT64_MAX)
		return "--snapshot is for --guest";
	if (o->hilbert >= 0 && o->output <= OUTPUT_BLOCKS)
		return "--order is for svg and html";
	return NULL;
}

static void layout(struct map *map, char *operands[])
{
	const struct options *o = map->options;
	enum q2_map_form form = o->output == OUTPUT_TEXT ? Q2_MAP_TEXT :
							   Q2_MAP_JSON;
	uint64_t host = o->host;
	struct q2_survey *survey;
	struct q2_err err = {0};
	const char *wrong = conflict(o);
	enum q2_status st;

	if (wrong) {
		map->status = q2_cli_misuse(map->tool, wrong, NULL);
		return;
	}
	if (o->guest != UINT64_MAX) {
		host = host_of(map, operands[0], o->guest);
		if (host == UINT64_MAX)
			return;
	}
	survey = map_survey(map, operands[0]);
	if (survey == NULL)
		return;
	st = host == UINT64_MAX ?
		     everything(map, operands[0], survey, &err) :
		     one_host(map, operands[0], survey, host, form, &err);
	map_fail(map, operands[0], st, &err);
	q2_survey_close(survey);
}

const struct verb map_layout = {
	.name = "layout",
	.what = "what each part of the file is for, and whose",
	.tool = {
		.name = "qcow2-map layout",
		.operands = "IMAGE",
		.purpose = "Show what each part of an image's file is for, "
			   "and whose it is.",
		.options = option_table,
	},
	.min = 1,
	.max = 1,
	.run = layout,
};
