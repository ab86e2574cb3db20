/*
 * journal.c - lines that say how far a file is done, and the state at that point.
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
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hash.h"

#define SUFFIX ".part.journal"
#define NEW ".new"
#define HEAD "qcow2-dump 1 "
#define TEXT_MAX ((size_t)256 << 20) /* states are at most an L1 table and more */
#define STEP (UINT64_C(32) << 20) /* bytes for which a line is worth a sync */
#define STATE_SHARE 8u /* a state is worth so many times its own bytes */

struct q2_journal {
	struct q2_journal_key key;
	int fd;
	bool ours; /* its first line is that of a journal; `other`: of other work */
	bool other;
	uint64_t done;
	uint64_t noted;
	char *path;
	char *text; /* as found */
	const uint8_t *state; /* in `text` */
	size_t state_len;
};

static enum q2_status cannot(struct q2_err *err, const char *what)
{
	return q2_fail_errno(err, errno, Q2_NO_OFFSET, what);
}

/* What the work is. */
static int head_of(const struct q2_journal *j, char *out, size_t room)
{
	const uint64_t all[2] = {j->key.hash, j->key.size};

	return snprintf(out, room, HEAD "%016" PRIx64 "\n",
			q2_hash(all, sizeof(all)));
}

/* One line: what is done, and a checksum over that, the key and the state. */
static int line_of(const struct q2_journal *j, uint64_t done,
		   const uint8_t *state, size_t len, char *out, size_t room)
{
	const uint64_t all[5] = {j->key.hash, j->key.size, done, len,
				 len ? q2_hash(state, len) : 0};

	return snprintf(out, room, "done %" PRIu64 " %zu %016" PRIx64 "\n",
			done, len, q2_hash(all, sizeof(all)));
}

/* Takes the line at `line` if it is whole, and right; the next one, or NULL. */
static const char *read_line(struct q2_journal *j, const char *line,
			     const char *end)
{
	const char *nl = memchr(line, '\n', (size_t)(end - line));
	const uint8_t *state;
	char right[100];
	uint64_t done;
	size_t len;
	int n;

	if (nl == NULL ||
	    sscanf(line, "done %" SCNu64 " %zu", &done, &len) != 2 ||
	    len > (size_t)(end - nl - 1) || done > j->key.size)
		return NULL;
	state = (const uint8_t *)nl + 1;
	n = line_of(j, done, state, len, right, sizeof(right));
	if (n != nl + 1 - line || memcmp(line, right, (size_t)n) != 0)
		return NULL;
	if (done >= j->done) {
		j->done = done;
		j->state = len ? state : NULL;
		j->state_len = len;
	}
	return nl + 1 + len;
}

static void read_text(struct q2_journal *j, size_t n)
{
	const char *end = j->text + n, *line;
	char head[60];
	int len = head_of(j, head, sizeof(head));

	if (n < (size_t)len || memcmp(j->text, HEAD, sizeof(HEAD) - 1) != 0 ||
	    j->text[len - 1] != '\n')
		return;
	j->ours = true;
	j->other = memcmp(j->text, head, (size_t)len) != 0;
	for (line = j->text + len; !j->other && line != NULL && line < end;)
		line = read_line(j, line, end);
}

