/*
 * aside.c - the files that tell about a disk: of --map and --ranges.
 *
 * SPDX-License-Identifier: MIT
 *
 * A file that is there already, with --force, keeps its bytes until the new ones
 * are complete, and must not be one of those that are read.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump.h"

static int complain(const struct dump *dump, const struct aside *a,
		    const char *what)
{
	q2_cli_complain(dump->tool, a->path, what);
	return Q2_EXIT_FAILED;
}

int dump_aside_open(struct dump *dump, struct aside *a)
{
	const int flags = O_WRONLY | O_CREAT | O_CLOEXEC;

	a->out.fd = open(a->path, flags | O_EXCL, 0666);
	a->made = a->out.fd >= 0;
	if (a->out.fd < 0 && errno == EEXIST && dump->options->force)
		a->out.fd = open(a->path, flags, 0666);
	return a->out.fd >= 0 ? 0 : complain(dump, a, strerror(errno));
}

int dump_aside_judge(struct dump *dump, const struct aside *a,
		     const struct q2_guest *guest)
{
	if (!q2_guest_reads(guest, a->path))
		return 0;
	return complain(dump, a, "it is one of the files that are read");
}

bool dump_aside_is(const struct aside *a, const char *path)
{
	struct stat sb, other;

	return a->out.fd >= 0 && fstat(a->out.fd, &sb) == 0 &&
	       stat(path, &other) == 0 && sb.st_dev == other.st_dev &&
	       sb.st_ino == other.st_ino;
}

int dump_aside_close(struct dump *dump, struct aside *a, int status)
{
	struct stat sb;
	int error;

	if (a->out.fd < 0) {
		q2_cli_output_drop(&a->out);
		return status;
	}
	if (status == 0) {
		a->made = true; /* of what was there nothing is left */
		if (fstat(a->out.fd, &sb) == 0 && S_ISREG(sb.st_mode) &&
		    ftruncate(a->out.fd, 0) < 0)
			a->out.error = errno;
		(void)q2_cli_output_commit(&a->out);
	}
	error = q2_cli_output_close(&a->out);
	a->out.fd = -1;
	if (error != 0)
		status = complain(dump, a, strerror(error));
	if (status != 0 && a->made)
		(void)unlink(a->path);
	return status;
}
