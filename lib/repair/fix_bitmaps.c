/*
 * fix_bitmaps.c - the bitmap directory and what it names.
 *
 * SPDX-License-Identifier: MIT
 *
 * Mends:    records with one wrong bit, found by trying; else the directory is
 *           written anew without the bitmaps that cannot be kept.  One of which a
 *           part is lost is marked as inconsistent: never is it taken for right.
 * Needs:    header extensions that can be read.
 */
#include <string.h>

#include "base/endian.h"
#include "format/bitmap.h"
#include "format/ext.h"
#include "repair/trial.h"

#define RECORDS_TRIED 8u

struct dir {
	struct q2_repair *r;
	struct q2_ext ext;
	uint8_t *bytes; /* of the new directory */
	uint64_t room;
	uint64_t len;
	uint32_t n;
	bool wanted;
	enum q2_problem_id why;
	enum q2_effect effect;
	uint32_t action;
};

static bool is_bitmaps(unsigned number)
{
	return number >= Q2_P_BITMAPDIR_SIZE && number <= Q2_P_BITMAP_PADDING;
}

/* Problems that make readers refuse, or drop, the record. */
static bool drops(unsigned number)
{
	return number >= Q2_P_BITMAP_RECORD && number <= Q2_P_BITMAP_TABLE_SIZE;
}

static bool lost_part(unsigned number)
{
	return number >= Q2_P_BITMAP_ENTRY_RESERVED &&
	       number <= Q2_P_BITMAP_ENTRY_OUTSIDE;
}

static const struct q2_finding *blamed(const struct q2_repair *r,
				       uint32_t index, bool (*kind)(unsigned))
{
	for (size_t i = 0; i < r->findings.n; i++) {
		const struct q2_finding *f = &r->findings.at[i];

		if (kind(f->problem->number) && (f->fields & Q2_F_INDEX) &&
		    f->index == index)
			return f;
	}
	return NULL;
}

bool q2_kind_is_bitmap(enum q2_kind kind)
{
	return kind == Q2_K_BITMAP_DIR || kind == Q2_K_BITMAP_TABLE ||
	       kind == Q2_K_BITMAP_DATA;
}

/* Whether the bitmap's table or data lie on other metadata.  Ranges are sorted by
 * their first clusters. */
static bool overlaps(const struct q2_repair *r, uint32_t index)
{
	const struct q2_metas *m = &r->c->metas;

	for (size_t i = 0; i < m->n; i++) {
		const struct q2_meta *x = &m->at[i];

		if (x->index != index || x->kind == Q2_K_BITMAP_DIR ||
		    !q2_kind_is_bitmap(x->kind))
			continue;
		for (uint64_t k = 0; k < x->n; k++)
			if (q2_refmap_get(&r->c->map, x->first + k).count > 1)
				return true;
	}
	return false;
}

static bool damaged(const struct q2_repair *r)
{
	for (unsigned i = Q2_P_BITMAPDIR_SIZE; i <= Q2_P_BITMAP_PADDING; i++)
		if (r->counts[i])
			return true;
	for (size_t i = 0; i < r->findings.n; i++) {
		const struct q2_finding *f = &r->findings.at[i];

		if (f->problem->number == Q2_P_METADATA_OVERLAP &&
		    q2_kind_is_bitmap(f->kind))
			return true;
	}
	return q2_found_any(r, Q2_P_EXT_BITMAPS_BAD);
}

/* Entries of tables that a finding points at. */
static enum q2_status try_entries(struct q2_repair *r, struct q2_trial *t,
				  const struct q2_bitmap_spot *p)
{
	const struct q2_finding *f = blamed(r, p->index, lost_part);
	struct q2_bitmap b;
	uint8_t head[Q2_BITMAP_HEAD];

	if (f == NULL || f->count != 1 ||
	    q2_pread_zero(r->io, head, sizeof(head), p->host, NULL) != Q2_OK)
		return Q2_OK;
	q2_bitmap_parse(head, sizeof(head), &b);
	return q2_trial_flips(t, b.table_offset + UINT64_C(8) * f->l2, 8);
}

static enum q2_status try_flips(struct q2_repair *r)
{
	const struct q2_bitmap_spots *p = &r->c->bitmap_spots;
	struct q2_trial t;
	uint32_t action;
	unsigned tried = 0;
	enum q2_status st = Q2_OK;

