/*
 * chain.c - the layers of a chain, and the guest's disk through all of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "image/allow.h"
#include "image/naming.h"
#include "image/resolve.h"
#include "io/nbd.h"

struct opening {
	const struct q2_policy *policy;
	struct q2_chain *chain;
	struct q2_allowed allowed;
	struct q2_err *err;
};

static void free_text(struct q2_budget *b, char *text)
{
	if (text)
		q2_put(b, text, strlen(text) + 1);
}

static void layer_free(struct q2_budget *b, struct q2_layer *layer)
{
	q2_map_close(&layer->map);
	q2_io_close(layer->data);
	q2_io_close(layer->io);
	free_text(b, layer->path);
	free_text(b, layer->data_path);
	q2_put(b, layer, sizeof(*layer));
}

void q2_chain_close(struct q2_chain *chain)
{
	for (unsigned i = 0; i < chain->n; i++)
		layer_free(chain->budget, chain->layers[i]);
	if (chain->layers)
		q2_put(chain->budget, chain->layers,
		       (Q2_CHAIN_MAX + 1) * sizeof(struct q2_layer *));
	*chain = (struct q2_chain){0};
}

/* Puts the name of the file before the cause. */
static enum q2_status blame(struct opening *o, enum q2_status st,
			    const struct q2_err *why, const char *what,
			    const char *name)
{
	return q2_fail(o->err, st, why->sys_errno, why->offset, "%s '%.100s': %s",
		       what, name,
		       why->code ? why->text : q2_status_text(st));
}

static enum q2_status open_io(struct opening *o, const char *path,
			      struct q2_io **io, struct q2_err *why)
{
	const struct q2_policy *p = o->policy;

	*io = NULL;
	return p->open ? p->open(p->ctx, path, io, why) :
			 q2_io_open(path, io, why);
}

/* Opens a place that an image names, if that is allowed. */
static enum q2_status open_place(struct opening *o, const char *path,
				 bool server, struct q2_io **io,
				 struct q2_err *why)
{
	enum q2_status st = server ? q2_allowed_server(&o->allowed, path, why) :
				     q2_allowed(&o->allowed, path, why);

	if (st != Q2_OK || o->policy->open)
		return st == Q2_OK ? open_io(o, path, io, why) : st;
	return server ? q2_nbd_open(path, Q2_NBD_NO_FILES, io, why) :
			q2_io_open_file(path, io, why);
}

/* A place that an image names: *path is to be freed. */
static enum q2_status open_named(struct opening *o, const char *overlay,
				 const struct q2_place *place,
				 const char *what, char **path,
				 struct q2_io **io)
{
	struct q2_budget *b = o->chain->budget;
	bool from_cwd = place->from_cwd || place->server;
	struct q2_err why = {0};
	uint64_t size;
	enum q2_status st;

	*path = NULL;
	*io = NULL;
	if (!from_cwd && q2_nbd_is_uri(overlay))
		return q2_fail(o->err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "%s '%.100s': it would be beside an image that "
			       "is on a server", what, place->path);
	st = q2_path_beside(overlay, place->path, from_cwd, b, path, &size,
			    o->err);
	if (st != Q2_OK)
		return st;
	st = open_place(o, *path, place->server, io, &why);
	if (st == Q2_OK)
		return st;
	(void)blame(o, st, &why, what, *path);
	free_text(b, *path);
	*path = NULL;
	return st;
}

static bool same_file(const struct q2_layer *a, const struct q2_layer *b)
{
	uint64_t dev[2], inode[2];

	if (q2_io_identity(a->io, &dev[0], &inode[0]) &&
	    q2_io_identity(b->io, &dev[1], &inode[1]))
		return dev[0] == dev[1] && inode[0] == inode[1];
	return strcmp(a->path, b->path) == 0;
}

/* Takes `io` and `path`, also on failure. */
static enum q2_status push(struct opening *o, struct q2_io *io, char *path,
			   struct q2_layer **out)
{
	struct q2_chain *c = o->chain;
	struct q2_layer *layer;
	enum q2_status st;
	void *block;

