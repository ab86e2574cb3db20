/*
 * checker.h - the state of one running check, and what its phases share.
 *
 * SPDX-License-Identifier: MIT
 *
 * Each chk_*.c is one phase: a function that takes the checker, emits findings
 * and leaves data for later phases.  A phase returns an error only if the whole
 * check must end (memory, interruption); what it could not read or judge becomes
 * a finding and sets result->partial.
 */
#ifndef Q2_CHECK_CHECKER_H
#define Q2_CHECK_CHECKER_H

#include "base/vec.h"
#include "check/problem.h"
#include "image/image.h"
#include "image/l2refs.h"
#include "image/refmap.h"

/* A host range with a purpose of its own.  L2 tables are not listed: they stand
 * in refs. */
struct q2_meta {
	uint64_t first; /* cluster */
	uint64_t n;	/* clusters */
	enum q2_kind kind;
	uint32_t index; /* snapshot, bitmap, refcount table entry … */
};
Q2_VEC(q2_metas, struct q2_meta)
Q2_VEC(q2_trees, struct q2_tree)

/* What the header extensions say, for later phases.  Strings are not
 * terminated and borrowed from checker.first. */
struct q2_extensions {
	const char *backing; /* the backing file's name; NULL: none */
	size_t backing_len;
	const char *format; /* backing format; NULL: none */
	size_t format_len;
	const char *data_file; /* NULL: none */
	size_t data_file_len;
	bool has_bitmaps;  /* the extension is there and well-formed */
	uint32_t bitmaps;
	uint64_t bitmap_dir_offset;
	uint64_t bitmap_dir_size;
};

/* Why a cluster is looked at in the second walk (owners.c). */
enum q2_suspicion {
	Q2_S_REFCOUNT = 1 << 0, /* on-disk refcount != references */
	Q2_S_COPIED = 1 << 1,
	Q2_S_SHARED = 1 << 2, /* referenced from two places, no snapshot's */
	Q2_S_META = 1 << 3,   /* metadata, and referenced as something else */
	Q2_S_STREAM = 1 << 4  /* compressed data of two clusters overlap */
};
struct q2_suspect {
	uint64_t clu;
	uint64_t found; /* on-disk refcount; UINT64_MAX: none known */
	unsigned why;	/* enum q2_suspicion */
};
Q2_VEC(q2_suspects, struct q2_suspect)

/* More suspects than are kept. */
struct q2_over {
	uint64_t n;
	unsigned why; /* reasons that were told for one of them */
};

/* An L1 entry that cannot be followed: its table may be among the leaks. */
struct q2_lost {
	uint32_t tree;
	uint32_t slot;
	uint64_t raw;
};
Q2_VEC(q2_losts, struct q2_lost)

/* A sound snapshot record that the header does not count. */
struct q2_uncounted {
	uint64_t host; /* of the record; 0: there is none */
	uint64_t l1_offset;
};

/* Where a snapshot's record stands, and whether it can be read. */
struct q2_snap_place {
	uint64_t host;
	uint32_t index;
	bool sound;
};
Q2_VEC(q2_snap_places, struct q2_snap_place)

/* Where a bitmap's record stands; its length without padding. */
struct q2_bitmap_spot {
	uint64_t host;
	uint64_t len;
	uint32_t index;
	bool sound;
};
Q2_VEC(q2_bitmap_spots, struct q2_bitmap_spot)

/* Of bitmaps as a whole. */
struct q2_bitmaps {
	bool hurt;	/* some of their tables may not have been found */
	bool lost_some; /* not all of `claims` hold */
	struct q2_metas claims; /* what they use, if they are out of date */
};

/* A run of clusters with a refcount that nothing refers to. */
struct q2_leak {
	uint64_t first;
	uint64_t n;
	uint64_t found; /* refcount */
};
Q2_VEC(q2_leaks, struct q2_leak)

Q2_VEC(q2_descriptors, uint64_t)

/* Findings noted down for a run that goes on from this one's state. */
struct q2_notes {
	uint8_t *at;
	size_t n;
	size_t room;
	uint64_t count;
	bool noting;
	bool lost; /* too many */
};

struct q2_checker {
	const struct q2_check_opts *opts;
	struct q2_check_result *result;
	struct q2_err *err;
	struct q2_err own_err; /* where the caller has none */
	struct q2_budget budget;
	struct q2_image img; /* io and geometry */
	struct q2_header header;
	struct q2_header_faults faults;
	uint8_t *first; /* the first cluster, zero-padded; geom.cluster_size */
	struct q2_extensions ext;
	struct q2_trees trees; /* the active one first, then snapshots */
	struct q2_metas metas;
	struct q2_l2refs refs;
	struct q2_refmap map;
	struct q2_uncounted uncounted;
	struct q2_snap_places snap_places;
	struct q2_bitmap_spots bitmap_spots;
	struct q2_losts lost; /* some thousands at the most */
	struct q2_suspects suspects;
	struct q2_over over;
	struct q2_bitmaps bitmaps;
	struct q2_leaks leaks;
	struct q2_leak leaks_over; /* more runs than are kept: first and sum */
	struct q2_descriptors compressed; /* each distinct one, as stored */
	struct q2_notes notes;
};