	q2_trial_start(&t, r);
	for (size_t i = 0; i < p->n && st == Q2_OK && tried < RECORDS_TRIED;
	     i++) {
		if (p->at[i].sound && !blamed(r, p->at[i].index, is_bitmaps))
			continue;
		tried++;
		st = q2_trial_flips(&t, p->at[i].host, Q2_BITMAP_HEAD);
		if (st == Q2_OK)
			st = try_entries(r, &t, &p->at[i]);
	}
	if (st != Q2_OK || !q2_trial_won(&t) ||
	    (r->opts->wanted && !q2_want(r, Q2_P_BITMAP_RECORD)))
		return st;
	st = q2_act(r, Q2_P_BITMAP_RECORD, Q2_EFFECT_NONE, NULL, &action,
		    "one wrong bit of the bitmaps is put right (at %llu)",
		    (unsigned long long)t.best.off);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_PLACE, action, t.best.off, t.best.bytes,
			       t.best.n);
	return st == Q2_OK ? q2_recheck(r) : st;
}

static bool ask(struct dir *d, enum q2_problem_id id, enum q2_effect effect)
{
	if (!q2_want(d->r, id))
		return false;
	if (!d->wanted)
		d->why = id;
	d->wanted = true;
	d->effect = effect > d->effect ? effect : d->effect;
	return true;
}

/* What a dropped bitmap used is of no use to anybody. */
static enum q2_status release(struct dir *d, uint32_t index)
{
	const struct q2_checker *c = d->r->c;
	unsigned bits = c->img.geom.cluster_bits;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < c->metas.n && st == Q2_OK; i++) {
		const struct q2_meta *m = &c->metas.at[i];

		if ((m->kind == Q2_K_BITMAP_TABLE ||
		     m->kind == Q2_K_BITMAP_DATA) && m->index == index)
			st = q2_release(d->r, m->first << bits, m->n << bits);
	}
	return st;
}

/* Bits of lost parts read as clean, so the bitmap must not be believed. */
static enum q2_status mend_entries(struct dir *d, const struct q2_bitmap *b)
{
	struct q2_repair *r = d->r;
	const struct q2_geom *g = &r->c->img.geom;
	enum q2_status st = Q2_OK;

	for (uint32_t i = 0; i < b->table_size && st == Q2_OK; i++) {
		uint64_t at = b->table_offset + UINT64_C(8) * i;
		struct q2_bitmap_entry e;
		uint8_t bytes[8];

		st = q2_pread_zero(r->io, bytes, 8, at, r->err);
		e = q2_bitmap_decode(g, q2_be64(bytes));
		if (st == Q2_OK && e.faults)
			st = q2_change_u64(r, Q2_C_PLACE, d->action, at,
					   e.used ? e.host : 0);
	}
	return st;
}

/* Adds the record to the new directory, as far as it can be kept. */
static enum q2_status keep(struct dir *d, const struct q2_bitmap_spot *p)
{
	struct q2_repair *r = d->r;
	const struct q2_finding *bad = blamed(r, p->index, drops);
	const struct q2_finding *part = blamed(r, p->index, lost_part);
	uint64_t len = (p->len + 7) & ~UINT64_C(7);
	struct q2_bitmap b;
	enum q2_status st;

	if (!p->sound || bad || overlaps(r, p->index))
		return release(d, p->index);
	if (len > d->room - d->len)
		return Q2_OK;
	memset(d->bytes + d->len, 0, (size_t)len);
	st = q2_pread_zero(r->io, d->bytes + d->len, (size_t)p->len, p->host,
			   r->err);
	if (st != Q2_OK)
		return st;
	if (part) {
		q2_bitmap_parse(d->bytes + d->len, Q2_BITMAP_HEAD, &b);
		q2_put_be32(d->bytes + d->len + Q2_BITMAP_AT_FLAGS,
			 b.flags | Q2_BITMAP_IN_USE);
		st = mend_entries(d, &b);
	}
	d->len += len;
	d->n++;
	return st;
}

static enum q2_status store(struct dir *d)
{
	struct q2_repair *r = d->r;
	const struct q2_geom *g = &r->c->img.geom;
	uint8_t data[Q2_EXT_BITMAPS_LEN] = {0};
	uint64_t off;
	enum q2_status st;

	for (size_t i = 0; i < r->c->metas.n; i++) {
		const struct q2_meta *m = &r->c->metas.at[i];

		if (m->kind != Q2_K_BITMAP_DIR)
			continue;
		st = q2_release(r, m->first << g->cluster_bits,
				m->n << g->cluster_bits);
		if (st != Q2_OK)
			return st;
	}
	if (d->n == 0)
		return q2_forget_bitmaps(r, d->action, &d->ext);
	st = q2_fresh(r, d->action, q2_div_up(d->len, g->cluster_size), &off);
	if (st == Q2_OK)
		st = q2_change(r, Q2_C_FRESH, d->action, off, d->bytes,
			       (size_t)d->len);
	q2_put_be32(data, d->n);
	q2_put_be64(data + 8, d->len);
	if (st == Q2_OK) {
		q2_put_be64(data + 16, off);
		st = q2_change(r, Q2_C_PLACE, d->action,
			       d->ext.at + Q2_EXT_HEAD, data, sizeof(data));
	}
	return st;
}

