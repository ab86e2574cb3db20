/*
 * measure.c - the size of a new image: for people, as JSON, and as qemu-img.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/report.h"

static void put_line(struct q2_buf *out, const char *what, uint64_t bytes)
{
	q2_buf_format(out, "%-17s", what);
	q2_render_size(out, bytes);
	q2_buf_format(out, " (%llu)\n", (unsigned long long)bytes);
}

static void put_text(struct q2_buf *out, const struct q2_measure *m)
{
	put_line(out, "required:", m->required);
	put_line(out, "fully allocated:", m->fully_allocated);
	if (m->has_bitmaps)
		put_line(out, "bitmaps:", m->bitmaps);
}

static void put_json(struct q2_json *j, const struct q2_measure *m,
		     const char *filename, bool qemu)
{
	q2_json_open(j, NULL, '{');
	if (!qemu)
		q2_json_u64(j, "schema", 1);
	if (!qemu && filename)
		q2_json_text(j, "filename", filename);
	if (m->has_bitmaps)
		q2_json_u64(j, "bitmaps", m->bitmaps);
	q2_json_u64(j, "required", m->required);
	q2_json_u64(j, "fully-allocated", m->fully_allocated);
	q2_json_close(j, '{');
	q2_buf_char(j->out, '\n');
}

enum q2_status q2_measure_report(const struct q2_measure *m,
				 const char *filename, enum q2_doc_form form,
				 const struct q2_sink *sink)
{
	char store[2048];
	struct q2_buf out;
	struct q2_json j = {.out = &out,
			    .indent = form == Q2_DOC_QEMU ? 4 : 2};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (form == Q2_DOC_TEXT)
		put_text(&out, m);
	else
		put_json(&j, m, filename, form == Q2_DOC_QEMU);
	return q2_report_flush(&out);
}
