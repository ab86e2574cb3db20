/*
 * fix_snapshots.c - the snapshot table's records.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    records with one wrong bit (snaptrial.c); what single fields demand;
 *           records that cannot be kept are dropped, and what only they named is
 *           an orphan from then on.
 * Needs:    a header that leads to the table.
 */
#include <string.h>

#include "repair/snapedit.h"

struct fix {
	struct q2_repair *r;
	struct q2_snapedit t;
	enum q2_problem_id why; /* the first reason to store the table anew */
	enum q2_effect effect;
	bool wanted;
};

/* Whether the finding is to be mended; if so the table is stored anew. */
static bool ask(struct fix *x, enum q2_problem_id id, enum q2_effect effect)
{
	if (!q2_want(x->r, id))
		return false;
	if (!x->wanted)
		x->why = id;
	x->wanted = true;
	x->effect = effect > x->effect ? effect : x->effect;
	return true;
}

static struct q2_snaprec *record(struct fix *x, uint32_t index)
{
	for (size_t i = 0; i < x->t.recs.n; i++)
		if (x->t.recs.at[i].index == index)
			return &x->t.recs.at[i];
	return NULL;
}

/* A record with other extra data or another id. */
static enum q2_status reshape(struct fix *x, struct q2_snaprec *rec,
			      const char *id, size_t id_len)
{
	struct q2_snapshot s = rec->s;
	uint64_t extra = q2_max(s.extra_len, Q2_SNAPSHOT_EXTRA_MIN);
	uint64_t texts = Q2_SNAPSHOT_HEAD + extra;
	uint64_t len = texts + id_len + s.name_len;
	uint8_t *bytes;
	void *block;
	enum q2_status st = q2_get(&x->r->budget, len, &block, x->r->err);

	if (st != Q2_OK)
		return st;
	bytes = block;
	memcpy(bytes, rec->bytes, (size_t)s.id_at);
	if (!s.has_vm_state_64)
		q2_put_be64(bytes + Q2_SNAPSHOT_AT_VM_STATE_64, s.vm_state);
	if (!s.has_disk_size)
		q2_put_be64(bytes + Q2_SNAPSHOT_AT_DISK_SIZE,
			 x->r->c->img.geom.disk_size);
	q2_put_be32(bytes + Q2_SNAPSHOT_AT_EXTRA_LEN, (uint32_t)extra);
	q2_put_be16(bytes + Q2_SNAPSHOT_AT_ID_LEN, (uint16_t)id_len);
	memcpy(bytes + texts, id, id_len);
	memcpy(bytes + texts + id_len, rec->bytes + s.name_at, s.name_len);
	q2_put(&x->r->budget, rec->bytes, rec->len);
	rec->bytes = bytes;
	rec->len = len;
	q2_snapshot_parse(bytes, (size_t)len, &rec->s);
	return Q2_OK;
}

static enum q2_status new_id(struct fix *x, struct q2_snaprec *rec)
{
	char id[24];
	size_t n = sizeof(id);
	uint64_t v = ++x->t.last_id;

	do
		id[--n] = (char)('0' + v % 10);
	while (v /= 10);
	return reshape(x, rec, id + n, sizeof(id) - n);
}

/* A table far longer than the file would ever have needed is claimed by a damaged
 * size: then what there is of it does. */
static uint64_t believable(const struct q2_repair *r,
			   const struct q2_snapshot *s, uint64_t needed)
{
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t there = (g->file_size - s->l1_offset) / 8;

	return needed <= 4 * (uint64_t)g->l1_needed + 1024 ?
		       needed : q2_min(there, s->l1_size);
}

/* A copy of an L1 table that two trees share, or that is there only in part. */
static enum q2_status own_table(struct fix *x, struct q2_snaprec *rec,
				enum q2_problem_id why)
{
	struct q2_repair *r = x->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t disk = rec->s.has_disk_size ? rec->s.disk_size : g->disk_size;
	uint64_t needed = q2_l1_needed(disk, g->cluster_bits,
				       1u << g->entry_bits);
	uint64_t vm = rec->s.vm_state >> (g->l2_bits + g->cluster_bits);
	uint64_t n = q2_min(Q2_L1_MAX,
			    why == Q2_P_SNAPSHOT_L1_OUTSIDE ?
			    believable(r, &rec->s, needed) :
			    q2_min(rec->s.l1_size,
				   q2_add_sat(needed, q2_add_sat(vm, 1))));
	uint64_t bytes = UINT64_C(8) * q2_max(n, 1);
	uint32_t action;
	uint64_t off;
	void *block;
	enum q2_status st;

