/*
 * veil.h - how data are stored where not as the guest has them: encryption.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Header" (crypt_method): only the data of standard clusters are
 * encrypted, in units of 512 bytes, each with a number that comes from where it lies
 * on the disk, or in the file.  What keys there are is no matter here.
 */
#ifndef Q2_IMAGE_VEIL_H
#define Q2_IMAGE_VEIL_H

#include "io/io.h"

#define Q2_VEIL_UNIT 512u

struct q2_veil {
	/* Both change bytes in place.  `guest` and `host` are where the first one
	 * lies on the disk and in the file; these and `len` are multiples of
	 * Q2_VEIL_UNIT. */
	enum q2_status (*hide)(void *ctx, uint8_t *bytes, size_t len,
			       uint64_t guest, uint64_t host,
			       struct q2_err *err);
	enum q2_status (*show)(void *ctx, uint8_t *bytes, size_t len,
			       uint64_t guest, uint64_t host,
			       struct q2_err *err);
	void *ctx;
};

/* Reads data as the guest has them, of any length from anywhere inside a cluster;
 * `veil` is NULL where they are stored that way.  What lies past the end of `io`
 * counts as stored zeros. */
enum q2_status q2_veil_read(const struct q2_veil *veil, struct q2_io *io,
			    void *buf, size_t len, uint64_t guest,
			    uint64_t host, struct q2_err *err) Q2_MUST_CHECK;

#endif
