/*
 * trim.c - making an image smaller, field by field.
 *
 * SPDX-License-Identifier: MIT
 *
 * Trimming bytes does not work on tables.  The steps: end the file before each
 * cluster, forget the snapshots, the bitmaps and the extensions, empty each L1
 * entry, each L2 entry, and each cluster that is not zero.
 */
#include "mut_own.h"

#define ENTRIES 64u

static unsigned clusters(size_t n, size_t cs)
{
	n /= cs;
	return n > 256 ? 256 : (unsigned)n;
}

unsigned q2mut_trim_steps(size_t n)
{
	return n < 104 ? 0 : 3 + 2 * clusters(n, 512) + 3 * ENTRIES;
}

static size_t clear(struct mut *m, size_t at, size_t n)
{
	bool any = false;

	if (at == 0 || at >= m->n || m->n - at < n)
		return 0;
	for (size_t i = 0; i < n; i++) {
		any |= m->b[at + i] != 0;
		m->b[at + i] = 0;
	}
	return any ? m->n : 0;
}

static size_t forget(struct mut *m, unsigned what)
{
	if (what == 0)
		return clear(m, H_SNAPS, 12);
	if (what == 1)
		return clear(m, H_AUTOCLEAR, 8);
	return m->exts < m->cs ? clear(m, m->exts, m->cs - m->exts) : 0;
}

size_t q2mut_trim(const uint8_t *in, size_t n, uint8_t *out, size_t cap,
		  unsigned step)
{
	struct mut m = {.b = out, .n = n, .cap = n};
	unsigned all;
	size_t table;

	if (cap < n || n == 0)
		return 0;
	memcpy(out, in, n);
	mut_look(&m);
	all = clusters(n, m.cs);
	if (step < all)
		return (step + 1) * m.cs < n ? (step + 1) * m.cs : 0;
	step -= all;
	if (step < 3)
		return forget(&m, step);
	step -= 3;
	if (step < ENTRIES)
		return step < m.l1_n ? clear(&m, m.l1 + 8 * step, 8) : 0;
	step -= ENTRIES;
	if (step < 2 * ENTRIES) {
		table = m.l1 && step / ENTRIES < m.l1_n ?
				(size_t)((mut_get(&m, m.l1 + 8 * (step / ENTRIES),
						  8) &
					  MUT_OFFSET) %
					 (m.n + 1)) :
				0;
		return table ? clear(&m, table + 8 * (step % ENTRIES), 8) : 0;
	}
	step -= 2 * ENTRIES;
	return step && step < all ? clear(&m, step * m.cs, m.cs) : 0;
}
