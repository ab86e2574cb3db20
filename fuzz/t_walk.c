/*
 * t_walk.c - target walk: every L1 and L2 table, once.
 *
 * SPDX-License-Identifier: MIT
 *
 * I-5: every 64-bit entry can be looked up; what leaves the file is not counted.
 * I-10: each distinct table is handed out once, and in full.
 */
#include <string.h>

#include "image/l2walk.h"
#include "q2fuzz.h"

struct walk {
	struct q2_image img;
	struct q2_budget budget;
	struct q2_refmap map;
	uint64_t entries; /* of L2 tables that were handed out */
	uint64_t unread;  /* tables that were not */
	bool fault;
};

static void on_fault(void *ctx, const struct q2_tree *tree, uint32_t slot,
		     uint64_t raw, const struct q2_l1_entry *e)
{
	struct walk *w = ctx;

	(void)tree;
	(void)slot;
	if (e->faults == 0)
		q2f_violation("C-1", "an L1 entry without fault was reported");
	if (e->used && q2_offset(&w->img.geom, e->table) >= w->img.io->size)
		q2f_violation("I-5", "L1 entry %llx leads out of the file",
			      (unsigned long long)raw);
}

static void on_alias(void *ctx, const struct q2_tree *tree, uint32_t slot,
		     const struct q2_l2ref *first)
{
	(void)ctx;
	(void)tree;
	(void)slot;
	(void)first;
}

static enum q2_status on_l1_unreadable(void *ctx, const struct q2_tree *tree,
				       struct q2_range range,
				       enum q2_status status,
				       const struct q2_err *why)
{
	(void)ctx;
	(void)tree;
	(void)range;
	(void)why;
	return status == Q2_E_NOMEM ? status : Q2_OK;
}

static enum q2_status on_slice(void *ctx, const struct q2_l2slice *s)
{
	struct walk *w = ctx;
	const struct q2_geom *g = &w->img.geom;

	if (s->first + UINT64_C(1) * s->n > UINT64_C(1) << g->l2_bits)
		q2f_violation("I-4", "a slice leaves its table");
	w->entries += s->n;
	for (uint32_t i = 0; i < s->n; i++) {
		struct q2_l2visit v;
		struct q2_ref before;

		q2_l2_visit(g, s, i, &v);
		if (v.e.refers &&
		    !q2_inside(v.e.host.start, v.e.host.len,
			       g->file_clusters << g->cluster_bits))
			q2f_violation("I-5", "L2 entry %llx leads out of the file",
				      (unsigned long long)v.raw);
		if (v.e.refers &&
		    q2_refmap_add(&w->map, v.e.host.start >> g->cluster_bits,
				  1, Q2_MARK_NONE, &before, NULL) != Q2_OK)
			return Q2_E_NOMEM;
	}
	return Q2_OK;
}

static enum q2_status on_l2_unreadable(void *ctx, const struct q2_l2ref *ref,
				       enum q2_status status,
				       const struct q2_err *why)
{
	struct walk *w = ctx;

	(void)ref;
	(void)why;
	w->unread++;
	return status == Q2_E_NOMEM ? status : Q2_OK;
}

static enum q2_status on_tick(void *ctx, uint64_t done, uint64_t total)
{
	(void)ctx;
	if (done > total)
		q2f_violation("C-1", "progress past its end");
	return Q2_OK;
}

static enum q2_status run(struct walk *w, struct q2_l2refs *refs)
{
	const struct q2_l1_events events = {.fault = on_fault,
					    .alias = on_alias,
					    .unreadable = on_l1_unreadable,
					    .ctx = w};
	const struct q2_l2reader reader = {.slice = on_slice,
					   .unreadable = on_l2_unreadable,
					   .tick = on_tick,
					   .ctx = w};
	const struct q2_tree tree = {.id = Q2_TREE_ACTIVE,
				     .l1_entries = w->img.geom.l1_entries,
				     .l1_offset = w->img.geom.l1_offset,
				     .disk_size = w->img.geom.disk_size};
	enum q2_status st;

	st = q2_l2refs_collect(&w->img, &tree, 1, &events, refs, NULL);
	if (st != Q2_OK)
		return st;
	for (size_t i = 1; i < refs->tables.n; i++)
		if (refs->tables.at[i].clu == refs->tables.at[i - 1].clu)
			q2f_violation("I-10", "an L2 table is there twice");
	st = q2_l2_read(&w->img, refs, &reader, NULL);
	if (st == Q2_OK && w->unread == 0 && w->img.io->size ==
	    w->img.io->stored && w->entries != refs->tables.n <<
						       w->img.geom.l2_bits)
		q2f_violation("I-10", "%llu entries of %zu tables were seen",
			      (unsigned long long)w->entries, refs->tables.n);
	return st;
}

int q2f_walk(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);
	struct q2_io *io = q2f_io_new(&in);
	struct q2_header h;
	struct q2_header_faults faults;
	struct q2_l2refs refs = {0};
	static struct walk w; /* large */
	uint64_t before;

	q2f_heap_watch(in.ctl.fail_alloc);
	before = q2f_heap.blocks;
	memset(&w, 0, sizeof(w));
	w.img.io = io;
	w.img.budget = &w.budget;
	q2_header_parse(in.image, in.size, &h);
	q2_header_judge(&h, io->size, &faults);
	if (h.magic == Q2_MAGIC &&
	    q2_geom_make(&h, &faults, io->size, &w.img.geom)) {
		q2_refmap_init(&w.map, &w.budget);
		(void)!run(&w, &refs);
		q2_l2refs_free(&refs, &w.budget);
		q2_refmap_free(&w.map);
	}
	if (w.budget.used || q2f_heap.blocks != before)
		q2f_violation("I-7", "the walk leaves %llu bytes behind",
			      (unsigned long long)w.budget.used);
	(void)q2f_heap_done();
	q2_io_close(io);
	return 0;
}
