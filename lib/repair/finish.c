/*
 * finish.c - from the overlay to edits: what differs, and when it is written.
 *
 * SPDX-License-Identifier: MIT
 *
 * A place that was written to has a class; the class says through which versions
 * its bytes go from what the image holds to what the overlay holds.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "format/entry.h"
#include "format/refcount.h"
#include "repair/orphans.h"

#define CHUNK ((size_t)64 << 10)
#define SECTOR 512u
#define GAP 32u /* see struct finish */
#define AT_INCOMPAT_LOW 79u /* of the header: dirty and corrupt bits */

struct finish {
	struct q2_repair *r;
	uint8_t *was; /* up to CHUNK bytes each: what the image holds, */
	uint8_t *mid; /* a version on the way, */
	uint8_t *will; /* and what it will hold */
	unsigned ref_order;
	size_t gap; /* so many equal bytes are written along with what is around */
	struct q2_runs gained; /* L2 tables that entries of L1 tables come to name */
	struct q2_runs left; /* clusters that entries name which change */
};

static enum q2_status emit(struct finish *f, enum q2_phase phase,
			   uint32_t action, uint64_t off,
			   const uint8_t *before, const uint8_t *after,
			   size_t n)
{
	struct q2_plan *p = f->r->plan;
	/* Behind the old end the first phase finds nothing, later ones do. */
	uint64_t size = phase > Q2_PH_NEW ? p->new_size : p->old_size;
	uint64_t there = off < size ? size - off : 0;
	struct q2_edit e = {
		.phase = phase,
		.action = action,
		.offset = off,
		.before_len = (uint32_t)q2_min(n, there),
		.len = (uint32_t)n,
	};

	e.before = q2_plan_keep(p, before, e.before_len, f->r->err);
	e.after = q2_plan_keep(p, after, n, f->r->err);
	if (e.before == NULL || e.after == NULL)
		return Q2_E_NOMEM;
	return q2_edits_push(&p->edits, &p->budget, e, f->r->err);
}

/* The runs in which two versions of the bytes at `off` differ. */
static enum q2_status differences(struct finish *f, enum q2_phase phase,
				  uint32_t action, uint64_t off,
				  const uint8_t *from, const uint8_t *to,
				  size_t n)
{
	enum q2_status st = Q2_OK;
	size_t i = 0;

	while (i < n && st == Q2_OK) {
		size_t start, end;

		if (i + 8 <= n && memcmp(from + i, to + i, 8) == 0) {
			i += 8;
			continue;
		}
		if (from[i] == to[i]) {
			i++;
			continue;
		}
		start = i;
		for (end = i + 1; i < n && i < end + f->gap; i++)
			if (from[i] != to[i])
				end = i + 1;
		/* Entries and fields are written as a whole. */
		start -= (size_t)q2_min(start, (off + start) % 8);
		end += (size_t)q2_min(n - end, (8 - (off + end) % 8) % 8);
		i = end > i ? end : i;
		st = emit(f, phase, action, off + start, from + start,
			  to + start, end - start);
	}
	return st;
}

/* Refcounts rise first and fall last. */
static enum q2_status refcounts(struct finish *f, const struct q2_touch *t,
				uint64_t off, size_t n)
{
	uint64_t cells = (uint64_t)n * 8 >> f->ref_order;
	enum q2_status st;

	memcpy(f->mid, f->was, n);
	for (uint64_t i = 0; i < cells; i++) {
		uint64_t will = q2_refcount(f->will, f->ref_order, i);

		if (will > q2_refcount(f->was, f->ref_order, i))
			q2_refcount_set(f->mid, f->ref_order, i, will);
	}
	st = differences(f, Q2_PH_RAISE, t->action, off, f->was, f->mid, n);
	if (st == Q2_OK)
		st = differences(f, Q2_PH_LOWER, t->action, off, f->mid,
				 f->will, n);
	return st;
}

/* The refcount block of the repaired image that lies there, or NULL. */
static const struct q2_meta *block_at(const struct q2_repair *r, uint64_t off)
{
	const struct q2_checker *c = r->c;
	uint64_t clu = off >> c->img.geom.cluster_bits;

	for (size_t i = 0; i < c->metas.n; i++)
		if (c->metas.at[i].kind == Q2_K_REFBLOCK &&
		    clu - c->metas.at[i].first < c->metas.at[i].n)
			return &c->metas.at[i];
	return NULL;
}

/* A new block counts what the repair gives up, or what entries lead to that change, for
 * as long as that is named. */
