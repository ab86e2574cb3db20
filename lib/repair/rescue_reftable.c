/*
 * rescue_reftable.c - a refcount table that no header leads to.
 *
 * SPDX-License-Identifier: MIT
 *
 * The first block of the right one has a count of 1 for the header, the table and
 * itself; cluster size and width of counts are right if that is so.
 */
#include "base/endian.h"
#include "base/hash.h"
#include "format/ext.h"
#include "format/refcount.h"
#include "repair/rescue_head.h"

#define CHUNK (UINT64_C(256) << 10)
#define SECTOR 512u
#define HEADS_MAX 64u

struct search {
	struct q2_repair *r;
	struct q2_heads *heads;
	uint8_t *chunk;
	uint8_t *block; /* a cluster of the largest size */
	uint64_t at;	/* what of the file is done */
};

/* ------------------------------------------------------------- kept, and taken */

static void put_search(const void *work, struct q2_buf *b)
{
	const struct search *s = work;

	q2_put_number(b, s->at);
	q2_put_number(b, s->heads->n);
	for (size_t i = 0; i < s->heads->n; i++) {
		const struct q2_head *h = &s->heads->at[i];

		q2_put_number(b, h->bits);
		q2_put_number(b, h->order);
		q2_put_number(b, h->rt_offset);
		q2_put_number(b, h->rt_clusters);
		q2_put_number(b, h->coverage);
	}
}

static enum q2_status take_search(void *work, struct q2_source *in)
{
	struct search *s = work;
	enum q2_status st = Q2_OK;
	uint64_t n;

	s->at = q2_take_number(in);
	in->failed |= s->at % CHUNK != 0;
	n = q2_take_up_to(in, HEADS_MAX);
	for (; n && st == Q2_OK && !in->failed; n--) {
		struct q2_head h = {.version = 3};

		h.bits = (unsigned)q2_take_up_to(in, Q2_CLUSTER_BITS_MAX);
		h.order = (unsigned)q2_take_up_to(in, 6);
		h.rt_offset = q2_take_up_to(in, s->r->io->size);
		h.rt_clusters = (uint32_t)q2_take_up_to(
			in, q2_max(Q2_REFTABLE_MAX >> h.bits, 1));
		h.coverage = q2_take_up_to(in, s->r->io->size);
		in->failed |= h.bits < Q2_CLUSTER_BITS_MIN;
		if (!in->failed)
			st = q2_heads_push(s->heads, &s->r->budget, h,
					   s->r->err);
	}
	return st;
}

/* -------------------------------------------------------------------- evidence */

void q2_head_bytes(const struct q2_head *h, uint8_t bytes[Q2_HEAD_ROOM])
{
	uint64_t incompat = (h->ext_l2 ? Q2_INCOMPAT_EXTL2 : 0u) |
			    (h->zstd ? Q2_INCOMPAT_COMPRESSION : 0u);

	for (unsigned i = 0; i < Q2_HEAD_ROOM; i++)
		bytes[i] = 0;
	q2_put_be32(bytes, Q2_MAGIC);
	q2_put_be32(bytes + 4, h->version);
	q2_put_be64(bytes + 8, h->backing_offset);
	q2_put_be32(bytes + 16, h->backing_size);
	q2_put_be32(bytes + 20, h->bits);
	q2_put_be64(bytes + 24, h->size);
	q2_put_be32(bytes + 32, h->crypt);
	q2_put_be32(bytes + 36, h->l1_size);
	q2_put_be64(bytes + 40, h->l1_offset);
	q2_put_be64(bytes + 48, h->rt_offset);
	q2_put_be32(bytes + 56, h->rt_clusters);
	q2_put_be32(bytes + 60, h->snapshots);
	q2_put_be64(bytes + 64, h->snap_offset);
	if (h->version < 3)
		return;
	q2_put_be64(bytes + 72, incompat);
	q2_put_be32(bytes + 96, h->order);
	q2_put_be32(bytes + 100, Q2_HEADER_READ);
	bytes[104] = h->zstd;
	if (h->luks_offset == 0)
		return;
	q2_put_be32(bytes + Q2_HEADER_READ, Q2_EXT_LUKS);
	q2_put_be32(bytes + Q2_HEADER_READ + 4, Q2_EXT_LUKS_LEN);
	q2_put_be64(bytes + Q2_HEADER_READ + 8, h->luks_offset);
	q2_put_be64(bytes + Q2_HEADER_READ + 16, h->luks_len);
}

bool q2_head_geom(const struct q2_head *h, uint64_t file_size,
		  struct q2_geom *g)
{
	uint8_t bytes[Q2_HEAD_ROOM];
	struct q2_header header;
	struct q2_header_faults faults;

	q2_head_bytes(h, bytes);
	q2_header_parse(bytes, Q2_HEADER_READ, &header);
	q2_header_judge(&header, file_size, &faults);
	return q2_geom_make(&header, &faults, file_size, g);
}

/* The sector as the start of a refcount table: offsets of clusters, no flags. */
static bool looks_like_table(const uint8_t *sector, uint64_t size,
			     uint64_t *bits)
{
	if (q2_be64(sector) == 0)
		return false;
	*bits = 0;
	for (size_t i = 0; i < SECTOR; i += 8) {
		uint64_t word = q2_be64(sector + i);

		if (word >= size || word % SECTOR)
			return false;
		*bits |= word;
	}
	return true;
}

static uint64_t count_of(const struct search *s, unsigned bits, unsigned order,
			 uint64_t off)
{
	uint64_t clu = off >> bits;

	return clu < UINT64_C(8) << bits >> order ?
		       q2_refcount(s->block, order, clu) : 0;
}

