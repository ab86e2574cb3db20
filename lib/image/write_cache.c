/*
 * write_cache.c - L2 tables and refcount blocks in memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "image/write_int.h"

static struct q2_wblock **slot_of(struct q2_wcache *c, uint64_t clu)
{
	return &c->slots[(clu * UINT64_C(0x9e3779b97f4a7c15) >> 32) %
			 Q2_W_SLOTS];
}

static struct q2_wblock *find(struct q2_writer *w, uint64_t clu)
{
	struct q2_wblock *b = *slot_of(&w->cache, clu);

	while (b && b->clu != clu)
		b = b->next;
	if (b)
		b->used = ++w->cache.clock;
	return b;
}

static enum q2_status add(struct q2_writer *w, uint64_t clu,
			  enum q2_wkind kind, struct q2_wblock **out,
			  struct q2_err *err)
{
	uint64_t cs = w->img.geom.cluster_size;
	struct q2_wblock *b;
	void *block, *bytes;
	enum q2_status st = q2_get(w->img.budget, sizeof(*b), &block, err);

	if (st != Q2_OK)
		return st;
	st = q2_get(w->img.budget, cs, &bytes, err);
	if (st != Q2_OK) {
		q2_put(w->img.budget, block, sizeof(*b));
		return st;
	}
	b = block;
	b->clu = clu;
	b->kind = kind;
	b->bytes = bytes;
	b->used = ++w->cache.clock;
	b->next = *slot_of(&w->cache, clu);
	*slot_of(&w->cache, clu) = b;
	w->cache.n++;
	*out = b;
	return Q2_OK;
}

static void drop(struct q2_writer *w, struct q2_wblock **at)
{
	struct q2_wblock *b = *at;

	*at = b->next;
	w->cache.n--;
	w->cache.n_dirty -= b->dirty;
	q2_put(w->img.budget, b->bytes, w->img.geom.cluster_size);
	q2_put(w->img.budget, b, sizeof(*b));
}

void q2_w_forget(struct q2_writer *w, uint64_t clu)
{
	struct q2_wblock **at = slot_of(&w->cache, clu);

	while (*at && (*at)->clu != clu)
		at = &(*at)->next;
	if (*at)
		drop(w, at);
}

enum q2_status q2_w_get(struct q2_writer *w, uint64_t clu, enum q2_wkind kind,
			struct q2_wblock **out, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_wblock *b = find(w, clu);
	enum q2_status st = Q2_OK;

	*out = NULL;
	if (b == NULL) {
		st = add(w, clu, kind, &b, err);
		if (st != Q2_OK)
			return st;
		st = q2_pread_zero(w->img.io, b->bytes, (size_t)g->cluster_size,
				   clu << g->cluster_bits, err);
		if (st != Q2_OK) {
			q2_w_forget(w, clu);
			return st;
		}
	}
	*out = b;
	return Q2_OK;
}

enum q2_status q2_w_new(struct q2_writer *w, uint64_t clu, enum q2_wkind kind,
			struct q2_wblock **out, struct q2_err *err)
{
	enum q2_status st;

	*out = NULL;
	q2_w_forget(w, clu);
	st = add(w, clu, kind, out, err);
	if (st != Q2_OK)
		return st;
	(*out)->fresh = true;
	q2_w_dirty(w, *out, 0, w->img.geom.cluster_size);
	return Q2_OK;
}

void q2_w_dirty(struct q2_writer *w, struct q2_wblock *b, uint64_t from,
		uint64_t to)
{
	if (!b->dirty) {
		b->dirty = true;
		w->cache.n_dirty++;
		b->from = (uint32_t)from;
		b->to = (uint32_t)to;
		return;
	}
	b->from = (uint32_t)q2_min(b->from, from);
	b->to = (uint32_t)q2_max(b->to, to);
}

static int by_cluster(const void *a, const void *b)
{
	const struct q2_wblock *x = *(struct q2_wblock *const *)a;
	const struct q2_wblock *y = *(struct q2_wblock *const *)b;

	return x->clu < y->clu ? -1 : x->clu > y->clu;
}

static enum q2_status put_one(struct q2_writer *w, struct q2_wblock *b,
			      struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	/* Whole sectors: none of them is torn. */
	uint32_t from = b->fresh ? 0 : b->from & ~(Q2_W_SECTOR - 1);
	uint32_t to = b->fresh ? (uint32_t)g->cluster_size :
				 (b->to + Q2_W_SECTOR - 1) &
					 ~(Q2_W_SECTOR - 1);
	enum q2_status st = q2_w_put(w, b->bytes + from, to - from,
				     (b->clu << g->cluster_bits) + from, err);

	if (st != Q2_OK)
		return st;
	b->dirty = false;
	b->fresh = false;
	w->cache.n_dirty--;
	return Q2_OK;
}

enum q2_status q2_w_blocks_put(struct q2_writer *w, enum q2_wkind kind,
			       bool fresh, struct q2_err *err)
{
	struct q2_wcache *c = &w->cache;
	uint64_t room = c->n_dirty * sizeof(struct q2_wblock *);
	struct q2_wblock **list;
	enum q2_status st;
	void *block;
	size_t n = 0;

	if (c->n_dirty == 0)
		return Q2_OK;
	st = q2_get(w->img.budget, room, &block, err);
	if (st != Q2_OK)
		return st;
	list = block;
	for (size_t i = 0; i < Q2_W_SLOTS; i++)
		for (struct q2_wblock *b = c->slots[i]; b; b = b->next)
			if (b->dirty && b->kind == kind && b->fresh == fresh)
				list[n++] = b;
	q2_sort(list, n, sizeof(*list), by_cluster);
	for (size_t i = 0; i < n && st == Q2_OK; i++)
		st = put_one(w, list[i], err);
	q2_put(w->img.budget, block, room);
	return st;
}

void q2_w_trim(struct q2_writer *w, uint64_t keep)
{
	struct q2_wcache *c = &w->cache;
	/* Those used least lately: about half of what is held goes. */
	uint64_t since = keep && c->clock > keep / 2 ? c->clock - keep / 2 : 0;

	if (c->n <= keep)
		return;
	for (size_t i = 0; i < Q2_W_SLOTS; i++) {
		struct q2_wblock **at = &c->slots[i];

		while (*at) {
			if (!(*at)->dirty && (keep == 0 || (*at)->used <= since))
				drop(w, at);
			else
				at = &(*at)->next;
		}
	}
}
