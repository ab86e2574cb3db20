/*
 * rescue_roots.c - L1 tables and a snapshot table that no header leads to.
 *
 * SPDX-License-Identifier: MIT
 *
 * An L1 table is told by its shape: what it names are L2 tables.  Only clusters
 * with a refcount are looked at: what was freed is stale.
 */
#include "base/endian.h"
#include "base/hash.h"
#include "base/zeros.h"
#include "format/refcount.h"
#include "repair/rescue_head.h"

#define SECTOR 512u
#define SAMPLES 8u
#define EVERY 64u /* clusters between two looks at the clock */

struct hunt {
	struct q2_repair *r;
	const struct q2_head *h;
	struct q2_geom g;
	struct q2_roots *roots;
	uint8_t *block;	  /* of refcounts */
	uint8_t *cluster; /* two of them */
	uint8_t *table;
	struct q2_runs snap_l1; /* clusters */
	struct q2_runs like_l1; /* clusters; n is entries in use */
	struct q2_runs empty;	/* counted clusters of zeros */
	uint32_t newest;
	uint64_t i; /* what is done: blocks, and counts of the next one */
	uint64_t k;
};

/* ------------------------------------------------------------- kept, and taken */

static void put_hunt(const void *work, struct q2_buf *b)
{
	const struct hunt *h = work;

	q2_put_number(b, h->i);
	q2_put_number(b, h->k);
	q2_put_number(b, h->newest);
	q2_put_number(b, h->roots->snapshots);
	q2_put_number(b, h->roots->snap_offset);
	q2_put_number(b, h->roots->disk_size);
	q2_put_number(b, h->roots->old);
	q2_put_number(b, h->like_l1.n);
	for (size_t i = 0; i < h->like_l1.n; i++) {
		q2_put_number(b, h->like_l1.at[i].first);
		q2_put_number(b, h->like_l1.at[i].n);
	}
	q2_put_runs(b, &h->snap_l1);
	q2_put_runs(b, &h->empty);
}

static enum q2_status take_hunt(void *work, struct q2_source *in)
{
	struct hunt *h = work;
	uint64_t clusters = h->g.file_clusters, n;
	enum q2_status st = Q2_OK;

	h->i = q2_take_number(in);
	h->k = q2_take_up_to(in, UINT64_C(1) << h->g.block_bits);
	h->newest = (uint32_t)q2_take_up_to(in, UINT32_MAX);
	h->roots->snapshots = (uint32_t)q2_take_up_to(in, Q2_SNAPSHOTS_MAX);
	h->roots->snap_offset = q2_take_up_to(in, h->r->io->size);
	h->roots->disk_size = q2_take_number(in);
	h->roots->old = q2_take_up_to(in, 1);
	n = q2_take_up_to(in, clusters);
	for (; n && st == Q2_OK && !in->failed; n--) {
		struct q2_run run = {.first = q2_take_up_to(in, clusters)};

		run.n = q2_take_up_to(in, h->g.cluster_size);
		st = q2_runs_push(&h->like_l1, &h->r->budget, run, h->r->err);
	}
	if (st == Q2_OK)
		st = q2_take_runs(in, h->r, UINT64_MAX, &h->snap_l1);
	return st == Q2_OK ? q2_take_runs(in, h->r, clusters, &h->empty) : st;
}

/* -------------------------------------------------------------------- evidence */

static bool read_cluster(struct hunt *h, uint64_t off, uint8_t *to)
{
	return q2_pread_zero(h->r->io, to, (size_t)h->g.cluster_size, off,
			     NULL) == Q2_OK;
}

/* The number of allocated entries, or -1 if one of them cannot be an entry. */
static int64_t as_l2(const struct hunt *h, const uint8_t *bytes)
{
	const struct q2_geom *g = &h->g;
	int64_t used = 0;

	for (uint32_t i = 0; i < 1u << g->l2_bits; i++) {
		const uint8_t *p = bytes + ((size_t)i << g->entry_bits);
		struct q2_l2_entry e = q2_l2_decode(
			g, q2_be64(p), q2_l2_bitmap(g, p), 0);

		if (e.faults)
			return -1;
		used += e.refers;
	}
	return used;
}

/* The number of entries in use if each could be one of an L1 table; 0 otherwise. */
static uint64_t as_l1(const struct hunt *h, const uint8_t *bytes, size_t n)
{
	uint64_t used = 0;

	for (size_t i = 0; i < n; i += 8) {
		uint64_t raw = q2_be64(bytes + i);

		if (raw == 0)
			continue;
		if (q2_l1_decode(&h->g, raw).faults)
			return 0;
		used++;
	}
	return used;
}

