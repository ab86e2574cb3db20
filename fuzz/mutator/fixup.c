/*
 * fixup.c - making refcounts and COPIED flags agree with the tables.
 *
 * SPDX-License-Identifier: MIT
 *
 * With them right, a checker sees the one defect that was made, and not all that
 * follows from it.
 */
#include "mut_own.h"

#define CLUSTERS 256u

struct counter {
	struct mut *m;
	uint32_t counts[CLUSTERS];
	size_t n;
};

static void add(struct counter *c, uint64_t off, uint64_t len)
{
	uint64_t first = off >> c->m->bits;
	uint64_t last = (off + (len ? len - 1 : 0)) >> c->m->bits;

	for (uint64_t i = first; len && i <= last && i < c->n; i++)
		c->counts[i]++;
}

static void count_l2(struct counter *c, size_t table)
{
	const struct mut *m = c->m;
	size_t width = m->ext_l2 ? 16 : 8;
	unsigned x = 70 - m->bits;

	for (size_t i = 0; i < m->cs; i += width) {
		uint64_t raw = mut_get(m, table + i, 8);
		uint64_t off = raw & MUT_OFFSET;

		if (raw == 0 || m->data_file)
			continue;
		if (raw & MUT_PACKED) {
			uint64_t from = raw & ((UINT64_C(1) << x) - 1);
			uint64_t more = (raw & (MUT_PACKED - 1)) >> x;

			if (from < m->n)
				add(c, from, (more + 1) * 512 - from % 512);
		} else if (off && off % m->cs == 0 && off < m->n) {
			add(c, off, 1);
		}
	}
}

static void count_l1(struct counter *c, size_t table, size_t n)
{
	const struct mut *m = c->m;

	if (table == 0 || table % m->cs || table >= m->n)
		return;
	if (n > (m->n - table) / 8)
		n = (m->n - table) / 8;
	add(c, table, 8 * n);
	for (size_t i = 0; i < n; i++) {
		uint64_t off = mut_get(m, table + 8 * i, 8) & MUT_OFFSET;

		if (off == 0 || off % m->cs || off >= m->n)
			continue;
		add(c, off, 1);
		count_l2(c, (size_t)off);
	}
}

static void count_snapshots(struct counter *c)
{
	struct mut *m = c->m;
	uint64_t end = m->snaptab;

	for (unsigned i = 0; i < m->snaps; i++) {
		size_t rec = mut_snapshot(m, i);

		if (rec == 0)
			break;
		count_l1(c, (size_t)(mut_get(m, rec, 8) < m->n ?
					     mut_get(m, rec, 8) : 0),
			 (size_t)mut_get(m, rec + 8, 4));
		end = rec + 40 + mut_get(m, rec + 36, 4) +
		      mut_get(m, rec + 12, 2) + mut_get(m, rec + 14, 2);
	}
	if (m->snaps && end > m->snaptab)
		add(c, m->snaptab, end - m->snaptab);
}

static void count_bitmap(struct counter *c, size_t rec)
{
	const struct mut *m = c->m;
	uint64_t table = mut_get(m, rec, 8), n = mut_get(m, rec + 8, 4);

	if (table == 0 || table % m->cs || table >= m->n)
		return;
	if (n > (m->n - table) / 8)
		n = (m->n - table) / 8;
	add(c, table, 8 * n);
	for (size_t i = 0; i < n; i++) {
		uint64_t off = mut_get(m, (size_t)table + 8 * i, 8) &
			       MUT_OFFSET;

		if (off && off % m->cs == 0 && off < m->n)
			add(c, off, 1);
	}
}

static void count_bitmaps(struct counter *c)
{
	const struct mut *m = c->m;
	size_t ext = mut_extension(m, 0x23852875);
	uint64_t dir, bytes, n;
	size_t at;

	if (ext == 0)
		return;
	n = mut_get(m, ext + 8, 4);
	bytes = mut_get(m, ext + 16, 8);
	dir = mut_get(m, ext + 24, 8);
	if (dir == 0 || dir % m->cs || dir >= m->n || bytes > m->n - dir)
		return;
	add(c, dir, bytes);
	at = (size_t)dir;
	for (uint64_t i = 0; i < n && at + 24 <= dir + bytes; i++) {
		uint64_t len = 24 + mut_get(m, at + 18, 2) +
			       mut_get(m, at + 20, 4);

		count_bitmap(c, at);
		if (len > m->n - at)
			break;
		at += (size_t)((len + 7) & ~UINT64_C(7));
	}
}

static void count_all(struct counter *c)
{
	const struct mut *m = c->m;

	c->n = (m->n + m->cs - 1) / m->cs;
	if (c->n > CLUSTERS)
		c->n = CLUSTERS;
	add(c, 0, 1);
	if (m->rt)
		add(c, m->rt, 8 * m->rt_n);
	for (size_t i = 0; m->rt && i < m->rt_n; i++) {
		uint64_t off = mut_get(m, m->rt + 8 * i, 8) & ~UINT64_C(511);

		if (off && off % m->cs == 0)
			add(c, off, 1);
	}
	count_l1(c, m->l1, m->l1_n);
	count_snapshots(c);
	count_bitmaps(c);
}

static void put_refcount(struct mut *m, size_t block, size_t i, uint64_t v)
{
	unsigned width = 1u << m->order;
	size_t bit = i * width;
	uint64_t max = width >= 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
	uint64_t old, mask;

	if (v > max)
		v = max;
	if (width >= 8) {
		mut_set(m, block + bit / 8, width / 8, v);
		return;
	}
	old = mut_get(m, block + bit / 8, 1);
	mask = max << bit % 8;
	mut_set(m, block + bit / 8, 1, (old & ~mask) | v << bit % 8);
}

static void put_counts(struct counter *c)
{
	struct mut *m = c->m;
	size_t per_block = m->cs * 8 >> m->order;

	for (size_t i = 0; m->rt && i < m->rt_n; i++) {
		uint64_t off = mut_get(m, m->rt + 8 * i, 8) & ~UINT64_C(511);

		if (off == 0 || off % m->cs || off >= m->n)
			continue;
		for (size_t k = 0; k < per_block && i * per_block + k < c->n;
		     k++)
			put_refcount(m, (size_t)off, k,
				     c->counts[i * per_block + k]);
	}
}

/* COPIED is set where the cluster has one reference, in the active tree. */
static void put_copied(struct counter *c, size_t table, size_t n,
		       size_t width, bool is_l1)
{
	struct mut *m = c->m;

	for (size_t i = 0; i < n; i++) {
		size_t at = table + i * width;
		uint64_t raw = mut_get(m, at, 8), off = raw & MUT_OFFSET;
		bool alone = off / m->cs < c->n && c->counts[off / m->cs] == 1;

		if (off == 0 || off % m->cs || off >= m->n ||
		    (!is_l1 && (raw & MUT_PACKED)))
			continue;
		raw = alone ? raw | MUT_COPIED : raw & ~MUT_COPIED;
		mut_set(m, at, 8, raw);
		if (is_l1)
			put_copied(c, (size_t)off,
				   m->cs / (m->ext_l2 ? 16 : 8),
				   m->ext_l2 ? 16 : 8, false);
	}
}

void mut_fix(struct mut *m)
{
	struct counter c = {.m = m};

	mut_look(m);
	count_all(&c);
	put_counts(&c);
	if (m->l1 && m->l1 % m->cs == 0 && !m->data_file)
		put_copied(&c, m->l1, m->l1_n, 8, true);
}
