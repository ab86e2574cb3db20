/*
 * text.c - the report for people.
 *
 * SPDX-License-Identifier: MIT
 *
 * A line with the verdict, a few facts, the findings grouped by problem (what
 * is corrupt first, then leaks, then advice), and what to do next.
 */
#include "check/problem.h"
#include "report/report.h"

#include <string.h>

#define WIDTH 78

struct text {
	struct q2_buf *out;
	const struct q2_report *report;
	unsigned flags;
};

/* Emphasis; `sgr` is what stands between ESC [ and m. */
static void begin(const struct text *t, const char *sgr)
{
	if (t->flags & Q2_TEXT_COLOUR)
		q2_buf_format(t->out, "\033[%sm", sgr);
}

static void end(const struct text *t)
{
	if (t->flags & Q2_TEXT_COLOUR)
		q2_buf_text(t->out, "\033[0m");
}

static void put_count(struct q2_buf *out, uint64_t n, const char *noun)
{
	q2_buf_u64(out, n);
	q2_buf_format(out, " %s%s", noun, n == 1 ? "" : "s");
}

/* ": 3 corruptions, 12 leaked clusters", or nothing. */
static void put_sums(const struct text *t)
{
	const struct q2_check_result *c = &t->report->result;
	const char *between = ": ";

	if (c->corruptions > 0) {
		q2_buf_text(t->out, between);
		put_count(t->out, c->corruptions, "corruption");
		between = ", ";
	}
	if (c->leaks > 0) {
		q2_buf_text(t->out, between);
		put_count(t->out, c->leaks, "leaked cluster");
		between = ", ";
	}
	if (c->advice > 0) {
		q2_buf_text(t->out, between);
		q2_buf_u64(t->out, c->advice);
		q2_buf_text(t->out, " advice");
	}
}

static const char *verdict_colour(enum q2_verdict verdict)
{
	switch (verdict) {
	case Q2_CLEAN:
		return "1;32";
	case Q2_LEAKS:
		return "1;33";
	case Q2_CORRUPTED:
	case Q2_UNREADABLE:
		break;
	}
	return "1;31";
}

static void put_verdict(const struct text *t)
{
	const struct q2_report *r = t->report;
	enum q2_verdict verdict = q2_report_verdict(r);
	const char *failure = q2_report_failure(r);

	q2_buf_escape(t->out, r->filename, strlen(r->filename));
	q2_buf_text(t->out, ": ");
	begin(t, verdict_colour(verdict));
	if (failure != NULL) {
		q2_buf_text(t->out, "not checked to the end (");
		q2_buf_escape(t->out, failure, strlen(failure));
		q2_buf_text(t->out, ")");
	} else if (verdict == Q2_UNREADABLE && r->result.is_raw) {
		q2_buf_text(t->out, q2_report_error(r));
	} else {
		q2_buf_text(t->out, q2_verdict_text(verdict));
	}
	end(t);
	if (failure == NULL && verdict == Q2_UNREADABLE && !r->result.is_raw) {
		q2_buf_text(t->out, ": ");
		q2_buf_text(t->out, q2_report_error(r));
	} else {
		put_sums(t);
	}
	q2_buf_char(t->out, '\n');
}

static void put_percent(struct q2_buf *out, uint64_t part, uint64_t whole,
			const char *what)
{
	uint64_t tenths = 0;

	if (whole > 0)
		tenths = (uint64_t)((double)part * 1000.0 / (double)whole);
	q2_buf_format(out, "%u.%u %% %s", (unsigned)(tenths / 10),
		      (unsigned)(tenths % 10), what);
}

static void put_detail(const struct text *t)
{
	const struct q2_check_result *c = &t->report->result;
	struct q2_buf *out = t->out;

	q2_buf_format(out, "  %u-bit refcounts, ", c->refcount_bits);
	q2_buf_u64(out, c->allocated_clusters);
	q2_buf_text(out, " of ");
	put_count(out, c->total_clusters, "cluster");
	q2_buf_text(out, " allocated (");
	put_percent(out, c->fragmented_clusters, c->allocated_clusters,
		    "fragmented, ");
	put_percent(out, c->compressed_clusters, c->allocated_clusters,
		    "compressed)\n");
	q2_buf_text(out, "  file of ");
	put_count(out, c->file_size, "byte");
	q2_buf_text(out, ", in use up to offset ");
	q2_buf_u64(out, c->image_end_offset);
	q2_buf_text(out, "; the check took ");
	q2_render_size(out, c->peak_memory);
	q2_buf_text(out, " for tables\n");
}

