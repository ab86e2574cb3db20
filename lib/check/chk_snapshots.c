/*
 * chk_snapshots.c - tests the snapshot table's records and finds lost ones.
 * Gathers a tree for each snapshot that can be walked; metadata ranges.
 * When it fails the result is partial: what a lost one uses seems leaked.
 *
 * SPDX-License-Identifier: MIT
 */
#include "check/chk_snapshots.h"

#include <stdio.h>

#include "check/window.h"

/* Where the next record may start if one is damaged: further on there is guest
 * data, and what looks like a record there was put there by the guest. */
#define SEARCH (Q2_SNAPSHOT_MAX + 8u)

struct table {
	struct q2_checker *c;
	struct q2_window w;
	struct q2_snap_refs refs;
	uint64_t start; /* host offset of the table */
	uint64_t pos;	/* of the record that is looked at */
	uint64_t prev;	/* of the last sound one; 0: none */
	uint64_t end;	/* of what was read as the table */
	uint32_t index; /* of the record at pos */
};

/* A record as far as it is in the file. */
struct seen {
	const uint8_t *bytes;
	size_t n;
	struct q2_snapshot s;
};

static enum q2_status look(struct table *t, uint64_t pos, struct seen *out)
{
	uint64_t left = t->c->img.geom.file_size - pos;
	size_t want = Q2_SNAPSHOT_HEAD;
	enum q2_status st;

	st = q2_window_see(&t->w, pos, want, &out->bytes);
	if (st != Q2_OK)
		return st;
	q2_snapshot_parse(out->bytes, want, &out->s);
	if (out->s.extra_len <= Q2_SNAPSHOT_EXTRA_MAX) {
		want = (size_t)out->s.end;
		st = q2_window_see(&t->w, pos, want, &out->bytes);
		if (st != Q2_OK)
			return st;
	}
	out->n = (size_t)q2_min(want, left);
	q2_snapshot_parse(out->bytes, out->n, &out->s);
	return Q2_OK;
}

/* The first plausible record at or after `from`, within reach; *at is 0 if
 * there is none. */
static enum q2_status search(struct table *t, uint64_t from, uint64_t *at)
{
	const struct q2_geom *g = &t->c->img.geom;
	uint64_t to = q2_min(t->pos + SEARCH, g->file_size);
	const uint8_t *head;
	uint64_t end;
	struct seen r;

	*at = 0;
	for (; q2_inside(from, Q2_SNAPSHOT_HEAD, to); from += 8) {
		enum q2_status st = q2_window_see(&t->w, from, Q2_SNAPSHOT_HEAD,
						  &head);

		if (st != Q2_OK)
			return st;
		/* Most of what is in the window cannot be one. */
		end = q2_min(t->w.at + t->w.n, to) - Q2_SNAPSHOT_HEAD;
		while (!q2_snapshot_may_start(g, head) && from + 8 <= end) {
			head += 8;
			from += 8;
		}
		if (!q2_snapshot_may_start(g, head))
			continue;
		st = look(t, from, &r);
		if (st != Q2_OK)
			return st;
		if (q2_snapshot_plausible(g, r.bytes, r.n, &r.s)) {
			*at = from;
			break;
		}
	}
	return Q2_OK;
}

static void emit_bad(struct table *t, enum q2_snapshot_state state,
		     uint32_t index, uint64_t host,
		     const struct q2_snapshot *s)
{
	struct q2_finding f = {
		.fields = Q2_F_INDEX | Q2_F_HOST | Q2_F_FOUND,
		.index = index,
		.host = host,
	};
	char lengths[80];
	int n;

	t->c->result->partial = true;
	/* What could not be read was reported as that. */
	if (q2_window_bad(&t->w, host,
			  q2_max(Q2_SNAPSHOT_HEAD,
				 q2_min(s->end, Q2_SNAPSHOT_MAX))))
		return;
	if (state == Q2_SNAPSHOT_EXTRA) {
		f.found = s->extra_len;
		q2_found(t->c, Q2_P_SNAPSHOT_EXTRA_LONG, &f);
		return;
	}
	n = snprintf(lengths, sizeof(lengths),
		     "%u of extra data, %u of id, %u of name",
		     (unsigned)s->extra_len, (unsigned)s->id_len,
		     (unsigned)s->name_len);
	f.fields &= ~(unsigned)Q2_F_FOUND;
	q2_finding_text(&f, lengths, (size_t)n);
	q2_found(t->c, Q2_P_SNAPSHOT_RECORD, &f);
}

static void emit_end(struct table *t)
{
	t->c->result->partial = true;
	q2_found(t->c, Q2_P_SNAPTABLE_OUTSIDE,
		 &(struct q2_finding){
			 .fields = Q2_F_HOST | Q2_F_FOUND | Q2_F_EXPECTED,
			 .host = t->start,
			 .found = t->c->result->snapshots,
			 .expected = t->c->img.geom.snapshots,
		 });
}

static enum q2_status note_place(struct table *t, bool is_sound)
{
	struct q2_snap_place place = {t->pos, t->index, is_sound};

	return q2_snap_places_push(&t->c->snap_places, &t->c->budget, place,
				   t->c->err);
}

/* The table of the damaged record at t->pos, if it still names one. */
static enum q2_status salvage(struct table *t, const struct q2_snapshot *s)
{
	enum q2_status st = note_place(t, false);

	t->end = q2_max(t->end, t->pos + 1);
	if (st != Q2_OK || !q2_snapshot_has_table(&t->c->img.geom, s))
		return st;
	return q2_snapshot_salvage(t->c, &t->refs, s, t->index);
}

