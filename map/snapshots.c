/*
 * snapshots.c - qcow2-map snapshots: what they cost, and how they differ.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

static const struct q2_cli_option option_table[] = {
	{"delete", 0, "NAMES",
	 "what deleting these snapshots together would free:\n"
	 "ids or names, separated by commas; may be given again",
	 Q2_CLI_LIST, AT(names), 0},
	{"delta", 0, "A,B",
	 "the guest ranges that two snapshots do not have from\n"
	 "the same place; one of them may be 'active'; or two\n"
	 "layers of a chain, by their paths or numbers",
	 Q2_CLI_TEXT, AT(delta), 0},
	{"chain", 0, NULL, "the layers of the chain instead of snapshots",
	 Q2_CLI_SET, AT(chain), 1},
	OPTIONS_ALLOW,
	{"output", 0, "text|json|html",
	 "the form; text is the default, html a page with a chart",
	 Q2_CLI_CHOICE, AT(output), 0},
	OPTIONS_USUAL,
	{0},
};

#define NOT_FOUND (SIZE_MAX - 1)

/* A snapshot's number by its id, or else by its name. */
static size_t find(const struct q2_survey *survey, const char *name)
{
	struct q2_snapshot_info info;

	for (size_t i = 0; q2_survey_snapshot(survey, i, &info); i++)
		if (strcmp(info.id, name) == 0)
			return i;
	for (size_t i = 0; q2_survey_snapshot(survey, i, &info); i++)
		if (strcmp(info.name, name) == 0)
			return i;
	return NOT_FOUND;
}

static void no_such(struct map *map, const char *name)
{
	map->status |= Q2_EXIT_FAILED;
	q2_cli_complain(map->tool, name, "there is no such snapshot");
}

/* ------------------------------------------------------------------- delta */
enum q2_status map_delta_range(void *ctx, uint64_t guest, uint64_t length)
{
	struct map_delta *d = ctx;
	struct q2_sink sink = map_stream(d->map);
	char text[128];
	struct q2_buf b;

	q2_buf_fix(&b, text, sizeof(text));
	if (d->json)
		q2_buf_format(&b, "%s\n    {\"start\": %llu, \"length\": %llu}",
			      d->n ? "," : "", (unsigned long long)guest,
			      (unsigned long long)length);
	else
		q2_buf_format(&b, "%#16llx %16llu\n",
			      (unsigned long long)guest,
			      (unsigned long long)length);
	d->n++;
	d->sum += length;
	return sink.write(sink.ctx, text, b.n) ? Q2_E_IO : Q2_OK;
}

static enum q2_status put(struct map *map, const struct q2_buf *b)
{
	struct q2_sink sink = map_stream(map);

	if (b->failed)
		return Q2_E_NOMEM;
	return sink.write(sink.ctx, b->at, b->n) ? Q2_E_IO : Q2_OK;
}

/* "A,B", where names may hold commas themselves. */
static bool split(struct map *map, const struct q2_survey *survey,
		  const char *text, size_t which[2])
{
	char *copy = strdup(text);
	bool found = false;

	for (char *comma = copy; copy && !found; *comma++ = ',') {
		comma = strchr(comma, ',');
		if (comma == NULL)
			break;
		*comma = '\0';
		which[0] = find(survey, copy);
		which[1] = find(survey, comma + 1);
		if (which[0] == NOT_FOUND && strcmp(copy, "active") == 0)
			which[0] = Q2_ACTIVE_DISK;
		if (which[1] == NOT_FOUND && strcmp(comma + 1, "active") == 0)
			which[1] = Q2_ACTIVE_DISK;
		found = which[0] != NOT_FOUND && which[1] != NOT_FOUND;
	}
	free(copy);
	if (!found)
		no_such(map, text);
	return found;
}

enum q2_status map_delta_begin(struct map *map, struct map_delta *d)
{
	struct q2_buf b = {0};
	enum q2_status st;

	*d = (struct map_delta){.map = map, .json = map->options->output == 1};
	if (d->json)
		q2_buf_text(&b, "{\n  \"schema\": 1,\n  \"differing\": [");
	else
		q2_buf_format(&b, "%16s %16s\n", "guest offset", "length");
	st = put(map, &b);
	q2_buf_free(&b);
	return st;
}

enum q2_status map_delta_end(struct map_delta *d)
{
	struct q2_buf b = {0};
	enum q2_status st;

	if (d->json)
		q2_buf_format(&b, "\n  ],\n  \"ranges\": %llu,\n"
			      "  \"bytes\": %llu\n}\n",
			      (unsigned long long)d->n,
			      (unsigned long long)d->sum);
	else
		q2_buf_format(&b, "%llu bytes in %llu ranges\n",
			      (unsigned long long)d->sum,
			      (unsigned long long)d->n);
	st = put(d->map, &b);
	q2_buf_free(&b);
	return st;
}

