/*
 * l1fix.h - what mending the entries of one L1 table needs to know.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPAIR_L1FIX_H
#define Q2_REPAIR_L1FIX_H

#include "base/endian.h"
#include "repair/ledger.h"

struct q2_l1fix {
	struct q2_repair *r;
	struct q2_ledger ledger;
	struct q2_runs missed; /* tables counted more often than named: the
				* cluster, and the slot of those who name it */
	const struct q2_tree *tree;
	uint8_t *entries; /* of the tree's table, or the part that is there */
	uint8_t *table;	  /* room for an L2 table */
	bool sure;	  /* only what needs no other explanation */
	bool doubts;	  /* more than one slot of the active table is another's */
	uint32_t looks;	  /* at slots, for that */
	bool orphan_known;
	uint64_t orphan;  /* the only leaked L2 table, by its shape; 0: none */
	uint32_t orphan_last; /* index of its last entry */
	struct q2_runs orphan_data; /* what it names */
	uint64_t orphan_missed; /* entries that name what is missed */
	bool kin_known;
	struct q2_runs kin; /* orphans that tell their slot: the cluster, the slot */
	uint32_t slot;
	uint64_t raw;
	struct q2_l1_entry e;
};

static inline uint64_t q2_l1fix_raw(const struct q2_l1fix *l, uint32_t slot)
{
	return q2_be64(l->entries + UINT64_C(8) * slot);
}

/* For what is said of the slot. */
struct q2_finding q2_l1_located(const struct q2_l1fix *l);

/* Gives the slot another entry; `text` says what becomes of it. */
enum q2_status q2_l1_replace(struct q2_l1fix *l, enum q2_problem_id why,
			     enum q2_effect effect, uint64_t raw,
			     const char *text) Q2_MUST_CHECK;

/* The table that was here, if there is exactly one that could be; 0: none. */
uint64_t q2_l1_missed_table(struct q2_l1fix *l);

/* Puts right what names another slot's table, where other trees tell which. */
enum q2_status q2_l1_unalias(struct q2_l1fix *l) Q2_MUST_CHECK;

/* How the bytes of the table that the entry leads to read as entries. */
void q2_l1_tally(struct q2_l1fix *l, uint64_t *good, uint64_t *bad);

/* Whether the slot names what is surely another's: a structure that is no L2 table,
 * a table that is counted for others only, or a guest's data. */
bool q2_l1_is_anothers(struct q2_l1fix *l, uint32_t slot);

/* Whether this tree or another one that names the same table in the slot is likelier
 * to have had the other table in its place. */
enum q2_l1_rank {
	Q2_L1_ALONE, /* no other tree does, or nothing is known of it */
	Q2_L1_ANOTHERS,
	Q2_L1_TIE,
	Q2_L1_LIKELIEST
};
enum q2_l1_rank q2_l1_rank(const struct q2_l1fix *l, uint64_t raw);

/* The leaked table one wrong bit away, all of which is missed that the table in its place
 * has not, if this is the likeliest of the trees that name that one; 0: none. */
uint64_t q2_l1_told_apart(struct q2_l1fix *l);

/* The only orphan that belongs into this slot by what other trees have there, if no
 * other tree can have lost it; 0: none. */
uint64_t q2_l1_kin_table(struct q2_l1fix *l);

/* The only table that is missed, if this is the only slot that can miss it; or the
 * only orphan, if what this slot names is its data.  0: neither. */
uint64_t q2_l1_sole_table(struct q2_l1fix *l);
uint64_t q2_l1_sole_orphan(struct q2_l1fix *l);

#endif
