/*
 * chart.c - bars of bytes, one below the other.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/page.h"

#define NAME_WIDTH 200
#define BAR_WIDTH 720.0
#define MARGIN 16u /* small parts are drawn larger than they are */
#define ROW_HEIGHT 24
#define BAR_HEIGHT 16

void q2_chart_begin(struct q2_chart *c, struct q2_buf *out, uint64_t scale,
		    unsigned rows, const char *label)
{
	unsigned height = rows * ROW_HEIGHT + 4;

	*c = (struct q2_chart){.out = out, .scale = scale ? scale : 1};
	q2_page_begin_map(out, label);
	q2_buf_format(out, "<svg class=\"full\" viewBox=\"0 0 %u %u\" "
		      "width=\"%u\" height=\"%u\">\n",
		      NAME_WIDTH + (unsigned)BAR_WIDTH + MARGIN, height,
		      NAME_WIDTH + (unsigned)BAR_WIDTH + MARGIN, height);
}

void q2_chart_bar(struct q2_chart *c, const char *name)
{
	q2_buf_format(c->out, "<text class=\"t e\" x=\"%u\" y=\"%u\">",
		      NAME_WIDTH - 8, c->row * ROW_HEIGHT + 16);
	q2_xml_short_name(c->out, name, 28);
	q2_buf_text(c->out, "</text>\n");
	c->row++;
	c->at = NAME_WIDTH;
}

void q2_chart_part(struct q2_chart *c, unsigned mark, uint64_t bytes,
		   const struct q2_buf *text)
{
	double width = BAR_WIDTH * (double)bytes / (double)c->scale;

	if (bytes == 0)
		return;
	/* Whatever there is can be seen. */
	width = width < 0.5 ? 0.5 : width;
	q2_buf_format(c->out, "<rect class=\"c k k%u\" x=\"%.2f\" y=\"%u\" "
		      "width=\"%.2f\" height=\"%u\" data-bytes=\"%llu\">"
		      "<title>", mark, c->at,
		      (c->row - 1) * ROW_HEIGHT + 4, width, BAR_HEIGHT,
		      (unsigned long long)bytes);
	q2_buf_fail_as(c->out, text);
	q2_xml_put(c->out, text->at, text->n);
	q2_buf_text(c->out, "</title></rect>\n");
	c->at += width;
}

void q2_chart_end(struct q2_chart *c)
{
	q2_buf_text(c->out, "</svg>\n");
	q2_page_end_map(c->out);
}
