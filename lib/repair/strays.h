/*
 * strays.h - L2 tables that the active L1 table should name, and does not.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_STRAYS_H
#define Q2_REPAIR_STRAYS_H

#include "check/l2shape.h"
#include "repair/ledger.h"
#include "repair/rescue.h"

#define Q2_NO_SLOT UINT64_MAX

enum q2_sure { Q2_UNSURE, Q2_GUESSED, Q2_LIKELY, Q2_CERTAIN };

/* An L2 table: one that has a slot, or one that has lost it. */
struct q2_stray {
	uint64_t clu;
	uint64_t slot; /* Q2_NO_SLOT: not known */
	uint64_t lo;   /* the slots that are possible by the host order */
	uint64_t hi;
	uint64_t after;	 /* cluster behind the data of its last entry */
	uint64_t begins; /* cluster of its first data */
	uint32_t first;	 /* index of the first entry in use */
	uint32_t last;
	uint32_t entries; /* that name clusters */
	uint32_t rising;  /* of them: behind the data of the one before */
	bool named;	  /* the L1 table has it already */
	bool packed;	  /* it names compressed data */
	bool follows;	  /* it was begun when the one before was full */
	bool gone;	  /* it turned out to be no table */
	enum q2_sure sure;
	const char *why;
};
Q2_VEC(q2_stray_vec, struct q2_stray)

struct q2_strays {
	struct q2_repair *r;
	struct q2_stray_vec t; /* by cluster */
	uint64_t *l1;	       /* host offsets, by what is known: 0: none */
	uint64_t slots;
	uint64_t room;	 /* of l1, bytes */
	bool counted;	 /* refcounts tell what is in use */
	uint8_t *table;	 /* room for two clusters */
	size_t named;	 /* of t: how many were known before the search */
	uint64_t run;	 /* what is done: runs of leaks, and clusters before */
	uint64_t next;	 /* this one */
	struct q2_gdisk guest; /* by what is known */
};

/* All tables that nothing names, and those that a snapshot has and that are
 * counted for the active disk as well. */
enum q2_status q2_strays_find(struct q2_strays *s);

/* Gives the table its slot, if it fits and no other has it. */
bool q2_stray_place(struct q2_strays *s, struct q2_stray *t, uint64_t slot,
		    enum q2_sure sure, const char *why);
bool q2_stray_fits(const struct q2_strays *s, const struct q2_stray *t,
		   uint64_t slot);

/* Places what the guest's own structures tell the place of. */
enum q2_status q2_strays_by_content(struct q2_strays *s);
/* The same by an ext file system's group descriptors and bitmaps.  True if any
 * table was placed. */
bool q2_strays_by_extfs(struct q2_strays *s);
/* Sets lo and hi of every table: what the order in the file leaves.  False if it
 * tells nothing. */
bool q2_strays_bounds(struct q2_strays *s);

/* Claims of tables on slots: {slot, index of the table}.  A slot that two tables
 * claim, and a table with two claims, are left alone. */
bool q2_strays_settle(struct q2_strays *s, struct q2_runs *claims,
		      enum q2_sure sure, const char *why);

/* By the order in the file.  True if any table was placed. */
bool q2_strays_by_order(struct q2_strays *s);

#endif
