/*
 * write.c - opening a writer, and ending its batches in the right order.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/write.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "image/write_int.h"

#define BATCH (UINT64_C(8) << 20)
#define FREES_MAX 65536u /* references to be dropped that end a batch */

enum q2_status q2_w_put(struct q2_writer *w, const void *buf, size_t len,
			uint64_t off, struct q2_err *err)
{
	w->unflushed = true;
	return q2_pwrite(w->img.io, buf, len, off, err);
}

enum q2_status q2_w_barrier(struct q2_writer *w, struct q2_err *err)
{
	enum q2_status st = q2_w_medium_flush(w, err);

	if (st == Q2_OK && w->unflushed)
		st = q2_flush(w->img.io, err);
	if (st == Q2_OK)
		w->unflushed = false;
	return st;
}

enum q2_status q2_w_end(struct q2_writer *w, enum q2_status st,
			struct q2_err *err)
{
	if (st == Q2_OK || w->broken.code != Q2_OK)
		return st;
	if (err && err->code == st)
		w->broken = *err;
	else
		(void)q2_fail(&w->broken, st, 0, Q2_NO_OFFSET,
			      "writing failed before");
	return st;
}

enum q2_status q2_w_ready(struct q2_writer *w, struct q2_err *err)
{
	if (w->broken.code != Q2_OK)
		return q2_fail(err, w->broken.code, w->broken.sys_errno,
			       w->broken.offset, "%s", w->broken.text);
	if (!w->img.io->writable)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "opened read-only");
	return w->marked ? Q2_OK : q2_w_end(w, q2_w_mark(w, err), err);
}

/* New refcounts, and all that they need to be found. */
static enum q2_status put_refs(struct q2_writer *w, struct q2_err *err)
{
	struct q2_wrefs *r = &w->refs;
	enum q2_status st = q2_w_blocks_put(w, Q2_W_REFS, true, err);

	if (st == Q2_OK && r->moved)
		st = q2_w_refs_table_put(w, err);
	if (st == Q2_OK)
		st = q2_w_blocks_put(w, Q2_W_REFS, false, err);
	if (st == Q2_OK && !r->moved) {
		st = q2_w_refs_link(w, err);
	} else if (st == Q2_OK) {
		uint64_t clusters = r->entries * 8 >> w->img.geom.cluster_bits;

		st = q2_w_barrier(w, err);
		q2_put_be64(w->sector + 48, r->clu << w->img.geom.cluster_bits);
		q2_put_be32(w->sector + 56, (uint32_t)clusters);
		if (st == Q2_OK)
			st = q2_w_put(w, w->sector, sizeof(w->sector), 0, err);
	}
	if (st == Q2_OK) {
		r->links.n = 0;
		r->moved = false;
	}
	return st;
}

/* The tables that lead to the new data; after a move the header leads to them. */
static enum q2_status put_tables(struct q2_writer *w, struct q2_err *err)
{
	const struct q2_geom *g = &w->img.geom;
	bool header = w->l1.moved || w->resized;
	enum q2_status st = q2_w_blocks_put(w, Q2_W_L2, false, err);

	if (st == Q2_OK && !w->l1.moved)
		st = q2_w_l1_put(w, err);
	if (st != Q2_OK || !header)
		return st;
	st = q2_w_barrier(w, err);
	q2_put_be64(w->sector + 24, g->disk_size);
	q2_put_be32(w->sector + 36, w->l1.n);
	q2_put_be64(w->sector + 40, w->l1.clu << g->cluster_bits);
	if (st == Q2_OK)
		st = q2_w_put(w, w->sector, sizeof(w->sector), 0, err);
	if (st == Q2_OK)
		w->l1.moved = w->resized = false;
	return st;
}

static enum q2_status commit(struct q2_writer *w, struct q2_err *err)
{
	enum q2_status st = q2_w_blocks_put(w, Q2_W_L2, true, err);

	if (st == Q2_OK && w->l1.moved)
		st = q2_w_l1_put_all(w, err);
	if (st == Q2_OK)
		st = put_refs(w, err);
	if (st == Q2_OK)
		st = q2_w_barrier(w, err);
	if (st == Q2_OK)
		st = put_tables(w, err);
	if (st == Q2_OK)
		st = q2_w_barrier(w, err);
	if (st == Q2_OK && w->refs.frees.n)
		st = q2_w_refs_lower(w, err);
	if (st == Q2_OK)
		st = q2_w_blocks_put(w, Q2_W_REFS, false, err);
	return st == Q2_OK ? q2_w_medium_punch(w, err) : st;
}

enum q2_status q2_w_relax(struct q2_writer *w, struct q2_err *err)
{
	uint64_t cs = w->img.geom.cluster_size;
	enum q2_status st = Q2_OK;

