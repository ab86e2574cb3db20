/*
 * record.h - one line of a scan's results.
 *
 * SPDX-License-Identifier: MIT
 *
 * report/scan.c writes them: a line "audit", one for each volume, one for each
 * file, and a line "end" that counts the files.
 */
#ifndef Q2_MAP_RECORD_H
#define Q2_MAP_RECORD_H

#include "base/jsonline.h"
#include "q2.h"

#define Q2_RECORD_MAX 262144u /* bytes of a line */

enum q2_record_kind {
	Q2_RECORD_AUDIT,
	Q2_RECORD_VOLUME,
	Q2_RECORD_FILE,
	Q2_RECORD_END
};

enum q2_record_key {
	Q2_REC_KIND,
	Q2_REC_SCHEMA,
	Q2_REC_PART,
	Q2_REC_PARTS,
	Q2_REC_HOST,
	Q2_REC_BOOT,
	Q2_REC_PATHS,
	Q2_REC_DEVICE,
	Q2_REC_SHARED,
	Q2_REC_SIZE,
	Q2_REC_FREE,
	Q2_REC_FILENAME,
	Q2_REC_FILENAME_BYTES,
	Q2_REC_FORMAT,
	Q2_REC_ERROR,
	Q2_REC_ONLY_NAMED,
	Q2_REC_CAPACITY,
	Q2_REC_LENGTH,
	Q2_REC_BLOCK,
	Q2_REC_ALLOCATION,
	Q2_REC_ALONE,
	Q2_REC_INODE,
	Q2_REC_NAMES,
	Q2_REC_CHANGED,
	Q2_REC_SNAPSHOTS,
	Q2_REC_BACKING_NAME,
	Q2_REC_BACKING_BYTES,
	Q2_REC_BACKING_FORMAT,
	Q2_REC_BASE_DEVICE,
	Q2_REC_BASE_INODE,
	Q2_REC_DATA_DEVICE,
	Q2_REC_DATA_INODE,
	Q2_REC_FLAGS,
	Q2_REC_FILES,
	Q2_REC_KEYS
};

/* Reads a line of n bytes, n <= Q2_RECORD_MAX, into the texts' room (n + 1 bytes)
 * and Q2_REC_KEYS values.  All that a line of its kind must have is there then, and
 * names are as the file system has them.  NULL, or what is wrong. */
const char *q2_record_read(const char *line, size_t n, char *room,
			   enum q2_record_kind *kind,
			   struct q2_json_value *v);

/* What a line about a file says, but for texts and references to others.  NULL, or
 * what is wrong. */
const char *q2_record_file(const struct q2_json_value *v,
			   struct q2_scan_file *f);

#endif
