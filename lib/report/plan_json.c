/*
 * plan_json.c - a plan as JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/plan.h"

#include <string.h>

/* What is listed of one action unless all is asked for. */
#define SOME_EDITS 100
/* Longer values are told by their length alone. */
#define LONGEST 64

static void put_hex(struct q2_json *j, const char *key, const uint8_t *bytes,
		    size_t n)
{
	char text[2 * LONGEST];
	struct q2_buf hex;

	q2_buf_fix(&hex, text, sizeof(text));
	q2_render_bytes(&hex, bytes, n);
	q2_json_bytes(j, key, text, hex.n);
}

static void put_edit(struct q2_json *j, const struct q2_edit *e)
{
	q2_json_open_flat(j, NULL, '{');
	q2_json_text(j, "phase", q2_phase_text(e->phase));
	q2_json_u64(j, "offset", e->offset);
	q2_json_u64(j, "length", e->len);
	q2_json_u64(j, "length-before", e->before_len);
	if (e->len <= LONGEST) {
		put_hex(j, "before", e->before, e->before_len);
		put_hex(j, "after", e->after, e->len);
	}
	q2_json_close(j, '{');
}

static void put_guest(struct q2_json *j, const struct q2_finding *f)
{
	if (f->fields & Q2_F_HOST)
		q2_json_u64(j, "host-offset", f->host);
	if (f->fields & Q2_F_GUEST)
		q2_json_u64(j, "guest-offset", f->guest);
	if (f->fields & Q2_F_LENGTH)
		q2_json_u64(j, "length", f->length);
	if (f->fields & Q2_F_OTHER)
		q2_json_u64(j, "other-guest-offset", f->other);
	if ((f->fields & Q2_F_TREE) && f->tree != Q2_TREE_ACTIVE)
		q2_json_u64(j, "snapshot", f->tree);
}

static void put_edits(struct q2_json *j, const struct q2_plan *plan,
		      const struct q2_by_action *by, size_t i, bool all)
{
	uint32_t from = by->first[i], end = by->first[i + 1];
	uint32_t some = all || end - from < SOME_EDITS ? end - from : SOME_EDITS;

	q2_json_u64(j, "writes", end - from);
	q2_json_open(j, "edits", '[');
	for (uint32_t k = 0; k < some; k++)
		put_edit(j, &plan->edits.at[by->order[from + k]]);
	q2_json_close(j, '[');
}

void q2_put_actions(struct q2_json *j, const struct q2_plan *plan,
		    const struct q2_by_action *by, bool all)
{
	q2_json_open(j, "actions", '[');
	for (size_t i = 0; i < plan->actions.n; i++) {
		const struct q2_action *a = &plan->actions.at[i];
		const struct q2_problem *p = q2_problem_by_number(a->problem);

		q2_json_open(j, NULL, '{');
		if (p)
			q2_json_text(j, "id", p->id);
		q2_json_text(j, "text", a->text);
		q2_json_text(j, "effect", q2_effect_text(a->effect));
		put_guest(j, &a->f);
		if (by)
			put_edits(j, plan, by, i, all);
		q2_json_close(j, '{');
	}
	q2_json_close(j, '[');
}

static const char *kind_text(enum q2_plan_kind kind)
{
	switch (kind) {
	case Q2_PLAN_REVIEW:
		break;
	case Q2_PLAN_JOURNAL:
		return "journal";
	case Q2_PLAN_BACKUP:
		return "backup";
	}
	return "plan";
}

enum q2_status q2_plan_json(const struct q2_plan *plan,
			    const struct q2_plan_info *info, unsigned flags,
			    const struct q2_sink *sink)
{
	char store[16384];
	struct q2_by_action by;
	struct q2_buf out;
	struct q2_json j = {.out = &out, .indent = 2};
	enum q2_status st = q2_by_action(plan, &by);

	if (st != Q2_OK)
		return st;
	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	q2_json_open(&j, NULL, '{');
	q2_json_u64(&j, "schema", 1);
	q2_json_open(&j, "plan", '{');
	q2_json_text(&j, "kind", kind_text(info ? info->kind : Q2_PLAN_REVIEW));
	if (info && info->kind == Q2_PLAN_JOURNAL) {
		q2_json_text(&j, "state", q2_plan_state_text(info->state));
		q2_json_bool(&j, "discarded", info->discarded);
	}
	q2_json_bool(&j, "device", plan->is_device);
	q2_json_u64(&j, "size-before", plan->old_size);
	q2_json_u64(&j, "size-after", plan->new_size);
	q2_json_u64(&j, "writes", plan->edits.n);
	q2_json_open(&j, "orphans", '[');
	for (size_t i = 0; i < plan->exports.n; i++) {
		q2_json_open_flat(&j, NULL, '{');
		q2_json_u64(&j, "offset", plan->exports.at[i].offset);
		q2_json_u64(&j, "length", plan->exports.at[i].length);
		q2_json_text(&j, "kind",
			     plan->exports.at[i].table ? "table" : "data");
		q2_json_close(&j, '{');
	}
	q2_json_close(&j, '[');
	q2_put_actions(&j, plan, &by, (flags & Q2_TEXT_ALL) != 0);
	q2_json_close(&j, '{');
	q2_json_close(&j, '{');
	q2_buf_char(&out, '\n');
	q2_by_action_free(&by);
	return q2_report_flush(&out);
}
