/*
 * file.c - regular files and block devices.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/loop.h>

#include "base/err.h"
#include "base/hash.h"
#include "io/nbd.h"

static enum q2_status file_pread(struct q2_io *io, void *buf, size_t len,
				 uint64_t off, struct q2_err *err)
{
	const struct q2_file *f = (const struct q2_file *)io;
	char *at = buf;

	while (len) {
		ssize_t got = pread(f->fd, at, len, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return q2_fail_errno(err, errno, off, "read error");
		if (got == 0)
			return q2_fail(err, Q2_E_IO, 0, off,
				       "the file has become shorter");
		at += got;
		off += (uint64_t)got;
		len -= (size_t)got;
	}
	return Q2_OK;
}

static enum q2_status file_pwrite(struct q2_io *io, const void *buf, size_t len,
				  uint64_t off, struct q2_err *err)
{
	const struct q2_file *f = (const struct q2_file *)io;
	const char *at = buf;

	if (io->is_device && !q2_inside(off, len, io->size))
		return q2_fail(err, Q2_E_RANGE, 0, off,
			       "%zu bytes do not fit on the device", len);
	while (len) {
		ssize_t done = pwrite(f->fd, at, len, (off_t)off);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return q2_fail_errno(err, done < 0 ? errno : ENOSPC,
					     off, "write error");
		at += done;
		off += (uint64_t)done;
		len -= (size_t)done;
		io->size = q2_max(io->size, off);
	}
	return Q2_OK;
}

/* Space for what is added is taken at once, where the file system can: better
 * that it lacks now than in the middle of the work. */
static enum q2_status grow(const struct q2_file *f, uint64_t size,
			   struct q2_err *err)
{
	uint64_t old = f->io.size;
	int error;

	if (fallocate(f->fd, 0, (off_t)old, (off_t)(size - old)) == 0)
		return Q2_OK;
	error = errno;
	if (error == EOPNOTSUPP || error == ENOSYS || error == EINTR) {
		if (ftruncate(f->fd, (off_t)size) == 0)
			return Q2_OK;
		error = errno;
	} else if (ftruncate(f->fd, (off_t)old) < 0) {
		/* A part of it may have been added. */
		return q2_fail_errno(err, errno, old,
				     "cannot take back what was added");
	}
	return q2_fail_errno(err, error, size, "cannot make the file longer");
}

static enum q2_status file_resize(struct q2_io *io, uint64_t size,
				  struct q2_err *err)
{
	const struct q2_file *f = (const struct q2_file *)io;
	enum q2_status st = Q2_OK;

	if (size == io->size)
		return Q2_OK;
	if (io->is_device || size > INT64_MAX)
		return q2_fail(err, Q2_E_RANGE, 0, size, "%s",
			       io->is_device ? "a device has a fixed size"
					     : "size too large");
	if (size > io->size)
		st = grow(f, size, err);
	else if (ftruncate(f->fd, (off_t)size) < 0)
		st = q2_fail_errno(err, errno, size, "cannot cut the file");
	if (st == Q2_OK)
		io->size = size;
	return st;
}

static enum q2_status file_flush(struct q2_io *io, struct q2_err *err)
{
	const struct q2_file *f = (const struct q2_file *)io;

	while (fdatasync(f->fd) < 0)
		if (errno != EINTR)
			return q2_fail_errno(err, errno, Q2_NO_OFFSET,
					     "cannot make writes durable");
	return Q2_OK;
}

static struct q2_range file_data(struct q2_io *io, uint64_t off)
{
	const struct q2_file *f = (const struct q2_file *)io;
	struct q2_range all = {off, io->size - off};
	off_t start, end;

	if (io->is_device)
		return all;
	start = lseek(f->fd, (off_t)off, SEEK_DATA);
	if (start < 0)
		return errno == ENXIO ? (struct q2_range){io->size, 0} : all;
	end = lseek(f->fd, start, SEEK_HOLE);
	if (end <= start || (uint64_t)end > io->size)
		end = (off_t)io->size;
	if ((uint64_t)start >= io->size)
		return (struct q2_range){io->size, 0};
	return (struct q2_range){(uint64_t)start, (uint64_t)(end - start)};
}