	if (w->cache.n_dirty * cs >= w->batch ||
	    w->refs.frees.n >= FREES_MAX || w->medium.gone.n >= FREES_MAX)
		st = commit(w, err);
	q2_w_trim(w, q2_max(16, 2 * w->batch / cs));
	return st;
}

enum q2_status q2_write_commit(struct q2_writer *w, struct q2_err *err)
{
	enum q2_status st = q2_w_ready(w, err);

	if (st != Q2_OK)
		return st;
	st = commit(w, err);
	if (st == Q2_OK)
		st = q2_w_barrier(w, err);
	return q2_w_end(w, st, err);
}

/* Whether this can be written to; the faults that merely are untidy are no reason
 * against it. */
static enum q2_status judge(const struct q2_header_faults *f,
			    struct q2_err *err)
{
	static const enum q2_header_fault_id harmless[] = {
		Q2_HF_SIZE_UNALIGNED, Q2_HF_AUTOCLEAR_UNKNOWN,
		Q2_HF_COMPAT_UNKNOWN, Q2_HF_BACKING_EMPTY,
	};
	const size_t n = sizeof(harmless) / sizeof(harmless[0]);

	for (size_t i = 0; i < f->n; i++) {
		size_t j = 0;

		while (j < n && f->at[i].id != harmless[j])
			j++;
		if (f->at[i].id == Q2_HF_DIRTY || f->at[i].id == Q2_HF_CORRUPT)
			return q2_fail(err, Q2_E_FORMAT, 0, 0,
				       "the image is marked as %s",
				       f->at[i].id == Q2_HF_DIRTY ? "dirty" :
								    "corrupt");
		if (j == n)
			return q2_fail(err, Q2_E_FORMAT, 0, 0,
				       "the header is damaged");
	}
	return Q2_OK;
}

static enum q2_status load(struct q2_writer *w,
			   const struct q2_writer_opts *opts,
			   struct q2_err *err)
{
	struct q2_geom *g = &w->img.geom;
	struct q2_header_faults faults;
	struct q2_header h;
	void *block;
	enum q2_status st = q2_pread_zero(w->img.io, w->sector,
					  sizeof(w->sector), 0, err);

	if (st != Q2_OK)
		return st;
	q2_header_parse(w->sector, sizeof(w->sector), &h);
	q2_header_judge(&h, w->img.io->size, &faults);
	if (h.magic != Q2_MAGIC || !q2_geom_make(&h, &faults, w->img.io->size, g))
		return q2_fail(err, Q2_E_FORMAT, 0, 0, "not a QCOW2 image");
	st = judge(&faults, err);
	w->count.old_size = g->file_size;
	w->subs = g->ext_l2 ? 32 : 1;
	w->sub = g->cluster_size / w->subs;
	w->zero_flag = g->version > 2;
	if (st == Q2_OK)
		st = q2_get(w->img.budget, 2 * g->cluster_size, &block, err);
	if (st != Q2_OK)
		return st;
	w->bounce = block;
	w->zeros = w->bounce + g->cluster_size;
	st = q2_w_medium_open(w, opts, err);
	if (st == Q2_OK)
		st = q2_w_refs_load(w, err);
	if (st == Q2_OK)
		st = q2_w_l1_load(w, err);
	return st == Q2_OK ? q2_w_bitmaps_judge(w, err) : st;
}

enum q2_status q2_writer_open(struct q2_io *io, struct q2_budget *budget,
			      const struct q2_writer_opts *opts,
			      struct q2_writer **out, struct q2_err *err)
{
	struct q2_writer *w = calloc(1, sizeof(*w));
	enum q2_status st;

	*out = NULL;
	if (w == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	w->img.io = io;
	w->img.budget = budget;
	w->below = opts->below;
	w->flags = opts->flags;
	w->batch = opts->batch ? opts->batch : BATCH;
	st = load(w, opts, err);
	if (st != Q2_OK) {
		q2_writer_close(w);
		return st;
	}
	*out = w;
	return Q2_OK;
}

void q2_writer_close(struct q2_writer *w)
{
	if (w == NULL)
		return;
	q2_w_trim(w, 0);
	for (size_t i = 0; i < Q2_W_SLOTS; i++)
		while (w->cache.slots[i])
			q2_w_forget(w, w->cache.slots[i]->clu);
	q2_w_refs_free(w);
	q2_w_l1_free(w);
	q2_w_medium_close(w);
	q2_inflate_free(w->inflate);
	/* The guest's data, maybe of an encrypted disk. */
	if (w->bounce && w->medium.veil)
		explicit_bzero(w->bounce, (size_t)w->img.geom.cluster_size);
	q2_put(w->img.budget, w->bounce, 2 * w->img.geom.cluster_size);
	free(w);
}

const struct q2_geom *q2_writer_geom(const struct q2_writer *w)
{
	return &w->img.geom;
}
