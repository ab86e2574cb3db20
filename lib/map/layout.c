/*
 * layout.c - the file from its first byte to its last: what each is for.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/err.h"
#include "map/segments.h"

#define WINDOW (UINT64_C(4) << 20) /* clusters whose guest offsets are held */

struct layout {
	struct q2_survey *s;
	const struct q2_layout_opts *opts;
	struct q2_err *err;
	struct q2_segments segments;
	size_t segment; /* the first one that ends behind `clu` */
	size_t leak;
	size_t page;
	uint64_t *guest; /* of the clusters from `base` on; NULL: not wanted */
	uint64_t base;
	uint64_t held;
	struct q2_range data; /* the file's data at or after what was asked */
	struct q2_use_row row; /* not handed out yet; length 0: none */
	uint64_t next_guest;
};

/* ----------------------------------------------------------- guest offsets */
static void note_guest(struct layout *l, uint64_t clu, uint64_t guest)
{
	if (clu >= l->base && clu - l->base < l->held)
		l->guest[clu - l->base] = q2_min(l->guest[clu - l->base],
						 guest);
}

static enum q2_status see_entry(void *ctx, const struct q2_entry_seen *e)
{
	struct layout *l = ctx;
	unsigned bits = q2_survey_geom(l->s)->cluster_bits;
	uint64_t last = (q2_end(e->host) - 1) >> bits;

	for (uint64_t clu = e->host.start >> bits; clu <= last; clu++)
		note_guest(l, clu, e->guest);
	return Q2_OK;
}

/* Finds the guest offsets of the next clusters from `clu` on. */
static enum q2_status find_guests(struct layout *l, uint64_t clu)
{
	const struct q2_l2refs *refs = &l->s->checker->refs;
	const struct q2_geom *g = q2_survey_geom(l->s);

	l->base = clu;
	l->held = q2_min(WINDOW, g->file_clusters - clu);
	memset(l->guest, 0xff, (size_t)l->held * sizeof(*l->guest));
	for (size_t i = 0; i < refs->tables.n; i++)
		note_guest(l, refs->tables.at[i].clu,
			   q2_guest(g, refs->tables.at[i].slot, 0));
	return q2_survey_entries(l->s, see_entry, l, l->err);
}

/* -------------------------------------------------------------------- rows */
static enum q2_status flush(struct layout *l)
{
	struct q2_use_row *r = &l->row;
	enum q2_status st;

	if (r->length == 0)
		return Q2_OK;
	st = l->opts->row(l->opts->ctx, r);
	r->length = 0;
	return st;
}

/* Bytes of [at, end) that are not in holes; `at` rises from call to call. */
static uint64_t stored_in(struct layout *l, uint64_t at, uint64_t end)
{
	uint64_t sum = 0;

	while (at < end) {
		if (at >= q2_end(l->data)) {
			l->data = q2_io_data(l->s->io, at);
			if (l->data.len == 0) /* no more data at all */
				l->data = (struct q2_range){UINT64_MAX, 0};
		}
		at = q2_max(at, l->data.start);
		if (at >= end)
			break;
		sum += q2_min(end, q2_end(l->data)) - at;
		at = q2_min(end, q2_end(l->data));
	}
	return sum;
}

static enum q2_status add(struct layout *l, struct q2_use_row *r)
{
	const struct q2_geom *g = q2_survey_geom(l->s);
	struct q2_use_row *last = &l->row;
	uint64_t step = r->length;
	enum q2_status st;

	r->stored = stored_in(l, r->host, r->host + r->length);
	if (r->use == Q2_U_L2)
		step = UINT64_C(1) << (g->l2_bits + g->cluster_bits);
	if (last->length && last->use == r->use && last->active == r->active &&
	    last->snapshot == r->snapshot &&
	    (r->guest == l->next_guest || r->use == Q2_U_COMPRESSED ||
	     (r->guest == Q2_NO_GUEST && last->guest == Q2_NO_GUEST))) {
		last->length += r->length;
		last->stored += r->stored;
		if (r->use == Q2_U_COMPRESSED)
			last->guest = q2_min(last->guest, r->guest);
	} else {
		st = flush(l);
		if (st != Q2_OK)
			return st;
		*last = *r;
	}
	l->next_guest = r->guest == Q2_NO_GUEST ? Q2_NO_GUEST :
						  q2_add_sat(r->guest, step);
	return Q2_OK;
}

/* ----------------------------------------------------- what a cluster is for */
static void use_cell(uint16_t cell, struct q2_use_row *r)
{
	static const enum q2_use uses[] = {
		[Q2_CELL_NONE] = Q2_U_FREE,
		[Q2_CELL_L2] = Q2_U_L2,
		[Q2_CELL_DATA] = Q2_U_DATA,
		[Q2_CELL_COMPRESSED] = Q2_U_COMPRESSED,
		[Q2_CELL_VMSTATE] = Q2_U_VMSTATE,
		[Q2_CELL_MIXED] = Q2_U_MIXED,
	};
	unsigned owner = q2_cell_owner(cell);

	r->use = uses[q2_cell_kind(cell)];
	r->active = cell & Q2_CELL_ACTIVE;
	if (owner == Q2_OWNER_SEVERAL)
		r->snapshot = Q2_SEVERAL_SNAPSHOTS;
	else if (owner)
		r->snapshot = owner - 1;
}

static void use_segment(const struct q2_segment *g, struct q2_use_row *r)
{
	/* What the tables name, too, is in two uses. */
	r->use = r->use == Q2_U_FREE ? g->use : Q2_U_MIXED;
	if (g->use == Q2_U_SNAPSHOT_L1)
		r->snapshot = g->index;
	if (g->use == Q2_U_L1)
		r->active = true;
}

