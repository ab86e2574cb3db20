/*
 * rows.c - the guest's disk as rows: what is alike and adjacent becomes one.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"
#include "check/faults.h"
#include "map/disk.h"

#define TICK 65536u /* pieces between two calls of the progress function */

struct walk {
	struct q2_disk *disk;
	const struct q2_rows_opts *opts;
	struct q2_row row; /* not handed out yet; length 0: none */
	uint32_t pieces;
};

const char *q2_content_text(enum q2_content content)
{
	static const char *const names[] = {
		[Q2_C_NONE] = "unallocated",
		[Q2_C_ZERO] = "zero",
		[Q2_C_ZERO_ALLOC] = "zero-allocated",
		[Q2_C_DATA] = "data",
		[Q2_C_COMPRESSED] = "compressed",
		[Q2_C_UNREADABLE] = "unreadable",
	};

	return (size_t)content < sizeof(names) / sizeof(names[0]) ?
		       names[content] : "unknown";
}

static enum q2_problem_id problem_of_l2(const struct q2_extent *e)
{
	static const struct {
		unsigned fault;
		enum q2_problem_id id;
	} table[] = {
		{Q2_EF_ZERO_V2, Q2_P_L2_ZERO_FLAG_V2},
		{Q2_EF_COMPRESSED_DATA_FILE, Q2_P_COMPRESSED_DATA_FILE},
		{Q2_EF_SUB_CONFLICT, Q2_P_SUBCLUSTER_CONFLICT},
		{Q2_EF_SUB_NO_OFFSET, Q2_P_SUBCLUSTER_NO_OFFSET},
		{Q2_EF_UNALIGNED, Q2_P_L2_UNALIGNED},
		{Q2_EF_DATA_FILE_OFFSET, Q2_P_DATA_FILE_OFFSET},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (e->faults & table[i].fault)
			return table[i].id;
	return e->stored ? Q2_P_COMPRESSED_OUTSIDE : Q2_P_L2_ENTRY_OUTSIDE;
}

/* The check names what the header says of an L1 table before it tries to read that;
 * `or` if the header says nothing. */
static enum q2_problem_id problem_of_l1(const struct q2_layer *layer,
					enum q2_problem_id or)
{
	static const struct {
		enum q2_header_fault_id fault;
		enum q2_problem_id id;
	} table[] = {
		{Q2_HF_L1_UNALIGNED, Q2_P_L1_OFFSET_UNALIGNED},
		{Q2_HF_L1_ZERO, Q2_P_L1_OFFSET_ZERO},
		{Q2_HF_L1_OUTSIDE, Q2_P_L1_OUTSIDE},
	};

	if (layer->map.no_l1 && layer->map.tree.id != Q2_TREE_ACTIVE)
		return Q2_P_SNAPSHOT_L1_UNALIGNED;
	if (layer->map.tree.id != Q2_TREE_ACTIVE)
		return q2_map_l1_outside(&layer->map) ?
			       Q2_P_SNAPSHOT_L1_OUTSIDE : or;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (q2_header_has(&layer->opened.faults, table[i].fault))
			return table[i].id;
	return or;
}

/* What is wrong with an entry that is clear in spite of it. */
static const struct q2_problem *blemish(const struct q2_extent *e)
{
	const struct q2_fault_problem *p = q2_l2_problems;

	for (; e->faults && p->fault; p++)
		if (e->faults & p->fault &&
		    q2_problem(p->id)->severity == Q2_CORRUPT)
			return q2_problem(p->id);
	return NULL;
}

static const struct q2_problem *problem_of(const struct q2_layer *layer,
					   const struct q2_extent *e)
{
	switch (e->why) {
	case Q2_WHY_NONE:
		return blemish(e);
	case Q2_WHY_L1_MISSING:
		return q2_problem(problem_of_l1(layer, Q2_P_L1_TOO_SMALL));
	case Q2_WHY_L1_READ:
		return q2_problem(problem_of_l1(layer, Q2_P_UNREADABLE));
	case Q2_WHY_L1_ENTRY:
		return q2_problem(e->faults & Q2_EF_UNALIGNED ?
					  Q2_P_L1_UNALIGNED :
					  Q2_P_L1_ENTRY_OUTSIDE);
	case Q2_WHY_L2_ENTRY:
		return q2_problem(problem_of_l2(e));
	case Q2_WHY_L2_READ:
		break;
	}
	return q2_problem(Q2_P_UNREADABLE);
}

static struct q2_row row_of(const struct walk *w, const struct q2_piece *p)
{
	static const enum q2_content contents[] = {
		[Q2_MAP_NONE] = Q2_C_NONE,
		[Q2_MAP_ZERO] = Q2_C_ZERO,
		[Q2_MAP_ZERO_ALLOC] = Q2_C_ZERO_ALLOC,
		[Q2_MAP_DATA] = Q2_C_DATA,
		[Q2_MAP_COMPRESSED] = Q2_C_COMPRESSED,
		[Q2_MAP_UNREADABLE] = Q2_C_UNREADABLE,
	};
	const struct q2_chain *chain = &w->disk->chain;
	const struct q2_extent *e = &p->e;
	struct q2_row r = {.guest = e->guest,
			   .length = e->length,
			   .host = e->host,
			   .stored = e->stored,
			   .depth = p->depth,
			   .content = contents[e->kind],
			   .problem = problem_of(chain->layers[p->depth], e)};

