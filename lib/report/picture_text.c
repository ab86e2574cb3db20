/*
 * picture_text.c - what a picture says in words: of each cell, and of the whole.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "report/picture.h"

void q2_render_share(struct q2_buf *out, uint64_t part, uint64_t whole)
{
	double percent = 100.0 * (double)part / (double)whole;

	if (part == whole)
		q2_buf_text(out, "100 %");
	else if (part && percent < 0.1)
		q2_buf_text(out, "under 0.1 %");
	else
		q2_buf_format(out, "%.1f %%",
			      percent > 99.9 ? 99.9 : percent);
}

/* Characters: cells are many, and names may be long. */
#define LONGEST_OWNER 80u

/* Whose a part is, where the mark alone does not tell. */
static void put_owner(struct q2_buf *out, const struct q2_picture *p,
		      unsigned mark, const struct q2_cell_part *part)
{
	struct q2_buf whose = {0};
	struct q2_disk_layer l;

	if (p->survey && mark != Q2_U_DATA &&
	    (part->active || part->who != Q2_NO_SNAPSHOT)) {
		q2_buf_text(out, " (");
		q2_survey_put_whose(&whose, p->survey, part->active, part->who);
		q2_buf_fail_as(out, &whose);
		q2_text_short(out, whose.at, whose.n, LONGEST_OWNER);
		q2_buf_free(&whose);
		q2_buf_char(out, ')');
	}
	if (p->survey || mark == Q2_M_GUEST_NONE || mark == Q2_M_GUEST_CUT ||
	    !q2_disk_layer(p->disk, 1, &l))
		return;
	if (part->who == Q2_SEVERAL_SNAPSHOTS) {
		q2_buf_text(out, " (several files)");
	} else if (q2_disk_layer(p->disk, part->who, &l)) {
		q2_buf_text(out, " (");
		q2_name_short(out, l.path, LONGEST_OWNER);
		q2_buf_char(out, ')');
	}
}

/* The marks that a cell has, by their bytes: the most first. */
static unsigned sort_marks(const struct q2_cell *cell, unsigned mark[Q2_MARKS])
{
	unsigned n = 0;

	for (unsigned i = 0; i < Q2_MARKS; i++) {
		unsigned k = n;

		if (cell->part[i].bytes == 0)
			continue;
		for (; k && cell->part[mark[k - 1]].bytes < cell->part[i].bytes;
		     k--)
			mark[k] = mark[k - 1];
		mark[k] = i;
		n++;
	}
	return n;
}

static void put_other_side(struct q2_buf *out, const struct q2_picture *p,
			   const struct q2_cell *cell)
{
	if (cell->other == Q2_NO_GUEST)
		return;
	q2_buf_text(out, cell->rows > 1 ? "\nfirst " : "\n");
	q2_buf_text(out, p->survey ? "guest address " : "host address ");
	q2_buf_hex(out, cell->other);
}

void q2_cell_describe(struct q2_buf *out, const struct q2_picture *p, size_t i)
{
	const struct q2_cell *cell = &p->cell[i];
	uint64_t start = q2_cell_start(p, i), length = q2_cell_length(p, i);
	unsigned mark[Q2_MARKS], n = sort_marks(cell, mark);

	q2_buf_text(out, p->survey ? "file " : "guest ");
	q2_buf_hex(out, start);
	q2_buf_text(out, " to ");
	q2_buf_hex(out, start + length - 1);
	q2_buf_text(out, ", ");
	q2_render_size(out, length);
	if (cell->rows > 1)
		q2_buf_format(out, " in %llu ranges",
			      (unsigned long long)cell->rows);
	for (unsigned k = 0; k < n; k++) {
		const struct q2_cell_part *part = &cell->part[mark[k]];

		q2_buf_format(out, "\n%s", q2_mark_style(mark[k])->meaning);
		put_owner(out, p, mark[k], part);
		q2_buf_text(out, ": ");
		if (part->bytes < length) {
			q2_render_size(out, part->bytes);
			q2_buf_text(out, ", ");
		}
		q2_render_share(out, part->bytes, length);
	}
	if (cell->holes) {
		q2_buf_text(out, "\n" "in holes: ");
		q2_render_size(out, cell->holes);
	}
	if (cell->problem)
		q2_buf_format(out, "\n%s%s", cell->problem,
			      cell->problems > 1 ? " and more" : "");
	put_other_side(out, p, cell);
}

static void put_layers(struct q2_buf *out, const struct q2_disk *disk)
{
	struct q2_disk_layer l;

	for (uint32_t i = 1; q2_disk_layer(disk, i, &l); i++) {
		/* A chain may be long, and what is said of it short. */
		if (i == 20 && q2_disk_layer(disk, 21, &l)) {
			q2_buf_text(out, "... and more backing files\n");
			break;
		}
		q2_buf_text(out, "backed by ");
		q2_buf_escape(out, l.path, strlen(l.path));
		q2_buf_text(out, ", ");
		q2_render_exact(out, l.size);
		q2_buf_char(out, '\n');
	}
	if (q2_disk_cut(disk))
		q2_buf_text(out, "over a backing file that was not opened "
				 "(--chain)\n");
}

void q2_survey_put_facts(struct q2_buf *out, const struct q2_survey *survey)
{
	const struct q2_check_result *r = q2_survey_result(survey);
	struct q2_buf b = {0};
	const char *first;

	q2_render_size(out, r->file_size);
	q2_buf_format(out, " (%llu bytes), for a disk of ",
		      (unsigned long long)r->file_size);
	q2_render_size(out, r->virtual_size);
	q2_buf_text(out, ", clusters of ");
	q2_render_exact(out, UINT64_C(1) << r->cluster_bits);
	q2_buf_char(out, '\n');
	/* What the title says after its first line: what is damaged. */
	q2_survey_put_title(&b, survey, "");
	first = b.failed ? NULL : memchr(b.at, '\n', b.n);
	if (first == NULL)
		out->failed = true;
	else
		q2_buf_add(out, first + 1, b.n - (size_t)(first + 1 - b.at));
	q2_buf_free(&b);
}

void q2_picture_put_facts(struct q2_buf *out, const struct q2_picture *p)
{
	struct q2_disk_layer l = {0};

	if (p->survey) {
		q2_survey_put_facts(out, p->survey);
		return;
	}
	if (!q2_disk_layer(p->disk, 0, &l))
		return;
	q2_buf_text(out, "a disk of ");
	q2_render_exact(out, l.size);
	if (p->start || p->end < l.size) {
		q2_buf_text(out, ", of which this is ");
		q2_buf_hex(out, p->start);
		q2_buf_text(out, " to ");
		q2_buf_hex(out, p->end);
	}
	q2_buf_char(out, '\n');
	q2_disk_put_damage(out, p->disk);
	put_layers(out, p->disk);
}

void q2_picture_put_scale(struct q2_buf *out, const struct q2_picture *p)
{
	q2_render_exact(out, p->step);
	q2_buf_text(out, p->survey ? " of the file" : " of the guest's disk");
}