static void keep_counts(struct finish *f, uint64_t off, uint8_t *bytes, size_t n)
{
	struct q2_repair *r = f->r;
	const struct q2_geom *g = &r->c->img.geom;
	const struct q2_meta *m = block_at(r, off);
	uint64_t first;

	if (m == NULL)
		return;
	first = ((uint64_t)m->index << g->block_bits) +
		((off & (g->cluster_size - 1)) * 8 >> f->ref_order);
	for (uint64_t i = 0; i < (uint64_t)n * 8 >> f->ref_order; i++)
		if (q2_refcount(bytes, f->ref_order, i) == 0 &&
		    (q2_runs_have(&r->released, first + i) ||
		     q2_runs_have(&f->left, first + i)))
			q2_refcount_set(bytes, f->ref_order, i, 1);
}

static enum q2_status fresh(struct finish *f, const struct q2_touch *t,
			    uint64_t off, size_t n)
{
	uint64_t cs = f->r->c->img.geom.cluster_size;
	enum q2_status st;

	memcpy(f->mid, f->will, n);
	for (size_t at = 0; at < n && (f->r->released.n || f->left.n);) {
		size_t part = (size_t)q2_min(n - at, cs - (off + at) % cs);

		keep_counts(f, off + at, f->mid + at, part);
		at += part;
	}
	st = differences(f, Q2_PH_NEW, t->action, off, f->was, f->mid, n);
	return st == Q2_OK ? differences(f, Q2_PH_LOWER, t->action, off, f->mid,
					 f->will, n) : st;
}

/* Whether the entry at f->will + i names nothing.  Extended ones are two words, that
 * change together. */
static bool drops(const struct finish *f, uint64_t off, size_t i, size_t n)
{
	bool ext = f->r->c->img.geom.ext_l2;
	size_t pair = (off + i) & 8 ? i - 8 : i + 8;
	uint64_t will = q2_be64(f->will + i);

	if (ext)
		return will == 0 && pair < n && pair + 8 <= n &&
		       q2_be64(f->will + pair) == 0;
	return (will & (Q2_COMPRESSED | Q2_ENTRY_OFFSET)) == 0;
}

/* Whether an L1 table stands there. */
static bool names_tables(const struct q2_repair *r, uint64_t off)
{
	const struct q2_checker *c = r->c;

	for (size_t i = 0; i < c->trees.n; i++)
		if (off - c->trees.at[i].l1_offset <
		    UINT64_C(8) * c->trees.at[i].l1_entries)
			return true;
	return false;
}

/* Whether an L2 table stands there that nothing names until this repair does: its entries
 * are put right before. */
static bool is_gained(const struct finish *f, uint64_t off)
{
	const struct q2_checker *c = f->r->c;
	uint64_t clu = off >> c->img.geom.cluster_bits;

	return q2_runs_have(&f->gained, clu) &&
	       q2_refmap_get(&c->map, clu).count == 1;
}

static enum q2_status note_table(struct finish *f, uint64_t was, uint64_t will)
{
	struct q2_repair *r = f->r;
	struct q2_l1_entry then = q2_l1_decode(&r->c->img.geom, was);
	struct q2_l1_entry now = q2_l1_decode(&r->c->img.geom, will);
	enum q2_status st = Q2_OK;

	if (now.used && !(then.used && then.table.n == now.table.n))
		st = q2_runs_push(&f->gained, &r->budget,
				  (struct q2_run){now.table.n, 1}, r->err);
	if (st == Q2_OK && then.used)
		st = q2_runs_push(&f->left, &r->budget,
				  (struct q2_run){then.table.n, 1}, r->err);
	return st;
}

static enum q2_status note_data(struct finish *f, uint64_t off, uint64_t was)
{
	struct q2_repair *r = f->r;
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_l2_entry e = q2_l2_decode(g, was, 0, 0);
	struct q2_run run = {.first = e.host.start >> g->cluster_bits};

	if (!e.refers || (g->ext_l2 && off & 8))
		return Q2_OK;
	run.n = ((q2_end(e.host) - 1) >> g->cluster_bits) - run.first + 1;
	return q2_runs_push(&f->left, &r->budget, run, r->err);
}

static enum q2_status note_entry(struct finish *f, uint64_t off)
{
	struct q2_repair *r = f->r;
	uint8_t was[8], will[8] = {0};
	enum q2_status st = q2_pread_zero(r->base, was, 8, off, r->err);

	if (st == Q2_OK)
		st = q2_pread_zero(r->io, will, 8, off, r->err);
	/* For COPIED alone nothing comes or goes. */
	if (st != Q2_OK ||
	    ((q2_be64(was) ^ q2_be64(will)) & ~Q2_COPIED) == 0)
		return st;
	return names_tables(r, off) ?
		       note_table(f, q2_be64(was), q2_be64(will)) :
		       note_data(f, off, q2_be64(was));
}

