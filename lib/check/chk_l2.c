/*
 * chk_l2.c - every distinct L2 table, read once.
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    each L2 entry; compressed data, if asked for; overlapping streams.
 * Gathers:  references in the map, cluster counts, clusters used twice.
 * Disables: nothing; a table that cannot be read makes the check partial.
 */
#include <stdlib.h>

#include "base/err.h"
#include "base/zeros.h"
#include "check/faults.h"
#include "check/keep.h"

static struct q2_finding locate(const struct q2_checker *c,
				const struct q2_l2visit *v)
{
	const struct q2_geom *g = &c->img.geom;

	return (struct q2_finding){
		.tree = v->ref->active ? Q2_TREE_ACTIVE : v->ref->tree,
		.l1 = v->ref->slot,
		.l2 = v->index,
		.guest = q2_guest(g, v->ref->slot, v->index),
		.length = g->cluster_size,
		.host = v->e.host.start,
		.found = v->raw,
	};
}

static void report_faults(struct q2_l2_work *l, const struct q2_l2visit *v)
{
	struct q2_checker *c = l->c;

	for (const struct q2_fault_problem *p = q2_l2_problems; p->fault; p++) {
		bool compressed = v->e.type == Q2_L2_COMPRESSED;
		enum q2_problem_id id;
		struct q2_finding f;

		if (!(v->e.faults & p->fault))
			continue;
		id = q2_l2_problem(p, compressed);
		f = locate(c, v);
		f.fields = q2_problem(id)->fields;
		if (id == Q2_P_L2_UNALIGNED || id == Q2_P_L2_ENTRY_OUTSIDE ||
		    id == Q2_P_COMPRESSED_OUTSIDE ||
		    id == Q2_P_DATA_FILE_OFFSET)
			f.found = v->e.host.start;
		else if (id == Q2_P_COMPRESSED_EXTL2 ||
			 id == Q2_P_SUBCLUSTER_CONFLICT ||
			 id == Q2_P_SUBCLUSTER_NO_OFFSET)
			f.found = v->bitmap;
		else if (id == Q2_P_COMPRESSED_CUT)
			f.found = q2_end(v->e.host) - c->img.io->size;
		q2_found(c, id, &f);
	}
}

static void flush_beyond(struct q2_l2_work *l)
{
	if (l->beyond_in)
		q2_found(l->c, Q2_P_L2_BEYOND_DISK, &l->beyond);
	l->beyond_in = NULL;
}

static void note_beyond(struct q2_l2_work *l, const struct q2_l2visit *v)
{
	if (l->beyond_in != v->ref) {
		flush_beyond(l);
		l->beyond = locate(l->c, v);
		l->beyond.fields = Q2_F_TREE | Q2_F_L1 | Q2_F_L2 |
				   Q2_F_GUEST | Q2_F_COUNT;
		l->beyond_in = v->ref;
	}
	l->beyond.count++;
}

static enum q2_status verify_stream(struct q2_l2_work *l, const struct q2_l2visit *v)
{
	struct q2_checker *c = l->c;
	struct q2_finding f = locate(c, v);
	struct q2_err why = {0};
	const uint8_t *bytes;
	bool whole;
	size_t n;
	enum q2_status st;

	/* A bomb: one stream, named again and again. */
	if (v->raw == l->sound_stream)
		return Q2_OK;
	l->streams++;
	st = q2_inflate(l->inflate, v->e.host, &bytes, &n, &whole, &why);
	if (st != Q2_OK)
		return q2_unreadable(c, st, &why, Q2_K_COMPRESSED,
				     v->e.host.start, v->e.host.len);
	if (whole) {
		l->sound_stream = v->raw;
		return Q2_OK;
	}
	f.fields = q2_problem(Q2_P_COMPRESSED_BAD_STREAM)->fields;
	f.found = n;
	f.expected = c->img.geom.cluster_size;
	q2_found(c, Q2_P_COMPRESSED_BAD_STREAM, &f);
	return Q2_OK;
}

static enum q2_status on_compressed(struct q2_l2_work *l, const struct q2_l2visit *v)
{
	struct q2_checker *c = l->c;
	enum q2_status st;

	if (c->img.geom.crypt && l->plain.count++ == 0) {
		uint64_t count = l->plain.count;

		l->plain = locate(c, v);
		l->plain.count = count;
	}
	if (!v->e.refers)
		return Q2_OK;
	st = q2_descriptors_push(&c->compressed, &c->budget,
				 v->raw & (Q2_COMPRESSED - 1), c->err);
	if (st == Q2_OK && l->inflate)
		st = verify_stream(l, v);
	return st;
}

