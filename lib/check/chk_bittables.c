/*
 * chk_bittables.c - tests bitmap tables, their entries, and unused tail bits.
 * Gathers the metadata ranges of tables and of bitmap data.
 * When it fails the result is partial: bitmap data may seem leaked.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "base/endian.h"
#include "check/chk_bitmaps.h"
#include "check/window.h"

#define CHUNK 65536u /* bytes of a table that are read in one piece */
#define TAIL 4096u   /* the same for the end of bitmap data */

/* Entries of one table with the same fault: one finding, whatever a damaged
 * table holds. */
struct tally {
	unsigned fault;
	enum q2_problem_id problem;
	uint64_t count;
	uint64_t raw; /* of the first one */
	uint32_t entry;
};

enum { RESERVED, UNALIGNED, OUTSIDE, FAULTS };

struct tables {
	struct q2_checker *c;
	struct q2_window w;
	bool stale;
	uint64_t covered;   /* tables were walked up to this host offset */
	uint64_t tail_left; /* bytes of tails that are worth reading */
	uint64_t done, total; /* entries */
};

/* One table under way. */
struct walk {
	struct tables *t;
	const struct q2_bitmap_ref *ref;
	struct tally tally[FAULTS];
	struct q2_range run; /* data clusters that lie side by side */
};

static enum q2_status flush_run(struct walk *w)
{
	struct q2_range run = w->run;

	w->run = (struct q2_range){0, 0};
	if (run.len == 0)
		return Q2_OK;
	return q2_bitmap_meta_add(w->t->c, Q2_K_BITMAP_DATA, w->ref->index, run);
}

static enum q2_status add_data(struct walk *w, uint64_t host)
{
	uint64_t size = w->t->c->img.geom.cluster_size;
	enum q2_status st = Q2_OK;

	if (w->run.len && host == q2_end(w->run)) {
		w->run.len += size;
		return Q2_OK;
	}
	st = flush_run(w);
	w->run = (struct q2_range){host, size};
	return st;
}

static void emit_tail(const struct walk *w, uint64_t host)
{
	struct q2_finding f = {
		.fields = Q2_F_INDEX | Q2_F_HOST,
		.index = w->ref->index,
		.host = host,
	};

	q2_window_text(w->t->c, &f, w->ref->name_at, w->ref->name_len);
	q2_found(w->t->c, Q2_P_BITMAP_TAIL, &f);
}

/* The first byte in [from, to) that is not zero, as far as `mask` goes in the
 * first byte. */
static enum q2_status scan_tail(struct walk *w, uint64_t from, uint64_t to,
				uint8_t mask)
{
	struct q2_checker *c = w->t->c;
	uint8_t bytes[TAIL];
	size_t n;

	for (uint64_t at = from; at < to; at += n) {
		struct q2_err err = {0};
		enum q2_status st;

		n = (size_t)q2_min(sizeof(bytes), to - at);
		st = q2_pread(c->img.io, bytes, n, at, &err);
		if (st != Q2_OK)
			return q2_unreadable(c, st, &err, Q2_K_BITMAP_DATA, at,
					     to - at);
		if (at == from)
			bytes[0] &= mask;
		for (size_t i = 0; i < n; i++) {
			if (bytes[i] == 0)
				continue;
			emit_tail(w, at + i);
			return Q2_OK;
		}
	}
	return Q2_OK;
}

/* The bits of the last data cluster that no part of the disk belongs to.
 * Format, "Bitmap data". */
static enum q2_status judge_tail(struct walk *w, uint64_t host)
{
	const struct q2_geom *g = &w->t->c->img.geom;
	uint64_t bits = q2_div_up(g->disk_size, UINT64_C(1) << w->ref->gran);
	uint64_t before = (w->ref->needed - 1) << g->cluster_bits;
	uint64_t from = host + (bits / 8 - before);
	uint64_t to = q2_min(host + g->cluster_size, g->file_size);

	if (from >= to || q2_io_data(w->t->c->img.io, from).start >= to)
		return Q2_OK;
	/* More than the file holds: bitmaps share clusters, which is reported
	 * elsewhere. */
	if (to - from > w->t->tail_left)
		return Q2_OK;
	w->t->tail_left -= to - from;
	return scan_tail(w, from, to, (uint8_t)(0xff << bits % 8));
}

static enum q2_status judge_entry(struct walk *w, uint32_t i, uint64_t raw)
{
	struct q2_bitmap_entry e = q2_bitmap_decode(&w->t->c->img.geom, raw);
	enum q2_status st;

	for (size_t k = 0; k < FAULTS; k++) {
		struct tally *t = &w->tally[k];

		if (!(e.faults & t->fault))
			continue;
		if (t->count++ == 0) {
			t->raw = raw;
			t->entry = i;
		}
	}
	if (!e.used)
		return Q2_OK;
	st = add_data(w, e.host);
	if (st == Q2_OK && w->ref->content && i + UINT64_C(1) == w->ref->needed)
		st = judge_tail(w, e.host);
	return st;
}