/* Runs a check and keeps what it learnt: *out is to be freed even after failure
 * (it may be NULL then), and until that `opts`, `result` and `err` stay. */
enum q2_status q2_checker_run(struct q2_io *io,
			      const struct q2_check_opts *opts,
			      struct q2_check_result *result,
			      struct q2_checker **out,
			      struct q2_err *err) Q2_MUST_CHECK;
/* The same, but once `enough` says so, which is called between two phases with
 * opts->ctx, it ends with Q2_E_INTERRUPTED, and no cause. */
enum q2_status q2_checker_try(struct q2_io *io,
			      const struct q2_check_opts *opts,
			      bool (*enough)(void *ctx),
			      struct q2_check_result *result,
			      struct q2_checker **out,
			      struct q2_err *err) Q2_MUST_CHECK;
void q2_checker_free(struct q2_checker *c);

/* Judges the header and its extensions, and reads no table. */
enum q2_status q2_check_header(struct q2_io *io,
			       const struct q2_check_opts *opts,
			       struct q2_check_result *result,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Emits a finding of kind `id`.  `f` needs its members and `fields` set;
 * problem is filled in, counters and verdict data are kept. */
void q2_found(struct q2_checker *c, enum q2_problem_id id,
	      const struct q2_finding *f);

/* Copies n bytes of a name into f->text (cut if too long) and sets its field. */
void q2_finding_text(struct q2_finding *f, const char *bytes, size_t n);

/* Reports a structure that could not be read (err says why; it is cleared) and
 * marks the result as partial.  Returns Q2_OK so that the walk goes on, but
 * hands Q2_E_NOMEM, Q2_E_BUDGET and Q2_E_INTERRUPTED through. */
enum q2_status q2_unreadable(struct q2_checker *c, enum q2_status status,
			     const struct q2_err *why, enum q2_kind kind,
			     uint64_t host, uint64_t length);

/* The same, located as far as *where tells. */
enum q2_status q2_unreadable_at(struct q2_checker *c, enum q2_status status,
				const struct q2_err *why,
				const struct q2_finding *where);

/* The same for an L2 table of c->refs: once, however often it is read. */
enum q2_status q2_l2_unreadable(struct q2_checker *c,
				const struct q2_l2ref *ref,
				enum q2_status status,
				const struct q2_err *why);

/* Registers a host byte range as metadata; the part past the end of the file is
 * left out.  `index` is what a finding shows as {index}. */
enum q2_status q2_meta_add(struct q2_checker *c, enum q2_kind kind,
			   uint32_t index, struct q2_range range);

/* The same for what bitmaps use: where nothing is promised of them it is only a
 * claim (chk_stale.c). */
enum q2_status q2_bitmap_meta_add(struct q2_checker *c, enum q2_kind kind,
				  uint32_t index, struct q2_range range);

/* Remembers the cluster for the second walk.  `found` is its refcount on disk, or
 * Q2_NO_REFCOUNT. */
#define Q2_NO_REFCOUNT UINT64_MAX
enum q2_status q2_suspect_add(struct q2_checker *c, uint64_t clu,
			      uint64_t found, enum q2_suspicion why);

/* Tells the caller's progress function; Q2_E_INTERRUPTED if it wants to end. */
enum q2_status q2_tick(struct q2_checker *c, const char *phase, uint64_t done,
		       uint64_t total);

/* The phases, in the order in which check.c runs them. */
enum q2_status q2_chk_raw(struct q2_checker *c);
enum q2_status q2_chk_header(struct q2_checker *c);
enum q2_status q2_chk_extensions(struct q2_checker *c);
enum q2_status q2_chk_snapshots(struct q2_checker *c);
enum q2_status q2_chk_bitmaps(struct q2_checker *c);
enum q2_status q2_chk_l1_size(struct q2_checker *c);
enum q2_status q2_chk_l1(struct q2_checker *c);
enum q2_status q2_chk_l2(struct q2_checker *c);
enum q2_status q2_chk_refcounts(struct q2_checker *c);
enum q2_status q2_chk_stale(struct q2_checker *c);
enum q2_status q2_chk_roots(struct q2_checker *c);
enum q2_status q2_chk_l1_place(struct q2_checker *c);
enum q2_status q2_chk_owners(struct q2_checker *c);
enum q2_status q2_chk_leaks(struct q2_checker *c);
enum q2_status q2_chk_chain(struct q2_checker *c);

#endif