/* Moves the cursors to `clu`; returns how far nothing changes, `end` at most. */
static uint64_t seek(struct layout *l, uint64_t clu, uint64_t end,
		     const struct q2_segment **segment, bool *leaked,
		     const struct q2_cell_page **page)
{
	const struct q2_leaks *leaks = &l->s->checker->leaks;
	const struct q2_cells *cells = &l->s->cells;
	uint64_t number = clu >> Q2_CELLS_BITS;

	*segment = NULL;
	*leaked = false;
	*page = NULL;
	while (l->segment < l->segments.n &&
	       l->segments.at[l->segment].end <= clu)
		l->segment++;
	if (l->segment < l->segments.n) {
		const struct q2_segment *g = &l->segments.at[l->segment];

		if (g->first <= clu)
			*segment = g;
		end = q2_min(end, g->first <= clu ? g->end : g->first);
	}
	while (l->leak < leaks->n &&
	       leaks->at[l->leak].first + leaks->at[l->leak].n <= clu)
		l->leak++;
	if (l->leak < leaks->n) {
		const struct q2_leak *k = &leaks->at[l->leak];

		*leaked = k->first <= clu;
		end = q2_min(end, *leaked ? k->first + k->n : k->first);
	}
	while (l->page < cells->n && cells->slots[l->page]->number < number)
		l->page++;
	if (l->page < cells->n) {
		const struct q2_cell_page *p = cells->slots[l->page];

		if (p->number == number)
			*page = p;
		end = q2_min(end, (p->number == number ? p->number + 1 :
							 p->number)
					  << Q2_CELLS_BITS);
	}
	return end;
}

/* How far the cells of a page, and the guest's offsets, go on as at `clu`. */
static uint64_t alike(const struct layout *l, const struct q2_cell_page *page,
		      uint64_t clu, uint64_t end)
{
	const struct q2_geom *g = q2_survey_geom(l->s);
	uint16_t cell = page->at[clu % Q2_CELLS_PAGE];
	enum q2_cell_kind kind = q2_cell_kind(cell);
	const uint64_t *guest = l->guest;
	uint64_t at = clu + 1;

	if (guest && kind != Q2_CELL_DATA && kind != Q2_CELL_VMSTATE)
		return at;
	while (at < end && page->at[at % Q2_CELLS_PAGE] == cell &&
	       (guest == NULL ||
		guest[at - l->base] == guest[clu - l->base] +
					((at - clu) << g->cluster_bits)))
		at++;
	return at;
}

/* The clusters [clu, end), of which nothing but their cells may differ. */
static enum q2_status stretch(struct layout *l, uint64_t clu, uint64_t end,
			      const struct q2_segment *segment, bool leaked,
			      const struct q2_cell_page *page)
{
	const struct q2_geom *g = q2_survey_geom(l->s);
	enum q2_status st = Q2_OK;

	while (clu < end && st == Q2_OK) {
		struct q2_use_row r = {.host = clu << g->cluster_bits,
				       .snapshot = Q2_NO_SNAPSHOT,
				       .guest = Q2_NO_GUEST};
		uint64_t to = page ? alike(l, page, clu, end) : end;

		if (page)
			use_cell(page->at[clu % Q2_CELLS_PAGE], &r);
		if (segment)
			use_segment(segment, &r);
		else if (leaked && r.use == Q2_U_FREE)
			r.use = Q2_U_LEAKED;
		if (l->guest && page)
			r.guest = l->guest[clu - l->base];
		r.length = q2_min(to << g->cluster_bits, g->file_size) - r.host;
		st = add(l, &r);
		clu = to;
	}
	return st;
}

static enum q2_status walk(struct layout *l)
{
	const struct q2_geom *g = q2_survey_geom(l->s);
	uint64_t clu = l->opts->start >> g->cluster_bits;
	uint64_t end = q2_min(q2_add_sat(l->opts->start, l->opts->length),
			      g->file_size);
	enum q2_status st = Q2_OK;

	end = q2_div_up(end, g->cluster_size);
	while (clu < end && st == Q2_OK) {
		const struct q2_segment *segment;
		const struct q2_cell_page *page;
		bool leaked;
		uint64_t to = seek(l, clu, end, &segment, &leaked, &page);

		if (l->guest && clu - l->base >= l->held && page)
			st = find_guests(l, clu);
		if (l->guest && page)
			to = q2_min(to, l->base + l->held);
		if (st == Q2_OK)
			st = stretch(l, clu, to, segment, leaked, page);
		clu = to;
	}
	return st == Q2_OK ? flush(l) : st;
}

enum q2_status q2_survey_layout(struct q2_survey *survey,
				const struct q2_layout_opts *opts,
				struct q2_err *err)
{
	struct layout l = {.s = survey, .opts = opts, .err = err};
	struct q2_budget *b = &survey->checker->budget;
	uint64_t room = q2_min(WINDOW, q2_survey_geom(survey)->file_clusters) *
			sizeof(*l.guest);
	enum q2_status st = q2_survey_mark(survey, NULL, 0, NULL, err);
	void *block = NULL;

	if (survey->checker->leaks_over.n)
		survey->partial = true;
	if (st == Q2_OK)
		st = q2_segments_make(survey, &l.segments, err);
	if (st == Q2_OK && opts->guest)
		st = q2_get(b, room, &block, err);
	l.guest = block;
	if (st == Q2_OK)
		st = walk(&l);
	q2_put(b, block, room);
	q2_segments_free(&l.segments, b);
	return st;
}
