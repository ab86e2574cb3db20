/*
 * snapedit.c - the snapshot table as records that can be changed and stored anew.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/snapedit.h"

#include <stdio.h>
#include <string.h>

#include "base/endian.h"

#define AT_SNAPSHOTS 60u /* of the header: their number, and the table's offset */

void q2_snapedit_free(struct q2_snapedit *t)
{
	for (size_t i = 0; i < t->recs.n; i++)
		q2_put(&t->r->budget, t->recs.at[i].bytes, t->recs.at[i].len);
	q2_snaprecs_free(&t->recs, &t->r->budget);
}

static void note_id(struct q2_snapedit *t, const struct q2_snaprec *rec)
{
	uint64_t id = 0;

	if (rec->s.id_len == 0 || rec->s.id_len > 18)
		return;
	for (unsigned i = 0; i < rec->s.id_len; i++) {
		uint8_t c = rec->bytes[rec->s.id_at + i];

		if (c < '0' || c > '9')
			return;
		id = id * 10 + (c - '0');
	}
	t->last_id = q2_max(t->last_id, id);
}

/* Zeros and an offset parse as a record, too: nobody made it. */
static bool is_blank(const struct q2_snapshot *s)
{
	return s->l1_size == 0 && s->extra_len == 0 && s->id_len == 0 &&
	       s->name_len == 0;
}

static enum q2_status load_one(struct q2_snapedit *t,
			       const struct q2_snap_place *place)
{
	struct q2_repair *r = t->r;
	struct q2_snaprec rec = {.index = place->index, .sound = place->sound};
	uint8_t head[Q2_SNAPSHOT_MADE];
	void *block;
	enum q2_status st;

	st = q2_pread_zero(r->io, head, sizeof(head), place->host, r->err);
	if (st != Q2_OK)
		return st;
	q2_snapshot_parse(head, sizeof(head), &rec.s);
	if (place->sound ? is_blank(&rec.s) :
			   !q2_snapshot_has_table(&r->c->img.geom, &rec.s))
		return Q2_OK;
	/* Of a damaged record no length is believed. */
	rec.len = place->sound ? rec.s.end : Q2_SNAPSHOT_HEAD;
	st = q2_get(&r->budget, rec.len, &block, r->err);
	if (st != Q2_OK)
		return st;
	rec.bytes = block;
	st = q2_pread_zero(r->io, rec.bytes, (size_t)rec.len, place->host,
			   r->err);
	if (st == Q2_OK)
		st = q2_snaprecs_push(&t->recs, &r->budget, rec, r->err);
	if (st != Q2_OK)
		q2_put(&r->budget, rec.bytes, rec.len);
	else if (place->sound)
		note_id(t, &rec);
	return st;
}

/* Makes the bytes of a record from its numbers. */
static enum q2_status make(struct q2_snapedit *t, struct q2_snaprec *rec,
			   const char *name)
{
	char id[24];
	int n = snprintf(id, sizeof(id), "%llu",
			 (unsigned long long)++t->last_id);
	struct q2_snapshot s = rec->s;
	uint64_t len;
	void *block;
	enum q2_status st;

	s.id_len = (uint16_t)n;
	s.name_len = (uint16_t)strlen(name);
	len = Q2_SNAPSHOT_MADE + (uint64_t)s.id_len + s.name_len;
	st = q2_get(&t->r->budget, len, &block, t->r->err);
	if (st != Q2_OK)
		return st;
	q2_put(&t->r->budget, rec->bytes, rec->len);
	rec->bytes = block;
	rec->len = len;
	q2_snapshot_make(&s, rec->bytes);
	memcpy(rec->bytes + Q2_SNAPSHOT_MADE, id, s.id_len);
	memcpy(rec->bytes + Q2_SNAPSHOT_MADE + s.id_len, name, s.name_len);
	q2_snapshot_parse(rec->bytes, (size_t)len, &rec->s);
	return Q2_OK;
}

enum q2_status q2_snapedit_load(struct q2_repair *r, struct q2_snapedit *t)
{
	const struct q2_snap_places *places = &r->c->snap_places;
	enum q2_status st = Q2_OK;

	*t = (struct q2_snapedit){.r = r};
	for (size_t i = 0; i < places->n && st == Q2_OK; i++)
		st = load_one(t, &places->at[i]);
	for (size_t i = 0; i < t->recs.n && st == Q2_OK; i++) {
		struct q2_snaprec *rec = &t->recs.at[i];
		char name[32];

		if (rec->sound)
			continue;
		snprintf(name, sizeof(name), "recovered-%u",
			 (unsigned)rec->index);
		rec->s.vm_state = 0;
		rec->s.disk_size = r->c->img.geom.disk_size;
		st = make(t, rec, name);
	}
	return st;
}

