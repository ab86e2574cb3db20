/*
 * picture.c - a file or a disk as cells that each stand for an equal part.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/picture.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* Cells of a drawing.  More would make pages slow, and say no more to the eye. */
#define DRAWN_CELLS 2048u
#define BLOCK_COLUMNS 64u
#define BLOCK_ROWS 24u
#define MOST_COLUMNS 512u

static uint64_t most_cells(struct q2_picture_opts *o)
{
	if (o->form != Q2_PICTURE_BLOCKS)
		return DRAWN_CELLS;
	if (o->columns == 0)
		o->columns = BLOCK_COLUMNS;
	if (o->columns > MOST_COLUMNS)
		o->columns = MOST_COLUMNS;
	if (o->rows == 0 || o->rows > BLOCK_ROWS)
		o->rows = BLOCK_ROWS;
	return (uint64_t)o->columns * o->rows;
}

/* Cells of whole units for the addresses from start to end. */
static enum q2_status make(const struct q2_picture *like, uint64_t unit,
			   struct q2_picture **picture, struct q2_err *err)
{
	struct q2_picture *p = malloc(sizeof(*p));
	uint64_t length = like->end - like->start;
	uint64_t units = length / unit + (length % unit != 0);
	uint64_t most, each;

	*picture = NULL;
	if (p == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	*p = *like;
	most = most_cells(&p->opts);
	each = units / most + (units % most != 0);
	p->step = (each ? each : 1) * unit;
	p->n = (size_t)(length / p->step + (length % p->step != 0));
	p->cell = calloc(p->n ? p->n : 1, sizeof(*p->cell));
	if (p->cell == NULL) {
		free(p);
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	}
	for (size_t i = 0; i < p->n; i++)
		p->cell[i].other = Q2_NO_GUEST;
	*picture = p;
	return Q2_OK;
}

enum q2_status q2_picture_of_file(const struct q2_survey *survey,
				  const char *filename,
				  const struct q2_picture_opts *opts,
				  struct q2_picture **picture,
				  struct q2_err *err)
{
	const struct q2_check_result *r = q2_survey_result(survey);
	struct q2_picture like = {.survey = survey,
				  .filename = filename,
				  .opts = *opts,
				  .end = r->file_size};

	return make(&like, UINT64_C(1) << r->cluster_bits, picture, err);
}

enum q2_status q2_picture_of_disk(const struct q2_disk *disk,
				  const struct q2_picture_opts *opts,
				  struct q2_picture **picture,
				  struct q2_err *err)
{
	struct q2_picture like = {.disk = disk, .opts = *opts};
	struct q2_disk_layer l = {0};

	*picture = NULL;
	if (!q2_disk_layer(disk, 0, &l))
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET, "no disk");
	like.filename = l.path;
	like.start = opts->start < l.size ? opts->start : l.size;
	like.end = opts->length < l.size - like.start ?
			   like.start + opts->length : l.size;
	return make(&like, l.cluster_size ? l.cluster_size : 65536, picture,
		    err);
}

void q2_picture_free(struct q2_picture *picture)
{
	if (picture)
		free(picture->cell);
	free(picture);
}

/* ------------------------------------------------------------------ adding */
/* A range, on both sides, and what is said of each byte of it. */
struct range {
	uint64_t at;
	uint64_t length;
	uint64_t holes;
	uint64_t other;
	bool other_moves; /* `other` goes along with `at` */
	unsigned mark;
	bool active;
	uint32_t who;
	const struct q2_problem *problem;
};

static void add_owner(struct q2_cell_part *part, const struct range *r)
{
	if (part->bytes == 0 || part->who == Q2_NO_SNAPSHOT)
		part->who = r->who;
	else if (r->who != Q2_NO_SNAPSHOT && r->who != part->who)
		part->who = Q2_SEVERAL_SNAPSHOTS;
	part->active = part->active || r->active;
}

