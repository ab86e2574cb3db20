/*
 * plan.c - a plan as text for people: what is done, where, and what of the
 * guest's it concerns.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/plan.h"

#include <stdlib.h>
#include <string.h>

/* What is listed unless all is asked for. */
#define SOME_ACTIONS 50
#define SOME_EDITS 4
#define SOME_RANGES 20

struct text {
	struct q2_buf *out;
	const struct q2_plan *plan;
	struct q2_by_action by;
	unsigned flags;
	bool backup;
};

enum q2_status q2_by_action(const struct q2_plan *plan, struct q2_by_action *by)
{
	size_t n = plan->actions.n;

	by->first = calloc(n + 2, sizeof(*by->first));
	by->order = calloc(plan->edits.n + 1, sizeof(*by->order));
	if (by->first == NULL || by->order == NULL) {
		q2_by_action_free(by);
		return Q2_E_NOMEM;
	}
	/* Counted one further on, so that filling in makes it right. */
	for (size_t i = 0; i < plan->edits.n; i++)
		if (plan->edits.at[i].action < n)
			by->first[plan->edits.at[i].action + 2]++;
	for (size_t i = 2; i < n + 2; i++)
		by->first[i] += by->first[i - 1];
	for (size_t i = 0; i < plan->edits.n; i++)
		if (plan->edits.at[i].action < n)
			by->order[by->first[plan->edits.at[i].action + 1]++] =
				(uint32_t)i;
	return Q2_OK;
}

void q2_by_action_free(struct q2_by_action *by)
{
	free(by->first);
	free(by->order);
	by->first = by->order = NULL;
}

const char *q2_phase_text(enum q2_phase phase)
{
	static const char *const names[Q2_PHASES] = {
		[Q2_PH_MARK] = "mark",	   [Q2_PH_NEW] = "new",
		[Q2_PH_RAISE] = "raise",   [Q2_PH_SWITCH] = "switch",
		[Q2_PH_LOWER] = "lower",
		[Q2_PH_TABLE] = "table",   [Q2_PH_DROP] = "drop",
		[Q2_PH_UPPER] = "upper",   [Q2_PH_PLACE] = "place",
		   [Q2_PH_COPIED] = "copied",
		[Q2_PH_DONE] = "done",
	};

	return phase < Q2_PHASES ? names[phase] : "unknown";
}

void q2_render_bytes(struct q2_buf *out, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		q2_buf_format(out, "%02x", bytes[i]);
}

static void put_count(struct q2_buf *out, uint64_t n, const char *noun)
{
	q2_buf_u64(out, n);
	q2_buf_format(out, " %s%s", noun, n == 1 ? "" : "s");
}

static void put_more(const struct text *t, uint64_t n, unsigned indent)
{
	q2_buf_fill(t->out, ' ', indent);
	q2_buf_text(t->out, "... and ");
	q2_buf_u64(t->out, n);
	q2_buf_text(t->out, " more (--all-findings shows them)\n");
}

static void put_kind(const struct text *t, const struct q2_plan_info *info)
{
	switch (info->kind) {
	case Q2_PLAN_REVIEW:
		q2_buf_text(t->out, "plan");
		return;
	case Q2_PLAN_JOURNAL:
		q2_buf_format(t->out, "journal (%s%s)",
			      q2_plan_state_text(info->state),
			      info->discarded ? ", cannot be undone" : "");
		return;
	case Q2_PLAN_BACKUP:
		q2_buf_text(t->out, "backup");
		return;
	}
}

static void put_head(const struct text *t, const struct q2_plan_info *info)
{
	const struct q2_plan *p = t->plan;

	if (info)
		put_kind(t, info);
	else
		q2_buf_text(t->out, "plan");
	q2_buf_text(t->out, p->is_device ? " for a device of "
					 : " for an image of ");
	put_count(t->out, p->old_size, "byte");
	q2_buf_text(t->out, ": ");
	put_count(t->out, p->actions.n, "action");
	q2_buf_text(t->out, ", ");
	put_count(t->out, p->edits.n, "write");
	if (p->new_size > p->old_size) {
		q2_buf_text(t->out, "; the file grows by ");
		q2_render_size(t->out, p->new_size - p->old_size);
	}
	q2_buf_char(t->out, '\n');
}

