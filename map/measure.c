/*
 * measure.c - qcow2-map measure: how large a new image would be.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

static const struct q2_cli_option option_table[] = {
	{"target", 'O', "raw|qcow2",
	 "the new image's format; raw is the default, as with\n"
	 "qemu-img measure",
	 Q2_CLI_CHOICE, AT(target), 0},
	{"options", 'o', "OPTIONS",
	 "of the new image, as for qemu-img: compat=,\n"
	 "cluster_size=, refcount_bits=, extended_l2=,\n"
	 "preallocation=, backing_file=, encrypt.format=, ...,\n"
	 "separated by commas; may be given again",
	 Q2_CLI_LIST, AT(creation), 0},
	{"size", 0, "SIZE", "of an empty disk, instead of an image",
	 Q2_CLI_SIZE, AT(size), 0},
	OPTION_CHAIN,
	OPTIONS_ALLOW,
	OPTION_SNAPSHOT,
	OPTION_RAW,
	{"output", 0, "text|json|qemu",
	 "text is the default, qemu is what qemu-img prints\n"
	 "with --output=json",
	 Q2_CLI_CHOICE, AT(output), 0},
	OPTIONS_USUAL,
	{0},
};

static bool is_on(const char *value)
{
	return strcmp(value, "on") == 0 || strcmp(value, "true") == 0 ||
	       strcmp(value, "yes") == 0;
}

/* The size is the same; that of a data file counts as if it were in the image. */
static bool makes_no_difference(const char *name)
{
	static const char *const names[] = {
		"lazy_refcounts", "backing_fmt", "compression_type", "data_file",
		"data_file_raw", "encrypt.key-secret", "encrypt.iter-time",
		"nocow", "extent_size_hint",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Those that a raw image has, too. */
static bool of_any_file(const char *name)
{
	return strcmp(name, "preallocation") == 0 ||
	       strcmp(name, "nocow") == 0 ||
	       strcmp(name, "extent_size_hint") == 0;
}

/* One of qemu-img's creation options; false if it means nothing here. */
static bool set(struct q2_measure_opts *m, const char *name, const char *value)
{
	uint64_t n;

	if (m->raw && !of_any_file(name))
		return false;
	if (strcmp(name, "cluster_size") == 0)
		return q2_cli_size(value, &m->cluster_size);
	if (strcmp(name, "refcount_bits") == 0) {
		m->refcount_bits = q2_cli_number(value, &n) && n <= 64 ?
					   (unsigned)n : 0;
		return m->refcount_bits != 0;
	}
	if (strcmp(name, "compat") == 0) {
		bool old = strcmp(value, "0.10") == 0 ||
			   strcmp(value, "v2") == 0;

		m->version = old ? 2 : 3;
		return old || strcmp(value, "1.1") == 0 ||
		       strcmp(value, "v3") == 0;
	}
	if (strcmp(name, "extended_l2") == 0)
		m->ext_l2 = is_on(value);
	else if (strcmp(name, "preallocation") == 0)
		m->whole |= strcmp(value, "full") == 0 ||
			    strcmp(value, "falloc") == 0;
	else if (strcmp(name, "backing_file") == 0)
		m->based = true;
	else if (strcmp(name, "encrypt.format") == 0)
		m->luks = strcmp(value, "luks") == 0;
	else
		return makes_no_difference(name);
	return strcmp(name, "encrypt.format") != 0 || m->luks ||
	       strcmp(value, "aes") == 0;
}

/* name=value,name=value … ; false and a complaint if one makes no sense. */
static bool set_all(struct map *map, struct q2_measure_opts *m,
		    const char *text, bool sized)
{
	uint64_t size;
	char *copy = strdup(text), *rest = copy, *one;
	bool ok = copy != NULL;

	while (ok && (one = strsep(&rest, ",")) != NULL) {
		char *value = strchr(one, '=');

		if (value)
			*value++ = '\0';
		value = value ? value : "on";
		if (sized && strcmp(one, "size") == 0)
			ok = q2_cli_size(value, &size);
		else
			ok = set(m, one, value);
		if (!ok)
			map->status = q2_cli_misuse(
				map->tool, "not a creation option with a "
				"meaning here, or not such a value", one);
	}
	free(copy);
	return ok;
}

bool map_creation(struct map *map, struct q2_measure_opts *m, bool sized)
{
	const struct q2_cli_list *list = &map->options->creation;

	for (size_t i = 0; i < list->n; i++)
		if (!set_all(map, m, list->at[i], sized))
			return false;
	return true;
}

/* What does not go together; NULL if all does. */
static const char *conflict(const struct options *o, bool image)
{
	if (image == (o->size != UINT64_MAX))
		return "either an image or --size is wanted";
	if (!image && (o->chain || o->snapshot || o->raw))
		return "--chain, --snapshot and --raw are for an image";
	return NULL;
}

static void measure(struct map *map, char *operands[])
{
	static const enum q2_doc_form forms[] = {Q2_DOC_TEXT, Q2_DOC_JSON,
						 Q2_DOC_QEMU};
	const struct options *o = map->options;
	const char *wrong = conflict(o, operands[0] != NULL);
	struct q2_measure_opts opts = Q2_MEASURE_DEFAULTS;
	struct q2_sink sink = map_stream(map);
	struct q2_disk *disk = NULL;
	struct q2_measure m;
	struct q2_err err = {0};
	enum q2_status st;

	opts.raw = o->target == 0;
	if (!map_creation(map, &opts, true))
		return;
	if (wrong) {
		map->status = q2_cli_misuse(map->tool, wrong, NULL);
		return;
	}
	if (map_allows_in_vain(map))
		return;
	if (operands[0]) {
		disk = map_open(map, operands[0]);
		if (disk == NULL)
			return;
	}
	if (disk && q2_disk_cut(disk) && !opts.raw)
		q2_cli_complain(map->tool, operands[0],
				"its backing file's data are not counted; "
				"--chain has them counted");
	st = q2_disk_measure(disk, o->size, &opts, &m, &err);
	if (st == Q2_OK)
		st = q2_measure_report(&m, operands[0], forms[o->output],
				       &sink);
	map_fail(map, operands[0], st, &err);
	if (st == Q2_E_FORMAT)
		map->status |= Q2_EXIT_PROBLEMS;
	if (disk)
		map_tell_damage(map, operands[0], disk, true);
	q2_disk_close(disk);
}

const struct verb map_measure = {
	.name = "measure",
	.what = "how large a new image would be",
	.tool = {
		.name = "qcow2-map measure",
		.operands = "IMAGE | --size=SIZE",
		.purpose = "Reckon how large a new image would be that holds "
			   "this disk.",
		.options = option_table,
	},
	.min = 0,
	.max = 1,
	.run = measure,
};
