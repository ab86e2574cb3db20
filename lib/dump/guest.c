/*
 * guest.c - opening what a guest reads.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/guest.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "format/bitmap.h"
#include "format/ext.h"
#include "image/snaptable.h"
#include "io/target.h"

enum q2_status q2_guest_first(struct q2_guest *g, const struct q2_opened *layer,
			      uint8_t **bytes, struct q2_err *err)
{
	uint64_t cs = layer->img.geom.cluster_size;
	void *block;
	enum q2_status st = q2_get(&g->budget, cs, &block, err);

	*bytes = NULL;
	if (st != Q2_OK)
		return st;
	st = q2_pread_zero(layer->img.io, block, (size_t)cs, 0, err);
	if (st == Q2_OK)
		*bytes = block;
	else
		q2_put(&g->budget, block, cs);
	return st;
}

/* The extension of this type in a layer's first cluster; its data are copied. */
static enum q2_status find_ext(struct q2_guest *g,
			       const struct q2_opened *layer, uint32_t type,
			       uint8_t *data, size_t len, bool *found,
			       struct q2_err *err)
{
	uint64_t cs = layer->img.geom.cluster_size;
	struct q2_range area;
	struct q2_ext ext;
	uint8_t *bytes;
	enum q2_status st;

	*found = false;
	if (!q2_ext_area(&layer->header, cs, &area))
		return Q2_OK;
	st = q2_guest_first(g, layer, &bytes, err);
	if (st != Q2_OK)
		return st;
	if (q2_ext_find(bytes, area, type, &ext) && ext.data != NULL &&
	    ext.len >= len) {
		memcpy(data, ext.data, len);
		*found = true;
	}
	q2_put(&g->budget, bytes, cs);
	return Q2_OK;
}

static enum q2_status make_key(struct q2_guest *g,
			       const struct q2_guest_opts *o, unsigned i,
			       struct q2_err *err)
{
	enum q2_status st = q2_layer_key(g->chain.layers[i], i, o->secrets,
					 o->n_secrets, &g->keys[i], err);

	/* Refused for lack of it, which does not matter then. */
	if (st == Q2_E_REFUSED && o->no_data) {
		if (err)
			*err = (struct q2_err){0};
		return Q2_OK;
	}
	return st;
}

static enum q2_status show_snapshot(struct q2_guest *g, const char *name,
				    struct q2_err *err)
{
	struct q2_layer *top = g->chain.layers[0];
	struct q2_snaptable table = {0};
	const struct q2_snap *snap;
	enum q2_status st;

	if (top->raw)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "a raw image has no snapshots");
	st = q2_snaptable_read(&top->opened.img, &table, err);
	if (st == Q2_OK) {
		snap = q2_snaptable_find(&table, name);
		if (snap == NULL)
			st = q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
				     "there is no snapshot '%.100s'%s", name,
				     table.damaged ? " in what can be read of "
				     "the snapshot table" : "");
		else
			st = q2_chain_tree(&g->chain, &snap->tree, err);
	}
	q2_snaptable_free(&table, &g->budget);
	return st;
}

bool q2_guest_cut(const struct q2_guest *g, const struct q2_piece *p)
{
	const struct q2_layer *l = g->view.layers[p->depth];
	uint64_t mask, end;

	if (l->data == NULL)
		return false;
	/* The last cluster may be there in part. */
	mask = l->opened.img.geom.cluster_size - 1;
	end = q2_add_sat(l->data->size, mask) & ~mask;
	return p->e.host > end || p->e.length > end - p->e.host;
}

static enum q2_status show(struct q2_guest *g, const struct q2_guest_opts *o,
			   struct q2_err *err)
{
	g->view = g->chain;
	if (o->layer != Q2_ANY_LAYER) {
		if (o->layer >= g->chain.n)
			return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
				       "the chain has %u layers, counted from "
				       "0", g->chain.n);
		g->view.layers += o->layer;
		g->view.n = 1;
		g->view.cut = false;
	}
	g->size = q2_chain_size(&g->view);
	return Q2_OK;
}

/* Bitmaps that the header says to be there and valid. */
static enum q2_status count_bitmaps(struct q2_guest *g, struct q2_err *err)
{
	const struct q2_layer *top = g->chain.layers[0];
	uint8_t data[Q2_EXT_BITMAPS_LEN];
	bool found;
	enum q2_status st;

	if (top->raw || !(top->opened.header.autoclear & Q2_AUTOCLEAR_BITMAPS))
		return Q2_OK;
	st = find_ext(g, &top->opened, Q2_EXT_BITMAPS, data, sizeof(data),
		      &found, err);
	if (st == Q2_OK && found)
		g->bitmaps = q2_bitmaps_ext_parse(data).bitmaps;
	return st;
}

/* The first file that is asked for is there already; closing it does nothing. */
static enum q2_status open_given(void *ctx, const char *path, struct q2_io **io,
				 struct q2_err *err)
{
	struct q2_io **given = ctx;

	if (*given == NULL)
		return q2_io_open_file(path, io, err);
	*io = *given;
	*given = NULL;
	return Q2_OK;
}

