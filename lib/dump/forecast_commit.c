/*
 * forecast_commit.c - what a commit will come to.
 *
 * SPDX-License-Identifier: MIT
 *
 * The commit is done on an overlay in memory that takes the tables and no data: so
 * each figure is what the real one will come to.  Should memory not suffice, there
 * is a bound, which is reckoned from the maps alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "dump/inplace.h"

#define BLOCK UINT64_C(4096) /* of file systems */

const char *q2_placed_text(enum q2_placed what)
{
	static const char *const names[] = {
		[Q2_PLACED_DATA] = "data",
		[Q2_PLACED_L2] = "l2-table",
		[Q2_PLACED_L1] = "l1-table",
		[Q2_PLACED_REFTABLE] = "refcount-table",
		[Q2_PLACED_REFBLOCK] = "refcount-block",
	};

	return what < Q2_PLACED_COUNT ? names[what] : "?";
}

static const struct q2_layer *base_of(const struct q2_inplace *ip)
{
	return ip->chain.layers[ip->base];
}

/* --------------------------------------------------------------- the bound */

/* Adds what of [at, at + len) is a hole in a raw file, or lies past its end, in
 * whole blocks, each once. */
static void cost_raw(struct q2_inplace *ip, struct q2_io *io, uint64_t at,
		     uint64_t len, uint64_t *sum)
{
	uint64_t end = q2_div_up(at + len, BLOCK) * BLOCK;

	at = q2_max(at / BLOCK * BLOCK, ip->counted);
	ip->counted = q2_max(ip->counted, end);
	while (at < end) {
		struct q2_range data = q2_io_data(io, at);

		if (data.len == 0 || data.start >= end) {
			*sum += end - at;
			return;
		}
		*sum += data.start > at ? data.start - at : 0;
		at = q2_end(data);
	}
}

/* Adds the clusters of [at, end) that the base does not have as its own, each
 * once. */
static void cost_clusters(struct q2_inplace *ip, const struct q2_geom *g,
			  uint64_t at, uint64_t end)
{
	struct q2_map *map = &ip->chain.layers[ip->base]->map;
	struct q2_io *data = ip->base_file.data;

	/* In a data file each has its place. */
	if (data && at < end) {
		at &= ~(g->cluster_size - 1);
		end = q2_div_up(end, g->cluster_size) << g->cluster_bits;
		if (!data->is_device)
			cost_raw(ip, data, at, end - at, &ip->apart);
		return;
	}
	while (at < end) {
		struct q2_extent e = {.length = end - at};
		uint64_t first, last;

		if (at < map->size)
			q2_map_at(map, at, end - at, &e);
		first = q2_max(at >> g->cluster_bits, ip->counted);
		last = (at + e.length - 1) >> g->cluster_bits;
		at += e.length;
		if (last < first || (!g->snapshots &&
				     (e.kind == Q2_MAP_DATA ||
				      e.kind == Q2_MAP_ZERO_ALLOC)))
			continue;
		ip->cost->bound += (last - first + 1) << g->cluster_bits;
		ip->counted = last + 1;
	}
}

/* Adds what a part costs at the most: clusters, and the L2 tables that may be
 * missing. */
static enum q2_status bound_part(struct q2_inplace *ip, uint64_t at,
				 uint64_t len, bool zeros, struct q2_err *err)
{
	const struct q2_geom *g;
	uint64_t end = at + len;
	uint64_t from, to;

	(void)err;
	if (zeros)
		ip->cost->zeros += len;
	else
		ip->cost->data += len;
	if (ip->target == NULL) {
		if (!zeros)
			cost_raw(ip, ip->base_file.io, at, len,
				 &ip->cost->bound);
		return Q2_OK;
	}
	g = q2_writer_geom(ip->target);
	from = q2_max(at >> g->cluster_bits >> g->l2_bits, ip->slots);
	to = ((end - 1) >> g->cluster_bits >> g->l2_bits) + 1;
	if (to > from) {
		ip->slots = to;
		ip->cost->bound += (to - from) << g->cluster_bits;
	}
	if (!zeros || g->version == 2) {
		cost_clusters(ip, g, at, end);
		return Q2_OK;
	}
	/* Whole clusters can say that they are zeros. */
	from = q2_min(end, q2_div_up(at, g->cluster_size) << g->cluster_bits);
	to = q2_max(from, end & ~(g->cluster_size - 1));
	cost_clusters(ip, g, at, from);
	cost_clusters(ip, g, to, end);
	return Q2_OK;
}

