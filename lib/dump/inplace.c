/*
 * inplace.c - flattening a chain in place, from opening to the last check.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/inplace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/nbd.h"

enum q2_status q2_inplace_tick(struct q2_inplace *ip, const char *phase,
			       uint64_t done, uint64_t total,
			       struct q2_err *err)
{
	struct q2_progress p = {phase, done, total};

	do {
		if (ip->opts->progress &&
		    ip->opts->progress(ip->opts->ctx, &p))
			return q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
				       "interrupted");
	} while (q2_pace_wait(&ip->pace, ip->result->data));
	return Q2_OK;
}

static enum q2_status open_chain(struct q2_inplace *ip, const char *path,
				 struct q2_err *err)
{
	struct q2_policy policy = {
		.backing = true,
		.data_files = true,
		.allow_probe = ip->opts->flags & Q2_INPLACE_ALLOW_PROBE,
		.allow_any = ip->opts->flags & Q2_INPLACE_ALLOW_ANY,
		.allow = ip->opts->allow,
		.backing_format = ip->opts->backing_format,
		.data_file = ip->opts->data_file,
		.may_say_format = !ip->look_only,
		.open = ip->files->open,
		.ctx = ip->files->ctx,
	};
	enum q2_status st = q2_chain_open(path, Q2_FORMAT_QCOW2, &policy,
					  &ip->budget, &ip->chain, err);

	if (st == Q2_OK && policy.data_file && !ip->chain.layers[0]->data)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "'%.100s' has no external data file", path);
	/* What is absorbed from a hole need not be read to be zeros. */
	for (unsigned i = 1; st == Q2_OK && ip->opts->job == Q2_ABSORB &&
			     i < ip->chain.n; i++)
		q2_map_holes(&ip->chain.layers[i]->map, true);
	return st;
}

static enum q2_status open_rw(struct q2_inplace *ip, const char *path,
			      struct q2_io **io, struct q2_err *err)
{
	struct q2_err why = {0};
	enum q2_status st;

	if (q2_nbd_is_uri(path))
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "'%.100s': only files and devices can be "
			       "changed in place", path);
	st = ip->files->open_rw ?
		     ip->files->open_rw(ip->files->ctx, path, io, &why) :
		     q2_io_open_rw(path, io, &why);
	if (st == Q2_OK)
		return st;
	return q2_fail(err, st, why.sys_errno, why.offset, "'%.100s': %s",
		       path, why.text);
}

static enum q2_status find_base(struct q2_inplace *ip, struct q2_err *err)
{
	const char *want = ip->opts->base;
	bool commit = ip->opts->job == Q2_COMMIT;

	if (commit && ip->chain.n == 1)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "'%.100s' has no backing file",
			       ip->chain.layers[0]->path);
	if (want == NULL) {
		ip->base = commit ? 1 : ip->chain.n;
		return Q2_OK;
	}
	ip->base = q2_chain_below(&ip->chain, want, ip->files->open == NULL);
	if (ip->base < ip->chain.n)
		return Q2_OK;
	return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
		       "'%.100s' is not a layer below '%.80s'", want,
		       ip->chain.layers[0]->path);
}

/* The image of a layer, and its data file if it has one. */
static enum q2_status open_changed(struct q2_inplace *ip, unsigned i,
				   struct q2_changed *file, struct q2_err *err)
{
	const struct q2_layer *l = ip->chain.layers[i];
	enum q2_status st;

	if (ip->look_only) {
		*file = (struct q2_changed){.io = l->io, .data = l->data};
		return Q2_OK;
	}
	st = open_rw(ip, l->path, &file->io, err);
	if (st == Q2_OK && l->data)
		st = open_rw(ip, l->data_path, &file->data, err);
	return st;
}

/* The chain is opened again once its files are locked: what was read before may
 * have been changed by then. */
static enum q2_status open_files(struct q2_inplace *ip, const char *path,
				 struct q2_err *err)
{
	enum q2_status st = open_chain(ip, path, err);
	unsigned n = ip->chain.n;