static void put_facts(const struct text *t)
{
	const struct q2_check_result *c = &t->report->result;
	struct q2_buf *out = t->out;

	if (c->cluster_bits == 0 || c->cluster_bits > 63)
		return;
	q2_buf_format(out, "  version %u, clusters of ", c->version);
	q2_render_size(out, (uint64_t)1 << c->cluster_bits);
	q2_buf_text(out, ", virtual size ");
	q2_render_size(out, c->virtual_size);
	q2_buf_text(out, " (");
	q2_buf_u64(out, c->virtual_size);
	q2_buf_text(out, "), ");
	put_count(out, c->snapshots, "snapshot");
	q2_buf_text(out, ", ");
	if (c->bitmaps > 0) {
		put_count(out, c->bitmaps, "bitmap");
		q2_buf_text(out, ", ");
	}
	put_percent(out, c->allocated_clusters, c->total_clusters,
		    "allocated\n");
	if (t->flags & Q2_TEXT_DETAIL)
		put_detail(t);
}

/* "guest 1.50 GiB + 64 KiB (1610612736 + 65536)" */
static void put_guest(struct q2_buf *out, const struct q2_finding *f,
		      bool ranged)
{
	q2_buf_text(out, "guest ");
	if (f->guest > 0)
		q2_render_size(out, f->guest);
	else
		q2_buf_char(out, '0');
	if (ranged) {
		q2_buf_text(out, " + ");
		q2_render_size(out, f->length);
	}
	q2_buf_text(out, " (");
	q2_buf_u64(out, f->guest);
	if (ranged) {
		q2_buf_text(out, " + ");
		q2_buf_u64(out, f->length);
	}
	q2_buf_char(out, ')');
}

static void separate(struct q2_buf *out, size_t start)
{
	if (out->n > start)
		q2_buf_text(out, ", ");
}

static void put_tree(struct q2_buf *out, const struct q2_finding *f)
{
	if (f->tree == Q2_TREE_ACTIVE)
		q2_buf_text(out, "active disk");
	else
		q2_buf_format(out, "snapshot %u", (unsigned)f->tree);
}

/* Where it is, as far as the message does not say so itself. */
static void put_place(struct q2_buf *out, const struct q2_finding *f)
{
	const char *message = f->problem->message;
	bool ranged = (f->fields & Q2_F_LENGTH) && !strstr(message, "{length}");
	bool by_host = f->fields & Q2_F_HOST;
	size_t start = out->n;

	if (by_host && !strstr(message, "{host}")) {
		q2_buf_text(out, "host ");
		q2_buf_hex(out, f->host);
		if (ranged) {
			q2_buf_text(out, " + ");
			q2_render_size(out, f->length);
		}
	}
	if (f->fields & Q2_F_GUEST) {
		separate(out, start);
		put_guest(out, f, ranged && !by_host);
	}
	if (f->fields & Q2_F_TREE) {
		separate(out, start);
		put_tree(out, f);
	}
	if ((f->fields & Q2_F_L1) && !strstr(message, "{l1}")) {
		separate(out, start);
		q2_buf_format(out, "L1[%u]", (unsigned)f->l1);
		if (f->fields & Q2_F_L2)
			q2_buf_format(out, " L2[%u]", (unsigned)f->l2);
	}
	if (out->n > start)
		q2_buf_text(out, ": ");
}

static void put_located(const struct text *t, const struct q2_finding *f)
{
	char store[2048];
	struct q2_buf line;

	q2_buf_fix(&line, store, sizeof(store));
	q2_buf_text(&line, "    ");
	put_place(&line, f);
	q2_render_message(&line, f);
	q2_buf_add(t->out, store,
		   line.n < sizeof(store) ? line.n : sizeof(store));
	q2_buf_char(t->out, '\n');
}

