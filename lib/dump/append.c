/*
 * append.c - appending clusters and streams, refcounts on the way.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/append.h"

#include <string.h>

#include "base/err.h"
#include "format/header.h"
#include "format/refcount.h"

#define STORE ((size_t)1 << 20)

static uint64_t cluster_size(const struct q2_append *a)
{
	return UINT64_C(1) << a->cluster_bits;
}

static void put_refcount(uint8_t *block, unsigned order, uint64_t i,
			 uint64_t value)
{
	uint8_t *byte = block + ((i << order) >> 3);

	switch (order) {
	case 3:
		*byte = (uint8_t)value;
		break;
	case 4:
		q2_put_be16(byte, (uint16_t)value);
		break;
	case 5:
		q2_put_be32(byte, (uint32_t)value);
		break;
	case 6:
		q2_put_be64(byte, value);
		break;
	default: {
		unsigned shift = (unsigned)(i << order & 7);
		unsigned mask = ((1u << (1u << order)) - 1) << shift;

		*byte = (uint8_t)((*byte & ~mask) | (unsigned)value << shift);
	}
	}
}

enum q2_status q2_append_open(struct q2_append *a, struct q2_io *io,
			      unsigned cluster_bits, unsigned ref_order,
			      struct q2_budget *budget, struct q2_err *err)
{
	void *block[3] = {NULL};
	enum q2_status st;

	*a = (struct q2_append){.io = io,
				.budget = budget,
				.cluster_bits = cluster_bits,
				.ref_order = ref_order,
				.block_bits = cluster_bits + 3 - ref_order};
	st = q2_get(budget, STORE, &block[0], err);
	a->store = block[0];
	for (int i = 0; i < 2 && st == Q2_OK; i++) {
		st = q2_get(budget, cluster_size(a), &block[1 + i], err);
		a->counts[i] = block[1 + i];
	}
	return st;
}

void q2_append_free(struct q2_append *a)
{
	if (a->budget == NULL)
		return;
	q2_put(a->budget, a->store, STORE);
	q2_put(a->budget, a->counts[0], cluster_size(a));
	q2_put(a->budget, a->counts[1], cluster_size(a));
	q2_offsets_free(&a->blocks, a->budget);
	*a = (struct q2_append){0};
}

static enum q2_status flush(struct q2_append *a, struct q2_err *err)
{
	enum q2_status st = a->io == NULL ? Q2_OK :
			    q2_pwrite(a->io, a->store, a->held,
				      a->end - a->held, err);

	a->held = 0;
	return st;
}

static enum q2_status put(struct q2_append *a, const uint8_t *bytes, size_t len,
			  struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	if (a->io == NULL) {
		a->end += len;
		return Q2_OK;
	}
	if (a->held + len > STORE)
		st = flush(a, err);
	if (st != Q2_OK)
		return st;
	if (len > STORE / 2) {
		st = flush(a, err);
		if (st == Q2_OK)
			st = q2_pwrite(a->io, bytes, len, a->end, err);
		a->end += len;
		return st;
	}
	memcpy(a->store + a->held, bytes, len);
	a->held += len;
	a->end += len;
	return Q2_OK;
}

static enum q2_status put_zeros(struct q2_append *a, size_t len,
				struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	if (a->io == NULL) {
		a->end += len;
		return Q2_OK;
	}
	while (len && st == Q2_OK) {
		size_t n = (size_t)q2_min(len, STORE / 2);

		if (a->held + n > STORE)
			st = flush(a, err);
		if (st != Q2_OK)
			break;
		memset(a->store + a->held, 0, n);
		a->held += n;
		a->end += n;
		len -= n;
	}
	return st;
}

static enum q2_status align(struct q2_append *a, struct q2_err *err)
{
	size_t over = (size_t)(a->end & (cluster_size(a) - 1));
	return over ? put_zeros(a, (size_t)cluster_size(a) - over, err) :
		      Q2_OK;
}

/* The place of a cluster's refcount: in the block that fills up or the next. */
static uint8_t *block_of(struct q2_append *a, uint64_t clu, uint64_t *i)
{
	*i = clu & ((UINT64_C(1) << a->block_bits) - 1);
	return a->counts[(clu >> a->block_bits) - a->block];
}

