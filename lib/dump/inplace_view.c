/*
 * inplace_view.c - what some layers of a chain show, and their bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/err.h"
#include "dump/inplace.h"

void q2_view_init(struct q2_view *v, const struct q2_chain *chain,
		  const struct q2_keyring *keys, unsigned from, unsigned to)
{
	memset(v, 0, sizeof(*v));
	v->keys = keys;
	v->from = from;
	v->part = *chain;
	v->part.layers = chain->layers + from;
	v->part.n = to - from;
	v->part.cut = chain->cut && to == chain->n;
	v->limit = UINT64_MAX;
	for (unsigned i = from; i < to; i++)
		v->limit = q2_min(v->limit, chain->layers[i]->map.size);
}

void q2_view_free(struct q2_view *v)
{
	for (unsigned i = 0; i < v->part.n; i++)
		q2_inflate_free(v->inflate[i]);
}

uint64_t q2_view_size(const struct q2_view *v)
{
	return v->part.n ? q2_chain_size(&v->part) : 0;
}

static enum q2_status unreadable(const struct q2_view *v,
				 const struct q2_piece *p, struct q2_err *err)
{
	return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
		       "'%.120s' cannot be read at guest offset %llu",
		       v->part.layers[p->depth]->path,
		       (unsigned long long)p->e.guest);
}

static bool encrypted(const struct q2_view *v, unsigned depth)
{
	return v->part.layers[depth]->opened.img.geom.crypt != 0;
}

/* Data of a standard cluster. */
static enum q2_status read_data(struct q2_view *v, const struct q2_piece *p,
				uint8_t *to, struct q2_err *err)
{
	struct q2_io *io = v->part.layers[p->depth]->map.host_io;
	const struct q2_veil *veil = NULL;

	if (encrypted(v, p->depth) && v->keys)
		veil = q2_keyring_veil(v->keys, v->from + p->depth);
	if (io == NULL || (encrypted(v, p->depth) && veil == NULL))
		return unreadable(v, p, err);
	return q2_veil_read(veil, io, to, (size_t)p->e.length, p->e.guest,
			    p->e.host, err);
}

static enum q2_status inflate(struct q2_view *v, const struct q2_piece *p,
			      uint8_t *to, struct q2_err *err)
{
	struct q2_layer *layer = v->part.layers[p->depth];
	const struct q2_image *img = &layer->opened.img;
	struct q2_range host = {p->e.host, p->e.stored};
	const uint8_t *bytes;
	enum q2_status st = Q2_OK;
	bool whole;
	size_t n;

	if (v->inflate[p->depth] == NULL)
		st = q2_inflate_new(img, &v->inflate[p->depth], err);
	if (st == Q2_OK)
		st = q2_inflate(v->inflate[p->depth], host, &bytes, &n, &whole,
				err);
	if (st != Q2_OK)
		return st;
	if (!whole)
		return unreadable(v, p, err);
	memcpy(to, bytes + (p->e.guest & (img->geom.cluster_size - 1)),
	       (size_t)p->e.length);
	return Q2_OK;
}

static enum q2_status read_piece(struct q2_view *v, const struct q2_piece *p,
				 uint8_t *to, struct q2_err *err)
{
	switch (p->e.kind) {
	case Q2_MAP_DATA:
		return read_data(v, p, to, err);
	case Q2_MAP_COMPRESSED:
		return inflate(v, p, to, err);
	case Q2_MAP_UNREADABLE:
		return unreadable(v, p, err);
	default:
		memset(to, 0, (size_t)p->e.length);
		return Q2_OK;
	}
}

enum q2_status q2_view_read(void *view, void *buf, size_t len, uint64_t off,
			    struct q2_err *err)
{
	struct q2_view *v = view;
	uint64_t size = q2_view_size(v);
	uint8_t *to = buf;
	size_t there = off < size ? (size_t)q2_min(len, size - off) : 0;

	memset(to + there, 0, len - there);
	while (there) {
		struct q2_piece p;
		enum q2_status st;

		q2_chain_at(&v->part, off, there, &p);
		st = read_piece(v, &p, to, err);
		if (st != Q2_OK)
			return st;
		to += p.e.length;
		off += p.e.length;
		there -= (size_t)p.e.length;
	}
	return Q2_OK;
}

enum q2_status q2_view_at(struct q2_view *v, uint64_t guest, uint64_t *len,
			  enum q2_shows *shows, struct q2_err *err)
{
	struct q2_piece p;

	if (guest >= q2_view_size(v)) {
		*shows = v->part.n ? Q2_SHOWS_ZEROS : Q2_SHOWS_BELOW;
		return Q2_OK;
	}
	*len = q2_min(*len, q2_view_size(v) - guest);
	q2_chain_at(&v->part, guest, *len, &p);
	*len = p.e.length;
	switch (p.e.kind) {
	case Q2_MAP_UNREADABLE:
		return unreadable(v, &p, err);
	case Q2_MAP_NONE:
		*shows = Q2_SHOWS_ZEROS;
		if (guest < v->limit) {
			*len = q2_min(*len, v->limit - guest);
			*shows = Q2_SHOWS_BELOW;
		}
		return Q2_OK;
	case Q2_MAP_ZERO:
	case Q2_MAP_ZERO_ALLOC:
		*shows = Q2_SHOWS_ZEROS;
		return Q2_OK;
	default:
		/* A hole is no zeros once it is decrypted. */
		*shows = p.e.hole && !encrypted(v, p.depth) ?
				 Q2_SHOWS_ZEROS : Q2_SHOWS_DATA;
		return Q2_OK;
	}
}
