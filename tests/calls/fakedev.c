/*
 * fakedev.c - a regular file that looks like a block device.
 *
 * SPDX-License-Identifier: MIT
 */
#include "fakedev.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/fs.h>
#include <linux/loop.h>

int __real_stat64(const char *path, struct stat *sb);
int __real_fstat64(int fd, struct stat *sb);
ssize_t __real_pwrite64(int fd, const void *p, size_t n, int64_t at);

static struct fake_device *device;
static struct stat file, shown;
static const char *mounts;

void fake_mounts(const char *path)
{
	mounts = path;
}

void fake_device(struct fake_device *d)
{
	memset(&shown, 0, sizeof(shown));
	if (d && (__real_stat64(d->path, &file) != 0 ||
		  (d->shows && __real_stat64(d->shows, &shown) != 0)))
		d = NULL;
	device = d;
}

static bool is_file(const struct stat *sb)
{
	return device && sb->st_dev == file.st_dev &&
	       sb->st_ino == file.st_ino;
}

bool is_fake(int fd)
{
	struct stat sb;

	return device && __real_fstat64(fd, &sb) == 0 && is_file(&sb);
}

int fake_stat(int result, struct stat *sb)
{
	if (result == 0 && is_file(sb)) {
		sb->st_mode = S_IFBLK | 0600;
		sb->st_rdev = makedev(device->major, device->minor);
		sb->st_size = 0;
		sb->st_blocks = 0;
	}
	return result;
}

static int refuse(int error)
{
	errno = error;
	return -1;
}

/* No device has bytes past its end. */
static bool is_inside(const uint64_t range[2])
{
	uint64_t size = (uint64_t)file.st_size;

	return range[0] % 512 == 0 && range[1] % 512 == 0 &&
	       range[0] <= size && range[1] <= size - range[0];
}

static int make_zeros(int fd, const uint64_t range[2])
{
	static const char zeros[512];

	if (device->no_zeros || !is_inside(range))
		return refuse(device->no_zeros ? EOPNOTSUPP : EINVAL);
	device->zeros++;
	for (uint64_t i = 0; i < range[1]; i += sizeof(zeros))
		if (__real_pwrite64(fd, zeros, sizeof(zeros),
				    (int64_t)(range[0] + i)) < 0)
			return -1;
	return 0;
}

static int tell_loop(struct loop_info64 *info)
{
	if (device->shows == NULL)
		return refuse(ENOTTY);
	*info = (struct loop_info64){.lo_device = shown.st_dev,
				     .lo_inode = shown.st_ino,
				     .lo_offset = device->offset,
				     .lo_sizelimit = device->limit};
	return 0;
}

bool fake_ioctl(int fd, unsigned long request, void *arg, int *result)
{
	if (!is_fake(fd))
		return false;
	if (request == BLKGETSIZE64) {
		*(uint64_t *)arg = (uint64_t)file.st_size;
		*result = 0;
	} else if (request == BLKDISCARD) {
		device->discards++;
		*result = device->no_discard ? refuse(EOPNOTSUPP) :
			  is_inside(arg)     ? 0 :
					       refuse(EINVAL);
	} else if (request == BLKZEROOUT) {
		*result = make_zeros(fd, arg);
	} else if (request == LOOP_GET_STATUS64) {
		*result = tell_loop(arg);
	} else {
		*result = refuse(ENOTTY);
	}
	return true;
}

const char *fake_path(const char *path)
{
	static const char sys[] = "/sys/dev/block/", loop[] = "/loop/backing_file";
	static char other[4096];
	char number[40];
	size_t n = sizeof(sys) - 1;

	if (mounts && strcmp(path, "/proc/self/mountinfo") == 0)
		return mounts;
	if (device == NULL || strncmp(path, sys, n) != 0)
		return path;
	snprintf(number, sizeof(number), "%u:%u/", device->major, device->minor);
	if (strncmp(path + n, number, strlen(number)) != 0)
		return path;
	if (strstr(path, loop))
		return "work/backing_file";
	snprintf(other, sizeof(other), "given/sys/%s", path + n + strlen(number));
	return other;
}