static void add_to_cell(struct q2_cell *cell, const struct range *r,
			uint64_t from, uint64_t length)
{
	add_owner(&cell->part[r->mark], r);
	cell->part[r->mark].bytes += length;
	cell->rows++;
	/* Where in a row its holes are is not known. */
	if (r->length - r->holes < length)
		cell->holes += length - (r->length - r->holes);
	if (cell->other == Q2_NO_GUEST && r->other != Q2_NO_GUEST)
		cell->other = r->other_moves ? r->other + (from - r->at) :
					       r->other;
	if (r->problem == NULL)
		return;
	cell->problems++;
	if (cell->problem == NULL)
		cell->problem = r->problem->id;
}

static void add_range(struct q2_picture *p, const struct range *r)
{
	uint64_t at = r->at > p->start ? r->at : p->start;
	uint64_t end = r->length < p->end - (r->at < p->end ? r->at : p->end) ?
			       r->at + r->length : p->end;

	while (at < end) {
		size_t i = (size_t)((at - p->start) / p->step);
		uint64_t next = q2_cell_start(p, i) + q2_cell_length(p, i);

		next = next < end ? next : end;
		add_to_cell(&p->cell[i], r, at, next - at);
		p->sum[r->mark] += next - at;
		at = next;
	}
}

enum q2_status q2_picture_add_use(void *picture, const struct q2_use_row *row)
{
	bool data = row->use == Q2_U_DATA;
	struct range r = {.at = row->host,
			  .length = row->length,
			  .holes = row->length - row->stored,
			  .other = Q2_NO_GUEST,
			  .other_moves = data,
			  .mark = q2_mark_of_use(row),
			  .active = row->active,
			  .who = row->snapshot};

	if (data || row->use == Q2_U_COMPRESSED || row->use == Q2_U_L2)
		r.other = row->guest;
	add_range(picture, &r);
	return Q2_OK;
}

static unsigned mark_of_row(const struct q2_row *row)
{
	bool below = row->depth > 0;

	switch (row->content) {
	case Q2_C_ZERO:
		return Q2_M_GUEST_ZERO;
	case Q2_C_ZERO_ALLOC:
		return Q2_M_GUEST_ZERO_ALLOC;
	case Q2_C_DATA:
		return below ? Q2_M_GUEST_DATA_BELOW : Q2_M_GUEST_DATA;
	case Q2_C_COMPRESSED:
		return below ? Q2_M_GUEST_COMPRESSED_BELOW :
			       Q2_M_GUEST_COMPRESSED;
	case Q2_C_UNREADABLE:
		return Q2_M_GUEST_UNREADABLE;
	case Q2_C_NONE:
		break;
	}
	return row->flags & Q2_ROW_BELOW ? Q2_M_GUEST_CUT : Q2_M_GUEST_NONE;
}

enum q2_status q2_picture_add_row(void *picture, const struct q2_row *row)
{
	struct range r = {.at = row->guest,
			  .length = row->length,
			  .other = row->flags & Q2_ROW_HOST ? row->host :
							      Q2_NO_GUEST,
			  .other_moves = row->content != Q2_C_COMPRESSED,
			  .mark = mark_of_row(row),
			  .who = row->depth,
			  .problem = row->problem};

	if (row->flags & Q2_ROW_HOLE)
		r.holes = row->length;
	add_range(picture, &r);
	return Q2_OK;
}

/* ----------------------------------------------------------------- looking */
uint64_t q2_cell_start(const struct q2_picture *p, size_t i)
{
	return p->start + i * p->step;
}

uint64_t q2_cell_length(const struct q2_picture *p, size_t i)
{
	uint64_t left = p->end - q2_cell_start(p, i);

	return left < p->step ? left : p->step;
}

unsigned q2_cell_mark(const struct q2_cell *cell)
{
	unsigned most = 0;

	for (unsigned i = 1; i < Q2_MARKS; i++)
		if (cell->part[i].bytes > cell->part[most].bytes)
			most = i;
	return most;
}

enum q2_status q2_picture_report(const struct q2_picture *picture,
				 const struct q2_sink *sink)
{
	char store[16384];
	struct q2_buf out;

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	switch (picture->opts.form) {
	case Q2_PICTURE_BLOCKS:
		q2_picture_put_blocks(&out, picture);
		break;
	case Q2_PICTURE_SVG:
		q2_picture_put_svg(&out, picture);
		break;
	case Q2_PICTURE_HTML:
		q2_picture_put_html(&out, picture);
		break;
	}
	return q2_report_flush(&out);
}
