/*
 * chk_leaks.c - clusters with a refcount that nothing refers to: what are they?
 *
 * SPDX-License-Identifier: MIT
 *
 * Tests:    leaked clusters; which of them are L2 tables that lost their slot.
 * Gathers:  nothing.
 * Disables: nothing; past a cap leaks are counted, but not looked into.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "check/l2shape.h"

#define PROBES_MAX 16384u    /* clusters looked into, unless all are asked for */
#define L1_CHUNK (64u << 10)

struct triage {
	struct q2_checker *c;
	uint8_t *table;	      /* a cluster */
	uint64_t probes_left;
	uint64_t not_probed;
	struct q2_holes holes;
	bool slots_known;
	bool marks;	      /* entries of the active L1 table have COPIED set */
	uint64_t empty;	      /* active L1 slots on the disk with no entry */
	uint32_t first_empty;
	uint32_t last_empty;
};

/* The empty slots of the active L1 table. */
static enum q2_status learn_slots(struct triage *t)
{
	struct q2_checker *c = t->c;
	const struct q2_geom *g = &c->img.geom;
	uint64_t bytes = UINT64_C(8) * q2_min(g->l1_entries, g->l1_needed);
	void *chunk;
	enum q2_status st = q2_get_raw(&c->budget, L1_CHUNK, &chunk, c->err);

	if (st != Q2_OK)
		return st;
	for (uint64_t at = 0; at < bytes; at += L1_CHUNK) {
		uint64_t n = q2_min(L1_CHUNK, bytes - at);

		/* Unreadable: reported before; no candidates from there. */
		if (q2_pread_zero(c->img.io, chunk, (size_t)n,
				  g->l1_offset + at, NULL) != Q2_OK)
			continue;
		for (uint64_t i = 0; i < n; i += 8) {
			uint64_t raw = q2_be64((const uint8_t *)chunk + i);

			t->marks |= (raw & Q2_COPIED) != 0;
			if (raw)
				continue;
			t->last_empty = (uint32_t)((at + i) / 8);
			if (t->empty++ == 0)
				t->first_empty = t->last_empty;
		}
	}
	q2_put(&c->budget, chunk, L1_CHUNK);
	t->slots_known = true;
	return Q2_OK;
}

/* How many slots could take the table: all without one, but for the disk's last
 * one if the table reaches past the end of the disk there.  Where writers set
 * COPIED, a table without it was a snapshot's, or one of bitmaps. */
static uint64_t candidates(const struct triage *t, const struct q2_l2_shape *shape)
{
	const struct q2_geom *g = &t->c->img.geom;
	uint64_t n = t->empty + t->c->lost.n;

	if (t->marks && shape->marked == 0)
		return t->c->lost.n;
	if (t->empty && ((uint64_t)t->last_empty << g->l2_bits) +
				shape->last >= g->disk_clusters)
		n--;
	return n;
}

/* Where the orphan belongs: one wrong bit away from an entry that cannot be
 * followed, or the only slot that could take it.  False if that is not clear. */
static bool likely_slot(const struct triage *t, uint64_t host, uint64_t n,
			struct q2_lost *slot)
{
	const struct q2_losts *lost = &t->c->lost;

	for (size_t i = 0; i < lost->n; i++) {
		*slot = lost->at[i];
		if (__builtin_popcountll((slot->raw ^ host) & ~Q2_COPIED) == 1)
			return true;
	}
	if (n != 1)
		return false;
	/* It may have been that of a snapshot which was not found. */
	if (lost->n == 0 && t->c->result->partial)
		return false;
	if (lost->n == 0)
		*slot = (struct q2_lost){Q2_TREE_ACTIVE, t->first_empty, 0};
	return true;
}

static enum q2_status report_orphan(struct triage *t, uint64_t clu,
				    const struct q2_l2_shape *shape)
{
	struct q2_checker *c = t->c;
	const struct q2_geom *g = &c->img.geom;
	struct q2_finding f = {.host = clu << g->cluster_bits,
			       .found = shape->entries,
			       .length = shape->entries << g->cluster_bits};
	struct q2_lost slot = {0};
	enum q2_status st = Q2_OK;
	uint64_t n;

	if (!t->slots_known)
		st = learn_slots(t);
	if (st != Q2_OK)
		return st;
	f.fields = Q2_F_HOST | Q2_F_FOUND | Q2_F_LENGTH | Q2_F_INDEX;
	n = candidates(t, shape);
	f.index = (uint32_t)q2_min(n, UINT32_MAX);
	if (likely_slot(t, f.host, n, &slot)) {
		f.tree = slot.tree;
		f.l1 = slot.slot;
		f.guest = q2_guest(g, f.l1, 0);
		f.fields |= Q2_F_TREE | Q2_F_L1 | Q2_F_GUEST;
	}
	q2_found(c, Q2_P_ORPHAN_L2, &f);
	return Q2_OK;
}

