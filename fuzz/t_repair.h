/*
 * t_repair.h - a repair under way, for the targets that look at one.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_T_REPAIR_H
#define Q2F_T_REPAIR_H

#include "guest.h"
#include "repair/planfile.h"
#include "../tests/support/testio.h"

struct repair {
	const struct q2f_input *in;
	struct q2_io *image; /* the one that is repaired, in memory */
	struct test_io log;  /* in front of it */
	struct q2_plan *plan;
	struct q2_plan_result result;
	struct q2f_guest guest; /* before */
};

/* Plans, under the oracles of planning; false if there is nothing to do, and then
 * nothing to finish. */
bool q2f_repair_start(struct repair *r, const struct q2f_input *in);
void q2f_repair_finish(struct repair *r);

/* Reads what the guest has before, where that is not in doubt. */
void q2f_repair_before(struct repair *r);

/* Applies the plan to r->image, which has to become what it says. */
void q2f_repair_apply(struct repair *r);

/* Takes it back, or violates `oracle`. */
void q2f_repair_undo(struct repair *r, struct q2_io *io, const char *oracle);

/* Violates `oracle` if what was beyond doubt reads otherwise now. */
void q2f_repair_guest(const struct repair *r, struct q2_io *io,
		      const char *oracle);

/* The bytes that the plan says there will be; to be freed. */
uint8_t *q2f_repair_promised(const struct repair *r);

/* Whether the file in memory is just this. */
bool q2f_repair_holds(struct q2_io *io, const uint8_t *bytes, uint64_t size);

/* Whether a check of the file says what the plan's rehearsal said. */
void q2f_repair_result(const struct repair *r);

/* Stored plans that were tampered with (P-1). */
void q2f_forged(const struct repair *r);

/* The image in memory, perhaps as a device; to be closed. */
struct q2_io *q2f_repair_io(const struct q2f_input *in, bool writable);

/* If it lies on a device: with what that has behind it, to be freed. */
uint8_t *q2f_repair_room(struct q2f_input *in);

/* A plan with the input's flags; on failure there is none, and a cause. */
enum q2_status q2f_repair_plan(const struct q2f_input *in, struct q2_io *io,
			       struct q2_plan **plan,
			       struct q2_plan_result *result);

/* The same where the trailer's fault happens, and what came of it. */
void q2f_repair_faults(const struct q2f_input *in);

#endif
