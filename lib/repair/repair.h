/*
 * repair.h - the state of one repair in the making, and what its steps share.
 *
 * SPDX-License-Identifier: MIT
 *
 * The steps (fix_*.c) work on a copy-on-write overlay as if it were the image:
 * each looks at what the last check of the overlay found, and writes.  What the
 * overlay then holds that the image does not is the plan (finish.c).  Repair
 * never judges: that something is wrong comes from the check, or from decoding in
 * the format layer.
 */
#ifndef Q2_REPAIR_REPAIR_H
#define Q2_REPAIR_REPAIR_H

#include "check/checker.h"
#include "format/ext.h"
#include "repair/plan.h"
#include "repair/search.h"

/* What is written somewhere, which decides when (plan.h). */
enum q2_class {
	Q2_C_FRESH,    /* whole clusters that nothing named before */
	Q2_C_ENTRY,    /* 64-bit entries of L1 and L2 tables */
	Q2_C_REFCOUNT, /* a refcount block */
	Q2_C_REFTABLE, /* what names refcount blocks, or the refcount table */
	Q2_C_PLACE     /* everything else, in place */
};

struct q2_touch {
	uint64_t start;
	uint64_t end;
	uint32_t action;
	uint32_t order; /* of time */
	enum q2_class class;
};
Q2_VEC(q2_touches, struct q2_touch)
Q2_VEC(q2_findings, struct q2_finding)

/* A run of host clusters. */
struct q2_run {
	uint64_t first;
	uint64_t n;
};
Q2_VEC(q2_runs, struct q2_run)

#define Q2_NUMBERS 1000u /* problem numbers are below */

/* What is wanted of a kind of problem; asked for at most once. */
enum q2_wish { Q2_WISH_UNKNOWN, Q2_WISH_YES, Q2_WISH_NO };

/* Numbers of the problems that a check found, each once. */
struct q2_kinds {
	size_t n;
	uint16_t at[Q2_NUMBERS];
};

/* What was learnt after the last check. */
struct q2_judged {
	uint64_t cluster; /* the last that was asked about; 0: none */
	bool table;	  /* whether it reads as a table of entries */
	bool blocks_fit;  /* q2_fix_blocks() has nothing to do */
	struct q2_kinds kinds;
};

/* What need not be said again. */
struct q2_told {
	bool crowded; /* too many share clusters */
	bool counts;  /* tell_counts.c has been there */
};

/* What the check found that the plan starts from. */
struct q2_first {
	bool over; /* that check is */
	bool had[Q2_NUMBERS]; /* whether there were any, by number */
	bool acted[Q2_NUMBERS]; /* the same: something was done since, in any try */
	uint32_t trees; /* the active disk and the snapshots */
};

/* On a device: what found no room behind the image. */
struct q2_room {
	unsigned lacking; /* number of the problem; 0: none */
	bool cramped;	  /* some are left */
	bool took[Q2_NUMBERS]; /* whose repair has fresh clusters */
	bool left[Q2_NUMBERS]; /* what is left for want of room */
};

/* Offsets of clusters that the repair has taken for itself. */
struct q2_fresh {
	uint64_t first; /* 0: none yet */
	uint64_t next;
};

/* Whether a kind of problem concerns refcounts only: a repair leaves what the guest
 * reads. */
bool q2_is_refcounts(unsigned number);

