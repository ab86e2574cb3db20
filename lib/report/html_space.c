/*
 * html_space.c - where the bytes of a file went, as a page.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/page.h"

/* Data are told apart by owner, everything else by use. */
static unsigned mark_of(unsigned use, unsigned share)
{
	if (use != Q2_U_DATA || share == Q2_SHARE_ACTIVE)
		return use;
	return share == Q2_SHARE_BOTH ? Q2_M_DATA_SHARED : Q2_M_DATA_SNAPSHOT;
}

struct sums {
	struct q2_space_part part[Q2_MARKS];
	uint64_t bytes[Q2_MARKS];
	uint64_t all;
};

static struct sums sums_of(const struct q2_space *space)
{
	struct sums s = {0};

	for (unsigned use = 0; use < Q2_U_COUNT; use++)
		for (unsigned share = 0; share < Q2_SHARE_COUNT; share++) {
			const struct q2_space_part *p =
				&space->part[use][share];
			unsigned mark = mark_of(use, share);

			s.part[mark].bytes += p->bytes;
			s.part[mark].stored += p->stored;
			s.part[mark].rows += p->rows;
			s.bytes[mark] += p->bytes;
			s.all += p->bytes;
		}
	return s;
}

static void put_part(struct q2_chart *c, const struct sums *s, unsigned mark)
{
	const struct q2_space_part *p = &s->part[mark];
	struct q2_buf text = {0};

	q2_buf_format(&text, "%s\n", q2_mark_style(mark)->meaning);
	q2_render_size(&text, p->bytes);
	q2_buf_format(&text, " in %llu range%s, ",
		      (unsigned long long)p->rows, p->rows == 1 ? "" : "s");
	q2_render_share(&text, p->bytes, s->all);
	q2_buf_text(&text, " of the file");
	if (p->bytes > p->stored) {
		q2_buf_text(&text, "\n" "in holes: ");
		q2_render_size(&text, p->bytes - p->stored);
	}
	q2_chart_part(c, mark, p->bytes, &text);
	q2_buf_free(&text);
}

static void put_chart(struct q2_buf *out, const struct sums *s)
{
	struct q2_chart c;
	unsigned rows = 1;

	for (unsigned i = 0; i < Q2_MARKS; i++)
		rows += s->bytes[i] != 0;
	q2_chart_begin(&c, out, s->all, rows,
		       "chart of the file's bytes: arrow keys move");
	q2_chart_bar(&c, "the whole file");
	for (unsigned i = 0; i < Q2_MARKS; i++)
		put_part(&c, s, q2_mark_order(i));
	for (unsigned k = 0; k < Q2_MARKS; k++) {
		unsigned i = q2_mark_order(k);

		if (s->bytes[i] == 0)
			continue;
		q2_chart_bar(&c, q2_mark_style(i)->meaning);
		put_part(&c, s, i);
	}
	q2_chart_end(&c);
}

static void put_table(struct q2_buf *out, const struct q2_space *space)
{
	static const char *const heads[] = {"use", "bytes", "active",
					    "snapshots", "shared", "in holes"};

	q2_buf_text(out, "<h2>By use</h2>\n<div class=\"wide\"><table "
			 "class=\"sort\">\n<thead><tr>");
	for (unsigned i = 0; i < sizeof(heads) / sizeof(*heads); i++)
		q2_page_put_head(out, heads[i], i > 0);
	q2_buf_text(out, "</tr></thead>\n<tbody>\n");
	for (unsigned use = 0; use < Q2_U_COUNT; use++) {
		const struct q2_space_part *p = space->part[use];
		uint64_t bytes = 0, stored = 0;

		for (unsigned k = 0; k < Q2_SHARE_COUNT; k++) {
			bytes += p[k].bytes;
			stored += p[k].stored;
		}
		if (bytes == 0)
			continue;
		q2_buf_format(out, "<tr><td>%s</td>",
			      q2_use_text((enum q2_use)use));
		q2_page_put_size(out, bytes);
		for (unsigned k = 0; k < Q2_SHARE_COUNT; k++)
			q2_page_put_size(out, p[k].bytes);
		q2_page_put_size(out, bytes - stored);
		q2_buf_text(out, "</tr>\n");
	}
	q2_buf_text(out, "</tbody>\n</table></div>\n");
}

void q2_space_put_html(struct q2_buf *out, const struct q2_survey *survey,
		       const char *filename, const struct q2_space *space,
		       const struct q2_buf *notes)
{
	struct sums s = sums_of(space);
	struct q2_buf facts = {0};

	q2_survey_put_facts(&facts, survey);
	q2_page_begin(out, "where the bytes went", filename, &facts);
	q2_buf_free(&facts);
	put_chart(out, &s);
	q2_page_put_legend(out, s.bytes);
	put_table(out, space);
	q2_buf_text(out, "<p class=\"notes\">");
	q2_buf_fail_as(out, notes);
	q2_xml_put(out, notes->at, notes->n);
	q2_buf_text(out, "</p>\n");
	q2_page_end(out);
}
