/*
 * resume.h - continuing what an interrupted run has left.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_RESUME_H
#define Q2_DUMP_RESUME_H

#include "dump/dump.h"
#include "dump/newimage.h"

/* Opens the journal; *journal is NULL if none is asked for.  `cluster`: of the
 * result, 0 for raw.  Q2_E_REFUSED: what is left is of something else. */
enum q2_status q2_resume_open(struct q2_dump_run *d, size_t cluster,
			      struct q2_journal **journal,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Opens the writer of the result: a new one, or in the state of the journal, with
 * what the file has besides cut off.  A state that cannot be used counts as none. */
enum q2_status q2_resume_image(struct q2_dump_run *d, struct q2_journal *journal,
			       const struct q2_newimage_opts *opts,
			       struct q2_newimage **image,
			       struct q2_err *err) Q2_MUST_CHECK;

#endif