/* A table full of compressed clusters takes long: that is told, and kept, within
 * the table, too. */
static enum q2_status look_around(struct q2_l2_work *l,
				  const struct q2_l2visit *v)
{
	struct q2_checker *c = l->c;

	if (l->inflate == NULL)
		return Q2_OK;
	l->place.table = (uint32_t)(v->ref - c->refs.tables.at);
	l->place.entries = v->index + 1;
	return q2_keep_look(l, q2_tick(c, "compressed data", l->streams, 0),
			    false);
}

static enum q2_status on_odd(void *ctx, const struct q2_l2visit *v)
{
	struct q2_l2_work *l = ctx;
	enum q2_status st = Q2_OK;

	if (v->e.faults)
		report_faults(l, v);
	if (v->index >= v->ref->limit && v->e.type != Q2_L2_UNALLOCATED)
		note_beyond(l, v);
	if (v->e.faults & (Q2_EF_UNALIGNED | Q2_EF_OUTSIDE |
			   Q2_EF_SUB_NO_OFFSET | Q2_EF_DATA_FILE_OFFSET |
			   Q2_EF_COMPRESSED_DATA_FILE | Q2_EF_COPIED_UNUSED))
		l->c->result->partial = true;
	if (v->e.type == Q2_L2_COMPRESSED && !v->repeat)
		st = on_compressed(l, v);
	return st == Q2_OK ? look_around(l, v) : st;
}

static enum q2_status on_shared(void *ctx, uint64_t clu)
{
	struct q2_l2_work *l = ctx;

	return q2_suspect_add(l->c, clu, Q2_NO_REFCOUNT, Q2_S_SHARED);
}

static bool in_use(const struct q2_geom *g, const struct q2_l2slice *s)
{
	size_t n = (size_t)s->n << g->entry_bits;

	return !q2_all_zero(s->bytes, n);
}

/* Active tables past the disk's end that hold something: VM state, or lost
 * space.  QEMU leaves empty ones behind. */
static void note_past(struct q2_l2_work *l, const struct q2_l2slice *s)
{
	const struct q2_geom *g = &l->c->img.geom;

	if (s->ref->active == 0 || s->ref->slot < g->l1_needed ||
	    l->past_last == s->ref || !in_use(g, s))
		return;
	l->past_last = s->ref;
	if (l->past.count++)
		return;
	l->past.fields = q2_problem(Q2_P_L1_BEYOND_DISK)->fields;
	l->past.tree = Q2_TREE_ACTIVE;
	l->past.l1 = s->ref->slot;
	l->past.host = s->ref->clu << g->cluster_bits;
}

/* Whether a snapshot may hold VM state: its L1 table goes past its disk. */
static bool has_vm_state(const struct q2_checker *c)
{
	const struct q2_geom *g = &c->img.geom;

	for (size_t i = 0; i < c->trees.n; i++)
		if (c->trees.at[i].id != Q2_TREE_ACTIVE &&
		    c->trees.at[i].l1_entries >
			    q2_l1_needed(c->trees.at[i].disk_size,
					 g->cluster_bits, 1u << g->entry_bits))
			return true;
	return false;
}

static enum q2_status on_slice(void *ctx, const struct q2_l2slice *s)
{
	struct q2_l2_work *l = ctx;

	note_past(l, s);
	return q2_l2_count(&l->count, s);
}

enum q2_status q2_l2_unreadable(struct q2_checker *c,
				const struct q2_l2ref *ref,
				enum q2_status status,
				const struct q2_err *why)
{
	const struct q2_geom *g = &c->img.geom;
	struct q2_l2ref *own = &c->refs.tables.at[ref - c->refs.tables.at];
	const struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_KIND | Q2_F_LENGTH | Q2_F_TREE |
			  Q2_F_L1 | Q2_F_GUEST,
		.host = ref->clu << g->cluster_bits,
		.length = g->cluster_size,
		.kind = Q2_K_L2,
		.tree = ref->active ? Q2_TREE_ACTIVE : ref->tree,
		.l1 = ref->slot,
		.guest = q2_guest(g, ref->slot, 0),
	};

	if ((own->flags & Q2_L2_UNREAD) &&
	    (status == Q2_E_IO || status == Q2_E_RANGE))
		return Q2_OK;
	own->flags |= Q2_L2_UNREAD;
	return q2_unreadable_at(c, status, why, &f);
}