	if (e->has_host)
		r.flags |= Q2_ROW_HOST;
	if (e->has_host && chain->layers[p->depth]->opened.img.geom.data_file &&
	    e->kind != Q2_MAP_COMPRESSED)
		r.flags |= Q2_ROW_DATA_FILE;
	if (e->hole)
		r.flags |= Q2_ROW_HOLE;
	if (chain->layers[p->depth]->opened.img.geom.crypt &&
	    e->kind == Q2_MAP_DATA)
		r.flags |= Q2_ROW_ENCRYPTED;
	if (e->kind == Q2_MAP_NONE && chain->cut && p->depth + 1 == chain->n)
		r.flags |= Q2_ROW_BELOW;
	return r;
}

/* QEMU tells neither from encrypted data where it is nor from compressed. */
static void as_qemu(const struct q2_chain *chain, struct q2_row *r)
{
	bool crypt = chain->layers[r->depth]->opened.img.geom.crypt != 0;

	if (crypt || r->content == Q2_C_COMPRESSED) {
		r->flags &= ~(unsigned)Q2_ROW_HOST;
		r->host = 0;
	}
	r->flags &= ~(unsigned)Q2_ROW_ENCRYPTED;
	if (r->content != Q2_C_UNREADABLE)
		r->problem = NULL;
}

static bool one_row(const struct q2_row *a, const struct q2_row *b,
		    enum q2_merge merge)
{
	bool packed = b->content == Q2_C_COMPRESSED;

	if (a->depth != b->depth || a->flags != b->flags)
		return false;
	if (a->content != b->content || a->problem != b->problem) {
		bool like = (a->content == Q2_C_DATA ||
			     a->content == Q2_C_COMPRESSED) &&
			    (b->content == Q2_C_DATA || packed);

		/* To QEMU both are data. */
		return merge == Q2_MERGE_QEMU && like &&
		       !(a->flags & Q2_ROW_HOST);
	}
	if (packed && merge != Q2_MERGE_QEMU)
		return merge == Q2_MERGE_RUNS;
	return !(a->flags & Q2_ROW_HOST) || a->host + a->length == b->host;
}

static enum q2_status flush(struct walk *w)
{
	if (w->row.length == 0)
		return Q2_OK;
	return w->opts->row(w->opts->ctx, &w->row);
}

static enum q2_status tick(struct walk *w, uint64_t at)
{
	struct q2_progress p = {"map", at, q2_disk_bytes(w->disk)};

	if (w->pieces++ % TICK || w->opts->progress == NULL)
		return Q2_OK;
	return w->opts->progress(w->opts->ctx, &p) ? Q2_E_INTERRUPTED : Q2_OK;
}

static enum q2_status take(void *ctx, const struct q2_piece *p)
{
	struct walk *w = ctx;
	struct q2_row r = row_of(w, p);
	enum q2_status st = tick(w, r.guest);

	if (st != Q2_OK)
		return st;
	if (p->e.why != Q2_WHY_NONE)
		q2_disk_note(w->disk, r.problem);
	if (w->opts->merge == Q2_MERGE_QEMU)
		as_qemu(&w->disk->chain, &r);
	if (w->row.length && one_row(&w->row, &r, w->opts->merge)) {
		w->row.length += r.length;
		w->row.stored += r.stored;
		return Q2_OK;
	}
	st = flush(w);
	w->row = r;
	return st;
}

/* QEMU looks for holes only where it guesses that metadata are preallocated. */
static enum q2_status set_holes(struct q2_disk *disk,
				const struct q2_rows_opts *opts,
				struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (unsigned i = 0; i < disk->chain.n && st == Q2_OK; i++) {
		struct q2_layer *layer = disk->chain.layers[i];
		bool probe = opts->holes;
		struct q2_err why = {0};

		if (layer->raw)
			continue;
		if (opts->merge == Q2_MERGE_QEMU && !layer->opened.img.geom.crypt)
			st = q2_map_preallocated(&layer->opened.img, &probe,
						 &why);
		/* Without readable refcounts there is no guess. */
		if (st == Q2_E_IO)
			st = Q2_OK;
		if (st != Q2_OK)
			return q2_fail(err, st, why.sys_errno, why.offset,
				       "%s", why.text);
		q2_map_holes(&layer->map, probe);
	}
	return st;
}

enum q2_status q2_disk_rows(struct q2_disk *disk,
			    const struct q2_rows_opts *opts,
			    struct q2_err *err)
{
	struct walk w = {.disk = disk, .opts = opts};
	enum q2_status st = q2_disk_judge(disk, err);

	if (st == Q2_OK)
		st = set_holes(disk, opts, err);
	if (st == Q2_OK && opts->length)
		st = q2_chain_walk(&disk->chain, opts->start, opts->length,
				   take, &w);
	return st == Q2_OK ? flush(&w) : st;
}
