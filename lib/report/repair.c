/*
 * repair.c - what a repair came to, beside the check that it started from.
 *
 * SPDX-License-Identifier: MIT
 */
#include "report/plan.h"

const char *q2_outcome_text(enum q2_outcome outcome)
{
	switch (outcome) {
	case Q2_OUT_UNTOUCHED:
		return "untouched";
	case Q2_OUT_DONE:
		return "done";
	case Q2_OUT_TAKEN_BACK:
		return "taken-back";
	case Q2_OUT_UNFINISHED:
		return "unfinished";
	}
	return "unknown";
}

void q2_report_repair(struct q2_report *report, const struct q2_repaired *repair)
{
	report->repair = *repair;
	report->has_repair = true;
}

bool q2_report_unchecked(const struct q2_report *report)
{
	return report->has_repair && !report->has_result &&
	       report->err.code == Q2_OK;
}

static void put_after(struct q2_json *j, const struct q2_check_result *c)
{
	q2_json_open(j, "after", '{');
	q2_json_text(j, "verdict", q2_verdict_text(c->verdict));
	q2_json_u64(j, "corruptions", c->corruptions);
	q2_json_u64(j, "leaks", c->leaks);
	q2_json_u64(j, "advice", c->advice);
	q2_json_u64(j, "check-errors", c->check_errors);
	q2_json_close(j, '{');
}

void q2_put_repair(struct q2_json *j, const struct q2_repaired *r)
{
	q2_json_open(j, "repair", '{');
	q2_json_text(j, "outcome", q2_outcome_text(r->outcome));
	if (r->error)
		q2_json_text(j, "error", r->error);
	if (r->journal)
		q2_json_text(j, "journal", r->journal);
	if (r->orphans)
		q2_json_text(j, "orphans", r->orphans);
	if (r->plan) {
		q2_json_u64(j, "writes", r->plan->edits.n);
		q2_put_actions(j, r->plan, NULL, false);
	}
	if (r->after)
		put_after(j, r->after);
	q2_json_close(j, '{');
}
