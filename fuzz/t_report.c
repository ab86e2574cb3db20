/*
 * t_report.c - target report: what was found, as text, JSON and pictures.
 *
 * SPDX-License-Identifier: MIT
 *
 * T-1 text for people is printable, whatever the image holds; T-2 JSON is valid, as
 * a reader of its own has it, or each line is, and markup is well-formed; T-3 where
 * the sink refuses, that is said; I-7.
 */
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "io/io.h"
#include "map/survey.h"
#include "t_asked.h"
#include "world.h"

#define KEPT 6u /* findings of one problem */

enum kind { TEXT, COLOUR, JSON, LINES, MARKUP };

struct page {
	char *bytes; /* with a 0 behind */
	size_t n;
	size_t room;
	size_t stop; /* the sink refuses what comes after */
};

static int take(void *ctx, const char *bytes, size_t n)
{
	struct page *p = ctx;

	if (p->n + n > p->stop)
		return 1;
	if (p->n + n + 1 > p->room) {
		char *more = q2f_own(2 * (p->n + n + 1));

		if (p->n)
			memcpy(more, p->bytes, p->n);
		q2f_own_free(p->bytes);
		p->bytes = more;
		p->room = 2 * (p->n + n + 1);
	}
	memcpy(p->bytes + p->n, bytes, n);
	p->n += n;
	p->bytes[p->n] = 0;
	return 0;
}

/* ------------------------------------------------------------------- pages */

