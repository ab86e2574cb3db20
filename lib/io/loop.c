/*
 * loop.c - the file that a loop device shows.
 *
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/loop.h>

#include "io/file.h"

/* A partition has no such file, nor has a device that shows a deleted one one that
 * can be found. */
bool q2_loop_path(dev_t device, char *below, size_t room)
{
	char name[96];
	ssize_t n;
	int fd;

	(void)snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/loop/backing_file",
		       major(device), minor(device));
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, below, room);
	close(fd);
	/* The name may have newlines; the last one is not part of it. */
	if (n < 2 || (size_t)n == room || below[n - 1] != '\n')
		return false;
	below[n - 1] = '\0';
	return below[0] == '/' && strlen(below) + 1 == (size_t)n;
}

bool q2_loop_file(const char *path, struct stat *sb, char *below, size_t room)
{
	struct loop_info64 info;
	struct stat device;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool whole = fd >= 0 && fstat(fd, &device) == 0 &&
		     S_ISBLK(device.st_mode) &&
		     ioctl(fd, LOOP_GET_STATUS64, &info) == 0 &&
		     info.lo_offset == 0 && info.lo_sizelimit == 0;

	if (fd >= 0)
		close(fd);
	return whole && q2_loop_path(device.st_rdev, below, room) &&
	       stat(below, sb) == 0 && S_ISREG(sb->st_mode) &&
	       sb->st_dev == info.lo_device && sb->st_ino == info.lo_inode;
}
