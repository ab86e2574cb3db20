/*
 * chk_roots.c - do the header's root fields fit the tables that they lead to?
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    cluster_bits, the extended L2 bit, refcount_order and l1_size, each
 *           against what samples of the tables say under another value.
 * Gathers:  nothing; an L1 table that runs into other structures is shortened.
 * Disables: nothing.
 */
#include <string.h>

#include "base/endian.h"
#include "check/evidence.h"
#include "format/entry.h"

#define SEARCH_BYTES (UINT64_C(4) << 20)
#define TABLE_BYTES (UINT64_C(1) << 20) /* of one of the tables searched */
#define TABLES 16u /* L1 tables, and L2 tables of each, searched */
#define WINDOW 4096u

static bool few(struct q2_tally t)
{
	return t.bad > 0 && t.bad >= t.good;
}

static bool counts_fit(const struct q2_evidence *e)
{
	return e->sure.good >= 3 && q2_mostly_good(e->sure) && !few(e->past) &&
	       (e->used.bad == 0 || q2_mostly_good(e->used));
}

static bool fits(const struct q2_evidence *e)
{
	return e->roots_fit && q2_mostly_good(e->l1) &&
	       q2_mostly_good(e->tables) && counts_fit(e);
}

static bool doubtful(struct q2_tally t)
{
	return t.bad * 4 > t.good;
}

static bool contradicts(const struct q2_evidence *e)
{
	return !e->aligned || doubtful(e->l1) || doubtful(e->tables) ||
	       doubtful(e->sure) || doubtful(e->used);
}

/* What another value of a field explains; believed if it is the only one. */
struct guess {
	unsigned fitting;
	uint32_t value;
	uint64_t tables;
};

/* What q2_evidence_try() would look at first, for next to nothing. */
static bool may_fit(const struct q2_header *h)
{
	uint64_t roots = h->l1_offset | h->reftable_offset | h->snapshots_offset;
	unsigned entry = h->incompatible & Q2_INCOMPAT_EXTL2 ? 16 : 8;

	return (roots & ((UINT64_C(1) << h->cluster_bits) - 1)) == 0 &&
	       q2_l1_needed(h->size, h->cluster_bits, entry) <= h->l1_size;
}

static enum q2_status guess_cluster_bits(struct q2_checker *c,
					 struct guess *guess)
{
	struct q2_header h = c->header;

	for (h.cluster_bits = Q2_CLUSTER_BITS_MIN;
	     h.cluster_bits <= Q2_CLUSTER_BITS_MAX; h.cluster_bits++) {
		struct q2_evidence e;
		enum q2_status st;

		if (h.cluster_bits == c->header.cluster_bits)
			continue;
		if (!may_fit(&h))
			continue;
		st = q2_evidence_try(c, &h, &e);
		if (st != Q2_OK)
			return st;
		if (fits(&e))
			*guess = (struct guess){guess->fitting + 1,
						h.cluster_bits, e.tables.good};
	}
	return Q2_OK;
}

static void guess_refcount_order(const struct q2_header *h,
				 struct q2_sample *sample, struct guess *guess)
{
	if (h->version != 3) /* the field does not exist */
		return;
	for (uint32_t order = 0; order <= 6; order++) {
		struct q2_evidence e;

		if (order == h->refcount_order)
			continue;
		q2_evidence_width(sample, order, &e);
		if (counts_fit(&e))
			*guess = (struct guess){guess->fitting + 1, order, 0};
	}
}

/* Other values are tried only if the stated one clearly fails. */
static enum q2_status judge_units(struct q2_checker *c,
				  const struct q2_evidence *stated,
				  struct q2_sample *sample, bool *found)
{
	struct guess bits = {0}, order = {0};
	struct q2_finding f = {.fields = Q2_F_FOUND | Q2_F_EXPECTED};
	enum q2_status st = guess_cluster_bits(c, &bits);

