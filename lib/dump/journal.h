/*
 * journal.h - which part of a raw file an interrupted run has finished.
 *
 * SPDX-License-Identifier: MIT
 *
 * A small text beside the temporary file, PATH.part.journal.  A line is added only
 * after the bytes that it vouches for are on the disk, and has a checksum, so that
 * a torn one is told.
 */
#ifndef Q2_DUMP_JOURNAL_H
#define Q2_DUMP_JOURNAL_H

#include "io/target.h"

struct q2_journal;

/* What identifies the work: another chain, or one that was changed, or another
 * part of the disk, gives another one. */
struct q2_journal_key {
	uint64_t hash;
	uint64_t size;
};

/* Opens or makes the journal for the target at `path`.  With `fresh`, or if it is
 * of another key, nothing counts as done. */
enum q2_status q2_journal_open(const char *path,
			       const struct q2_journal_key *key, bool fresh,
			       struct q2_journal **out,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Bytes from the start that are done. */
uint64_t q2_journal_done(const struct q2_journal *j);

/* Bytes up to `done` have been written to `t`.  Now and then makes that durable
 * and notes it. */
enum q2_status q2_journal_note(struct q2_journal *j, struct q2_target *t,
			       uint64_t done,
			       struct q2_err *err) Q2_MUST_CHECK;

/* `finished`: the file is removed.  NULL is fine. */
void q2_journal_close(struct q2_journal *j, bool finished);

#endif
