/*
 * file.c - regular files and block devices, read-only.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/err.h"
#include "io/io.h"

/* QEMU locks single bytes of an image: at 100 + n while it uses permission n,
 * at 200 + n while it forbids it to others.  Permissions 1 and 3 are writing
 * and resizing. */
#define LOCK_USED 100
#define LOCK_DENIED 200
#define LOCK_PERMS 16

struct file {
	struct q2_io io;
	int fd;
	uint64_t dev;
	uint64_t inode;
};

static enum q2_status file_pread(struct q2_io *io, void *buf, size_t len,
				 uint64_t off, struct q2_err *err)
{
	const struct file *f = (const struct file *)io;
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

static struct q2_range file_data(struct q2_io *io, uint64_t off)
{
	const struct file *f = (const struct file *)io;
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
	const struct file *f = (const struct file *)io;

	/* Only a hint: if it fails, the reads are merely slower. */
	(void)posix_fadvise(f->fd, (off_t)range.start, (off_t)range.len,
			    POSIX_FADV_WILLNEED);
}

static void file_close(struct q2_io *io)
{
	struct file *f = (struct file *)io;

	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

static const struct q2_io_ops file_ops = {
	.pread = file_pread,
	.close = file_close,
	.data = file_data,
	.soon = file_soon,
};

static enum q2_status learn(struct file *f, struct q2_err *err)
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

enum q2_status q2_io_open(const char *path, struct q2_io **io,
			  struct q2_err *err)
{
	struct file *f = calloc(1, sizeof(*f));
	enum q2_status st;

	*io = NULL;
	if (f == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	f->io.ops = &file_ops;
	/* O_NONBLOCK: a FIFO without a writer must not hang us. */
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (f->fd < 0)
		st = q2_fail_errno(err, errno, Q2_NO_OFFSET, "cannot open");
	else
		st = learn(f, err);
	if (st != Q2_OK) {
		file_close(&f->io);
		return st;
	}
	/* Tables lie apart: what lies between them need not be read. */
	(void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
	*io = &f->io;
	return Q2_OK;
}

static bool locked(int fd, off_t start, off_t len)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = len,
	};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

enum q2_in_use q2_io_in_use(const struct q2_io *io)
{
	const struct file *f = (const struct file *)io;

	if (io->ops != &file_ops)
		return Q2_USE_NONE;
	if (locked(f->fd, LOCK_USED + 1, 1) || locked(f->fd, LOCK_USED + 3, 1))
		return Q2_USE_WRITER;
	if (locked(f->fd, LOCK_USED, LOCK_PERMS) ||
	    locked(f->fd, LOCK_DENIED, LOCK_PERMS))
		return Q2_USE_READER;
	return Q2_USE_NONE;
}

bool q2_io_identity(const struct q2_io *io, uint64_t *dev, uint64_t *inode)
{
	const struct file *f = (const struct file *)io;

	if (io->ops != &file_ops)
		return false;
	*dev = f->dev;
	*inode = f->inode;
	return true;
}