static void emit_tallies(const struct walk *w)
{
	struct q2_checker *c = w->t->c;

	for (size_t k = 0; k < FAULTS; k++) {
		const struct tally *t = &w->tally[k];
		struct q2_finding f = {
			.fields = Q2_F_INDEX | Q2_F_L2 | Q2_F_FOUND |
				  Q2_F_COUNT,
			.index = w->ref->index,
			.l2 = t->entry,
			.found = t->raw,
			.count = t->count,
		};

		if (t->count == 0)
			continue;
		/* Where its bits were kept is not known. */
		if (t->fault != Q2_EF_RESERVED)
			c->result->partial = true;
		if (w->t->stale)
			continue;
		q2_window_text(c, &f, w->ref->name_at, w->ref->name_len);
		q2_found(c, t->problem, &f);
	}
}

static enum q2_status walk_entries(struct walk *w, uint64_t i)
{
	struct tables *t = w->t;
	const struct q2_bitmap_ref *ref = w->ref;
	enum q2_status st = Q2_OK;

	while (st == Q2_OK && i < ref->entries) {
		uint64_t off = ref->table_offset + 8 * i;
		uint64_t data = q2_window_skip(&t->w, off);
		size_t n = (size_t)q2_min(ref->entries - i, CHUNK / 8);
		const uint8_t *p;

		if (data - off >= 8) {
			i += (data - off) / 8;
			continue;
		}
		st = q2_tick(t->c, "bitmaps", t->done + i, t->total);
		if (st == Q2_OK)
			st = q2_window_see(&t->w, off, 8 * n, &p);
		for (size_t k = 0; st == Q2_OK && k < n; k++) {
			uint64_t raw = q2_be64(p + 8 * k);

			if (raw)
				st = judge_entry(w, (uint32_t)(i + k), raw);
		}
		i += n;
	}
	return st;
}

/* Registers the table and tells where to start in it.  Tables that overlap are
 * walked once, and count as overlapping in one cluster, so that thousands of
 * them cost no more than one. */
static enum q2_status register_table(struct tables *t,
				     const struct q2_bitmap_ref *ref,
				     uint64_t *from)
{
	uint64_t start = ref->table_offset;
	uint64_t end = start + UINT64_C(8) * ref->entries;
	uint64_t mask = t->c->img.geom.cluster_size - 1;
	enum q2_status st = Q2_OK;

	*from = 0;
	if (t->covered > start) {
		t->c->result->partial = true;
		st = q2_bitmap_meta_add(t->c, Q2_K_BITMAP_TABLE, ref->index,
					(struct q2_range){start, 1});
		*from = (t->covered - start) / 8;
		start = q2_min(q2_add_sat(t->covered, mask) & ~mask, end);
	}
	if (st == Q2_OK)
		st = q2_bitmap_meta_add(t->c, Q2_K_BITMAP_TABLE, ref->index,
					(struct q2_range){start, end - start});
	t->covered = q2_max(t->covered, end);
	return st;
}

static enum q2_status walk_table(struct tables *t,
				 const struct q2_bitmap_ref *ref)
{
	struct walk w = {
		.t = t,
		.ref = ref,
		.tally = {
			[RESERVED] = {.fault = Q2_EF_RESERVED,
				      .problem = Q2_P_BITMAP_ENTRY_RESERVED},
			[UNALIGNED] = {.fault = Q2_EF_UNALIGNED,
				       .problem = Q2_P_BITMAP_ENTRY_UNALIGNED},
			[OUTSIDE] = {.fault = Q2_EF_OUTSIDE,
				     .problem = Q2_P_BITMAP_ENTRY_OUTSIDE},
		},
	};
	uint64_t from;
	enum q2_status st = register_table(t, ref, &from);

	if (st == Q2_OK)
		st = walk_entries(&w, from);
	if (st == Q2_OK)
		st = flush_run(&w);
	t->done += ref->entries;
	emit_tallies(&w);
	return st;
}

static int by_table(const void *a, const void *b)
{
	const struct q2_bitmap_ref *x = a, *y = b;

	if (x->table_offset != y->table_offset)
		return x->table_offset < y->table_offset ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

enum q2_status q2_chk_bitmap_tables(struct q2_checker *c,
				    struct q2_bitmap_refs *refs, bool stale)
{
	struct tables t = {
		.c = c,
		.stale = stale,
		.tail_left = c->img.io->stored,
	};
	enum q2_status st;

	if (refs->n == 0)
		return Q2_OK;
	qsort(refs->at, refs->n, sizeof(*refs->at), by_table);
	for (size_t i = 0; i < refs->n; i++)
		t.total += refs->at[i].entries;
	st = q2_window_open(&t.w, c, Q2_K_BITMAP_TABLE, CHUNK, 8 * t.total);
	for (size_t i = 0; st == Q2_OK && i < refs->n; i++)
		if (refs->at[i].entries)
			st = walk_table(&t, &refs->at[i]);
	q2_window_close(&t.w);
	return st;
}