static enum q2_status find_bound(struct q2_inplace *ip, struct q2_err *err)
{
	struct q2_commit_cost *c = ip->cost;
	bool grows = q2_commit_size(ip) > q2_base_size(ip);
	enum q2_status st;

	ip->counted = ip->slots = ip->apart = 0;
	c->bound = c->data = c->zeros = 0;
	st = q2_commit_parts(ip, "looking", bound_part, err);
	if (st != Q2_OK)
		return st;
	if (ip->target && (c->bound || grows)) {
		const struct q2_geom *g = q2_writer_geom(ip->target);
		uint64_t clusters = c->bound >> g->cluster_bits;

		/* The L1 table may move; what shows through below the end of the
		 * disk becomes zeros. */
		if (grows) {
			uint64_t l1 = q2_l1_needed(q2_commit_size(ip),
						   g->cluster_bits,
						   1u << g->entry_bits);

			clusters += l1 * 8 / g->cluster_size + 2 + l1;
		}
		/* Where all has to be mapped, what is new is, too. */
		if (grows && g->raw_data)
			clusters += (q2_commit_size(ip) - g->disk_size) /
					    (g->cluster_size << g->l2_bits) + 1;
		c->bound = q2_inplace_counted(g, ip->base_file.end, clusters)
			   << g->cluster_bits;
	}
	if (grows && ip->base_file.data)
		ip->apart += BLOCK; /* the last byte */
	c->bound += ip->apart;
	if (ip->target == NULL && grows)
		c->bound += BLOCK; /* the last byte */
	return Q2_OK;
}

/* -------------------------------------------------------------- rehearsing */

static void take_counts(struct q2_inplace *ip, const struct q2_writer *w,
			uint64_t length)
{
	unsigned bits = q2_writer_geom(w)->cluster_bits;
	struct q2_commit_cost *c = ip->cost;
	struct q2_writer_counts n;

	q2_writer_counts(w, &n);
	c->overwritten = n.overwritten << bits;
	c->freed = n.freed << bits;
	c->end_after = n.end << bits;
	for (unsigned i = 0; i < Q2_PLACED_COUNT; i++) {
		c->inside[i] = n.inside[i] << bits;
		c->behind[i] = n.behind[i] << bits;
	}
	c->disk_after = q2_writer_geom(w)->disk_size;
	c->length_after = c->device ? c->length_before : length;
	c->needed = q2_inplace_growth(ip, w, c->device ? c->end_before :
							 UINT64_MAX,
				      c->length_before, length);
	c->exact = true;
}

/* Commits to an overlay over the base. */
static enum q2_status rehearse(struct q2_inplace *ip, bool ample,
			       struct q2_err *err)
{
	struct q2_writer *real = ip->target, *w = NULL;
	struct q2_inplace_result sums = *ip->result;
	struct q2_io *io = NULL;
	enum q2_status st = q2_inplace_overlay(ip, ip->base_file.io,
					       ip->cost->end_before, ample,
					       &io, err);

	if (st == Q2_OK)
		st = q2_inplace_open_base(ip, io, Q2_WRITER_REHEARSAL |
						  Q2_WRITER_STALE_BITMAPS,
					  &w, err);
	if (st == Q2_OK) {
		ip->target = w;
		ip->rehearsing = true;
		st = q2_commit_base(ip, "rehearsing", err);
		ip->rehearsing = false;
		ip->target = real;
	}
	if (st == Q2_OK)
		take_counts(ip, w, io->size);
	*ip->result = sums;
	q2_writer_close(w);
	q2_io_close(io);
	return st;
}