static void refer(struct q2_append *a, uint64_t clu)
{
	uint64_t i;
	uint8_t *block = block_of(a, clu, &i);

	put_refcount(block, a->ref_order, i,
		     q2_refcount(block, a->ref_order, i) + 1);
}

static bool full(struct q2_append *a, uint64_t clu)
{
	uint64_t i;
	uint8_t *block = block_of(a, clu, &i);

	return q2_refcount(block, a->ref_order, i) ==
	       q2_refcount_max(a->ref_order);
}

/* Writes the blocks whose clusters have all been passed. */
static enum q2_status settle(struct q2_append *a, struct q2_err *err)
{
	size_t cs = (size_t)cluster_size(a);
	enum q2_status st = Q2_OK;

	while (st == Q2_OK &&
	       a->end >> a->cluster_bits >> a->block_bits > a->block) {
		uint8_t *done = a->counts[0];

		st = align(a, err);
		if (st == Q2_OK)
			st = q2_offsets_push(&a->blocks, a->budget, a->end,
					     err);
		if (st != Q2_OK)
			break;
		refer(a, a->end >> a->cluster_bits);
		st = put(a, done, cs, err);
		memset(done, 0, cs);
		a->counts[0] = a->counts[1];
		a->counts[1] = done;
		a->block++;
	}
	return st;
}

enum q2_status q2_append_cluster(struct q2_append *a, const uint8_t *bytes,
				 uint64_t *at, struct q2_err *err)
{
	enum q2_status st = align(a, err);

	if (st == Q2_OK)
		st = settle(a, err);
	if (st != Q2_OK)
		return st;
	*at = a->end;
	refer(a, a->end >> a->cluster_bits);
	return bytes ? put(a, bytes, (size_t)cluster_size(a), err) :
		       put_zeros(a, (size_t)cluster_size(a), err);
}

enum q2_status q2_append_stream(struct q2_append *a, const uint8_t *bytes,
				size_t len, uint64_t *at, struct q2_err *err)
{
	enum q2_status st = settle(a, err);

	if (st == Q2_OK && a->end & (cluster_size(a) - 1) &&
	    full(a, a->end >> a->cluster_bits)) {
		st = align(a, err);
		if (st == Q2_OK)
			st = settle(a, err);
	}
	if (st != Q2_OK)
		return st;
	*at = a->end;
	for (uint64_t clu = a->end >> a->cluster_bits;
	     clu <= (a->end + len - 1) >> a->cluster_bits; clu++)
		refer(a, clu);
	return put(a, bytes, len, err);
}

static void save_number(struct q2_buf *out, uint64_t n)
{
	uint8_t bytes[8];

	q2_put_be64(bytes, n);
	q2_buf_add(out, bytes, sizeof(bytes));
}

enum q2_status q2_append_save(struct q2_append *a, struct q2_buf *out,
			      struct q2_err *err)
{
	enum q2_status st = flush(a, err);

	save_number(out, a->end);
	save_number(out, a->block);
	for (uint64_t i = 0; i < a->block; i++)
		save_number(out, a->blocks.at[i]);
	for (int i = 0; i < 2; i++)
		q2_buf_add(out, a->counts[i], (size_t)cluster_size(a));
	return st;
}

size_t q2_append_restore(struct q2_append *a, const uint8_t *bytes, size_t len,
			 struct q2_err *err)
{
	size_t cs = (size_t)cluster_size(a), at = 16;

