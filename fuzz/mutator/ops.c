/*
 * ops.c - changes of structure: moving, copying, resizing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "mut_own.h"

/* A place that holds the offset of a structure of one cluster. */
static size_t some_pointer(struct mut *m, const char **name)
{
	size_t rec, table;

	switch (mut_below(m, 8)) {
	case 0:
		*name = "l1";
		return H_L1;
	case 1:
		*name = "reftable";
		return H_RT;
	case 2:
		*name = "refblock";
		return mut_used_entry(m, m->rt, m->rt_n, 8);
	case 3:
		*name = "snapshots";
		return m->snaptab ? H_SNAPTAB : 0;
	case 4:
		*name = "snapshot-l1";
		rec = m->snaps ? mut_snapshot(m, (unsigned)mut_below(
							    m, m->snaps)) :
				 0;
		return rec;
	case 5:
		*name = "bitmaps";
		rec = mut_extension(m, 0x23852875);
		return rec ? rec + 24 : 0;
	case 6:
		*name = "l2";
		return mut_used_entry(m, m->l1, m->l1_n, 8);
	default:
		*name = "data";
		table = mut_some_l2(m);
		return table ? mut_used_entry(m, table,
					      m->cs / (m->ext_l2 ? 16 : 8),
					      m->ext_l2 ? 16 : 8) :
			       0;
	}
}

static void relocate(struct mut *m)
{
	const char *name;
	size_t at = some_pointer(m, &name), to;
	uint64_t raw = mut_get(m, at, 8), off = raw & MUT_OFFSET;

	if (at == 0 || off == 0 || off >= m->n || m->n - off < m->cs)
		return;
	to = mut_append(m, m->b + off);
	if (to == 0)
		return;
	mut_set(m, at, 8, (raw & ~MUT_OFFSET) | to);
	mut_say("relocate", at, name);
}

/* Two names for one thing. */
static void alias(struct mut *m)
{
	const char *name, *other;
	size_t at = some_pointer(m, &name), from = some_pointer(m, &other);

	if (at == 0 || from == 0)
		return;
	mut_set(m, at, 8,
		(mut_get(m, at, 8) & ~MUT_OFFSET) |
			(mut_get(m, from, 8) & MUT_OFFSET));
	mut_say("alias", at, other);
}

static void swap(struct mut *m)
{
	size_t table = mut_some_l2(m), width = m->ext_l2 ? 16 : 8, a, b;
	uint64_t t;

	if (table == 0)
		return;
	a = mut_used_entry(m, table, m->cs / width, width);
	b = mut_used_entry(m, table, m->cs / width, width);
	t = mut_get(m, a, 8);
	mut_set(m, a, 8, mut_get(m, b, 8));
	mut_set(m, b, 8, mut_one_in(m, 2) ? t : mut_get(m, b, 8));
	mut_say("swap", a, NULL);
}

static void resize(struct mut *m)
{
	size_t n;

	switch (mut_below(m, 4)) {
	case 0:
		n = m->n - mut_below(m, m->n / 2 + 1);
		break;
	case 1:
		n = (mut_below(m, m->n / m->cs + 1)) * m->cs;
		break;
	default:
		n = m->n;
		if (mut_append(m, NULL))
			memset(m->b + m->n - m->cs,
			       mut_one_in(m, 2) ? 0 : (int)mut_below(m, 256),
			       m->cs);
		mut_say("grow", n, NULL);
		return;
	}
	m->n = n ? n : 1;
	mut_say("truncate", m->n, NULL);
}

/* A cluster of this image or the other one over another cluster. */
static void splice(struct mut *m)
{
	size_t to = mut_below(m, m->n / m->cs + 1) * m->cs;
	const uint8_t *from = m->b;
	size_t n = m->n, at;

	if (m->other && m->n_other >= m->cs && mut_one_in(m, 2)) {
		from = m->other;
		n = m->n_other;
	}
	at = mut_below(m, n / m->cs + 1) * m->cs;
	if (to > m->n || m->n - to < m->cs || at > n || n - at < m->cs)
		return;
	if (mut_one_in(m, 4))
		memset(m->b + to, 0, m->cs);
	else
		memmove(m->b + to, from + at, m->cs);
	mut_say("splice", to, NULL);
}

static void change_version(struct mut *m)
{
	if (m->version == 3) {
		mut_set(m, H_VERSION, 4, 2);
	} else {
		mut_set(m, H_VERSION, 4, 3);
		memset(m->b + 72, 0, m->n < 104 ? 0 : 32);
		mut_set(m, H_ORDER, 4, 4);
		mut_set(m, H_LENGTH, 4, 104);
	}
	mut_say("version", H_VERSION, NULL);
}

