/*
 * extents.c - the map of one image: finding the entry, and raw images.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/extents.h"

#include "base/endian.h"
#include "image/extrun.h"
#include "image/open.h"

#define L1_WINDOW 1024u /* entries */
#define L2_WINDOW (UINT64_C(64) << 10)

enum q2_status q2_map_open(struct q2_map *m, const struct q2_image *img,
			   const struct q2_tree *tree, struct q2_io *data,
			   struct q2_err *err)
{
	const struct q2_geom *g = &img->geom;
	bool misplaced = tree->l1_offset == 0 ||
			 (tree->l1_offset & (g->cluster_size - 1));
	enum q2_status st;
	void *block;

	*m = (struct q2_map){.img = *img,
			     .tree = *tree,
			     .host_io = g->data_file ? data : img->io,
			     .size = q2_shown_size(tree->disk_size)};
	m->no_l1 = tree->l1_entries && misplaced;
	if (m->no_l1)
		m->tree.l1_entries = 0;
	st = q2_get(img->budget, L1_WINDOW * UINT64_C(8), &block, err);
	m->l1 = block;
	if (st == Q2_OK) {
		st = q2_get(img->budget, L2_WINDOW, &block, err);
		m->l2 = block;
	}
	if (st != Q2_OK) {
		q2_map_close(m);
		return st;
	}
	q2_holes_init(&m->l1_holes, img->io, UINT64_C(8) * tree->l1_entries);
	q2_holes_init(&m->l2_holes, img->io,
		      (uint64_t)tree->l1_entries << g->cluster_bits);
	return Q2_OK;
}

void q2_map_open_raw(struct q2_map *m, struct q2_io *io)
{
	uint64_t tail = io->size % Q2_SECTOR;

	*m = (struct q2_map){.img = {.io = io},
			     .host_io = io,
			     .raw = true,
			     .size = q2_add_sat(io->size,
						tail ? Q2_SECTOR - tail : 0)};
}

void q2_map_holes(struct q2_map *m, bool probe)
{
	m->probe = probe;
}

void q2_map_close(struct q2_map *m)
{
	if (!m->raw)
		q2_holemap_free(&m->probed, m->img.budget);
	if (m->l1)
		q2_put(m->img.budget, m->l1, L1_WINDOW * UINT64_C(8));
	if (m->l2)
		q2_put(m->img.budget, m->l2, L2_WINDOW);
	m->l1 = m->l2 = NULL;
}

/* ------------------------------------------------------------- raw images */
static void raw_at(struct q2_map *m, struct q2_extent *out)
{
	struct q2_range known = q2_io_data(m->host_io, out->guest);
	uint64_t end = m->size;

	out->host = out->guest;
	out->has_host = true;
	out->kind = Q2_MAP_DATA;
	if (known.len == 0 || known.start > out->guest) {
		out->kind = Q2_MAP_ZERO_ALLOC;
		out->hole = true;
		if (known.len)
			end = known.start;
	} else {
		end = q2_end(known);
	}
	out->length = q2_min(out->length, end - out->guest);
}

/* -------------------------------------------------------------- L1 tables */

/* Holds the entries from `slot` on. */
static void fill_l1(struct q2_map *m, uint32_t slot)
{
	const struct q2_geom *g = &m->img.geom;
	uint64_t at = m->tree.l1_offset + UINT64_C(8) * slot;
	uint64_t end = g->file_clusters << g->cluster_bits;
	uint32_t n = m->tree.l1_entries - slot;
	struct q2_range want;

	m->l1_first = slot;
	if (at >= end) {
		m->l1_state = Q2_L1_BAD;
		m->l1_n = n;
		return;
	}
	/* A table that ends behind the file's last cluster is cut there. */
	n = (uint32_t)q2_min(q2_min(n, L1_WINDOW), (end - at) / 8);
	want = (struct q2_range){at, UINT64_C(8) * n};
	if (q2_holes_covers(&m->l1_holes, want)) {
		uint64_t more = m->l1_holes.known.start - at;

		m->l1_state = Q2_L1_ZEROS;
		m->l1_n = (uint32_t)q2_min(m->tree.l1_entries - slot,
					   q2_min(more, end - at) / 8);
		return;
	}
	m->l1_n = n;
	m->l1_state = q2_pread_zero(m->img.io, m->l1, (size_t)want.len, at,
				    NULL) == Q2_OK ? Q2_L1_HELD : Q2_L1_BAD;
}

static uint64_t l1_raw(const struct q2_map *m, uint32_t slot)
{
	return q2_be64(m->l1 + UINT64_C(8) * (slot - m->l1_first));
}

/* Ends *out where slot `next` begins, unless it ends before. */
static void until_slot(const struct q2_map *m, struct q2_extent *out,
		       uint64_t next)
{
	uint64_t end = q2_guest(&m->img.geom, next, 0);

	/* The last slot of the largest disks ends past 2^64. */
	if (next == (end >> (m->img.geom.l2_bits + m->img.geom.cluster_bits)))
		out->length = q2_min(out->length, end - out->guest);
}

/* The slot has no table that could be read: *out says what that means.  False
 * if it has one, in *table. */
