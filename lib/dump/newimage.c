/*
 * newimage.c - a fresh image: L2 and L1 tables, header.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/newimage.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "dump/append.h"
#include "format/entry.h"
#include "format/ext.h"
#include "format/header.h"

#define HEADER_LEN 112u /* version 3, with the compression type */
#define NO_SLOT UINT64_MAX

enum {
	AT_BACKING = 8,
	AT_BACKING_LEN = 16,
	AT_CLUSTER_BITS = 20,
	AT_SIZE = 24,
	AT_L1_SIZE = 36,
	AT_L1 = 40,
	AT_REFTABLE = 48,
	AT_REFTABLE_CLUSTERS = 56,
	AT_INCOMPATIBLE = 72,
	AT_AUTOCLEAR = 88,
	AT_REF_ORDER = 96,
	AT_HEADER_LEN = 100,
	AT_COMPRESSION = 104
};

struct q2_newimage {
	struct q2_newimage_opts opts;
	struct q2_budget *budget;
	struct q2_append append;
	size_t cluster_size;
	unsigned entry_bits;
	unsigned l2_bits;
	uint64_t slot; /* of L1, whose L2 table is at hand; NO_SLOT for none */
	bool touched;  /* that table is not all zeros */
	uint8_t *l2;
	uint8_t *l1;
	uint64_t l1_entries;
	uint8_t *header; /* the first cluster */
	struct q2_newbitmaps *bitmaps;
};

static enum q2_status refuse(struct q2_err *err, const char *why)
{
	return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET, "%s", why);
}

static enum q2_status judge(const struct q2_newimage_opts *o,
			    struct q2_err *err)
{
	if (o->cluster_bits < Q2_CLUSTER_BITS_MIN ||
	    o->cluster_bits > Q2_CLUSTER_BITS_MAX)
		return refuse(err, "clusters have 512 bytes to 2 MiB");
	if (o->ref_order > 6)
		return refuse(err, "refcounts have 1 to 64 bits");
	if (o->version == 2 && (o->ref_order != 4 || o->ext_l2 || o->zstd))
		return refuse(err, "version 2 has 16-bit refcounts, no "
				   "extended L2 entries and no zstd");
	if (o->version == 2 && o->bitmaps)
		return refuse(err, "version 2 has no bitmaps");
	if (o->ext_l2 && o->cluster_bits < 14)
		return refuse(err, "extended L2 entries need clusters of "
				   "16 KiB at least");
	if (o->disk_size % 512)
		return refuse(err, "a disk consists of whole sectors");
	return Q2_OK;
}

static size_t pad8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

#define BITMAPS_EXT (Q2_EXT_HEAD + Q2_EXT_BITMAPS_LEN)

static size_t header_length(const struct q2_newimage_opts *o)
{
	return o->version == 2 ? Q2_HEADER_V2 : HEADER_LEN;
}

/* What does not depend on where the tables will be. */
static enum q2_status make_header(struct q2_newimage *w, struct q2_err *err)
{
	const struct q2_newimage_opts *o = &w->opts;
	size_t format = o->backing ? strlen(o->backing_format) : 0;
	size_t name = o->backing ? strlen(o->backing) : 0;
	size_t at = header_length(o);
	uint8_t *h = w->header;

