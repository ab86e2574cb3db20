/*
 * report.h - what the parts of the report share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPORT_REPORT_H
#define Q2_REPORT_REPORT_H

#include "q2.h"
#include "report/json.h"

struct q2_chunk;

/* The findings of one problem: packed into chunks, in the order in which they
 * came. */
struct q2_group {
	uint64_t findings; /* how many came */
	uint64_t kept;
	uint64_t count; /* the sum of their counts */
	struct q2_chunk *first;
	struct q2_chunk *last;
};

struct q2_report {
	char *filename;
	uint64_t keep;
	uint64_t max_memory;
	uint64_t memory;
	bool has_result;
	struct q2_check_result result;
	struct q2_err err;
	bool has_repair;
	struct q2_repaired repair;
	size_t groups;		 /* as many as the catalogue has problems */
	struct q2_group group[]; /* in the catalogue's order */
};

/* Walks a group's findings; start with {group->first, 0}. */
struct q2_cursor {
	const struct q2_chunk *chunk;
	size_t at;
};
bool q2_cursor_next(struct q2_cursor *c, const struct q2_problem *problem,
		    struct q2_finding *f);

/* What the check came to.  A check that did not reach its end never counts as
 * clean: it is corrupt if corruptions were found until then, or unreadable. */
enum q2_verdict q2_report_verdict(const struct q2_report *report);

/* Why the check was not carried through, without the file's name in front;
 * NULL if it was, or if the file merely has no header to go by. */
const char *q2_report_failure(const struct q2_report *report);

/* Appends the finding's message. */
void q2_render_message(struct q2_buf *out, const struct q2_finding *f);

/* Puts the members of a finding into the JSON object that is open. */
void q2_put_finding(struct q2_json *j, const struct q2_finding *f);

/* Whether the report tells of a repair or an undoing, and of no check at all. */
bool q2_report_unchecked(const struct q2_report *report);

/* Puts the member "repair" into the JSON object that is open. */
void q2_put_repair(struct q2_json *j, const struct q2_repaired *repair);

/* The value of a finding's numeric field. */
uint64_t q2_field_value(const struct q2_finding *f, unsigned field);

/* Whether the problem's message prints this field in hexadecimal although its
 * nature does not ask for it: a raw value from a table. */
bool q2_field_is_raw(const struct q2_problem *p, unsigned field);

/* Hands on what is left in a piping buffer, and says how it went. */
enum q2_status q2_report_flush(struct q2_buf *out);

/* The sizes that people read: "64 KiB", "1.50 GiB". */
void q2_render_size(struct q2_buf *out, uint64_t bytes);

/* Appends text broken at blanks into lines of at most `width` columns, each
 * after `indent` blanks, each with a newline. */
void q2_render_wrapped(struct q2_buf *out, const char *text, size_t indent,
		       size_t width);

#endif
