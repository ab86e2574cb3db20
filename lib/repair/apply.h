/*
 * apply.h - carrying out a plan, forwards and backwards.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_APPLY_H
#define Q2_REPAIR_APPLY_H

#include "repair/plan.h"

/* Q2_E_FORMAT unless the edits are in order, lie inside the file, and replace
 * all of what the file holds there. */
enum q2_status q2_plan_sound(const struct q2_plan *plan,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Q2_E_CHANGED unless the file has one of the plan's sizes and its first bytes
 * are those of the image that the plan was made for. */
enum q2_status q2_plan_fits(const struct q2_plan *plan, struct q2_io *io,
			    struct q2_err *err) Q2_MUST_CHECK;

/* Which way a plan is carried out. */
enum q2_way { Q2_WAY_APPLY, Q2_WAY_REDO, Q2_WAY_UNDO };

/* Carries it out.  `begin` is called after everything was judged and before the
 * first write; if it fails, nothing is written.  It may be NULL. */
enum q2_status q2_plan_carry_out(const struct q2_plan *plan, struct q2_io *io,
				 const struct q2_apply_opts *opts,
				 enum q2_way way,
				 enum q2_status (*begin)(void *ctx,
							 struct q2_err *err),
				 void *ctx, struct q2_err *err) Q2_MUST_CHECK;

#endif
