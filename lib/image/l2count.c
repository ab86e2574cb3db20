/*
 * l2count.c - counting the references that L2 tables hold.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/endian.h"
#include "base/zeros.h"
#include "image/l2walk.h"

#define LOOK_BACK 32u

static uint64_t raw_at(const struct q2_geom *g, const uint8_t *bytes,
		       uint32_t i)
{
	return q2_be64(bytes + ((size_t)i << g->entry_bits));
}

/* Whether an earlier table of the slot names the same host range here: that is
 * a snapshot's sharing and no cross-link.  Flags may differ.  It is looked for in
 * the nearest tables and in the first, the active one: a "no" that is wrong only
 * makes the owners be looked up. */
static bool named_before(const struct q2_geom *g, const struct q2_l2slice *s,
			 uint32_t i, uint64_t raw)
{
	uint64_t mask = raw & Q2_COMPRESSED ? ~Q2_COPIED :
					      Q2_ENTRY_OFFSET | Q2_COMPRESSED;

	for (uint32_t t = s->earlier, left = LOOK_BACK; t-- > 0;) {
		if (left-- == 0)
			t = 0;
		if (((raw_at(g, s->others + t * s->stride, i) ^ raw) & mask) ==
		    0)
			return true;
	}
	return false;
}

void q2_l2_visit(const struct q2_geom *g, const struct q2_l2slice *s,
		 uint32_t i, struct q2_l2visit *v)
{
	v->ref = s->ref;
	v->index = s->first + i;
	v->raw = raw_at(g, s->bytes, i);
	v->bitmap = q2_l2_bitmap(g, s->bytes + ((size_t)i << g->entry_bits));
	v->repeat = s->earlier && v->raw && named_before(g, s, i, v->raw);
	v->e = q2_l2_decode(g, v->raw, v->bitmap,
			    q2_guest(g, s->ref->slot, v->index));
}

static enum q2_mark mark_of(const struct q2_l2visit *v)
{
	if (v->e.type == Q2_L2_COMPRESSED)
		return Q2_MARK_COMPRESSED;
	if (v->ref->active == 0)
		return Q2_MARK_NONE;
	return v->e.copied ? Q2_MARK_COPIED : Q2_MARK_CLEAR;
}

static enum q2_status add_range(struct q2_count *c,
				const struct q2_l2visit *v)
{
	const struct q2_geom *g = &c->img->geom;
	enum q2_mark mark = mark_of(v);
	uint64_t last = (q2_end(v->e.host) - 1) >> g->cluster_bits;
	enum q2_status st = Q2_OK;

	for (uint64_t clu = v->e.host.start >> g->cluster_bits;
	     clu <= last && st == Q2_OK; clu++) {
		struct q2_ref before;

		st = q2_refmap_add(c->map, clu, v->ref->weight, mark, &before,
				   c->err);
		if (st != Q2_OK || before.count == 0 || v->repeat)
			continue;
		if (mark == Q2_MARK_COMPRESSED &&
		    before.mark == Q2_MARK_COMPRESSED)
			continue;
		st = c->shared(c->ctx, clu);
	}
	return st;
}

static void tally(struct q2_count *c, const struct q2_l2visit *v)
{
	uint64_t off = v->e.host.start;

	switch (v->e.type) {
	case Q2_L2_COMPRESSED:
		c->compressed += v->ref->active;
		c->allocated += v->ref->active;
		c->fragmented += v->ref->active;
		break;
	case Q2_L2_NORMAL:
	case Q2_L2_ZERO_ALLOC:
		c->allocated += v->ref->active;
		if (c->next && off != c->next)
			c->fragmented += v->ref->active;
		c->next = off + c->img->geom.cluster_size;
		if (c->img->geom.data_file)
			c->data_end = q2_max(c->data_end, c->next);
		break;
	default:
		break;
	}
	if (v->e.type != Q2_L2_UNALLOCATED && v->index < v->ref->limit)
		c->mapped += v->ref->active;
}

/* Any entry, at leisure. */
static enum q2_status one(struct q2_count *c, const struct q2_l2slice *s,
			  uint32_t i)
{
	const struct q2_geom *g = &c->img->geom;
	struct q2_l2visit v;
	enum q2_status st = Q2_OK;

	q2_l2_visit(g, s, i, &v);
	tally(c, &v);
	if (v.e.refers)
		st = add_range(c, &v);
	if (st != Q2_OK)
		return st;
	if (v.e.faults || v.e.type == Q2_L2_COMPRESSED ||
	    (v.index >= s->ref->limit && v.e.type != Q2_L2_UNALLOCATED))
		return c->odd(c->ctx, &v);
	return Q2_OK;
}

/* What the quick path needs to know of a slice. */
struct quick {
	uint8_t fresh[2];   /* a first reference's cell, COPIED clear and set */
	uint8_t add;	    /* what a weight adds to a cell */
	bool active;
	const uint8_t *before; /* the previous table of the slot, or NULL */
};

static void quick_init(struct quick *q, const struct q2_l2slice *s)
{
	uint8_t add = (uint8_t)(s->ref->weight << 2);

	q->active = s->ref->active != 0;
	q->add = add;
	q->fresh[0] = add | (q->active ? Q2_MARK_CLEAR : 0);
	q->fresh[1] = add | (q->active ? Q2_MARK_COPIED : 0);
	q->before = s->earlier ? s->others + (s->earlier - 1) * s->stride :
				 NULL;
}

/* Counts a plain cluster in its cell; false if that needs more thought: a page
 * that is not of bytes, too many references, or perhaps a cross-link. */
