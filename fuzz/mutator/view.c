/*
 * view.c - finding one's way in an image that may be damaged.
 *
 * SPDX-License-Identifier: MIT
 */
#include "mut_own.h"

static size_t inside(const struct mut *m, uint64_t off)
{
	return off < m->n ? (size_t)off : 0;
}

void mut_look(struct mut *m)
{
	uint64_t incompat = 0;
	uint64_t entries;

	m->version = mut_get(m, H_VERSION, 4) == 2 ? 2 : 3;
	m->bits = (unsigned)mut_get(m, H_BITS, 4);
	if (m->bits < 9 || m->bits > 16)
		m->bits = 9;
	m->cs = (size_t)1 << m->bits;
	m->order = 4;
	m->exts = 72;
	if (m->version == 3) {
		incompat = mut_get(m, H_INCOMPAT, 8);
		m->order = (unsigned)mut_get(m, H_ORDER, 4);
		m->exts = (size_t)mut_get(m, H_LENGTH, 4);
	}
	if (m->order > 6)
		m->order = 4;
	if (m->exts < 72 || m->exts > m->cs)
		m->exts = 104;
	m->ext_l2 = (incompat & 16) && m->bits >= 14;
	m->data_file = incompat & 4;
	m->l1 = inside(m, mut_get(m, H_L1, 8));
	entries = mut_get(m, H_L1_SIZE, 4);
	m->l1_n = (m->n - m->l1) / 8;
	if (entries < m->l1_n)
		m->l1_n = (size_t)entries;
	m->rt = inside(m, mut_get(m, H_RT, 8));
	entries = mut_get(m, H_RT_CLUSTERS, 4) * (m->cs / 8);
	m->rt_n = (m->n - m->rt) / 8;
	if (entries < m->rt_n)
		m->rt_n = (size_t)entries;
	m->snaptab = inside(m, mut_get(m, H_SNAPTAB, 8));
	m->snaps = (unsigned)mut_get(m, H_SNAPS, 4);
	if (m->snaps > 64)
		m->snaps = 64;
	if (m->snaptab == 0)
		m->snaps = 0;
}

size_t mut_append(struct mut *m, const uint8_t *from)
{
	size_t at = (m->n + m->cs - 1) / m->cs * m->cs;

	if (at > m->cap || m->cap - at < m->cs)
		return 0;
	memset(m->b + m->n, 0, at - m->n);
	if (from)
		memmove(m->b + at, from, m->cs);
	else
		memset(m->b + at, 0, m->cs);
	m->n = at + m->cs;
	return at;
}

size_t mut_snapshot(const struct mut *m, unsigned i)
{
	size_t at = m->snaptab;

	if (i >= m->snaps)
		return 0;
	while (i--) {
		uint64_t len = 40 + mut_get(m, at + 36, 4) +
			       mut_get(m, at + 12, 2) + mut_get(m, at + 14, 2);

		len = (len + 7) & ~UINT64_C(7);
		if (at >= m->n || len > m->n - at)
			return 0;
		at += (size_t)len;
	}
	return at < m->n && m->n - at >= 40 ? at : 0;
}

size_t mut_extension(const struct mut *m, uint32_t type)
{
	size_t at = m->exts;

	while (at + 8 <= m->cs && at + 8 <= m->n) {
		uint64_t len = mut_get(m, at + 4, 4);

		if (mut_get(m, at, 4) == type)
			return at;
		if (mut_get(m, at, 4) == 0 || len > m->cs - at - 8)
			return 0;
		at += 8 + (size_t)((len + 7) & ~UINT64_C(7));
	}
	return 0;
}

size_t mut_used_entry(struct mut *m, size_t table, size_t n, size_t width)
{
	size_t at = table;

	if (n == 0)
		return 0;
	for (unsigned tries = 0; tries < 6; tries++) {
		at = table + width * mut_below(m, n);
		if (mut_get(m, at, 8))
			return at;
	}
	return at;
}

size_t mut_some_l2(struct mut *m)
{
	size_t table = m->l1, n = m->l1_n, at;

	if (m->snaps && mut_one_in(m, 3)) {
		size_t rec = mut_snapshot(m, (unsigned)mut_below(m, m->snaps));

		if (rec) {
			table = inside(m, mut_get(m, rec, 8));
			n = (size_t)mut_get(m, rec + 8, 4);
			if (n > (m->n - table) / 8)
				n = (m->n - table) / 8;
		}
	}
	at = mut_used_entry(m, table, n, 8);
	if (at == 0)
		return 0;
	return inside(m, mut_get(m, at, 8) & MUT_OFFSET);
}
