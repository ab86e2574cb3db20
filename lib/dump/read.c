/*
 * read.c - the bytes of a piece: plain, compressed, encrypted.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/read.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "image/decode.h"

struct q2_reader {
	struct q2_guest *guest;
	size_t cluster;		       /* the largest of all layers */
	struct q2_decoder *decoder[2]; /* deflate, zstd */
	uint8_t *in;  /* two clusters: the longest range that can be named */
	uint8_t *out; /* one cluster, where not all of it is wanted */
	unsigned n_decryptors;
	struct q2_decryptor **decryptors; /* by depth, made when needed */
};

/* The catalogue's names of what makes an entry unreadable.  A standard entry
 * only has the faults that a compressed one does not have, and the reverse,
 * except for OUTSIDE. */
static const struct {
	unsigned fault;
	const char *l1;
	const char *l2;
} names[] = {
	{Q2_EF_UNALIGNED, "L1_UNALIGNED", "L2_UNALIGNED"},
	{Q2_EF_OUTSIDE, "L1_ENTRY_OUTSIDE", "L2_ENTRY_OUTSIDE"},
	{Q2_EF_ZERO_V2, NULL, "L2_ZERO_FLAG_V2"},
	{Q2_EF_COMPRESSED_DATA_FILE, NULL, "COMPRESSED_DATA_FILE"},
	{Q2_EF_SUB_CONFLICT, NULL, "SUBCLUSTER_CONFLICT"},
	{Q2_EF_SUB_NO_OFFSET, NULL, "SUBCLUSTER_NO_OFFSET"},
	{Q2_EF_DATA_FILE_OFFSET, NULL, "DATA_FILE_OFFSET"},
};

enum q2_status q2_reader_new(struct q2_guest *g, struct q2_reader **out,
			     struct q2_err *err)
{
	struct q2_reader *r = calloc(1, sizeof(*r));

	*out = NULL;
	if (r == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	r->guest = g;
	r->cluster = q2_guest_cluster(g);
	r->n_decryptors = g->view.n;
	r->decryptors = calloc(r->n_decryptors, sizeof(*r->decryptors));
	if (r->decryptors == NULL) {
		q2_reader_free(r);
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	}
	*out = r;
	return Q2_OK;
}

void q2_reader_free(struct q2_reader *r)
{
	if (r == NULL)
		return;
	for (unsigned i = 0; r->decryptors != NULL && i < r->n_decryptors; i++)
		q2_decryptor_free(r->decryptors[i]);
	free(r->decryptors);
	q2_decoder_free(r->decoder[0]);
	q2_decoder_free(r->decoder[1]);
	free(r->in);
	free(r->out);
	free(r);
}

static enum q2_status damaged(const struct q2_piece *p, struct q2_err *err)
{
	const char *id = NULL;
	const char *what = "the L2 entry makes no sense";
	bool l1 = p->e.why == Q2_WHY_L1_ENTRY;

	switch (p->e.why) {
	case Q2_WHY_L1_MISSING:
		what = "the L1 table cannot be used";
		break;
	case Q2_WHY_L1_READ:
		what = "the L1 table cannot be read";
		break;
	case Q2_WHY_L2_READ:
		what = "the L2 table cannot be read";
		break;
	case Q2_WHY_L1_ENTRY:
		what = "the L1 entry makes no sense";
		break;
	default:
		break;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names) && !id; i++)
		if (p->e.faults & names[i].fault)
			id = l1 ? names[i].l1 : names[i].l2;
	if (id)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET, "%s (%s)",
			       what, id);
	return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET, "%s", what);
}

/* For the first compressed cluster: most images have none. */
static enum q2_status prepare(struct q2_reader *r, bool zstd,
			      struct q2_err *err)
{
	if (r->in == NULL)
		r->in = malloc(2 * r->cluster);
	if (r->out == NULL)
		r->out = malloc(r->cluster);
	if (r->in == NULL || r->out == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	return r->decoder[zstd] ? Q2_OK :
				  q2_decoder_new(zstd, &r->decoder[zstd], err);
}

static enum q2_status compressed(struct q2_reader *r,
				 const struct q2_layer *layer,
				 const struct q2_piece *p, uint8_t *out,
				 struct q2_packed *packed, struct q2_err *err)
{
	const struct q2_geom *g = &layer->opened.img.geom;
	size_t cs = (size_t)g->cluster_size;
	size_t skip = (size_t)(p->e.guest & (cs - 1));
	bool all = skip == 0 && p->e.length == cs;
	struct q2_io *io = layer->opened.img.io;
	uint64_t there;
	size_t n, used;
	enum q2_status st;

