/*
 * survey.h - one image, checked, with every host cluster's owner.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_MAP_SURVEY_H
#define Q2_MAP_SURVEY_H

#include "check/checker.h"
#include "image/snaptable.h"
#include "map/cells.h"

struct q2_survey {
	struct q2_io *io; /* owned */
	struct q2_survey_opts user;
	struct q2_check_opts opts;
	struct q2_check_result result;
	struct q2_err why; /* of the check */
	struct q2_checker *checker;
	struct q2_cells cells;
	struct q2_snaptable snapshots;
	uint64_t *problems; /* findings by place in the catalogue */
	size_t n_problems;
	bool partial; /* not everything could be followed */
};

/* q2_survey_open() of what is open already; takes `io`, also on failure. */
enum q2_status q2_survey_io(struct q2_io *io, const struct q2_survey_opts *opts,
			    struct q2_survey **survey,
			    struct q2_err *err) Q2_MUST_CHECK;

/* Data clusters that an L2 table names. */
struct q2_table_sum {
	uint64_t clu; /* of the table */
	uint64_t data;
};
Q2_VEC(q2_table_sums, struct q2_table_sum)

/* Marks every cluster that an L1 table leads to, afresh.  `owner` gives the
 * number of each snapshot's owner, by the record's index (n of them); NULL: index
 * + 1.  An owner 0 is nobody: the snapshot is left out.  *sums gets every table's
 * sum, unless NULL. */
enum q2_status q2_survey_mark(struct q2_survey *s, const uint16_t *owner,
			      size_t n, struct q2_table_sums *sums,
			      struct q2_err *err) Q2_MUST_CHECK;

/* An entry that refers to host bytes in the file. */
struct q2_entry_seen {
	const struct q2_l2ref *table;
	uint64_t guest; /* of its cluster */
	struct q2_range host;
	bool compressed;
};

/* Walks the L2 tables once more, in the order of the file. */
enum q2_status q2_survey_entries(struct q2_survey *s,
				 enum q2_status (*see)(void *ctx,
					const struct q2_entry_seen *e),
				 void *ctx, struct q2_err *err) Q2_MUST_CHECK;

/* Calls `see` for each L1 entry of each tree that names a usable L2 table. */
enum q2_status q2_survey_tables(struct q2_survey *s,
				enum q2_status (*see)(void *ctx,
						      const struct q2_tree *t,
						      uint32_t slot,
						      uint64_t clu),
				void *ctx, struct q2_err *err) Q2_MUST_CHECK;

/* Whether this slot of the tree's L1 is past its disk, and holds VM state. */
bool q2_survey_is_vmstate(const struct q2_survey *s, const struct q2_tree *t,
			  uint32_t slot);

/* The tree with this id; NULL if there is none that can be walked. */
const struct q2_tree *q2_survey_tree(const struct q2_survey *s, uint32_t id);

static inline const struct q2_geom *q2_survey_geom(const struct q2_survey *s)
{
	return &s->checker->img.geom;
}

#endif
