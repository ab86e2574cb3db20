/*
 * space.c - where the bytes of a file went.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/page.h"

static const char *const shares[Q2_SHARE_COUNT] = {
	[Q2_SHARE_ACTIVE] = "active",
	[Q2_SHARE_SNAPSHOT] = "snapshots",
	[Q2_SHARE_BOTH] = "shared",
};

void q2_space_add(struct q2_space *space, const struct q2_use_row *row)
{
	enum q2_share share = Q2_SHARE_ACTIVE;
	struct q2_space_part *p;

	if (row->snapshot != Q2_NO_SNAPSHOT)
		share = row->active ? Q2_SHARE_BOTH : Q2_SHARE_SNAPSHOT;
	p = &space->part[row->use][share];
	p->bytes += row->length;
	p->stored += row->stored;
	p->rows++;
}

static struct q2_space_part sum_of(const struct q2_space *s, enum q2_use use)
{
	struct q2_space_part sum = {0};

	for (unsigned i = 0; i < Q2_SHARE_COUNT; i++) {
		sum.bytes += s->part[use][i].bytes;
		sum.stored += s->part[use][i].stored;
		sum.rows += s->part[use][i].rows;
	}
	return sum;
}

/* Header, tables and refcounts: everything that is neither a guest's nor free. */
static bool is_metadata(enum q2_use use)
{
	return use >= Q2_U_HEADER && use < Q2_U_DATA;
}

struct totals {
	struct q2_space_part all;
	struct q2_space_part metadata;
	struct q2_space_part compressed;
};

static struct totals totals_of(const struct q2_space *s)
{
	struct totals t = {0};

	for (unsigned use = 0; use < Q2_U_COUNT; use++) {
		struct q2_space_part p = sum_of(s, (enum q2_use)use);

		t.all.bytes += p.bytes;
		t.all.stored += p.stored;
		t.all.rows += p.rows;
		if (is_metadata((enum q2_use)use))
			t.metadata.bytes += p.bytes;
	}
	t.compressed = sum_of(s, Q2_U_COMPRESSED);
	return t;
}

static void put_part(struct q2_json *j, const char *key,
		     const struct q2_space_part *p)
{
	q2_json_open_flat(j, key, '{');
	q2_json_u64(j, "bytes", p->bytes);
	q2_json_u64(j, "stored", p->stored);
	q2_json_u64(j, "ranges", p->rows);
	q2_json_close(j, '{');
}

static void put_json(struct q2_json *j, const struct q2_survey *survey,
		     const char *filename, const struct q2_space *s)
{
	struct totals t = totals_of(s);

	q2_json_open(j, NULL, '{');
	q2_survey_put_head(j, survey, filename);
	q2_json_open(j, "space", '{');
	for (unsigned use = 0; use < Q2_U_COUNT; use++) {
		q2_json_open(j, q2_use_text((enum q2_use)use), '{');
		for (unsigned i = 0; i < Q2_SHARE_COUNT; i++)
			put_part(j, shares[i], &s->part[use][i]);
		q2_json_close(j, '{');
	}
	q2_json_close(j, '{');
	put_part(j, "total", &t.all);
	q2_json_u64(j, "metadata", t.metadata.bytes);
	q2_json_u64(j, "holes", t.all.bytes - t.all.stored);
	q2_json_u64(j, "tail", s->tail);
	q2_json_open_flat(j, "active-disk", '{');
	q2_json_u64(j, "data", s->data);
	q2_json_u64(j, "data-extents", s->extents);
	q2_json_u64(j, "seeks", s->seeks);
	q2_json_u64(j, "compressed", s->compressed);
	q2_json_close(j, '{');
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
	q2_buf_format(out, " %11s", bytes ? text : "-");
}

static void put_percent(struct q2_buf *out, uint64_t part, uint64_t whole)
{
	double share = whole ? 100.0 * (double)part / (double)whole : 0;

	q2_buf_format(out, " %6.1f %%", share);
}

static void put_table(struct q2_buf *out, const struct q2_space *s,
		      const struct totals *t)
{
	q2_buf_format(out, "%-17s %11s %8s %11s %11s %11s %11s\n", "use", "bytes",
		      "", shares[0], shares[1], shares[2], "in holes");
	for (unsigned use = 0; use < Q2_U_COUNT; use++) {
		struct q2_space_part sum = sum_of(s, (enum q2_use)use);

		if (sum.bytes == 0)
			continue;
		q2_buf_format(out, "%-17s", q2_use_text((enum q2_use)use));
		put_size(out, sum.bytes);
		put_percent(out, sum.bytes, t->all.bytes);
		for (unsigned i = 0; i < Q2_SHARE_COUNT; i++)
			put_size(out, s->part[use][i].bytes);
		put_size(out, sum.bytes - sum.stored);
		q2_buf_char(out, '\n');
	}
	q2_buf_format(out, "%-17s", "total");
	put_size(out, t->all.bytes);
	put_percent(out, t->all.bytes, t->all.bytes);
	q2_buf_format(out, "%36s", "");
	put_size(out, t->all.bytes - t->all.stored);
	q2_buf_char(out, '\n');
}

static void put_line(struct q2_buf *out, const char *what, uint64_t bytes)
{
	q2_buf_format(out, "%s: ", what);
	q2_render_size(out, bytes);
	q2_buf_char(out, '\n');
}

/* What the table does not tell. */
static void put_notes(struct q2_buf *out, const struct q2_space *s)
{
	struct totals t = totals_of(s);

	put_line(out, "metadata", t.metadata.bytes);
	if (s->tail)
		put_line(out, "behind the last cluster in use", s->tail);
	if (s->extents) {
		q2_buf_format(out, "the active disk's plain data lie in %llu "
			      "runs of ", (unsigned long long)s->extents);
		q2_render_size(out, s->data / s->extents);
		q2_buf_format(out, " on average; reading them in order takes "
			      "%llu seeks\n", (unsigned long long)s->seeks);
	}
	if (s->compressed && t.compressed.bytes) {
		q2_buf_text(out, "its compressed clusters hold ");
		q2_render_size(out, s->compressed);
		q2_buf_text(out, " of the guest's; all compressed data take ");
		q2_render_size(out, t.compressed.bytes);
		q2_buf_char(out, '\n');
	}
}

static void put_text(struct q2_buf *out, const struct q2_survey *survey,
		     const char *filename, const struct q2_space *s)
{
	struct totals t = totals_of(s);

	q2_survey_put_title(out, survey, filename);
	put_table(out, s, &t);
	put_notes(out, s);
}

static void put_html(struct q2_buf *out, const struct q2_survey *survey,
		     const char *filename, const struct q2_space *s)
{
	struct q2_buf notes = {0};

	put_notes(&notes, s);
	q2_space_put_html(out, survey, filename, s, &notes);
	q2_buf_free(&notes);
}

enum q2_status q2_space_report(const struct q2_survey *survey,
			       const char *filename,
			       const struct q2_space *space,
			       enum q2_map_form form,
			       const struct q2_sink *sink)
{
	char store[4096];
	struct q2_buf out;
	struct q2_json j = {.out = &out,
			    .indent = form == Q2_MAP_JSON ? 2 : 0};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (form == Q2_MAP_TEXT)
		put_text(&out, survey, filename, space);
	else if (form == Q2_MAP_HTML)
		put_html(&out, survey, filename, space);
	else
		put_json(&j, survey, filename, space);
	return q2_report_flush(&out);
}
