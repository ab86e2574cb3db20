/*
 * target.h - where a whole new image is written to: a file, a device, a stream.
 *
 * SPDX-License-Identifier: MIT
 *
 * A file is written under a temporary name, NAME.part, and gets its own name when
 * it is complete.  A block device is written in place, and so is the disk of an NBD
 * server, which is a device here.  A stream only takes bytes in order.
 */
#ifndef Q2_IO_TARGET_H
#define Q2_IO_TARGET_H

#include "io/io.h"

enum q2_target_kind { Q2_TARGET_FILE, Q2_TARGET_DEVICE, Q2_TARGET_STREAM };

enum q2_target_flag {
	Q2_TARGET_REPLACE = 1 << 0, /* an existing file, or what an earlier run
				     * left under the temporary name */
	Q2_TARGET_CONTINUE = 1 << 1, /* take what an earlier run left */
	Q2_TARGET_NO_SYNC = 1 << 2,  /* do not wait until it is on the disk */
	Q2_TARGET_KEEP = 1 << 3, /* leave the temporary file after a failure */
	Q2_TARGET_FULL = 1 << 4	 /* write zeros rather than leave holes */
};

struct q2_target;

/* `path` is copied; "-" is standard output, which is not closed at the end.
 * A device, and a file that is to be replaced, is locked as by a writer that shares
 * nothing.  Q2_E_ARG: the file exists, or it is something that cannot be written
 * to; Q2_E_IN_USE: another process has it open. */
enum q2_status q2_target_open(const char *path, unsigned flags,
			      struct q2_target **target,
			      struct q2_err *err) Q2_MUST_CHECK;

enum q2_target_kind q2_target_kind(const struct q2_target *t);

/* For a file or a device: it can be written at any place and read back, also by
 * several threads at once.  Owned by the target; NULL for a stream. */
struct q2_io *q2_target_io(struct q2_target *t);

/* The temporary file holds what an earlier run has written. */
bool q2_target_continued(const struct q2_target *t);

/* Appends to a stream. */
enum q2_status q2_target_append(struct q2_target *t, const void *bytes,
				size_t len, struct q2_err *err) Q2_MUST_CHECK;

/* Makes a range read as zeros without writing data where that is possible, else
 * by writing them.  In a file the range must never have been written. */
enum q2_status q2_target_zero(struct q2_target *t, struct q2_range range,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Reserves the file's blocks up to `size`; nothing is done for the others. */
enum q2_status q2_target_reserve(struct q2_target *t, uint64_t size,
				 struct q2_err *err) Q2_MUST_CHECK;

/* Makes the range share its blocks with another file's, where the file system
 * can; false if it cannot, and then nothing has changed. */
bool q2_target_share(struct q2_target *t, struct q2_range range,
		     struct q2_io *from, uint64_t off);

/* Everything is written: makes it durable. */
enum q2_status q2_target_sync(struct q2_target *t,
			      struct q2_err *err) Q2_MUST_CHECK;

/* Gives a file its own name. */
enum q2_status q2_target_publish(struct q2_target *t,
				 struct q2_err *err) Q2_MUST_CHECK;

/* Without q2_target_publish() before, a file is removed unless it is to be kept.
 * NULL is fine. */
void q2_target_close(struct q2_target *t);

/* Takes the file out of the page cache, so that it is read from the disk. */
void q2_target_forget(struct q2_target *t);

/* The name under which the file can be opened now. */
const char *q2_target_path(const struct q2_target *t);

/* Whether `io` reads the disk of the server that this writes to. */
bool q2_target_is_server(const struct q2_target *t, const struct q2_io *io);

/* Device and inode of what the final name is now; false if there is nothing. */
bool q2_target_identity(const char *path, uint64_t *dev, uint64_t *inode);

/* The same of the file that is shown by a loop device of this name; false if that
 * is none. */
bool q2_target_shown(const char *path, uint64_t *dev, uint64_t *inode);

#endif