struct q2_repair {
	const struct q2_plan_opts *opts;
	struct q2_plan *plan;
	struct q2_err *err;
	struct q2_budget budget;
	struct q2_io *base; /* the image: never written */
	struct q2_io *io;   /* the overlay */
	bool parting;	    /* what lies on one another is being parted */
	bool changed;	    /* io was written to since the last check */
	struct q2_touches touches;
	uint32_t order;
	struct q2_checker *c; /* of what io holds; NULL before the first check */
	struct q2_check_opts check_opts;
	struct q2_check_result result; /* of that check */
	uint64_t counts[Q2_NUMBERS];   /* of its findings, by number */
	struct q2_findings findings;   /* those of structures that are few */
	uint8_t wishes[Q2_NUMBERS];    /* enum q2_wish */
	uint32_t bulk[Q2_NUMBERS];     /* 1 + the action for many places */
	struct q2_fresh fresh;
	struct q2_judged judged;
	struct q2_told told;
	struct q2_room room;
	bool aliased;	/* an L1 slot names another's table: places are not certain */
	struct q2_runs worthless; /* leaks that nothing can need; by first */
	struct q2_runs released;  /* what the repair itself gave up */
	struct q2_runs spared;    /* tables of nonsense that it left */
	struct q2_runs saved; /* orphans that a side file gets, and tables */
	struct q2_runs saved_tables; /* among these */
	uint32_t saving; /* 1 + the action for them; 0: none */
	struct q2_runs named; /* past the file's end, by damaged pointers */
	struct q2_runs dangling; /* of these, what L1 and L2 entries name */
	struct q2_runs keep; /* leaks that new refcount blocks must show again */
	bool recounted; /* the new refcount table knows all that the old one did */
	struct q2_searches searches;
	struct q2_first first;
};

/* Whether problems of this kind are to be repaired. */
bool q2_want(struct q2_repair *r, enum q2_problem_id id);
static inline bool q2_all(const struct q2_repair *r)
{
	return r->opts->flags & Q2_PLAN_ALL;
}

/* Runs the check on the overlay, if it was written to since. */
enum q2_status q2_recheck(struct q2_repair *r) Q2_MUST_CHECK;

/* *action = a new action; `f` may be NULL.  The text is one line. */
enum q2_status q2_act(struct q2_repair *r, enum q2_problem_id problem,
		      enum q2_effect effect, const struct q2_finding *f,
		      uint32_t *action, const char *format, ...)
	__attribute__((format(printf, 6, 7))) Q2_MUST_CHECK;

/* The same for something that is done in many places: made at the first call,
 * counted at each. */
enum q2_status q2_act_bulk(struct q2_repair *r, enum q2_problem_id problem,
			   uint64_t count, const char *text,
			   uint32_t *action) Q2_MUST_CHECK;

/* Writes to the overlay and remembers it; but not what is off limits. */
enum q2_status q2_change(struct q2_repair *r, enum q2_class class,
			 uint32_t action, uint64_t off, const void *bytes,
			 size_t n) Q2_MUST_CHECK;
enum q2_status q2_change_u64(struct q2_repair *r, enum q2_class class,
			     uint32_t action, uint64_t off,
			     uint64_t value) Q2_MUST_CHECK;
enum q2_status q2_change_u32(struct q2_repair *r, enum q2_class class,
			     uint32_t action, uint64_t off,
			     uint32_t value) Q2_MUST_CHECK;

/* Whether nothing is written there in place: metadata that lies on something else, unless
 * it is the header; or, by -p, an entry in what may be a guest's data (offlimits.c). */
bool q2_off_limits(struct q2_repair *r, enum q2_class class, uint64_t off,
		   size_t n);

/* Whether these bytes, as far as the file has them, can be read and are zeros. */
bool q2_holds_zeros(struct q2_io *io, uint64_t off, uint64_t len);

/* *off = `n` clusters next to each other, zeros, that no structure, live or
 * damaged, names.  Q2_E_RANGE if a device has no room; r->room.lacking says for which
 * problem. */
enum q2_status q2_fresh(struct q2_repair *r, uint32_t action, uint64_t n,
			uint64_t *off) Q2_MUST_CHECK;

/* Whether the cluster lies where this repair has taken fresh ones. */
static inline bool q2_is_fresh(const struct q2_repair *r, uint64_t clu)
{
	return r->fresh.first &&
	       clu >= r->fresh.first >> r->c->img.geom.cluster_bits;
}

