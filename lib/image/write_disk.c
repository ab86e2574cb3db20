/*
 * write_disk.c - changing the disk as a whole: growing it, emptying it.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "format/snapshot.h"
#include "image/write_int.h"

/* Whether each snapshot tells how large its own disk is. */
static enum q2_status judge_snapshots(struct q2_writer *w, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t at = g->snaptable_offset;
	enum q2_status st = Q2_OK;
	void *block;

	if (g->snapshots == 0)
		return Q2_OK;
	st = q2_get(w->img.budget, Q2_SNAPSHOT_MAX, &block, err);
	for (uint32_t i = 0; i < g->snapshots && st == Q2_OK; i++) {
		struct q2_snapshot s;

		st = q2_pread_zero(w->img.io, block, Q2_SNAPSHOT_MAX, at, err);
		if (st != Q2_OK)
			break;
		q2_snapshot_parse(block, Q2_SNAPSHOT_MAX, &s);
		if (!s.has_disk_size)
			st = q2_fail(err, Q2_E_UNSUPPORTED, 0, at,
				     "a snapshot does not say how large its "
				     "disk is, so the disk cannot grow");
		at += s.len;
	}
	q2_put(w->img.budget, block, Q2_SNAPSHOT_MAX);
	return st;
}

static enum q2_status may_grow(struct q2_writer *w, uint64_t size,
			       struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t needed = q2_l1_needed(size, g->cluster_bits,
				       1u << g->entry_bits);
	enum q2_status st;

	if (size < g->disk_size || size % 512)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "not a size that the disk can grow to");
	if (needed > Q2_L1_MAX)
		return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
			       "the disk would be too large for its clusters");
	st = q2_w_medium_may_grow(w, size, err);
	if (st != Q2_OK)
		return st;
	st = q2_w_bitmaps_reach(w, size, err);
	return st == Q2_OK ? judge_snapshots(w, err) : st;
}

/* Zeros for [from, to), which is not on the disk yet. */
static enum q2_status zero_new(struct q2_writer *w, uint64_t from, uint64_t to,
			       struct q2_err *err)
{
	uint64_t cs = w->img.geom.cluster_size;
	enum q2_status st = Q2_OK;

	while (from < to && st == Q2_OK) {
		uint64_t n = q2_min(to - from, cs - (from & (cs - 1)));

		st = q2_w_zero(w, from, n, err);
		from += n;
	}
	return st;
}

/* Drops what the L2 table of the slot refers to, and the table. */
static enum q2_status empty_slot(struct q2_writer *w, uint64_t slot,
				 struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	struct q2_range table = {w->l1.at[slot] & Q2_ENTRY_OFFSET, 1};
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < UINT64_C(1) << g->l2_bits && st == Q2_OK;
	     i++) {
		struct q2_went e;

		st = q2_w_entry(w, q2_guest(g, slot, i), &e, err);
		if (st == Q2_OK)
			st = q2_w_data_drop(w, &e, err);
	}
	if (st == Q2_OK)
		st = q2_w_drop(w, table, err);
	if (st == Q2_OK)
		q2_w_l1_set(w, slot, 0);
	return st;
}

/* What stands in L1 slots [from, to) is left from a VM state that was saved, and is
 * on no disk.  Whether there is any. */
static bool leftovers(const struct q2_writer *w, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to && i < w->l1.n; i++)
		if (w->l1.at[i])
			return true;
	return false;
}

static enum q2_status drop_leftovers(struct q2_writer *w, uint64_t from,
				     uint64_t to, struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	for (uint64_t i = from; i < to && st == Q2_OK; i++)
		if (w->l1.at[i])
			st = empty_slot(w, i, err);
	return st;
}

/* What is behind the old end becomes visible, with one write, when the header
 * names a new L1 table: until then no entry may stand there. */