	if (!g->inflatable)
		return q2_fail(err, Q2_E_FORMAT, 0, p->e.host,
			       "unknown compression type (COMPRESSION_TYPE)");
	st = prepare(r, g->zstd, err);
	if (st != Q2_OK)
		return st;
	/* Past the end of the file nothing is invented. */
	there = p->e.host < io->size ? io->size - p->e.host : 0;
	there = q2_min(there, q2_min(p->e.stored, 2 * cs));
	st = q2_pread(io, r->in, (size_t)there, q2_min(p->e.host, io->size),
		      err);
	if (st == Q2_OK)
		st = q2_decode(r->decoder[g->zstd], r->in, (size_t)there,
			       all ? out : r->out, cs, &n, &used, err);
	if (st != Q2_OK)
		return st;
	if (n != cs)
		return q2_fail(err, Q2_E_FORMAT, 0, p->e.host,
			       "the compressed data are damaged "
			       "(COMPRESSED_BAD_STREAM)");
	if (!all)
		memcpy(out, r->out + skip, (size_t)p->e.length);
	if (packed != NULL && skip == 0)
		*packed = (struct q2_packed){r->in, used};
	return Q2_OK;
}

struct shown {
	struct q2_decryptor *decryptor;
	bool by_host;
};

static enum q2_status show(void *ctx, uint8_t *bytes, size_t len,
			   uint64_t guest, uint64_t host, struct q2_err *err)
{
	const struct shown *s = ctx;

	return q2_decrypt(s->decryptor, bytes, len, s->by_host ? host : guest,
			  err);
}

/* Of an encrypted layer whose disk ends inside of a sector, a part of one is read. */
static enum q2_status plain(struct q2_reader *r, const struct q2_layer *layer,
			    const struct q2_piece *p, uint8_t *out,
			    struct q2_err *err)
{
	const struct q2_key *key = q2_guest_key(r->guest, p->depth);
	struct q2_decryptor **d = &r->decryptors[p->depth];
	struct shown shown;
	const struct q2_veil veil = {.show = show, .ctx = &shown};
	enum q2_status st;

	if (layer->map.host_io == NULL)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "the data file is not open");
	if (key == NULL && q2_layer_encrypted(r->guest, p->depth))
		return q2_fail(err, Q2_E_REFUSED, 0, p->e.host,
			       "it is encrypted, and was opened without its "
			       "secret");
	if (q2_guest_cut(r->guest, p))
		return q2_fail(err, Q2_E_FORMAT, 0, p->e.host,
			       "the data file ends before that "
			       "(DATA_FILE_SHORT)");
	if (key != NULL && *d == NULL) {
		st = q2_decryptor_new(key, d, err);
		if (st != Q2_OK)
			return st;
	}
	shown = (struct shown){*d, key != NULL && q2_key_by_host(key)};
	return q2_veil_read(key ? &veil : NULL, layer->map.host_io, out,
			    (size_t)p->e.length, p->e.guest, p->e.host, err);
}

enum q2_status q2_reader_piece(struct q2_reader *r, const struct q2_piece *p,
			       uint8_t *out, struct q2_packed *packed,
			       struct q2_err *err)
{
	const struct q2_layer *layer = r->guest->view.layers[p->depth];

	switch (p->e.kind) {
	case Q2_MAP_DATA:
		return plain(r, layer, p, out, err);
	case Q2_MAP_COMPRESSED:
		return compressed(r, layer, p, out, packed, err);
	case Q2_MAP_UNREADABLE:
		return damaged(p, err);
	default:
		memset(out, 0, (size_t)p->e.length);
		return Q2_OK;
	}
}