	q2_put_be32(h, Q2_MAGIC);
	q2_put_be32(h + 4, o->version);
	q2_put_be32(h + AT_CLUSTER_BITS, o->cluster_bits);
	q2_put_be64(h + AT_SIZE, o->disk_size);
	if (o->version == 3) {
		q2_put_be64(h + AT_INCOMPATIBLE,
			    (o->zstd ? Q2_INCOMPAT_COMPRESSION : 0u) |
			    (o->ext_l2 ? Q2_INCOMPAT_EXTL2 : 0u));
		q2_put_be32(h + AT_REF_ORDER, o->ref_order);
		q2_put_be32(h + AT_HEADER_LEN, HEADER_LEN);
		h[AT_COMPRESSION] = o->zstd;
	}
	if (o->bitmaps) {
		/* Its data is made up last. */
		q2_put_be64(h + AT_AUTOCLEAR, Q2_AUTOCLEAR_BITMAPS);
		q2_put_be32(h + at, Q2_EXT_BITMAPS);
		q2_put_be32(h + at + 4, Q2_EXT_BITMAPS_LEN);
		at += BITMAPS_EXT;
	}
	if (name == 0)
		return Q2_OK;
	if (name > Q2_BACKING_MAX || format > Q2_EXT_FORMAT_MAX ||
	    at + (size_t)2 * Q2_EXT_HEAD + pad8(format) + name > w->cluster_size)
		return refuse(err, "the backing file's name is too long for "
				   "a header in clusters of this size");
	q2_put_be32(h + at, Q2_EXT_FORMAT);
	q2_put_be32(h + at + 4, (uint32_t)format);
	memcpy(h + at + Q2_EXT_HEAD, o->backing_format, format);
	at += (size_t)2 * Q2_EXT_HEAD + pad8(format); /* and an end mark */
	q2_put_be64(h + AT_BACKING, at);
	q2_put_be32(h + AT_BACKING_LEN, (uint32_t)name);
	memcpy(h + at, o->backing, name);
	return Q2_OK;
}

static enum q2_status allocate(struct q2_newimage *w, struct q2_err *err)
{
	void *block = NULL;
	enum q2_status st;

	st = q2_get(w->budget, w->cluster_size, &block, err);
	w->header = block;
	if (st != Q2_OK)
		return st;
	st = q2_get(w->budget, w->cluster_size, &block, err);
	w->l2 = block;
	if (st != Q2_OK)
		return st;
	st = q2_get(w->budget, w->l1_entries * 8, &block, err);
	w->l1 = block;
	return st;
}

static enum q2_status begin(struct q2_newimage *w, struct q2_err *err)
{
	const struct q2_newimage_opts *o = &w->opts;
	uint64_t at;
	enum q2_status st = judge(o, err);

	if (st != Q2_OK)
		return st;
	w->cluster_size = (size_t)1 << o->cluster_bits;
	w->entry_bits = o->ext_l2 ? 4 : 3;
	w->l2_bits = o->cluster_bits - w->entry_bits;
	/* QEMU would not open an image without any L1 entry. */
	w->l1_entries = q2_max(1, q2_l1_needed(o->disk_size, o->cluster_bits,
					       1u << w->entry_bits));
	if (w->l1_entries > Q2_L1_MAX)
		return refuse(err, "the disk is too large for clusters of "
				   "this size");
	st = allocate(w, err);
	if (st == Q2_OK)
		st = make_header(w, err);
	if (st != Q2_OK)
		return st;
	if (o->bitmaps) {
		st = q2_newbitmaps_new(w->budget, &w->bitmaps, err);
		if (st != Q2_OK)
			return st;
	}
	st = q2_append_open(&w->append, w->append.io, o->cluster_bits,
			    o->ref_order, w->budget, err);
	/* The header's place; its bytes come last. */
	return st == Q2_OK ? q2_append_cluster(&w->append, NULL, &at, err) :
			     st;
}

enum q2_status q2_newimage_open(struct q2_io *io,
				const struct q2_newimage_opts *opts,
				struct q2_budget *budget,
				struct q2_newimage **out, struct q2_err *err)
{
	struct q2_newimage *w = calloc(1, sizeof(*w));
	enum q2_status st;

	*out = NULL;
	if (w == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	w->opts = *opts;
	w->budget = budget;
	w->append.io = io;
	w->slot = NO_SLOT;
	st = begin(w, err);
	if (st == Q2_OK)
		*out = w;
	else
		q2_newimage_free(w);
	return st;
}

void q2_newimage_free(struct q2_newimage *w)
{
	if (w == NULL)
		return;
	q2_put(w->budget, w->header, w->cluster_size);
	q2_put(w->budget, w->l2, w->cluster_size);
	q2_put(w->budget, w->l1, w->l1_entries * 8);
	q2_newbitmaps_free(w->bitmaps);
	q2_append_free(&w->append);
	free(w);
}

static enum q2_status close_l2(struct q2_newimage *w, struct q2_err *err)
{
	uint64_t at;
	enum q2_status st;