	if (st != Q2_OK)
		return st;
	if (few(stated->sure))
		guess_refcount_order(&c->header, sample, &order);
	/* A small refcount is found at the same place if clusters are half as
	 * large.  But then not all that is named would be aligned to more. */
	if (bits.fitting == 1 && order.fitting == 1 &&
	    bits.value < c->header.cluster_bits)
		bits.fitting = 0;
	*found = bits.fitting == 1 || order.fitting == 1;
	if (bits.fitting == 1) {
		f.fields |= Q2_F_COUNT;
		f.found = c->header.cluster_bits;
		f.expected = bits.value;
		f.count = bits.tables;
		q2_found(c, Q2_P_ROOT_CLUSTER_BITS, &f);
	} else if (order.fitting == 1) {
		f.found = c->header.refcount_order;
		f.expected = order.value;
		q2_found(c, Q2_P_ROOT_REFCOUNT_ORDER, &f);
	}
	return Q2_OK;
}

/* Bitmaps are no entries: these lead to clusters in use, each to another one, and
 * have COPIED set or often lead to the cluster after their neighbour's. */
static bool odd_are_entries(const struct q2_odd_words *odd)
{
	if (odd->as_entry.good == 0 || odd->as_entry.bad)
		return false;
	return few(odd->as_bitmap) ||
	       (odd->as_entry.good >= 2 && odd->repeated == 0 &&
		(odd->copied == odd->as_entry.good ||
		 odd->next * 2 >= odd->as_entry.good));
}

/* Entries are no bitmaps, unless a few bits of one were damaged. */
static bool odd_are_bitmaps(const struct q2_odd_words *odd)
{
	return few(odd->as_entry) && odd->as_bitmap.bad == 0 &&
	       (odd->strange || odd->as_bitmap.good >= 4);
}

static enum q2_status judge_extended(struct q2_checker *c,
				     struct q2_sample *sample)
{
	struct q2_header h = c->header;
	bool ext = h.incompatible & Q2_INCOMPAT_EXTL2;
	struct q2_finding f = {.fields = Q2_F_FOUND, .found = ext};
	struct q2_odd_words odd;
	struct q2_evidence e;
	enum q2_status st;

	if (h.version != 3)
		return Q2_OK;
	q2_evidence_odd_words(sample, &odd);
	if (!(ext ? odd_are_entries(&odd) : odd_are_bitmaps(&odd)))
		return Q2_OK;
	h.incompatible ^= Q2_INCOMPAT_EXTL2;
	st = q2_evidence_try(c, &h, &e);
	if (st == Q2_OK && fits(&e))
		q2_found(c, Q2_P_ROOT_EXTENDED_L2, &f);
	return st;
}

/* The clusters of the L1 table: those that the disk needs, and the others. */
struct l1_parts {
	struct q2_range needed;
	struct q2_range beyond;
	uint64_t left; /* bytes that may still be read in search of overlaps */
};

/* A structure is in the way if it starts behind the part that is needed. */
static bool in_the_way(const struct l1_parts *l1, uint64_t start, uint64_t len)
{
	struct q2_range r = {start, len};

	return q2_overlap(l1->beyond, r) && !q2_overlap(l1->needed, r);
}

/* How many of the table's entries lead to a cluster in the way; `to` gets the
 * first of all clusters that they lead to. */
static unsigned names_some(struct q2_checker *c, struct l1_parts *l1,
			   struct q2_range table, size_t step, uint64_t *to,
			   unsigned room)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t bytes = q2_min(table.len, TABLE_BYTES);
	unsigned n = 0, hits = 0;
	uint8_t window[WINDOW];

	for (uint64_t at = 0; at < bytes; at += WINDOW) {
		size_t len = (size_t)q2_min(WINDOW, bytes - at);

		if (l1->left < len ||
		    q2_pread_zero(c->img.io, window, len, table.start + at,
				  NULL) != Q2_OK)
			break;
		l1->left -= len;
		for (size_t i = 0; i < len; i += step) {
			uint64_t raw = q2_be64(window + i);
			uint64_t off = raw & Q2_ENTRY_OFFSET;

			if (off == 0 || off % g->cluster_size ||
			    off >= g->file_size ||
			    (raw & (Q2_COMPRESSED | Q2_L2_RESERVED)))
				continue;
			hits += in_the_way(l1, off, g->cluster_size);
			if (n < room)
				to[n++] = off;
		}
	}
	while (n < room)
		to[n++] = 0;
	return hits;
}

/* L2 tables and, in a sample, what these name.  A single cluster of data in the
 * way is more likely one wrong entry. */
