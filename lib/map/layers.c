/*
 * layers.c - what each file of a chain has, and what of it the guest sees.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"
#include "map/disk.h"

#define TICK 4096u /* steps between two calls of the progress function */

struct layers {
	struct q2_disk *disk;
	struct q2_layer_cost *costs;
	size_t n;
};

/* What the layers have in [at, at + *len), which is cut to what is alike. */
static void look(struct layers *l, uint64_t at, uint64_t *len,
		 struct q2_extent *e)
{
	for (size_t i = 0; i < l->n; i++) {
		struct q2_map *m = &l->disk->chain.layers[i]->map;

		e[i] = (struct q2_extent){.length = *len};
		if (at < m->size)
			q2_map_at(m, at, q2_min(*len, m->size - at), &e[i]);
		*len = q2_min(*len, e[i].length);
	}
}

static bool has_bytes(const struct q2_extent *e)
{
	return e->kind == Q2_MAP_DATA || e->kind == Q2_MAP_COMPRESSED;
}

static void add(struct layers *l, uint64_t at, uint64_t len,
		const struct q2_extent *e)
{
	bool hidden = false;
	size_t with = 0;

	for (size_t i = 0; i < l->n; i++)
		with += has_bytes(&e[i]);
	for (size_t i = 0; i < l->n; i++) {
		struct q2_layer_cost *c = &l->costs[i];

		/* Past the end of an upper layer there are zeros. */
		hidden |= at >= l->disk->chain.layers[i]->map.size;
		if (has_bytes(&e[i])) {
			c->mapped += len;
			*(hidden ? &c->shadowed : &c->visible) += len;
			c->exclusive += with == 1 ? len : 0;
		}
		if (e[i].kind == Q2_MAP_UNREADABLE)
			c->unreadable += len;
		if (e[i].kind == Q2_MAP_ZERO || e[i].kind == Q2_MAP_ZERO_ALLOC)
			c->zeros += len;
		hidden |= e[i].kind != Q2_MAP_NONE;
	}
}

enum q2_status q2_disk_layer_costs(struct q2_disk *disk,
				   struct q2_layer_cost *costs, size_t n,
				   bool (*progress)(void *ctx,
						    const struct q2_progress *p),
				   void *ctx, struct q2_err *err)
{
	struct layers l = {disk, costs, (size_t)q2_min(n, disk->chain.n)};
	struct q2_extent e[Q2_CHAIN_MAX + 1];
	uint64_t size = 0, len;
	uint32_t steps = 0;

	for (size_t i = 0; i < n; i++)
		costs[i] = (struct q2_layer_cost){0};
	for (size_t i = 0; i < l.n; i++)
		size = q2_max(size, disk->chain.layers[i]->map.size);
	for (uint64_t at = 0; at < size; at += len) {
		struct q2_progress p = {"layers", at, size};

		len = size - at;
		look(&l, at, &len, e);
		add(&l, at, len, e);
		if (++steps % TICK == 0 && progress && progress(ctx, &p))
			return q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
				       "interrupted");
	}
	return Q2_OK;
}

/* -------------------------------------------------------------------- delta */

/* Two pieces of the chain below layers `from[0]` and `from[1]`. */
static bool same(const unsigned from[2], const struct q2_piece p[2])
{
	bool none[2];

	for (int i = 0; i < 2; i++) {
		if (p[i].e.kind == Q2_MAP_UNREADABLE)
			return false;
		none[i] = p[i].e.kind == Q2_MAP_NONE ||
			  p[i].e.kind == Q2_MAP_ZERO;
	}
	/* What no file has, is nowhere. */
	if (none[0] || none[1])
		return none[0] && none[1];
	return p[0].e.kind == p[1].e.kind &&
	       from[0] + p[0].depth == from[1] + p[1].depth &&
	       p[0].e.host == p[1].e.host && p[0].e.stored == p[1].e.stored;
}

enum q2_status q2_disk_delta(struct q2_disk *disk, size_t a, size_t b,
			     enum q2_status (*see)(void *ctx, uint64_t guest,
						   uint64_t length),
			     void *ctx, struct q2_err *err)
{
	unsigned from[2] = {(unsigned)a, (unsigned)b};
	struct q2_chain view[2] = {disk->chain, disk->chain};
	uint64_t start = 0, end = 0, both = UINT64_MAX, longest = 0;
	enum q2_status st = Q2_OK;

	if (a >= disk->chain.n || b >= disk->chain.n)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "there is no such layer");
	for (int i = 0; i < 2; i++) {
		view[i].layers += from[i];
		view[i].n -= from[i];
		both = q2_min(both, q2_chain_size(&view[i]));
		longest = q2_max(longest, q2_chain_size(&view[i]));
	}
	for (uint64_t at = 0, len; at < longest && st == Q2_OK; at += len) {
		struct q2_piece p[2];
		bool alike = false;

		len = longest - at;
		if (at < both) {
			q2_chain_at(&view[0], at, both - at, &p[0]);
			q2_chain_at(&view[1], at, p[0].e.length, &p[1]);
			len = p[1].e.length;
			alike = same(from, p);
		}
		if (alike && end > start)
			st = see(ctx, start, end - start);
		end = at + len;
		if (alike)
			start = end;
	}
	return st == Q2_OK && end > start ? see(ctx, start, end - start) : st;
}
