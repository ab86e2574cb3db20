/*
 * output.c - stdout that gets whole documents, and whose failures are seen.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"

/* From this size on a document waits in a file instead of in memory. */
#define SPILL_SIZE ((size_t)4 << 20)

void q2_cli_output_open(struct q2_cli_output *out, int fd)
{
	*out = (struct q2_cli_output){
		.fd = fd, .spill = -1, .reserve = -1};
}

static int fail(struct q2_cli_output *out, int error)
{
	if (out->error == 0)
		out->error = error;
	return -1;
}

static int write_all(struct q2_cli_output *out, int fd, const char *bytes,
		     size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, bytes, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN) {
			struct pollfd wait = {.fd = fd, .events = POLLOUT};

			(void)poll(&wait, 1, -1);
			continue;
		}
		if (done < 0)
			return fail(out, errno);
		bytes += done;
		n -= (size_t)done;
	}
	return 0;
}

/* The directory's file system may be unable to make a file without a name;
 * then one is made and its name removed at once. */
static int nameless_file(void)
{
	const char *dir = getenv("TMPDIR");
	struct q2_buf path = {0};
	int fd;

	if (dir == NULL || *dir == '\0')
		dir = "/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	q2_buf_format(&path, "%.900s/qcow2-XXXXXX", dir);
	q2_buf_add(&path, "", 1);
	if (!path.failed) {
		fd = mkostemp(path.at, O_CLOEXEC);
		if (fd >= 0)
			(void)unlink(path.at);
	}
	q2_buf_free(&path);
	return fd;
}

void q2_cli_output_reserve(struct q2_cli_output *out)
{
	out->reserve = nameless_file();
	out->no_file = out->reserve < 0;
}

/* Moves the buffer into the temporary file.  Where there is none to be had the
 * document grows in memory. */
static int spill(struct q2_cli_output *out)
{
	if (out->spill < 0) {
		out->spill = out->reserve >= 0 ? out->reserve : nameless_file();
		out->reserve = -1;
	}
	if (out->spill < 0) {
		out->no_file = true;
		return 0;
	}
	if (write_all(out, out->spill, out->buf.at, out->buf.n) != 0)
		return -1;
	out->buf.n = 0;
	return 0;
}

int q2_cli_output_add(void *ctx, const char *bytes, size_t n)
{
	struct q2_cli_output *out = ctx;

	if (out->error != 0)
		return -1;
	q2_buf_add(&out->buf, bytes, n);
	if (out->buf.failed)
		return fail(out, ENOMEM);
	if (out->buf.n >= SPILL_SIZE && !out->no_file)
		return spill(out);
	return 0;
}

static int copy_spilled(struct q2_cli_output *out)
{
	char block[65536];
	off_t at = 0;

	for (;;) {
		ssize_t n = pread(out->spill, block, sizeof(block), at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(out, errno);
		if (n == 0)
			break;
		if (write_all(out, out->fd, block, (size_t)n) != 0)
			return -1;
		at += n;
	}
	out->reserve = ftruncate(out->spill, 0) == 0 &&
				       lseek(out->spill, 0, SEEK_SET) == 0 ?
			       out->spill : -1;
	if (out->reserve < 0) {
		close(out->spill);
		out->no_file = true;
	}
	out->spill = -1;
	return 0;
}

int q2_cli_output_commit(struct q2_cli_output *out)
{
	if (out->error != 0)
		return -1;
	if (out->spill >= 0 && copy_spilled(out) != 0)
		return -1;
	if (write_all(out, out->fd, out->buf.at, out->buf.n) != 0)
		return -1;
	out->buf.n = 0;
	return 0;
}

void q2_cli_output_drop(struct q2_cli_output *out)
{
	if (out->spill >= 0)
		close(out->spill);
	if (out->reserve >= 0)
		close(out->reserve);
	q2_buf_free(&out->buf);
}

int q2_cli_output_close(struct q2_cli_output *out)
{
	/* Some file systems tell only now that the bytes found no room. */
	if (close(out->fd) != 0 && errno != EINTR)
		(void)fail(out, errno);
	q2_cli_output_drop(out);
	return out->error;
}
