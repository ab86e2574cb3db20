/*
 * picture_blocks.c - a picture of characters, for terminals.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "report/picture.h"

static void put_mark(struct q2_buf *out, const struct q2_picture *p,
		     unsigned mark)
{
	const struct q2_mark_style *style = q2_mark_style(mark);

	if (p->opts.flags & Q2_PICTURE_UNICODE && style->glyph)
		q2_buf_text(out, style->glyph);
	else
		q2_buf_char(out, style->letter);
}

/* Changes the colour where it differs from *now; 0 is the usual one. */
static void put_colour(struct q2_buf *out, const struct q2_picture *p,
		       unsigned *now, unsigned sgr)
{
	if (!(p->opts.flags & Q2_PICTURE_COLOUR) || *now == sgr)
		return;
	q2_buf_format(out, "\033[%um", sgr);
	*now = sgr;
}

static void put_line(struct q2_buf *out, const struct q2_picture *p, size_t i)
{
	size_t end = p->n - i < p->opts.columns ? p->n : i + p->opts.columns;
	unsigned now = 0;

	q2_buf_format(out, "%#14llx  ",
		      (unsigned long long)q2_cell_start(p, i));
	for (; i < end; i++) {
		unsigned mark = q2_cell_mark(&p->cell[i]);

		put_colour(out, p, &now, q2_mark_style(mark)->sgr);
		put_mark(out, p, mark);
	}
	put_colour(out, p, &now, 0);
	q2_buf_char(out, '\n');
}

static void put_legend(struct q2_buf *out, const struct q2_picture *p,
		       unsigned mark)
{
	char size[32] = "";
	struct q2_buf b;
	unsigned now = 0;

	q2_buf_fix(&b, size, sizeof(size) - 1);
	q2_render_size(&b, p->sum[mark]);
	q2_buf_text(out, "  ");
	put_colour(out, p, &now, q2_mark_style(mark)->sgr);
	put_mark(out, p, mark);
	put_colour(out, p, &now, 0);
	q2_buf_format(out, " %11s  %s\n", size, q2_mark_style(mark)->meaning);
}

void q2_picture_put_blocks(struct q2_buf *out, const struct q2_picture *p)
{
	q2_buf_escape(out, p->filename, strlen(p->filename));
	q2_buf_text(out, ": ");
	q2_picture_put_facts(out, p);
	q2_buf_text(out, "each character is ");
	q2_picture_put_scale(out, p);
	q2_buf_text(out, ", and shows what most of that is\n");
	for (size_t i = 0; i < p->n; i += p->opts.columns)
		put_line(out, p, i);
	for (unsigned i = 0; i < Q2_MARKS; i++)
		if (p->sum[q2_mark_order(i)])
			put_legend(out, p, q2_mark_order(i));
}
