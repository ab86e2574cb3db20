/*
 * evidence.c - sampling the tables that a header leads to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/evidence.h"

#include <stdlib.h>

#include "base/endian.h"
#include "base/zeros.h"
#include "format/entry.h"
#include "format/refcount.h"

#define L1_BYTES (UINT64_C(1) << 20) /* of the L1 table */
#define L2_BYTES (UINT64_C(2) << 20) /* of all L2 tables together */
#define WINDOW (64u << 10)
#define TABLES 16u
#define REFS 4096u
#define LOOKUPS 64u
#define HELD 4096u /* bytes of a refcount block that is read at once */

struct q2_sample {
	struct q2_io *io;
	struct q2_geom g;
	uint8_t *window;
	size_t size; /* of all this */
	uint64_t left; /* of L2_BYTES */
	/* L2 tables: the first ones that the L1 table names, and the last. */
	struct {
		uint64_t offset;
		uint64_t slot;
	} tables[TABLES];
	uint64_t n_tables;
	/* Host offsets that L2 entries name: each stride-th. */
	uint64_t *refs; /* room for max_refs */
	size_t n_refs;
	size_t max_refs;
	uint64_t stride;
	uint64_t n_seen;
	/* The refcount block at hand: its number, where it is, and whether the window
	 * holds it. */
	uint64_t index;
	uint64_t block;
	bool may_hold;
	bool held;
};

/* What is done with each window of a table that holds entries. */
typedef void window_fn(struct q2_sample *s, void *ctx, uint64_t slot,
		       uint64_t first, size_t n);

static void note_table(struct q2_sample *s, uint64_t offset, uint64_t slot)
{
	uint64_t at = s->n_tables < TABLES / 2 ?
			      s->n_tables :
			      TABLES / 2 + s->n_tables % (TABLES / 2);

	s->tables[at].offset = offset;
	s->tables[at].slot = slot;
	s->n_tables++;
}

static void note_ref(struct q2_sample *s, uint64_t offset)
{
	if (s->n_seen++ % s->stride)
		return;
	if (s->n_refs == s->max_refs) {
		for (size_t i = 0; i < s->max_refs / 2; i++)
			s->refs[i] = s->refs[2 * i];
		s->n_refs = s->max_refs / 2;
		s->stride *= 2;
	}
	s->refs[s->n_refs++] = offset;
}

static void sample_l1(struct q2_sample *s, struct q2_tally *tally)
{
	uint64_t bytes = q2_min(UINT64_C(8) * q2_l1_there(&s->g, s->g.l1_offset,
							  s->g.l1_entries),
				L1_BYTES);

	for (uint64_t at = 0; at < bytes; at += WINDOW) {
		size_t n = (size_t)q2_min(WINDOW, bytes - at);

		if (q2_pread_zero(s->io, s->window, n, s->g.l1_offset + at,
				  NULL) != Q2_OK)
			return;
		n = q2_used_bytes(s->window, n);
		for (size_t i = 0; i < n; i += 8) {
			uint64_t raw = q2_be64(s->window + i);
			struct q2_l1_entry e;

			if (raw == 0)
				continue;
			e = q2_l1_decode(&s->g, raw);
			tally->good += !e.faults;
			tally->bad += e.faults != 0;
			if (e.used)
				note_table(s, q2_offset(&s->g, e.table),
					   (at + i) / 8);
		}
	}
}

/* Hands each sampled table's first window that is not all zeros to `fn`. */
static void sample_l2(struct q2_sample *s, window_fn *fn, void *ctx)
{
	uint64_t cs = s->g.cluster_size;

	for (size_t i = 0; i < q2_min(s->n_tables, TABLES); i++) {
		uint64_t table = s->tables[i].offset;

		for (uint64_t at = 0; at < cs; at += WINDOW) {
			size_t n = (size_t)q2_min(WINDOW, cs - at);
			uint64_t data = q2_io_data(s->io, table + at).start;

			if (data >= q2_min(table + cs, s->io->size))
				break;
			if (data >= table + at + n)
				continue;
			if (s->left < n)
				return;
			s->left -= n;
			if (q2_pread_zero(s->io, s->window, n, table + at,
					  NULL) != Q2_OK)
				break;
			n = q2_used_bytes(s->window, n);
			if (q2_all_zero(s->window, n))
				continue;
			fn(s, ctx, s->tables[i].slot, at >> s->g.entry_bits,
			   n >> s->g.entry_bits);
			break;
		}
	}
}

