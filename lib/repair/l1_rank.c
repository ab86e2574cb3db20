/*
 * l1_rank.c - which of several trees that name one table lost another one.
 *
 * SPDX-License-Identifier: MIT
 *
 * A tree differs little from the one before it and the one after it: snapshots in
 * their order, and the active disk in the end.
 */
#include "check/l2shape.h"
#include "repair/l1fix.h"

#define PROBE 512u
#define TREES_MOST 64u

struct chain {
	uint64_t at[TREES_MOST]; /* the table in the slot; 0: none */
	size_t n;
	size_t mine;
};

static bool fill(const struct q2_l1fix *l, struct chain *chain)
{
	const struct q2_trees *trees = &l->r->c->trees;

	*chain = (struct chain){.mine = TREES_MOST};
	if (trees->n > TREES_MOST)
		return false;
	for (unsigned active = 0; active <= 1; active++)
		for (size_t i = 0; i < trees->n; i++) {
			const struct q2_tree *t = &trees->at[i];
			struct q2_l1_entry e;
			uint8_t b[8] = {0};

			if ((t->id == Q2_TREE_ACTIVE) != active)
				continue;
			if (l->slot < t->l1_entries &&
			    q2_pread_zero(l->r->io, b, 8, t->l1_offset +
					  UINT64_C(8) * l->slot, NULL) != Q2_OK)
				return false;
			if (t->id == l->tree->id)
				chain->mine = chain->n;
			e = q2_l1_decode(&l->r->c->img.geom, q2_be64(b));
			chain->at[chain->n++] = e.used ? e.table.n : 0;
		}
	return chain->mine < chain->n;
}

/* How two tables differ: in how many entries, and what that tells. */
struct difference {
	uint64_t entries;
	uint64_t refer; /* of them: where the second one names something */
	uint64_t missed; /* of them: something that is missed */
	bool unread;
};

static void compare(const struct q2_l1fix *l, uint64_t x, uint64_t y,
		    struct difference *d)
{
	const struct q2_geom *g = &l->r->c->img.geom;
	uint8_t a[PROBE] = {0}, b[PROBE] = {0};

	*d = (struct difference){0};
	for (uint64_t at = 0; at < g->cluster_size && x != y; at += PROBE) {
		if ((x && q2_pread_zero(l->r->io, a, PROBE,
					(x << g->cluster_bits) + at, NULL)) ||
		    (y && q2_pread_zero(l->r->io, b, PROBE,
					(y << g->cluster_bits) + at, NULL))) {
			d->unread = true;
			return;
		}
		for (unsigned i = 0; i < PROBE; i += 1u << g->entry_bits) {
			uint64_t raw = q2_be64(b + i);
			struct q2_l2_entry e = q2_l2_decode(g, raw, 0, 0);

			if (((q2_be64(a + i) ^ raw) & ~Q2_COPIED) == 0)
				continue;
			d->entries++;
			d->refer += e.refers;
			d->missed += e.refers &&
				     q2_surplus(&l->ledger, e.host.start >>
							g->cluster_bits) > 0;
		}
	}
}

/* By how many entries neighbours would differ more or less if the i-th tree had `table`
 * in place of its own. */
static int64_t cost(const struct q2_l1fix *l, const struct chain *chain, size_t i,
		    uint64_t table)
{
	struct difference d;
	int64_t sum = 0;

	for (unsigned side = 0; side <= 1; side++) {
		uint64_t next;

		if (side ? i + 1 >= chain->n : i == 0)
			continue;
		next = chain->at[side ? i + 1 : i - 1];
		compare(l, next, table, &d);
		sum += (int64_t)d.entries;
		compare(l, next, chain->at[i], &d);
		sum -= (int64_t)d.entries;
	}
	return sum;
}

enum q2_l1_rank q2_l1_rank(const struct q2_l1fix *l, uint64_t raw)
{
	uint64_t table = raw >> l->r->c->img.geom.cluster_bits;
	struct chain chain;
	bool others = false, tie = false;
	int64_t mine;

	if (!fill(l, &chain))
		return Q2_L1_ALONE;
	mine = cost(l, &chain, chain.mine, table);
	for (size_t i = 0; i < chain.n; i++) {
		int64_t his;

		if (i == chain.mine || chain.at[i] != l->e.table.n)
			continue;
		his = cost(l, &chain, i, table);
		if (his < mine)
			return Q2_L1_ANOTHERS;
		tie |= his == mine;
		others = true;
	}
	return tie ? Q2_L1_TIE : others ? Q2_L1_LIKELIEST : Q2_L1_ALONE;
}

uint64_t q2_l1_told_apart(struct q2_l1fix *l)
{
	const struct q2_checker *c = l->r->c;
	const struct q2_geom *g = &c->img.geom;
	uint64_t found = 0;
	unsigned n = 0;

	if (q2_surplus(&l->ledger, l->e.table.n) >= 0 || g->data_file)
		return 0;
	for (unsigned bit = g->cluster_bits; bit < 56; bit++) {
		uint64_t raw = (l->raw ^ UINT64_C(1) << bit) & Q2_ENTRY_OFFSET;
		uint64_t clu = raw >> g->cluster_bits;
		struct q2_l2_shape shape;
		struct difference d;

		if (raw == 0 || q2_refmap_get(&c->map, clu).count ||
		    q2_surplus(&l->ledger, clu) != 1 ||
		    q2_pread_zero(l->r->io, l->table, (size_t)g->cluster_size,
				  raw, NULL) != Q2_OK ||
		    !q2_l2_shaped(c, l->table, 1u << g->l2_bits, &shape))
			continue;
		compare(l, l->e.table.n, clu, &d);
		if (d.unread || d.missed == 0 || d.missed < d.refer)
			continue;
		found = raw;
		n++;
	}
	return n == 1 && q2_l1_rank(l, found) == Q2_L1_LIKELIEST ? found : 0;
}