	if (st == Q2_OK)
		st = find_base(ip, err);
	if (st == Q2_OK)
		st = q2_inplace_data_files(ip, err);
	if (st == Q2_OK)
		st = open_changed(ip, 0, &ip->top_file, err);
	if (st == Q2_OK && ip->opts->job == Q2_COMMIT)
		st = open_changed(ip, ip->base, &ip->base_file, err);
	if (st != Q2_OK || ip->look_only)
		return st;
	q2_chain_close(&ip->chain);
	st = open_chain(ip, path, err);
	if (st == Q2_OK && ip->chain.n != n)
		st = q2_fail(err, Q2_E_CHANGED, 0, Q2_NO_OFFSET,
			     "the chain has changed while it was opened");
	if (st == Q2_OK)
		st = q2_inplace_data_files(ip, err);
	return st == Q2_OK ? find_base(ip, err) : st;
}

struct q2_writer_opts q2_inplace_writing(const struct q2_inplace *ip,
					 unsigned i, struct q2_io *data)
{
	return (struct q2_writer_opts){
		.data = data, .veil = q2_keyring_veil(&ip->keys, i)};
}

static enum q2_status open_top(struct q2_inplace *ip, struct q2_err *err)
{
	struct q2_writer_opts opts = q2_inplace_writing(ip, 0,
							ip->top_file.data);
	const char *format;
	uint64_t size;
	enum q2_status st;
	char *name;

	opts.flags = Q2_WRITER_SAME_VIEW;
	if (ip->opts->job == Q2_ABSORB && ip->chain.n > 1)
		opts.below = &ip->below;
	st = q2_writer_open(ip->top_file.io, &ip->budget, &opts, &ip->top, err);
	if (st != Q2_OK || (ip->opts->job == Q2_COMMIT && ip->base == 1))
		return st;
	st = q2_inplace_name(ip, &name, &size, &format, err);
	if (st == Q2_OK)
		st = q2_write_backing(ip->top, name, format, true, err);
	q2_put(&ip->budget, name, size);
	return st;
}

enum q2_status q2_inplace_open_base(struct q2_inplace *ip, struct q2_io *io,
				    unsigned flags, struct q2_writer **out,
				    struct q2_err *err)
{
	struct q2_writer_opts opts = q2_inplace_writing(ip, ip->base,
							ip->base_file.data);

	opts.flags = flags;
	opts.below = ip->base + 1 < ip->chain.n ? &ip->below : NULL;
	if (ip->opts->flags & Q2_INPLACE_STALE_BITMAPS)
		opts.flags |= Q2_WRITER_STALE_BITMAPS;
	return q2_writer_open(io, &ip->budget, &opts, out, err);
}

static enum q2_status open_target(struct q2_inplace *ip, struct q2_err *err)
{
	if (ip->chain.layers[ip->base]->raw)
		return Q2_OK;
	return q2_inplace_open_base(ip, ip->base_file.io, 0, &ip->target, err);
}

static void set_views(struct q2_inplace *ip)
{
	bool commit = ip->opts->job == Q2_COMMIT;
	const struct q2_chain *c = &ip->chain;

	q2_view_init(&ip->upper, c, &ip->keys, commit ? 0 : 1, ip->base);
	q2_view_init(&ip->under, c, &ip->keys, commit ? ip->base + 1 : 1,
		     c->n);
	ip->below = (struct q2_below){q2_view_read, &ip->under,
				      q2_view_size(&ip->under)};
	/* Where a layer in between ends, the base would show through. */
	if (!commit && ip->base < c->n)
		ip->below.size = q2_max(ip->below.size,
					c->layers[ip->base]->map.size);
}

enum q2_status q2_inplace_open(struct q2_inplace *ip, const char *path,
			       struct q2_err *err)
{
	enum q2_status st;
	void *block;

	ip->budget.limit = ip->opts->max_memory;
	st = open_files(ip, path, err);
	if (st != Q2_OK)
		return st;
	set_views(ip);
	if (ip->base < ip->chain.n)
		snprintf(ip->cost->base, sizeof(ip->cost->base), "%s",
			 ip->chain.layers[ip->base]->path);
	st = q2_get(&ip->budget, Q2_INPLACE_BUF, &block, err);
	ip->buf = block;
	return st == Q2_OK ? q2_inplace_judge(ip, err) : st;
}

