/*
 * fakedev.h - a regular file that looks like a block device.
 *
 * SPDX-License-Identifier: MIT
 *
 * Its size is the file's, and cannot be changed.  What the kernel tells of it in
 * /sys/dev/block/MAJOR:MINOR is read from "given/sys", or from "work" for a loop device.
 */
#ifndef FAKEDEV_H
#define FAKEDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct fake_device {
	const char *path;
	unsigned major, minor;
	const char *shows; /* it is a loop device, of this file; or NULL */
	uint64_t offset, limit;
	bool no_zeros, no_discard;
	unsigned zeros, discards; /* requests */
};

/* NULL: there is none. */
void fake_device(struct fake_device *d);

/* What /proc/self/mountinfo is read from; NULL: from there. */
void fake_mounts(const char *path);

/* For the functions that the library calls. */
int fake_stat(int result, struct stat *sb);
bool fake_ioctl(int fd, unsigned long request, void *arg, int *result);
bool is_fake(int fd);
const char *fake_path(const char *path);

#endif