/* The record before was taken for sound, though its texts run into this one. */
static enum q2_status blame_previous(struct table *t)
{
	struct seen r;
	enum q2_status st = look(t, t->prev, &r);

	if (st == Q2_OK)
		emit_bad(t, Q2_SNAPSHOT_BAD, t->index - 1, t->prev, &r.s);
	if (t->c->snap_places.n)
		t->c->snap_places.at[t->c->snap_places.n - 1].sound = false;
	return st;
}

/* Goes on behind a record that is not sound; *more is false if no other one is
 * in sight. */
static enum q2_status resync(struct table *t, enum q2_snapshot_state state,
			     const struct q2_snapshot *s, bool *more)
{
	/* The lengths of the record before may be what is wrong: then this
	 * one starts earlier.  Behind `from` that record has only its texts. */
	uint64_t from = t->prev ? t->prev + Q2_SNAPSHOT_HEAD : t->pos + 8;
	uint64_t at;
	enum q2_status st = search(t, from, &at);

	if (st != Q2_OK)
		return st;
	*more = at != 0;
	if (at && at < t->pos) {
		st = blame_previous(t);
		t->pos = at;
		return st;
	}
	/* With a count that is no count, the table just ends here. */
	if (at == 0 && q2_header_has(&t->c->faults, Q2_HF_SNAPSHOT_COUNT))
		return Q2_OK;
	if (at == 0 && state == Q2_SNAPSHOT_CUT)
		emit_end(t);
	else
		emit_bad(t, state, t->index, t->pos, s);
	st = salvage(t, s);
	t->pos = at;
	t->index++;
	return st;
}

static enum q2_status sound(struct table *t, const struct seen *r)
{
	enum q2_status st = q2_snapshot_add(t->c, &t->refs, r->bytes, &r->s,
					    t->pos, t->index);

	if (st == Q2_OK)
		st = note_place(t, true);
	if (st != Q2_OK)
		return st;
	t->c->result->snapshots++;
	t->prev = t->pos;
	t->pos += r->s.len;
	t->end = t->prev + r->s.end;
	t->index++;
	return Q2_OK;
}

/* Whether the table is longer than readers take. */
static bool too_long(struct table *t)
{
	uint64_t len = t->pos - t->start;

	if (len <= Q2_SNAPTABLE_MAX)
		return false;
	if (t->index < t->c->img.geom.snapshots)
		t->c->result->partial = true;
	q2_found(t->c, Q2_P_SNAPTABLE_LIMIT,
		 &(struct q2_finding){
			 .fields = Q2_F_HOST | Q2_F_FOUND | Q2_F_EXPECTED,
			 .host = t->start,
			 .found = len,
			 .expected = Q2_SNAPTABLE_MAX,
		 });
	return true;
}

static enum q2_status read_records(struct table *t)
{
	const struct q2_geom *g = &t->c->img.geom;
	enum q2_snapshot_state state;
	struct seen r;
	enum q2_status st = Q2_OK;
	bool more = true;

	while (more && st == Q2_OK && t->index < g->snapshots) {
		if (t->index % 1024 == 0)
			st = q2_tick(t->c, "snapshots", t->index, g->snapshots);
		if (st != Q2_OK)
			break;
		if (t->pos >= g->file_size) {
			/* The last length may be what leads past the end. */
			st = resync(t, Q2_SNAPSHOT_CUT,
				    &(struct q2_snapshot){0}, &more);
			continue;
		}
		st = look(t, t->pos, &r);
		if (st != Q2_OK)
			break;
		state = q2_snapshot_judge(r.bytes, r.n, &r.s);
		st = state == Q2_SNAPSHOT_SOUND ?
			     sound(t, &r) : resync(t, state, &r.s, &more);
		if (st == Q2_OK && more && too_long(t))
			break;
	}
	return st;
}

/* Whether a record stands where the header says that there is none. */
static enum q2_status look_behind(struct table *t)
{
	const struct q2_geom *g = &t->c->img.geom;
	struct seen r;
	enum q2_status st;

	if (t->pos >= g->file_size)
		return Q2_OK;
	st = look(t, t->pos, &r);
	if (st == Q2_OK && q2_snapshot_plausible(g, r.bytes, r.n, &r.s))
		t->c->uncounted = (struct q2_uncounted){t->pos,
							r.s.l1_offset};
	return st;
}

enum q2_status q2_chk_snapshots(struct q2_checker *c)
{
	const struct q2_geom *g = &c->img.geom;
	struct table t = {
		.c = c,
		.start = g->snaptable_offset,
		.pos = g->snaptable_offset,
		.end = q2_add_sat(g->snaptable_offset, 1),
	};
	enum q2_status st;

	/* If the table cannot be used, the header's phase said so. */
	if (g->snaptable_offset == 0)
		return Q2_OK;
	st = q2_window_open(&t.w, c, Q2_K_SNAPTABLE, (size_t)2 * SEARCH,
			    Q2_SNAPTABLE_MAX);
	if (st == Q2_OK)
		st = read_records(&t);
	if (st == Q2_OK)
		st = look_behind(&t);
	if (st == Q2_OK)
		st = q2_snapshots_compare(c, &t.refs);
	if (st == Q2_OK && g->snapshots)
		st = q2_meta_add(c, Q2_K_SNAPTABLE, 0,
				 (struct q2_range){t.start, t.end - t.start});
	q2_window_close(&t.w);
	q2_snap_refs_free(&t.refs, &c->budget);
	return st;
}
