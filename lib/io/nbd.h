/*
 * nbd.h - images on an NBD server, read-only.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_IO_NBD_H
#define Q2_IO_NBD_H

#include "io/io.h"

/* Whether this names an NBD export: nbd://, nbds://, nbd+unix://, nbds+unix://. */
bool q2_nbd_is_uri(const char *path);

/* Connects to it.  Q2_E_UNSUPPORTED if the library was built without libnbd. */
enum q2_status q2_nbd_open(const char *uri, struct q2_io **io,
			   struct q2_err *err) Q2_MUST_CHECK;

#endif
