/*
 * html_costs.c - what snapshots cost, as a page.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/page.h"

static uint64_t shared_of(const struct q2_cost *c)
{
	return c->referenced > c->exclusive ? c->referenced - c->exclusive : 0;
}

static void put_part(struct q2_chart *c, unsigned mark, const char *name,
		     const char *what, uint64_t bytes)
{
	struct q2_buf text = {0};

	q2_name_short(&text, name, Q2_SHOWN_NAME);
	q2_buf_format(&text, "\n%s: ", what);
	q2_render_size(&text, bytes);
	q2_chart_part(c, mark, bytes, &text);
	q2_buf_free(&text);
}

static void put_bar(struct q2_chart *c, const char *name,
		    const struct q2_cost *cost, bool active)
{
	q2_chart_bar(c, name);
	put_part(c, active ? (unsigned)Q2_U_DATA : Q2_M_DATA_SNAPSHOT, name,
		 "nothing else refers to it", cost->exclusive);
	put_part(c, Q2_M_DATA_SHARED, name, "shared",
		 shared_of(cost));
}

static void put_chart(struct q2_buf *out, const struct q2_costs *costs)
{
	uint64_t scale = costs->active->referenced;
	size_t n = costs->n < Q2_CHART_BARS ? costs->n : Q2_CHART_BARS;
	struct q2_snapshot_info info;
	struct q2_chart c;

	for (size_t i = 0; i < n; i++)
		if (costs->at[i].referenced > scale)
			scale = costs->at[i].referenced;
	q2_chart_begin(&c, out, scale, (unsigned)n + 1,
		       "chart of the snapshots' bytes: arrow keys move");
	put_bar(&c, "active disk", costs->active, true);
	for (size_t i = 0; i < n; i++)
		if (q2_survey_snapshot(costs->survey, i, &info))
			put_bar(&c, info.name[0] ? info.name : info.id,
				&costs->at[i], false);
	q2_chart_end(&c);
	q2_buf_text(out, "<p>");
	q2_page_put_key(out, Q2_U_DATA, "the active disk's alone");
	q2_page_put_key(out, Q2_M_DATA_SNAPSHOT, "one snapshot's alone");
	q2_page_put_key(out, Q2_M_DATA_SHARED, "shared");
	q2_buf_text(out, "</p>\n");
}

static void put_line(struct q2_buf *out, const struct q2_costs *costs, size_t i)
{
	const struct q2_cost *c = &costs->at[i];
	struct q2_snapshot_info info;

	if (!q2_survey_snapshot(costs->survey, i, &info))
		return;
	q2_buf_text(out, "<tr><td><bdi>");
	q2_xml_short_name(out, info.id, Q2_SHOWN_NAME);
	q2_buf_text(out, "</bdi></td><td><bdi>");
	q2_xml_short_name(out, info.name, Q2_SHOWN_NAME);
	q2_buf_text(out, "</bdi></td>");
	q2_page_put_size(out, c->referenced);
	q2_page_put_size(out, c->exclusive);
	q2_page_put_size(out, shared_of(c));
	q2_page_put_size(out, c->frees);
	q2_page_put_size(out, info.disk_size);
	q2_page_put_size(out, info.vm_state);
	q2_buf_text(out, "</tr>\n");
}

static void put_table(struct q2_buf *out, const struct q2_costs *costs)
{
	static const char *const heads[] = {
		"id",	  "name",	      "refers to", "exclusive",
		"shared", "frees if deleted", "disk",	   "VM state"};

	if (costs->n == 0) {
		q2_buf_text(out, "<p>There are no snapshots.</p>\n");
		return;
	}
	q2_buf_text(out, "<h2>Snapshots</h2>\n<div class=\"wide\"><table "
			 "class=\"sort\">\n<thead><tr>");
	for (unsigned i = 0; i < sizeof(heads) / sizeof(*heads); i++)
		q2_page_put_head(out, heads[i], i > 1);
	q2_buf_text(out, "</tr></thead>\n<tbody>\n");
	for (size_t i = 0; i < costs->n && i < Q2_TABLE_LINES; i++)
		put_line(out, costs, i);
	q2_buf_text(out, "</tbody>\n</table></div>\n");
	if (costs->n > Q2_TABLE_LINES)
		q2_buf_format(out, "<p>Only the first %u of %llu snapshots are "
			      "shown; --output=json has all.</p>\n",
			      Q2_TABLE_LINES, (unsigned long long)costs->n);
}

static void put_chosen(struct q2_buf *out, const struct q2_costs *costs)
{
	struct q2_snapshot_info info;

	q2_buf_text(out, "<p class=\"notes\">Deleting together");
	for (size_t i = 0; i < costs->n_chosen; i++) {
		if (!q2_survey_snapshot(costs->survey, costs->chosen[i], &info))
			continue;
		q2_buf_text(out, i ? ", <bdi>" : " <bdi>");
		q2_xml_short_name(out, info.name[0] ? info.name : info.id,
				  Q2_SHOWN_NAME);
		q2_buf_text(out, "</bdi>");
	}
	q2_buf_text(out, " frees ");
	q2_render_size(out, costs->together);
	q2_buf_format(out, " (%llu bytes).</p>\n",
		      (unsigned long long)costs->together);
}

void q2_costs_put_html(struct q2_buf *out, const struct q2_costs *c,
		       const char *filename)
{
	struct q2_buf facts = {0};

	q2_survey_put_facts(&facts, c->survey);
	q2_page_begin(out, "snapshots", filename, &facts);
	q2_buf_free(&facts);
	if (c->n > Q2_CHART_BARS)
		q2_buf_format(out, "<p class=\"scale\">The first %u of %llu "
			      "snapshots:</p>\n", Q2_CHART_BARS,
			      (unsigned long long)c->n);
	put_chart(out, c);
	if (c->n_chosen)
		put_chosen(out, c);
	put_table(out, c);
	q2_page_end(out);
}