static void foresee_raw(struct q2_inplace *ip)
{
	struct q2_commit_cost *c = ip->cost;
	uint64_t size = q2_commit_size(ip);

	c->exact = true;
	c->disk_after = q2_max(c->disk_before, size);
	c->length_after = c->end_after = q2_max(c->length_before, size);
	c->needed = c->device ? 0 : c->bound;
	if (c->device)
		c->bound = 0;
}

static void begin(struct q2_inplace *ip)
{
	const struct q2_layer *base = base_of(ip);
	struct q2_commit_cost *c = ip->cost;

	c->raw = base->raw;
	c->device = ip->base_file.io->is_device;
	c->cluster_size = base->opened.img.geom.cluster_size;
	c->disk_before = base->map.size;
	c->length_before = ip->base_file.io->size;
	c->end_before = c->raw ? ip->base_file.io->size : ip->base_file.end;
	c->available = UINT64_MAX;
}

/* Says what is needed, and refuses if there is no room for it. */
static enum q2_status find_room(struct q2_inplace *ip, struct q2_err *err)
{
	struct q2_commit_cost *c = ip->cost;
	uint64_t *needed = &ip->result->needed;

	*needed = c->exact ? c->needed : c->bound;
	if (!c->exact)
		*needed += q2_inplace_slack(ip->base_file.io, c->cluster_size,
					    c->bound / c->cluster_size);
	/* What is written in place may fill holes. */
	if (!c->exact && ip->base_file.io->stored < ip->base_file.io->size)
		*needed += c->data;
	if (*needed == 0 && !ip->look_only)
		return Q2_OK;
	return q2_inplace_room(ip, &ip->base_file, ip->base, *needed, c->exact,
			       err);
}

enum q2_status q2_commit_foresee(struct q2_inplace *ip, struct q2_err *err)
{
	struct q2_commit_cost *c = ip->cost;
	bool ample = ip->look_only;
	struct q2_err why = {0};
	enum q2_status st = q2_commit_may_grow(ip, err);

	begin(ip);
	if (st == Q2_OK)
		st = find_bound(ip, err);
	if (st != Q2_OK)
		return st;
	if (c->raw) {
		foresee_raw(ip);
		return find_room(ip, err);
	}
	for (;; ample = true) {
		st = rehearse(ip, ample, &why);
		if (st == Q2_OK || st == Q2_E_BUDGET) {
			why = (struct q2_err){0};
			st = find_room(ip, &why);
		}
		/* Where the bound is too much, memory is worth it. */
		if (st == Q2_OK || ample || c->exact ||
		    why.sys_errno != ENOSPC)
			break;
		why = (struct q2_err){0};
	}
	return st == Q2_OK ? st : q2_fail(err, st, why.sys_errno, why.offset,
					  "%s", why.text);
}

/* ------------------------------------------------------- without any change */

static void object(struct q2_commit_cost *c, const char *text)
{
	if (c->objection[0] == '\0')
		snprintf(c->objection, sizeof(c->objection), "%s", text);
}

/* What the top image comes to when it is emptied. */
static enum q2_status foresee_top(struct q2_inplace *ip, struct q2_err *err)
{
	struct q2_writer_opts opts = q2_inplace_writing(ip, 0,
							ip->top_file.data);
	struct q2_io *base = ip->chain.layers[0]->io, *io = NULL;
	struct q2_writer *w = NULL;
	enum q2_status st = q2_io_overlay(base, &ip->budget, &io, err);

	opts.flags = Q2_WRITER_SAME_VIEW | Q2_WRITER_REHEARSAL;
	ip->cost->top_before = ip->cost->top_after = base->size;
	if (st == Q2_OK)
		st = q2_writer_open(io, &ip->budget, &opts, &w, err);
	if (st == Q2_OK && !(ip->opts->flags & Q2_INPLACE_KEEP)) {
		st = q2_write_empty(w, err);
		if (st == Q2_OK)
			st = q2_write_shrink(w, err);
		if (st == Q2_OK)
			ip->cost->top_after = io->size;
	}
	q2_writer_close(w);
	q2_io_close(io);
	return st;
}

