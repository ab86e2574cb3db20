/*
 * io.h - bytes from somewhere: a file, a block device, memory, an overlay.
 *
 * SPDX-License-Identifier: MIT
 *
 * Five operations, all-or-nothing and stackable, and three optional ones.
 * Size and writability are data.  A stacked object borrows what lies below it.
 */
#ifndef Q2_IO_IO_H
#define Q2_IO_IO_H

#include "base/num.h"
#include "q2.h"

struct q2_io_ops {
	/* Reads exactly len bytes; the range lies inside [0, size). */
	enum q2_status (*pread)(struct q2_io *io, void *buf, size_t len,
				uint64_t off, struct q2_err *err);
	/* Writes exactly len bytes; may extend the file.  NULL: read-only. */
	enum q2_status (*pwrite)(struct q2_io *io, const void *buf, size_t len,
				 uint64_t off, struct q2_err *err);
	enum q2_status (*resize)(struct q2_io *io, uint64_t size,
				 struct q2_err *err);
	/* Returns when all that was written is durable. */
	enum q2_status (*flush)(struct q2_io *io, struct q2_err *err);
	void (*close)(struct q2_io *io);
	/* Gives the range's space back; what it holds then is undefined.  NULL:
	 * cannot be done. */
	enum q2_status (*discard)(struct q2_io *io, struct q2_range range,
				  struct q2_err *err);

	/* Hint: the first range at or after `off` that may hold anything but
	 * zeros; {size, 0} if there is none.  NULL: everything may. */
	struct q2_range (*data)(struct q2_io *io, uint64_t off);
	/* Hint: this range will be read soon.  NULL: ignored. */
	void (*soon)(struct q2_io *io, struct q2_range range);
};

/* Embedded first in every implementation. */
struct q2_io {
	const struct q2_io_ops *ops;
	uint64_t size;
	uint64_t stored; /* bytes that take up space; size if not known */
	bool writable;
	bool is_device; /* a block device: size is the device's */
};

/* Reads exactly `len` bytes.  A range past the end is Q2_E_RANGE; a file that
 * became shorter since it was opened is Q2_E_IO. */
enum q2_status q2_pread(struct q2_io *io, void *buf, size_t len, uint64_t off,
			struct q2_err *err) Q2_MUST_CHECK;

/* The same, but what lies past the end of the file reads as zeros: what the
 * format's readers do with a last cluster that is there only in part. */
enum q2_status q2_pread_zero(struct q2_io *io, void *buf, size_t len,
			     uint64_t off, struct q2_err *err) Q2_MUST_CHECK;

enum q2_status q2_pwrite(struct q2_io *io, const void *buf, size_t len,
			 uint64_t off, struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_resize(struct q2_io *io, uint64_t size,
			 struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_flush(struct q2_io *io, struct q2_err *err) Q2_MUST_CHECK;

/* Q2_E_UNSUPPORTED where it cannot be done. */
enum q2_status q2_io_discard(struct q2_io *io, struct q2_range range,
			     struct q2_err *err) Q2_MUST_CHECK;

struct q2_range q2_io_data(struct q2_io *io, uint64_t off);
void q2_io_soon(struct q2_io *io, struct q2_range range);

/* A writable copy-on-write layer over `base`, kept in memory under `budget`;
 * `base` is borrowed and never written.  q2_io_close() drops what was written. */
struct q2_budget;
enum q2_status q2_io_overlay(struct q2_io *base, struct q2_budget *budget,
			     struct q2_io **io,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Makes *p an image that only is read, and is `base` with `n` bytes, from `off` on, in
 * the place of its own; it may become longer by that, up to INT64_MAX.  All is borrowed,
 * and there is nothing to close. */
struct q2_patched {
	struct q2_io io;
	struct q2_io *base;
	uint64_t off;
	const uint8_t *bytes;
	size_t n;
};
void q2_io_patched(struct q2_patched *p, struct q2_io *base, uint64_t off,
		   const uint8_t *bytes, size_t n);

/* A writable image in memory that starts as a copy of `size` bytes and grows up
 * to `limit` bytes (0: no limit), past which writing fails with Q2_E_IO. */
enum q2_status q2_io_memory_rw(const void *data, size_t size, uint64_t limit,
			       struct q2_io **io,
			       struct q2_err *err) Q2_MUST_CHECK;
/* Its bytes, until it is written to or closed. */
const uint8_t *q2_io_memory_bytes(const struct q2_io *io);

/* A new file, readable for its owner only, under a temporary name beside `path`.
 * q2_io_publish() makes it durable and gives it its name; unless `replace`, a file
 * of that name must not be there (Q2_E_IO, EEXIST).  Closed without that, or after
 * that failed, it is gone. */
enum q2_status q2_io_create(const char *path, struct q2_io **io,
			    struct q2_err *err) Q2_MUST_CHECK;
enum q2_status q2_io_publish(struct q2_io *io, bool replace,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Opens a file that is no image for reading and writing, without any lock. */
enum q2_status q2_io_reopen(const char *path, struct q2_io **io,
			    struct q2_err *err) Q2_MUST_CHECK;

/* When the file's content was last changed, in nanoseconds since 1970, after
 * making that durable; 0 where there is no such time. */
enum q2_status q2_io_changed(const struct q2_io *io, uint64_t *when,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Sets that time; 0, or where there is none: nothing is done. */
enum q2_status q2_io_set_changed(struct q2_io *io, uint64_t when,
				 struct q2_err *err) Q2_MUST_CHECK;

/* As q2_io_open(), but whatever the path looks like, it is one: for names that come
 * from images, which must not make us connect to anything. */
enum q2_status q2_io_open_file(const char *path, struct q2_io **io,
			       struct q2_err *err) Q2_MUST_CHECK;

/* Device and inode of a file opened by q2_io_open(): equal for two names of one
 * file.  False for anything else. */
bool q2_io_identity(const struct q2_io *io, uint64_t *dev, uint64_t *inode);

/* The same of the file that a loop device shows; false for anything else. */
bool q2_io_shown(const struct q2_io *io, uint64_t *dev, uint64_t *inode);
bool q2_fd_shown(int fd, uint64_t *dev, uint64_t *inode);

/* The whole file, and no part of one, that the loop device at `path` shows: how it
 * is now, and in *below its path (room for `room` bytes).  False for anything else,
 * and where that file cannot be found. */
struct stat;
bool q2_loop_file(const char *path, struct stat *sb, char *below, size_t room);

/* The descriptor of a file opened by q2_io_open(), for what only the kernel can
 * do with two files; -1 for anything else. */
int q2_io_descriptor(const struct q2_io *io);

/* *out: a number, made from `hash` and from which file this is, its length and its
 * times, that is another one once the file was written to: it has another time of
 * change then, whatever was done about its time of modification.  False for
 * anything but a regular file opened by q2_io_open(). */
bool q2_io_facts(const struct q2_io *io, uint64_t hash, uint64_t *out);

/* The same also for a block device, as far as q2_io_unseen() says.  It has what was
 * written to the device before made durable. */
bool q2_io_traces(const struct q2_io *io, uint64_t hash, uint64_t *out);

#endif