void q2_inplace_close(struct q2_inplace *ip)
{
	q2_writer_close(ip->top);
	q2_writer_close(ip->target);
	q2_view_free(&ip->upper);
	q2_view_free(&ip->under);
	/* It may hold what was encrypted. */
	if (ip->buf)
		explicit_bzero(ip->buf, Q2_INPLACE_BUF);
	q2_put(&ip->budget, ip->buf, Q2_INPLACE_BUF);
	q2_keyring_close(&ip->keys);
	q2_chain_close(&ip->chain);
	if (ip->look_only)
		return;
	q2_io_close(ip->top_file.io);
	q2_io_close(ip->top_file.data);
	q2_io_close(ip->base_file.io);
	q2_io_close(ip->base_file.data);
}

static enum q2_status prepare(struct q2_inplace *ip, const char *path,
			      struct q2_err *err)
{
	bool commit = ip->opts->job == Q2_COMMIT;
	enum q2_status st = q2_inplace_open(ip, path, err);

	if (st == Q2_OK)
		st = q2_inplace_siblings(ip, err);
	ip->result->nothing_to_do = !commit && (ip->base == 1 ||
						ip->chain.n == 1);
	if (st != Q2_OK || ip->result->nothing_to_do)
		return st;
	st = q2_inplace_plaintext(ip, err);
	if (st == Q2_OK)
		st = q2_keyring_open(&ip->keys, &ip->chain, ip->opts->secrets,
				     ip->opts->n_secrets, err);
	if (st == Q2_OK)
		st = q2_inplace_snapshots(ip, err);
	if (st == Q2_OK)
		st = open_top(ip, err);
	if (st == Q2_OK && commit)
		st = open_target(ip, err);
	if (st == Q2_OK)
		st = commit ? q2_commit_foresee(ip, err) :
			      q2_absorb_forecast(ip, err);
	return st;
}

static enum q2_status work(struct q2_inplace *ip, struct q2_err *err)
{
	bool commit = ip->opts->job == Q2_COMMIT;
	const struct q2_layer *base;
	uint64_t end;
	enum q2_status st;

	if (ip->result->nothing_to_do ||
	    (ip->opts->flags & Q2_INPLACE_DRY_RUN))
		return Q2_OK;
	q2_pace_start(&ip->pace, ip->opts->rate);
	st = commit ? q2_commit(ip, err) : q2_absorb(ip, err);
	if (st == Q2_OK)
		st = q2_inplace_check(ip, &ip->top_file,
				      ip->chain.layers[0]->path, &end, err);
	if (st != Q2_OK || !commit)
		return st;
	base = ip->chain.layers[ip->base];
	return base->raw ? Q2_OK :
			   q2_inplace_check(ip, &ip->base_file, base->path,
					    &end, err);
}

enum q2_status q2_inplace_run(const char *path,
			      const struct q2_inplace_opts *opts,
			      const struct q2_inplace_files *files,
			      struct q2_inplace_result *result,
			      struct q2_err *err)
{
	struct q2_inplace *ip = calloc(1, sizeof(*ip));
	struct q2_commit_cost *cost = calloc(1, sizeof(*cost));
	struct q2_err own = {0};
	enum q2_status st = Q2_E_NOMEM;

	memset(result, 0, sizeof(*result));
	err = err ? err : &own;
	if (ip == NULL || cost == NULL) {
		st = q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	} else {
		*ip = (struct q2_inplace){.opts = opts,
					  .files = files,
					  .result = result,
					  .cost = cost};
		st = prepare(ip, path, err);
		if (st == Q2_OK)
			st = work(ip, err);
		q2_inplace_close(ip);
	}
	free(cost);
	free(ip);
	return st;
}

enum q2_status q2_inplace(const char *path, const struct q2_inplace_opts *opts,
			  struct q2_inplace_result *result,
			  struct q2_err *err)
{
	static const struct q2_inplace_files system_files = {0};

	return q2_inplace_run(path, opts, &system_files, result, err);
}