/* The character at p in UTF-8, and its length; 0 if it is none. */
static size_t character(const char *p, size_t n, uint32_t *c)
{
	unsigned char first = (unsigned char)*p;
	size_t len = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 :
		     first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;

	*c = first & (len == 1 ? 0x7f : 0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if (i == n || (p[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (p[i] & 0x3f);
	}
	return len;
}

/* Controls of both sets, and what breaks lines or turns them round. */
static bool is_control(uint32_t c)
{
	return c < ' ' || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f ||
	       c == 0xfeff;
}

static void judge_text(const struct page *p, bool colour)
{
	size_t len;

	for (size_t i = 0; i < p->n; i += len) {
		uint32_t c;

		len = character(p->bytes + i, p->n - i, &c);
		if (len == 0 || (is_control(c) && c != '\n' &&
				 !(colour && c == 27)))
			q2f_violation("T-1", "byte %u at %zu of %zu",
				      (unsigned char)p->bytes[i], i, p->n);
	}
}

/* How far what begins with "<" or "&" goes; 0 if that is no markup.  What programs
 * and styles hold is not looked at. */
static size_t mark(const char *p)
{
	static const char *const whole[][2] = {
		{"<script", "</script>"}, {"<style", "</style>"}, {"<!--", "-->"}};
	size_t n = strcspn(p + 1, "<&;");
	bool quoted = false;

	if (*p == '&')
		return n && n < 9 && p[1 + n] == ';' ? n + 2 : 0;
	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++)
		if (strncmp(p, whole[i][0], strlen(whole[i][0])) == 0) {
			const char *end = strstr(p, whole[i][1]);

			return end ? (size_t)(end - p) + strlen(whole[i][1]) : 0;
		}
	if (strchr("/!?", p[1]) == NULL && (p[1] < 'a' || p[1] > 'z'))
		return 0;
	for (n = 1; p[n] && p[n] != '<' && (quoted || p[n] != '>'); n++)
		quoted ^= p[n] == '"';
	return p[n] == '>' ? n + 1 : 0;
}

static void judge_markup(const struct page *p)
{
	size_t n;

	if (p->bytes[0] != '<')
		q2f_violation("T-2", "no markup");
	for (const char *at = p->bytes; (at = strpbrk(at, "<&")) != NULL; at += n) {
		n = mark(at);
		if (n == 0)
			q2f_violation("T-2", "markup at %zu of %zu: %.20s",
				      (size_t)(at - p->bytes), p->n, at);
	}
}

static void judge_json(const char *text, size_t n)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o;
	size_t end;

	if (t == NULL)
		abort();
	json_tokener_set_flags(t, JSON_TOKENER_STRICT |
					  JSON_TOKENER_VALIDATE_UTF8 |
					  JSON_TOKENER_ALLOW_TRAILING_CHARS);
	o = json_tokener_parse_ex(t, text, (int)n);
	if (json_tokener_get_error(t) != json_tokener_success)
		q2f_violation("T-2", "%s at %zu of %zu",
			      json_tokener_error_desc(
				      json_tokener_get_error(t)),
			      json_tokener_get_parse_end(t), n);
	end = json_tokener_get_parse_end(t);
	while (end < n && (text[end] == '\n' || text[end] == ' '))
		end++;
	if (end != n)
		q2f_violation("T-2", "something behind the JSON at %zu of %zu",
			      end, n);
	json_object_put(o);
	json_tokener_free(t);
}

static void judge_page(const struct page *p, enum kind kind)
{
	const char *line = p->bytes, *end;

	if (p->n == 0)
		return;
	switch (kind) {
	case TEXT:
	case COLOUR:
		judge_text(p, kind == COLOUR);
		break;
	case JSON:
		judge_json(p->bytes, p->n);
		break;
	case LINES:
		for (; (end = strchr(line, '\n')) != NULL; line = end + 1)
			judge_json(line, (size_t)(end - line));
		break;
	case MARKUP:
		judge_text(p, false);
		judge_markup(p);
		break;
	}
}

typedef enum q2_status print_fn(const void *what, unsigned form,
				const struct q2_sink *sink);

/* Prints once for a look at it, and once into a sink that gets full. */
static void show(print_fn *print, const void *what, unsigned form,
		 enum kind kind)
{
	struct page p = {.stop = SIZE_MAX};
	struct q2_sink sink = {take, &p};
	enum q2_status st = print(what, form, &sink);
	size_t n = p.n;

	if (st != Q2_OK && st != Q2_E_NOMEM && st != Q2_E_FORMAT)
		q2f_violation("T-3", "status %d from a sink that takes all",
			      (int)st);
	if (st == Q2_OK)
		judge_page(&p, kind);
	p.n = 0;
	p.stop = n / 2;
	if (st == Q2_OK && n && print(what, form, &sink) != Q2_E_IO)
		q2f_violation("T-3", "a sink that refused was overlooked");
	q2f_own_free(p.bytes);
}

/* ---------------------------------------------------------------- findings */

static enum q2_status print_text(const void *what, unsigned form,
				 const struct q2_sink *sink)
{
	return q2_report_text(what, form, sink);
}

static enum q2_status print_json(const void *what, unsigned form,
				 const struct q2_sink *sink)
{
	return q2_report_json(what, (enum q2_json_form)form, sink);
}

static enum q2_status print_finding(const void *what, unsigned form,
				    const struct q2_sink *sink)
{
	(void)form;
	return q2_finding_json(what, "a\xff\"\\\n", sink);
}

static enum q2_status print_problem(const void *what, unsigned form,
				    const struct q2_sink *sink)
{
	return form == 0 ? q2_problem_text(what, sink) :
	       form == 1 ? q2_problem_line(what, sink) :
			   q2_problem_json(what, sink);
}

struct listener {
	struct q2_report *report;
	uint64_t seen;
	uint64_t printed;
};

static void on_found(void *ctx, const struct q2_finding *f)
{
	struct listener *l = ctx;

	q2_report_add(l->report, f);
	l->seen++;
	if (l->printed++ >= KEPT)
		return;
	show(print_finding, f, 0, JSON);
	for (unsigned form = 0; form < 3; form++)
		show(print_problem, f->problem, form, form < 2 ? TEXT : JSON);
}

static enum q2_status print_plan_text(const void *what, unsigned form,
				      const struct q2_sink *sink)
{
	return q2_plan_text(what, NULL, form, sink);
}

static enum q2_status print_plan_json(const void *what, unsigned form,
				      const struct q2_sink *sink)
{
	return q2_plan_json(what, NULL, form, sink);
}

/* A plan for the image, and the report with what came of it. */
static void show_repair(const struct q2f_input *in, struct q2_report *report)
{
	const struct q2_plan_opts opts = {.flags = Q2_PLAN_ALL};
	struct q2_plan_result result;
	struct q2_repaired done = {.outcome = Q2_OUT_DONE, .journal = "a\tb"};
	struct q2_plan *plan;
	struct q2_io *io;

	if (q2_io_memory(in->image, in->size, &io, NULL) != Q2_OK)
		return;
	if (q2_plan_make(io, &opts, &plan, &result, NULL) == Q2_OK) {
		show(print_plan_text, plan, 0, TEXT);
		show(print_plan_text, plan, Q2_TEXT_BRIEF, TEXT);
		show(print_plan_text, plan, Q2_TEXT_ALL | Q2_TEXT_COLOUR,
		     COLOUR);
		show(print_plan_json, plan, 0, JSON);
		show(print_plan_json, plan, Q2_TEXT_ALL, JSON);
		done.plan = plan;
		done.after = &result.after;
		q2_report_repair(report, &done);
		show(print_json, report, Q2_JSON_IMAGE, JSON);
		q2_plan_free(plan);
	}
	q2_io_close(io);
}

static void report_of(const struct q2f_input *in)
{
	struct listener l = {0};
	struct q2_check_opts opts = {.found = on_found, .ctx = &l};
	struct q2_check_result result;
	struct q2_err err = {0};
	struct q2_io *io = q2f_io_new(in);

	opts.flags = in->ctl.flags & Q2F_DATA ? Q2_CHECK_DATA : 0;
	if (q2_report_new("image\x01\xfe", KEPT, 0, &l.report, NULL) != Q2_OK)
		abort();
	if (q2_check(io, &opts, &result, &err) == Q2_OK)
		err = (struct q2_err){0};
	q2_report_end(l.report, &result, &err);
	if (q2_report_omitted(l.report) > l.seen)
		q2f_violation("C-1", "more findings left out than there were");
	for (unsigned form = 0; form < 3; form++)
		show(print_json, l.report, form, JSON);
	show(print_text, l.report, 0, TEXT);
	show(print_text, l.report, Q2_TEXT_BRIEF, TEXT);
	show(print_text, l.report, Q2_TEXT_DETAIL | Q2_TEXT_COLOUR, COLOUR);
	if (q2f_sampled(in, 8))
		show_repair(in, l.report);
	q2_report_free(l.report);
	q2_io_close(io);
}

/* -------------------------------------------------------------------- maps */

static enum q2_status print_layout(const void *what, unsigned form,
				   const struct q2_sink *sink)
{
	struct q2_survey *s = *(struct q2_survey *const *)what;
	struct q2_layout_opts how = {.length = UINT64_MAX, .guest = true,
				     .row = q2_layout_add};
	struct q2_layout_report *report;
	enum q2_status st, end;

	st = q2_layout_begin(s, "image\x7f", (enum q2_map_form)form, sink,
			     &report, NULL);
	if (st != Q2_OK)
		return st;
	how.ctx = report;
	st = q2_survey_layout(s, &how, NULL);
	end = q2_layout_end(report, st == Q2_OK);
	return st == Q2_OK ? end : st;
}

static enum q2_status on_space(void *ctx, const struct q2_use_row *row)
{
	q2_space_add(ctx, row);
	return Q2_OK;
}

static enum q2_status print_space(const void *what, unsigned form,
				  const struct q2_sink *sink)
{
	struct q2_survey *s = *(struct q2_survey *const *)what;
	struct q2_space space = {0};
	struct q2_layout_opts how = {.length = UINT64_MAX, .guest = true,
				     .row = on_space, .ctx = &space};
	enum q2_status st = q2_survey_layout(s, &how, NULL);

	return st == Q2_OK ? q2_space_report(s, "image", &space,
					     (enum q2_map_form)form, sink) :
			     st;
}

static enum q2_status print_costs(const void *what, unsigned form,
				  const struct q2_sink *sink)
{
	struct q2_survey *s = *(struct q2_survey *const *)what;
	size_t n = s->snapshots.snaps.n, chosen = 0;
	struct q2_cost *costs = q2f_own((n + 1) * sizeof(*costs)), active;
	uint64_t together = 0;
	enum q2_status st = q2_survey_costs(s, costs, n, &active, NULL);

	if (st == Q2_OK && n)
		st = q2_survey_delete(s, &chosen, 1, &together, NULL);
	if (st == Q2_OK)
		st = q2_costs_report(s, "image", costs, n, &active, &chosen,
				     n ? 1 : 0, together,
				     (enum q2_map_form)form, sink);
	q2f_own_free(costs);
	return st;
}

/* The file as cells. */
static enum q2_status print_picture(const void *what, unsigned form,
				    const struct q2_sink *sink)
{
	struct q2_survey *s = *(struct q2_survey *const *)what;
	struct q2_picture_opts opts = {.form = (enum q2_picture_form)form,
				       .length = UINT64_MAX};
	struct q2_layout_opts how = {.length = UINT64_MAX, .guest = true,
				     .row = q2_picture_add_use};
	struct q2_picture *picture;
	enum q2_status st = q2_picture_of_file(s, "image\x02<&", &opts,
					       &picture, NULL);

	if (st != Q2_OK)
		return st;
	how.ctx = picture;
	st = q2_survey_layout(s, &how, NULL);
	if (st == Q2_OK)
		st = q2_picture_report(picture, sink);
	q2_picture_free(picture);
	return st;
}

static const enum kind map_kinds[] = {TEXT, JSON, LINES, MARKUP};

static void maps_of(const struct q2f_input *in)
{
	const struct q2_survey_opts opts = {0};
	struct q2_survey *s;

	if (q2_survey_io(q2f_io_new(in), &opts, &s, NULL) != Q2_OK)
		return;
	for (unsigned form = 0; form < 3; form++)
		show(print_layout, &s, form, map_kinds[form]);
	for (unsigned form = 0; form < 4; form++)
		show(print_space, &s, form, map_kinds[form]);
	for (unsigned form = 0; form < 4; form++)
		show(print_costs, &s, form, map_kinds[form]);
	for (unsigned form = 0; form < 3; form++)
		show(print_picture, &s, form, form ? MARKUP : TEXT);
	q2_survey_close(s);
}

static enum q2_status print_rows(const void *what, unsigned form,
				 const struct q2_sink *sink)
{
	struct q2_disk *disk = *(struct q2_disk *const *)what;
	struct q2_rows_opts rows = {.length = UINT64_MAX, .row = q2_rows_add};
	struct q2_rows_report *report;
	uint64_t lost;
	enum q2_status st, end;

	rows.merge = form == Q2_ROWS_QEMU ? Q2_MERGE_QEMU : Q2_MERGE_RUNS;
	st = q2_rows_begin(disk, (enum q2_rows_form)form, 0, sink, &report,
			   NULL);
	if (st != Q2_OK)
		return st;
	rows.ctx = report;
	st = q2_disk_rows(disk, &rows, NULL);
	end = q2_rows_end(report, st == Q2_OK, &lost);
	return st == Q2_OK ? end : st;
}

static void rows_of(const struct q2f_input *in)
{
	static const enum kind kinds[] = {TEXT, JSON, LINES, JSON};
	struct q2_disk disk = {0}, *d = &disk;
	struct q2f_world w;

	q2f_world_make(&w, in);
	if (q2f_world_chain(&w, false, &disk.budget, &disk.chain, NULL) !=
	    Q2_OK)
		return;
	if (q2_disk_bytes(&disk) <= Q2F_VIEW)
		for (unsigned form = 0; form < 4; form++)
			show(print_rows, &d, form, kinds[form]);
	q2_chain_close(&disk.chain);
	free(disk.found);
}

int q2f_report(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);

	/* Faults are for the targets whose work is printed here. */
	in.ctl.fail_alloc = in.ctl.fail_read = in.ctl.fail_write = 0;
	in.ctl.stop = 0;
	if (q2f_thorough)
		q2f_asked_once();
	q2f_heap_watch(0);
	report_of(&in);
	if (q2f_sampled(&in, 4) && in.ctl.hole == 0)
		maps_of(&in);
	rows_of(&in);
	if (q2f_heap.blocks)
		q2f_violation("I-7", "reports leave %llu blocks behind",
			      (unsigned long long)q2f_heap.blocks);
	return 0;
}