	st = q2_get(c->budget, sizeof(*layer), &block, o->err);
	if (st != Q2_OK) {
		q2_io_close(io);
		free_text(c->budget, path);
		return st;
	}
	layer = block;
	layer->io = io;
	layer->path = path;
	for (unsigned i = 0; i < c->n && st == Q2_OK; i++)
		if (same_file(c->layers[i], layer))
			st = q2_fail(o->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
				     "backing file '%.100s': the chain is a "
				     "loop", path);
	if (st != Q2_OK) {
		layer_free(c->budget, layer);
		return st;
	}
	c->layers[c->n++] = layer;
	*out = layer;
	return Q2_OK;
}

static enum q2_status open_data_file(struct opening *o, struct q2_layer *layer)
{
	const char *given = o->chain->n == 1 ? o->policy->data_file : NULL;
	const char *name = given ? given : layer->opened.names.data_file;
	struct q2_place place;
	struct q2_err why = {0};
	enum q2_status st;
	uint64_t size;

	if (name[0] == '\0')
		return q2_fail(o->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "'%.100s' has a data file, but does not name it",
			       layer->path);
	st = given ? q2_resolve_given(name, &place, &why) :
		     q2_resolve_data(name, &place, &why);
	if (st == Q2_OK && place.format && strcmp(place.format, "raw") != 0)
		st = q2_fail(&why, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			     "a data file is raw, which this is said not to be");
	if (st == Q2_OK && given)
		st = open_io(o, place.path, &layer->data, &why);
	if (st != Q2_OK)
		return blame(o, st, &why, "data file", name);
	if (given)
		return q2_path_beside("", place.path, true, o->chain->budget,
				      &layer->data_path, &size, o->err);
	return open_named(o, "", &place, "data file", &layer->data_path,
			  &layer->data);
}

/* Without the data file its holes are not known, and all else is. */
static enum q2_status try_data_file(struct opening *o, struct q2_layer *layer)
{
	enum q2_status st = open_data_file(o, layer);

	if (st == Q2_E_NOMEM || st == Q2_E_BUDGET || st == Q2_E_INTERRUPTED)
		return st;
	if (st != Q2_OK && o->err)
		*o->err = (struct q2_err){0};
	return Q2_OK;
}

static enum q2_status start_qcow2(struct opening *o, struct q2_layer *layer)
{
	struct q2_budget *b = o->chain->budget;
	struct q2_err why = {0};
	enum q2_status st = q2_image_open(layer->io, b, &layer->opened, &why);

	if (st != Q2_OK)
		return blame(o, st, &why, "image", layer->path);
	if (layer->opened.img.geom.data_file && o->policy->data_files)
		st = open_data_file(o, layer);
	else if (layer->opened.img.geom.data_file && o->policy->data_if_any)
		st = try_data_file(o, layer);
	if (st != Q2_OK)
		return st;
	return q2_map_open(&layer->map, &layer->opened.img,
			   &layer->opened.active, layer->data, o->err);
}

static enum q2_status start(struct opening *o, struct q2_layer *layer,
			    enum q2_format format)
{
	struct q2_err why = {0};
	enum q2_status st = Q2_OK;
	bool qcow2 = format == Q2_FORMAT_QCOW2;

	/* Not to be readable is no sign of being raw. */
	if (format == Q2_FORMAT_PROBE)
		st = q2_image_probe(layer->io, &qcow2, &why);
	if (st != Q2_OK)
		return blame(o, st, &why, "image", layer->path);
	layer->raw = !qcow2;
	if (!layer->raw)
		return start_qcow2(o, layer);
	q2_map_open_raw(&layer->map, layer->io);
	return Q2_OK;
}

static bool means_raw(const char *format)
{
	static const char *const raw[] = {"raw", "file", "host_device"};

	for (size_t i = 0; i < sizeof(raw) / sizeof(*raw); i++)
		if (strcmp(format, raw[i]) == 0)
			return true;
	return false;
}

/* A file is never taken for more than its overlay says it is.  `said`: by the name
 * itself, or NULL. */
