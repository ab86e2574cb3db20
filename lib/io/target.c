/*
 * target.c - a whole new image: temporary name, sync, rename.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/target.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/err.h"
#include "base/rename.h"
#include "io/file.h"
#include "io/nbd.h"

#define PART ".part"
#define ZEROS_MAX ((size_t)1 << 20)
/* Longer calls have the page cache take larger blocks, which were rarely in use a
 * moment ago: in virtual machines these cost several times the copying. */
#define WRITE_MAX ((size_t)128 << 10)

struct q2_target {
	struct q2_io io; /* first */
	enum q2_target_kind kind;
	unsigned flags;
	int fd; /* -1 with `remote` */
	int old; /* the file that will be replaced, locked; or -1 */
	struct q2_io *remote; /* an NBD server's disk, owned; else NULL */
	bool made;	/* there is a temporary file of ours */
	bool continued;
	bool published;
	char *path;
	char *part;
	uint8_t *zeros;
};

static struct q2_target *target_of(struct q2_io *io)
{
	return (struct q2_target *)io;
}

static enum q2_status no_memory(struct q2_err *err)
{
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
}

static enum q2_status target_pread(struct q2_io *io, void *buf, size_t len,
				   uint64_t off, struct q2_err *err)
{
	const struct q2_target *t = target_of(io);
	char *at = buf;

	if (t->remote)
		return q2_pread(t->remote, buf, len, off, err);
	while (len) {
		ssize_t got = pread(t->fd, at, len, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return q2_fail_errno(err, got < 0 ? errno : EIO, off,
					     "read error");
		at += got;
		off += (uint64_t)got;
		len -= (size_t)got;
	}
	return Q2_OK;
}

static enum q2_status target_pwrite(struct q2_io *io, const void *buf,
				    size_t len, uint64_t off,
				    struct q2_err *err)
{
	const struct q2_target *t = target_of(io);
	const char *at = buf;

	if (t->remote)
		return q2_pwrite(t->remote, buf, len, off, err);
	while (len) {
		ssize_t done = pwrite(t->fd, at, (size_t)q2_min(len, WRITE_MAX),
				      (off_t)off);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return q2_fail_errno(err, done < 0 ? errno : EIO, off,
					     "write error");
		at += done;
		off += (uint64_t)done;
		len -= (size_t)done;
	}
	return Q2_OK;
}

/* The size of a device is what it is. */
static enum q2_status target_resize(struct q2_io *io, uint64_t size,
				    struct q2_err *err)
{
	const struct q2_target *t = target_of(io);

	if (t->remote)
		return q2_resize(t->remote, size, err);
	if (t->kind == Q2_TARGET_DEVICE)
		return size <= io->size ? Q2_OK :
			q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
				"the device is too small: %llu bytes are "
				"needed, it has %llu",
				(unsigned long long)size,
				(unsigned long long)io->size);
	if (ftruncate(t->fd, (off_t)size) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot set the size");
	io->size = size;
	return Q2_OK;
}

static enum q2_status target_flush(struct q2_io *io, struct q2_err *err)
{
	return q2_target_sync(target_of(io), err);
}

static void target_close(struct q2_io *io)
{
	(void)io; /* it is the target's */
}

static const struct q2_io_ops target_ops = {
	.pread = target_pread,
	.pwrite = target_pwrite,
	.resize = target_resize,
	.flush = target_flush,
	.close = target_close,
};

static enum q2_status exists(const char *what, struct q2_err *err)
{
	return q2_fail(err, Q2_E_ARG, EEXIST, Q2_NO_OFFSET, "%s", what);
}

/* Who writes to a file that is about to lose its name would lose all of it. */
static enum q2_status lock_old(struct q2_target *t, struct q2_err *err)
{
	t->old = open(t->path, O_RDONLY | O_CLOEXEC);
	if (t->old < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot tell whether it is in use");
	return q2_fd_lock(t->old, err);
}

static enum q2_status open_file(struct q2_target *t, bool there,
				struct q2_err *err)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_CREAT;
	enum q2_status st = Q2_OK;
	struct stat sb;

	if (there && !(t->flags & Q2_TARGET_REPLACE))
		return exists("it exists already", err);
	if (!there && lstat(t->path, &sb) == 0)
		return exists("it is a symbolic link to nothing", err);
	if (there)
		st = lock_old(t, err);
	if (st != Q2_OK)
		return st;
	if (t->flags & Q2_TARGET_CONTINUE)
		t->continued = lstat(t->part, &sb) == 0 && sb.st_size > 0;
	else if (t->flags & Q2_TARGET_REPLACE)
		(void)unlink(t->part);
	if (!(t->flags & Q2_TARGET_CONTINUE))
		flags |= O_EXCL;
	t->fd = open(t->part, flags, 0666);
	if (t->fd < 0 && errno == EEXIST)
		return exists("an interrupted run has left its temporary "
			      "file, NAME" PART, err);
	if (t->fd < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot create the temporary file");
	/* Two runs must not continue one file. */
	if (flock(t->fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return exists("another run is writing NAME" PART, err);
	t->made = true;
	t->kind = Q2_TARGET_FILE;
	if (fstat(t->fd, &sb) < 0 || !S_ISREG(sb.st_mode))
		return exists("NAME" PART " is no regular file", err);
	t->io.size = (uint64_t)sb.st_size;
	return Q2_OK;
}

static enum q2_status open_device(struct q2_target *t, struct q2_err *err)
{
	/* O_EXCL: not while it is mounted. */
	t->fd = open(t->path, O_RDWR | O_CLOEXEC | O_EXCL);
	if (t->fd < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot open the device");
	if (ioctl(t->fd, BLKGETSIZE64, &t->io.size) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot tell the device's size");
	t->kind = Q2_TARGET_DEVICE;
	t->io.is_device = true;
	return q2_fd_lock(t->fd, err);
}

static enum q2_status open_server(struct q2_target *t, struct q2_err *err)
{
	enum q2_status st = q2_nbd_open(t->path, Q2_NBD_WRITE, &t->remote, err);

	if (st != Q2_OK)
		return st;
	t->kind = Q2_TARGET_DEVICE;
	t->io.is_device = true;
	t->io.size = t->remote->size;
	return Q2_OK;
}

static enum q2_status open_path(struct q2_target *t, struct q2_err *err)
{
	struct stat sb;
	bool there = stat(t->path, &sb) == 0;

	if (t->path[0] == '\0')
		return q2_fail(err, Q2_E_ARG, ENOENT, Q2_NO_OFFSET,
			       "an empty name");
	if (q2_nbd_is_uri(t->path))
		return open_server(t, err);
	if (strcmp(t->path, "-") == 0) {
		t->kind = Q2_TARGET_STREAM;
		t->fd = STDOUT_FILENO;
		return Q2_OK;
	}
	if (there && S_ISBLK(sb.st_mode))
		return open_device(t, err);
	if (there && !S_ISREG(sb.st_mode))
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "neither a regular file nor a block device");
	return open_file(t, there, err);
}

/* A new file beside a symbolic link would replace the link: what it names is
 * meant. */
static char *resolve(const char *path)
{
	bool file = strcmp(path, "-") != 0 && !q2_nbd_is_uri(path);
	char *real = file ? realpath(path, NULL) : NULL;

	return real ? real : strdup(path);
}

enum q2_status q2_target_open(const char *path, unsigned flags,
			      struct q2_target **target, struct q2_err *err)
{
	struct q2_target *t = calloc(1, sizeof(*t));
	enum q2_status st;

	*target = NULL;
	if (t == NULL)
		return no_memory(err);
	t->io.ops = &target_ops;
	t->io.writable = true;
	t->flags = flags;
	t->fd = t->old = -1;
	t->path = resolve(path);
	t->part = t->path ? malloc(strlen(t->path) + sizeof(PART)) : NULL;
	t->zeros = calloc(1, ZEROS_MAX);
	if (t->part == NULL || t->zeros == NULL) {
		q2_target_close(t);
		return no_memory(err);
	}
	strcpy(t->part, t->path);
	strcat(t->part, PART);
	st = open_path(t, err);
	if (st == Q2_OK)
		*target = t;
	else
		q2_target_close(t);
	return st;
}

enum q2_target_kind q2_target_kind(const struct q2_target *t)
{
	return t->kind;
}

struct q2_io *q2_target_io(struct q2_target *t)
{
	return t->kind == Q2_TARGET_STREAM ? NULL : &t->io;
}

bool q2_target_continued(const struct q2_target *t)
{
	return t->continued;
}

enum q2_status q2_target_append(struct q2_target *t, const void *bytes,
				size_t len, struct q2_err *err)
{
	const char *at = bytes;

	while (len) {
		ssize_t done = write(t->fd, at, len);

		if (done < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = t->fd, .events = POLLOUT};

			(void)poll(&wait, 1, -1);
			continue;
		}
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return q2_fail_errno(err, errno, Q2_NO_OFFSET,
					     "write error");
		at += done;
		len -= (size_t)done;
	}
	return Q2_OK;
}

static enum q2_status write_zeros(struct q2_target *t, struct q2_range r,
				  struct q2_err *err)
{
	enum q2_status st = Q2_OK;

	while (r.len && st == Q2_OK) {
		size_t n = (size_t)q2_min(r.len, ZEROS_MAX);

		st = t->kind == Q2_TARGET_STREAM ?
			     q2_target_append(t, t->zeros, n, err) :
			     q2_pwrite(&t->io, t->zeros, n, r.start, err);
		r.start += n;
		r.len -= n;
	}
	return st;
}

enum q2_status q2_target_zero(struct q2_target *t, struct q2_range r,
			      struct q2_err *err)
{
	uint64_t args[2] = {r.start, r.len};
	enum q2_status st;

	if (r.len == 0 ||
	    (t->kind == Q2_TARGET_FILE && !(t->flags & Q2_TARGET_FULL)))
		return Q2_OK;
	if (t->remote) {
		/* What it cannot do is no error of ours. */
		st = q2_nbd_zero(t->remote, r, t->flags & Q2_TARGET_FULL, NULL);
		return st == Q2_OK ? st : write_zeros(t, r, err);
	}
	/* The kernel writes zeros itself where the device cannot. */
	if (t->kind == Q2_TARGET_DEVICE && r.start % 512 == 0 &&
	    r.len % 512 == 0 && ioctl(t->fd, BLKZEROOUT, args) == 0)
		return Q2_OK;
	return write_zeros(t, r, err);
}

enum q2_status q2_target_reserve(struct q2_target *t, uint64_t size,
				 struct q2_err *err)
{
	int error;

	if (t->kind != Q2_TARGET_FILE || size == 0)
		return Q2_OK;
	error = posix_fallocate(t->fd, 0, (off_t)size);
	if (error)
		return q2_fail_errno(err, error, Q2_NO_OFFSET,
				     "cannot reserve the space");
	t->io.size = q2_max(t->io.size, size);
	return Q2_OK;
}

bool q2_target_share(struct q2_target *t, struct q2_range range,
		     struct q2_io *from, uint64_t off)
{
	struct file_clone_range clone = {.src_fd = q2_io_descriptor(from),
					 .src_offset = off,
					 .src_length = range.len,
					 .dest_offset = range.start};

	return t->kind == Q2_TARGET_FILE && clone.src_fd >= 0 &&
	       ioctl(t->fd, FICLONERANGE, &clone) == 0;
}

enum q2_status q2_target_sync(struct q2_target *t, struct q2_err *err)
{
	if (t->kind == Q2_TARGET_STREAM || (t->flags & Q2_TARGET_NO_SYNC))
		return Q2_OK;
	if (t->remote)
		return q2_flush(t->remote, err);
	if (fsync(t->fd) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot write to the disk");
	return Q2_OK;
}

/* The new name must survive a power failure, too; a file system that cannot
 * sync a folder has done what it can. */
static void sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) :
			       strdup(".");
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
	free(folder);
}

/* Somebody with Q2_TARGET_REPLACE may have made another one of that name. */
static bool still_ours(const struct q2_target *t)
{
	struct stat a, b;

	return fstat(t->fd, &a) == 0 && lstat(t->part, &b) == 0 &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

enum q2_status q2_target_publish(struct q2_target *t, struct q2_err *err)
{
	unsigned no_replace = t->flags & Q2_TARGET_REPLACE ?
				      0 : RENAME_NOREPLACE;
	int r;

	if (t->kind != Q2_TARGET_FILE)
		return Q2_OK;
	if (!still_ours(t))
		return q2_fail(err, Q2_E_CHANGED, 0, Q2_NO_OFFSET,
			       "NAME" PART " is no longer the file that was "
			       "written");
	r = q2_rename(t->part, t->path, no_replace);
	if (r < 0 && errno == EINVAL && access(t->path, F_OK) != 0)
		r = rename(t->part, t->path);
	if (r < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot give the file its name");
	t->published = true;
	if (!(t->flags & Q2_TARGET_NO_SYNC))
		sync_folder(t->path);
	return Q2_OK;
}

void q2_target_close(struct q2_target *t)
{
	if (t == NULL)
		return;
	if (t->made && !t->published && !(t->flags & Q2_TARGET_KEEP) &&
	    still_ours(t))
		(void)unlink(t->part);
	if (t->fd > STDERR_FILENO)
		close(t->fd);
	if (t->old >= 0)
		close(t->old);
	q2_io_close(t->remote);
	free(t->zeros);
	free(t->part);
	free(t->path);
	free(t);
}

void q2_target_forget(struct q2_target *t)
{
	if (t->kind != Q2_TARGET_STREAM && t->remote == NULL)
		(void)posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
}

const char *q2_target_path(const struct q2_target *t)
{
	return t->kind == Q2_TARGET_FILE && !t->published ? t->part : t->path;
}

bool q2_target_is_server(const struct q2_target *t, const struct q2_io *io)
{
	return q2_nbd_same(t->remote, io);
}
