/*
 * found.c - what was found to be wrong with the files of a disk on the way.
 *
 * SPDX-License-Identifier: MIT
 *
 * A map reads headers and the tables of one tree: what these show to be wrong is
 * told, by the names that the check has for it.  It is no check.
 */
#include <stdlib.h>

#include "base/err.h"
#include "check/checker.h"
#include "check/faults.h"
#include "map/disk.h"

void q2_disk_note(struct q2_disk *disk, const struct q2_problem *problem)
{
	if (problem)
		disk->found[problem - q2_problem_at(0)] = true;
}

static void on_finding(void *ctx, const struct q2_finding *f)
{
	q2_disk_note(ctx, q2_problem_by_number(f->problem->number));
}

/* What the record of the snapshot that is shown says of its L1 table. */
static void judge_snapshot(struct q2_disk *disk)
{
	const struct q2_map *m = &disk->chain.layers[0]->map;
	const struct q2_geom *g = &m->img.geom;

	for (size_t i = 0; i < disk->snapshots.snaps.n; i++) {
		const struct q2_snap *s = &disk->snapshots.snaps.at[i];
		uint64_t needed;

		if (m->tree.id == Q2_TREE_ACTIVE || m->tree.id != s->tree.id)
			continue;
		needed = q2_l1_needed(s->record.has_disk_size ?
					      s->record.disk_size : g->disk_size,
				      g->cluster_bits, 1u << g->entry_bits);
		if (needed > Q2_L1_MAX)
			q2_disk_note(disk, q2_problem(Q2_P_SNAPSHOT_DISK_SIZE));
		/* QEMU refuses the record even if there is no table. */
		if (m->no_l1 || s->record.l1_offset & (g->cluster_size - 1))
			q2_disk_note(disk,
				     q2_problem(Q2_P_SNAPSHOT_L1_UNALIGNED));
		else if (s->record.l1_size > Q2_L1_MAX)
			q2_disk_note(disk, q2_problem(Q2_P_SNAPSHOT_L1_LIMIT));
		if (q2_map_l1_outside(m))
			q2_disk_note(disk,
				     q2_problem(Q2_P_SNAPSHOT_L1_OUTSIDE));
	}
}

enum q2_status q2_disk_judge(struct q2_disk *disk, struct q2_err *err)
{
	struct q2_check_opts opts = {.max_memory = disk->budget.limit,
				     .found = on_finding,
				     .ctx = disk};
	struct q2_check_result result;
	enum q2_status st = Q2_OK;
	size_t n = 1; /* there is no catalogue without a problem */

	if (disk->found)
		return Q2_OK;
	while (q2_problem_at(n))
		n++;
	disk->found = calloc(n, sizeof(*disk->found));
	if (disk->found == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	for (unsigned i = 0; i < disk->chain.n && st == Q2_OK; i++) {
		struct q2_err why = {0};

		if (disk->chain.layers[i]->raw)
			continue;
		st = q2_check_header(disk->chain.layers[i]->io, &opts, &result,
				     &why);
		if (st == Q2_E_IO)
			st = Q2_OK;
		if (st != Q2_OK) {
			/* What was judged in part counts as not judged. */
			free(disk->found);
			disk->found = NULL;
			return q2_fail(err, st, why.sys_errno, why.offset,
				       "%s", why.text);
		}
	}
	judge_snapshot(disk);
	return st;
}

static bool any(const struct q2_fault_problem *list, unsigned faults,
		bool compressed, uint32_t number)
{
	for (; list->fault; list++)
		if (list->fault & faults &&
		    q2_l2_problem(list, compressed) == number)
			return true;
	return false;
}

bool q2_disk_found(const struct q2_disk *disk, size_t i)
{
	const struct q2_problem *p = q2_problem_at(i);

	if (p == NULL || disk->found == NULL)
		return false;
	if (disk->found[i])
		return true;
	for (unsigned k = 0; k < disk->chain.n; k++) {
		const struct q2_map *m = &disk->chain.layers[k]->map;

		if (any(q2_l1_problems, m->seen.l1, false, p->number) ||
		    any(q2_l2_problems, m->seen.l2, false, p->number) ||
		    any(q2_l2_problems, m->seen.compressed, true, p->number))
			return true;
	}
	return false;
}
