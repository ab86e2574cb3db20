/*
 * testview.h - what the guest reads, as digests.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TESTVIEW_H
#define TESTVIEW_H

#include "check/checker.h"
#include "repair/plan.h"

#define VIEWS 16u

/* One guest disk: a digest for each cluster, or one of these. */
#define VIEW_ERROR UINT64_C(1) /* the guest gets an I/O error */
#define VIEW_ANY UINT64_C(2)   /* mapped onto metadata: no promise is made */
#define VIEW_ZEROS UINT64_C(3)

struct view {
	uint64_t *at;
	size_t n;
};

/* All disks of the image, the active one first, if it has one; false if there is
 * no geometry.  `data` (a byte for each host cluster) gets 1 where guest data lies,
 * `counts` where a refcount is not 0; both may be NULL. */
bool view_all(struct q2_io *io, struct view views[VIEWS], size_t *n,
	      uint8_t *data, struct q2_check_result *res, uint8_t *counts,
	      uint64_t clusters);
void view_free(struct view *views, size_t n);

/* Whether the two hold the same: all that any write of the plan touches, and the
 * length. */
bool plan_same(const struct q2_plan *p, struct q2_io *a, struct q2_io *b);

/* Ends the test. */
void die(const char *what) __attribute__((noreturn));

#endif
