/*
 * newbitmaps.c - from bits to clusters, tables and a directory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/newbitmaps.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "dump/digest.h"
#include "format/ext.h"

struct record {
	struct q2_bitmap b; /* table_size, flags, gran and lengths */
	uint64_t *table;    /* b.table_size entries, owned */
	char *name;	    /* b.name_len bytes, owned */
};

Q2_VEC(q2_records, struct record)

struct q2_newbitmaps {
	struct q2_budget *budget;
	struct q2_records all;
};

enum q2_status q2_newbitmaps_new(struct q2_budget *budget,
				 struct q2_newbitmaps **out,
				 struct q2_err *err)
{
	void *block;
	enum q2_status st = q2_get(budget, sizeof(**out), &block, err);

	*out = st == Q2_OK ? block : NULL;
	if (st == Q2_OK)
		(*out)->budget = budget;
	return st;
}

static void record_free(struct q2_budget *b, struct record *r)
{
	q2_put(b, r->table, r->b.table_size * UINT64_C(8));
	q2_put(b, r->name, r->b.name_len);
}

void q2_newbitmaps_free(struct q2_newbitmaps *nb)
{
	if (nb == NULL)
		return;
	for (size_t i = 0; i < nb->all.n; i++)
		record_free(nb->budget, &nb->all.at[i]);
	q2_records_free(&nb->all, nb->budget);
	q2_put(nb->budget, nb, sizeof(*nb));
}

/* All bits of the cluster are set, and it has no others. */
static bool all_ones(const uint8_t *bytes, size_t n)
{
	return bytes[0] == 0xff && memcmp(bytes, bytes + 1, n - 1) == 0;
}

/* Reads the cluster that starts at byte `off` of the bitmap; what is not the
 * disk's is zeros. */
static enum q2_status read_cluster(const struct q2_newbitmap *b, uint64_t off,
				   uint8_t *bytes, size_t cluster,
				   struct q2_err *err)
{
	uint64_t bits = q2_div_up(b->disk_size, UINT64_C(1) << b->gran);
	uint64_t total = q2_bitmap_bytes(b->disk_size, b->gran);
	size_t len = (size_t)q2_min(cluster, total - off);
	enum q2_status st = b->read(b->ctx, bytes, len, off, err);

	memset(bytes + len, 0, cluster - len);
	if (st == Q2_OK && off + len == total && bits % 8)
		bytes[len - 1] &= (uint8_t)((1u << bits % 8) - 1);
	return st;
}

static enum q2_status append_bits(struct q2_append *a,
				  const struct q2_newbitmap *b,
				  struct record *r, uint8_t *bytes,
				  struct q2_err *err)
{
	size_t cluster = (size_t)1 << a->cluster_bits;
	enum q2_status st = Q2_OK;
	uint64_t at;

	for (uint32_t i = 0; i < r->b.table_size && st == Q2_OK; i++) {
		st = read_cluster(b, (uint64_t)i * cluster, bytes, cluster,
				  err);
		if (st != Q2_OK || q2_zeros(bytes, cluster))
			continue;
		if (all_ones(bytes, cluster)) {
			r->table[i] = Q2_BITMAP_ONES;
			continue;
		}
		st = q2_append_cluster(a, bytes, &at, err);
		r->table[i] = at;
	}
	return st;
}

static enum q2_status fill_record(struct q2_newbitmaps *nb,
				  const struct q2_newbitmap *b,
				  unsigned cluster_bits, struct record *r,
				  struct q2_err *err)
{
	uint64_t bytes = q2_bitmap_bytes(b->disk_size, b->gran);
	enum q2_status st;
	void *block;

	if (bytes > Q2_BITMAP_BYTES_MAX)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "a bitmap is too large");
	*r = (struct record){.b = {.flags = b->enabled ? Q2_BITMAP_AUTO : 0,
				   .type = Q2_BITMAP_DIRTY,
				   .gran = b->gran}};
	st = q2_get(nb->budget, b->name_len, &block, err);
	if (st != Q2_OK)
		return st;
	r->name = block;
	r->b.name_len = b->name_len;
	memcpy(r->name, b->name, b->name_len);
	r->b.len = q2_div_up(Q2_BITMAP_HEAD + b->name_len, 8) * 8;
	bytes = q2_div_up(bytes, UINT64_C(1) << cluster_bits);
	st = q2_get(nb->budget, bytes * 8, &block, err);
	if (st == Q2_OK) {
		r->table = block;
		r->b.table_size = (uint32_t)bytes;
	}
	return st;
}

enum q2_status q2_newbitmaps_add(struct q2_newbitmaps *nb, struct q2_append *a,
				 const struct q2_newbitmap *b,
				 struct q2_err *err)
{
	size_t cluster = (size_t)1 << a->cluster_bits;
	struct record r = {0};
	void *bytes = NULL;
	enum q2_status st = fill_record(nb, b, a->cluster_bits, &r, err);

	if (st == Q2_OK)
		st = q2_get(nb->budget, cluster, &bytes, err);
	if (st == Q2_OK)
		st = append_bits(a, b, &r, bytes, err);
	if (st == Q2_OK)
		st = q2_records_push(&nb->all, nb->budget, r, err);
	if (st != Q2_OK)
		record_free(nb->budget, &r);
	if (bytes)
		q2_put(nb->budget, bytes, cluster);
	return st;
}

static void put_record(uint8_t *to, const struct record *r, uint64_t table)
{
	q2_put_be64(to, table);
	q2_put_be32(to + 8, r->b.table_size);
	q2_put_be32(to + Q2_BITMAP_AT_FLAGS, r->b.flags);
	to[Q2_BITMAP_AT_TYPE] = r->b.type;
	to[Q2_BITMAP_AT_GRAN] = r->b.gran;
	q2_put_be16(to + 18, r->b.name_len);
	memcpy(to + Q2_BITMAP_HEAD, r->name, r->b.name_len);
}

enum q2_status q2_newbitmaps_lay(const struct q2_newbitmaps *nb, uint64_t at,
				 unsigned cluster_bits, uint8_t **bytes,
				 uint64_t *len, uint8_t *ext,
				 struct q2_err *err)
{
	uint64_t mask = (UINT64_C(1) << cluster_bits) - 1;
	uint64_t tables = 0, directory = 0, table = 0;
	enum q2_status st;
	uint8_t *record;
	void *block;

	*bytes = NULL;
	*len = 0;
	for (size_t i = 0; i < nb->all.n; i++) {
		tables += (nb->all.at[i].b.table_size * UINT64_C(8) + mask) &
			  ~mask;
		directory += nb->all.at[i].b.len;
	}
	if (nb->all.n == 0)
		return Q2_OK;
	st = q2_get(nb->budget, (tables + directory + mask) & ~mask, &block,
		    err);
	if (st != Q2_OK)
		return st;
	*bytes = block;
	*len = (tables + directory + mask) & ~mask;
	record = *bytes + tables;
	for (size_t i = 0; i < nb->all.n; i++) {
		const struct record *r = &nb->all.at[i];

		put_record(record, r, at + table);
		record += r->b.len;
		for (uint32_t k = 0; k < r->b.table_size; k++)
			q2_put_be64(*bytes + table + k * UINT64_C(8),
				    r->table[k]);
		table += (r->b.table_size * UINT64_C(8) + mask) & ~mask;
	}
	q2_put_be32(ext, (uint32_t)nb->all.n);
	q2_put_be32(ext + 4, 0);
	q2_put_be64(ext + 8, directory);
	q2_put_be64(ext + 16, at + tables);
	return Q2_OK;
}