/* The reasons to refuse that do not stand in the way of a forecast. */
static enum q2_status listen(struct q2_inplace *ip,
			     enum q2_status (*step)(struct q2_inplace *ip,
						    struct q2_err *err),
			     struct q2_err *err)
{
	struct q2_err why = {0};
	enum q2_status st = step(ip, &why);

	if (st == Q2_E_REFUSED || st == Q2_E_UNSUPPORTED ||
	    st == Q2_E_FORMAT) {
		object(ip->cost, why.text);
		return Q2_OK;
	}
	if (st == Q2_E_BUDGET)
		return Q2_OK;
	return st == Q2_OK ? st : q2_fail(err, st, why.sys_errno, why.offset,
					  "%s", why.text);
}

/* The writer that only says what the disk of the base is like. */
static enum q2_status open_look(struct q2_inplace *ip, struct q2_io *io,
				struct q2_err *err)
{
	struct q2_err why = {0};
	enum q2_status st = q2_inplace_open_base(ip, io, Q2_WRITER_REHEARSAL,
						 &ip->target, &why);

	if (st == Q2_E_UNSUPPORTED) {
		object(ip->cost, why.text);
		return q2_inplace_open_base(ip, io, Q2_WRITER_REHEARSAL |
						    Q2_WRITER_STALE_BITMAPS,
					    &ip->target, err);
	}
	return st == Q2_OK ? st : q2_fail(err, st, why.sys_errno, why.offset,
					  "%s", why.text);
}

static void hear_users(struct q2_inplace *ip)
{
	char text[200];

	for (unsigned i = 0; i < ip->chain.n; i++) {
		const struct q2_layer *l = ip->chain.layers[i];
		enum q2_in_use use = q2_io_in_use(l->io);

		if (use == Q2_USE_NONE ||
		    (i > ip->base && use == Q2_USE_READER))
			continue;
		snprintf(text, sizeof(text),
			 "'%.100s' is in use by another process", l->path);
		object(ip->cost, text);
	}
}

static enum q2_status look(struct q2_inplace *ip, const char *path,
			   struct q2_err *err)
{
	struct q2_io *io = NULL;
	enum q2_status st = q2_inplace_open(ip, path, err);

	if (st != Q2_OK)
		return st;
	hear_users(ip);
	st = listen(ip, q2_inplace_snapshots, err);
	if (st == Q2_OK)
		st = listen(ip, foresee_top, err);
	if (st == Q2_OK && !base_of(ip)->raw) {
		st = q2_io_overlay(ip->base_file.io, &ip->budget, &io, err);
		if (st == Q2_OK)
			st = open_look(ip, io, err);
	}
	if (st == Q2_OK)
		st = q2_commit_foresee(ip, err);
	ip->cost->available = ip->result->available;
	/* Its io goes first. */
	q2_writer_close(ip->target);
	ip->target = NULL;
	q2_io_close(io);
	return st;
}

enum q2_status q2_forecast_commit(const char *path,
				  const struct q2_inplace_opts *opts,
				  struct q2_commit_cost *cost,
				  struct q2_err *err)
{
	static const struct q2_inplace_files system_files = {0};
	struct q2_inplace *ip = calloc(1, sizeof(*ip));
	struct q2_inplace_opts own = *opts;
	struct q2_inplace_result result = {0};
	struct q2_err mine = {0};
	enum q2_status st;

	memset(cost, 0, sizeof(*cost));
	err = err ? err : &mine;
	if (ip == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	own.job = Q2_COMMIT;
	own.siblings = NULL;
	own.available = 0;
	*ip = (struct q2_inplace){.opts = &own,
				  .files = &system_files,
				  .result = &result,
				  .look_only = true,
				  .cost = cost};
	st = look(ip, path, err);
	q2_inplace_close(ip);
	free(ip);
	return st;
}
