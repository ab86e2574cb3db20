/*
 * io.h - bytes from somewhere: a file, a block device, memory, an overlay.
 *
 * SPDX-License-Identifier: MIT
 *
 * Five operations, all-or-nothing and stackable, and two optional hints.
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

struct q2_range q2_io_data(struct q2_io *io, uint64_t off);
void q2_io_soon(struct q2_io *io, struct q2_range range);

/* A writable copy-on-write layer over `base`, kept in memory under `budget`;
 * `base` is borrowed and never written.  q2_io_close() drops what was written. */
struct q2_budget;
enum q2_status q2_io_overlay(struct q2_io *base, struct q2_budget *budget,
			     struct q2_io **io,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Device and inode of a file opened by q2_io_open(): equal for two names of one
 * file.  False for anything else. */
bool q2_io_identity(const struct q2_io *io, uint64_t *dev, uint64_t *inode);

#endif