	if (!w->touched)
		return Q2_OK;
	st = q2_append_cluster(&w->append, w->l2, &at, err);
	if (st != Q2_OK)
		return st;
	q2_put_be64(w->l1 + w->slot * 8, at | Q2_COPIED);
	memset(w->l2, 0, w->cluster_size);
	w->touched = false;
	return Q2_OK;
}

/* *entry is where the cluster's L2 entry is to be put. */
static enum q2_status turn_to(struct q2_newimage *w, uint64_t cluster,
			      uint8_t **entry, struct q2_err *err)
{
	uint64_t slot = cluster >> w->l2_bits;
	uint64_t i = cluster & ((UINT64_C(1) << w->l2_bits) - 1);
	enum q2_status st = Q2_OK;

	if (slot >= w->l1_entries)
		return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
			       "a cluster past the end of the disk");
	if (slot != w->slot)
		st = close_l2(w, err);
	w->slot = slot;
	w->touched = true;
	*entry = w->l2 + (i << w->entry_bits);
	return st;
}

enum q2_status q2_newimage_data(struct q2_newimage *w, uint64_t cluster,
				const uint8_t *bytes, uint32_t alloc,
				uint32_t zero, struct q2_err *err)
{
	uint8_t *entry = NULL;
	uint64_t at;
	enum q2_status st = turn_to(w, cluster, &entry, err);

	if (st == Q2_OK)
		st = q2_append_cluster(&w->append, bytes, &at, err);
	if (st != Q2_OK)
		return st;
	q2_put_be64(entry, at | Q2_COPIED);
	if (w->opts.ext_l2)
		q2_put_be64(entry + 8, (uint64_t)zero << 32 | alloc);
	return Q2_OK;
}

enum q2_status q2_newimage_compressed(struct q2_newimage *w, uint64_t cluster,
				      const uint8_t *bytes, size_t len,
				      struct q2_err *err)
{
	unsigned offset_bits = 62 - (w->opts.cluster_bits - 8);
	uint8_t *entry = NULL;
	uint64_t at, more;
	enum q2_status st = turn_to(w, cluster, &entry, err);

	if (st == Q2_OK)
		st = q2_append_stream(&w->append, bytes, len, &at, err);
	if (st != Q2_OK)
		return st;
	if (at >> q2_min(offset_bits, 56))
		return q2_fail(err, Q2_E_RANGE, 0, at,
			       "too large for compressed clusters");
	more = ((at + len - 1) >> 9) - (at >> 9);
	q2_put_be64(entry, Q2_COMPRESSED | more << offset_bits | at);
	return Q2_OK;
}

enum q2_status q2_newimage_zero(struct q2_newimage *w, uint64_t cluster,
				struct q2_err *err)
{
	uint8_t *entry = NULL;
	enum q2_status st = turn_to(w, cluster, &entry, err);

	if (st != Q2_OK)
		return st;
	if (w->opts.ext_l2)
		q2_put_be64(entry + 8, (uint64_t)UINT32_MAX << 32);
	else
		q2_put_be64(entry, Q2_ZERO);
	return Q2_OK;
}

/* Of the L1 table, what may have been set. */
static size_t l1_used(const struct q2_newimage *w)
{
	return w->slot == NO_SLOT ? 0 : (size_t)w->slot * 8;
}

size_t q2_newimage_state(const struct q2_newimage *w)
{
	return 3 * w->cluster_size + l1_used(w) + w->append.blocks.n * 8 + 40;
}

enum q2_status q2_newimage_save(struct q2_newimage *w, struct q2_buf *out,
				struct q2_err *err)
{
	uint8_t head[16];
	enum q2_status st = q2_append_save(&w->append, out, err);

