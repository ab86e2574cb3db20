/*
 * inplace_judge.c - the reasons not to flatten a chain in place.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/err.h"
#include "dump/inplace.h"
#include "image/snaptable.h"

/* The first finding that says corrupt. */
struct first {
	const char *id;
	char text[120];
};

static void take_finding(void *ctx, const struct q2_finding *f)
{
	struct first *first = ctx;

	if (first->id || f->problem->severity != Q2_CORRUPT)
		return;
	first->id = f->problem->id;
	q2_finding_message(f, first->text, sizeof(first->text));
}

enum q2_status q2_inplace_check(struct q2_inplace *ip,
				const struct q2_changed *file,
				const char *path, uint64_t *end,
				struct q2_err *err)
{
	struct first first = {0};
	struct q2_check_opts opts = {.flags = ip->look_only ? 0 :
							      Q2_CHECK_DATA,
				     .max_memory = ip->opts->max_memory,
				     .found = take_finding,
				     .ctx = &first};
	struct q2_check_result r;
	struct q2_err why = {0};
	enum q2_status st = q2_check(file->io, &opts, &r, &why);

	*end = r.image_end_offset;
	if (st != Q2_OK)
		return q2_fail(err, st, why.sys_errno, why.offset,
			       "'%.100s': %s", path, why.text);
	if (first.id)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "'%.80s' is corrupt: %s: %s", path, first.id,
			       first.text);
	if (file->data && file->data->size < r.data_file_end)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "the data file of '%.80s' is cut off "
			       "(DATA_FILE_SHORT)", path);
	if (r.partial || r.verdict > Q2_LEAKS)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "'%.100s' cannot be checked", path);
	return Q2_OK;
}

/* Who else has the layer's files open. */
static enum q2_in_use use_of(const struct q2_layer *l)
{
	enum q2_in_use use = q2_io_in_use(l->io);
	enum q2_in_use data = l->data ? q2_io_in_use(l->data) : Q2_USE_NONE;

	return use == Q2_USE_WRITER || data == Q2_USE_NONE ? use : data;
}

static enum q2_status judge_layer(struct q2_inplace *ip, unsigned i,
				  struct q2_err *err)
{
	const struct q2_layer *l = ip->chain.layers[i];
	bool base = ip->opts->job == Q2_COMMIT && i == ip->base;
	bool lost = ip->opts->job == Q2_COMMIT && i < ip->base;
	struct q2_changed file = {.io = l->io, .data = l->data};
	enum q2_in_use use = Q2_USE_NONE;
	enum q2_status st;

	if (i == 0)
		file = ip->top_file;
	else if (base)
		file = ip->base_file;
	else if (!ip->look_only)
		use = use_of(l);
	if (use == Q2_USE_WRITER || (lost && use != Q2_USE_NONE))
		return q2_fail(err, Q2_E_IN_USE, 0, Q2_NO_OFFSET,
			       "'%.100s' is in use by another process",
			       l->path);
	if (l->raw && base)
		ip->base_file.end = file.io->size;
	if (l->raw)
		return Q2_OK;
	if (l->opened.header.incompatible & Q2_INCOMPAT_CORRUPT)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "'%.100s' is corrupt: CORRUPT_BIT is set",
			       l->path);
	st = q2_inplace_check(ip, &file, l->path, &file.end, err);
	if (i == 0)
		ip->top_file.end = file.end;
	else if (base)
		ip->base_file.end = file.end;
	return st;
}

enum q2_status q2_inplace_data_files(const struct q2_inplace *ip,
				     struct q2_err *err)
{
	for (unsigned i = 0; i < ip->chain.n; i++) {
		const struct q2_layer *l = ip->chain.layers[i];

		for (unsigned k = 0; k < ip->chain.n && l->data; k++) {
			const struct q2_layer *m = ip->chain.layers[k];

			if (q2_inplace_same(l->data, m->io) ||
			    (k != i && q2_inplace_same(l->data, m->data)))
				return q2_fail(err, Q2_E_REFUSED, 0,
					       Q2_NO_OFFSET,
					       "the data file of '%.80s' is "
					       "used by '%.80s', too", l->path,
					       m->path);
		}
	}
	return Q2_OK;
}

enum q2_status q2_inplace_plaintext(struct q2_inplace *ip, struct q2_err *err)
{
	unsigned to = ip->opts->job == Q2_COMMIT ? ip->base : 0;
	const struct q2_layer *target = ip->chain.layers[to];

	if (target->opened.img.geom.crypt ||
	    (ip->opts->flags & Q2_INPLACE_PLAINTEXT))
		return Q2_OK;
	for (unsigned i = 0; i < ip->chain.n; i++) {
		const struct q2_layer *l = ip->chain.layers[i];

		if (l->opened.img.geom.crypt)
			return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
				       "'%.80s' is encrypted, and '%.80s', "
				       "which is to get what it has, is not: "
				       "--plaintext allows that", l->path,
				       target->path);
	}
	return Q2_OK;
}

enum q2_status q2_inplace_judge(struct q2_inplace *ip, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (unsigned i = 0; i < ip->chain.n && st == Q2_OK; i++)
		st = judge_layer(ip, i, err);
	return st;
}