/* The refcount block of this number; 0 if there is no sound one. */
static uint64_t block_at(struct q2_sample *s, uint64_t index)
{
	const struct q2_geom *g = &s->g;
	uint64_t block;
	uint8_t raw[8];

	if (index == s->index)
		return s->block;
	s->index = index;
	s->block = 0;
	s->held = false;
	if (index >= g->reftable_bytes / 8 ||
	    q2_pread_zero(s->io, raw, 8, g->reftable_offset + 8 * index,
			  NULL) != Q2_OK)
		return 0;
	block = q2_be64(raw);
	if (block & (g->cluster_size - 1) || block >= g->file_size)
		return 0;
	s->block = block;
	s->held = s->may_hold && block &&
		  q2_pread_zero(s->io, s->window, (size_t)g->cluster_size, block,
				NULL) == Q2_OK;
	return block;
}

/* The cluster's refcount; 0 if no sound block holds it. */
static uint64_t count_of(struct q2_sample *s, uint64_t clu)
{
	const struct q2_geom *g = &s->g;
	uint64_t in_byte = g->ref_order < 3 ? 8u >> g->ref_order : 1;
	uint64_t block = block_at(s, clu >> g->block_bits);
	uint64_t byte;
	uint8_t raw[8];

	clu &= (UINT64_C(1) << g->block_bits) - 1;
	if (s->held)
		return q2_refcount(s->window, g->ref_order, clu);
	byte = clu << g->ref_order >> 3;
	if (block == 0 ||
	    q2_pread_zero(s->io, raw, 8, block + byte, NULL) != Q2_OK)
		return 0;
	return q2_refcount(raw, g->ref_order, clu % in_byte);
}

static uint64_t lookup(struct q2_sample *s, uint64_t offset)
{
	return count_of(s, offset >> s->g.cluster_bits);
}

static void tell(struct q2_tally *t, bool good)
{
	t->good += good;
	t->bad += !good;
}

/* Structures that are there once, and never shared; unless `all`, none besides the header
 * if that is not counted so: they are too few for an exception. */
static void look_up_sure(struct q2_sample *s, bool all, struct q2_evidence *e)
{
	const struct q2_geom *g = &s->g;
	uint64_t l1_end = g->l1_offset + UINT64_C(8) * g->l1_entries;
	uint8_t raw[8];

	if (g->reftable_bytes == 0)
		return;
	tell(&e->sure, lookup(s, 0) == 1);
	if (!all && e->sure.bad)
		return;
	tell(&e->sure, lookup(s, g->reftable_offset) == 1);
	if (q2_pread_zero(s->io, raw, 8, g->reftable_offset, NULL) == Q2_OK)
		tell(&e->sure, lookup(s, q2_be64(raw)) == 1);
	if (g->l1_entries == 0)
		return;
	tell(&e->sure, lookup(s, g->l1_offset) == 1);
	if (l1_end - g->l1_offset > g->cluster_size)
		tell(&e->sure, lookup(s, l1_end - 1) == 1);
}

/* Whether all clusters behind the file are free by the block that counts them, as far
 * as that is seen at once. */
static bool all_free(struct q2_sample *s)
{
	const struct q2_geom *g = &s->g;
	uint64_t bit = (g->file_clusters & ((UINT64_C(1) << g->block_bits) - 1))
		       << g->ref_order;

	if (block_at(s, g->file_clusters >> g->block_bits) == 0)
		return true;
	return s->held && bit % 8 == 0 &&
	       q2_all_zero(s->window + bit / 8,
			   (size_t)(g->cluster_size - bit / 8));
}

/* What lies behind the last cluster, in the same refcount block: at once, where a
 * width that is too small puts the refcounts of other clusters, and further on. */