static inline bool quick_add(const struct quick *q, uint8_t *cell,
			     uint64_t raw, size_t at)
{
	uint8_t old = *cell;
	uint8_t mark = old & 3;

	if (old == 0) {
		*cell = q->fresh[raw >> 63];
		return true;
	}
	if (q->before == NULL || mark == Q2_MARK_COMPRESSED ||
	    (q2_be64(q->before + at) ^ raw) << 1 != 0 ||
	    (old & ~3u) + q->add + 3 > Q2_CELL_MAX)
		return false;
	if (q->active && mark != Q2_MARK_COPIED)
		mark = q->fresh[raw >> 63] & 3;
	*cell = (uint8_t)((old & ~3u) + q->add) | mark;
	return true;
}

/* How many entries from `p` on name consecutive clusters with the same flags. */
static uint32_t run_length(const uint8_t *p, uint64_t raw, uint64_t step,
			   uint32_t max)
{
	uint32_t n = 1;

	while (n < max && q2_be64(p + 8 * (size_t)n) == raw + n * step)
		n++;
	return n;
}

/* Counts a run of plain clusters, all in one page; returns how many it did. */
static uint32_t quick_run(const struct quick *q, uint8_t *cells, uint64_t raw,
			  size_t at, uint32_t n, uint64_t step)
{
	uint32_t i;

	if (n > 1 && q2_all_zero(cells, n)) {
		memset(cells, q->fresh[raw >> 63], n);
		return n;
	}
	for (i = 0; i < n; i++)
		if (!quick_add(q, &cells[i], raw + i * step,
			       at + (size_t)8 * i))
			break;
	return i;
}

/* Where clusters lie at random each cell is a cache miss: ask for that of an
 * entry further on while this one is worked at.  A macro, because gcc drops calls
 * of functions that only prefetch. */
#define FAR 8u
#define PREFETCH(map, entry, shift)                                            \
	do {                                                                   \
		uint64_t far_ = (q2_be64(entry) & Q2_ENTRY_OFFSET) >> (shift);  \
		const uint8_t *cells_ = q2_refmap_cells((map), far_);          \
		if (cells_)                                                    \
			__builtin_prefetch(cells_ + far_ % Q2_PAGE_CELLS);     \
	} while (0)

/* Counts plain clusters for as long as entries are plain; returns the index of the
 * first one, from `i` on and below `end`, that needs thought. */
static uint32_t quick_entries(struct q2_count *c, const struct q2_l2slice *s,
			      const struct quick *q, uint32_t i, uint32_t end)
{
	const struct q2_refmap *map = c->map;
	const uint8_t *p = s->bytes;
	const unsigned shift = c->img->geom.cluster_bits;
	const uint64_t cs = c->img->geom.cluster_size;
	const uint64_t file = c->img->geom.file_size;
	/* Bits that make an entry anything but a plain cluster. */
	const uint64_t odd = ~(Q2_COPIED | (Q2_ENTRY_OFFSET & ~(cs - 1)));
	uint64_t next = c->next, allocated = 0, fragmented = 0;

	for (; i < end; i++) {
		uint64_t raw = q2_be64(p + 8 * (size_t)i);
		uint64_t off = raw & ~Q2_COPIED;
		uint64_t cell = off >> shift & (Q2_PAGE_CELLS - 1);
		uint32_t n = 1;
		uint8_t *cells;

		if (raw == 0)
			continue;
		if ((raw & odd) || off == 0 || off >= file)
			break;
		cells = q2_refmap_cells(map, off >> shift);
		if (cells == NULL)
			break;
		if (i + 1 < end &&
		    q2_be64(p + 8 * ((size_t)i + 1)) == raw + cs) {
			uint64_t max = q2_min(end - i, Q2_PAGE_CELLS - cell);

			max = q2_min(max, ((file - off - 1) >> shift) + 1);
			n = run_length(p + 8 * (size_t)i, raw, cs,
				       (uint32_t)max);
			n = quick_run(q, cells + cell, raw, 8 * (size_t)i, n,
				      cs);
			if (n == 0)
				break;
		} else if (cells[cell] == 0) {
			cells[cell] = q->fresh[raw >> 63];
			if (i + FAR < end)
				PREFETCH(map, p + 8 * ((size_t)i + FAR), shift);
		} else if (!quick_add(q, &cells[cell], raw, 8 * (size_t)i)) {
			break;
		}
		allocated += n;
		fragmented += next && off != next;
		next = off + n * cs;
		i += n - 1;
	}
	c->next = next;
	c->allocated += allocated * s->ref->active;
	c->fragmented += fragmented * s->ref->active;
	return i;
}

enum q2_status q2_l2_count(struct q2_count *c, const struct q2_l2slice *s)
{
	const struct q2_geom *g = &c->img->geom;
	uint32_t quick_end = 0;
	enum q2_status st = Q2_OK;
	struct quick q;

	if (!g->data_file && !g->ext_l2 && s->ref->weight < 63 &&
	    s->ref->limit > s->first)
		quick_end = (uint32_t)q2_min(s->n, s->ref->limit - s->first);
	if (s->first == 0 && s->from == 0)
		c->next = 0;
	quick_init(&q, s);
	for (uint32_t i = s->from; i < s->n && st == Q2_OK; i++) {
		if (i < quick_end)
			i = quick_entries(c, s, &q, i, quick_end);
		if (i < s->n)
			st = one(c, s, i);
	}
	return st;
}
