/*
 * costs.c - what snapshots cost.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "report/page.h"

static void put_cost(struct q2_json *j, const struct q2_cost *c)
{
	q2_json_u64(j, "referenced", c->referenced);
	q2_json_u64(j, "exclusive", c->exclusive);
	q2_json_u64(j, "shared", c->referenced - (c->exclusive < c->referenced ?
			c->exclusive : c->referenced));
}

static void put_chosen(struct q2_json *j, const struct q2_costs *c)
{
	struct q2_snapshot_info info;

	q2_json_open(j, "deleting", '{');
	q2_json_open_flat(j, "ids", '[');
	for (size_t i = 0; i < c->n_chosen; i++)
		if (q2_survey_snapshot(c->survey, c->chosen[i], &info))
			q2_json_text(j, NULL, info.id);
	q2_json_close(j, '[');
	q2_json_u64(j, "frees", c->together);
	q2_json_close(j, '{');
}

static void put_json(struct q2_json *j, const struct q2_costs *c,
		     const char *filename)
{
	struct q2_snapshot_info info;

	q2_json_open(j, NULL, '{');
	q2_survey_put_head(j, c->survey, filename);
	q2_json_open_flat(j, "active-disk", '{');
	put_cost(j, c->active);
	q2_json_close(j, '{');
	q2_json_open(j, "snapshots", '[');
	for (size_t i = 0; i < c->n; i++) {
		if (!q2_survey_snapshot(c->survey, i, &info))
			break;
		q2_json_open_flat(j, NULL, '{');
		q2_json_text(j, "id", info.id);
		q2_json_text(j, "name", info.name);
		q2_json_u64(j, "virtual-size", info.disk_size);
		q2_json_u64(j, "vm-state-size", info.vm_state);
		put_cost(j, &c->at[i]);
		q2_json_u64(j, "frees-if-deleted", c->at[i].frees);
		q2_json_close(j, '{');
	}
	q2_json_close(j, '[');
	if (c->n_chosen)
		put_chosen(j, c);
	q2_json_close(j, '{');
	q2_buf_char(j->out, '\n');
}

static void put_size(struct q2_buf *out, uint64_t bytes)
{
	char text[32];
	struct q2_buf b;

	q2_buf_fix(&b, text, sizeof(text) - 1);
	q2_render_size(&b, bytes);
	text[b.n < sizeof(text) ? b.n : sizeof(text) - 1] = '\0';
	q2_buf_format(out, " %11s", text);
}

static void put_line(struct q2_buf *out, const struct q2_cost *c)
{
	put_size(out, c->referenced);
	put_size(out, c->exclusive);
}

static void put_text(struct q2_buf *out, const struct q2_costs *c,
		     const char *filename)
{
	struct q2_snapshot_info info;

	q2_survey_put_title(out, c->survey, filename);
	q2_buf_format(out, "%-8s %11s %11s %11s  %s\n", "id", "refers to",
		      "exclusive", "frees", "name");
	for (size_t i = 0; i < c->n; i++) {
		size_t start = out->n;

		if (!q2_survey_snapshot(c->survey, i, &info))
			break;
		q2_buf_escape(out, info.id, strlen(info.id));
		q2_buf_fill(out, ' ', out->n - start < 8 && out->n > start ?
					      8 - (out->n - start) : 1);
		put_line(out, &c->at[i]);
		put_size(out, c->at[i].frees);
		q2_buf_text(out, "  ");
		q2_buf_escape(out, info.name, strlen(info.name));
		q2_buf_char(out, '\n');
	}
	q2_buf_format(out, "%-8s", "active");
	put_line(out, c->active);
	q2_buf_char(out, '\n');
	if (c->n_chosen == 0)
		return;
	q2_buf_text(out, "deleting the chosen ones together frees ");
	q2_render_size(out, c->together);
	q2_buf_format(out, " (%llu)\n", (unsigned long long)c->together);
}

enum q2_status q2_costs_report(const struct q2_survey *survey,
			       const char *filename,
			       const struct q2_cost *costs, size_t n_costs,
			       const struct q2_cost *active,
			       const size_t *chosen, size_t n,
			       uint64_t together, enum q2_map_form form,
			       const struct q2_sink *sink)
{
	struct q2_costs c = {survey, costs, n_costs, active, chosen, n, together};
	char store[16384];
	struct q2_buf out;
	struct q2_json j = {.out = &out,
			    .indent = form == Q2_MAP_JSON ? 2 : 0};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (form == Q2_MAP_TEXT)
		put_text(&out, &c, filename);
	else if (form == Q2_MAP_HTML)
		q2_costs_put_html(&out, &c, filename);
	else
		put_json(&j, &c, filename);
	return q2_report_flush(&out);
}
