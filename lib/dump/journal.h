/*
 * journal.h - which part of a file an interrupted run has finished.
 *
 * SPDX-License-Identifier: MIT
 *
 * A file beside the temporary one, PATH.part.journal.  Its first line says for what
 * it is.  Of a raw file, a line is added for what is done; of a QCOW2 image, the
 * whole is replaced, with the state in which the image's writer was then.  Either
 * happens only after the bytes that it vouches for are on the disk, and has a
 * checksum, so that a torn one is told.
 */
#ifndef Q2_DUMP_JOURNAL_H
#define Q2_DUMP_JOURNAL_H

#include "io/target.h"

struct q2_journal;

/* What identifies the work: another chain, or one that was changed, another part of
 * the disk, or another form of it, gives another one. */
struct q2_journal_key {
	uint64_t hash;
	uint64_t size;
};

enum q2_journal_flag {
	Q2_JOURNAL_FRESH = 1 << 0,  /* whatever there is, nothing is done yet */
	Q2_JOURNAL_REPLACE = 1 << 1 /* the same if it is of another key, or
				     * there is none that can be read */
};

/* Opens or makes the journal for the target at `path`.  Q2_E_REFUSED: it is of
 * another key, or none: the temporary file may be anybody's. */
enum q2_status q2_journal_open(const char *path,
			       const struct q2_journal_key *key,
			       unsigned flags, struct q2_journal **out,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Bytes of the disk from the start that are done. */
uint64_t q2_journal_done(const struct q2_journal *j);

/* The writer's state then; NULL if there is none.  Borrowed. */
const uint8_t *q2_journal_state(const struct q2_journal *j, size_t *len);

/* Nothing of that is of use: nothing is done, and the journal says so before the
 * file can look as if it were. */
enum q2_status q2_journal_forget(struct q2_journal *j,
				 struct q2_err *err) Q2_MUST_CHECK;

/* Whether `done` bytes are worth noting, with a state of `len` bytes. */
bool q2_journal_due(const struct q2_journal *j, uint64_t done, size_t len);

/* Bytes up to `done` have been written to `t`.  Now and then makes that durable
 * and notes it. */
enum q2_status q2_journal_note(struct q2_journal *j, struct q2_target *t,
			       uint64_t done,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Makes all that was written to `t` durable, and notes it with this state. */
enum q2_status q2_journal_keep(struct q2_journal *j, struct q2_target *t,
			       uint64_t done, const uint8_t *state, size_t len,
			       struct q2_err *err) Q2_MUST_CHECK;

/* A temporary file at `path` was made anew by a run that keeps no journal: one that
 * is left from before is removed, as it vouches for a file that is gone. */
void q2_journal_discard(const char *path);

/* `finished`: the file is removed.  NULL is fine. */
void q2_journal_close(struct q2_journal *j, bool finished);

#endif
