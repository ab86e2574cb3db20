/*
 * judge.c - what a dump refuses before it starts.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/err.h"
#include "dump/bitmaps.h"
#include "dump/dump.h"
#include "dump/pack.h"

#define SECTOR 512u

static enum q2_status refuse(struct q2_err *err, enum q2_status st,
			     const char *why)
{
	return q2_fail(err, st, 0, Q2_NO_OFFSET, "%s", why);
}

static enum q2_status judge_target(const struct q2_dump_run *d,
				   struct q2_err *err)
{
	if (q2_guest_reads(d->guest, d->path))
		return refuse(err, Q2_E_ARG,
			      "it is one of the files that are read");
	return Q2_OK;
}

static enum q2_status judge_raw(const struct q2_dump_run *d,
				struct q2_err *err)
{
	const struct q2_dump_opts *o = d->opts;

	if (o->version || o->cluster_bits || o->refcount_bits || o->ext_l2 ||
	    o->compress != Q2_COMPRESS_NONE || o->keep_backing)
		return refuse(err, Q2_E_ARG,
			      "a raw image has no clusters, no compression "
			      "and no backing file");
	if (strcmp(d->path, "-") == 0 &&
	    (o->preallocate != Q2_PREALLOC_OFF ||
	     o->flags & (Q2_DUMP_RESUME | Q2_DUMP_VERIFY)))
		return refuse(err, Q2_E_ARG,
			      "a stream can be neither preallocated nor "
			      "continued nor read again");
	return Q2_OK;
}

static enum q2_status judge_backing(const struct q2_dump_run *d,
				    struct q2_err *err)
{
	const struct q2_dump_opts *o = d->opts;
	const struct q2_chain *view = &d->guest->view;

	if (o->keep_backing == 0)
		return Q2_OK;
	if (o->keep_backing >= view->n)
		return refuse(err, Q2_E_ARG,
			      "there is no such layer to be kept as the "
			      "backing file");
	if (d->start != 0 || d->length != d->guest->size)
		return refuse(err, Q2_E_ARG,
			      "a part of the disk cannot have the same "
			      "backing file");
	if (q2_guest_key(d->guest, o->keep_backing) != NULL)
		return refuse(err, Q2_E_UNSUPPORTED,
			      "an encrypted backing file cannot be kept");
	return Q2_OK;
}

static enum q2_status judge_qcow2(const struct q2_dump_run *d,
				  struct q2_err *err)
{
	const struct q2_dump_opts *o = d->opts;
	unsigned bits = o->refcount_bits;

	if (strcmp(d->path, "-") == 0 || o->preallocate != Q2_PREALLOC_OFF)
		return refuse(err, Q2_E_ARG,
			      "a QCOW2 image can be neither a stream nor "
			      "preallocated");
	if (bits > 64 || (bits & (bits - 1)) != 0)
		return refuse(err, Q2_E_ARG,
			      "refcounts have 1, 2, 4, 8, 16, 32 or 64 bits");
	if (!q2_pack_level_ok(o->compress, o->level))
		return refuse(err, Q2_E_ARG, "no such level of compression");
	if (d->guest->bitmaps &&
	    !(o->flags & (Q2_DUMP_BITMAPS | Q2_DUMP_DROP_BITMAPS)))
		return refuse(err, Q2_E_REFUSED,
			      "the image has bitmaps, which the result would "
			      "not have: --bitmaps keeps them, --drop-bitmaps "
			      "accepts that");
	return judge_backing(d, err);
}

/* They are of the whole disk as it is now. */
static enum q2_status judge_bitmaps(struct q2_dump_run *d, struct q2_err *err)
{
	const struct q2_dump_opts *o = d->opts;
	const struct q2_guest *g = d->guest;

	if (!(o->flags & Q2_DUMP_BITMAPS))
		return Q2_OK;
	if (o->format != Q2_DUMP_QCOW2 || o->version == 2)
		return refuse(err, Q2_E_ARG, "only QCOW2 images of version 3 "
					     "have bitmaps");
	if (d->start != 0 || d->length != g->size || g->view.n != g->chain.n ||
	    g->view.layers[0]->map.tree.id != Q2_TREE_ACTIVE)
		return refuse(err, Q2_E_ARG,
			      "bitmaps are of the whole disk, not of a part, "
			      "a layer or a snapshot of it");
	return q2_bitmaps_judge(d, err);
}

static enum q2_status judge_range(const struct q2_dump_run *d,
				  struct q2_err *err)
{
	uint64_t size = d->guest->size, length = d->opts->length;

	if (d->start > size || (d->start == size && size != 0) ||
	    (length != UINT64_MAX && length > size - d->start))
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "the range is not inside of the disk, which has "
			       "%llu bytes", (unsigned long long)size);
	if (d->start % SECTOR || d->length % SECTOR)
		return refuse(err, Q2_E_ARG,
			      "the range must consist of whole sectors of 512 "
			      "bytes");
	return Q2_OK;
}

enum q2_status q2_dump_judge(struct q2_dump_run *d, struct q2_err *err)
{
	const struct q2_dump_opts *o = d->opts;
	enum q2_status st = judge_range(d, err);

	if (st != Q2_OK)
		return st;
	if (o->flags & Q2_DUMP_RESUME && o->scan.salvage)
		return refuse(err, Q2_E_ARG,
			      "what a run before has lost is not known: a "
			      "salvage cannot be continued");
	if (q2_guest_encrypted(d->guest) && !(o->flags & Q2_DUMP_PLAINTEXT))
		return refuse(err, Q2_E_REFUSED,
			      "the image is encrypted, and the result would "
			      "not be: --plaintext accepts that");
	st = judge_target(d, err);
	if (st != Q2_OK)
		return st;
	st = o->format == Q2_DUMP_RAW ? judge_raw(d, err) : judge_qcow2(d, err);
	return st == Q2_OK ? judge_bitmaps(d, err) : st;
}