static void judge(struct dir *d)
{
	struct q2_repair *r = d->r;

	for (unsigned i = Q2_P_BITMAPDIR_SIZE; i <= Q2_P_BITMAP_PADDING; i++)
		if (r->counts[i] && i != Q2_P_BITMAP_TAIL)
			ask(d, (enum q2_problem_id)i,
			    drops(i) || lost_part(i) ? Q2_EFFECT_SUSPECT :
						       Q2_EFFECT_NONE);
	if (q2_found_any(r, Q2_P_EXT_BITMAPS_BAD))
		ask(d, Q2_P_EXT_BITMAPS_BAD, Q2_EFFECT_NONE);
	for (size_t i = 0; i < r->findings.n; i++)
		if (r->findings.at[i].problem->number == Q2_P_METADATA_OVERLAP &&
		    q2_kind_is_bitmap(r->findings.at[i].kind))
			ask(d, Q2_P_METADATA_OVERLAP, Q2_EFFECT_SUSPECT);
}

/* Bits past the end of the disk. */
static enum q2_status clear_tails(struct q2_repair *r)
{
	const struct q2_geom *g = &r->c->img.geom;
	enum q2_status st = Q2_OK;

	for (size_t i = 0; i < r->findings.n && st == Q2_OK; i++) {
		const struct q2_finding *f = &r->findings.at[i];
		uint64_t end = (f->host | (g->cluster_size - 1)) + 1;
		uint32_t action;
		uint8_t byte;
		const struct q2_bitmap_spots *p = &r->c->bitmap_spots;

		if (f->problem->number != Q2_P_BITMAP_TAIL ||
		    !q2_want(r, Q2_P_BITMAP_TAIL))
			continue;
		st = q2_act(r, Q2_P_BITMAP_TAIL, Q2_EFFECT_NONE, f, &action,
			    "bits of a bitmap past the end of the disk are "
			    "cleared");
		for (size_t k = 0; k < p->n && st == Q2_OK; k++) {
			uint8_t head[Q2_BITMAP_HEAD];
			struct q2_bitmap b;
			uint64_t bits;

			if (p->at[k].index != f->index ||
			    q2_pread_zero(r->io, head, sizeof(head),
					  p->at[k].host, NULL) != Q2_OK ||
			    q2_pread_zero(r->io, &byte, 1, f->host, NULL) !=
				    Q2_OK)
				continue;
			q2_bitmap_parse(head, sizeof(head), &b);
			/* The first byte with such bits may hold others. */
			bits = q2_div_up(g->disk_size, UINT64_C(1) << b.gran);
			if (bits % 8 &&
			    (bits / 8) % g->cluster_size ==
				    f->host % g->cluster_size)
				byte &= (uint8_t)((1u << bits % 8) - 1);
			else
				byte = 0;
			st = q2_change(r, Q2_C_PLACE, action, f->host, &byte,
				       1);
		}
		for (uint64_t at = f->host + 1; at < end && st == Q2_OK; at++) {
			byte = 0;
			st = q2_change(r, Q2_C_PLACE, action, at, &byte, 1);
		}
	}
	return st;
}

static enum q2_status rewrite(struct dir *d)
{
	struct q2_repair *r = d->r;
	const struct q2_bitmap_spots *p = &r->c->bitmap_spots;
	void *block;
	enum q2_status st;

	/* Of a damaged record no length is believed, and it is not kept. */
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i].sound)
			d->room += (p->at[i].len + 7) & ~UINT64_C(7);
	d->room = q2_min(d->room, Q2_BITMAPDIR_MAX);
	st = q2_get(&r->budget, d->room, &block, r->err);
	if (st != Q2_OK)
		return st;
	d->bytes = block;
	st = q2_act(r, d->why, d->effect, NULL, &d->action,
		    "the bitmap directory is written anew with the bitmaps "
		    "that can be kept; those of which a part is lost are "
		    "marked as inconsistent");
	for (size_t i = 0; i < p->n && st == Q2_OK; i++)
		st = keep(d, &p->at[i]);
	if (st == Q2_OK)
		st = store(d);
	q2_put(&r->budget, block, d->room);
	return st;
}

enum q2_status q2_fix_bitmaps(struct q2_repair *r)
{
	struct dir d = {.r = r};
	struct q2_range area;
	enum q2_status st = Q2_OK;

	if (!damaged(r))
		return Q2_OK;
	if (q2_all(r))
		st = try_flips(r);
	if (st == Q2_OK)
		st = clear_tails(r);
	if (st == Q2_OK)
		st = q2_recheck(r);
	if (st != Q2_OK || !damaged(r) ||
	    !q2_ext_area(&r->c->header, r->c->img.geom.cluster_size, &area) ||
	    !q2_ext_find(r->c->first, area, Q2_EXT_BITMAPS, &d.ext))
		return st;
	judge(&d);
	return d.wanted ? rewrite(&d) : Q2_OK;
}
