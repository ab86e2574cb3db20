/*
 * layout.c - what each part of a file is for, row by row; and one address.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>

#include "base/err.h"
#include "report/survey.h"

#define STORE 65536u

struct q2_layout_report {
	const struct q2_survey *survey;
	enum q2_map_form form;
	struct q2_buf out;
	struct q2_json j;
	char store[STORE];
};

enum q2_status q2_layout_begin(const struct q2_survey *survey,
			       const char *filename, enum q2_map_form form,
			       const struct q2_sink *sink,
			       struct q2_layout_report **report,
			       struct q2_err *err)
{
	struct q2_layout_report *r = calloc(1, sizeof(*r));

	*report = r;
	if (r == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	r->survey = survey;
	r->form = form;
	r->j = (struct q2_json){.out = &r->out,
				.indent = form == Q2_MAP_JSON ? 2 : 0};
	q2_buf_pipe(&r->out, r->store, sizeof(r->store), sink->write,
		    sink->ctx);
	if (form == Q2_MAP_JSON) {
		q2_json_open(&r->j, NULL, '{');
		q2_survey_put_head(&r->j, survey, filename);
		q2_json_open(&r->j, "layout", '[');
	} else if (form == Q2_MAP_TEXT) {
		q2_survey_put_title(&r->out, survey, filename);
		q2_buf_format(&r->out, "%16s %14s  %-17s %16s  %s\n",
			      "host offset", "length", "use", "guest offset",
			      "of");
	}
	return Q2_OK;
}

static void put_row(struct q2_json *j, const struct q2_survey *s,
		    const struct q2_use_row *row)
{
	q2_json_u64(j, "host", row->host);
	q2_json_u64(j, "length", row->length);
	q2_json_text(j, "use", q2_use_text(row->use));
	q2_survey_put_owner(j, s, row->active, row->snapshot);
	if (row->guest != Q2_NO_GUEST)
		q2_json_u64(j, "guest", row->guest);
	q2_json_u64(j, "stored", row->stored);
}

static void put_line(struct q2_buf *out, const struct q2_survey *s,
		     const struct q2_use_row *row)
{
	char length[32] = "", guest[32] = "-";
	struct q2_buf b;

	q2_buf_fix(&b, length, sizeof(length) - 1);
	q2_render_exact(&b, row->length);
	if (row->guest != Q2_NO_GUEST) {
		guest[0] = '\0';
		q2_buf_fix(&b, guest, sizeof(guest));
		q2_buf_format(&b, "%#llx", (unsigned long long)row->guest);
		guest[b.n < sizeof(guest) ? b.n : sizeof(guest) - 1] = '\0';
	}
	q2_buf_format(out, "%#16llx %14s  %-17s %16s  ",
		      (unsigned long long)row->host, length,
		      q2_use_text(row->use), guest);
	q2_survey_put_whose(out, s, row->active, row->snapshot);
	if (row->stored == 0)
		q2_buf_text(out, "  (a hole)");
	else if (row->stored < row->length)
		q2_buf_text(out, "  (with holes)");
	q2_buf_char(out, '\n');
}

enum q2_status q2_layout_add(void *report, const struct q2_use_row *row)
{
	struct q2_layout_report *r = report;

	if (r->form == Q2_MAP_TEXT) {
		put_line(&r->out, r->survey, row);
	} else {
		q2_json_open_flat(&r->j, NULL, '{');
		put_row(&r->j, r->survey, row);
		q2_json_close(&r->j, '{');
	}
	if (r->form == Q2_MAP_NDJSON) {
		q2_buf_char(&r->out, '\n');
		r->j.begun = false;
	}
	return r->out.failed ? Q2_E_IO : Q2_OK;
}

enum q2_status q2_layout_end(struct q2_layout_report *report, bool complete)
{
	enum q2_status st;

	if (report == NULL)
		return Q2_OK;
	if (complete && report->form == Q2_MAP_JSON) {
		q2_json_close(&report->j, '[');
		q2_json_close(&report->j, '{');
		q2_buf_char(&report->out, '\n');
	}
	st = q2_report_flush(&report->out);
	free(report);
	return st;
}

/* ------------------------------------------------------------- one address */
static void put_references(struct q2_json *j, const struct q2_survey *s,
			   const struct q2_reference *r, size_t n)
{
	q2_json_open(j, "references", '[');
	for (size_t i = 0; i < n; i++, r++) {
		q2_json_open_flat(j, NULL, '{');
		q2_survey_put_owner(j, s, r->active, r->snapshot);
		q2_json_u64(j, "guest", r->guest);
		q2_json_u64(j, "host", r->host);
		q2_json_u64(j, "length", r->length);
		q2_json_text(j, "as", r->table	     ? "l2-table" :
				      r->compressed ? "compressed" : "data");
		q2_json_close(j, '{');
	}
	q2_json_close(j, '[');
}

enum q2_status q2_address_report(const struct q2_survey *survey,
				 const char *filename,
				 const struct q2_use_row *row,
				 const struct q2_reference *references,
				 size_t n, enum q2_map_form form,
				 const struct q2_sink *sink)
{
	char store[16384];
	struct q2_buf out;
	struct q2_json j = {.out = &out,
			    .indent = form == Q2_MAP_JSON ? 2 : 0};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (form != Q2_MAP_TEXT) {
		q2_json_open(&j, NULL, '{');
		q2_survey_put_head(&j, survey, filename);
		put_row(&j, survey, row);
		put_references(&j, survey, references, n);
		q2_json_close(&j, '{');
		q2_buf_char(&out, '\n');
		return q2_report_flush(&out);
	}
	q2_survey_put_title(&out, survey, filename);
	put_line(&out, survey, row);
	for (size_t i = 0; i < n; i++) {
		const struct q2_reference *r = &references[i];

		q2_buf_text(&out, "  ");
		q2_survey_put_whose(&out, survey, r->active, r->snapshot);
		q2_buf_format(&out, ": guest %#llx, %s",
			      (unsigned long long)r->guest,
			      r->table	     ? "an L2 table" :
			      r->compressed ? "compressed" : "data");
		q2_buf_format(&out, " at %#llx, %llu bytes\n",
			      (unsigned long long)r->host,
			      (unsigned long long)r->length);
	}
	return q2_report_flush(&out);
}
