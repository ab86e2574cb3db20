/*
 * journal.c - lines that say how far a raw file is done.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hash.h"

#define SUFFIX ".part.journal"
#define TEXT_MAX ((size_t)1 << 20)
#define STEP (UINT64_C(32) << 20) /* bytes for which a line is worth a sync */

struct q2_journal {
	struct q2_journal_key key;
	int fd;
	uint64_t done;
	uint64_t noted;
	char *path;
};

/* One line: what is done, and a checksum over that and the key. */
static int line_of(const struct q2_journal *j, uint64_t done, char *out,
		   size_t room)
{
	const uint64_t all[3] = {j->key.hash, j->key.size, done};

	return snprintf(out, room, "done %" PRIu64 " %016" PRIx64 "\n", done,
			q2_hash(all, sizeof(all)));
}

/* The last line that is whole. */
static void read_lines(struct q2_journal *j, char *text)
{
	char *line, *rest = text;

	while ((line = strsep(&rest, "\n")) != NULL && rest != NULL) {
		char right[80];
		uint64_t done;
		int n;

		if (sscanf(line, "done %" SCNu64, &done) != 1)
			break;
		n = line_of(j, done, right, sizeof(right));
		if (n <= 0 || strncmp(line, right, (size_t)n - 1) != 0)
			break;
		if (done >= j->done && done <= j->key.size)
			j->done = done;
	}
}

static enum q2_status start(struct q2_journal *j, bool fresh,
			    struct q2_err *err)
{
	char *text;
	ssize_t n;

	j->fd = open(j->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW |
			      O_APPEND | (fresh ? O_TRUNC : 0), 0666);
	if (j->fd < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot open the journal");
	text = calloc(1, TEXT_MAX + 1);
	if (text == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	n = read(j->fd, text, TEXT_MAX);
	if (n > 0)
		read_lines(j, text);
	free(text);
	/* Lines of other work must not stay before ours. */
	if (j->done == 0 && ftruncate(j->fd, 0) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot write the journal");
	j->noted = j->done;
	return Q2_OK;
}

enum q2_status q2_journal_open(const char *path,
			       const struct q2_journal_key *key, bool fresh,
			       struct q2_journal **out, struct q2_err *err)
{
	struct q2_journal *j = calloc(1, sizeof(*j));
	enum q2_status st;

	*out = NULL;
	if (j == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	j->key = *key;
	j->fd = -1;
	j->path = malloc(strlen(path) + sizeof(SUFFIX));
	if (j->path == NULL) {
		q2_journal_close(j, false);
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	}
	strcpy(j->path, path);
	strcat(j->path, SUFFIX);
	st = start(j, fresh, err);
	if (st == Q2_OK)
		*out = j;
	else
		q2_journal_close(j, false);
	return st;
}

uint64_t q2_journal_done(const struct q2_journal *j)
{
	return j->done;
}

enum q2_status q2_journal_note(struct q2_journal *j, struct q2_target *t,
			       uint64_t done, struct q2_err *err)
{
	char line[80];
	enum q2_status st;
	int n;

	if (done < j->noted + STEP)
		return Q2_OK;
	st = q2_target_sync(t, err);
	if (st != Q2_OK)
		return st;
	n = line_of(j, done, line, sizeof(line));
	if (write(j->fd, line, (size_t)n) != n || fdatasync(j->fd) < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET,
				     "cannot write the journal");
	j->noted = done;
	return Q2_OK;
}

void q2_journal_close(struct q2_journal *j, bool finished)
{
	if (j == NULL)
		return;
	if (finished && j->path != NULL)
		(void)unlink(j->path);
	if (j->fd >= 0)
		close(j->fd);
	free(j->path);
	free(j);
}