static enum q2_status grow(struct q2_writer *w, uint64_t size,
			   struct q2_err *err)
{
	struct q2_geom *g = &w->img.geom;
	uint64_t old = g->disk_size;
	uint64_t tail = q2_div_up(old, g->cluster_size) << g->cluster_bits;
	uint64_t table = g->cluster_size << g->l2_bits;
	uint32_t needed = (uint32_t)q2_l1_needed(size, g->cluster_bits,
						 1u << g->entry_bits);
	bool shows = q2_w_shows(w, tail) && size > tail;
	bool maps = shows || (g->raw_data && size > tail);
	enum q2_status st = Q2_OK;

	if (maps || needed > w->l1.n || leftovers(w, g->l1_needed, needed))
		st = q2_w_l1_move(w, needed, err);
	if (st == Q2_OK)
		st = drop_leftovers(w, g->l1_needed, needed, err);
	if (st == Q2_OK && maps && old % table &&
	    w->l1.at[old / table]) {
		struct q2_wblock *b;

		st = q2_w_l2_own(w, old / table, true, &b, err);
	}
	g->disk_size = size;
	g->disk_clusters = q2_div_up(size, g->cluster_size);
	g->l1_needed = needed;
	g->l1_entries = w->l1.n;
	w->resized = true;
	if (st == Q2_OK)
		st = zero_new(w, old, q2_min(tail, size), err);
	if (st == Q2_OK && shows)
		st = zero_new(w, tail, q2_min(size, w->below->size), err);
	return st == Q2_OK ? q2_w_data_claim(w, old, size, err) : st;
}

/* Where each new cluster has to be mapped, the tables come in batches, each of which
 * is a disk of its own. */
static uint64_t next_size(const struct q2_writer *w, uint64_t size)
{
	const struct q2_geom *g = &w->img.geom;
	uint64_t table = g->cluster_size << g->l2_bits;
	uint64_t tables = q2_max(1, w->batch / g->cluster_size);

	return g->raw_data ? q2_min(size, q2_add_sat(g->disk_size,
						     table * tables)) : size;
}

enum q2_status q2_write_resize(struct q2_writer *w, uint64_t size,
			       bool try_only, struct q2_err *err)
{
	enum q2_status st = may_grow(w, size, err);

	if (st == Q2_E_ARG || st == Q2_E_RANGE || st == Q2_E_UNSUPPORTED)
		return st;
	st = q2_w_end(w, st, err);
	if (st != Q2_OK || try_only)
		return st;
	st = q2_write_commit(w, err);
	if (st == Q2_OK)
		st = q2_w_end(w, q2_w_medium_grow(w, size, err), err);
	while (st == Q2_OK && w->img.geom.disk_size < size) {
		st = q2_w_end(w, grow(w, next_size(w, size), err), err);
		if (st == Q2_OK)
			st = q2_write_commit(w, err);
	}
	return st;
}

enum q2_status q2_write_empty(struct q2_writer *w, struct q2_err *err)
{
	enum q2_status st;

	if (w->img.geom.raw_data)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "a disk with a raw data file has to be mapped "
			       "as a whole");
	st = q2_write_commit(w, err);
	for (uint64_t i = 0; i < w->img.geom.l1_needed && st == Q2_OK; i++) {
		if (w->l1.at[i] == 0)
			continue;
		st = q2_w_relax(w, err);
		if (st == Q2_OK)
			st = empty_slot(w, i, err);
		st = q2_w_end(w, st, err);
	}
	return st == Q2_OK ? q2_write_commit(w, err) : st;
}

enum q2_status q2_write_shrink(struct q2_writer *w, struct q2_err *err)
{
	struct q2_geom *g = &w->img.geom;
	enum q2_status st = q2_write_commit(w, err);
	uint64_t end;

	if (st == Q2_OK)
		st = q2_w_refs_top(w, err);
	end = w->refs.top << g->cluster_bits;
	if (st != Q2_OK || w->img.io->is_device || end >= w->img.io->size)
		return q2_w_end(w, st, err);
	st = q2_resize(w->img.io, end, err);
	w->unflushed = true;
	if (st == Q2_OK)
		st = q2_w_barrier(w, err);
	g->file_size = end;
	g->file_clusters = w->refs.top;
	return q2_w_end(w, st, err);
}