static bool no_table(struct q2_map *m, uint64_t slot, struct q2_extent *out,
		     uint64_t *table)
{
	const struct q2_geom *g = &m->img.geom;
	struct q2_l1_entry e;
	uint32_t s;
	uint64_t raw;

	if (slot >= m->tree.l1_entries) {
		/* A snapshot's table may be shorter than its disk. */
		if (m->tree.id == Q2_TREE_ACTIVE || m->no_l1) {
			out->kind = Q2_MAP_UNREADABLE;
			out->why = Q2_WHY_L1_MISSING;
		}
		return true;
	}
	s = (uint32_t)slot;
	if (m->l1_n == 0 || s < m->l1_first || s - m->l1_first >= m->l1_n)
		fill_l1(m, s);
	if (m->l1_state != Q2_L1_HELD) {
		if (m->l1_state == Q2_L1_BAD) {
			out->kind = Q2_MAP_UNREADABLE;
			out->why = Q2_WHY_L1_READ;
		}
		until_slot(m, out, (uint64_t)m->l1_first + m->l1_n);
		return true;
	}
	raw = l1_raw(m, s);
	e = q2_l1_decode(g, raw);
	*table = q2_offset(g, e.table);
	m->seen.l1 |= e.faults;
	if (e.used)
		return false;
	if (e.faults & (Q2_EF_UNALIGNED | Q2_EF_OUTSIDE)) {
		out->kind = Q2_MAP_UNREADABLE;
		out->why = Q2_WHY_L1_ENTRY;
		out->faults = e.faults;
	}
	do
		s++;
	while (s - m->l1_first < m->l1_n && l1_raw(m, s) == raw);
	until_slot(m, out, s);
	return true;
}

/* -------------------------------------------------------------- L2 tables */

/* Widens *want over the tables that follow it in the file and in the L1. */
static void widen(const struct q2_map *m, uint32_t slot, struct q2_range *want)
{
	const struct q2_geom *g = &m->img.geom;

	while (want->len + g->cluster_size <= L2_WINDOW &&
	       ++slot - m->l1_first < m->l1_n) {
		struct q2_l1_entry e = q2_l1_decode(g, l1_raw(m, slot));

		if (!e.used || q2_offset(g, e.table) != q2_end(*want))
			return;
		want->len += g->cluster_size;
	}
}

static bool within(struct q2_range r, uint64_t at)
{
	return at >= r.start && at - r.start < r.len;
}

/* Has the part of a table around `at`, or finds it a hole or unreadable. */
static void fill_l2(struct q2_map *m, uint32_t slot, uint64_t table,
		    uint64_t at)
{
	const struct q2_geom *g = &m->img.geom;
	uint64_t first = (at - table) & ~(L2_WINDOW - 1);
	struct q2_range want = {table + first,
				q2_min(L2_WINDOW, g->cluster_size - first)};
	struct q2_range one = want;

	if (within(m->l2_held, at) || within(m->l2_bad, at) ||
	    within(m->l2_zero, at))
		return;
	if (q2_holes_covers(&m->l2_holes, want)) {
		m->l2_zero = (struct q2_range){table, q2_min(g->cluster_size,
					       m->l2_holes.known.start - table)};
		return;
	}
	if (want.len == g->cluster_size)
		widen(m, slot, &want);
	m->l2_held = (struct q2_range){0, 0};
	if (q2_pread_zero(m->img.io, m->l2, (size_t)want.len, want.start,
			  NULL) == Q2_OK) {
		m->l2_held = want;
		return;
	}
	if (q2_pread_zero(m->img.io, m->l2, (size_t)one.len, one.start,
			  NULL) == Q2_OK)
		m->l2_held = one;
	else
		m->l2_bad = one;
}

static void table_at(struct q2_map *m, uint32_t slot, uint64_t table,
		     struct q2_extent *out)
{
	const struct q2_geom *g = &m->img.geom;
	uint64_t index = (out->guest >> g->cluster_bits) &
			 ((UINT64_C(1) << g->l2_bits) - 1);
	uint64_t at = table + (index << g->entry_bits);
	uint64_t end;

	fill_l2(m, slot, table, at);
	if (within(m->l2_held, at)) {
		end = q2_min(q2_end(m->l2_held), table + g->cluster_size);
		q2_run_at(g, m->l2 + (at - m->l2_held.start),
			  (end - at) >> g->entry_bits, out);
		*(out->stored ? &m->seen.compressed : &m->seen.l2) |=
			out->faults;
		return;
	}
	end = within(m->l2_zero, at) ? q2_end(m->l2_zero) : q2_end(m->l2_bad);
	if (within(m->l2_bad, at)) {
		out->kind = Q2_MAP_UNREADABLE;
		out->why = Q2_WHY_L2_READ;
	}
	end = q2_min(end, table + g->cluster_size);
	index += (end - at) >> g->entry_bits;
	if (index >> g->l2_bits)
		until_slot(m, out, (uint64_t)slot + 1);
	else
		out->length = q2_min(out->length,
				     q2_guest(g, slot, index) - out->guest);
}

/* ------------------------------------------------------------------ holes */
static void probe(struct q2_map *m, struct q2_extent *e)
{
	struct q2_range known;

	known = q2_holemap_data(&m->probed, m->host_io, m->img.budget,
				e->host);
	if (e->host >= m->host_io->size || known.len == 0) {
		e->hole = true;
	} else if (known.start > e->host) {
		e->hole = true;
		e->length = q2_min(e->length, known.start - e->host);
	} else {
		e->length = q2_min(e->length, q2_end(known) - e->host);
	}
}

void q2_map_at(struct q2_map *m, uint64_t guest, uint64_t length,
	       struct q2_extent *out)
{
	const struct q2_geom *g = &m->img.geom;
	uint64_t table, slot;

	*out = (struct q2_extent){
		.guest = guest,
		.length = q2_min(length, m->size - guest),
	};
	if (m->raw) {
		raw_at(m, out);
		return;
	}
	slot = guest >> (g->l2_bits + g->cluster_bits);
	if (!no_table(m, slot, out, &table))
		table_at(m, (uint32_t)slot, table, out);
	if (m->probe && out->kind == Q2_MAP_DATA && m->host_io)
		probe(m, out);
}