static bool tree_in_the_way(struct q2_checker *c, struct l1_parts *l1,
			    struct q2_range table)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t l2[TABLES] = {0};
	unsigned data = 0;

	if (names_some(c, l1, table, 8, l2, TABLES))
		return true;
	for (size_t i = 0; i < TABLES && l2[i] && !g->data_file; i++)
		data += names_some(c, l1,
				   (struct q2_range){l2[i], g->cluster_size},
				   (size_t)1 << g->entry_bits, NULL, 0);
	return data > 1;
}

static bool runs_into_something(struct q2_checker *c, struct l1_parts *l1)
{
	const struct q2_geom *g = &c->img.geom;
	struct q2_range reftable = {g->reftable_offset, g->reftable_bytes};

	for (size_t i = 0; i < c->metas.n; i++) {
		const struct q2_meta *m = &c->metas.at[i];

		if ((m->kind == Q2_K_HEADER || m->kind == Q2_K_REFTABLE ||
		     m->kind == Q2_K_SNAPTABLE) &&
		    in_the_way(l1, m->first << g->cluster_bits,
			       m->n << g->cluster_bits))
			return true;
	}
	if (names_some(c, l1, reftable, 8, NULL, 0))
		return true;
	for (size_t i = 0; i < c->trees.n && i < TABLES; i++) {
		const struct q2_tree *t = &c->trees.at[i];
		uint32_t entries = t->id == Q2_TREE_ACTIVE ? g->l1_needed :
							     t->l1_entries;

		if (tree_in_the_way(c, l1,
				    (struct q2_range){t->l1_offset,
						      UINT64_C(8) * entries}))
			return true;
	}
	return false;
}

/* From here on the table has the length that the disk needs. */
static void shorten_l1(struct q2_checker *c)
{
	struct q2_geom *g = &c->img.geom;
	uint64_t bytes = UINT64_C(8) * g->l1_needed;

	g->l1_entries = g->l1_needed;
	if (c->trees.n && c->trees.at[0].id == Q2_TREE_ACTIVE) {
		c->trees.at[0].l1_entries = g->l1_needed;
		if (g->l1_needed == 0)
			memmove(c->trees.at, c->trees.at + 1,
				--c->trees.n * sizeof(c->trees.at[0]));
	}
	for (size_t i = 0; i < c->metas.n; i++) {
		struct q2_meta *m = &c->metas.at[i];

		if (m->kind != Q2_K_L1)
			continue;
		m->n = q2_min(m->n, q2_div_up(bytes, g->cluster_size));
		if (m->n == 0)
			memmove(m, m + 1, (--c->metas.n - i) * sizeof(*m));
		return;
	}
}

static void judge_l1_size(struct q2_checker *c)
{
	const struct q2_geom *g = &c->img.geom;
	struct q2_finding f = {.fields = Q2_F_FOUND | Q2_F_EXPECTED,
			       .found = c->header.l1_size,
			       .expected = g->l1_needed};
	uint64_t needed = q2_div_up(UINT64_C(8) * g->l1_needed,
				    g->cluster_size) << g->cluster_bits;
	uint64_t stated = UINT64_C(8) * g->l1_entries;
	struct l1_parts l1 = {.needed = {g->l1_offset, needed},
			      .left = SEARCH_BYTES};

	if (stated <= needed)
		return;
	l1.beyond = (struct q2_range){g->l1_offset + needed, stated - needed};
	if (!runs_into_something(c, &l1))
		return;
	q2_found(c, Q2_P_ROOT_L1_SIZE, &f);
	shorten_l1(c);
}

enum q2_status q2_chk_l1_size(struct q2_checker *c)
{
	judge_l1_size(c);
	return Q2_OK;
}

enum q2_status q2_chk_roots(struct q2_checker *c)
{
	struct q2_sample *sample;
	struct q2_evidence e;
	bool found = false;
	enum q2_status st;

	/* A wrong unit is not to be had without consequences. */
	if (c->result->corruptions == 0 && c->suspects.n == 0 &&
	    c->leaks.n == 0)
		return Q2_OK;
	st = q2_evidence_gather(c, &c->header, &e, &sample);
	if (st == Q2_OK && contradicts(&e))
		st = judge_units(c, &e, sample, &found);
	if (st == Q2_OK && !found)
		st = judge_extended(c, sample);
	q2_sample_free(c, sample);
	return st;
}