enum q2_status q2_snapedit_add(struct q2_snapedit *t,
				const struct q2_snapshot *s, const char *name)
{
	struct q2_snaprec rec = {.index = UINT32_MAX, .s = *s, .sound = true};
	enum q2_status st = make(t, &rec, name);

	if (st == Q2_OK)
		st = q2_snaprecs_push(&t->recs, &t->r->budget, rec, t->r->err);
	if (st != Q2_OK)
		q2_put(&t->r->budget, rec.bytes, rec.len);
	t->changed = true;
	return st;
}

bool q2_snapedit_has(const struct q2_snapedit *t, const char *name)
{
	for (size_t i = 0; i < t->recs.n; i++) {
		const struct q2_snaprec *rec = &t->recs.at[i];

		if (rec->s.name_len == strlen(name) &&
		    memcmp(rec->bytes + rec->s.name_at, name,
			   rec->s.name_len) == 0)
			return true;
	}
	return false;
}

static enum q2_status write_records(struct q2_snapedit *t, uint32_t action,
				    uint64_t off)
{
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < t->recs.n && st == Q2_OK; i++) {
		const struct q2_snaprec *rec = &t->recs.at[i];

		if (rec->gone)
			continue;
		st = q2_change(t->r, Q2_C_FRESH, action, off, rec->bytes,
			       (size_t)rec->len);
		off += (rec->len + 7) & ~UINT64_C(7);
	}
	return st;
}

enum q2_status q2_snapedit_store(struct q2_snapedit *t, uint32_t action)
{
	struct q2_repair *r = t->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint64_t len = 0, off = 0;
	uint32_t n = 0;
	uint8_t bytes[12];
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < t->recs.n; i++)
		if (!t->recs.at[i].gone) {
			len += (t->recs.at[i].len + 7) & ~UINT64_C(7);
			n++;
		}
	if (n)
		st = q2_fresh(r, action, q2_div_up(len, g->cluster_size), &off);
	if (st == Q2_OK)
		st = write_records(t, action, off);
	for (size_t i = 0; i < r->c->metas.n && st == Q2_OK; i++)
		if (r->c->metas.at[i].kind == Q2_K_SNAPTABLE)
			st = q2_release(r, r->c->metas.at[i].first
						   << g->cluster_bits,
					r->c->metas.at[i].n << g->cluster_bits);
	q2_put_be32(bytes, n);
	q2_put_be64(bytes + 4, off);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, AT_SNAPSHOTS, bytes,
			       sizeof(bytes));
	return st;
}

/* Whether the table lies on other metadata; on an L1 table, if that is asked. */
static bool overlaps(const struct q2_repair *r, bool on_l1)
{
	for (size_t i = 0; i < r->findings.n; i++) {
		const struct q2_finding *f = &r->findings.at[i];

		if (f->problem->number == Q2_P_METADATA_OVERLAP &&
		    q2_concerns(f, Q2_K_SNAPTABLE) &&
		    (!on_l1 || q2_concerns(f, Q2_K_L1) ||
		     q2_concerns(f, Q2_K_SNAPSHOT_L1)))
			return true;
	}
	return false;
}

static enum q2_status move(struct q2_repair *r, bool on_l1)
{
	struct q2_snapedit t;
	uint32_t action;
	enum q2_status st;

	if (!overlaps(r, on_l1) || !q2_want(r, Q2_P_METADATA_OVERLAP))
		return Q2_OK;
	st = q2_snapedit_load(r, &t);
	if (st == Q2_OK)
		st = q2_act(r, Q2_P_METADATA_OVERLAP, Q2_EFFECT_NONE, NULL,
			    &action, "the snapshot table moves: it lies on "
			    "other metadata");
	if (st == Q2_OK)
		st = q2_snapedit_store(&t, action);
	q2_snapedit_free(&t);
	return st;
}

/* Before L1 tables are mended: what one holds is told from the other then. */
enum q2_status q2_part_snaptable(struct q2_repair *r)
{
	return move(r, true);
}

/* That an L1 entry leads there tells that it is wrong: this comes after these. */
enum q2_status q2_move_snaptable(struct q2_repair *r)
{
	return move(r, false);
}