static void look_up_past(struct q2_sample *s, struct q2_evidence *e)
{
	const struct q2_geom *g = &s->g;
	uint64_t per_block = UINT64_C(1) << g->block_bits;
	uint64_t rest = per_block - g->file_clusters % per_block;
	uint64_t n = q2_min(rest, LOOKUPS);

	if (g->reftable_bytes == 0)
		return;
	if (all_free(s)) {
		e->past.good += n;
		return;
	}
	for (uint64_t i = 0; i < n; i++) {
		uint64_t behind = i % 2 ? rest * i / n : i / 2;

		tell(&e->past, count_of(s, g->file_clusters + behind) == 0);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Spread over the file: under a wrong cluster size it is often only the later
 * part that contradicts. */
static void look_up_used(struct q2_sample *s, struct q2_evidence *e)
{
	size_t n = s->n_refs < LOOKUPS ? s->n_refs : LOOKUPS;

	for (size_t i = 0; i < q2_min(s->n_tables, TABLES); i++)
		tell(&e->used, lookup(s, s->tables[i].offset) != 0);
	q2_sort(s->refs, s->n_refs, sizeof(s->refs[0]), by_value);
	for (size_t i = 0; i < n; i++)
		tell(&e->used,
		     lookup(s, s->refs[s->n_refs - 1 - s->n_refs * i / n]));
}

static uint64_t word_at(const struct q2_sample *s, size_t i)
{
	return q2_be64(s->window + 8 * i);
}

static void judge_window(struct q2_sample *s, void *ctx, uint64_t slot,
			 uint64_t first, size_t n)
{
	struct q2_evidence *e = ctx;
	struct q2_tally t = {0};

	for (size_t i = 0; i < n; i++) {
		uint64_t raw = word_at(s, s->g.ext_l2 ? 2 * i : i);
		uint64_t bitmap = s->g.ext_l2 ? word_at(s, 2 * i + 1) : 0;
		struct q2_l2_entry entry;

		if (raw == 0 && bitmap == 0)
			continue;
		entry = q2_l2_decode(&s->g, raw, bitmap,
				     q2_guest(&s->g, slot, first + i));
		/* Flags alone lead nowhere, whatever the geometry. */
		if (entry.faults == Q2_EF_COPIED_UNUSED && !entry.refers)
			continue;
		tell(&t, entry.faults == 0);
		if (entry.refers)
			note_ref(s, entry.host.start);
	}
	tell(&e->tables, t.good && t.bad * 16 <= t.good);
}

static bool has_any(const struct q2_header_faults *f,
		    const enum q2_header_fault_id *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (q2_header_has(f, ids[i]))
			return true;
	return false;
}

/* *out is NULL if the header leaves no geometry; unless `all`, also if its roots do not
 * fit. */
static enum q2_status sample_new(struct q2_checker *c,
				 const struct q2_header *h, bool all,
				 struct q2_evidence *e, struct q2_sample **out)
{
	static const enum q2_header_fault_id unaligned[] = {
		Q2_HF_L1_UNALIGNED, Q2_HF_REFTABLE_UNALIGNED,
		Q2_HF_SNAPTABLE_UNALIGNED,
	};
	static const enum q2_header_fault_id unfit[] = {
		Q2_HF_L1_TOO_SMALL,	Q2_HF_L1_LIMIT,
		Q2_HF_L1_ZERO,		Q2_HF_L1_OUTSIDE,
		Q2_HF_REFTABLE_MISSING, Q2_HF_REFTABLE_OUTSIDE,
		Q2_HF_REFTABLE_LIMIT,	Q2_HF_SNAPTABLE_ZERO,
	};
	struct q2_header_faults faults;
	struct q2_geom g;
	struct q2_sample *s;
	enum q2_status st;
	size_t room, refs, size;
	void *block;

	*out = NULL;
	*e = (struct q2_evidence){0};
	q2_header_judge(h, c->img.io->size, &faults);
	if (!q2_geom_make(h, &faults, c->img.io->size, &g))
		return Q2_OK;
	e->aligned = !has_any(&faults, unaligned,
			      sizeof(unaligned) / sizeof(unaligned[0]));
	e->roots_fit = e->aligned &&
		       !has_any(&faults, unfit,
				sizeof(unfit) / sizeof(unfit[0]));
	if (!all && !e->roots_fit)
		return Q2_OK;
	/* Nothing of it is looked at before it is filled, and header after header
	 * may be tried. */
	room = (size_t)q2_min(WINDOW, q2_max(UINT64_C(8) * g.l1_entries,
					     g.cluster_size));
	refs = (size_t)q2_min(REFS, q2_min(TABLES, g.l1_entries) *
				(q2_min(WINDOW, g.cluster_size) >> g.entry_bits));
	size = sizeof(*s) + refs * sizeof(*s->refs) + room;
	st = q2_get_raw(&c->budget, size, &block, c->err);
	if (st != Q2_OK)
		return st;
	s = block;
	s->io = c->img.io;
	s->g = g;
	s->refs = (uint64_t *)(s + 1);
	s->max_refs = refs;
	s->window = (uint8_t *)(s->refs + refs);
	s->size = size;
	s->left = L2_BYTES;
	s->n_tables = 0;
	s->n_refs = 0;
	s->stride = 1;
	s->n_seen = 0;
	s->index = UINT64_MAX;
	s->block = 0;
	s->may_hold = s->held = false;
	sample_l1(s, &e->l1);
	*out = s;
	return Q2_OK;
}

void q2_sample_free(struct q2_checker *c, struct q2_sample *s)
{
	if (s)
		q2_put(&c->budget, s, s->size);
}

/* What the refcounts say; unless `all`, only as long as it is good. */
static void look_up(struct q2_sample *s, bool all, struct q2_evidence *e)
{
	s->may_hold = s->g.cluster_size <= HELD;
	look_up_sure(s, all, e);
	if (all || q2_mostly_good(e->sure)) {
		look_up_used(s, e);
		look_up_past(s, e);
	}
	/* The window is for others again. */
	s->may_hold = s->held = false;
}

static void gather(struct q2_sample *s, bool all, struct q2_evidence *e)
{
	if (all || q2_mostly_good(e->l1))
		sample_l2(s, judge_window, e);
	if (all || q2_mostly_good(e->tables))
		look_up(s, all, e);
}

enum q2_status q2_evidence_gather(struct q2_checker *c,
				  const struct q2_header *h,
				  struct q2_evidence *e,
				  struct q2_sample **sample)
{
	enum q2_status st = sample_new(c, h, true, e, sample);

	if (*sample)
		gather(*sample, true, e);
	return st;
}

enum q2_status q2_evidence_try(struct q2_checker *c, const struct q2_header *h,
			       struct q2_evidence *e)
{
	struct q2_sample *s;
	enum q2_status st = sample_new(c, h, false, e, &s);

	if (s)
		gather(s, false, e);
	q2_sample_free(c, s);
	return st;
}

void q2_evidence_width(struct q2_sample *s, unsigned ref_order,
		       struct q2_evidence *e)
{
	struct q2_geom stated = s->g;

	*e = (struct q2_evidence){0};
	s->g.ref_order = ref_order;
	s->g.block_bits = s->g.cluster_bits + 3 - ref_order;
	s->index = UINT64_MAX;
	look_up(s, false, e);
	s->g = stated;
	s->index = UINT64_MAX;
}

/* Both readings of a table. */
struct readings {
	struct q2_geom plain;
	struct q2_geom ext;
	struct q2_odd_words *odd;
};

static void read_odd(struct q2_sample *s, void *ctx, uint64_t slot,
		     uint64_t first, size_t n)
{
	const struct readings *r = ctx;
	struct q2_odd_words *odd = r->odd;
	uint64_t before = 0;

	/* The slot is that of s->g; guest offsets are not compared here. */
	(void)slot;
	(void)first;
	for (size_t i = 0; i + 1 < n << s->g.entry_bits >> 3; i += 2) {
		uint64_t even = word_at(s, i);
		uint64_t word = word_at(s, i + 1);
		struct q2_l2_entry b, e;

		if (word == 0)
			continue;
		b = q2_l2_decode(&r->ext, even, word, even & Q2_ENTRY_OFFSET);
		e = q2_l2_decode(&r->plain, word, 0, word & Q2_ENTRY_OFFSET);
		tell(&odd->as_bitmap, b.faults == 0);
		tell(&odd->as_entry, e.faults == 0 &&
					     (!e.refers ||
					      lookup(s, e.host.start)));
		odd->copied += e.copied;
		odd->repeated += word == before;
		odd->next += (word & Q2_ENTRY_OFFSET) ==
			     (even & Q2_ENTRY_OFFSET) + r->plain.cluster_size;
		odd->strange += __builtin_popcountll(word & Q2_L2_RESERVED) > 2;
		before = word;
	}
}

void q2_evidence_odd_words(struct q2_sample *s, struct q2_odd_words *odd)
{
	struct readings r = {.odd = odd};

	*odd = (struct q2_odd_words){0};
	if (s == NULL)
		return;
	r.plain = r.ext = s->g;
	r.plain.ext_l2 = false;
	r.ext.ext_l2 = true;
	s->left = L2_BYTES / 4; /* a refcount is looked up for each word */
	sample_l2(s, read_odd, &r);
}
