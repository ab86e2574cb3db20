/*
 * decode.h - inflating one cluster's stream from memory to memory.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Compressed Clusters Descriptor": raw deflate without a zlib header, or
 * zstd; decompression stops when it has produced a cluster.
 */
#ifndef Q2_IMAGE_DECODE_H
#define Q2_IMAGE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "q2.h"

struct q2_decoder;

enum q2_status q2_decoder_new(bool zstd, struct q2_decoder **out,
			      struct q2_err *err) Q2_MUST_CHECK;
void q2_decoder_free(struct q2_decoder *d);

/* Inflates until `room` bytes are out or the stream ends or breaks; *n is how many
 * came out, or 0 where a frame of zstd has more.  *used is the length of the whole stream in bytes, or 0 if it does not
 * end properly with these bytes.  Bad streams are no error. */
enum q2_status q2_decode(struct q2_decoder *d, const uint8_t *in, size_t len,
			 uint8_t *out, size_t room, size_t *n, size_t *used,
			 struct q2_err *err) Q2_MUST_CHECK;

#endif
