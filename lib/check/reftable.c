/*
 * reftable.c - reading and judging the refcount table.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Refcount table entry".
 */
#include "check/reftable.h"

#include <stdlib.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/zeros.h"
#include "format/refcount.h"

#define CHUNK (64u << 10)
#define BAD_MAX 65536u

/* Bad entries are told together with what they cost; too many are told as they
 * come, and the ranges without refcounts are not. */
static enum q2_status note_bad(struct q2_checker *c, struct q2_reftable *t,
			       struct q2_bad_block bad)
{
	if (t->bad.n < BAD_MAX)
		return q2_bad_blocks_push(&t->bad, &c->budget, bad, c->err);
	t->unknown = true;
	q2_bad_block_report(c, &bad, 0);
	return Q2_OK;
}

void q2_bad_block_report(struct q2_checker *c, const struct q2_bad_block *bad,
			 uint64_t count)
{
	struct q2_finding f = {.fields = q2_problem(bad->problem)->fields,
			       .index = (uint32_t)bad->index,
			       .found = bad->found,
			       .host = bad->host,
			       .count = count};

	q2_found(c, bad->problem, &f);
}

static enum q2_status entry(struct q2_checker *c, struct q2_reftable *t,
			    uint64_t index, uint64_t raw)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t off = raw & Q2_REFTABLE_OFFSET;
	struct q2_bad_block bad = {.index = index, .found = off};

	if (raw != off) {
		struct q2_finding f = {.fields = Q2_F_INDEX | Q2_F_FOUND,
				       .index = (uint32_t)index,
				       .found = raw};

		q2_found(c, Q2_P_REFTABLE_RESERVED, &f);
	}
	if (off == 0)
		return Q2_OK;
	if (off & (g->cluster_size - 1))
		bad.problem = Q2_P_REFBLOCK_UNALIGNED;
	else if (off >= g->file_size)
		bad.problem = Q2_P_REFBLOCK_OUTSIDE;
	else
		return q2_blocks_push(&t->blocks, &c->budget,
				      (struct q2_block){off, index}, c->err);
	return note_bad(c, t, bad);
}

uint64_t q2_reftable_there(const struct q2_geom *g, const struct q2_io *io)
{
	uint64_t bytes = io->size > g->reftable_offset ?
				 io->size - g->reftable_offset : 0;

	return q2_min(g->reftable_bytes / 8, q2_div_up(bytes, 8));
}

static enum q2_status read_table(struct q2_checker *c, struct q2_reftable *t,
				 uint8_t *chunk)
{
	const struct q2_geom *g = &c->img.geom;
	/* Past the end of the file there are zeros: no entries. */
	uint64_t bytes = q2_reftable_there(g, c->img.io) * 8;
	struct q2_holes holes;
	enum q2_status st = Q2_OK;

	q2_holes_init(&holes, c->img.io, bytes);
	for (uint64_t at = 0; at < bytes && st == Q2_OK; at += CHUNK) {
		struct q2_range r = {g->reftable_offset + at,
				     q2_min(CHUNK, bytes - at)};
		struct q2_err why = {0};

		if (q2_holes_covers(&holes, r))
			continue;
		st = q2_pread_zero(c->img.io, chunk, (size_t)r.len, r.start,
				   &why);
		if (st != Q2_OK) {
			t->unknown = true;
			st = q2_unreadable(c, st, &why, Q2_K_REFTABLE, r.start,
					   r.len);
			continue;
		}
		r.len = q2_used_bytes(chunk, (size_t)r.len);
		for (uint64_t i = 0; i < r.len && st == Q2_OK; i += 8)
			if (q2_be64(chunk + i))
				st = entry(c, t, (at + i) / 8,
					   q2_be64(chunk + i));
	}
	return st;
}

static int by_offset(const void *a, const void *b)
{
	const struct q2_block *x = a;
	const struct q2_block *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

static int by_index(const void *a, const void *b)
{
	const struct q2_block *x = a;
	const struct q2_block *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

static int bad_by_index(const void *a, const void *b)
{
	const struct q2_bad_block *x = a;
	const struct q2_bad_block *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

/* More blocks in holes than the file could ever have stored are a claim: they
 * would cost memory, and tell nothing. */
static void report_holes(struct q2_checker *c, uint64_t n)
{
	struct q2_finding f = {.fields = Q2_F_KIND | Q2_F_COUNT,
			       .kind = Q2_K_REFBLOCK,
			       .count = n};

	if (n == 0)
		return;
	c->result->partial = true;
	q2_found(c, Q2_P_METADATA_CLAIM, &f);
}

/* One block for two ranges: the first keeps it. */
static enum q2_status drop_shared(struct q2_checker *c, struct q2_reftable *t)
{
	struct q2_blocks *b = &t->blocks;
	uint64_t cs = c->img.geom.cluster_size;
	uint64_t most = c->img.io->stored / cs + BAD_MAX;
	uint64_t in_holes = 0;
	struct q2_holes holes;
	size_t kept = 0;

	q2_holes_init(&holes, c->img.io, b->n * cs);
	q2_sort(b->at, b->n, sizeof(*b->at), by_offset);
	for (size_t i = 0; i < b->n; i++) {
		struct q2_bad_block bad = {.index = b->at[i].index,
					   .host = b->at[i].offset,
					   .problem = Q2_P_REFBLOCK_SHARED};
		struct q2_range at = {b->at[i].offset, cs};
		enum q2_status st;

		if (kept >= most && q2_holes_covers(&holes, at)) {
			in_holes++;
			continue;
		}
		if (kept == 0 || b->at[kept - 1].offset != b->at[i].offset) {
			b->at[kept++] = b->at[i];
			continue;
		}
		bad.found = b->at[kept - 1].index;
		st = note_bad(c, t, bad);
		if (st != Q2_OK)
			return st;
	}
	b->n = kept;
	report_holes(c, in_holes);
	q2_sort(b->at, b->n, sizeof(*b->at), by_index);
	q2_sort(t->bad.at, t->bad.n, sizeof(*t->bad.at), bad_by_index);
	return Q2_OK;
}

enum q2_status q2_reftable_read(struct q2_checker *c, struct q2_reftable *t)
{
	uint64_t room = q2_min(CHUNK, c->img.geom.reftable_bytes);
	void *chunk;
	enum q2_status st = q2_get_raw(&c->budget, room, &chunk, c->err);

	if (st != Q2_OK)
		return st;
	st = read_table(c, t, chunk);
	if (st == Q2_OK)
		st = drop_shared(c, t);
	for (size_t i = 0; i < t->blocks.n && st == Q2_OK; i++) {
		struct q2_range r = {t->blocks.at[i].offset,
				     c->img.geom.cluster_size};

		st = q2_meta_add(c, Q2_K_REFBLOCK,
				 (uint32_t)t->blocks.at[i].index, r);
	}
	q2_put(&c->budget, chunk, room);
	return st;
}

void q2_reftable_free(struct q2_reftable *t, struct q2_budget *budget)
{
	q2_blocks_free(&t->blocks, budget);
	q2_bad_blocks_free(&t->bad, budget);
}