static enum q2_status open_all(struct q2_guest *g, struct q2_io *io,
			       const char *path, const struct q2_guest_opts *o,
			       struct q2_err *err)
{
	static const enum q2_format formats[] = {
		[Q2_GUEST_QCOW2] = Q2_FORMAT_QCOW2,
		[Q2_GUEST_RAW] = Q2_FORMAT_RAW,
		[Q2_GUEST_PROBE] = Q2_FORMAT_PROBE,
	};
	struct q2_policy policy = {.backing = true,
				   .data_files = true,
				   .allow_probe = o->allow_probe,
				   .backing_format = o->backing_format,
				   .may_say_format = true,
				   .allow_any = o->allow_any,
				   .allow = o->allow,
				   .data_file = o->data_file,
				   .open = io ? open_given : NULL,
				   .ctx = &io};
	enum q2_status st;

	/* What lies below the layer asked for need not even be there. */
	if (o->layer != Q2_ANY_LAYER)
		policy.enough = o->layer + 1;
	g->budget.limit = o->max_memory;
	st = q2_chain_open(path, formats[o->format], &policy, &g->budget,
			   &g->chain, err);
	if (st != Q2_OK)
		return st;
	if (o->data_file && g->chain.layers[0]->data == NULL)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "'%.100s' has no external data file", path);
	g->keys = calloc(g->chain.n, sizeof(struct q2_key *));
	if (g->keys == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	/* Of a chain that is cut off nobody knows how many it should have. */
	if (o->layer == Q2_ANY_LAYER)
		st = q2_secrets_judge(o->secrets, o->n_secrets, g->chain.n,
				      err);
	for (unsigned i = 0; i < g->chain.n && st == Q2_OK; i++) {
		q2_map_holes(&g->chain.layers[i]->map, true);
		if (o->layer != Q2_ANY_LAYER && o->layer != i)
			continue;
		if (!o->salvage)
			st = q2_guest_sound(g, g->chain.layers[i], err);
		if (st == Q2_OK)
			st = make_key(g, o, i, err);
	}
	if (st == Q2_OK && o->snapshot)
		st = show_snapshot(g, o->snapshot, err);
	if (st == Q2_OK)
		st = count_bitmaps(g, err);
	return st == Q2_OK ? show(g, o, err) : st;
}

enum q2_status q2_guest_open(const char *path, const struct q2_guest_opts *opts,
			     struct q2_guest **guest, struct q2_err *err)
{
	return q2_guest_open_io(NULL, path, opts, guest, err);
}

enum q2_status q2_guest_open_io(struct q2_io *io, const char *path,
				const struct q2_guest_opts *opts,
				struct q2_guest **guest, struct q2_err *err)
{
	struct q2_guest *g = calloc(1, sizeof(*g));
	enum q2_status st;

	*guest = NULL;
	if (g == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	st = open_all(g, io, path, opts, err);
	if (st == Q2_OK)
		*guest = g;
	else
		q2_guest_close(g);
	return st;
}

void q2_guest_close(struct q2_guest *g)
{
	if (g == NULL)
		return;
	for (unsigned i = 0; g->keys != NULL && i < g->chain.n; i++)
		q2_key_free(g->keys[i]);
	free(g->keys);
	q2_chain_close(&g->chain);
	free(g);
}

uint64_t q2_guest_size(const struct q2_guest *g)
{
	return g->size;
}

const char *q2_guest_path(const struct q2_guest *g, uint32_t i)
{
	return i < g->chain.n ? g->chain.layers[i]->path : NULL;
}

uint32_t q2_guest_below(const struct q2_guest *g, const char *text)
{
	unsigned i = q2_chain_below(&g->chain, text, true);

	return i < g->chain.n ? i : 0;
}

static bool written(const struct q2_io *io)
{
	return io && q2_io_in_use(io) == Q2_USE_WRITER;
}

const char *q2_guest_written(const struct q2_guest *g)
{
	for (unsigned i = 0; i < g->view.n; i++) {
		const struct q2_layer *l = g->view.layers[i];

		if (written(l->io) || written(l->data))
			return l->path;
	}
	return NULL;
}

uint32_t q2_guest_bitmaps(const struct q2_guest *g)
{
	return g->bitmaps;
}

bool q2_guest_encrypted(const struct q2_guest *g)
{
	for (unsigned i = 0; i < g->view.n; i++)
		if (q2_guest_key(g, i) != NULL)
			return true;
	return false;
}

size_t q2_guest_cluster(const struct q2_guest *g)
{
	uint64_t largest = 0;

	for (unsigned i = 0; i < g->view.n; i++)
		largest = q2_max(largest,
			g->view.layers[i]->opened.img.geom.cluster_size);
	return (size_t)largest;
}

static bool is(const struct q2_io *io, uint64_t dev, uint64_t inode)
{
	uint64_t d, i;

	if (io == NULL)
		return false;
	if (q2_io_identity(io, &d, &i) && d == dev && i == inode)
		return true;
	/* A loop device is its file by another name. */
	return q2_io_shown(io, &d, &i) && d == dev && i == inode;
}

static bool has(const struct q2_guest *g, uint64_t dev, uint64_t inode)
{
	for (unsigned i = 0; i < g->chain.n; i++)
		if (is(g->chain.layers[i]->io, dev, inode) ||
		    is(g->chain.layers[i]->data, dev, inode))
			return true;
	return false;
}

bool q2_guest_reads(const struct q2_guest *g, const char *path)
{
	uint64_t dev, inode;

	return (q2_target_identity(path, &dev, &inode) && has(g, dev, inode)) ||
	       (q2_target_shown(path, &dev, &inode) && has(g, dev, inode));
}