	st = q2_get(&r->budget, bytes, &block, r->err);
	if (st != Q2_OK)
		return st;
	st = q2_pread_zero(r->io, block, (size_t)bytes, rec->s.l1_offset,
			   r->err);
	if (st == Q2_OK)
		st = q2_act(r, why, Q2_EFFECT_SUSPECT, NULL, &action,
			    "snapshot %u gets an L1 table of its own: the "
			    "one that it has is shared, or cut off",
			    (unsigned)rec->index);
	if (st == Q2_OK)
		st = q2_fresh(r, action,
			      q2_div_up(bytes, r->c->img.geom.cluster_size),
			      &off);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_FRESH, action, off, block,
			       (size_t)bytes);
	if (st == Q2_OK) {
		q2_put_be64(rec->bytes + Q2_SNAPSHOT_AT_L1_OFFSET, off);
		q2_put_be32(rec->bytes + Q2_SNAPSHOT_AT_L1_SIZE, (uint32_t)n);
		rec->s.l1_offset = off;
		rec->s.l1_size = (uint32_t)n;
	}
	q2_put(&r->budget, block, bytes);
	return st;
}

/* Whether a disk of this size fits the snapshot's L1 table; VM state may have made
 * that longer. */
static bool fits_l1(const struct fix *x, const struct q2_snaprec *rec,
		    uint64_t size)
{
	const struct q2_geom *g = &x->r->c->img.geom;
	uint64_t n = q2_l1_needed(size, g->cluster_bits, 1u << g->entry_bits);

	return rec->s.vm_state ? n <= rec->s.l1_size : n == rec->s.l1_size;
}

/* A size that cannot be: the disk's own if that fits, another snapshot's, or all that
 * the L1 table reaches. */
static void set_disk_size(struct fix *x, struct q2_snaprec *rec)
{
	const struct q2_geom *g = &x->r->c->img.geom;
	uint64_t most = (uint64_t)Q2_L1_MAX << (g->l2_bits + g->cluster_bits);
	uint64_t size = q2_min((uint64_t)rec->s.l1_size
				       << (g->l2_bits + g->cluster_bits), most);

	for (size_t i = x->t.recs.n; i-- > 0;) {
		const struct q2_snapshot *s = &x->t.recs.at[i].s;

		if (s->has_disk_size && s->disk_size <= most &&
		    fits_l1(x, rec, s->disk_size))
			size = s->disk_size;
	}
	if (fits_l1(x, rec, g->disk_size))
		size = g->disk_size;
	q2_put_be64(rec->bytes + Q2_SNAPSHOT_AT_DISK_SIZE, size);
	rec->s.disk_size = size;
}

static void set_l1_size(struct q2_snaprec *rec, uint64_t n)
{
	rec->gone = n == 0;
	q2_put_be32(rec->bytes + Q2_SNAPSHOT_AT_L1_SIZE, (uint32_t)n);
}

static enum q2_status mend(struct fix *x, const struct q2_finding *f)
{
	struct q2_snaprec *rec = record(x, f->index);
	const struct q2_geom *g = &x->r->c->img.geom;
	enum q2_problem_id id = (enum q2_problem_id)f->problem->number;
	uint64_t disk;

	if (rec == NULL || rec->gone)
		return Q2_OK;
	disk = rec->s.has_disk_size ? rec->s.disk_size : g->disk_size;
	switch (id) {
	case Q2_P_SNAPSHOT_TIME:
		if (ask(x, id, Q2_EFFECT_NONE))
			q2_put_be32(rec->bytes + Q2_SNAPSHOT_AT_NSEC, 0);
		break;
	case Q2_P_SNAPSHOT_VMSTATE_COPIES:
		if (ask(x, id, Q2_EFFECT_NONE))
			q2_put_be32(rec->bytes + Q2_SNAPSHOT_AT_VM_STATE_32,
				 (uint32_t)(rec->s.vm_state <= UINT32_MAX ?
						    rec->s.vm_state : 0));
		break;
	case Q2_P_SNAPSHOT_EXTRA_SHORT:
		if (ask(x, id, Q2_EFFECT_NONE))
			return reshape(x, rec,
				       (char *)rec->bytes + rec->s.id_at,
				       rec->s.id_len);
		break;
	case Q2_P_SNAPSHOT_NAME:
		if (ask(x, id, Q2_EFFECT_NONE))
			return new_id(x, rec);
		break;
	case Q2_P_SNAPSHOT_DISK_SIZE:
		if (ask(x, id, Q2_EFFECT_SUSPECT))
			set_disk_size(x, rec);
		break;
	case Q2_P_SNAPSHOT_L1_UNALIGNED:
		if (rec->s.l1_size == 0) {
			/* Without a table any place will do that is aligned. */
			if (ask(x, id, Q2_EFFECT_NONE))
				q2_put_be64(rec->bytes +
					    Q2_SNAPSHOT_AT_L1_OFFSET,
					    rec->s.l1_offset &
						    ~(g->cluster_size - 1));
			break;
		}
		if (ask(x, id, Q2_EFFECT_LOSS))
			rec->gone = true;
		break;
	case Q2_P_SNAPSHOT_L1_LIMIT:
		if (ask(x, id, Q2_EFFECT_NONE))
			set_l1_size(rec, q2_min(Q2_L1_MAX, q2_l1_needed(
				disk, g->cluster_bits, 1u << g->entry_bits)));
		break;
	case Q2_P_SNAPSHOT_L1_OUTSIDE:
		if (!ask(x, id, Q2_EFFECT_LOSS))
			break;
		if (rec->s.l1_offset < g->file_size)
			return own_table(x, rec, id);
		rec->gone = true;
		break;
	case Q2_P_SNAPSHOT_L1_SHARED:
	case Q2_P_SNAPSHOT_L1_ACTIVE:
		if (ask(x, id, Q2_EFFECT_SUSPECT))
			return own_table(x, rec, id);
		break;
	default:
		break;
	}
	return Q2_OK;
}