/* "0x1000 + 0x200 of the active disk" in the guest. */
static void put_guest(struct q2_buf *out, const struct q2_finding *f)
{
	q2_buf_text(out, "guest offset ");
	q2_buf_hex(out, f->guest);
	if (f->fields & Q2_F_LENGTH) {
		q2_buf_text(out, " + ");
		q2_render_size(out, f->length);
	}
	if (f->fields & Q2_F_OTHER) {
		q2_buf_text(out, " and ");
		q2_buf_hex(out, f->other);
	}
	if ((f->fields & Q2_F_TREE) && f->tree != Q2_TREE_ACTIVE)
		q2_buf_format(out, ", in snapshot %u", (unsigned)f->tree);
}

static const char *effect_words(enum q2_effect effect)
{
	switch (effect) {
	case Q2_EFFECT_NONE:
		break;
	case Q2_EFFECT_GAIN:
		return "the guest gets back";
	case Q2_EFFECT_SUSPECT:
		return "may be wrong, and was before";
	case Q2_EFFECT_LOSS:
		return "the guest loses";
	case Q2_EFFECT_KEPT:
		return "kept in case it is needed";
	}
	return "";
}

static void put_effect(const struct text *t, const struct q2_action *a)
{
	if (a->effect == Q2_EFFECT_NONE)
		return;
	q2_buf_format(t->out, "     %s: ", effect_words(a->effect));
	if (a->f.fields & Q2_F_GUEST)
		put_guest(t->out, &a->f);
	else
		q2_buf_text(t->out, "see above");
	q2_buf_char(t->out, '\n');
}

static void put_value(const struct text *t, const uint8_t *bytes, size_t n)
{
	if (n == 0)
		q2_buf_text(t->out, "end of file");
	else if (n <= Q2_SHOWN_BYTES)
		q2_render_bytes(t->out, bytes, n);
	else
		put_count(t->out, n, "byte");
}

static void put_edit(const struct text *t, const struct q2_edit *e)
{
	q2_buf_format(t->out, "     %-6s at ",
		      t->backup ? "saved" : q2_phase_text(e->phase));
	q2_buf_hex(t->out, e->offset);
	q2_buf_text(t->out, ": ");
	if (t->backup || (e->len > Q2_SHOWN_BYTES && e->before_len == e->len)) {
		put_count(t->out, e->len, "byte");
	} else {
		put_value(t, e->before, e->before_len);
		q2_buf_text(t->out, " -> ");
		put_value(t, e->after, e->len);
	}
	q2_buf_char(t->out, '\n');
}

static void put_action(const struct text *t, size_t i)
{
	const struct q2_action *a = &t->plan->actions.at[i];
	const struct q2_problem *p = q2_problem_by_number(a->problem);
	uint32_t from = t->by.first[i], end = t->by.first[i + 1];
	uint32_t some = t->flags & Q2_TEXT_ALL ? UINT32_MAX : SOME_EDITS;

	q2_buf_format(t->out, "%4zu ", i + 1);
	if (p)
		q2_buf_format(t->out, "%s: ", p->id);
	q2_buf_escape(t->out, a->text, strlen(a->text));
	q2_buf_char(t->out, '\n');
	put_effect(t, a);
	for (uint32_t k = from; k < end && k - from < some; k++)
		put_edit(t, &t->plan->edits.at[t->by.order[k]]);
	if (end - from > some)
		put_more(t, end - from - some, 5);
}

