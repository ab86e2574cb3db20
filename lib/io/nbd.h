/*
 * nbd.h - images on an NBD server.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_IO_NBD_H
#define Q2_IO_NBD_H

#include "io/io.h"

/* Whether this names an NBD export: nbd://, nbds://, nbd+unix://, nbds+unix://. */
bool q2_nbd_is_uri(const char *path);

enum q2_nbd_flag {
	/* The URI comes from an image: it must not name files of this machine
	 * (as keys for TLS), which one that a user gave may. */
	Q2_NBD_NO_FILES = 1 << 0,
	Q2_NBD_WRITE = 1 << 1 /* not read-only */
};

/* Connects to it.  Q2_E_UNSUPPORTED if the library was built without libnbd. */
enum q2_status q2_nbd_open(const char *uri, unsigned flags, struct q2_io **io,
			   struct q2_err *err) Q2_MUST_CHECK;

/* Makes a range read as zeros by the server's own means; `keep`: without giving up
 * its space.  Q2_E_UNSUPPORTED: it has none, or not for such a range.  `io` was
 * opened with Q2_NBD_WRITE. */
enum q2_status q2_nbd_zero(struct q2_io *io, struct q2_range range, bool keep,
			   struct q2_err *err) Q2_MUST_CHECK;

/* Whether both are connections to one export of one server, as far as this can be
 * told.  False for anything else. */
bool q2_nbd_same(const struct q2_io *a, const struct q2_io *b);

#endif
