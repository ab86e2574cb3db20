/*
 * file.h - what the parts that deal with real files share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_IO_FILE_H
#define Q2_IO_FILE_H

#include <sys/types.h>

#include "io/io.h"

/* By what it can be told whether somebody wrote to a block device; opened with it,
 * because no file can be later on. */
struct q2_device {
	uint64_t attached; /* which disk it is; 0: not known */
	int counts;	   /* what the kernel counts; -1: nothing */
	int shown;	   /* the file that a loop device shows; -1: none */
};

struct q2_file {
	struct q2_io io;
	struct q2_device device; /* if it is one */
	int fd;
	uint64_t dev;
	uint64_t inode;
	char *path; /* of a new file: its final name; else NULL */
	char *temp; /* and the name that it has until it is published */
};

/* An object for `fd`, which it takes over, even on failure. */
enum q2_status q2_file_wrap(int fd, struct q2_file **file,
			    struct q2_err *err) Q2_MUST_CHECK;

/* The file that `io` stands for; NULL if it is none. */
const struct q2_file *q2_file_of(const struct q2_io *io);

/* Takes the locks of a writer that shares nothing. */
enum q2_status q2_file_lock(const struct q2_file *file,
			    struct q2_err *err) Q2_MUST_CHECK;

/* The same for a file or device that is open for reading at least; the locks go
 * when it is closed. */
enum q2_status q2_fd_lock(int fd, struct q2_err *err) Q2_MUST_CHECK;

void q2_device_open(struct q2_device *d, int fd, dev_t device);
void q2_device_close(struct q2_device *d);

/* q2_io_facts() of an open file. */
bool q2_fd_facts(int fd, uint64_t hash, uint64_t *out);

/* The name of what that loop device shows; false if it is none, or if the name does
 * not fit. */
#define Q2_LOOP_ROOM 4200u
bool q2_loop_path(dev_t device, char *below, size_t room);

#endif