/* Another refcount width, with a new table and blocks behind the image. */
static void change_width(struct mut *m)
{
	unsigned order = (unsigned)mut_below(m, 7);
	size_t per_block, blocks, rt;

	if (m->version != 3)
		return;
	per_block = m->cs * 8 >> order;
	blocks = (m->n / m->cs + 8) / per_block + 1;
	rt = mut_append(m, NULL);
	if (rt == 0 || blocks > m->cs / 8)
		return;
	for (size_t i = 0; i < blocks; i++)
		mut_set(m, rt + 8 * i, 8, mut_append(m, NULL));
	mut_set(m, H_RT, 8, rt);
	mut_set(m, H_RT_CLUSTERS, 4, 1);
	mut_set(m, H_ORDER, 4, order);
	mut_say("width", H_ORDER, NULL);
	mut_fix(m);
}

/* Doubles every offset in a table of entries. */
static void scale_table(struct mut *m, size_t table, size_t n, size_t width)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t raw = mut_get(m, table + i * width, 8);

		if (raw & MUT_PACKED)
			raw = 0; /* the stream would need another place */
		mut_set(m, table + i * width, 8,
			(raw & ~MUT_OFFSET) |
				(raw & MUT_OFFSET & ~(MUT_COPIED >> 8)) << 1);
	}
}

/* Clusters of twice the size: each moves to its own number's new place. */
static void double_clusters(struct mut *m)
{
	size_t old = m->cs, n = (m->n + old - 1) / old;

	if (m->ext_l2 || n * old * 2 > m->cap || m->bits >= 13 || m->snaps ||
	    mut_extension(m, 0x23852875))
		return;
	memset(m->b + m->n, 0, n * old - m->n);
	for (size_t i = n; i-- > 0;) {
		memmove(m->b + 2 * i * old, m->b + i * old, old);
		memset(m->b + (2 * i + 1) * old, 0, old);
	}
	m->n = 2 * n * old;
	mut_set(m, H_BITS, 4, m->bits + 1);
	mut_set(m, H_L1, 8, 2 * mut_get(m, H_L1, 8));
	mut_set(m, H_RT, 8, 2 * mut_get(m, H_RT, 8));
	mut_set(m, H_SNAPTAB, 8, 2 * mut_get(m, H_SNAPTAB, 8));
	mut_look(m);
	for (size_t i = 0; m->l1 && i < m->l1_n; i++) {
		uint64_t l2 = mut_get(m, m->l1 + 8 * i, 8) & MUT_OFFSET;

		if (l2 && l2 < m->n / 2)
			scale_table(m, (size_t)(2 * l2), old / 8, 8);
	}
	if (m->l1)
		scale_table(m, m->l1, m->l1_n, 8);
	if (m->rt)
		scale_table(m, m->rt, old / 8, 8);
	mut_say("double-clusters", H_BITS, NULL);
	mut_fix(m);
}

/* Makes room in the first cluster for one more extension, or takes one out. */
static void change_extensions(struct mut *m)
{
	static const uint32_t types[] = {0xe2792aca, 0x6803f857, 0x0537be77,
					 0x44415441, 0x12345678};
	size_t at = m->exts, len = 8 * (1 + mut_below(m, 3));

	if (at + 16 > m->cs || m->n < m->cs)
		return;
	if (mut_one_in(m, 3)) {
		memmove(m->b + at, m->b + at + 16, m->cs - at - 16);
		mut_say("remove-ext", at, NULL);
		return;
	}
	if (at + 8 + len > m->cs)
		return;
	memmove(m->b + at + 8 + len, m->b + at, m->cs - at - 8 - len);
	mut_set(m, at, 4, types[mut_below(m, 5)]);
	mut_set(m, at + 4, 4, len);
	memcpy(m->b + at + 8, "Q2-CANARY-DO-NOT-OPEN\0\0\0", len);
	mut_say("add-ext", at, NULL);
}

static void overlap(struct mut *m)
{
	const char *name;
	size_t at = some_pointer(m, &name);
	uint64_t raw = mut_get(m, at, 8);

	if (at == 0)
		return;
	mut_set(m, at, 8,
		(raw & ~MUT_OFFSET) |
			(uint64_t)mut_below(m, m->n / m->cs + 1) * m->cs);
	mut_say("overlap", at, name);
}

void mut_structure(struct mut *m)
{
	switch (mut_below(m, 16)) {
	case 0:
	case 1:
	case 2:
		relocate(m);
		break;
	case 3:
	case 4:
		alias(m);
		break;
	case 5:
		swap(m);
		break;
	case 6:
	case 7:
		resize(m);
		break;
	case 8:
		splice(m);
		break;
	case 9:
		change_version(m);
		break;
	case 10:
		change_width(m);
		break;
	case 11:
		double_clusters(m);
		break;
	case 12:
		change_extensions(m);
		break;
	default:
		overlap(m);
		break;
	}
	mut_look(m);
}