/* Whether a pointer to that offset led past the end of the file, and does so no more
 * only because the file has grown. */
bool q2_was_outside(const struct q2_repair *r, uint64_t off);

/* The repair made these clusters useless: they may be freed. */
enum q2_status q2_release(struct q2_repair *r, uint64_t off,
			  uint64_t len) Q2_MUST_CHECK;

/* Whether a finding about an overlap names this kind as one of the two. */
bool q2_concerns(const struct q2_finding *f, enum q2_kind kind);

/* Sorts runs and joins those that touch. */
void q2_runs_tidy(struct q2_runs *runs);
/* Whether tidy runs hold the cluster. */
bool q2_runs_have(const struct q2_runs *runs, uint64_t clu);

/* From the overlay to the plan's edits. */
enum q2_status q2_finish(struct q2_repair *r) Q2_MUST_CHECK;

/* Sorted writes of one action to the header in one phase become one; actions without
 * any go (tidy.c). */
enum q2_status q2_join_header(struct q2_repair *r) Q2_MUST_CHECK;
enum q2_status q2_drop_idle(struct q2_repair *r) Q2_MUST_CHECK;

static inline bool q2_found_any(const struct q2_repair *r,
				enum q2_problem_id id)
{
	return r->counts[id] != 0;
}

/* The steps, in order.  Each may write, and checks again if it needs to know
 * what its own writing did. */
enum q2_status q2_fix_l1_surely(struct q2_repair *r);
enum q2_status q2_fix_luks(struct q2_repair *r);
enum q2_status q2_fix_header(struct q2_repair *r);

/* Whether the header is known to be wrong in a way that makes everything else look
 * wrong: nothing else may be touched. */
bool q2_misread(const struct q2_repair *r);

enum q2_status q2_fix_fields(struct q2_repair *r);
enum q2_status q2_fix_extensions(struct q2_repair *r);
enum q2_status q2_fix_snapshots(struct q2_repair *r);
enum q2_status q2_fix_lost(struct q2_repair *r);
enum q2_status q2_fix_size(struct q2_repair *r);
/* Whether what the active disk maps behind its end is sound, mostly, so that the size is
 * in doubt and not that; with a data file nothing tells, and it is taken for sound. */
enum q2_status q2_size_lost(struct q2_repair *r, bool *yes);
enum q2_status q2_fix_stale(struct q2_repair *r);
enum q2_status q2_fix_bitmaps(struct q2_repair *r);
/* Of the directory, of tables, of their data. */
bool q2_kind_is_bitmap(enum q2_kind kind);
/* Without a bitmap left the extension goes, and so does the promise. */
enum q2_status q2_forget_bitmaps(struct q2_repair *r, uint32_t action,
				 const struct q2_ext *e);
/* Marks all bitmaps as inconsistent and has the header promise them again, if that
 * is sound; `text` says why. */
enum q2_status q2_mark_bitmaps(struct q2_repair *r, const char *text);
enum q2_status q2_fix_l1(struct q2_repair *r);
enum q2_status q2_spare_nonsense(struct q2_repair *r);
enum q2_status q2_fix_l2(struct q2_repair *r);
enum q2_status q2_part_snaptable(struct q2_repair *r);
enum q2_status q2_move_snaptable(struct q2_repair *r);
enum q2_status q2_fix_shared(struct q2_repair *r);
enum q2_status q2_fix_orphans(struct q2_repair *r);
enum q2_status q2_fix_raw(struct q2_repair *r);
enum q2_status q2_fix_refcounts(struct q2_repair *r);
enum q2_status q2_fix_copied(struct q2_repair *r);
enum q2_status q2_fix_marks(struct q2_repair *r);

/* For a walk that passes over what cannot be read: Q2_OK but for a lack of
 * memory. */
struct q2_l2ref;
enum q2_status q2_pass_unreadable(void *ctx, const struct q2_l2ref *ref,
				  enum q2_status status,
				  const struct q2_err *why);

#endif