	q2_put_be64(head, w->slot);
	q2_put_be64(head + 8, w->touched);
	q2_buf_add(out, head, sizeof(head));
	q2_buf_add(out, w->l2, w->cluster_size);
	q2_buf_add(out, w->l1, l1_used(w));
	if (st == Q2_OK && out->failed)
		st = q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	return st;
}

/* All or nothing, after `at` bytes of the state. */
static bool restore_tables(struct q2_newimage *w, const uint8_t *bytes,
			   size_t len, size_t at)
{
	if (at == 0 || len - at < 16 + w->cluster_size)
		return false;
	w->slot = q2_be64(bytes + at);
	w->touched = q2_be64(bytes + at + 8) != 0;
	at += 16;
	if ((w->slot != NO_SLOT && w->slot >= w->l1_entries) ||
	    len - at != w->cluster_size + l1_used(w))
		return false;
	memcpy(w->l2, bytes + at, w->cluster_size);
	memcpy(w->l1, bytes + at + w->cluster_size, l1_used(w));
	return true;
}

bool q2_newimage_restore(struct q2_newimage *w, const uint8_t *bytes,
			 size_t len, uint64_t size, uint64_t *end)
{
	size_t at = q2_append_restore(&w->append, bytes, len, NULL);

	*end = w->append.end;
	w->append.held = 0; /* the header's place, which the file has */
	return restore_tables(w, bytes, len, at) && w->append.end <= size;
}

enum q2_status q2_newimage_bitmap(struct q2_newimage *w,
				  const struct q2_newbitmap *b,
				  struct q2_err *err)
{
	enum q2_status st = close_l2(w, err);

	return st == Q2_OK ? q2_newbitmaps_add(w->bitmaps, &w->append, b, err) :
			     st;
}

/* The L1 table, what belongs to bitmaps, and the refcounts. */
static enum q2_status finish_tables(struct q2_newimage *w, uint64_t *l1,
				    uint64_t *table, uint32_t *clusters,
				    struct q2_err *err)
{
	unsigned bits = w->opts.cluster_bits;
	struct q2_append_piece pieces[2] = {{w->l1, (size_t)w->l1_entries * 8}};
	uint8_t *ext = w->header + header_length(&w->opts) + Q2_EXT_HEAD;
	uint8_t *tail = NULL;
	uint64_t len = 0;
	enum q2_status st = q2_append_place(&w->append, l1, err);

	if (st == Q2_OK && w->bitmaps)
		st = q2_newbitmaps_lay(w->bitmaps, *l1 +
				       (q2_div_up(w->l1_entries * 8,
						  w->cluster_size) << bits),
				       bits, &tail, &len, ext, err);
	pieces[1] = (struct q2_append_piece){tail, (size_t)len};
	if (st == Q2_OK)
		st = q2_append_finish(&w->append, pieces, tail ? 2 : 1, table,
				      clusters, err);
	q2_put(w->budget, tail, len);
	return st;
}

enum q2_status q2_newimage_finish(struct q2_newimage *w, struct q2_err *err)
{
	struct q2_append *a = &w->append;
	uint64_t l1 = 0, table = 0;
	uint32_t clusters = 0;
	enum q2_status st = close_l2(w, err);

	if (st == Q2_OK)
		st = finish_tables(w, &l1, &table, &clusters, err);
	if (st == Q2_OK && a->io)
		st = q2_flush(a->io, err);
	if (st != Q2_OK || a->io == NULL)
		return st;
	q2_put_be32(w->header + AT_L1_SIZE, (uint32_t)w->l1_entries);
	q2_put_be64(w->header + AT_L1, l1);
	q2_put_be64(w->header + AT_REFTABLE, table);
	q2_put_be32(w->header + AT_REFTABLE_CLUSTERS, clusters);
	return q2_pwrite(a->io, w->header, w->cluster_size, 0, err);
}

uint64_t q2_newimage_length(const struct q2_newimage *w)
{
	return w->append.end;
}
