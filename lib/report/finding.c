/*
 * finding.c - one finding as JSON, and what the catalogue says about a problem.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/report.h"

#include <string.h>

/* The members that are plain numbers, in the order in which they appear. */
static const struct member {
	unsigned field;
	const char *key;
} members[] = {
	{Q2_F_HOST, "host-offset"},
	{Q2_F_GUEST, "guest-offset"},
	{Q2_F_LENGTH, "length"},
	{Q2_F_OTHER, "other-guest-offset"},
	{Q2_F_FOUND, "found"},
	{Q2_F_EXPECTED, "expected"},
	{Q2_F_COUNT, "count"},
	{Q2_F_L1, "l1-index"},
	{Q2_F_L2, "l2-index"},
	{Q2_F_INDEX, "index"},
};

#define MEMBERS (sizeof(members) / sizeof(members[0]))

static void put_message(struct q2_json *j, const struct q2_finding *f)
{
	char text[1024];
	size_t n = q2_finding_message(f, text, sizeof(text));

	q2_json_bytes(j, "message", text,
		      n < sizeof(text) ? n : sizeof(text) - 1);
}

void q2_put_finding(struct q2_json *j, const struct q2_finding *f)
{
	const struct q2_problem *p = f->problem;

	q2_json_text(j, "id", p->id);
	q2_json_u64(j, "number", p->number);
	q2_json_text(j, "severity", q2_severity_text(p->severity));
	q2_json_text(j, "fix", q2_fix_text(p->fix));
	for (size_t i = 0; i < MEMBERS; i++) {
		unsigned field = members[i].field;
		uint64_t value = q2_field_value(f, field);

		if (!(f->fields & field))
			continue;
		if (q2_field_is_raw(p, field))
			q2_json_hex(j, members[i].key, value);
		else
			q2_json_u64(j, members[i].key, value);
	}
	if ((f->fields & Q2_F_TREE) && f->tree == Q2_TREE_ACTIVE)
		q2_json_text(j, "tree", "active");
	else if (f->fields & Q2_F_TREE)
		q2_json_u64(j, "snapshot", f->tree);
	if (f->fields & Q2_F_KIND)
		q2_json_text(j, "kind", q2_kind_text(f->kind));
	if (f->fields & Q2_F_TEXT)
		q2_json_bytes(j, "text", f->text,
			      f->text_len);
	put_message(j, f);
}

enum q2_status q2_finding_json(const struct q2_finding *f, const char *filename,
			       const struct q2_sink *sink)
{
	char store[4096];
	struct q2_buf out;
	struct q2_json j = {.out = &out};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	q2_json_open(&j, NULL, '{');
	q2_json_name(&j, "filename", "filename-bytes", filename);
	q2_put_finding(&j, f);
	q2_json_close(&j, '{');
	q2_buf_char(&out, '\n');
	return q2_report_flush(&out);
}

static const char *fix_meaning(enum q2_fix fix)
{
	switch (fix) {
	case Q2_FIX_NONE:
		return "nothing can be done from the image alone";
	case Q2_FIX_SAFE:
		return "a repair leaves what the guest reads unchanged";
	case Q2_FIX_LOSSY:
		return "a repair has to give up a reference";
	case Q2_FIX_REBUILD:
		return "a structure is made anew from others";
	}
	return "";
}

static const char *severity_meaning(enum q2_severity severity)
{
	switch (severity) {
	case Q2_ADVICE:
		return "worth knowing; does not alter the verdict";
	case Q2_LEAK:
		return "host space that nothing refers to";
	case Q2_CORRUPT:
		return "the image breaks the format, or data is at risk";
	}
	return "";
}

enum q2_status q2_problem_text(const struct q2_problem *p,
			       const struct q2_sink *sink)
{
	char store[2048];
	struct q2_buf out;

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	q2_buf_format(&out, "%s\n", p->id);
	q2_buf_format(&out, "  number:      %u\n", p->number);
	q2_buf_format(&out, "  severity:    %s (%s)\n",
		      q2_severity_text(p->severity),
		      severity_meaning(p->severity));
	q2_buf_format(&out, "  fix:         %s (%s)\n", q2_fix_text(p->fix),
		      fix_meaning(p->fix));
	q2_buf_text(&out, "  message:\n");
	q2_render_wrapped(&out, p->message, 4, 78);
	q2_buf_text(&out, "  explanation:\n");
	q2_render_wrapped(&out, p->explanation, 4, 78);
	return q2_report_flush(&out);
}

enum q2_status q2_problem_line(const struct q2_problem *p,
			       const struct q2_sink *sink)
{
	char store[1024];
	struct q2_buf out;

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (p == NULL)
		q2_buf_format(&out, "%-6s  %-24s  %-8s  %-7s  %s\n", "NUMBER",
			      "ID", "SEVERITY", "FIX", "MESSAGE");
	else
		q2_buf_format(&out, "%-6u  %-24s  %-8s  %-7s  %s\n", p->number,
			      p->id, q2_severity_text(p->severity),
			      q2_fix_text(p->fix), p->message);
	return q2_report_flush(&out);
}

enum q2_status q2_problem_json(const struct q2_problem *p,
			       const struct q2_sink *sink)
{
	char store[2048];
	struct q2_buf out;
	struct q2_json j = {.out = &out, .indent = 2, .depth = 1};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	q2_json_open(&j, NULL, '{');
	q2_json_text(&j, "id", p->id);
	q2_json_u64(&j, "number", p->number);
	q2_json_text(&j, "severity", q2_severity_text(p->severity));
	q2_json_text(&j, "fix", q2_fix_text(p->fix));
	q2_json_text(&j, "message", p->message);
	q2_json_text(&j, "explanation", p->explanation);
	q2_json_close(&j, '{');
	return q2_report_flush(&out);
}

enum q2_status q2_report_flush(struct q2_buf *out)
{
	q2_buf_flush(out);
	return out->failed ? Q2_E_IO : Q2_OK;
}