/* Counts inside the file less those outside; 0 if it is nonsense. */
static uint64_t coverage(struct search *s, const struct q2_head *h)
{
	uint64_t per = UINT64_C(8) << h->bits >> h->order, used = 0, bad = 0;
	uint64_t clusters = q2_div_up(s->r->io->size, UINT64_C(1) << h->bits);
	uint64_t entries = (uint64_t)h->rt_clusters << h->bits >> 3;

	for (uint64_t i = 0; i < entries; i++) {
		uint8_t raw[8];
		uint64_t off;

		if (q2_pread_zero(s->r->io, raw, 8, h->rt_offset + 8 * i,
				  NULL) != Q2_OK)
			return 0;
		off = q2_be64(raw);
		if (off == 0)
			continue;
		if (q2_pread_zero(s->r->io, s->block, (size_t)1 << h->bits, off,
				  NULL) != Q2_OK)
			continue;
		for (uint64_t k = 0; k < per; k++) {
			uint64_t n = q2_refcount(s->block, h->order, k);

			if (n && i * per + k < clusters && n <= 65536)
				used++;
			else if (n)
				bad++;
		}
	}
	return used > 2 && bad <= used / 16 ? used : 0;
}

/* How many clusters the table has: up to the last one that holds an entry. */
static uint32_t table_clusters(struct search *s, uint64_t at, unsigned bits,
			       uint64_t first_block)
{
	uint64_t cs = UINT64_C(1) << bits;
	uint32_t n = 1;

	for (;; n++) {
		uint64_t off = at + n * cs, used = 0;

		if (n * cs >= Q2_REFTABLE_MAX || off >= s->r->io->size ||
		    off == first_block ||
		    q2_pread_zero(s->r->io, s->block, (size_t)cs, off, NULL) !=
			    Q2_OK)
			return n;
		for (uint64_t i = 0; i < cs; i += 8) {
			uint64_t word = q2_be64(s->block + i);

			used += word != 0;
			if (word % cs || word >= s->r->io->size)
				return n;
		}
		if (used == 0)
			return n;
	}
}

static enum q2_status try_table(struct search *s, uint64_t at, uint64_t first,
				uint64_t words)
{
	enum q2_status st = Q2_OK;

	for (unsigned i = 0; i < 13 * 7 && st == Q2_OK; i++) {
		struct q2_head h = {.bits = Q2_CLUSTER_BITS_MIN + i / 7,
				    .order = i % 7,
				    .version = 3,
				    .rt_offset = at};

		if ((at | words) & ((UINT64_C(1) << h.bits) - 1) ||
		    at == first || s->heads->n >= HEADS_MAX ||
		    q2_pread_zero(s->r->io, s->block, (size_t)1 << h.bits,
				  first, NULL) != Q2_OK ||
		    count_of(s, h.bits, h.order, 0) != 1 ||
		    count_of(s, h.bits, h.order, at) != 1 ||
		    count_of(s, h.bits, h.order, first) != 1)
			continue;
		h.rt_clusters = table_clusters(s, at, h.bits, first);
		h.coverage = coverage(s, &h);
		if (h.coverage)
			st = q2_heads_push(s->heads, &s->r->budget, h,
					   s->r->err);
	}
	return st;
}

static enum q2_status see_chunk(struct search *s, uint64_t at)
{
	struct q2_io *io = s->r->io;
	enum q2_status st = Q2_OK;
	uint64_t words;

	/* What cannot be read holds no evidence. */
	if (q2_pread_zero(io, s->chunk, CHUNK, at, NULL) != Q2_OK)
		return Q2_OK;
	for (uint64_t i = 0; i < CHUNK && st == Q2_OK; i += SECTOR)
		if (at + i &&
		    looks_like_table(s->chunk + i, io->size, &words))
			st = try_table(s, at + i, q2_be64(s->chunk + i),
				       words);
	return st;
}

static enum q2_status scan(struct search *s)
{
	struct q2_io *io = s->r->io;
	const struct q2_search search = {.kind = Q2_SEARCH_REFTABLES,
					 .of = q2_hash(&io->size,
						       sizeof(io->size)),
					 .put = put_search,
					 .take = take_search,
					 .work = s};
	bool done;
	enum q2_status st = q2_search_begin(s->r, &search, &done);

	while (st == Q2_OK && !done && s->at < io->size) {
		uint64_t data = q2_io_data(io, s->at).start & ~(CHUNK - 1);

		s->at = q2_max(s->at, data);
		if (s->at >= io->size)
			break;
		st = q2_search_tick(s->r, &search, "rescue", s->at, io->size);
		if (st == Q2_OK)
			st = see_chunk(s, s->at);
		s->at += CHUNK;
	}
	return q2_search_end(s->r, &search, st);
}

/* In clusters of half the size a table counts half of the file. */
static int by_coverage(const void *a, const void *b)
{
	const struct q2_head *x = a, *y = b;
	uint64_t p = x->coverage << x->bits, q = y->coverage << y->bits;

	if (p != q)
		return p > q ? -1 : 1;
	return (x->rt_offset > y->rt_offset) - (x->rt_offset < y->rt_offset);
}

enum q2_status q2_find_reftables(struct q2_repair *r, struct q2_heads *heads)
{
	struct search s = {.r = r, .heads = heads};
	uint64_t most = UINT64_C(1) << Q2_CLUSTER_BITS_MAX;
	void *block;
	enum q2_status st = q2_get(&r->budget, CHUNK + most, &block, r->err);

	if (st != Q2_OK)
		return st;
	s.chunk = block;
	s.block = s.chunk + CHUNK;
	st = scan(&s);
	q2_sort(heads->at, heads->n, sizeof(*heads->at), by_coverage);
	q2_put(&r->budget, block, CHUNK + most);
	return st;
}