/* Records past what readers take as a table go. */
static void shorten(struct fix *x)
{
	uint64_t len = 0;

	for (size_t i = 0; i < x->t.recs.n; i++) {
		len += (x->t.recs.at[i].len + 7) & ~UINT64_C(7);
		x->t.recs.at[i].gone |= len > Q2_SNAPTABLE_MAX;
	}
}

/* Reasons that concern the table as a whole. */
static void judge_table(struct fix *x)
{
	static const enum q2_problem_id whole[] = {
		Q2_P_SNAPSHOT_COUNT, Q2_P_SNAPTABLE_UNALIGNED,
		Q2_P_SNAPTABLE_ZERO, Q2_P_SNAPTABLE_OUTSIDE,
		Q2_P_SNAPSHOT_RECORD, Q2_P_SNAPSHOT_EXTRA_LONG,
	};
	struct q2_repair *r = x->r;

	if (q2_found_any(r, Q2_P_SNAPTABLE_LIMIT) &&
	    ask(x, Q2_P_SNAPTABLE_LIMIT, Q2_EFFECT_LOSS))
		shorten(x);
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		if (q2_found_any(r, whole[i]))
			ask(x, whole[i], r->c->snap_places.n ?
						 Q2_EFFECT_SUSPECT :
						 Q2_EFFECT_LOSS);
	/* What the header counts and the table does not have is lost. */
	if (x->wanted && x->t.recs.n < r->c->header.nb_snapshots)
		x->effect = Q2_EFFECT_LOSS;
}

static enum q2_status uncounted(struct q2_repair *r)
{
	uint32_t action;
	enum q2_status st;

	if (!q2_found_any(r, Q2_P_SNAPSHOT_UNCOUNTED) ||
	    !q2_want(r, Q2_P_SNAPSHOT_UNCOUNTED))
		return Q2_OK;
	st = q2_act(r, Q2_P_SNAPSHOT_UNCOUNTED, Q2_EFFECT_GAIN, NULL, &action,
		    "the snapshot that the header does not count is counted");
	if (st == Q2_OK)
		st = q2_change_u32(r, Q2_C_PLACE, action, 60,
				   r->c->header.nb_snapshots + 1);
	return st == Q2_OK ? q2_recheck(r) : st;
}

enum q2_status q2_fix_snapshots(struct q2_repair *r)
{
	struct fix x = {.r = r};
	uint32_t action;
	enum q2_status st = Q2_OK;

	st = q2_find_snaptable(r);
	if (st == Q2_OK)
		st = q2_try_records(r);
	if (st == Q2_OK)
		st = uncounted(r);
	if (st != Q2_OK || !(q2_snapshots_damaged(r) || r->findings.n))
		return st;
	st = q2_snapedit_load(r, &x.t);
	if (st == Q2_OK)
		judge_table(&x);
	for (size_t i = 0; i < r->findings.n && st == Q2_OK; i++)
		if (q2_of_snapshots(r->findings.at[i].problem->number))
			st = mend(&x, &r->findings.at[i]);
	if (st == Q2_OK && x.wanted) {
		st = q2_act(r, x.why, x.effect, NULL, &action,
			    "the snapshot table is written anew with the "
			    "records that are sound");
		if (st == Q2_OK)
			st = q2_snapedit_store(&x.t, action);
	}
	q2_snapedit_free(&x.t);
	return st;
}
