/*
 * l2read.c - reading every distinct L2 table once, in the order of the file.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/err.h"
#include "image/l2walk.h"

#define WINDOW (UINT64_C(512) << 10) /* read at once where tables are near */
#define NEAR (UINT64_C(32) << 10)    /* a gap worth reading over */
#define AHEAD (UINT64_C(4) << 20)    /* announced to the kernel */
#define GROUP (UINT64_C(4) << 20)    /* for the tables of one slot */
#define SLICE_MIN 512u

struct reading {
	const struct q2_image *img;
	const struct q2_l2refs *refs;
	const struct q2_l2reader *reader;
	struct q2_err *err;
	struct q2_holes holes;
	uint8_t *buf;
	uint64_t room;
	struct q2_range window; /* what of the file buf holds */
	size_t announced;	/* groups */
	uint64_t ahead;		/* bytes announced and not yet read */
	uint64_t done;
	struct q2_l2_place from; /* in the next group that is read */
};

static struct q2_range place(const struct reading *r, uint32_t table)
{
	const struct q2_geom *g = &r->img->geom;

	return (struct q2_range){r->refs->tables.at[table].clu
					 << g->cluster_bits,
				 g->cluster_size};
}

static void announce(struct reading *r)
{
	const struct q2_l2group_vec *groups = &r->refs->groups;

	while (r->announced < groups->n && r->ahead < AHEAD) {
		const struct q2_l2group *g = &groups->at[r->announced++];

		for (uint32_t i = 0; i < g->n; i++) {
			q2_io_soon(r->img->io, place(r, g->first + i));
			r->ahead += r->img->geom.cluster_size;
		}
	}
}

/* Reads one table, and those single ones after it that lie close by. */
static enum q2_status fill(struct reading *r, size_t group,
			   struct q2_range want, struct q2_err *why)
{
	const struct q2_l2group_vec *groups = &r->refs->groups;
	struct q2_range w = want;
	enum q2_status st;

	for (size_t i = group + 1; i < groups->n; i++) {
		struct q2_range next = place(r, groups->at[i].first);

		if (groups->at[i].n > 1 || next.start > q2_end(w) + NEAR ||
		    q2_end(next) - w.start > r->room)
			break;
		w.len = q2_end(next) - w.start;
	}
	r->window = (struct q2_range){0, 0};
	st = q2_pread_zero(r->img->io, r->buf, (size_t)w.len, w.start, why);
	if (st != Q2_OK && w.len > want.len) {
		*why = (struct q2_err){0};
		w = want;
		st = q2_pread_zero(r->img->io, r->buf, (size_t)w.len, w.start,
				   why);
	}
	if (st == Q2_OK)
		r->window = w;
	return st;
}

static enum q2_status single(struct reading *r, size_t group)
{
	uint32_t table = r->refs->groups.at[group].first;
	const struct q2_l2ref *ref = &r->refs->tables.at[table];
	struct q2_range want = place(r, table);
	struct q2_l2slice s = {.ref = ref,
			       .n = 1u << r->img->geom.l2_bits,
			       .from = r->from.entries};
	struct q2_err why = {0};
	enum q2_status st;

	if (q2_holes_covers(&r->holes, want))
		return Q2_OK;
	if (want.start < r->window.start ||
	    q2_end(want) > q2_end(r->window)) {
		st = fill(r, group, want, &why);
		if (st != Q2_OK)
			return r->reader->unreadable(r->reader->ctx, ref, st,
						     &why);
	}
	s.bytes = r->buf + (want.start - r->window.start);
	return r->reader->slice(r->reader->ctx, &s);
}

/* Reads bytes [off, off + stride) of each table of the group side by side. */
static enum q2_status read_slices(struct reading *r,
				  const struct q2_l2group *g, uint64_t off,
				  size_t stride)
{
	for (uint32_t i = 0; i < g->n; i++) {
		struct q2_range at = place(r, g->first + i);
		struct q2_err why = {0};
		enum q2_status st = Q2_OK;
		uint8_t *to = r->buf + i * stride;

		if (q2_holes_covers(&r->holes, at)) {
			memset(to, 0, stride);
			continue;
		}
		st = q2_pread_zero(r->img->io, to, stride, at.start + off,
				   &why);
		if (st == Q2_OK)
			continue;
		memset(to, 0, stride);
		st = r->reader->unreadable(r->reader->ctx,
					   &r->refs->tables.at[g->first + i],
					   st, &why);
		if (st != Q2_OK)
			return st;
	}
	return Q2_OK;
}

