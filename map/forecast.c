/*
 * forecast.c - qcow2-map forecast: what a commit or a new image comes to.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

#define AF(member) offsetof(struct options, forecast.member)
#define NO_SAMPLE UINT64_MAX

enum { FORM_QCOW2, FORM_RAW };

static const struct q2_cli_option option_table[] = {
	{"base", 0, "LAYER",
	 "commit: to this layer, by its path, or its number where\n"
	 "the image is 0; 1 is the default",
	 Q2_CLI_TEXT, AF(base), 0},
	{"keep-top", 0, NULL, "commit: the image is not to be emptied",
	 Q2_CLI_SET, AF(keep_top), 1},
	{"target", 'O', "qcow2|raw",
	 "flatten: the new image's format; qcow2 is the default",
	 Q2_CLI_CHOICE, AT(target), 0},
	{"options", 'o', "OPTIONS",
	 "flatten, compress: of the new image, as for qemu-img:\n"
	 "compat=, cluster_size=, refcount_bits=, extended_l2=,\n"
	 "separated by commas; may be given again",
	 Q2_CLI_LIST, AT(creation), 0},
	{"compress", 'c', "METHOD",
	 "compress: zlib, the default, or zstd; with a level if\n"
	 "wanted, as in zstd:9",
	 Q2_CLI_TEXT, AF(compress), 0},
	{"read", 0, NULL,
	 "flatten, compress: read (and compress) all data, for an\n"
	 "exact figure",
	 Q2_CLI_SET, AF(read), 1},
	{"sample", 0, "PERCENT",
	 "the same with so much of the data, for an estimate",
	 Q2_CLI_NUMBER, AF(sample), 0},
	{"secret", 0, "[LAYER=]FILE",
	 "flatten, compress: the secret of an encrypted image, of\n"
	 "which data are read",
	 Q2_CLI_LIST, AF(secrets), 0},
	OPTIONS_ALLOW,
	{"output", 0, "text|json", "the form; text is the default",
	 Q2_CLI_CHOICE, AT(output), 0},
	OPTIONS_USUAL,
	{0},
};

static enum q2_doc_form form_of(const struct map *map)
{
	return map->options->output ? Q2_DOC_JSON : Q2_DOC_TEXT;
}

/* Says why; the exit status tells of damage in images that could be opened. */
static void fail(struct map *map, const char *path, bool opened,
		 enum q2_status st, const struct q2_err *err)
{
	map_fail(map, path, st, err);
	if (opened && st == Q2_E_FORMAT)
		map->status |= Q2_EXIT_PROBLEMS;
}

/* ------------------------------------------------------------------- commit */
static void commit(struct map *map, const char *path)
{
	const struct options *o = map->options;
	struct q2_inplace_opts opts = {.job = Q2_COMMIT,
				       .base = o->forecast.base,
				       .allow = o->allow.at,
				       .backing_format = map_backing_format(o),
				       .max_memory = o->max_memory,
				       .progress = map_tick,
				       .ctx = map};
	struct q2_commit_cost *cost = calloc(1, sizeof(*cost));
	struct q2_sink sink = map_stream(map);
	struct q2_err err = {0};
	enum q2_status st = Q2_E_NOMEM;

	opts.flags |= o->allow_any ? Q2_INPLACE_ALLOW_ANY : 0u;
	opts.flags |= o->allow_probe ? Q2_INPLACE_ALLOW_PROBE : 0u;
	opts.flags |= o->forecast.keep_top ? Q2_INPLACE_KEEP : 0u;
	if (cost)
		st = q2_forecast_commit(path, &opts, cost, &err);
	q2_cli_progress_clear(&map->progress);
	if (st == Q2_OK)
		st = q2_commit_cost_report(cost, path, form_of(map), &sink);
	fail(map, path, cost && cost->base[0], st, &err);
	free(cost);
}

/* ------------------------------------------------------------ one new image */

/* "zlib", "zstd:19". */
static bool set_method(struct q2_dump_opts *opts, const char *text)
{
	const char *colon;
	uint64_t level = 0;
	size_t n;

	if (text == NULL)
		text = "zlib";
	colon = strchr(text, ':');
	n = colon ? (size_t)(colon - text) : strlen(text);
	if (n == 4 && memcmp(text, "zlib", 4) == 0)
		opts->compress = Q2_COMPRESS_ZLIB;
	else if (n == 4 && memcmp(text, "zstd", 4) == 0)
		opts->compress = Q2_COMPRESS_ZSTD;
	else
		return false;
	if (colon == NULL)
		return true;
	if (!q2_cli_number(colon + 1, &level) || level == 0 || level > 100)
		return false;
	opts->level = (int)level;
	return true;
}

static void set_image(struct q2_dump_opts *opts,
		      const struct q2_measure_opts *m)
{
	opts->format = Q2_DUMP_QCOW2;
	opts->version = m->version;
	while (m->cluster_size >> opts->cluster_bits > 1)
		opts->cluster_bits++;
	opts->refcount_bits = m->refcount_bits;
	opts->ext_l2 = m->ext_l2;
}

/* qemu-img's own figure, of the same chain.  It is closed again, since servers may
 * have one client at a time. */
static enum q2_status measure(struct map *map, const char *path,
			      const struct q2_measure_opts *opts,
			      struct q2_measure *m, bool *opened,
			      struct q2_err *err)
{
	const struct options *o = map->options;
	struct q2_disk_opts how = {.chain = true,
				   .allow_probe = o->allow_probe != 0,
				   .backing_format = map_backing_format(o),
				   .allow_any = o->allow_any != 0,
				   .allow = o->allow.at,
				   .max_memory = o->max_memory};
	struct q2_disk *disk;
	enum q2_status st = q2_disk_open(path, &how, &disk, err);

