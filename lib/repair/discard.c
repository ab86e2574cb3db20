/*
 * discard.c - giving back the space of clusters that a repair freed.
 *
 * SPDX-License-Identifier: MIT
 *
 * Which ones these are stands in the plan: their refcounts were lowered, and now
 * are 0.  Where all refcounts were made anew nothing tells what was free before,
 * and nothing is given back.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "check/reftable.h"
#include "format/refcount.h"
#include "io/io.h"
#include "repair/planfile.h"

Q2_VEC(picks, const struct q2_edit *)
Q2_VEC(ranges, struct q2_range)

struct discard {
	const struct q2_plan *plan;
	struct q2_io *io;
	struct q2_checker *c;
	struct q2_reftable table;
	struct picks picks;   /* edits that lower, by offset, then as written */
	struct ranges ranges; /* freed, in order */
	uint8_t *now;	      /* a block, and the same before the repair */
	uint8_t *then;
	struct q2_err *err;
};

static int by_offset(const void *a, const void *b)
{
	const struct q2_edit *x = *(const struct q2_edit *const *)a;
	const struct q2_edit *y = *(const struct q2_edit *const *)b;

	int order = (x->offset > y->offset) - (x->offset < y->offset);

	return order ? order : (x > y) - (x < y);
}

static int by_block(const void *a, const void *b)
{
	const struct q2_block *x = a;
	const struct q2_block *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static enum q2_status pick(struct discard *d)
{
	const struct q2_edits *edits = &d->plan->edits;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < edits->n && st == Q2_OK; i++)
		if (edits->at[i].phase == Q2_PH_LOWER)
			st = picks_push(&d->picks, &d->c->budget,
					&edits->at[i], d->err);
	q2_sort(d->picks.at, d->picks.n, sizeof(*d->picks.at), by_offset);
	q2_sort(d->table.blocks.at, d->table.blocks.n,
		sizeof(*d->table.blocks.at), by_block);
	return st;
}

static enum q2_status add(struct discard *d, uint64_t cluster)
{
	uint64_t cs = d->c->img.geom.cluster_size;
	struct ranges *r = &d->ranges;
	uint64_t start;

	if (!q2_mul(cluster, cs, &start) || start >= d->io->size)
		return Q2_OK;
	if (r->n && q2_end(r->at[r->n - 1]) == start) {
		r->at[r->n - 1].len += cs;
		return Q2_OK;
	}
	return ranges_push(r, &d->c->budget, (struct q2_range){start, cs},
			   d->err);
}

/* The edits [from, end) lie in the block.  Taken back in reverse they show what
 * its refcounts were. */
static enum q2_status judge_block(struct discard *d,
				  const struct q2_block *block, size_t from,
				  size_t end)
{
	const struct q2_geom *g = &d->c->img.geom;
	uint64_t cs = g->cluster_size;
	enum q2_status st = q2_pread(d->io, d->now, (size_t)cs, block->offset,
				     d->err);

	if (st != Q2_OK)
		return st;
	memcpy(d->then, d->now, (size_t)cs);
	for (size_t i = end; i-- > from;) {
		const struct q2_edit *e = d->picks.at[i];
		uint64_t at = e->offset - block->offset;

		if (q2_inside(at, e->before_len, cs))
			memcpy(d->then + at, e->before, e->before_len);
	}
	for (uint64_t i = 0; i < UINT64_C(1) << g->block_bits; i++)
		if (q2_refcount(d->now, g->ref_order, i) == 0 &&
		    q2_refcount(d->then, g->ref_order, i) != 0 &&
		    st == Q2_OK)
			st = add(d, (block->index << g->block_bits) + i);
	return st;
}

static enum q2_status judge_blocks(struct discard *d)
{
	uint64_t cs = d->c->img.geom.cluster_size;
	enum q2_status st = Q2_OK;
	size_t from = 0, end;

	d->now = malloc((size_t)cs);
	d->then = malloc((size_t)cs);
	if (d->now == NULL || d->then == NULL)
		return q2_fail(d->err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no memory");
	for (size_t b = 0; b < d->table.blocks.n && st == Q2_OK; b++) {
		const struct q2_block *block = &d->table.blocks.at[b];

		while (from < d->picks.n &&
		       d->picks.at[from]->offset < block->offset)
			from++;
		end = from;
		while (end < d->picks.n &&
		       d->picks.at[end]->offset < block->offset + cs)
			end++;
		if (end > from)
			st = judge_block(d, block, from, end);
		from = end;
	}
	return st;
}

/* The journal must know before anything is gone. */
static enum q2_status mark(const char *journal, struct q2_err *err)
{
	struct q2_io *io;
	enum q2_status st;

	if (journal == NULL)
		return Q2_OK;
	st = q2_io_reopen(journal, &io, err);
	if (st == Q2_OK)
		st = q2_pf_add_state(io, Q2_STATE_FINISHED, 0, true, err);
	q2_io_close(io);
	return st;
}

static enum q2_status give_back(struct discard *d, const char *journal,
				uint64_t *bytes)
{
	enum q2_status st = Q2_OK;

	if (d->ranges.n)
		st = mark(journal, d->err);
	for (size_t i = 0; i < d->ranges.n && st == Q2_OK; i++) {
		struct q2_range r = d->ranges.at[i];

		r.len = q2_min(r.len, d->io->size - r.start);
		st = q2_io_discard(d->io, r, d->err);
		*bytes += st == Q2_OK ? r.len : 0;
	}
	return st == Q2_OK ? q2_flush(d->io, d->err) : st;
}

enum q2_status q2_discard_freed(const struct q2_plan *plan, struct q2_io *io,
				const char *journal, uint64_t max_memory,
				uint64_t *bytes, struct q2_err *err)
{
	struct q2_check_opts opts = {.max_memory = max_memory};
	struct q2_check_result result;
	struct discard d = {.plan = plan, .io = io, .err = err};
	enum q2_status st = q2_checker_run(io, &opts, &result, &d.c, err);

	*bytes = 0;
	if (st == Q2_OK && (result.verdict != Q2_CLEAN || result.partial))
		st = q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			     "only a sound image's free clusters can be "
			     "discarded");
	if (st == Q2_OK)
		st = q2_reftable_read(d.c, &d.table);
	if (st == Q2_OK && d.table.unknown)
		st = q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET,
			     "the refcount table cannot be read any more");
	if (st == Q2_OK)
		st = pick(&d);
	if (st == Q2_OK)
		st = judge_blocks(&d);
	if (st == Q2_OK)
		st = give_back(&d, journal, bytes);
	free(d.now);
	free(d.then);
	if (d.c) {
		picks_free(&d.picks, &d.c->budget);
		ranges_free(&d.ranges, &d.c->budget);
		q2_reftable_free(&d.table, &d.c->budget);
	}
	q2_checker_free(d.c);
	return st;
}