static enum q2_status show_delta(struct map *map, struct q2_survey *survey,
				 struct q2_err *err)
{
	struct map_delta d;
	size_t which[2];
	enum q2_status st;

	if (!split(map, survey, map->options->delta, which))
		return Q2_OK;
	st = map_delta_begin(map, &d);
	if (st == Q2_OK)
		st = q2_survey_delta(survey, which[0], which[1],
				     map_delta_range, &d, err);
	return st == Q2_OK ? map_delta_end(&d) : st;
}

/* ------------------------------------------------------------------- costs */
struct chosen {
	size_t *at;
	size_t n;
};

static bool choose(struct chosen *c, size_t which)
{
	size_t *at = realloc(c->at, (c->n + 1) * sizeof(*at));

	if (at == NULL)
		return false;
	c->at = at;
	for (size_t i = 0; i < c->n; i++)
		if (at[i] == which)
			return true;
	at[c->n++] = which;
	return true;
}

/* One --delete: a name, or several with commas between. */
static bool choose_all(struct map *map, const struct q2_survey *survey,
		       const char *text, struct chosen *c)
{
	size_t whole = find(survey, text);
	char *copy, *rest, *one;
	bool ok = true;

	if (whole != NOT_FOUND)
		return choose(c, whole);
	copy = rest = strdup(text);
	while (ok && (one = strsep(&rest, ",")) != NULL) {
		size_t which = find(survey, one);

		if (which == NOT_FOUND)
			no_such(map, one);
		ok = which != NOT_FOUND && choose(c, which);
	}
	free(copy);
	return ok;
}

static enum q2_status show_costs(struct map *map, struct q2_survey *survey,
				 const char *path, struct q2_err *err)
{
	static const enum q2_map_form forms[] = {Q2_MAP_TEXT, Q2_MAP_JSON,
						 Q2_MAP_HTML};
	const struct q2_cli_list *names = &map->options->names;
	struct q2_sink sink = map_stream(map);
	struct q2_snapshot_info info;
	struct chosen chosen = {0};
	struct q2_cost active, *costs;
	uint64_t together = 0;
	size_t n = 0;
	enum q2_status st;

	while (q2_survey_snapshot(survey, n, &info))
		n++;
	for (size_t i = 0; i < names->n; i++)
		if (!choose_all(map, survey, names->at[i], &chosen)) {
			free(chosen.at);
			return Q2_OK;
		}
	costs = calloc(n ? n : 1, sizeof(*costs));
	if (costs == NULL) {
		free(chosen.at);
		return Q2_E_NOMEM;
	}
	st = q2_survey_costs(survey, costs, n, &active, err);
	if (st == Q2_OK && chosen.n)
		st = q2_survey_delete(survey, chosen.at, chosen.n, &together,
				      err);
	if (st == Q2_OK)
		st = q2_costs_report(survey, path, costs, n, &active,
				     chosen.at, chosen.n, together,
				     forms[map->options->output], &sink);
	free(costs);
	free(chosen.at);
	return st;
}

static void snapshots(struct map *map, char *operands[])
{
	struct q2_err err = {0};
	struct q2_survey *survey;
	enum q2_status st;

	if (map->options->delta && map->options->names.n) {
		map->status = q2_cli_misuse(map->tool, "--delete and --delta "
					    "exclude each other", NULL);
		return;
	}
	if ((map->options->delta || map->options->chain) &&
	    map->options->output > 1) {
		map->status = q2_cli_misuse(map->tool, "there is no page of a "
					    "--delta, nor of a --chain", NULL);
		return;
	}
	if (map_allows_in_vain(map))
		return;
	if (map->options->chain) {
		if (map->options->names.n)
			map->status = q2_cli_misuse(map->tool, "layers cannot "
						    "be deleted", NULL);
		else
			map_layers(map, operands[0]);
		return;
	}
	survey = map_survey(map, operands[0]);
	if (survey == NULL)
		return;
	st = map->options->delta ?
		     show_delta(map, survey, &err) :
		     show_costs(map, survey, operands[0], &err);
	map_fail(map, operands[0], st, &err);
	q2_survey_close(survey);
}

const struct verb map_snapshots = {
	.name = "snapshots",
	.what = "what internal snapshots cost, and how they differ",
	.tool = {
		.name = "qcow2-map snapshots",
		.operands = "IMAGE",
		.purpose = "Show what an image's internal snapshots cost, and "
			   "what deleting\nthem would free; or the same of the "
			   "layers of its chain.",
		.options = option_table,
	},
	.min = 1,
	.max = 1,
	.run = snapshots,
};
