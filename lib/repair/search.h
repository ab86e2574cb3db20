/*
 * search.h - searches of the file whose state is kept, so that another run goes on
 * from it.
 *
 * SPDX-License-Identifier: MIT
 *
 * A plan's searches come in an order that only the image and the options decide.
 * Kept is the list of those that are done, with what they found, and the one at
 * hand, with its place.  Another run does all else again, but each search in turn
 * takes from the list what it found before.
 */
#ifndef Q2_REPAIR_SEARCH_H
#define Q2_REPAIR_SEARCH_H

#include "base/serial.h"
#include "q2.h"

struct q2_repair;
struct q2_runs;

enum q2_search_kind {
	Q2_SEARCH_REFTABLES = 1,
	Q2_SEARCH_ROOTS,
	Q2_SEARCH_STRAYS,
	Q2_SEARCH_ORPHANS
};

struct q2_search {
	enum q2_search_kind kind;
	uint64_t of; /* a digest of what decides its course */
	/* The place and what was found: written, and taken again. */
	void (*put)(const void *work, struct q2_buf *b);
	enum q2_status (*take)(void *work, struct q2_source *in);
	void *work;
};

/* All of one plan. */
struct q2_searches {
	const struct q2_check_keep *keep; /* NULL: nothing is kept */
	uint8_t *at; /* those that are done, as they are written */
	size_t n;
	size_t room;
	bool lost;	/* there was no room for one */
	bool fresh;	/* one is done that was not written yet */
	bool going_on;	/* `old` has more */
	struct q2_source old;
};

/* Begins the list; takes what was kept, if there is anything. */
enum q2_status q2_searches_begin(struct q2_repair *r) Q2_MUST_CHECK;
/* `st` is that of the plan, and is returned. */
enum q2_status q2_searches_end(struct q2_repair *r, enum q2_status st);

/* Takes from the list what this search has found; *done: there is no more. */
enum q2_status q2_search_begin(struct q2_repair *r, const struct q2_search *s,
			       bool *done) Q2_MUST_CHECK;
/* Progress, the work's place being up to date; the state is written if it is time,
 * or if this is an interruption. */
enum q2_status q2_search_tick(struct q2_repair *r, const struct q2_search *s,
			      const char *phase, uint64_t done,
			      uint64_t total) Q2_MUST_CHECK;
/* The search is at its end, with `st`, which is returned: what it found is noted. */
enum q2_status q2_search_end(struct q2_repair *r, const struct q2_search *s,
			     enum q2_status st);

/* Runs of clusters below `most`; neighbours in rising order become one. */
void q2_put_runs(struct q2_buf *b, const struct q2_runs *runs);
enum q2_status q2_take_runs(struct q2_source *in, struct q2_repair *r,
			    uint64_t most, struct q2_runs *runs);

#endif