static enum q2_status several(struct reading *r, const struct q2_l2group *g)
{
	const struct q2_geom *geom = &r->img->geom;
	uint64_t stride = q2_min(geom->cluster_size,
				 r->room / g->n & ~(uint64_t)(SLICE_MIN - 1));
	uint32_t from = r->from.entries; /* of table i, and only that */
	uint32_t i = from ? r->from.table - g->first : 0;
	uint64_t off = 0;
	enum q2_status st = Q2_OK;

	r->window = (struct q2_range){0, 0};
	if (from)
		off = ((uint64_t)(from - 1) << geom->entry_bits) / stride *
		      stride;
	for (; off < geom->cluster_size && st == Q2_OK; off += stride, i = 0) {
		uint64_t len = q2_min(stride, geom->cluster_size - off);
		uint32_t first = (uint32_t)(off >> geom->entry_bits);

		st = read_slices(r, g, off, (size_t)len);
		for (; i < g->n && st == Q2_OK; i++, from = 0) {
			struct q2_l2slice s = {
				.ref = &r->refs->tables.at[g->first + i],
				.bytes = r->buf + i * len,
				.first = first,
				.from = from ? from - first : 0,
				.n = (uint32_t)(len >> geom->entry_bits),
				.others = r->buf,
				.earlier = i,
				.stride = (size_t)len,
			};

			st = r->reader->slice(r->reader->ctx, &s);
		}
	}
	return st;
}

/* Room for the widest group, but no less than a window or a cluster. */
static uint64_t room_needed(const struct q2_image *img,
			    const struct q2_l2refs *refs)
{
	uint64_t cs = img->geom.cluster_size;
	uint64_t widest = 1;

	for (size_t i = 0; i < refs->groups.n; i++)
		widest = q2_max(widest, refs->groups.at[i].n);
	if (widest == 1)
		return q2_max(cs, q2_min(WINDOW, refs->tables.n * cs));
	return q2_max(q2_max(cs, q2_min(WINDOW, refs->tables.n * cs)),
		      q2_max(q2_min(GROUP, widest * cs), widest * SLICE_MIN));
}

/* The group to begin with; all are counted that come before it. */
static enum q2_status find_start(struct reading *r, size_t *start,
				 struct q2_err *err)
{
	const struct q2_l2group_vec *groups = &r->refs->groups;
	const struct q2_l2_place *p = &r->from;
	size_t i = 0;

	while (i < groups->n && r->done < p->tables)
		r->done += groups->at[i++].n;
	*start = r->announced = i;
	if (r->done == p->tables &&
	    (p->entries == 0 ||
	     (i < groups->n && p->table >= groups->at[i].first &&
	      p->table - groups->at[i].first < groups->at[i].n &&
	      p->entries <= 1u << r->img->geom.l2_bits)))
		return Q2_OK;
	return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
		       "there is no such place in the L2 tables");
}

enum q2_status q2_l2_read(const struct q2_image *img,
			  const struct q2_l2refs *refs,
			  const struct q2_l2reader *reader,
			  struct q2_err *err)
{
	struct reading r = {.img = img,
			    .refs = refs,
			    .reader = reader,
			    .err = err,
			    .room = room_needed(img, refs),
			    .from = reader->from};
	size_t start;
	void *block;
	enum q2_status st = find_start(&r, &start, err);

	if (st != Q2_OK || refs->groups.n == 0)
		return st;
	st = q2_get_raw(img->budget, r.room, &block, err);
	if (st != Q2_OK)
		return st;
	r.buf = block;
	q2_holes_init(&r.holes, img->io,
		      refs->tables.n * img->geom.cluster_size);
	for (size_t i = start; i < refs->groups.n && st == Q2_OK; i++) {
		const struct q2_l2group *g = &refs->groups.at[i];
		uint64_t bytes = g->n * img->geom.cluster_size;

		if (!r.holes.enabled)
			announce(&r);
		st = g->n == 1 ? single(&r, i) : several(&r, g);
		r.from = (struct q2_l2_place){0};
		r.ahead -= q2_min(r.ahead, bytes);
		r.done += g->n;
		if (st == Q2_OK)
			st = reader->tick(reader->ctx, r.done,
					  refs->tables.n);
	}
	q2_put(img->budget, r.buf, r.room);
	return st;
}