/* What entries come to name, and what they named. */
static enum q2_status note_entries(struct finish *f)
{
	const struct q2_touches *all = &f->r->touches;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < all->n; i++)
		for (uint64_t off = all->at[i].start;
		     off < all->at[i].end && st == Q2_OK &&
		     all->at[i].class == Q2_C_ENTRY; off += 8)
			st = note_entry(f, off);
	q2_runs_tidy(&f->gained);
	q2_runs_tidy(&f->left);
	return st;
}

/* COPIED goes before anything else changes, and comes when all is in place. */
static enum q2_status entries(struct finish *f, const struct q2_touch *t,
			      uint64_t off, size_t n)
{
	enum q2_status st;

	/* What may be a subcluster bitmap has the same bit for another use, and
	 * goes with its entry. */
	bool ext = f->r->c->img.geom.ext_l2;
	bool upper = names_tables(f->r, off), gained = is_gained(f, off);

	/* Entries of an L1 table that change together may have changed places. */
	f->gap = upper ? SECTOR : GAP;
	memcpy(f->mid, f->was, n);
	for (size_t i = 0; i + 8 <= n && !ext; i += 8) {
		uint64_t was = q2_be64(f->was + i);
		uint64_t will = q2_be64(f->will + i);

		if ((was & Q2_COPIED) && was != will &&
		    !(was & Q2_COMPRESSED))
			q2_put_be64(f->mid + i, was & ~Q2_COPIED);
	}
	st = differences(f, Q2_PH_RAISE, t->action, off, f->was, f->mid, n);
	memcpy(f->was, f->mid, n);
	for (size_t i = 0; i + 8 <= n && !gained; i += 8)
		if (drops(f, off, i, n))
			memcpy(f->mid + i, f->will + i, 8);
	if (st == Q2_OK)
		st = differences(f, Q2_PH_DROP, t->action, off, f->was, f->mid,
				 n);
	memcpy(f->was, f->mid, n);
	memcpy(f->mid, f->will, n);
	for (size_t i = 0; i + 8 <= n && !ext; i += 8) {
		uint64_t was = q2_be64(f->was + i);
		uint64_t will = q2_be64(f->will + i);

		if ((will & Q2_COPIED) && was != will)
			q2_put_be64(f->mid + i, will & ~Q2_COPIED);
	}
	if (st == Q2_OK)
		st = differences(f, gained ? Q2_PH_DROP :
				    upper  ? Q2_PH_UPPER : Q2_PH_SWITCH,
				 t->action, off, f->was, f->mid, n);
	if (st == Q2_OK)
		st = differences(f, Q2_PH_COPIED, t->action, off, f->mid,
				 f->will, n);
	return st;
}

/* The byte with the dirty and the corrupt bit is left to mark_image(). */
static enum q2_status in_place(struct finish *f, const struct q2_touch *t,
			       uint64_t off, size_t n)
{
	/* Before anything is named that only the new blocks count. */
	enum q2_phase phase = t->class == Q2_C_REFTABLE ? Q2_PH_TABLE :
							  Q2_PH_PLACE;

	if (off <= AT_INCOMPAT_LOW && AT_INCOMPAT_LOW - off < n)
		f->will[AT_INCOMPAT_LOW - off] = f->was[AT_INCOMPAT_LOW - off];
	return differences(f, phase, t->action, off, f->was, f->will, n);
}

static enum q2_status segment(struct finish *f, const struct q2_touch *t)
{
	struct q2_repair *r = f->r;
	enum q2_status st = Q2_OK;

	for (uint64_t off = t->start; off < t->end && st == Q2_OK;) {
		size_t n = (size_t)q2_min(CHUNK - off % CHUNK, t->end - off);

		st = q2_pread_zero(r->base, f->was, n, off, r->err);
		if (st == Q2_OK)
			st = q2_pread_zero(r->io, f->will, n, off, r->err);
		if (st != Q2_OK)
			break;
		f->gap = GAP;
		switch (t->class) {
		case Q2_C_FRESH:
			st = fresh(f, t, off, n);
			break;
		case Q2_C_ENTRY:
			st = entries(f, t, off, n);
			break;
		case Q2_C_REFCOUNT:
			st = refcounts(f, t, off, n);
			break;
		case Q2_C_REFTABLE:
		case Q2_C_PLACE:
			st = in_place(f, t, off, n);
			break;
		}
		off += n;
	}
	return st;
}

/* The image carries the corrupt bit while it is written to, if its version has
 * one, and gets its last look at the very end. */
static enum q2_status mark_image(struct finish *f)
{
	struct q2_repair *r = f->r;
	uint8_t was[80], will[80], mark;
	uint32_t action = 0;
	enum q2_status st = q2_pread_zero(r->base, was, 80, 0, r->err);