static enum q2_status stated_format(struct opening *o, const char *format,
				    const char *said, const char *name,
				    enum q2_format *out)
{
	*out = Q2_FORMAT_PROBE;
	if (said && format[0] &&
	    strcmp(said, means_raw(format) ? "raw" : format) != 0)
		return q2_fail(o->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "backing file '%.100s': the header says that it "
			       "is %.15s, its name %s", name, format, said);
	if (said)
		format = said;
	if (format[0] == '\0' && o->policy->backing_format)
		format = o->policy->backing_format;
	if (format[0] == '\0') {
		if (o->policy->allow_probe)
			return Q2_OK;
		return q2_fail(o->err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
			       "backing file '%.100s': no format is stated; %s"
			       "--allow-probe has its content decide", name,
			       o->policy->may_say_format ?
				       "--backing-format tells it, or " : "");
	}
	*out = Q2_FORMAT_QCOW2;
	if (strcmp(format, "qcow2") == 0)
		return Q2_OK;
	*out = Q2_FORMAT_RAW;
	if (means_raw(format))
		return Q2_OK;
	return q2_fail(o->err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
		       "backing file '%.100s': the format '%s' is not "
		       "supported", name, format);
}

/* Opens what the last layer names; *more is false if it names nothing. */
static enum q2_status follow(struct opening *o, bool *more)
{
	struct q2_layer *above = o->chain->layers[o->chain->n - 1];
	const struct q2_names *names = &above->opened.names;
	unsigned max = o->policy->max_layers;
	struct q2_err why = {0};
	struct q2_layer *layer;
	struct q2_place place;
	enum q2_format format;
	enum q2_status st;
	struct q2_io *io;
	char *path;

	*more = false;
	if (above->raw || (names->backing[0] == '\0' && !names->backing_bad))
		return Q2_OK;
	if (!o->policy->backing) {
		o->chain->cut = true;
		return Q2_OK;
	}
	if (names->backing_bad)
		return q2_fail(o->err, Q2_E_FORMAT, 0, 8,
			       "image '%.100s': the backing file's name is out "
			       "of range", above->path);
	if (o->chain->n >= (max && max < Q2_CHAIN_MAX ? max : Q2_CHAIN_MAX))
		return q2_fail(o->err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "backing file '%.100s': the chain has more than "
			       "%u layers", names->backing, o->chain->n);
	st = q2_resolve(names->backing, &place, &why);
	if (st != Q2_OK)
		return blame(o, st, &why, "backing file", names->backing);
	st = stated_format(o, names->format, place.format, names->backing,
			   &format);
	if (st != Q2_OK)
		return st;
	st = open_named(o, above->path, &place, "backing file", &path, &io);
	if (st != Q2_OK)
		return st;
	st = push(o, io, path, &layer);
	*more = st == Q2_OK;
	return st == Q2_OK ? start(o, layer, format) : st;
}

static enum q2_status open_top(struct opening *o, const char *path,
			       enum q2_format format)
{
	struct q2_err why = {0};
	struct q2_layer *layer;
	struct q2_io *io;
	enum q2_status st;
	uint64_t size;
	char *copy;

	st = q2_path_beside("", path, true, o->chain->budget, &copy, &size,
			    o->err);
	if (st != Q2_OK)
		return st;
	st = open_io(o, path, &io, &why);
	if (st != Q2_OK) {
		free_text(o->chain->budget, copy);
		return q2_fail(o->err, st, why.sys_errno, why.offset, "%s",
			       why.code ? why.text : q2_status_text(st));
	}
	st = push(o, io, copy, &layer);
	return st == Q2_OK ? start(o, layer, format) : st;
}

/* Where the layers there are will do, the chain ends with them. */
static bool will_do(const struct opening *o, unsigned had, enum q2_status st)
{
	struct q2_chain *c = o->chain;

	if (!o->policy->enough || had < o->policy->enough ||
	    st == Q2_E_NOMEM || st == Q2_E_BUDGET || st == Q2_E_INTERRUPTED)
		return false;
	while (c->n > had)
		layer_free(c->budget, c->layers[--c->n]);
	c->cut = true;
	if (o->err)
		*o->err = (struct q2_err){0};
	return true;
}

