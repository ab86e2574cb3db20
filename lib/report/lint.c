/*
 * lint.c - what is to be known before an image is opened.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "report/report.h"

static void put_json(struct q2_json *j, const struct q2_lint_rule *rule,
		     const char *what, bool refused)
{
	q2_json_open_flat(j, NULL, '{');
	q2_json_text(j, "id", rule->id);
	q2_json_bool(j, "refused", refused);
	if (what)
		q2_json_text(j, "value", what);
	q2_json_text(j, "meaning", rule->meaning);
	q2_json_close(j, '{');
}

static void put_line(struct q2_buf *out, const struct q2_lint_rule *rule,
		     const char *what, bool refused)
{
	q2_buf_format(out, "  %-8s %s", refused ? "refused" : "note", rule->id);
	if (what) {
		q2_buf_text(out, " '");
		q2_buf_escape(out, what, strlen(what));
		q2_buf_char(out, '\'');
	}
	q2_buf_format(out, ": %s\n", rule->meaning);
}

/* ----------------------------------------------------------------- readers */
static void put_version(struct q2_buf *out, const struct q2_program *r)
{
	q2_buf_format(out, r->minor ? "%u.%u" : "%u", r->major, r->minor);
}

static void put_needs(struct q2_buf *out, unsigned needs)
{
	const char *comma = "";

	for (unsigned i = 0; q2_need_text(i); i++)
		if (needs & 1u << i) {
			q2_buf_format(out, "%s%s", comma, q2_need_text(i));
			comma = ", ";
		}
}

static void put_readers(struct q2_buf *out, unsigned needs)
{
	struct q2_program r;

	for (size_t i = 0; q2_program_at(i, needs, &r); i++) {
		q2_buf_format(out, "  %-8s %s", "reader", r.name);
		if (r.stopped_by) {
			q2_buf_text(out, ": no, because of ");
			put_needs(out, r.stopped_by);
		} else if (r.major || r.minor) {
			q2_buf_text(out, ": from version ");
			put_version(out, &r);
			q2_buf_text(out, " on");
		} else {
			q2_buf_text(out, ": yes");
		}
		q2_buf_char(out, '\n');
	}
}

static void put_json_readers(struct q2_json *j, unsigned needs)
{
	struct q2_program r;
	struct q2_buf b = {0};

	q2_json_open(j, "readers", '[');
	for (size_t i = 0; q2_program_at(i, needs, &r); i++) {
		q2_json_open_flat(j, NULL, '{');
		q2_json_text(j, "name", r.name);
		q2_json_bool(j, "reads", r.stopped_by == 0);
		if (r.stopped_by == 0 && (r.major || r.minor)) {
			b.n = 0;
			put_version(&b, &r);
			q2_json_bytes(j, "since", b.at, b.n);
		}
		q2_json_open(j, "stopped-by", '[');
		for (unsigned k = 0; q2_need_text(k); k++)
			if (r.stopped_by & 1u << k)
				q2_json_text(j, NULL, q2_need_text(k));
		q2_json_close(j, '[');
		q2_json_close(j, '{');
	}
	q2_json_close(j, '[');
	j->out->failed |= b.failed;
	q2_buf_free(&b);
}

enum q2_status q2_lint_report(const char *filename,
			      const struct q2_lint_rule *const *rules,
			      const char *const *what, const bool *refused,
			      size_t n, unsigned needs, enum q2_map_form form,
			      const struct q2_sink *sink)
{
	char store[8192];
	struct q2_buf out;
	struct q2_json j = {.out = &out,
			    .indent = form == Q2_MAP_JSON ? 2 : 0};
	bool any = false;

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	for (size_t i = 0; i < n; i++)
		any |= refused[i];
	if (form == Q2_MAP_TEXT) {
		q2_buf_escape(&out, filename, strlen(filename));
		q2_buf_text(&out, any ? ": refused\n" : ": accepted\n");
		for (size_t i = 0; i < n; i++)
			put_line(&out, rules[i], what[i], refused[i]);
		if (needs)
			put_readers(&out, needs);
		return q2_report_flush(&out);
	}
	q2_json_open(&j, NULL, '{');
	q2_json_u64(&j, "schema", 1);
	q2_json_text(&j, "filename", filename);
	q2_json_bool(&j, "accepted", !any);
	q2_json_open(&j, "notes", '[');
	for (size_t i = 0; i < n; i++)
		put_json(&j, rules[i], what[i], refused[i]);
	q2_json_close(&j, '[');
	if (needs)
		put_json_readers(&j, needs);
	q2_json_close(&j, '{');
	q2_buf_char(&out, '\n');
	return q2_report_flush(&out);
}
