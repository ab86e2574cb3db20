/*
 * read.h - one thread's means to turn a piece of the guest's disk into bytes.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_READ_H
#define Q2_DUMP_READ_H

#include "dump/guest.h"

struct q2_reader;

/* `g` is borrowed.  Made and freed by one thread at a time; used by any one. */
enum q2_status q2_reader_new(struct q2_guest *g, struct q2_reader **out,
			     struct q2_err *err) Q2_MUST_CHECK;
void q2_reader_free(struct q2_reader *r);

/* A compressed cluster as it is stored. */
struct q2_packed {
	const uint8_t *bytes; /* valid until the next read */
	size_t len;	      /* of the whole stream; 0: not known */
};

/* Writes the p->e.length bytes of a piece to `out`.  *packed, which may be NULL,
 * is set if the piece is one compressed cluster.  Q2_E_FORMAT: the metadata or
 * the stream make no sense; the text says why, and names a problem of the
 * catalogue where there is one. */
enum q2_status q2_reader_piece(struct q2_reader *r, const struct q2_piece *p,
			       uint8_t *out, struct q2_packed *packed,
			       struct q2_err *err) Q2_MUST_CHECK;

#endif
