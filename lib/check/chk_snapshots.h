/*
 * chk_snapshots.h - what the files of the snapshot phase share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CHECK_CHK_SNAPSHOTS_H
#define Q2_CHECK_CHK_SNAPSHOTS_H

#include "check/checker.h"
#include "format/snapshot.h"

/* What is kept of a sound record until all were seen. */
struct q2_snap_ref {
	uint64_t hash; /* of the id */
	uint64_t l1_offset;
	uint64_t label_at; /* host offset of what it is called */
	uint32_t l1_entries; /* 0: its table cannot be used */
	uint32_t index;
	uint32_t other; /* a tree with the same L1 table */
	uint16_t label_len;
	bool nameless; /* its id was not read */
	bool same_id;
	bool same_l1;
};
Q2_VEC(q2_snap_refs, struct q2_snap_ref)

/* Judges the fields of the sound record `s` at `host`, whose `bytes` are all
 * there; adds its tree, and a reference for the next function. */
enum q2_status q2_snapshot_add(struct q2_checker *c, struct q2_snap_refs *refs,
			       const uint8_t *bytes,
			       const struct q2_snapshot *s, uint64_t host,
			       uint32_t index);

/* Adds the tree of a record that is not sound, but has a table: what it uses is
 * in use.  Nothing else in it is judged. */
enum q2_status q2_snapshot_salvage(struct q2_checker *c,
				   struct q2_snap_refs *refs,
				   const struct q2_snapshot *s,
				   uint32_t index);

/* Finds ids and L1 tables that are there twice, and registers the tables. */
enum q2_status q2_snapshots_compare(struct q2_checker *c,
				    struct q2_snap_refs *refs);

#endif
