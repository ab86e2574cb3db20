/*
 * disk.c - opening an image to map it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/disk.h"

#include <stdlib.h>

#include "base/err.h"

static enum q2_status show_snapshot(struct q2_disk *disk, const char *name,
				    struct q2_err *err)
{
	const struct q2_layer *top = disk->chain.layers[0];
	const struct q2_snap *snap;
	enum q2_status st;

	if (top->raw)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "a raw image has no snapshots");
	st = q2_snaptable_read(&top->opened.img, &disk->snapshots, err);
	if (st != Q2_OK)
		return st;
	snap = q2_snaptable_find(&disk->snapshots, name);
	if (snap == NULL)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "it has no snapshot '%.100s'%s", name,
			       disk->snapshots.damaged ?
				       ", as far as its table is readable" :
				       "");
	return q2_chain_tree(&disk->chain, &snap->tree, err);
}

enum q2_status q2_disk_open(const char *path, const struct q2_disk_opts *opts,
			    struct q2_disk **disk, struct q2_err *err)
{
	struct q2_policy policy = {.backing = opts->chain,
				   .data_if_any = opts->chain,
				   .allow_probe = opts->allow_probe,
				   .backing_format = opts->backing_format,
				   .allow_any = opts->allow_any,
				   .allow = opts->allow};
	struct q2_disk *d = calloc(1, sizeof(*d));
	enum q2_status st;

	*disk = NULL;
	if (d == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	d->budget.limit = opts->max_memory;
	st = q2_chain_open(path, opts->raw ? Q2_FORMAT_RAW : Q2_FORMAT_QCOW2,
			   &policy, &d->budget, &d->chain, err);
	if (st == Q2_OK && opts->snapshot)
		st = show_snapshot(d, opts->snapshot, err);
	if (st != Q2_OK) {
		q2_disk_close(d);
		return st;
	}
	*disk = d;
	return Q2_OK;
}

void q2_disk_close(struct q2_disk *disk)
{
	if (disk == NULL)
		return;
	q2_snaptable_free(&disk->snapshots, &disk->budget);
	q2_chain_close(&disk->chain);
	free(disk->found);
	free(disk);
}

bool q2_disk_layer(const struct q2_disk *disk, uint32_t i,
		   struct q2_disk_layer *out)
{
	const struct q2_layer *layer;

	if (i >= disk->chain.n)
		return false;
	layer = disk->chain.layers[i];
	*out = (struct q2_disk_layer){
		.path = layer->path,
		.raw = layer->raw,
		.encrypted = layer->opened.img.geom.crypt != 0,
		.size = layer->map.size,
		.file_size = layer->io->size,
		.stored = layer->io->stored,
		.cluster_size = layer->opened.img.geom.cluster_size,
	};
	return true;
}

bool q2_disk_cut(const struct q2_disk *disk)
{
	return disk->chain.cut;
}
