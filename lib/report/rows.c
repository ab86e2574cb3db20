/*
 * rows.c - a guest's disk, row by row: for people, as JSON, and as qemu-img.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "report/survey.h"

#define CONTENTS (Q2_C_UNREADABLE + 1)
#define STORE 65536u

struct q2_rows_report {
	const struct q2_disk *disk;
	enum q2_rows_form form;
	uint64_t start;
	struct q2_buf out;
	struct q2_json j;
	uint64_t rows;
	uint64_t sum[CONTENTS];	  /* bytes of the guest's disk */
	uint64_t count[CONTENTS]; /* rows */
	uint64_t stored;	  /* compressed bytes, each up to a sector's end */
	bool layers;		  /* there are several */
	char store[STORE];
};

static void put_layers(struct q2_rows_report *r)
{
	struct q2_disk_layer l;

	q2_json_open(&r->j, "layers", '[');
	for (uint32_t i = 0; q2_disk_layer(r->disk, i, &l); i++) {
		q2_json_open_flat(&r->j, NULL, '{');
		q2_json_u64(&r->j, "depth", i);
		q2_json_text(&r->j, "filename", l.path);
		q2_json_text(&r->j, "format", l.raw ? "raw" : "qcow2");
		q2_json_u64(&r->j, "virtual-size", l.size);
		if (!l.raw)
			q2_json_u64(&r->j, "cluster-size", l.cluster_size);
		q2_json_bool(&r->j, "encrypted", l.encrypted);
		q2_json_close(&r->j, '{');
	}
	q2_json_close(&r->j, '[');
	q2_json_bool(&r->j, "backing-not-opened", q2_disk_cut(r->disk));
}

static void put_head(struct q2_rows_report *r)
{
	struct q2_disk_layer l;

	if (!q2_disk_layer(r->disk, 0, &l))
		return;
	if (r->form == Q2_ROWS_JSON) {
		q2_json_open(&r->j, NULL, '{');
		q2_json_u64(&r->j, "schema", 1);
		q2_json_text(&r->j, "filename", l.path);
		q2_json_u64(&r->j, "virtual-size", l.size);
		put_layers(r);
		q2_json_open(&r->j, "extents", '[');
		return;
	}
	q2_buf_escape(&r->out, l.path, strlen(l.path));
	q2_buf_text(&r->out, ": ");
	q2_render_exact(&r->out, l.size);
	q2_buf_text(&r->out, q2_disk_cut(r->disk) ?
		    ", over a backing file that was not opened (--chain)\n" :
		    "\n");
	q2_buf_format(&r->out, "%16s %14s  %-14s %16s%s\n", "start", "length",
		      "state", "host offset", r->layers ? "  file" : "");
}

enum q2_status q2_rows_begin(const struct q2_disk *disk, enum q2_rows_form form,
			     uint64_t start, const struct q2_sink *sink,
			     struct q2_rows_report **report,
			     struct q2_err *err)
{
	struct q2_rows_report *r = calloc(1, sizeof(*r));
	struct q2_disk_layer l;

