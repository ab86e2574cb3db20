/*
 * testview.c - what the guest reads, as digests.
 *
 * SPDX-License-Identifier: MIT
 */
#include "testview.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/hash.h"
#include "format/entry.h"
#include "image/inflate.h"

#define CLUSTERS_MAX (UINT64_C(1) << 16) /* of one disk that are looked at */

void die(const char *what)
{
	fprintf(stderr, "test: %s\n", what);
	exit(2);
}

static bool on_metadata(const struct q2_checker *c, uint64_t host)
{
	uint64_t clu = host >> c->img.geom.cluster_bits;

	for (size_t i = 0; i < c->suspects.n; i++)
		if (c->suspects.at[i].clu == clu &&
		    (c->suspects.at[i].why & Q2_S_META))
			return true;
	return false;
}

static uint64_t digest_cluster(const struct q2_checker *c, struct q2_inflate *w,
			       uint64_t raw, uint64_t map, uint64_t guest)
{
	const struct q2_geom *g = &c->img.geom;
	static uint8_t out[2u << 20];
	size_t cs = (size_t)g->cluster_size;
	struct q2_l2_entry e = q2_l2_decode(g, raw, map, guest);
	const uint8_t *p;
	size_t n;
	bool whole;

	if (e.type == Q2_L2_UNALLOCATED && !e.faults)
		return VIEW_ZEROS;
	memset(out, 0, cs);
	/* What is mapped onto metadata changes with it: no promise is made. */
	if (e.refers && e.type == Q2_L2_NORMAL && on_metadata(c, e.host.start))
		return VIEW_ANY;
	/* The data file is not looked at: its offset stands for its data. */
	if (g->data_file && e.host.len)
		return e.host.start == guest ? guest | 4 : VIEW_ERROR;
	if (e.type == Q2_L2_COMPRESSED) {
		if (q2_inflate(w, e.host, &p, &n, &whole, NULL) != Q2_OK ||
		    !whole)
			return VIEW_ERROR;
		memcpy(out, p, cs);
	} else if (e.faults & (Q2_EF_UNALIGNED | Q2_EF_SUB_CONFLICT |
			       Q2_EF_SUB_NO_OFFSET | Q2_EF_ZERO_V2)) {
		return VIEW_ERROR;
	} else if (e.type == Q2_L2_NORMAL) {
		if (q2_pread_zero(c->img.io, out, cs, e.host.start, NULL) !=
		    Q2_OK)
			return VIEW_ERROR;
		for (unsigned i = 0; g->ext_l2 && i < 32; i++)
			if (!(map >> i & 1))
				memset(out + i * cs / 32, 0, cs / 32);
	}
	if (out[0] == 0 && memcmp(out, out + 1, cs - 1) == 0)
		return VIEW_ZEROS;
	return q2_hash(out, cs) | 4;
}

static void view_tree(const struct q2_checker *c, struct q2_inflate *w,
		      const struct q2_tree *t, struct view *v, uint8_t *data)
{
	const struct q2_geom *g = &c->img.geom;
	uint64_t n = q2_div_up(t->disk_size, g->cluster_size);

	n = q2_min(n, CLUSTERS_MAX);
	v->n = (size_t)n;
	v->at = calloc(v->n + 1, sizeof(*v->at));
	for (uint64_t i = 0; i < n; i++) {
		uint64_t slot = i >> g->l2_bits, index = i & ((1u << g->l2_bits) - 1);
		uint8_t b[16] = {0};
		struct q2_l1_entry l1 = {0};
		struct q2_l2_entry e;

		if (slot < t->l1_entries &&
		    q2_pread_zero(c->img.io, b, 8, t->l1_offset + 8 * slot, NULL) == Q2_OK)
			l1 = q2_l1_decode(g, q2_be64(b));
		memset(b, 0, sizeof(b));
		if (l1.faults & ~(unsigned)(Q2_EF_RESERVED | Q2_EF_FLAGS_ONLY)) {
			v->at[i] = VIEW_ERROR;
			continue;
		}
		if (l1.used && q2_pread_zero(c->img.io, b, (size_t)1 << g->entry_bits,
				  q2_offset(g, l1.table) + (index << g->entry_bits),
				  NULL) != Q2_OK)
			memset(b, 0, sizeof(b));
		v->at[i] = digest_cluster(c, w, q2_be64(b), g->ext_l2 ? q2_be64(b + 8) : 0,
					  i << g->cluster_bits);
		e = q2_l2_decode(g, q2_be64(b), g->ext_l2 ? q2_be64(b + 8) : 0,
				 i << g->cluster_bits);
		if (data && e.refers)
			for (uint64_t k = e.host.start >> g->cluster_bits;
			     k <= (q2_end(e.host) - 1) >> g->cluster_bits; k++)
				data[k] = 1;
	}
}

static struct q2_checker *check(struct q2_io *io, struct q2_check_result *res)
{
	static const struct q2_check_opts opts;
	struct q2_checker *c;

	if (q2_checker_run(io, &opts, res, &c, NULL) != Q2_OK)
		die("check failed");
	return c;
}

/* All guest disks; false if the image has no geometry. */
bool view_all(struct q2_io *io, struct view views[VIEWS], size_t *n,
	      uint8_t *data, struct q2_check_result *res, uint8_t *counts,
	      uint64_t clusters)
{
	struct q2_checker *c = check(io, res);
	struct q2_inflate *w = NULL;

	*n = 0;
	if (c->img.geom.cluster_size == 0) {
		q2_checker_free(c);
		return false;
	}
	if (c->img.geom.inflatable && q2_inflate_new(&c->img, &w, NULL) != Q2_OK)
		die("no memory");
	for (size_t i = 0; i < c->trees.n && *n < VIEWS; i++)
		view_tree(c, w, &c->trees.at[i], &views[(*n)++], data);
	for (uint64_t i = 0; counts && i < clusters; i++)
		counts[i] = q2_refmap_get(&c->map, i).count != 0;
	for (size_t i = 0; counts && i < c->leaks.n; i++)
		for (uint64_t k = 0; k < c->leaks.at[i].n; k++)
			if (c->leaks.at[i].first + k < clusters)
				counts[c->leaks.at[i].first + k] = 1;
	q2_inflate_free(w);
	q2_checker_free(c);
	return true;
}

void view_free(struct view *views, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(views[i].at);
}

bool plan_same(const struct q2_plan *p, struct q2_io *a, struct q2_io *b)
{
	static uint8_t x[65536], y[65536];

	if (a->size != b->size)
		return false;
	for (size_t i = 0; i < p->edits.n; i++) {
		const struct q2_edit *e = &p->edits.at[i];

		for (uint64_t at = 0; at < e->len; at += sizeof(x)) {
			size_t n = (size_t)q2_min(sizeof(x), e->len - at);

			if (q2_pread_zero(a, x, n, e->offset + at, NULL) !=
				    Q2_OK ||
			    q2_pread_zero(b, y, n, e->offset + at, NULL) !=
				    Q2_OK || memcmp(x, y, n))
				return false;
		}
	}
	return true;
}
