/*
 * json.h - a writer of JSON that keeps nothing but its place.
 *
 * SPDX-License-Identifier: MIT
 *
 * Members and elements are appended one after the other; commas, newlines and
 * indentation come by themselves.  `key` is NULL for an element of an array
 * and for the outermost value.
 *
 * Strings may be any bytes.  What is not UTF-8 becomes U+FFFD, one for each
 * byte: lone surrogates would keep the byte, but are refused by many readers.
 */
#ifndef Q2_REPORT_JSON_H
#define Q2_REPORT_JSON_H

#include <stdbool.h>

#include "base/buf.h"

struct q2_json {
	struct q2_buf *out;
	unsigned indent; /* blanks for each level; 0: all on one line */
	unsigned depth;	 /* containers that are open, counted from a margin */
	unsigned flat;	 /* depth from which one line is used; 0: none */
	bool begun;	 /* the container that is open has a value already */
};

/* Opens an object ('{') or array ('['). */
void q2_json_open(struct q2_json *j, const char *key, char kind);
/* The same, all on one line. */
void q2_json_open_flat(struct q2_json *j, const char *key, char kind);
/* Closes it, with the same `kind`. */
void q2_json_close(struct q2_json *j, char kind);

void q2_json_u64(struct q2_json *j, const char *key, uint64_t value);
void q2_json_bool(struct q2_json *j, const char *key, bool value);
/* A string such as "0x8000000000000000": for raw table entries, all of whose
 * 64 bits matter, while many readers keep only 53 of a number. */
void q2_json_hex(struct q2_json *j, const char *key, uint64_t value);
void q2_json_text(struct q2_json *j, const char *key, const char *text);
void q2_json_bytes(struct q2_json *j, const char *key, const void *bytes,
		   size_t n);
/* Of a name that JSON cannot hold its bytes, too, under another key, in hexadecimal. */
void q2_json_name(struct q2_json *j, const char *key, const char *bytes_key,
		  const char *text);

bool q2_is_utf8(const char *text);
void q2_put_hex(struct q2_buf *out, const char *text);

#endif