	*report = NULL;
	if (r == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	r->disk = disk;
	r->form = form;
	r->start = start;
	r->layers = q2_disk_layer(disk, 1, &l);
	r->j = (struct q2_json){.out = &r->out,
				.indent = form == Q2_ROWS_JSON ? 2 : 0};
	q2_buf_pipe(&r->out, r->store, sizeof(r->store), sink->write,
		    sink->ctx);
	if (form == Q2_ROWS_JSON || form == Q2_ROWS_TEXT)
		put_head(r);
	else if (form == Q2_ROWS_QEMU)
		q2_buf_char(&r->out, '[');
	*report = r;
	return Q2_OK;
}

static void add_text(struct q2_rows_report *r, const struct q2_row *row)
{
	char length[32] = "", host[32] = "-";
	struct q2_disk_layer l;
	struct q2_buf b;

	q2_buf_fix(&b, length, sizeof(length) - 1);
	q2_render_exact(&b, row->length);
	if (row->flags & Q2_ROW_HOST) {
		memset(host, 0, sizeof(host));
		q2_buf_fix(&b, host, sizeof(host) - 1);
		q2_buf_hex(&b, row->host);
	}
	q2_buf_format(&r->out, "%#16llx %14s  %-14s %16s",
		      (unsigned long long)row->guest, length,
		      q2_content_text(row->content), host);
	if (r->layers && q2_disk_layer(r->disk, row->depth, &l)) {
		q2_buf_text(&r->out, "  ");
		q2_buf_escape(&r->out, l.path, strlen(l.path));
	}
	if (row->flags & Q2_ROW_HOLE && row->content == Q2_C_DATA)
		q2_buf_text(&r->out, "  (a hole: zeros)");
	if (row->flags & Q2_ROW_BELOW)
		q2_buf_text(&r->out, "  (in the backing file, if anywhere)");
	if (row->problem)
		q2_buf_format(&r->out, "  %s", row->problem->id);
	q2_buf_char(&r->out, '\n');
}

static void add_json(struct q2_rows_report *r, const struct q2_row *row)
{
	struct q2_json *j = &r->j;

	q2_json_open_flat(j, NULL, '{');
	q2_json_u64(j, "start", row->guest);
	q2_json_u64(j, "length", row->length);
	q2_json_u64(j, "depth", row->depth);
	q2_json_text(j, "state", q2_content_text(row->content));
	if (row->flags & Q2_ROW_HOST)
		q2_json_u64(j, "offset", row->host);
	if (row->content == Q2_C_COMPRESSED)
		q2_json_u64(j, "compressed-length", row->stored);
	if (row->flags & Q2_ROW_ENCRYPTED)
		q2_json_bool(j, "encrypted", true);
	if (row->flags & Q2_ROW_HOLE)
		q2_json_bool(j, "hole", true);
	if (row->flags & Q2_ROW_BELOW)
		q2_json_bool(j, "maybe-in-backing", true);
	if (row->problem)
		q2_json_text(j, "problem", row->problem->id);
	q2_json_close(j, '{');
	if (r->form == Q2_ROWS_NDJSON) {
		q2_buf_char(&r->out, '\n');
		j->begun = false;
	}
}

/* Written by hand: this form is for disks of millions of rows. */
static void add_qemu(struct q2_rows_report *r, const struct q2_row *row)
{
	static const char *const flags[] = {
		" \"present\": false, \"zero\": false, \"data\": false",
		" \"present\": false, \"zero\": true, \"data\": false",
		" \"present\": true, \"zero\": true, \"data\": false",
		" \"present\": true, \"zero\": false, \"data\": true",
		" \"present\": true, \"zero\": true, \"data\": true",
	};
	unsigned i = 0;

	switch (row->content) {
	case Q2_C_NONE:
		i = row->flags & Q2_ROW_BELOW ? 0 : 1;
		break;
	case Q2_C_ZERO:
	case Q2_C_ZERO_ALLOC:
		i = 2;
		break;
	case Q2_C_DATA:
	case Q2_C_COMPRESSED:
		i = row->flags & Q2_ROW_HOLE ? 4 : 3;
		break;
	case Q2_C_UNREADABLE:
		break;
	}
	q2_buf_text(&r->out, r->rows ? ",\n{ \"start\": " : "{ \"start\": ");
	q2_buf_u64(&r->out, row->guest);
	q2_buf_text(&r->out, ", \"length\": ");
	q2_buf_u64(&r->out, row->length);
	q2_buf_text(&r->out, ", \"depth\": ");
	q2_buf_u64(&r->out, row->depth);
	q2_buf_char(&r->out, ',');
	q2_buf_text(&r->out, flags[i]);
	if (row->flags & Q2_ROW_HOST && row->content != Q2_C_UNREADABLE) {
		q2_buf_text(&r->out, ", \"offset\": ");
		q2_buf_u64(&r->out, row->host);
	}
	q2_buf_char(&r->out, '}');
}

enum q2_status q2_rows_add(void *report, const struct q2_row *row)
{
	struct q2_rows_report *r = report;