/* Up to len bytes, fewer only at the end; -1 after a failure. */
static ssize_t read_all(int fd, char *out, size_t len)
{
	size_t n = 0;

	while (n < len) {
		ssize_t got = read(fd, out + n, len - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static bool write_all(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n < 0 ? errno : ENOSPC;
			return false;
		}
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static enum q2_status load(struct q2_journal *j, struct q2_err *err)
{
	struct stat sb;
	ssize_t got;

	if (fstat(j->fd, &sb) < 0)
		return cannot(err, "cannot read the journal");
	if (sb.st_size > (off_t)TEXT_MAX)
		return Q2_OK;
	j->text = calloc(1, (size_t)sb.st_size + 1);
	if (j->text == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	got = read_all(j->fd, j->text, (size_t)sb.st_size);
	if (got < 0)
		return cannot(err, "cannot read the journal");
	read_text(j, (size_t)got);
	return Q2_OK;
}

/* Nothing but the head, which a run that is killed here leaves as it was. */
static enum q2_status begin(struct q2_journal *j, struct q2_err *err)
{
	char head[60];
	int n = head_of(j, head, sizeof(head));
	bool stays = j->ours && !j->other;

	if (ftruncate(j->fd, stays ? n : 0) < 0 ||
	    (!stays && !write_all(j->fd, head, (size_t)n)))
		return cannot(err, "cannot write the journal");
	j->ours = true;
	j->other = false;
	return Q2_OK;
}

static enum q2_status start(struct q2_journal *j, unsigned flags,
			    struct q2_err *err)
{
	bool fresh = flags & Q2_JOURNAL_FRESH;
	bool replace = fresh || (flags & Q2_JOURNAL_REPLACE);
	enum q2_status st = Q2_OK;

	j->fd = open(j->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_APPEND |
			      (replace ? O_CREAT : 0) | (fresh ? O_TRUNC : 0),
		     0666);
	if (j->fd < 0 && (replace || errno != ENOENT))
		return cannot(err, "cannot open the journal");
	if (j->fd >= 0)
		st = load(j, err);
	if (st != Q2_OK)
		return st;
	if (!j->ours && !replace)
		return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
			       "NAME.part exists, and no journal says that it "
			       "is of a run with --resume: --force starts anew, "
			       "and overwrites it");
	if (j->other && !replace)
		return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
			       "what an interrupted run has left is of another "
			       "image or form of it, or the image has changed "
			       "since: --force starts anew");
	j->noted = j->done;
	if (j->done != 0)
		return Q2_OK;
	/* Lines of other work must not stay before ours. */
	return begin(j, err);
}

static char *path_of(const char *path)
{
	char *name = malloc(strlen(path) + sizeof(SUFFIX));

	if (name != NULL) {
		strcpy(name, path);
		strcat(name, SUFFIX);
	}
	return name;
}

void q2_journal_discard(const char *path)
{
	char *name = path_of(path);
	char head[sizeof(HEAD) - 1];
	int fd = name ? open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
				   O_NONBLOCK) : -1;

	if (fd >= 0 && read_all(fd, head, sizeof(head)) == (ssize_t)sizeof(head) &&
	    memcmp(head, HEAD, sizeof(head)) == 0)
		(void)unlink(name);
	if (fd >= 0)
		close(fd);
	free(name);
}

enum q2_status q2_journal_open(const char *path,
			       const struct q2_journal_key *key,
			       unsigned flags, struct q2_journal **out,
			       struct q2_err *err)
{
	struct q2_journal *j = calloc(1, sizeof(*j));
	enum q2_status st;

	*out = NULL;
	if (j == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	j->key = *key;
	j->fd = -1;
	j->path = path_of(path);
	if (j->path == NULL) {
		q2_journal_close(j, false);
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	}
	st = start(j, flags, err);
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

const uint8_t *q2_journal_state(const struct q2_journal *j, size_t *len)
{
	*len = j->state_len;
	return j->state;
}

enum q2_status q2_journal_forget(struct q2_journal *j, struct q2_err *err)
{
	enum q2_status st = begin(j, err);

	j->done = j->noted = 0;
	j->state = NULL;
	j->state_len = 0;
	if (st == Q2_OK && fdatasync(j->fd) < 0)
		st = cannot(err, "cannot write the journal");
	return st;
}

bool q2_journal_due(const struct q2_journal *j, uint64_t done, size_t len)
{
	return done - j->noted >= q2_max(STEP, (uint64_t)len * STATE_SHARE);
}

enum q2_status q2_journal_note(struct q2_journal *j, struct q2_target *t,
			       uint64_t done, struct q2_err *err)
{
	char line[100];
	enum q2_status st;
	int n;

	if (!q2_journal_due(j, done, 0))
		return Q2_OK;
	st = q2_target_sync(t, err);
	if (st != Q2_OK)
		return st;
	n = line_of(j, done, NULL, 0, line, sizeof(line));
	if (!write_all(j->fd, line, (size_t)n) || fdatasync(j->fd) < 0)
		return cannot(err, "cannot write the journal");
	j->noted = done;
	return Q2_OK;
}

/* Under another name first: at each moment one of them is whole. */
static bool replace(struct q2_journal *j, const char *temp, uint64_t done,
		    const uint8_t *state, size_t len)
{
	char line[100], head[60];
	int h = head_of(j, head, sizeof(head));
	int n = line_of(j, done, state, len, line, sizeof(line));
	int fd;

	(void)unlink(temp);
	fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return false;
	if (!write_all(fd, head, (size_t)h) ||
	    !write_all(fd, line, (size_t)n) || !write_all(fd, state, len) ||
	    fdatasync(fd) < 0 || rename(temp, j->path) < 0) {
		int error = errno;

		close(fd);
		(void)unlink(temp);
		errno = error;
		return false;
	}
	close(j->fd);
	j->fd = fd;
	return true;
}

enum q2_status q2_journal_keep(struct q2_journal *j, struct q2_target *t,
			       uint64_t done, const uint8_t *state, size_t len,
			       struct q2_err *err)
{
	enum q2_status st = q2_target_sync(t, err);
	char *temp;
	bool good;

	if (st != Q2_OK)
		return st;
	temp = malloc(strlen(j->path) + sizeof(NEW));
	if (temp == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	strcpy(temp, j->path);
	strcat(temp, NEW);
	good = replace(j, temp, done, state, len);
	st = good ? Q2_OK : cannot(err, "cannot write the journal");
	free(temp);
	if (good)
		j->noted = done;
	return st;
}

void q2_journal_close(struct q2_journal *j, bool finished)
{
	if (j == NULL)
		return;
	if (finished)
		(void)unlink(j->path);
	if (j->fd >= 0)
		close(j->fd);
	free(j->text);
	free(j->path);
	free(j);
}