	if (st == Q2_OK)
		st = q2_pread_zero(r->io, will, 80, 0, r->err);
	if (st != Q2_OK)
		return st;
	if (r->plan->edits.n == 0 &&
	    (r->touches.n == 0 || was[79] == will[79]))
		return Q2_OK;
	if (q2_be32(was + 4) != 3 || q2_be32(will + 4) != 3 ||
	    q2_be32(was) != Q2_MAGIC)
		return was[79] == will[79] ? Q2_OK :
		       emit(f, Q2_PH_DONE, 0, AT_INCOMPAT_LOW, &was[79],
			    &will[79], 1);
	mark = was[79] | Q2_INCOMPAT_CORRUPT;
	st = q2_act(r, Q2_P_CORRUPT_BIT, Q2_EFFECT_NONE, NULL, &action,
		    will[79] & Q2_INCOMPAT_CORRUPT ?
			    "the corrupt bit stays set: problems are left" :
			    "the corrupt bit is set while the image is "
			    "written to, and cleared at the end");
	if (st == Q2_OK && mark != was[79])
		st = emit(f, Q2_PH_MARK, action, AT_INCOMPAT_LOW, &was[79],
			  &mark, 1);
	if (st == Q2_OK && mark != will[79])
		st = emit(f, Q2_PH_DONE, action, AT_INCOMPAT_LOW, &mark,
			  &will[79], 1);
	return st;
}

static int by_start(const void *a, const void *b)
{
	const struct q2_touch *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

static int by_phase(const void *a, const void *b)
{
	const struct q2_edit *x = a, *y = b;

	if (x->phase != y->phase)
		return x->phase < y->phase ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* A place belongs to the action that was the first to write there, though a later
 * one may have gone over all around it. */
static enum q2_status segments(struct finish *f, size_t i, uint64_t *done)
{
	const struct q2_touches *all = &f->r->touches;
	struct q2_touch t = all->at[i];
	enum q2_status st = Q2_OK;

	t.start = q2_max(t.start, *done);
	for (size_t k = i + 1; t.start < t.end && st == Q2_OK; k++) {
		struct q2_touch part = t;
		bool older = k < all->n && all->at[k].start < t.end;

		if (older && (all->at[k].start < t.start ||
			      all->at[k].order > t.order))
			continue;
		part.end = older ? all->at[k].start : t.end;
		if (part.start < part.end)
			st = segment(f, &part);
		t.start = part.end;
		if (older && st == Q2_OK) {
			st = segment(f, &all->at[k]);
			t.start = all->at[k].end;
		}
		*done = q2_max(*done, t.start);
	}
	return st;
}

static enum q2_status all_segments(struct finish *f)
{
	struct q2_repair *r = f->r;
	uint64_t done = 0; /* what was written to before comes first */
	enum q2_status st = Q2_OK;

	q2_sort(r->touches.at, r->touches.n, sizeof(*r->touches.at), by_start);
	for (size_t i = 0; i < r->touches.n && st == Q2_OK; i++)
		st = segments(f, i, &done);
	return st;
}

/* Bytes of the longest piece that is looked at. */
static size_t longest_piece(const struct q2_repair *r)
{
	uint64_t n = 8;

	for (size_t i = 0; i < r->touches.n; i++)
		n = q2_max(n, r->touches.at[i].end - r->touches.at[i].start);
	return (size_t)q2_min(n, CHUNK);
}

enum q2_status q2_finish(struct q2_repair *r)
{
	struct q2_plan *p = r->plan;
	struct finish f = {.r = r, .ref_order = r->c->img.geom.ref_order};
	size_t room = longest_piece(r);
	void *block;
	enum q2_status st = q2_get_raw(&r->budget, 3 * room, &block, r->err);

	if (st != Q2_OK)
		return st;
	f.was = block;
	f.mid = f.was + room;
	f.will = f.mid + room;
	p->new_size = r->io->size;
	q2_runs_tidy(&r->released);
	st = note_entries(&f);
	if (st == Q2_OK)
		st = all_segments(&f);
	if (st == Q2_OK)
		st = mark_image(&f);
	if (st == Q2_OK) {
		q2_sort(p->edits.at, p->edits.n, sizeof(*p->edits.at),
			by_phase);
		st = q2_join_header(r);
	}
	if (st == Q2_OK)
		st = q2_drop_idle(r);
	if (st == Q2_OK && p->edits.n == 0)
		p->new_size = p->old_size;
	else if (st == Q2_OK)
		st = q2_list_saved(r);
	if (st == Q2_OK)
		st = q2_plan_identity(p, r->base, &p->identity, r->err);
	q2_runs_free(&f.gained, &r->budget);
	q2_runs_free(&f.left, &r->budget);
	q2_put(&r->budget, block, 3 * room);
	return st;
}
