/*
 * page.h - what the HTML pages share: head and end, escaping, legends, charts.
 *
 * SPDX-License-Identifier: MIT
 *
 * A page loads nothing: its style and its script stand in it, and its content
 * security policy allows these two alone, by their digests.  Without scripts it
 * shows the same, and tells the cells' owners as tooltips of the browser.
 */
#ifndef Q2_REPORT_PAGE_H
#define Q2_REPORT_PAGE_H

#include "report/picture.h"

/* Text for SVG and HTML, between tags and in quotes.  What these must not hold,
 * and bytes that are not UTF-8, become U+FFFD.  Names should have gone through
 * q2_buf_escape() before, which keeps them visible. */
void q2_xml_put(struct q2_buf *out, const void *bytes, size_t n);
void q2_xml_text(struct q2_buf *out, const char *text);
/* A name, any bytes but NUL. */
void q2_xml_name(struct q2_buf *out, const char *name);
/* The same shortened in the middle to `most` characters: a name in an image may
 * have 64 KiB, and stand in a page a thousand times. */
void q2_xml_short_name(struct q2_buf *out, const char *name, size_t most);
void q2_xml_short(struct q2_buf *out, const char *bytes, size_t n, size_t most);
#define Q2_SHOWN_NAME 200u /* characters, where it stands many times */

/* Colours and hatches, for a <style> and a <defs>. */
void q2_page_put_colours(struct q2_buf *out);
void q2_page_put_hatches(struct q2_buf *out);

extern const char q2_page_style[];
extern const char q2_page_script[];

/* Everything up to the page's own part; `facts` are lines, shown below the name.
 * `filename` NULL: none. */
void q2_page_begin(struct q2_buf *out, const char *what, const char *filename,
		   const struct q2_buf *facts);
void q2_page_end(struct q2_buf *out);

/* Around an SVG element that can be zoomed and pointed at. */
void q2_page_begin_map(struct q2_buf *out, const char *label);
void q2_page_end_map(struct q2_buf *out);

/* The table of the marks with sums that are not 0; shares are of their sum. */
void q2_page_put_legend(struct q2_buf *out, const uint64_t sum[Q2_MARKS]);

/* <td> with a size that sorts by its bytes. */
void q2_page_put_size(struct q2_buf *out, uint64_t bytes);
/* <th> of a table that can be sorted; `number`: it stands at the right. */
void q2_page_put_head(struct q2_buf *out, const char *text, bool number);

/* A line that says what the colours of a chart mean. */
void q2_page_put_key(struct q2_buf *out, unsigned mark, const char *meaning);

/* Horizontal bars, one below the other, on a common scale. */
struct q2_chart {
	struct q2_buf *out;
	uint64_t scale; /* bytes that are as long as the chart is wide */
	unsigned row;
	double at; /* where the next part begins */
};
void q2_chart_begin(struct q2_chart *c, struct q2_buf *out, uint64_t scale,
		    unsigned rows, const char *label);
/* The next bar; `name` is a name. */
void q2_chart_bar(struct q2_chart *c, const char *name);
/* A part of it; `text`, which may hold any bytes, is told to who points at it.
 * Nothing if there are no bytes. */
void q2_chart_part(struct q2_chart *c, unsigned mark, uint64_t bytes,
		   const struct q2_buf *text);
void q2_chart_end(struct q2_chart *c);

/* At most so many bars in a chart, and lines in a table. */
#define Q2_CHART_BARS 100u
#define Q2_TABLE_LINES 1000u

/* The pages.  `notes`: what else there is to be said of the space, lines with a
 * newline each. */
void q2_space_put_html(struct q2_buf *out, const struct q2_survey *survey,
		       const char *filename, const struct q2_space *space,
		       const struct q2_buf *notes);

struct q2_costs {
	const struct q2_survey *survey;
	const struct q2_cost *at;
	size_t n;
	const struct q2_cost *active;
	const size_t *chosen; /* whose deletion is asked about */
	size_t n_chosen;
	uint64_t together; /* bytes that it makes free */
};
void q2_costs_put_html(struct q2_buf *out, const struct q2_costs *c,
		       const char *filename);

void q2_scan_put_html(struct q2_buf *out, const struct q2_scan *scan);

#endif