static void put_group(const struct text *t, const struct q2_group *g,
		      const struct q2_problem *p)
{
	struct q2_cursor c = {g->first, 0};
	struct q2_finding f;

	q2_buf_text(t->out, "\n  ");
	begin(t, "1");
	q2_buf_text(t->out, p->id);
	end(t);
	q2_buf_format(t->out, " (%s): ", q2_severity_text(p->severity));
	q2_buf_u64(t->out, g->count);
	q2_buf_char(t->out, '\n');
	q2_render_wrapped(t->out, p->explanation, 2, WIDTH);
	while (q2_cursor_next(&c, p, &f))
		put_located(t, &f);
	if (g->kept == g->findings)
		return;
	q2_buf_text(t->out, "    ... and ");
	q2_buf_u64(t->out, g->findings - g->kept);
	q2_buf_text(t->out, t->report->keep == Q2_KEEP_ALL
				    ? " more, for which memory is lacking\n"
				    : " more (--all-findings shows them)\n");
}

static void put_groups(const struct text *t)
{
	static const enum q2_severity order[] = {Q2_CORRUPT, Q2_LEAK,
						 Q2_ADVICE};
	const struct q2_report *r = t->report;

	for (size_t s = 0; s < sizeof(order) / sizeof(order[0]); s++)
		for (size_t i = 0; i < r->groups; i++)
			if (r->group[i].findings > 0 &&
			    q2_problem_at(i)->severity == order[s])
				put_group(t, &r->group[i], q2_problem_at(i));
}

static void put_note(const struct text *t, const char *note)
{
	q2_buf_char(t->out, '\n');
	q2_render_wrapped(t->out, note, 2, WIDTH);
}

static bool has_orphans(const struct q2_report *r)
{
	for (size_t i = 0; i < r->groups; i++)
		if (q2_problem_at(i)->number == Q2_P_ORPHAN_L2)
			return r->group[i].findings > 0;
	return false;
}

/* What the reader should know before acting on the findings. */
static void put_notes(const struct text *t)
{
	const struct q2_check_result *c = &t->report->result;
	enum q2_verdict verdict = q2_report_verdict(t->report);

	if (q2_report_failure(t->report) != NULL)
		put_note(t, "The check did not reach its end: there may be "
			    "more than is listed here.");
	else if (c->check_errors > 0)
		put_note(t, "Parts of the image could not be read, and what "
			    "they describe was not judged. Copy the file to a "
			    "sound disk before anything else is tried.");
	else if (c->partial && verdict != Q2_UNREADABLE)
		put_note(t, "Not everything could be judged: what hangs on the "
			    "damaged structures was left out.");
	if (t->flags & Q2_TEXT_NO_NEXT)
		return;
	if (verdict == Q2_CORRUPTED)
		put_note(t, "Next: keep a copy of the file as it is now, and "
			    "do not start a guest on it.");
	if (verdict == Q2_CORRUPTED && c->leaks)
		put_note(t, "Let no tool free leaked clusters while corruptions "
			    "remain: they may hold the data that is missed.");
	else if (has_orphans(t->report))
		put_note(t, "Next: free nothing. A part of the guest's disk "
			    "hangs on tables that nothing refers to; other "
			    "tools call this a leak, and erase it.");
	else if (verdict == Q2_LEAKS)
		put_note(t, "Next: nothing that is mapped is concerned. Leaked "
			    "clusters may be data whose entry was lost, though: "
			    "keep a copy before they are freed.");
}

enum q2_status q2_report_text(const struct q2_report *report, unsigned flags,
			      const struct q2_sink *sink)
{
	char store[16384];
	struct q2_buf out;
	struct text t = {&out, report, flags};

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	put_verdict(&t);
	if (!(flags & Q2_TEXT_BRIEF) && report->has_result) {
		put_facts(&t);
		put_groups(&t);
		put_notes(&t);
	}
	return q2_report_flush(&out);
}