static void file_soon(struct q2_io *io, struct q2_range range)
{
	const struct q2_file *f = (const struct q2_file *)io;

	/* Only a hint: if it fails, the reads are merely slower. */
	(void)posix_fadvise(f->fd, (off_t)range.start, (off_t)range.len,
			    POSIX_FADV_WILLNEED);
}

static enum q2_status file_discard(struct q2_io *io, struct q2_range range,
				   struct q2_err *err)
{
	const struct q2_file *f = (const struct q2_file *)io;
	uint64_t where[2] = {range.start, range.len};
	int done;

	if (io->is_device)
		done = ioctl(f->fd, BLKDISCARD, where);
	else
		done = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE |
						FALLOC_FL_KEEP_SIZE,
				 (off_t)range.start, (off_t)range.len);
	if (done == 0)
		return Q2_OK;
	if (errno == EOPNOTSUPP || errno == ENOSYS)
		return q2_fail(err, Q2_E_UNSUPPORTED, errno, range.start,
			       "space cannot be given back here");
	return q2_fail_errno(err, errno, range.start, "cannot discard");
}

static void file_close(struct q2_io *io)
{
	struct q2_file *f = (struct q2_file *)io;

	if (f->io.is_device)
		q2_device_close(&f->device);
	close(f->fd);
	if (f->temp)
		(void)unlink(f->temp);
	free(f->temp);
	free(f->path);
	free(f);
}

static const struct q2_io_ops file_ops = {
	.pread = file_pread,
	.pwrite = file_pwrite,
	.resize = file_resize,
	.flush = file_flush,
	.close = file_close,
	.data = file_data,
	.soon = file_soon,
	.discard = file_discard,
};

const struct q2_file *q2_file_of(const struct q2_io *io)
{
	return io->ops == &file_ops ? (const struct q2_file *)io : NULL;
}

static enum q2_status learn(struct q2_file *f, struct q2_err *err)
{
	struct stat sb;

	if (fstat(f->fd, &sb) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET, "cannot stat");
	f->dev = sb.st_dev;
	f->inode = sb.st_ino;
	if (S_ISREG(sb.st_mode)) {
		f->io.size = (uint64_t)sb.st_size;
		f->io.stored = (uint64_t)sb.st_blocks * 512;
		return Q2_OK;
	}
	if (S_ISBLK(sb.st_mode)) {
		f->io.is_device = true;
		q2_device_open(&f->device, f->fd, sb.st_rdev);
		/* Two nodes may name one device. */
		f->dev = 0;
		f->inode = sb.st_rdev;
		if (ioctl(f->fd, BLKGETSIZE64, &f->io.size) < 0)
			return q2_fail_errno(err, errno, Q2_NO_OFFSET,
					     "cannot tell the size");
		f->io.stored = f->io.size;
		return Q2_OK;
	}
	return q2_fail(err, Q2_E_ARG, S_ISDIR(sb.st_mode) ? EISDIR : 0,
		       Q2_NO_OFFSET, "not a regular file or block device");
}

enum q2_status q2_file_wrap(int fd, struct q2_file **file, struct q2_err *err)
{
	struct q2_file *f = calloc(1, sizeof(*f));
	enum q2_status st;

	*file = NULL;
	if (f == NULL) {
		close(fd);
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	}
	f->io.ops = &file_ops;
	f->fd = fd;
	st = learn(f, err);
	if (st != Q2_OK) {
		file_close(&f->io);
		return st;
	}
	/* Tables lie apart: what lies between them need not be read. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	*file = f;
	return Q2_OK;
}

/* O_NONBLOCK: a FIFO without a writer must not hang us. */
#define FLAGS (O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

enum q2_status q2_io_open(const char *path, struct q2_io **io,
			  struct q2_err *err)
{
	return q2_nbd_is_uri(path) ? q2_nbd_open(path, 0, io, err) :
				     q2_io_open_file(path, io, err);
}

enum q2_status q2_io_open_file(const char *path, struct q2_io **io,
			       struct q2_err *err)
{
	int fd = open(path, O_RDONLY | FLAGS);
	struct q2_file *f;
	enum q2_status st;

