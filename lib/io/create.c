/*
 * create.c - new files that appear complete, or not at all.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/rename.h"

/* A name in the same folder, so that it can be renamed. */
static int make_temp(const char *path, char **temp)
{
	size_t size = strlen(path) + 16;

	*temp = malloc(size);
	if (*temp == NULL) {
		errno = ENOMEM;
		return -1;
	}
	snprintf(*temp, size, "%s.tmp-XXXXXX", path);
	return mkostemp(*temp, O_CLOEXEC);
}

enum q2_status q2_io_create(const char *path, struct q2_io **io,
			    struct q2_err *err)
{
	struct q2_file *f;
	enum q2_status st;
	char *temp = NULL;
	int fd = make_temp(path, &temp);

	*io = NULL;
	if (fd < 0) {
		st = q2_fail_errno(err, errno, Q2_NO_OFFSET, "cannot create");
		free(temp);
		return st;
	}
	st = q2_file_wrap(fd, &f, err);
	if (st != Q2_OK) {
		(void)unlink(temp);
		free(temp);
		return st;
	}
	f->io.writable = true;
	f->temp = temp;
	f->path = strdup(path);
	if (f->path == NULL) {
		q2_io_close(&f->io);
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	}
	*io = &f->io;
	return Q2_OK;
}

/* Makes the names in the file's folder durable. */
static enum q2_status flush_folder(const char *path, struct q2_err *err)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
		      : -1;
	enum q2_status st = Q2_OK;

	/* Some file systems cannot do this for folders, and say EINVAL. */
	if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
		st = q2_fail_errno(err, errno, Q2_NO_OFFSET,
				   "cannot make the file's name durable");
	if (fd >= 0)
		close(fd);
	free(copy);
	return st;
}

static int give_name(const struct q2_file *f, bool replace)
{
	if (replace)
		return rename(f->temp, f->path);
	if (q2_rename(f->temp, f->path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (link(f->temp, f->path) < 0)
		return -1;
	(void)unlink(f->temp);
	return 0;
}

enum q2_status q2_io_publish(struct q2_io *io, bool replace, struct q2_err *err)
{
	struct q2_file *f = (struct q2_file *)io;
	enum q2_status st;

	if (fsync(f->fd) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot make the file durable");
	if (give_name(f, replace) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET, "cannot create");
	free(f->temp);
	f->temp = NULL;
	st = flush_folder(f->path, err);
	/* What may not be there after a crash must not be there now. */
	if (st != Q2_OK)
		(void)unlink(f->path);
	return st;
}

enum q2_status q2_io_reopen(const char *path, struct q2_io **io,
			    struct q2_err *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct q2_file *f;
	enum q2_status st;

	*io = NULL;
	if (fd < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot open for writing");
	st = q2_file_wrap(fd, &f, err);
	if (st != Q2_OK)
		return st;
	f->io.writable = true;
	*io = &f->io;
	return Q2_OK;
}
