/*
 * jsonline.h - reading one JSON object from a line of text, strictly.
 *
 * SPDX-License-Identifier: MIT
 *
 * For records that programs of ours wrote and somebody else may have changed.
 * The caller says which members it knows and of which type they are; others are
 * checked for their form and skipped.  Refused are: anything behind the object, a
 * member twice, a known one of another type, numbers that are not whole or do not
 * fit into 64 bits, text that is not UTF-8, control characters, lone surrogates,
 * NUL, and nesting deeper than needed.
 */
#ifndef Q2_BASE_JSONLINE_H
#define Q2_BASE_JSONLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum q2_json_type {
	Q2_JSON_NUMBER, /* a whole number from 0 to UINT64_MAX */
	Q2_JSON_BOOL,
	Q2_JSON_STRING,
	Q2_JSON_STRINGS /* an array of them */
};

struct q2_json_member {
	const char *key;
	enum q2_json_type type;
};

struct q2_json_value {
	bool given;
	uint64_t number;  /* also a bool: 0 or 1 */
	const char *text; /* with a NUL; of STRINGS: one behind the other */
	size_t count;	  /* of STRINGS */
};

/* Reads the n bytes of `line`.  value[i] is set for members[i], of which there are
 * n_members.  `room` has at least n + 1 bytes and takes the texts.  NULL if all
 * is well; else what is wrong, in static storage. */
const char *q2_json_line(const char *line, size_t n,
			 const struct q2_json_member *members,
			 size_t n_members, struct q2_json_value *value,
			 char *room);

#endif