static enum q2_status on_unreadable(void *ctx, const struct q2_l2ref *ref,
				    enum q2_status status,
				    const struct q2_err *why)
{
	struct q2_l2_work *l = ctx;

	return q2_l2_unreadable(l->c, ref, status, why);
}

static enum q2_status on_tick(void *ctx, uint64_t done, uint64_t total)
{
	struct q2_l2_work *l = ctx;

	l->place = (struct q2_l2_place){.tables = done};
	return q2_keep_look(l, q2_tick(l->c, "L2 tables", done, total), false);
}

static int by_offset(const void *a, const void *b, void *bits)
{
	uint64_t mask = (UINT64_C(1) << *(unsigned *)bits) - 1;
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	if ((x ^ y) & mask)
		return (x & mask) < (y & mask) ? -1 : 1;
	return (x > y) - (x < y);
}

/* Compressed data may begin in the last sector of other data, not before. */
static enum q2_status judge_streams(struct q2_checker *c)
{
	unsigned bits = c->img.geom.offset_bits;
	uint64_t mask = (UINT64_C(1) << bits) - 1;
	uint64_t reach = 0; /* start of the last sector of all before */
	enum q2_status st = Q2_OK;

	if (c->compressed.n == 0)
		return Q2_OK;
	qsort_r(c->compressed.at, c->compressed.n, sizeof(uint64_t), by_offset,
		&bits);
	for (size_t i = 0; i < c->compressed.n && st == Q2_OK; i++) {
		uint64_t off = c->compressed.at[i] & mask;
		uint64_t last = (off & ~UINT64_C(511)) +
				(c->compressed.at[i] >> bits) * 512;
		bool same = i && (c->compressed.at[i - 1] & mask) == off;

		if (same || (i && off < reach))
			st = q2_suspect_add(c, off >> c->img.geom.cluster_bits,
					    Q2_NO_REFCOUNT, Q2_S_STREAM);
		reach = q2_max(reach, last);
	}
	return st;
}

static void judge_counts(struct q2_l2_work *l)
{
	struct q2_checker *c = l->c;
	const struct q2_geom *g = &c->img.geom;
	struct q2_finding f = {.fields = Q2_F_COUNT};

	c->result->allocated_clusters = l->count.allocated;
	c->result->fragmented_clusters = l->count.fragmented;
	c->result->compressed_clusters = l->count.compressed;
	c->result->data_file_end = q2_min(l->count.data_end, g->disk_size);
	if (l->plain.count) {
		l->plain.fields = q2_problem(Q2_P_COMPRESSED_ENCRYPTED)->fields;
		q2_found(c, Q2_P_COMPRESSED_ENCRYPTED, &l->plain);
	}
	if (l->past.count && !has_vm_state(c))
		q2_found(c, Q2_P_L1_BEYOND_DISK, &l->past);
	f.count = g->disk_clusters - q2_min(g->disk_clusters, l->count.mapped);
	if (g->raw_data && f.count && !c->result->partial)
		q2_found(c, Q2_P_RAW_DATA_UNALLOCATED, &f);
}

static enum q2_status walk(struct q2_l2_work *l)
{
	struct q2_checker *c = l->c;
	struct q2_l2reader reader = {.slice = on_slice,
				     .unreadable = on_unreadable,
				     .tick = on_tick,
				     .ctx = l};
	enum q2_status st = Q2_OK;

	if ((c->opts->flags & Q2_CHECK_DATA) && c->img.geom.inflatable)
		st = q2_inflate_new(&c->img, &l->inflate, c->err);
	if (st == Q2_OK)
		st = q2_keep_begin(l);
	reader.from = l->place;
	if (st == Q2_OK)
		st = q2_l2_read(&c->img, &c->refs, &reader, c->err);
	if (st == Q2_OK && c->refs.tables.n)
		st = q2_keep_look(l, st, true);
	q2_inflate_free(l->inflate);
	q2_keep_end(c);
	return st;
}

enum q2_status q2_chk_l2(struct q2_checker *c)
{
	struct q2_l2_work l = {.c = c,
			       .count = {.img = &c->img,
					 .map = &c->map,
					 .err = c->err,
					 .odd = on_odd,
					 .shared = on_shared}};
	enum q2_status st;

	l.count.ctx = &l;
	st = walk(&l);
	if (st != Q2_OK)
		return st;
	flush_beyond(&l);
	judge_counts(&l);
	return judge_streams(c);
}
