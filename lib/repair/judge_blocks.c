/*
 * judge_blocks.c - which entries of the refcount table lead to no block of use.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    they are emptied; the blocks come anew (fix_blocks.c).
 * Needs:    references counted by a check.
 */
#include "check/reftable.h"
#include "format/refcount.h"
#include "repair/judge_blocks.h"
#include "repair/refcounts.h"

/* An entry whose block cannot serve is emptied; the block comes anew. */
static enum q2_status drop_entry(struct q2_repair *r, enum q2_problem_id why,
				 uint64_t index, uint64_t value)
{
	uint32_t action;
	enum q2_status st;

	if (!q2_want(r, why))
		return Q2_OK;
	st = q2_act_bulk(r, why, 1,
			 value ? "reserved bits of refcount table entries are "
				 "cleared" :
				 "refcount blocks that cannot be used are made "
				 "anew", &action);
	if (st == Q2_OK)
		st = q2_change_u64(r, Q2_C_REFTABLE, action,
				   r->c->img.geom.reftable_offset + 8 * index,
				   value);
	return st;
}

static int by_block(const void *a, const void *b)
{
	const struct q2_run *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return (x->n > y->n) - (x->n < y->n);
}

/* The second of two entries with one block.  Blocks are few: they are compared by
 * a sorted copy. */
static enum q2_status drop_shared(struct q2_repair *r,
				  const struct q2_ref_entries *table,
				  bool *changed)
{
	struct q2_runs seen = {0};
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < table->n && st == Q2_OK; i++)
		if (table->at[i])
			st = q2_runs_push(&seen, &r->budget,
					  (struct q2_run){table->at[i], i}, r->err);
	q2_sort(seen.at, seen.n, sizeof(*seen.at), by_block);
	for (size_t i = 1; i < seen.n && st == Q2_OK; i++)
		if (seen.at[i].first == seen.at[i - 1].first &&
		    q2_want(r, Q2_P_REFBLOCK_SHARED)) {
			*changed = true;
			st = drop_entry(r, Q2_P_REFBLOCK_SHARED, seen.at[i].n,
					0);
		}
	q2_runs_free(&seen, &r->budget);
	return st;
}

/* What stands in a block whose counts are lost, and what they may have told of, is
 * not forgotten.  *why = 0 if that block must stay, as it would not come anew. */
static enum q2_status keep_lost(struct q2_repair *r, uint64_t index,
				uint64_t off, enum q2_problem_id *why)
{
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_run run = {off >> g->cluster_bits, 1};
	enum q2_status st;

	if (!q2_want(r, *why) || !q2_want(r, Q2_P_REFBLOCK_MISSING)) {
		*why = (enum q2_problem_id)0;
		return Q2_OK;
	}
	st = q2_runs_push(&r->keep, &r->budget, run, r->err);
	return st == Q2_OK ? q2_keep_range(r, index << g->block_bits,
					   UINT64_C(1) << g->block_bits) : st;
}

enum q2_status q2_judge_entries(struct q2_repair *r, bool *changed)
{
	const struct q2_geom *g = &r->c->img.geom;
	struct q2_ref_entries table;
	enum q2_status st = q2_reftable_get(r, &table);

	for (uint64_t i = 0; i < table.n && st == Q2_OK; i++) {
		uint64_t off = table.at[i] & Q2_REFTABLE_OFFSET;
		enum q2_problem_id why = (enum q2_problem_id)0;
		uint64_t value = 0;

		if (table.at[i] == 0)
			continue;
		if (off & (g->cluster_size - 1))
			why = Q2_P_REFBLOCK_UNALIGNED;
		else if (off >= g->file_size)
			why = Q2_P_REFBLOCK_OUTSIDE;
		else if (off && q2_refmap_get(&r->c->map,
					      off >> g->cluster_bits).count > 1)
			why = q2_found_any(r, Q2_P_REFBLOCK_SHARED) ?
				      Q2_P_REFBLOCK_SHARED :
				      Q2_P_METADATA_OVERLAP;
		else if (off != table.at[i])
			why = Q2_P_REFTABLE_RESERVED;
		else if ((why = q2_block_lost(r, i, off)) != 0)
			st = keep_lost(r, i, off, &why);
		if (why == Q2_P_REFTABLE_RESERVED)
			value = off;
		if (why == 0 || st != Q2_OK)
			continue;
		*changed |= q2_want(r, why);
		st = drop_entry(r, why, i, value);
	}
	if (st == Q2_OK && q2_found_any(r, Q2_P_REFBLOCK_SHARED))
		st = drop_shared(r, &table, changed);
	q2_reftable_put(r, &table);
	return st;
}

enum q2_status q2_judge_table(struct q2_repair *r, bool *foreign)
{
	struct q2_ref_entries table;
	enum q2_status st;

	*foreign = false;
	if (r->c->img.geom.reftable_bytes == 0)
		return Q2_OK;
	st = q2_reftable_get(r, &table);
	*foreign = st == Q2_OK && q2_table_is_foreign(r, &table);
	q2_reftable_put(r, &table);
	return st;
}

bool q2_counts_lost(struct q2_repair *r)
{
	struct q2_ref_entries table;
	bool lost = q2_reftable_get(r, &table) != Q2_OK;

	for (uint64_t i = 0; i < table.n && !lost; i++)
		lost = table.at[i] &&
		       q2_block_lost(r, i, table.at[i] & Q2_REFTABLE_OFFSET);
	q2_reftable_put(r, &table);
	return lost;
}