/* What is asked about a snapshot of one layer. */
struct asking {
	struct q2_inplace *ip;
	unsigned layer;
	struct q2_view *active; /* of the top image alone */
	struct q2_view *between; /* from under the layer to above the base */
};

/* Whether a snapshot of the top image that has nothing at [at, at + *len) would read
 * something else there afterwards. */
static enum q2_status top_changes(const struct asking *a, uint64_t at,
				  uint64_t *len, bool *yes,
				  struct q2_err *err)
{
	struct q2_inplace *ip = a->ip;
	bool commit = ip->opts->job == Q2_COMMIT;
	uint64_t base = ip->base < ip->chain.n ?
				ip->chain.layers[ip->base]->map.size : 0;
	enum q2_shows shows;
	enum q2_status st;

	if (commit && at < q2_view_size(a->active)) {
		*len = q2_min(*len, q2_view_size(a->active) - at);
		st = q2_view_at(a->active, at, len, &shows, err);
		*yes = st == Q2_OK && shows != Q2_SHOWS_BELOW;
		return st;
	}
	/* A commit to the next layer: all stays as it is. */
	if (commit && ip->base == 1)
		return Q2_OK;
	st = q2_view_at(a->between, at, len, &shows, err);
	if (st == Q2_OK)
		*yes = shows == Q2_SHOWS_DATA ||
		       (shows == Q2_SHOWS_ZEROS && at < base);
	return st;
}

/* The same for a layer between the top image and the base of a commit. */
static enum q2_status mid_changes(const struct asking *a, uint64_t at,
				  uint64_t *len, bool *yes,
				  struct q2_err *err)
{
	struct q2_view *upper = &a->ip->upper;
	enum q2_shows shows;
	enum q2_status st = q2_view_at(a->between, at, len, &shows, err);

	/* Nothing is committed past the end of the top image's disk. */
	if (st != Q2_OK || shows != Q2_SHOWS_BELOW ||
	    at >= q2_view_size(upper))
		return st;
	st = q2_view_at(upper, at, len, &shows, err);
	*yes = st == Q2_OK && shows != Q2_SHOWS_BELOW;
	return st;
}

static enum q2_status judge_snapshot(const struct asking *a,
				     const struct q2_snap *snap,
				     struct q2_err *err)
{
	const struct q2_layer *l = a->ip->chain.layers[a->layer];
	enum q2_status st;
	struct q2_map map;

	st = q2_map_open(&map, &l->opened.img, &snap->tree, NULL, err);
	for (uint64_t at = 0, len; at < map.size && st == Q2_OK; at += len) {
		struct q2_extent e;
		bool yes = false;

		q2_map_at(&map, at, map.size - at, &e);
		len = e.length;
		/* What cannot be read now may well be there again later. */
		if (e.kind == Q2_MAP_UNREADABLE)
			st = q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET,
				     "snapshot '%.40s' of '%.60s' cannot be "
				     "read at guest offset %llu",
				     snap->name, l->path,
				     (unsigned long long)at);
		if (e.kind != Q2_MAP_NONE)
			continue;
		st = a->layer ? mid_changes(a, at, &len, &yes, err) :
				top_changes(a, at, &len, &yes, err);
		if (yes)
			st = q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
				     "snapshot '%.40s' of '%.60s' reads its "
				     "backing file at guest offset %llu, where "
				     "it would find something else",
				     snap->name, l->path,
				     (unsigned long long)at);
	}
	q2_map_close(&map);
	return st;
}

static enum q2_status judge_layers_snapshots(struct q2_inplace *ip,
					     unsigned layer,
					     struct q2_view views[2],
					     struct q2_err *err)
{
	struct asking a = {ip, layer, &views[0], &views[1]};
	const struct q2_layer *l = ip->chain.layers[layer];
	struct q2_snaptable table = {0};
	enum q2_status st;

	if (l->raw || l->opened.img.geom.snapshots == 0)
		return Q2_OK;
	q2_view_init(&views[0], &ip->chain, &ip->keys, 0, 1);
	q2_view_init(&views[1], &ip->chain, &ip->keys, layer + 1, ip->base);
	st = q2_snaptable_read(&l->opened.img, &table, err);
	for (size_t i = 0; i < table.snaps.n && st == Q2_OK; i++)
		st = judge_snapshot(&a, &table.snaps.at[i], err);
	q2_snaptable_free(&table, &ip->budget);
	q2_view_free(&views[0]);
	q2_view_free(&views[1]);
	return st;
}

enum q2_status q2_inplace_snapshots(struct q2_inplace *ip, struct q2_err *err)
{
	unsigned n = ip->opts->job == Q2_COMMIT ? ip->base : 1;
	struct q2_view *views;
	enum q2_status st;
	void *block;

	st = q2_get(&ip->budget, 2 * sizeof(*views), &block, err);
	views = block;
	for (unsigned i = 0; i < n && st == Q2_OK; i++)
		st = judge_layers_snapshots(ip, i, views, err);
	q2_put(&ip->budget, block, 2 * sizeof(*views));
	return st;
}