	*io = NULL;
	if (fd < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET, "cannot open");
	st = q2_file_wrap(fd, &f, err);
	if (st == Q2_OK)
		*io = &f->io;
	return st;
}

/* On a device O_EXCL fails while the system uses it; elsewhere it would be
 * without meaning, so the kind is looked at first. */
static int open_exclusively(const char *path)
{
	struct stat sb;
	int extra = 0;

	if (stat(path, &sb) == 0 && S_ISBLK(sb.st_mode))
		extra = O_EXCL;
	return open(path, O_RDWR | FLAGS | extra);
}

enum q2_status q2_io_open_rw(const char *path, struct q2_io **io,
			     struct q2_err *err)
{
	int fd = open_exclusively(path);
	struct q2_file *f;
	enum q2_status st;

	*io = NULL;
	if (fd < 0 && errno == EISDIR)
		return q2_fail(err, Q2_E_ARG, EISDIR, Q2_NO_OFFSET,
			       "not a regular file or block device");
	if (fd < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot open for writing");
	st = q2_file_wrap(fd, &f, err);
	if (st != Q2_OK)
		return st;
	st = q2_file_lock(f, err);
	if (st != Q2_OK) {
		file_close(&f->io);
		return st;
	}
	f->io.writable = true;
	*io = &f->io;
	return Q2_OK;
}

bool q2_io_identity(const struct q2_io *io, uint64_t *dev, uint64_t *inode)
{
	const struct q2_file *f = q2_file_of(io);

	if (f == NULL)
		return false;
	*dev = f->dev;
	*inode = f->inode;
	return true;
}

bool q2_fd_shown(int fd, uint64_t *dev, uint64_t *inode)
{
	struct loop_info64 info;

	if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) < 0)
		return false;
	*dev = info.lo_device;
	*inode = info.lo_inode;
	return true;
}

bool q2_io_shown(const struct q2_io *io, uint64_t *dev, uint64_t *inode)
{
	return io->is_device && q2_fd_shown(q2_io_descriptor(io), dev, inode);
}

enum q2_status q2_io_changed(const struct q2_io *io, uint64_t *when,
			     struct q2_err *err)
{
	const struct q2_file *f = q2_file_of(io);
	struct stat sb;

	*when = 0;
	if (f == NULL || io->is_device)
		return Q2_OK;
	/* fdatasync() leaves the times to be lost in a crash. */
	if ((io->writable && fsync(f->fd) < 0) || fstat(f->fd, &sb) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot make writes durable");
	*when = (uint64_t)sb.st_mtim.tv_sec * 1000000000 +
		(uint64_t)sb.st_mtim.tv_nsec;
	return Q2_OK;
}

enum q2_status q2_io_set_changed(struct q2_io *io, uint64_t when,
				 struct q2_err *err)
{
	const struct q2_file *f = q2_file_of(io);
	const struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = (time_t)(when / 1000000000),
		 .tv_nsec = (long)(when % 1000000000)},
	};

	if (f == NULL || io->is_device || when == 0)
		return Q2_OK;
	if (futimens(f->fd, times) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot set the file's time");
	return Q2_OK;
}

int q2_io_descriptor(const struct q2_io *io)
{
	const struct q2_file *f = q2_file_of(io);

	return f ? f->fd : -1;
}

bool q2_fd_facts(int fd, uint64_t hash, uint64_t *out)
{
	struct stat sb;
	uint64_t facts[9] = {hash};

	if (fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode))
		return false;
	facts[1] = sb.st_dev;
	facts[2] = sb.st_ino;
	facts[3] = (uint64_t)sb.st_size;
	facts[4] = (uint64_t)sb.st_mtim.tv_sec;
	facts[5] = (uint64_t)sb.st_mtim.tv_nsec;
	facts[6] = (uint64_t)sb.st_ctim.tv_sec;
	facts[7] = (uint64_t)sb.st_ctim.tv_nsec;
	*out = q2_hash(facts, sizeof(facts));
	return true;
}

bool q2_io_facts(const struct q2_io *io, uint64_t hash, uint64_t *out)
{
	return q2_fd_facts(q2_io_descriptor(io), hash, out);
}
