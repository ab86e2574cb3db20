/*
 * layers.c - qcow2-map snapshots --chain: what the layers of a chain hold.
 *
 * SPDX-License-Identifier: MIT
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

#define NO_LAYER SIZE_MAX

/* A layer by its number from the top, by the path that it was opened by, or by
 * another path of the same file. */
static size_t find(const struct q2_disk *disk, const char *name)
{
	struct q2_disk_layer layer;
	char *real, *other;
	size_t found = NO_LAYER;

	if (name[0] && strlen(name) < 5 &&
	    strspn(name, "0123456789") == strlen(name)) {
		unsigned long i = strtoul(name, NULL, 10);

		if (q2_disk_layer(disk, (uint32_t)i, &layer))
			return i;
	}
	real = realpath(name, NULL);
	for (uint32_t i = 0; found == NO_LAYER &&
			     q2_disk_layer(disk, i, &layer); i++) {
		other = real ? realpath(layer.path, NULL) : NULL;
		if (strcmp(layer.path, name) == 0 ||
		    (other && strcmp(real, other) == 0))
			found = i;
		free(other);
	}
	free(real);
	return found;
}

/* "A,B", where paths may hold commas themselves. */
static bool split(const struct q2_disk *disk, const char *text,
		  size_t which[2])
{
	char *copy = strdup(text);
	bool found = false;

	for (char *comma = copy; copy && !found; *comma++ = ',') {
		comma = strchr(comma, ',');
		if (comma == NULL)
			break;
		*comma = '\0';
		which[0] = find(disk, copy);
		which[1] = find(disk, comma + 1);
		found = which[0] != NO_LAYER && which[1] != NO_LAYER;
	}
	free(copy);
	return found;
}

static enum q2_status show_delta(struct map *map, struct q2_disk *disk,
				 struct q2_err *err)
{
	const char *text = map->options->delta;
	struct map_delta d;
	size_t which[2];
	enum q2_status st;

	if (!split(disk, text, which)) {
		map->status |= Q2_EXIT_FAILED;
		q2_cli_complain(map->tool, text, "there are no such layers");
		return Q2_OK;
	}
	st = map_delta_begin(map, &d);
	if (st == Q2_OK)
		st = q2_disk_delta(disk, which[0], which[1], map_delta_range,
				   &d, err);
	return st == Q2_OK ? map_delta_end(&d) : st;
}

/* What would come of merging a layer with the one below; NULL if that cannot be
 * done, which is no failure of ours. */
static struct q2_commit_cost *merging(struct map *map, const char *path)
{
	const struct options *o = map->options;
	const char *const *allow = o->allow.at;
	struct q2_inplace_opts opts = {.allow = allow,
				       .max_memory = o->max_memory,
				       .progress = map_tick,
				       .ctx = map};
	struct q2_commit_cost *cost = malloc(sizeof(*cost));
	struct q2_err err = {0};

	opts.flags |= o->allow_any ? Q2_INPLACE_ALLOW_ANY : 0u;
	opts.flags |= o->allow_probe ? Q2_INPLACE_ALLOW_PROBE : 0u;
	if (cost && q2_forecast_commit(path, &opts, cost, &err) == Q2_OK)
		return cost;
	if (err.code == Q2_E_INTERRUPTED)
		map->status |= Q2_EXIT_INTERRUPTED;
	free(cost);
	return NULL;
}

static enum q2_status show_costs(struct map *map, struct q2_disk *disk,
				 const char *path, struct q2_err *err)
{
	struct q2_sink sink = map_stream(map);
	struct q2_commit_cost **merges;
	struct q2_layer_cost *costs;
	struct q2_disk_layer layer;
	enum q2_status st = Q2_E_NOMEM;
	uint32_t n = 0;

	while (q2_disk_layer(disk, n, &layer))
		n++;
	costs = calloc(n, sizeof(*costs));
	merges = calloc(n, sizeof(struct q2_commit_cost *));
	if (costs && merges)
		st = q2_disk_layer_costs(disk, costs, n, map_tick, map, err);
	for (uint32_t i = 0; st == Q2_OK && i < n; i++) {
		if (costs[i].unreadable)
			map->status |= Q2_EXIT_PROBLEMS;
		if (i + 1 < n && q2_disk_layer(disk, i, &layer) &&
		    !(map->status & Q2_EXIT_INTERRUPTED))
			merges[i] = merging(map, layer.path);
	}
	q2_cli_progress_clear(&map->progress);
	if (st == Q2_OK && !(map->status & Q2_EXIT_INTERRUPTED))
		st = q2_layers_report(disk, path, costs, merges, n,
				      map->options->output ? Q2_DOC_JSON :
							     Q2_DOC_TEXT,
				      &sink);
	for (uint32_t i = 0; merges && i < n; i++)
		free(merges[i]);
	free(merges);
	free(costs);
	return st;
}

void map_layers(struct map *map, const char *path)
{
	struct q2_disk *disk = map_open(map, path);
	struct q2_err err = {0};
	enum q2_status st;

	if (disk == NULL)
		return;
	st = map->options->delta ? show_delta(map, disk, &err) :
				   show_costs(map, disk, path, &err);
	map_fail(map, path, st, &err);
	q2_disk_close(disk);
}
