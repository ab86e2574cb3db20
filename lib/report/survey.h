/*
 * survey.h - what reports of a survey begin with, and how they name owners.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_REPORT_SURVEY_H
#define Q2_REPORT_SURVEY_H

#include "report/report.h"

/* "It is damaged; qcow2-fsck tells more:  A, B", or nothing. */
void q2_disk_put_damage(struct q2_buf *out, const struct q2_disk *disk);

/* Members about the image, into the object that is open. */
void q2_survey_put_head(struct q2_json *j, const struct q2_survey *s,
			const char *filename);

/* The same in a line or more for people. */
void q2_survey_put_title(struct q2_buf *out, const struct q2_survey *s,
			 const char *filename);

/* The same without the name. */
void q2_survey_put_facts(struct q2_buf *out, const struct q2_survey *s);

/* A snapshot by the index of its record: its id, and its name. */
void q2_survey_put_name(struct q2_buf *out, const struct q2_survey *s,
			uint32_t index);

/* Members "active" and "snapshot". */
void q2_survey_put_owner(struct q2_json *j, const struct q2_survey *s,
			 bool active, uint32_t snapshot);

/* The same in words: "active", "active, snapshot 1 (name)", "-". */
void q2_survey_put_whose(struct q2_buf *out, const struct q2_survey *s,
			 bool active, uint32_t snapshot);

/* Sizes that are exact: the largest unit of which it is a whole number. */
void q2_render_exact(struct q2_buf *out, uint64_t bytes);

#endif