	*opened = st == Q2_OK;
	if (st == Q2_OK)
		st = q2_disk_measure(disk, 0, opts, m, err);
	if (*opened)
		map_tell_damage(map, path, disk, true);
	q2_disk_close(disk);
	return st;
}

static void one_image(struct map *map, const char *path, const char *what,
		      const struct q2_measure_opts *shape,
		      const struct q2_dump_opts *opts)
{
	const struct options *o = map->options;
	struct q2_cli_secrets secrets = {0};
	struct q2_guest_opts how = {.format = Q2_GUEST_QCOW2,
				    .allow_probe = o->allow_probe != 0,
				    .backing_format = map_backing_format(o),
				    .allow_any = o->allow_any != 0,
				    .allow = o->allow.at,
				    .layer = Q2_ANY_LAYER,
				    .secrets = secrets.at,
				    .max_memory = o->max_memory};
	unsigned percent = o->forecast.read ? 100 :
			   o->forecast.sample == NO_SAMPLE ? 0 :
			   (unsigned)o->forecast.sample;
	struct q2_sink sink = map_stream(map);
	struct q2_guest *guest = NULL;
	struct q2_flatten_cost cost;
	struct q2_measure m;
	struct q2_err err = {0};
	bool opened;
	enum q2_status st;

	map->status |= q2_cli_secrets_read(map->tool, &o->forecast.secrets,
					   &secrets);
	if (map->status != 0) {
		q2_cli_secrets_forget(&secrets);
		return;
	}
	how.n_secrets = secrets.n;
	how.no_data = percent == 0;
	st = measure(map, path, shape, &m, &opened, &err);
	if (st == Q2_OK) {
		st = q2_guest_open(path, &how, &guest, &err);
		opened = st == Q2_OK;
	}
	if (st == Q2_OK)
		st = q2_forecast_flatten(guest, opts, percent, &cost, &err);
	q2_cli_progress_clear(&map->progress);
	if (st == Q2_OK)
		st = q2_flatten_cost_report(&cost, &m, path, what,
					    opts->format == Q2_DUMP_RAW,
					    form_of(map), &sink);
	fail(map, path, opened, st, &err);
	q2_guest_close(guest);
	q2_cli_secrets_forget(&secrets);
}

/* What does not go together; NULL if all does. */
static const char *misplaced(const struct options *o, bool is_commit,
			     bool is_compress)
{
	const struct forecast_options *f = &o->forecast;

	if (!is_commit && (f->base || f->keep_top))
		return "--base and --keep-top are for commit";
	if (is_commit && (o->creation.n || f->secrets.n || f->read ||
			  f->sample != NO_SAMPLE))
		return "--options, --secret, --read and --sample are for "
		       "flatten and compress";
	if (o->target != FORM_QCOW2 && (is_commit || is_compress))
		return "--target is for flatten";
	if (o->target == FORM_RAW && o->creation.n)
		return "a raw image has no options";
	if (f->compress && !is_compress)
		return "--compress is for compress";
	if (f->read && f->sample != NO_SAMPLE)
		return "--read and --sample exclude each other";
	if (f->sample != NO_SAMPLE && (f->sample == 0 || f->sample > 99))
		return "--sample takes 1 to 99";
	return NULL;
}

static void forecast(struct map *map, char *operands[])
{
	const struct options *o = map->options;
	struct q2_measure_opts shape = Q2_MEASURE_DEFAULTS;
	struct q2_dump_opts opts = {.scan = {.progress = map_tick,
					     .ctx = map},
				    .length = UINT64_MAX};
	bool is_commit = strcmp(operands[0], "commit") == 0;
	bool is_compress = strcmp(operands[0], "compress") == 0;
	const char *wrong = misplaced(o, is_commit, is_compress);

	if (!is_commit && !is_compress && strcmp(operands[0], "flatten") != 0) {
		map->status = q2_cli_misuse(map->tool, "commit, flatten or "
					    "compress is wanted", operands[0]);
		return;
	}
	if (wrong == NULL && is_compress &&
	    !set_method(&opts, o->forecast.compress))
		wrong = "--compress takes zlib or zstd, maybe with a level as "
			"in zstd:9";
	if (wrong) {
		map->status = q2_cli_misuse(map->tool, wrong, NULL);
		return;
	}
	map->progress.about = operands[1];
	if (is_commit) {
		commit(map, operands[1]);
		return;
	}
	shape.raw = o->target == FORM_RAW;
	if (!map_creation(map, &shape, false))
		return;
	if (shape.luks) {
		map->status = q2_cli_misuse(map->tool, "qcow2-dump makes no "
					    "encrypted images", NULL);
		return;
	}
	if (!shape.raw)
		set_image(&opts, &shape);
	one_image(map, operands[1], operands[0], &shape, &opts);
}

const struct verb map_forecast = {
	.words = 1,
	.scans = true,
	.threads = true,
	.name = "forecast",
	.what = "what a commit, or one image of a chain, would take",
	.tool = {
		.name = "qcow2-map forecast",
		.operands = "commit|flatten|compress IMAGE",
		.purpose = "Tell what committing an image to its base would "
			   "take, or how large one\nimage made of the whole "
			   "chain would be.  Backing files are followed.",
		.options = option_table,
	},
	.min = 2,
	.max = 2,
	.run = forecast,
};
