/*
 * sizes.c - how much metadata an image needs.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/sizes.h"

uint64_t q2_refcount_clusters(const struct q2_shape *s, uint64_t clusters)
{
	uint64_t per_table = s->cluster_size / 8;
	uint64_t per_block = s->cluster_size * 8 >> s->ref_order;
	uint64_t blocks = 0, table = 0, n = 0, last;

	/* Refcounts count the clusters that hold them. */
	do {
		last = n;
		blocks = q2_div_up(clusters + table + blocks, per_block);
		table = q2_div_up(blocks, per_table);
		n = clusters + blocks + table;
	} while (n != last);
	return blocks + table;
}

uint64_t q2_full_size(const struct q2_shape *s, uint64_t size)
{
	uint64_t cs = s->cluster_size;
	uint64_t data = q2_div_up(size, cs);
	uint64_t tables = q2_div_up(data, cs / s->entry_bytes);
	uint64_t l1 = q2_div_up(tables, cs / 8);
	uint64_t n = 1 + data + tables + l1, bytes;

	n = q2_add_sat(n, s->more);
	if (n > UINT64_MAX / cs)
		return UINT64_MAX;
	n += q2_refcount_clusters(s, n);
	return q2_mul(n, cs, &bytes) ? bytes : UINT64_MAX;
}
