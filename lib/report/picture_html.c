/*
 * picture_html.c - a picture as an HTML page.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/page.h"

void q2_picture_put_html(struct q2_buf *out, const struct q2_picture *p)
{
	struct q2_buf facts = {0};

	q2_picture_put_facts(&facts, p);
	q2_page_begin(out, p->survey ? "layout of the file" : "guest's disk",
		      p->filename, &facts);
	q2_buf_free(&facts);
	q2_buf_text(out, "<p class=\"scale\">One cell is ");
	q2_picture_put_scale(out, p);
	q2_buf_text(out, p->opts.flags & Q2_PICTURE_HILBERT ?
		    ", along a Hilbert curve from the upper left corner on: "
		    "what is near in the drawing is near there.</p>\n" :
		    ", in rows from the left to the right.</p>\n");
	q2_page_begin_map(out, p->survey ?
				       "map of the file: arrow keys move, + and "
				       "- zoom" :
				       "map of the guest's disk: arrow keys "
				       "move, + and - zoom");
	q2_picture_put_map(out, p);
	q2_page_end_map(out);
	q2_page_put_legend(out, p->sum);
	q2_buf_text(out, p->survey ?
		    "<p>For one address: <code>qcow2-map layout "
		    "--host=<i>offset</i> <i>image</i></code></p>\n" :
		    "<p>For a part: <code>qcow2-map extents -s <i>offset</i> "
		    "-l <i>length</i> <i>image</i></code></p>\n");
	q2_page_end(out);
}