/* Only what of the guest's is concerned. */
static void put_ranges(const struct text *t, enum q2_effect effect,
		       const char *title)
{
	const struct q2_actions *actions = &t->plan->actions;
	uint64_t n = 0;

	for (size_t i = 0; i < actions->n; i++) {
		const struct q2_action *a = &actions->at[i];

		if (a->effect != effect)
			continue;
		if (n++ == 0)
			q2_buf_format(t->out, "  %s\n", title);
		if (n > SOME_RANGES && !(t->flags & Q2_TEXT_ALL))
			continue;
		q2_buf_text(t->out, "    ");
		if (a->f.fields & Q2_F_GUEST) {
			put_guest(t->out, &a->f);
			q2_buf_text(t->out, ": ");
		}
		q2_buf_escape(t->out, a->text, strlen(a->text));
		q2_buf_char(t->out, '\n');
	}
	if (n > SOME_RANGES && !(t->flags & Q2_TEXT_ALL))
		put_more(t, n - SOME_RANGES, 4);
}

/* What is saved before anything is freed. */
static void put_saved(const struct text *t)
{
	const struct q2_exports *x = &t->plan->exports;
	size_t some = t->flags & Q2_TEXT_ALL ? x->n : SOME_RANGES;

	if (x->n == 0)
		return;
	q2_buf_text(t->out, "  Orphans that are saved in a side file before "
			    "they are freed: ");
	q2_render_size(t->out, q2_plan_orphans(t->plan));
	q2_buf_char(t->out, '\n');
	for (size_t i = 0; i < x->n && i < some; i++) {
		q2_buf_text(t->out, "    ");
		put_count(t->out, x->at[i].length, "byte");
		q2_buf_text(t->out, " from ");
		q2_buf_hex(t->out, x->at[i].offset);
		q2_buf_text(t->out, x->at[i].table ? " on: L2 tables\n" :
						     " on: data\n");
	}
	if (x->n > some)
		put_more(t, x->n - some, 4);
}

static void put_notes(const struct text *t)
{
	for (size_t i = 0; i < t->plan->actions.n; i++) {
		const struct q2_action *a = &t->plan->actions.at[i];
		const struct q2_problem *p = q2_problem_by_number(a->problem);

		if (!a->note || a->effect != Q2_EFFECT_NONE || p == NULL)
			continue;
		q2_buf_format(t->out, "  %s: ", p->id);
		q2_buf_escape(t->out, a->text, strlen(a->text));
		q2_buf_char(t->out, '\n');
	}
}

static void put_effects(const struct text *t)
{
	put_ranges(t, Q2_EFFECT_GAIN, "What the guest gets back:");
	put_ranges(t, Q2_EFFECT_SUSPECT,
		   "What may be wrong, and may have been before:");
	put_ranges(t, Q2_EFFECT_LOSS, "What the guest loses:");
	put_ranges(t, Q2_EFFECT_KEPT, "What is kept in case it is needed:");
}

enum q2_status q2_plan_text(const struct q2_plan *plan,
			    const struct q2_plan_info *info, unsigned flags,
			    const struct q2_sink *sink)
{
	char store[16384];
	struct q2_buf out;
	struct text t = {.out = &out, .plan = plan, .flags = flags};
	size_t some = flags & Q2_TEXT_ALL ? plan->actions.n : SOME_ACTIONS;
	enum q2_status st;

	q2_buf_pipe(&out, store, sizeof(store), sink->write, sink->ctx);
	if (flags & Q2_TEXT_BRIEF) {
		put_effects(&t);
		put_notes(&t);
		put_saved(&t);
		return q2_report_flush(&out);
	}
	st = q2_by_action(plan, &t.by);
	if (st != Q2_OK)
		return st;
	t.backup = info && info->kind == Q2_PLAN_BACKUP;
	put_head(&t, info);
	for (size_t i = 0; i < plan->actions.n && i < some; i++)
		put_action(&t, i);
	if (plan->actions.n > some)
		put_more(&t, plan->actions.n - some, 0);
	if (plan->actions.n > some)
		put_effects(&t);
	put_saved(&t);
	q2_by_action_free(&t.by);
	return q2_report_flush(&out);
}