/* Whether what these entries name are L2 tables, by samples. */
static bool names_tables(struct hunt *h, const uint8_t *bytes, uint64_t used)
{
	uint64_t step = q2_max(1, used / SAMPLES), seen = 0, full = 0;

	for (size_t i = 0; i < h->g.cluster_size; i += 8) {
		uint64_t raw = q2_be64(bytes + i);
		int64_t n;

		if (raw == 0 || seen++ % step)
			continue;
		if (!read_cluster(h, raw & Q2_ENTRY_OFFSET, h->table))
			continue;
		n = as_l2(h, h->table);
		if (n < 0)
			return false;
		full += n > 0;
	}
	return full != 0;
}

static enum q2_status see_record(struct hunt *h, const struct q2_snapshot *s)
{
	uint64_t first = s->l1_offset >> h->g.cluster_bits;
	uint64_t n = q2_div_up(UINT64_C(8) * s->l1_size, h->g.cluster_size);

	if (s->has_disk_size && s->sec >= h->newest) {
		h->newest = s->sec;
		h->roots->disk_size = s->disk_size;
	}
	h->roots->old |= !s->has_disk_size;
	return q2_runs_push(&h->snap_l1, &h->r->budget,
			    (struct q2_run){first, n}, h->r->err);
}

/* Records one behind the other from here on; false if there is none. */
static bool see_snapshots(struct hunt *h, uint64_t off, enum q2_status *st)
{
	struct q2_geom g = h->g;
	uint64_t at = off;
	uint32_t n = 0;
	uint8_t bytes[2048];

	g.version = 2; /* takes the records of both */
	while (*st == Q2_OK && n < Q2_SNAPSHOTS_MAX) {
		struct q2_snapshot s;

		if (q2_pread_zero(h->r->io, bytes, sizeof(bytes), at, NULL) !=
		    Q2_OK)
			break;
		q2_snapshot_parse(bytes, sizeof(bytes), &s);
		if (!q2_snapshot_plausible(&g, bytes, sizeof(bytes), &s))
			break;
		if (n == 0)
			h->roots->disk_size = 0;
		*st = see_record(h, &s);
		at += s.len;
		n++;
	}
	if (n > h->roots->snapshots) {
		h->roots->snapshots = n;
		h->roots->snap_offset = off;
	}
	return n != 0;
}

static enum q2_status note_empty(struct hunt *h, uint64_t clu)
{
	struct q2_run *last = h->empty.n ? &h->empty.at[h->empty.n - 1] : NULL;

	if (last && last->first + last->n == clu) {
		last->n++;
		return Q2_OK;
	}
	return q2_runs_push(&h->empty, &h->r->budget, (struct q2_run){clu, 1},
			    h->r->err);
}

static enum q2_status see_cluster(struct hunt *h, uint64_t clu)
{
	uint64_t off = clu << h->g.cluster_bits, used;
	struct q2_run run = {.first = clu};
	enum q2_status st = Q2_OK;
	bool hole = q2_io_data(h->r->io, off).start >= off + h->g.cluster_size;

	if (hole)
		return note_empty(h, clu);
	if (q2_pread_zero(h->r->io, h->cluster, SECTOR, off, NULL) != Q2_OK)
		return Q2_OK;
	if (see_snapshots(h, off, &st) || st != Q2_OK)
		return st;
	if (as_l1(h, h->cluster, SECTOR) == 0 && !q2_all_zero(h->cluster, SECTOR))
		return Q2_OK;
	if (!read_cluster(h, off, h->cluster))
		return Q2_OK;
	if (q2_all_zero(h->cluster, (size_t)h->g.cluster_size))
		return note_empty(h, clu);
	used = as_l1(h, h->cluster, (size_t)h->g.cluster_size);
	if (used == 0 || !names_tables(h, h->cluster, used))
		return Q2_OK;
	run.n = used;
	return q2_runs_push(&h->like_l1, &h->r->budget, run, h->r->err);
}

