/*
 * readers.h - programs that read QCOW2, and what stops each of them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_MAP_READERS_H
#define Q2_MAP_READERS_H

#include "image/open.h"

/* What an image may ask of its reader. */
enum q2_need {
	Q2_NEED_VERSION_2,
	Q2_NEED_VERSION_3,
	Q2_NEED_LENGTH_112, /* a header of 112 bytes, as QEMU 5.1 and later make */
	Q2_NEED_LENGTH_ODD, /* neither 104 nor 112 */
	Q2_NEED_DIRTY,
	Q2_NEED_CORRUPT,
	Q2_NEED_DATA_FILE,
	Q2_NEED_COMPRESSION_TYPE,
	Q2_NEED_EXTENDED_L2,
	Q2_NEED_UNKNOWN_COMPATIBLE,
	Q2_NEED_AUTOCLEAR, /* any such bit, as with bitmaps */
	Q2_NEED_REFCOUNT_WIDTH,
	Q2_NEED_AES,
	Q2_NEED_LUKS,
	Q2_NEED_BACKING,
	Q2_NEED_BACKING_DRIVER, /* its name is more than a path */
	Q2_NEED_LARGE_DISK, /* more than 16 TiB */
	Q2_NEED_COMPRESSED, /* clusters */
	Q2_NEED_ZERO,	    /* clusters marked as zeros */
	Q2_NEEDS
};
#define Q2_NEED(need) (1u << (need))

/* What the header asks for: a set of bits. */
unsigned q2_needs_of(const struct q2_opened *o);

#endif
