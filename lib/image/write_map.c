/*
 * write_map.c - the writer's L1 table and its L2 tables.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "image/write_int.h"

static enum q2_status bad(struct q2_err *err, uint64_t guest)
{
	return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
		       "the tables are damaged at guest offset %llu",
		       (unsigned long long)guest);
}

enum q2_status q2_w_l1_load(struct q2_writer *w, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint8_t *bytes;
	void *block;
	enum q2_status st;

	w->l1.clu = q2_cluster(g, g->l1_offset).n;
	st = q2_get(w->img.budget, 8 * (uint64_t)g->l1_entries, &block, err);
	if (st != Q2_OK)
		return st;
	w->l1.at = block;
	w->l1.n = g->l1_entries;
	bytes = block;
	st = q2_pread_zero(w->img.io, bytes, 8 * (size_t)g->l1_entries,
			   g->l1_offset, err);
	for (size_t i = 0; i < w->l1.n && st == Q2_OK; i++) {
		uint64_t raw = q2_be64(bytes + 8 * i);
		struct q2_l1_entry e = q2_l1_decode(g, raw);

		if (e.faults)
			st = bad(err, q2_guest(g, i, 0));
		memcpy(&w->l1.at[i], &raw, sizeof(raw));
	}
	return st;
}

void q2_w_l1_free(struct q2_writer *w)
{
	q2_put(w->img.budget, w->l1.at, 8 * (uint64_t)w->l1.n);
}

void q2_w_l1_set(struct q2_writer *w, uint64_t slot, uint64_t raw)
{
	struct q2_wl1 *l1 = &w->l1;

	l1->at[slot] = raw;
	if (l1->from == l1->to) {
		l1->from = (uint32_t)slot;
		l1->to = (uint32_t)slot + 1;
	}
	l1->from = (uint32_t)q2_min(l1->from, slot);
	l1->to = (uint32_t)q2_max(l1->to, slot + 1);
}

static enum q2_status put_entries(struct q2_writer *w, uint64_t from,
				  uint64_t to, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t per = g->cluster_size / 8;
	uint64_t base = w->l1.clu << g->cluster_bits;
	enum q2_status st;
	void *block;

	st = q2_get(w->img.budget, g->cluster_size, &block, err);
	for (uint64_t i = from; i < to && st == Q2_OK; i += per) {
		uint64_t n = q2_min(per, to - i);
		uint8_t *bytes = block;

		for (uint64_t j = 0; j < n; j++)
			q2_put_be64(bytes + 8 * j,
				    i + j < w->l1.n ? w->l1.at[i + j] : 0);
		st = q2_w_put(w, bytes, (size_t)(8 * n), base + 8 * i, err);
	}
	q2_put(w->img.budget, block, g->cluster_size);
	return st;
}

enum q2_status q2_w_l1_put(struct q2_writer *w, struct q2_err *err)
{
	struct q2_wl1 *l1 = &w->l1;
	enum q2_status st = Q2_OK;

	if (l1->from < l1->to)
		st = put_entries(w, l1->from, l1->to, err);
	l1->from = l1->to = 0;
	return st;
}

enum q2_status q2_w_l1_put_all(struct q2_writer *w, struct q2_err *err)
{
	uint64_t per = w->img.geom.cluster_size / 8;

	w->l1.from = w->l1.to = 0;
	return put_entries(w, 0, q2_div_up(w->l1.n, per) * per, err);
}

enum q2_status q2_w_l1_move(struct q2_writer *w, uint32_t n,
			    struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_wl1 *l1 = &w->l1;
	struct q2_range old = {l1->clu << g->cluster_bits,
			       8 * (uint64_t)l1->n};
	void *block = l1->at;
	uint64_t clusters;
	enum q2_status st;

	if (old.len) {
		st = q2_w_drop(w, old, err);
		if (st != Q2_OK)
			return st;
	}
	n = n < l1->n ? l1->n : n;
	st = q2_regrow(w->img.budget, 8 * (uint64_t)l1->n, 8 * (uint64_t)n,
		       &block, err);
	if (st != Q2_OK)
		return st;
	l1->at = block;
	l1->n = n;
	l1->moved = true;
	clusters = q2_div_up(8 * (uint64_t)n, g->cluster_size);
	st = q2_w_alloc_run(w, clusters, &l1->clu, err);
	if (st == Q2_OK)
		q2_w_placed(w, Q2_PLACED_L1, l1->clu, clusters);
	return st;
}

enum q2_status q2_w_l2_read(struct q2_writer *w, uint64_t slot,
			    struct q2_wblock **out, struct q2_err *err)
{
	uint64_t off = w->l1.at[slot] & Q2_ENTRY_OFFSET;

	*out = NULL;
	if (off == 0)
		return Q2_OK;
	return q2_w_get(w, q2_cluster(&w->img.geom, off).n, Q2_W_L2, out, err);
}

enum q2_status q2_w_l2_own(struct q2_writer *w, uint64_t slot, bool copy,
			   struct q2_wblock **out, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_wblock *old, *b;
	uint64_t refcount, clu;
	enum q2_status st = q2_w_l2_read(w, slot, &old, err);

	*out = NULL;
	if (st == Q2_OK && old) {
		st = q2_w_refcount(w, old->clu, &refcount, err);
		if (st != Q2_OK)
			return st;
		if (refcount == 1 && (!copy || old->fresh)) {
			*out = old;
			return Q2_OK;
		}
	}
	if (st == Q2_OK)
		st = q2_w_alloc(w, &clu, err);
	if (st == Q2_OK)
		st = q2_w_new(w, clu, Q2_W_L2, &b, err);
	if (st != Q2_OK)
		return st;
	q2_w_placed(w, Q2_PLACED_L2, clu, 1);
	q2_w_l1_set(w, slot, clu << g->cluster_bits | Q2_COPIED);
	/* A copy: each cluster loses the way through the old table, and gets one
	 * through the new one, so that no refcount changes. */
	if (old) {
		struct q2_range host = {old->clu << g->cluster_bits, 1};

		memcpy(b->bytes, old->bytes, (size_t)g->cluster_size);
		st = q2_w_drop(w, host, err);
	}
	*out = b;
	return st;
}

