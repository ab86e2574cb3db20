/*
 * target_path.c - which file or device the path of a target leads to.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/target.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool q2_target_shown(const char *path, uint64_t *dev, uint64_t *inode)
{
	struct stat sb;
	bool shown;
	int fd;

	if (stat(path, &sb) < 0 || !S_ISBLK(sb.st_mode))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	shown = q2_fd_shown(fd, dev, inode);
	if (fd >= 0)
		close(fd);
	return shown;
}

bool q2_target_identity(const char *path, uint64_t *dev, uint64_t *inode)
{
	struct stat sb;

	if (strcmp(path, "-") == 0) {
		if (fstat(STDOUT_FILENO, &sb) < 0)
			return false;
	} else if (stat(path, &sb) < 0) {
		return false;
	}
	/* As q2_io_identity() has it: two nodes may name one device. */
	*dev = S_ISBLK(sb.st_mode) ? 0 : sb.st_dev;
	*inode = S_ISBLK(sb.st_mode) ? sb.st_rdev : sb.st_ino;
	return true;
}
