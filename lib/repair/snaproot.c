/*
 * snaproot.c - a snapshot table that the header does not lead to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/endian.h"
#include "format/snapshot.h"
#include "repair/snapedit.h"
#include "repair/trial.h"

#define AT_OFFSET 64u /* of the header */
#define RECORD 2048u
#define LOOKS 65536u /* at leaked clusters */
#define TABLES 8u    /* each is checked as if the header named it */

static bool begins_table(const struct q2_repair *r, uint64_t off)
{
	uint8_t bytes[RECORD];
	struct q2_snapshot s;

	if (q2_pread_zero(r->io, bytes, sizeof(bytes), off, NULL) != Q2_OK)
		return false;
	q2_snapshot_parse(bytes, sizeof(bytes), &s);
	return q2_snapshot_plausible(&r->c->img.geom, bytes, sizeof(bytes), &s);
}

/* Whether what the header leads to is in doubt. */
static bool doubtful(const struct q2_repair *r)
{
	static const enum q2_problem_id signs[] = {
		Q2_P_SNAPTABLE_UNALIGNED, Q2_P_SNAPTABLE_ZERO,
		Q2_P_SNAPTABLE_OUTSIDE,	  Q2_P_SNAPSHOT_RECORD,
		Q2_P_SNAPSHOT_EXTRA_LONG,
	};

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		if (q2_found_any(r, signs[i]))
			return true;
	return false;
}

static enum q2_status try_at(struct q2_trial *t, uint64_t off)
{
	struct q2_patch p = {.off = AT_OFFSET, .n = 8};

	q2_put_be64(p.bytes, off);
	return q2_trial_patch(t, &p);
}

/* The search for records behind damaged ones may have come upon the table. */
static enum q2_status try_places(struct q2_repair *r, struct q2_trial *t)
{
	const struct q2_snap_places *at = &r->c->snap_places;
	uint64_t mask = r->c->img.geom.cluster_size - 1;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < at->n && i < TABLES && st == Q2_OK; i++)
		if (at->at[i].sound && (at->at[i].host & mask) == 0 &&
		    at->at[i].host != r->c->img.geom.snaptable_offset)
			st = try_at(t, at->at[i].host);
	return st;
}

static enum q2_status try_leaks(struct q2_repair *r, struct q2_trial *t)
{
	const struct q2_leaks *leaks = &r->c->leaks;
	unsigned looks = 0, tried = 0;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < leaks->n && st == Q2_OK; i++)
		for (uint64_t k = 0; k < leaks->at[i].n && st == Q2_OK; k++) {
			uint64_t off = (leaks->at[i].first + k)
				       << r->c->img.geom.cluster_bits;

			if (looks++ >= LOOKS || tried >= TABLES)
				return Q2_OK;
			if (!begins_table(r, off))
				continue;
			tried++;
			st = try_at(t, off);
		}
	return st;
}

enum q2_status q2_find_snaptable(struct q2_repair *r)
{
	struct q2_trial t;
	uint32_t action;
	enum q2_status st;

	if (!q2_all(r) || !doubtful(r) || r->c->header.nb_snapshots == 0)
		return Q2_OK;
	q2_trial_start(&t, r);
	st = try_places(r, &t);
	if (st == Q2_OK)
		st = try_leaks(r, &t);
	if (st != Q2_OK || !q2_trial_won(&t) ||
	    !q2_want(r, Q2_P_SNAPSHOT_RECORD))
		return st;
	st = q2_act(r, Q2_P_SNAPSHOT_RECORD, Q2_EFFECT_GAIN, NULL, &action,
		    "the header names the snapshot table at %#llx again",
		    (unsigned long long)q2_be64(t.best.bytes));
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, t.best.off, t.best.bytes,
			       t.best.n);
	return st == Q2_OK ? q2_recheck(r) : st;
}