/* What the block in h->block, which is at `block`, counts, from h->k on. */
static enum q2_status see_block(struct hunt *h, const struct q2_search *search,
				uint64_t block)
{
	const struct q2_head *d = h->h;
	uint64_t per = UINT64_C(1) << h->g.block_bits;
	uint64_t entries = (uint64_t)d->rt_clusters << d->bits >> 3;
	enum q2_status st = Q2_OK;

	for (; h->k < per && st == Q2_OK; h->k++) {
		uint64_t clu = h->i * per + h->k;

		if (h->k % EVERY == 0)
			st = q2_search_tick(h->r, search, "rescue", h->i,
					    entries);
		if (st != Q2_OK || clu == 0 || clu >= h->g.file_clusters ||
		    q2_refcount(h->block, d->order, h->k) == 0 ||
		    clu << d->bits == block ||
		    (clu << d->bits) - d->rt_offset <
			    (uint64_t)d->rt_clusters << d->bits)
			continue;
		st = see_cluster(h, clu);
	}
	return st;
}

static enum q2_status walk(struct hunt *h, const struct q2_search *search)
{
	const struct q2_head *d = h->h;
	uint64_t entries = (uint64_t)d->rt_clusters << d->bits >> 3;
	enum q2_status st = Q2_OK;

	for (; h->i < entries && st == Q2_OK; h->i++, h->k = 0) {
		uint8_t raw[8];

		if (q2_pread_zero(h->r->io, raw, 8, d->rt_offset + 8 * h->i,
				  NULL) == Q2_OK && q2_be64(raw) != 0 &&
		    read_cluster(h, q2_be64(raw), h->block))
			st = see_block(h, search, q2_be64(raw));
	}
	return st;
}

static enum q2_status search(struct hunt *h)
{
	uint8_t head[Q2_HEAD_ROOM];
	struct q2_search search = {.kind = Q2_SEARCH_ROOTS,
				   .put = put_hunt,
				   .take = take_hunt,
				   .work = h};
	bool done;
	enum q2_status st;

	q2_head_bytes(h->h, head);
	search.of = q2_hash(head, sizeof(head));
	st = q2_search_begin(h->r, &search, &done);
	if (st == Q2_OK && !done)
		st = walk(h, &search);
	return q2_search_end(h->r, &search, st);
}

/* Neighbouring clusters make a table; between two parts of one there may be a
 * part that is empty. */
static enum q2_status join(struct hunt *h)
{
	struct q2_l1_runs *l1 = &h->roots->l1;
	enum q2_status st = Q2_OK;

	q2_runs_tidy(&h->snap_l1);
	q2_runs_tidy(&h->empty);
	for (size_t i = 0; i < h->like_l1.n && st == Q2_OK; i++) {
		struct q2_run c = h->like_l1.at[i];
		struct q2_l1_run *last = l1->n ? &l1->at[l1->n - 1] : NULL;
		uint64_t gap = last ? last->first + last->n : c.first;

		if (q2_runs_have(&h->snap_l1, c.first))
			continue;
		while (gap < c.first && q2_runs_have(&h->empty, gap))
			gap++;
		if (last && gap == c.first) {
			last->n = c.first + 1 - last->first;
			last->entries += c.n;
			continue;
		}
		st = q2_l1_runs_push(l1, &h->r->budget,
				     (struct q2_l1_run){c.first, 1, c.n},
				     h->r->err);
	}
	return st;
}

static int by_entries(const void *a, const void *b)
{
	const struct q2_l1_run *x = a, *y = b;

	if (x->entries != y->entries)
		return x->entries > y->entries ? -1 : 1;
	return (x->first > y->first) - (x->first < y->first);
}

enum q2_status q2_find_roots(struct q2_repair *r, const struct q2_head *head,
			     struct q2_roots *roots)
{
	struct hunt h = {.r = r, .h = head, .roots = roots};
	void *block;
	uint64_t room;
	enum q2_status st;

	*roots = (struct q2_roots){0};
	if (!q2_head_geom(head, r->io->size, &h.g))
		return Q2_OK;
	room = 3 * h.g.cluster_size;
	st = q2_get(&r->budget, room, &block, r->err);
	if (st != Q2_OK)
		return st;
	h.block = block;
	h.cluster = h.block + h.g.cluster_size;
	h.table = h.cluster + h.g.cluster_size;
	st = search(&h);
	if (st == Q2_OK)
		st = join(&h);
	q2_sort(roots->l1.at, roots->l1.n, sizeof(*roots->l1.at), by_entries);
	q2_runs_free(&h.snap_l1, &r->budget);
	q2_runs_free(&h.like_l1, &r->budget);
	q2_runs_free(&h.empty, &r->budget);
	q2_put(&r->budget, block, room);
	return st;
}
