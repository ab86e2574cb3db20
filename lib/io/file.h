/*
 * file.h - what the parts that deal with real files share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_IO_FILE_H
#define Q2_IO_FILE_H

#include "io/io.h"

struct q2_file {
	struct q2_io io;
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

#endif
