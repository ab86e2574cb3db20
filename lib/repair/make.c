/*
 * make.c - from an image and a policy to a plan.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/plan.h"

#include "io/io.h"

enum q2_status q2_plan_make(struct q2_io *io, const struct q2_plan_opts *opts,
			    struct q2_plan **plan,
			    struct q2_plan_result *result, struct q2_err *err)
{
	enum q2_status st = q2_plan_new(opts->max_memory, plan, err);

	*result = (struct q2_plan_result){0};
	if (st == Q2_OK)
		(*plan)->old_size = (*plan)->new_size = io->size;
	return st;
}