static size_t place_of(const struct q2_geom *g, uint64_t guest)
{
	uint64_t i = guest >> g->cluster_bits;

	i &= (UINT64_C(1) << g->l2_bits) - 1;
	return (size_t)i << g->entry_bits;
}

static uint64_t slot_of(const struct q2_geom *g, uint64_t guest)
{
	return guest >> (g->cluster_bits + g->l2_bits);
}

enum q2_status q2_w_entry(struct q2_writer *w, uint64_t guest,
			  struct q2_went *e, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_l2_entry d;
	struct q2_wblock *b;
	uint64_t raw, bitmap;
	enum q2_status st;

	*e = (struct q2_went){0};
	st = q2_w_l2_read(w, slot_of(g, guest), &b, err);
	if (st != Q2_OK || b == NULL)
		return st;
	raw = q2_be64(b->bytes + place_of(g, guest));
	bitmap = g->ext_l2 ? q2_be64(b->bytes + place_of(g, guest) + 8) : 0;
	d = q2_l2_decode(g, raw, bitmap, guest & ~(g->cluster_size - 1));
	/* Advice: it harms nobody, and goes when the entry is written. */
	if (d.faults & ~(unsigned)Q2_EF_COPIED_UNUSED)
		return bad(err, guest);
	if (d.type == Q2_L2_COMPRESSED) {
		e->compressed = true;
		e->stream = d.host;
		return Q2_OK;
	}
	e->placed = d.host.len != 0;
	e->host = d.host.start;
	if (g->ext_l2) {
		e->alloc = (uint32_t)bitmap;
		e->zero = (uint32_t)(bitmap >> 32);
		return Q2_OK;
	}
	e->alloc = d.type == Q2_L2_NORMAL;
	e->zero = d.type == Q2_L2_ZERO_ALLOC || d.type == Q2_L2_ZERO_PLAIN;
	return Q2_OK;
}

enum q2_status q2_w_entry_set(struct q2_writer *w, uint64_t guest,
			      const struct q2_went *e, bool own,
			      struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t raw = e->placed ? e->host | (own ? Q2_COPIED : 0) : 0;
	size_t at = place_of(g, guest);
	struct q2_wblock *b;
	enum q2_status st;

	st = q2_w_l2_own(w, slot_of(g, guest), false, &b, err);
	if (st != Q2_OK)
		return st;
	if (g->ext_l2)
		q2_put_be64(b->bytes + at + 8,
			    (uint64_t)e->zero << 32 | e->alloc);
	else if (e->zero)
		raw |= Q2_ZERO;
	q2_put_be64(b->bytes + at, raw);
	q2_w_dirty(w, b, at, at + (UINT64_C(1) << g->entry_bits));
	return Q2_OK;
}
