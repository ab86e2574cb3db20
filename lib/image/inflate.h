/*
 * inflate.h - the contents of compressed clusters.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Compressed Clusters Descriptor": raw deflate without a zlib header, or
 * zstd; decompression stops when it has produced a cluster.
 */
#ifndef Q2_IMAGE_INFLATE_H
#define Q2_IMAGE_INFLATE_H

#include "image/image.h"

struct q2_inflate;

/* Work space for one image (borrowed), under its budget. */
enum q2_status q2_inflate_new(const struct q2_image *img,
			      struct q2_inflate **work,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Inflates the data of the host range that a descriptor names.  *bytes points
 * into the work space, *n is what came out (at most one cluster), and *whole says
 * whether that is a full cluster made only from bytes that the file holds: past
 * its end nothing is invented.  Bad streams are no error, I/O errors are. */
enum q2_status q2_inflate(struct q2_inflate *work, struct q2_range host,
			  const uint8_t **bytes, size_t *n, bool *whole,
			  struct q2_err *err) Q2_MUST_CHECK;

void q2_inflate_free(struct q2_inflate *work);

#endif
