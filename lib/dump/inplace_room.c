/*
 * inplace_room.c - the space that changing images takes, and whether it is there.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <sys/statvfs.h>

#include "base/err.h"
#include "dump/inplace.h"

enum q2_status q2_inplace_overlay(struct q2_inplace *ip, struct q2_io *base,
				  uint64_t end, bool ample, struct q2_io **out,
				  struct q2_err *err)
{
	enum q2_status st;

	ip->tight.limit = Q2_INPLACE_TIGHT;
	if (ip->budget.limit)
		ip->tight.limit = q2_min(ip->tight.limit, ip->budget.limit);
	st = q2_io_overlay(base, ample ? &ip->budget : &ip->tight, out, err);
	/* A device that is too small is to be told, not to fail. */
	if (st == Q2_OK && (*out)->is_device) {
		(*out)->is_device = false;
		st = q2_resize(*out, end, err);
	}
	return st;
}

/* The last block of the file that was may be a hole. */
static uint64_t grown_blocks(uint64_t before, uint64_t after)
{
	const uint64_t block = Q2_INPLACE_BLOCK;

	return after <= before ? 0 : q2_div_up(after, block) * block -
				     before / block * block;
}

uint64_t q2_inplace_slack(const struct q2_io *io, uint64_t cluster,
			  uint64_t clusters)
{
	uint64_t block = q2_max(Q2_INPLACE_BLOCK, cluster);

	return 2 * block + q2_min(clusters, io->size / cluster) *
				   (block - cluster);
}

uint64_t q2_inplace_counted(const struct q2_geom *g, uint64_t end,
			    uint64_t clusters)
{
	uint64_t size = g->reftable_bytes, tables = 0, blocks, needed;

	/* The end of the file may lie in a block that is not there yet. */
	clusters += (clusters >> g->block_bits) + 3;
	blocks = (((end >> g->cluster_bits) + clusters) >> g->block_bits) + 1;
	if (blocks * 8 <= size)
		return clusters;
	/* Each time it grows by half, and what it leaves may stay free. */
	needed = blocks * 8 + blocks / 8;
	while (size < needed) {
		size = q2_div_up(size + size / 2, g->cluster_size)
		       << g->cluster_bits;
		tables += size >> g->cluster_bits;
	}
	return clusters + tables + (tables >> g->block_bits) + 2;
}

uint64_t q2_inplace_growth(struct q2_inplace *ip, const struct q2_writer *w,
			   uint64_t end, uint64_t before, uint64_t after)
{
	unsigned bits = q2_writer_geom(w)->cluster_bits;
	struct q2_writer_counts n;
	uint64_t tables = 0;

	q2_writer_counts(w, &n);
	ip->apart = n.apart;
	n.end <<= bits;
	if (end != UINT64_MAX)
		return n.end - q2_min(n.end, end) + n.apart;
	for (unsigned i = 0; i < Q2_PLACED_COUNT; i++)
		if (i != Q2_PLACED_DATA)
			tables += n.inside[i] *
				  q2_max(Q2_INPLACE_BLOCK, UINT64_C(1) << bits);
	return grown_blocks(before, after) + n.holes + n.apart + tables;
}

bool q2_inplace_elsewhere(const struct q2_changed *file)
{
	uint64_t dev[2], inode[2];

	return file->data && q2_io_identity(file->io, &dev[0], &inode[0]) &&
	       q2_io_identity(file->data, &dev[1], &inode[1]) &&
	       dev[0] != dev[1];
}

static uint64_t room_at(const struct q2_inplace *ip, const struct q2_io *io,
			const char *path, uint64_t end)
{
	struct statvfs fs;

	if (ip->opts->available)
		return ip->opts->available;
	if (io->is_device)
		return io->size - q2_min(io->size, end);
	if (ip->files->open == NULL && statvfs(path, &fs) == 0)
		return (uint64_t)fs.f_bavail * fs.f_frsize;
	return UINT64_MAX;
}

static enum q2_status fits(const struct q2_inplace *ip, const char *path,
			   uint64_t needed, uint64_t available, bool exact,
			   struct q2_err *err)
{
	if (needed <= available || ip->look_only)
		return Q2_OK;
	return q2_fail(err, Q2_E_IO, ENOSPC, Q2_NO_OFFSET,
		       "'%.80s' %s %llu bytes more, and there is room for "
		       "%llu", path, exact ? "needs" : "may need",
		       (unsigned long long)needed,
		       (unsigned long long)available);
}

enum q2_status q2_inplace_room(struct q2_inplace *ip,
			       const struct q2_changed *file, unsigned i,
			       uint64_t needed, bool exact, struct q2_err *err)
{
	const struct q2_layer *l = ip->chain.layers[i];
	uint64_t *available = &ip->result->available;
	enum q2_status st = Q2_OK;

	*available = room_at(ip, file->io, l->path, file->end);
	if (ip->apart && !ip->opts->available && q2_inplace_elsewhere(file)) {
		st = fits(ip, l->data_path, ip->apart,
			  room_at(ip, file->data, l->data_path, 0), exact,
			  err);
		needed -= q2_min(needed, ip->apart);
	}
	return st == Q2_OK ? fits(ip, l->path, needed, *available, exact, err) :
			     st;
}
