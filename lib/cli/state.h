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

/* A state that is one piece (state_whole.c). */
struct q2_cli_whole {
	uint64_t number; /* 0: there is none */
	uint64_t start;	 /* where in the file */
	uint64_t n;	 /* bytes */
	uint64_t sum;
};

struct q2_cli_state {
	const struct q2_cli_tool *tool;
	const char *anew;  /* how a user starts anew; NULL: by --force */
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
	struct q2_cli_whole last; /* that the file vouches for */
	struct q2_cli_whole next_one; /* that is being written */
	bool crowded;	     /* there is no room for it before `last` */
	long long since;     /* earlier than that, little would be lost */
	long long began;     /* when it was to be written */
	uint64_t at;	     /* how much of `last` was read */
	char *block;	     /* of the one being written */
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

/* The same for work whose state is one piece of any bytes, each time written anew:
 * behind the head stand two lines, by turns, that tell where the last one is.  The
 * one before stays until that line is written.  To load, nothing is started anew. */
int q2_cli_whole_load(struct q2_cli_state *s, uint64_t identity);

/* Up to n bytes of what was loaded; 0 at the end, and if there was nothing. */
size_t q2_cli_whole_read(struct q2_cli_state *s, void *bytes, size_t n);

/* Whether it is time to write one.  `pressing`: the work ends, or there will be no
 * better moment. */
bool q2_cli_whole_due(struct q2_cli_state *s, bool pressing);

/* Adds to the state that is being written: 0, or -1 if it cannot be.  Then ends it;
 * not `whole`: it is of no use.  What fails is complained about once. */
int q2_cli_whole_add(struct q2_cli_state *s, const char *bytes, size_t n);
void q2_cli_whole_end(struct q2_cli_state *s, bool whole);

#define Q2_STATE_FOREIGN "is not what an interrupted run left"
#define Q2_STATE_OTHER                                                         \
	"is of another image or other options, or the image has changed since"
#define Q2_STATE_DAMAGED "was damaged or altered"

/* What a run that is killed loses, in milliseconds; and the time in these. */
#define Q2_STATE_EVERY 5000
long long q2_cli_state_clock(void);

/* For these: complains; the state that there is stays. */
void q2_cli_state_give_up(struct q2_cli_state *s);
/* What is wrong with the first line; NULL if nothing is, or if there is none yet. */
const char *q2_cli_state_head(struct q2_cli_state *s, uint64_t identity,
			      bool *empty);
/* Writes nothing but that line; false after a failure. */
bool q2_cli_state_begin(struct q2_cli_state *s, uint64_t identity);
/* Closes the file, and complains of what is wrong with it. */
int q2_cli_state_refuse(struct q2_cli_state *s, const char *wrong);

/* `finished`: removes the file; otherwise writes what was reached. */
void q2_cli_state_close(struct q2_cli_state *s, bool finished);

#endif
