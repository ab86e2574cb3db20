/*
 * state.h - a file by which long work goes on where an interrupted run ended.
 *
 * SPDX-License-Identifier: MIT
 *
 * Text, to which is only added: a head that says which work it is of, lines of the
 * work's own, and lines "kept POSITION CHECKSUM".  The checksum is over the work's
 * identity and all that stands before, so that an altered line is told.  Lines
 * behind the last of those are of no account: the run that wrote them was killed.
 *
 * A file that is of something else, or damaged, is refused and stays as it is.  A
 * state that cannot be written is complained about once; the work goes on.
 */
#ifndef Q2_CLI_STATE_H
#define Q2_CLI_STATE_H

#include <stdio.h>

#include "base/buf.h"

struct q2_cli_tool;

struct q2_cli_state {
	const struct q2_cli_tool *tool;
	char *path;	   /* NULL: not in use */
	FILE *file;	   /* NULL: no state is kept any more */
	bool ours;	   /* it was empty: nobody else's bytes are in it */
	uint64_t sum;	   /* over what is in the file */
	uint64_t position; /* that the file vouches for */
	long long end;	   /* of that part of the file, bytes */
	uint64_t reached;
	struct q2_buf lines; /* not written yet */
	size_t whole;	     /* bytes of them that belong to `reached` */
	long long next;	     /* when to write, in milliseconds */
	char line[256];	     /* the last one that was recalled */
};

/* Opens or makes the file, which nobody else may have in use; to be called before
 * a sandbox closes.  0, or an exit status: it has complained. */
int q2_cli_state_open(struct q2_cli_state *s, const struct q2_cli_tool *tool,
		      const char *path);

/* Checks that the file is of this work, and whole; `anew`: starts from nothing if
 * it is not.  `identity` is a number that is another one for other work.  0 or an
 * exit status. */
int q2_cli_state_load(struct q2_cli_state *s, uint64_t identity, bool anew);

/* How far the work was done, in its own unit; and then line after line of what it
 * left, without the newline; NULL behind the last one. */
uint64_t q2_cli_state_position(const struct q2_cli_state *s);
const char *q2_cli_state_recall(struct q2_cli_state *s);

/* Adds a line, which has no newline and is shorter than 250 bytes; then tells that
 * all lines up to `position` have been added.  Now and then that is written. */
void q2_cli_state_add(struct q2_cli_state *s, const char *line, size_t n);
void q2_cli_state_reach(struct q2_cli_state *s, uint64_t position);

/* `finished`: removes the file; otherwise writes what was reached. */
void q2_cli_state_close(struct q2_cli_state *s, bool finished);

#endif
