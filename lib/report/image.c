/*
 * image.c - what a check came to, as JSON: our own object and qemu-img's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/report.h"

static void put_counts(struct q2_json *j, const struct q2_report *r)
{
	q2_json_open(j, "counts", '{');
	q2_json_u64(j, "corruptions", r->result.corruptions);
	q2_json_u64(j, "leaks", r->result.leaks);
	q2_json_u64(j, "advice", r->result.advice);
	q2_json_open(j, "by-problem", '{');
	for (size_t i = 0; i < r->groups; i++)
		if (r->group[i].findings > 0)
			q2_json_u64(j, q2_problem_at(i)->id, r->group[i].count);
	q2_json_close(j, '{');
	q2_json_close(j, '{');
}

/* Facts that only a usable header can tell. */
static void put_geometry(struct q2_json *j, const struct q2_check_result *c)
{
	if (c->cluster_bits == 0 || c->cluster_bits > 63)
		return;
	q2_json_u64(j, "version", c->version);
	q2_json_u64(j, "cluster-size", (uint64_t)1 << c->cluster_bits);
	q2_json_u64(j, "virtual-size", c->virtual_size);
	q2_json_u64(j, "refcount-bits", c->refcount_bits);
	q2_json_u64(j, "snapshots", c->snapshots);
	q2_json_u64(j, "bitmaps", c->bitmaps);
	q2_json_u64(j, "total-clusters", c->total_clusters);
	q2_json_u64(j, "allocated-clusters", c->allocated_clusters);
	q2_json_u64(j, "fragmented-clusters", c->fragmented_clusters);
	q2_json_u64(j, "compressed-clusters", c->compressed_clusters);
	q2_json_u64(j, "image-end-offset", c->image_end_offset);
}

/* The members that say everything but the findings themselves. */
static void put_summary(struct q2_json *j, const struct q2_report *r)
{
	const struct q2_check_result *c = &r->result;
	const char *error = q2_report_error(r);

	q2_json_name(j, "filename", "filename-bytes", r->filename);
	if (r->has_result)
		q2_json_text(j, "format", c->is_raw ? "raw" : "qcow2");
	if (!q2_report_unchecked(r))
		q2_json_text(j, "verdict",
			     q2_verdict_text(q2_report_verdict(r)));
	if (error != NULL)
		q2_json_text(j, "error", error);
	if (r->has_repair)
		q2_put_repair(j, &r->repair);
	if (!r->has_result)
		return;
	q2_json_bool(j, "in-use", c->in_use != Q2_USE_NONE);
	if (c->in_use != Q2_USE_NONE)
		q2_json_text(j, "used-by", c->in_use == Q2_USE_WRITER
						   ? "writer"
						   : "reader");
	q2_json_bool(j, "partial", c->partial || error != NULL);
	put_counts(j, r);
	q2_json_u64(j, "file-size", c->file_size);
	put_geometry(j, c);
	q2_json_u64(j, "check-errors", c->check_errors);
}

static void put_findings(struct q2_json *j, const struct q2_report *r)
{
	if (q2_report_unchecked(r))
		return;
	q2_json_open(j, "findings", '[');
	for (size_t i = 0; i < r->groups; i++) {
		struct q2_cursor c = {r->group[i].first, 0};
		struct q2_finding f;

		while (q2_cursor_next(&c, q2_problem_at(i), &f)) {
			q2_json_open_flat(j, NULL, '{');
			q2_put_finding(j, &f);
			q2_json_close(j, '{');
		}
	}
	q2_json_close(j, '[');
	q2_json_u64(j, "omitted-findings", q2_report_omitted(r));
}

static void put_unless_zero(struct q2_json *j, const char *key, uint64_t value)
{
	if (value != 0)
		q2_json_u64(j, key, value);
}

/* QEMU leaves out what is zero, except for check-errors. */
static void put_qemu(struct q2_json *j, const struct q2_report *r)
{
	const struct q2_check_result *c = &r->result;

	put_unless_zero(j, "image-end-offset", c->image_end_offset);
	put_unless_zero(j, "total-clusters", c->total_clusters);
	q2_json_u64(j, "check-errors", c->check_errors);
	put_unless_zero(j, "corruptions", c->corruptions);
	put_unless_zero(j, "leaks", c->leaks);
	put_unless_zero(j, "allocated-clusters", c->allocated_clusters);
	put_unless_zero(j, "fragmented-clusters", c->fragmented_clusters);
	put_unless_zero(j, "compressed-clusters", c->compressed_clusters);
	q2_json_text(j, "filename", r->filename);
	q2_json_text(j, "format", c->is_raw ? "raw" : "qcow2");
}

enum q2_status q2_report_json(const struct q2_report *report,
			      enum q2_json_form form,
			      const struct q2_sink *sink)
{
	char store[16384];
	struct q2_buf out;
	struct q2_json j = {.out = &out};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	switch (form) {
	case Q2_JSON_IMAGE:
		j.indent = 2;
		j.depth = 2;
		q2_json_open(&j, NULL, '{');
		put_summary(&j, report);
		put_findings(&j, report);
		q2_json_close(&j, '{');
		break;
	case Q2_JSON_SUMMARY:
		q2_json_open(&j, NULL, '{');
		q2_json_open(&j, "summary", '{');
		put_summary(&j, report);
		q2_json_close(&j, '{');
		q2_json_close(&j, '{');
		q2_buf_char(&out, '\n');
		break;
	case Q2_JSON_QEMU:
		j.indent = 4;
		q2_json_open(&j, NULL, '{');
		put_qemu(&j, report);
		q2_json_close(&j, '{');
		q2_buf_char(&out, '\n');
		break;
	}
	return q2_report_flush(&out);
}
