/*
 * ext.h - the header extensions in the first cluster.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Header extensions".  Total: any bytes are walked without reading
 * outside of the area and in at most area / 8 steps.
 */
#ifndef Q2_FORMAT_EXT_H
#define Q2_FORMAT_EXT_H

#include "base/num.h"
#include "format/header.h"

#define Q2_EXT_END 0u
#define Q2_EXT_FORMAT 0xe2792acau
#define Q2_EXT_FEATURES 0x6803f857u
#define Q2_EXT_BITMAPS 0x23852875u
#define Q2_EXT_LUKS 0x0537be77u
#define Q2_EXT_DATA_FILE 0x44415441u

#define Q2_EXT_HEAD 8u		/* type and length */
#define Q2_EXT_FORMAT_MAX 15u	/* QEMU's limit for a backing format */
#define Q2_EXT_BITMAPS_LEN 24u
#define Q2_EXT_LUKS_LEN 16u
#define Q2_FEATURE_LEN 48u /* one record of the feature name table */

struct q2_ext {
	uint32_t type;
	uint32_t len;	     /* of the data, as the file has it */
	uint32_t at;	     /* file offset of the extension's head */
	const uint8_t *data; /* borrowed; NULL if the data does not fit */
};

enum q2_ext_step {
	Q2_EXT_ONE,    /* *out is an extension */
	Q2_EXT_ENDED,  /* *out is the end mark; its len should be 0 */
	Q2_EXT_NO_END, /* the area ends at out->at, without an end mark */
	Q2_EXT_CUT     /* head or data of *out do not fit into the area */
};

struct q2_ext_iter {
	const uint8_t *bytes;
	uint32_t at;
	uint32_t end;
};

/* The bytes of the file where extensions may stand: from the header's end to
 * the backing file's name or the end of the first cluster.  False if they are
 * not to be looked for, because header_length is out of range or the name
 * starts inside the header. */
bool q2_ext_area(const struct q2_header *h, uint64_t cluster_size,
		 struct q2_range *area);

/* `bytes` is the file's start, borrowed, with all of `area` inside. */
void q2_ext_start(struct q2_ext_iter *it, const uint8_t *bytes,
		  struct q2_range area);

/* After anything but Q2_EXT_ONE the answer stays the same. */
enum q2_ext_step q2_ext_next(struct q2_ext_iter *it, struct q2_ext *out);

/* The last extension of this type that lies before the end mark, as readers
 * take it.  False if there is none. */
bool q2_ext_find(const uint8_t *bytes, struct q2_range area, uint32_t type,
		 struct q2_ext *out);

#endif
