/*
 * plan.h - what the reports about plans share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPORT_PLAN_H
#define Q2_REPORT_PLAN_H

#include "repair/plan.h"
#include "report/report.h"

/* A plan's edits by action: those of action i are edits.at[order[k]] for
 * first[i] <= k < first[i + 1], in the order of writing. */
struct q2_by_action {
	uint32_t *first;
	uint32_t *order;
};

enum q2_status q2_by_action(const struct q2_plan *plan,
			    struct q2_by_action *by) Q2_MUST_CHECK;
void q2_by_action_free(struct q2_by_action *by);

const char *q2_phase_text(enum q2_phase phase);

/* Bytes that are shown as such; more are told by their number. */
#define Q2_SHOWN_BYTES 16
void q2_render_bytes(struct q2_buf *out, const uint8_t *bytes, size_t n);

/* Opens nothing: members about a plan's actions for the object that is open. */
void q2_put_actions(struct q2_json *j, const struct q2_plan *plan,
		    const struct q2_by_action *by, bool all);

#endif
