/*
 * device.c - whether anybody has written to a block device.
 *
 * SPDX-License-Identifier: MIT
 *
 * A device has no time of change.  A loop device that shows a regular file is as that
 * is.  Of others the kernel counts the sectors that are written and discarded through
 * them, from when they are there until the system ends; a partition's disk is not
 * counted among its own, so a partition is not known.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/loop.h>

#include "base/hash.h"
#include "io/file.h"

#define ROOM 512u

/* A small text of the kernel's; 0 bytes if there is none. */
static size_t read_text(int fd, char text[ROOM])
{
	ssize_t n = fd < 0 ? -1 : pread(fd, text, ROOM - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static size_t read_file(const char *path, char text[ROOM])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = read_text(fd, text);

	if (fd >= 0)
		close(fd);
	return n;
}

static void name_of(dev_t device, const char *what, char path[ROOM])
{
	(void)snprintf(path, ROOM, "/sys/dev/block/%u:%u/%s", major(device),
		       minor(device), what);
}

/* The same disk in the same drive, since the system began; 0: it is not known. */
static uint64_t attached(dev_t device)
{
	char path[ROOM], text[ROOM];
	uint64_t hash = device;
	size_t n;

	name_of(device, "queue/iostats", path);
	n = read_file(path, text);
	if (n == 0 || text[0] == '0')
		return 0;
	name_of(device, "diskseq", path);
	n = read_file(path, text);
	if (n == 0)
		return 0;
	hash = q2_hash_on(hash, text, n);
	n = read_file("/proc/sys/kernel/random/boot_id", text);
	return n == 0 ? 0 : q2_hash_on(hash, text, n);
}

static bool is_shown(int device, int file, struct loop_info64 *info)
{
	struct stat sb;

	return file >= 0 && ioctl(device, LOOP_GET_STATUS64, info) == 0 &&
	       fstat(file, &sb) == 0 && S_ISREG(sb.st_mode) &&
	       sb.st_dev == info->lo_device && sb.st_ino == info->lo_inode;
}

/* The regular file that the loop device shows, or a part of it; -1: none. */
static int open_shown(int device, dev_t number)
{
	struct loop_info64 info;
	char path[Q2_LOOP_ROOM];
	int fd;

	if (ioctl(device, LOOP_GET_STATUS64, &info) < 0 ||
	    !q2_loop_path(number, path, sizeof(path)))
		return -1;
	fd = open(path, O_PATH | O_CLOEXEC);
	if (is_shown(device, fd, &info))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

void q2_device_open(struct q2_device *d, int fd, dev_t device)
{
	char path[ROOM];

	name_of(device, "stat", path);
	d->attached = attached(device);
	d->counts = open(path, O_RDONLY | O_CLOEXEC);
	d->shown = open_shown(fd, device);
}

void q2_device_close(struct q2_device *d)
{
	if (d->counts >= 0)
		close(d->counts);
	if (d->shown >= 0)
		close(d->shown);
}

/* Sectors, which are counted before the writer hears that they are written. */
static bool add_counts(const struct q2_device *d, uint64_t *hash)
{
	unsigned long long each[2];
	char text[ROOM];

	if (d->attached == 0 || read_text(d->counts, text) == 0 ||
	    sscanf(text, "%*u %*u %*u %*u %*u %*u %llu %*u %*u %*u %*u %*u %*u "
			 "%llu", &each[0], &each[1]) != 2)
		return false;
	*hash = q2_hash_on(*hash ^ d->attached, each, sizeof(each));
	return true;
}

bool q2_io_traces(const struct q2_io *io, uint64_t hash, uint64_t *out)
{
	const struct q2_file *f = q2_file_of(io);
	struct loop_info64 info;

	if (f == NULL || !io->is_device)
		return q2_io_facts(io, hash, out);
	/* What others wrote may be in memory yet: it counts as soon as it is not. */
	if (fdatasync(f->fd) < 0)
		return false;
	if (is_shown(f->fd, f->device.shown, &info)) {
		const uint64_t part[] = {hash, info.lo_offset,
					 info.lo_sizelimit, io->size};

		return q2_fd_facts(f->device.shown, q2_hash(part, sizeof(part)),
				   out);
	}
	*out = q2_hash_on(hash, &io->size, sizeof(io->size));
	return add_counts(&f->device, out);
}

const char *q2_io_unseen(const struct q2_io *io)
{
	const struct q2_file *f = q2_file_of(io);
	struct loop_info64 info;

	if (f == NULL || !io->is_device ||
	    is_shown(f->fd, f->device.shown, &info))
		return NULL;
	return "what was written to it by another machine, or to what lies "
	       "beneath it";
}