/* Looks into one leaked cluster; *orphan says that it was reported. */
static enum q2_status look(struct triage *t, uint64_t clu, bool *orphan)
{
	const struct q2_geom *g = &t->c->img.geom;
	uint64_t off = clu << g->cluster_bits;
	struct q2_l2_shape shape;

	*orphan = false;
	if (t->probes_left == 0) {
		t->not_probed++;
		return Q2_OK;
	}
	t->probes_left--;
	if (q2_holes_covers(&t->holes,
			    (struct q2_range){off, g->cluster_size}) ||
	    !q2_l2_orphan(t->c, t->table, clu, &shape))
		return Q2_OK;
	*orphan = true;
	return report_orphan(t, clu, &shape);
}

static void report_run(struct q2_checker *c, const struct q2_leak *run)
{
	const struct q2_geom *g = &c->img.geom;
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_LENGTH | Q2_F_COUNT | Q2_F_FOUND,
		.host = run->first << g->cluster_bits,
		.length = run->n << g->cluster_bits,
		.count = run->n,
		.found = run->found,
	};

	if (run->n)
		q2_found(c, Q2_P_LEAK, &f);
}

/* The runs that were too many, in one. */
static void report_rest(struct triage *t)
{
	struct q2_checker *c = t->c;
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_COUNT,
		.host = c->leaks_over.first << c->img.geom.cluster_bits,
		.count = c->leaks_over.n,
	};

	if (f.count == 0)
		return;
	t->not_probed += f.count;
	q2_found(c, Q2_P_LEAK, &f);
}

static enum q2_status triage_run(struct triage *t, const struct q2_leak *run)
{
	struct q2_leak rest = {run->first, 0, run->found};
	enum q2_status st = Q2_OK;

	for (uint64_t i = 0; i < run->n && st == Q2_OK; i++) {
		bool orphan;

		if (t->probes_left == 0) {
			t->not_probed += run->n - i;
			rest.n += run->n - i;
			break;
		}
		st = look(t, run->first + i, &orphan);
		if (!orphan) {
			rest.n++;
			continue;
		}
		report_run(t->c, &rest);
		rest = (struct q2_leak){run->first + i + 1, 0, run->found};
	}
	if (st == Q2_OK)
		report_run(t->c, &rest);
	return st;
}

static bool is_leaked(const struct q2_checker *c, uint64_t off)
{
	uint64_t clu = off >> c->img.geom.cluster_bits;

	for (size_t i = 0; i < c->leaks.n; i++)
		if (clu - c->leaks.at[i].first < c->leaks.at[i].n)
			return true;
	return false;
}

/* A record behind the last one may be stale.  Where its L1 table is leaked, the count
 * is wrong, or a deletion was cut short before the refcounts fell; but that leaves no
 * table that is in use and named by no count. */
static void judge_uncounted(struct q2_checker *c)
{
	struct q2_finding f = {
		.fields = Q2_F_HOST | Q2_F_FOUND | Q2_F_EXPECTED,
		.host = c->uncounted.host,
		.found = c->header.nb_snapshots,
		.expected = c->uncounted.l1_offset,
	};

	if (c->uncounted.host == 0 || c->header.nb_snapshots ||
	    !is_leaked(c, c->uncounted.l1_offset) ||
	    !is_leaked(c, c->uncounted.host))
		return;
	q2_found(c, Q2_P_SNAPSHOT_UNCOUNTED, &f);
	c->result->partial = true;
}

enum q2_status q2_chk_leaks(struct q2_checker *c)
{
	struct triage t = {.c = c, .probes_left = PROBES_MAX};
	void *table;
	enum q2_status st;

	if (c->leaks.n == 0)
		return Q2_OK;
	judge_uncounted(c);
	if (c->opts->flags & Q2_CHECK_FULL)
		t.probes_left = UINT64_MAX;
	st = q2_get(&c->budget, c->img.geom.cluster_size, &table, c->err);
	if (st != Q2_OK)
		return st;
	t.table = table;
	q2_holes_init(&t.holes, c->img.io, UINT64_MAX);
	for (size_t i = 0; i < c->leaks.n && st == Q2_OK; i++) {
		st = triage_run(&t, &c->leaks.at[i]);
		if (st == Q2_OK && i % 256 == 0)
			st = q2_tick(c, "leaks", i + 1, c->leaks.n);
	}
	report_rest(&t);
	if (st == Q2_OK && t.not_probed) {
		struct q2_finding f = {.fields = Q2_F_KIND | Q2_F_COUNT,
				       .kind = Q2_K_DATA,
				       .count = t.not_probed};
		const char *why = "only the first leaked clusters are looked "
				  "into for lost tables";

		q2_finding_text(&f, why, strlen(why));
		q2_found(c, Q2_P_NOT_JUDGED, &f);
	}
	q2_put(&c->budget, table, c->img.geom.cluster_size);
	return st;
}
