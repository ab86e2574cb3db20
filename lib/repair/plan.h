/*
 * plan.h - a repair as data: which bytes are written, in which order, and why.
 *
 * SPDX-License-Identifier: MIT
 *
 * A plan is what is reviewed, what is applied, and what is undone: one form.  It
 * is made by make.c from an image and a policy, stored by planfile.c, carried out
 * by apply.c.  Nothing in it points into the image that it was made from.
 */
#ifndef Q2_REPAIR_PLAN_H
#define Q2_REPAIR_PLAN_H

#include "base/vec.h"
#include "q2.h"

/* The order of writing, with a flush after each phase.  At no moment is the image
 * worse than leaky: what is new is written before it is named, counts rise before
 * references are made and fall after they are gone, and COPIED, which allows
 * writing in place, is taken away early and given late. */
enum q2_phase {
	Q2_PH_MARK,   /* set the corrupt bit (v3): no guest starts on it */
	Q2_PH_NEW,    /* tables and copies, in space that nothing ever named */
	Q2_PH_RAISE,  /* refcounts that rise, COPIED flags that go */
	Q2_PH_TABLE,  /* what names refcount blocks, all of which are counted now */
	Q2_PH_DROP,   /* references that go, so that others may have the cluster */
	Q2_PH_UPPER,  /* entries of L1 tables */
	Q2_PH_SWITCH, /* entries of L2 tables */
	Q2_PH_PLACE,  /* the header, everything in place */
	Q2_PH_LOWER,  /* refcounts that fall */
	Q2_PH_COPIED, /* COPIED flags that come */
	Q2_PH_DONE,   /* clear the corrupt and the dirty bit */
	Q2_PHASES
};

/* One write.  `before` is what the file holds at that moment, with the earlier
 * edits carried out; it is shorter than `after` where the file ended. */
struct q2_edit {
	enum q2_phase phase;
	uint32_t action; /* index of the action that it is a part of */
	uint64_t offset; /* in the file */
	uint32_t before_len; /* <= len */
	uint32_t len;
	const uint8_t *before; /* in the plan's store */
	const uint8_t *after;
};
Q2_VEC(q2_edits, struct q2_edit)

/* Bytes of the image that have to be saved before the first write, because the plan
 * frees them and no snapshot holds them. */
struct q2_export {
	uint64_t offset;
	uint64_t length;
	bool table; /* an L2 table, not data */
};
Q2_VEC(q2_exports, struct q2_export)

/* One thing that the repair does, as people are told. */
struct q2_action {
	unsigned problem;    /* number of the problem that it is for; 0: none */
	enum q2_effect effect;
	bool note;	     /* it stands without edits: what is left, and why */
	struct q2_finding f; /* located as far as known; see f.fields */
	const char *text;    /* one line: what is done; in the plan's store */
};
Q2_VEC(q2_actions, struct q2_action)

/* Bytes that live as long as the plan. */
struct q2_piece {
	struct q2_piece *next;
	size_t size; /* of the whole block */
	size_t used;
	uint8_t bytes[];
};

struct q2_plan {
	struct q2_budget budget;
	uint64_t old_size; /* of the file, before and after */
	uint64_t new_size;
	bool is_device;	   /* the size does not change */
	uint64_t identity; /* digest of the file's first bytes, as they were */
	struct q2_edits edits;	 /* in the order of writing */
	struct q2_actions actions;
	struct q2_exports exports; /* by offset, apart from one another */
	struct q2_piece *store;
};

/* An empty plan. */
enum q2_status q2_plan_new(uint64_t max_memory, struct q2_plan **plan,
			   struct q2_err *err) Q2_MUST_CHECK;

/* `n` bytes that live as long as the plan, copied from `bytes`, or zeros if that is
 * NULL; NULL if there is no memory. */
uint8_t *q2_plan_keep(struct q2_plan *plan, const void *bytes, size_t n,
		      struct q2_err *err);

/* The digest of the first bytes (64 KiB at the most) that a file has before the
 * edits are made; works at every moment of the applying, as what edits replaced
 * is taken from their `before`. */
struct q2_io;
enum q2_status q2_plan_identity(const struct q2_plan *plan, struct q2_io *io,
				uint64_t *digest,
				struct q2_err *err) Q2_MUST_CHECK;

#endif