	if (len < at + 2 * cs || q2_be64(bytes + 8) > (len - at - 2 * cs) / 8)
		return 0;
	a->end = q2_be64(bytes);
	a->block = q2_be64(bytes + 8);
	for (uint64_t i = 0; i < a->block; i++, at += 8)
		if (q2_offsets_push(&a->blocks, a->budget,
				    q2_be64(bytes + at), err) != Q2_OK)
			return 0;
	for (int i = 0; i < 2; i++, at += cs)
		memcpy(a->counts[i], bytes + at, cs);
	return at;
}

/* How the end of the file is laid out, in clusters. */
struct ending {
	uint64_t start;
	uint64_t table; /* of refcounts: where, and how long */
	uint64_t table_len;
	uint64_t blocks; /* that are still to be written, after the table */
	uint64_t total;	 /* of the file */
};

/* Tables and blocks count themselves. */
static void plan(const struct q2_append *a, uint64_t clusters,
		 struct ending *e)
{
	uint64_t before;

	e->start = a->end >> a->cluster_bits;
	e->table = e->start + clusters;
	e->table_len = e->blocks = 1;
	do {
		before = e->total;
		e->total = e->table + e->table_len + e->blocks;
		e->blocks = q2_div_up(e->total, UINT64_C(1) << a->block_bits) -
			    a->block;
		e->table_len = q2_div_up((a->block + e->blocks) * 8,
					 cluster_size(a));
		e->total = e->table + e->table_len + e->blocks;
	} while (e->total != before);
}

static enum q2_status write_table(struct q2_append *a, const struct ending *e,
				  struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	uint8_t entry[8];

	for (uint64_t i = 0; i < a->block + e->blocks && st == Q2_OK; i++) {
		q2_put_be64(entry, i < a->block ? a->blocks.at[i] :
			    (e->table + e->table_len + i - a->block)
				    << a->cluster_bits);
		st = put(a, entry, sizeof(entry), err);
	}
	return st == Q2_OK ? align(a, err) : st;
}

static enum q2_status write_blocks(struct q2_append *a, const struct ending *e,
				   struct q2_err *err)
{
	uint64_t per_block = UINT64_C(1) << a->block_bits;
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < e->blocks && st == Q2_OK; i++) {
		uint64_t first = (a->block + i) * per_block;
		uint64_t end = q2_min(first + per_block, e->total);
		uint8_t *block = a->counts[i > 0];

		if (i > 1)
			memset(block, 0, (size_t)cluster_size(a));
		for (uint64_t c = q2_max(first, e->start); c < end; c++)
			put_refcount(block, a->ref_order, c - first, 1);
		st = put(a, block, (size_t)cluster_size(a), err);
	}
	return st;
}

enum q2_status q2_append_place(struct q2_append *a, uint64_t *at,
			       struct q2_err *err)
{
	enum q2_status st = align(a, err);

	if (st == Q2_OK)
		st = settle(a, err);
	*at = a->end;
	return st;
}

enum q2_status q2_append_finish(struct q2_append *a,
				const struct q2_append_piece *pieces, size_t n,
				uint64_t *table, uint32_t *clusters,
				struct q2_err *err)
{
	struct ending e = {0};
	uint64_t needed = 0, at;
	enum q2_status st = q2_append_place(a, &at, err);

	if (st != Q2_OK)
		return st;
	for (size_t i = 0; i < n; i++)
		needed += q2_div_up(pieces[i].len, cluster_size(a));
	plan(a, needed, &e);
	if (e.table_len << a->cluster_bits > Q2_REFTABLE_MAX)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "the refcount table would be too large: use "
			       "larger clusters or narrower refcounts");
	*table = e.table << a->cluster_bits;
	*clusters = (uint32_t)e.table_len;
	for (size_t i = 0; i < n && st == Q2_OK; i++) {
		st = put(a, pieces[i].bytes, pieces[i].len, err);
		if (st == Q2_OK)
			st = align(a, err);
	}
	if (st == Q2_OK)
		st = write_table(a, &e, err);
	if (st == Q2_OK)
		st = write_blocks(a, &e, err);
	return st == Q2_OK ? flush(a, err) : st;
}
