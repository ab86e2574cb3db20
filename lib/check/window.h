/*
 * window.h - reading a structure of unknown length through a small buffer.
 *
 * SPDX-License-Identifier: MIT
 *
 * What cannot be read is reported once, piece by piece, and shows as zeros.
 * What lies past the end of the file shows as zeros, too.
 */
#ifndef Q2_CHECK_WINDOW_H
#define Q2_CHECK_WINDOW_H

#include "check/checker.h"

struct q2_window {
	struct q2_checker *c;
	enum q2_kind kind;
	uint8_t *bytes;
	size_t room;	/* bytes that there may be at the most */
	size_t held;	/* and that there are */
	size_t step;	/* how much the next refill reads */
	uint64_t at;	/* host offset of bytes[0] */
	size_t n;	/* bytes that are valid */
	struct q2_range bad; /* unreadable; nothing behind was reported yet */
	struct q2_holes holes;
};

/* `room` is the most that is looked at at once; `claimed` is how many bytes
 * may be read in all.  To be closed after failure too. */
enum q2_status q2_window_open(struct q2_window *w, struct q2_checker *c,
			      enum q2_kind kind, size_t room,
			      uint64_t claimed) Q2_MUST_CHECK;
void q2_window_close(struct q2_window *w);

/* *bytes = `len` <= room bytes at host offset `off`, valid until the next call.
 * Offsets should rise most of the time. */
enum q2_status q2_window_see(struct q2_window *w, uint64_t off, size_t len,
			     const uint8_t **bytes) Q2_MUST_CHECK;

/* Whether some of these bytes could not be read when they were last seen. */
bool q2_window_bad(const struct q2_window *w, uint64_t off, uint64_t len);

/* The first offset at or after `off` where the file may hold anything but
 * zeros; cheap to ask where offsets rise. */
uint64_t q2_window_skip(struct q2_window *w, uint64_t off);

/* Sets a finding's text to `len` bytes at host offset `off`.  Nothing is said
 * of a failure: the bytes were read before. */
void q2_window_text(struct q2_checker *c, struct q2_finding *f, uint64_t off,
		    size_t len);

/* Whether `len` bytes of the structure at the host offsets a and b are the same;
 * false, and reported, if they cannot be read. */
bool q2_window_same(struct q2_checker *c, enum q2_kind kind, uint64_t a,
		    uint64_t b, size_t len);

#endif