enum q2_status q2_chain_open(const char *path, enum q2_format format,
			     const struct q2_policy *policy,
			     struct q2_budget *budget, struct q2_chain *chain,
			     struct q2_err *err)
{
	struct opening o = {.policy = policy, .chain = chain, .err = err};
	struct q2_place place;
	bool more = true;
	enum q2_status st;
	void *block;

	*chain = (struct q2_chain){.budget = budget};
	st = q2_resolve_given(path, &place, err);
	if (st != Q2_OK)
		return st;
	if (place.format)
		format = means_raw(place.format) ? Q2_FORMAT_RAW :
						   Q2_FORMAT_QCOW2;
	st = q2_get(budget, (Q2_CHAIN_MAX + 1) * sizeof(struct q2_layer *),
		    &block, err);
	if (st != Q2_OK)
		return st;
	chain->layers = block;
	q2_allowed_init(&o.allowed, policy->allow, policy->allow_any,
			policy->open != NULL, place.path);
	st = open_top(&o, place.path, format);
	while (st == Q2_OK && more) {
		unsigned had = chain->n;

		st = follow(&o, &more);
		if (st != Q2_OK && will_do(&o, had, st)) {
			st = Q2_OK;
			more = false;
		}
	}
	q2_allowed_free(&o.allowed);
	if (st != Q2_OK)
		q2_chain_close(chain);
	return st;
}

enum q2_status q2_chain_tree(struct q2_chain *chain,
			     const struct q2_tree *tree, struct q2_err *err)
{
	struct q2_layer *top = chain->layers[0];
	bool probe = top->map.probe;
	struct q2_map map;
	enum q2_status st;

	if (top->raw)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "a raw image has no snapshots");
	st = q2_map_open(&map, &top->opened.img, tree, top->data, err);
	if (st != Q2_OK)
		return st;
	q2_map_close(&top->map);
	top->map = map;
	q2_map_holes(&top->map, probe);
	return Q2_OK;
}

void q2_chain_at(struct q2_chain *chain, uint64_t guest, uint64_t length,
		 struct q2_piece *out)
{
	unsigned depth = 0;

	for (;;) {
		q2_map_at(&chain->layers[depth]->map, guest, length, &out->e);
		out->depth = depth;
		length = out->e.length;
		depth++;
		if (out->e.kind != Q2_MAP_NONE || depth == chain->n ||
		    guest >= chain->layers[depth]->map.size)
			return;
	}
}

/* Whether the layer is the file at `path`. */
static bool is_file(const struct q2_layer *layer, const char *path)
{
	uint64_t dev[2], inode[2];
	struct q2_io *io;
	bool same;

	if (q2_io_open(path, &io, NULL) != Q2_OK)
		return false;
	same = q2_io_identity(io, &dev[0], &inode[0]) &&
	       q2_io_identity(layer->io, &dev[1], &inode[1]) &&
	       dev[0] == dev[1] && inode[0] == inode[1];
	q2_io_close(io);
	return same;
}

unsigned q2_chain_below(const struct q2_chain *chain, const char *text,
			bool look)
{
	unsigned i = 1;

	if (text[0] && strspn(text, "0123456789") == strlen(text)) {
		unsigned long n = strtoul(text, NULL, 10);

		if (n > 0 && n < chain->n)
			return (unsigned)n;
	}
	while (i < chain->n && strcmp(chain->layers[i]->path, text) != 0 &&
	       !(look && is_file(chain->layers[i], text)))
		i++;
	return i;
}

enum q2_status q2_chain_walk(struct q2_chain *chain, uint64_t guest,
			     uint64_t length,
			     enum q2_status (*take)(void *ctx,
						    const struct q2_piece *p),
			     void *ctx)
{
	uint64_t end = q2_min(q2_add_sat(guest, length), q2_chain_size(chain));
	enum q2_status st = Q2_OK;
	struct q2_piece p;

	while (guest < end && st == Q2_OK) {
		q2_chain_at(chain, guest, end - guest, &p);
		st = take(ctx, &p);
		guest += p.e.length;
	}
	return st;
}
