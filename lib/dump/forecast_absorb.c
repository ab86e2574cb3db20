/*
 * forecast_absorb.c - what absorbing will come to.
 *
 * SPDX-License-Identifier: MIT
 *
 * As for a commit, it is done on an overlay that takes the tables and no data.  At
 * first nothing is read from below: all that lies there is taken for data.  Only
 * where there is no room for so much it is read, as zeros take none, until it is
 * clear that there is not; at the end the figure is exact.  Should memory not suffice
 * for the first, there is a bound, which is reckoned from the maps alone.
 */
#include <errno.h>

#include "base/err.h"
#include "dump/inplace.h"

/* What lacks, as a whole. */
struct lacks {
	uint64_t clusters; /* with data of their own */
	uint64_t tables;
	uint64_t bytes; /* of a data file, in whole blocks */
};

static enum q2_status count_lacks(struct q2_inplace *ip, struct lacks *n,
				  struct q2_err *err)
{
	const struct q2_geom *g = q2_writer_geom(ip->top);
	const uint64_t block = q2_max(Q2_INPLACE_BLOCK, g->cluster_size);
	uint64_t table = g->cluster_size << g->l2_bits;
	uint64_t next = 0; /* table that was not counted yet */
	struct q2_lack l = {0};

	for (;;) {
		enum q2_status st = q2_absorb_next(ip, l.at + l.len, &l, err);
		uint64_t last;

		if (st != Q2_OK || l.len == 0)
			return st;
		last = l.at + l.len - 1;
		/* Version 2 can only write zeros. */
		if (l.shows == Q2_SHOWS_DATA || g->version == 2) {
			n->clusters += last / g->cluster_size -
				       l.at / g->cluster_size + 1;
			n->bytes += (last / block - l.at / block + 1) * block;
		}
		n->tables += last / table + 1 - q2_max(next, l.at / table);
		next = last / table + 1;
		st = q2_inplace_tick(ip, "looking", l.at, g->disk_size, err);
		if (st != Q2_OK)
			return st;
	}
}

static enum q2_status find_bound(struct q2_inplace *ip, uint64_t *needed,
				 struct q2_err *err)
{
	const struct q2_geom *g = q2_writer_geom(ip->top);
	bool apart = ip->top_file.data != NULL;
	struct lacks n = {0};
	enum q2_status st = count_lacks(ip, &n, err);
	uint64_t clusters;

	*needed = 0;
	ip->apart = apart ? n.bytes : 0;
	if (st != Q2_OK || n.tables == 0)
		return st;
	clusters = q2_inplace_counted(g, ip->top_file.end,
				      n.tables + (apart ? 0 : n.clusters));
	*needed = (clusters << g->cluster_bits) + ip->apart +
		  q2_inplace_slack(ip->top_file.io, g->cluster_size, clusters);
	return Q2_OK;
}

/* Absorbs into an overlay over the top image.  Once it is needed to be exact memory
 * is worth it, too. */
static enum q2_status rehearse(struct q2_inplace *ip, bool exact,
			       uint64_t *needed, struct q2_err *err)
{
	struct q2_writer_opts opts = q2_inplace_writing(ip, 0,
							ip->top_file.data);
	struct q2_writer *real = ip->top, *w = NULL;
	struct q2_inplace_result sums = *ip->result;
	bool device = ip->top_file.io->is_device;
	struct q2_io *io = NULL;
	enum q2_status st = q2_inplace_overlay(ip, ip->top_file.io,
					       ip->top_file.end, exact, &io,
					       err);

	opts.flags = Q2_WRITER_SAME_VIEW | Q2_WRITER_REHEARSAL;
	opts.below = &ip->below;
	if (st == Q2_OK)
		st = q2_writer_open(io, &ip->budget, &opts, &w, err);
	if (st == Q2_OK) {
		ip->top = w;
		ip->rehearsing = !exact;
		ip->to_the_room = exact;
		st = q2_absorb_copy(ip, exact ? "reading" : "rehearsing", err);
		ip->rehearsing = ip->to_the_room = false;
		ip->top = real;
	}
	*ip->result = sums;
	if (st == Q2_OK)
		*needed = q2_inplace_growth(ip, w, device ? ip->top_file.end :
							    UINT64_MAX,
					    ip->top_file.io->size, io->size);
	q2_writer_close(w);
	q2_io_close(io);
	return st;
}

enum q2_status q2_absorb_forecast(struct q2_inplace *ip, struct q2_err *err)
{
	uint64_t *needed = &ip->result->needed;
	struct q2_err why = {0};
	enum q2_status st = rehearse(ip, false, needed, &why);

	if (st == Q2_E_BUDGET) {
		why = (struct q2_err){0};
		st = find_bound(ip, needed, &why);
	}
	if (st == Q2_OK && *needed == 0)
		return Q2_OK;
	if (st == Q2_OK)
		st = q2_inplace_room(ip, &ip->top_file, 0, *needed, false,
				     &why);
	if (st == Q2_E_IO && why.sys_errno == ENOSPC) {
		struct q2_err closer = {0};
		enum q2_status again = rehearse(ip, true, needed, &closer);

		if (again == Q2_OK)
			return q2_inplace_room(ip, &ip->top_file, 0, *needed,
					       true, err);
		/* If it was given up, the first figure has to do. */
		if (again != Q2_E_BUDGET && closer.sys_errno != ENOSPC) {
			st = again;
			why = closer;
		}
	}
	return st == Q2_OK ? st : q2_fail(err, st, why.sys_errno, why.offset,
					  "%s", why.text);
}