	r->sum[row->content] += row->length;
	r->count[row->content]++;
	if (row->content == Q2_C_COMPRESSED)
		r->stored += row->stored;
	if (r->form == Q2_ROWS_QEMU)
		add_qemu(r, row);
	else if (r->form == Q2_ROWS_TEXT)
		add_text(r, row);
	else
		add_json(r, row);
	r->rows++;
	return r->out.failed ? Q2_E_IO : Q2_OK;
}

void q2_disk_put_damage(struct q2_buf *out, const struct q2_disk *disk)
{
	const char *before = "It is damaged; qcow2-fsck tells more:  ";

	for (size_t i = 0; q2_problem_at(i); i++)
		if (q2_problem_at(i)->severity == Q2_CORRUPT &&
		    q2_disk_found(disk, i)) {
			q2_buf_format(out, "%s%s", before,
				      q2_problem_at(i)->id);
			before = ", ";
		}
	if (*before == ',')
		q2_buf_char(out, '\n');
}

static void put_problems(struct q2_rows_report *r)
{
	q2_json_open_flat(&r->j, "problems", '[');
	for (size_t i = 0; q2_problem_at(i); i++)
		if (q2_problem_at(i)->severity == Q2_CORRUPT &&
		    q2_disk_found(r->disk, i))
			q2_json_text(&r->j, NULL, q2_problem_at(i)->id);
	q2_json_close(&r->j, '[');
}

static void put_sums(struct q2_rows_report *r)
{
	struct q2_json *j = &r->j;

	q2_json_open(j, "summary", '{');
	for (unsigned i = 0; i < CONTENTS; i++) {
		q2_json_open_flat(j, q2_content_text((enum q2_content)i), '{');
		q2_json_u64(j, "bytes", r->sum[i]);
		q2_json_u64(j, "extents", r->count[i]);
		if (i == Q2_C_COMPRESSED)
			q2_json_u64(j, "compressed-bytes", r->stored);
		q2_json_close(j, '{');
	}
	q2_json_close(j, '{');
}

static void put_end(struct q2_rows_report *r)
{
	switch (r->form) {
	case Q2_ROWS_QEMU:
		/* A disk without bytes, or a start behind its end. */
		if (r->rows == 0)
			q2_buf_format(&r->out,
				      "{ \"start\": %llu, \"length\": 0, "
				      "\"depth\": 0, \"present\": false, "
				      "\"zero\": false, \"data\": false}",
				      (unsigned long long)r->start);
		q2_buf_text(&r->out, "]\n");
		break;
	case Q2_ROWS_JSON:
		q2_json_close(&r->j, '[');
		put_sums(r);
		put_problems(r);
		q2_json_close(&r->j, '{');
		q2_buf_char(&r->out, '\n');
		break;
	case Q2_ROWS_NDJSON:
		q2_json_open(&r->j, NULL, '{');
		put_sums(r);
		put_problems(r);
		q2_json_close(&r->j, '{');
		q2_buf_char(&r->out, '\n');
		break;
	case Q2_ROWS_TEXT:
		for (unsigned i = 0; i < CONTENTS; i++) {
			if (r->count[i] == 0)
				continue;
			q2_buf_format(&r->out, "%s: ",
				      q2_content_text((enum q2_content)i));
			q2_render_size(&r->out, r->sum[i]);
			q2_buf_format(&r->out, " in %llu extent%s\n",
				      (unsigned long long)r->count[i],
				      r->count[i] == 1 ? "" : "s");
		}
		q2_disk_put_damage(&r->out, r->disk);
		break;
	}
}

enum q2_status q2_rows_end(struct q2_rows_report *report, bool complete,
			   uint64_t *unreadable)
{
	enum q2_status st;

	if (report == NULL)
		return Q2_OK;
	if (complete)
		put_end(report);
	st = q2_report_flush(&report->out);
	if (unreadable)
		*unreadable = report->sum[Q2_C_UNREADABLE];
	free(report);
	return st;
}
