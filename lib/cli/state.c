/*
 * state.c - the file that an interrupted run leaves.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "cli/cli.h"

#define HEAD "%s state 1 %016" PRIx64
#define KEPT "kept "
#define HEAD_ROOM 120

long long q2_cli_state_clock(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* it is always there */
	return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int complain(const struct q2_cli_state *s, const char *what)
{
	q2_cli_complain(s->tool, s->path, what);
	return Q2_EXIT_FAILED;
}

int q2_cli_state_open(struct q2_cli_state *s, const struct q2_cli_tool *tool,
		      const char *path)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct stat sb;
	int fd, error;

	*s = (struct q2_cli_state){.tool = tool, .path = strdup(path)};
	if (s->path == NULL) {
		q2_cli_complain(tool, path, strerror(ENOMEM));
		return Q2_EXIT_FAILED;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
		  0666);
	if (fd < 0)
		return complain(s, strerror(errno));
	if (fstat(fd, &sb) < 0 || !S_ISREG(sb.st_mode)) {
		close(fd);
		return complain(s, "is not a regular file");
	}
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0 &&
	    (errno == EAGAIN || errno == EACCES)) {
		close(fd);
		return complain(s, "another run is using it");
	}
	s->file = fdopen(fd, "r+");
	if (s->file == NULL) {
		error = errno;
		close(fd);
		return complain(s, strerror(error));
	}
	s->ours = sb.st_size == 0;
	return 0;
}

/* ------------------------------------------------------------------ reading */

/* The next whole line without its newline; false at the end, or if it is none of
 * ours. */
static bool next_line(struct q2_cli_state *s)
{
	size_t n;

	if (fgets(s->line, sizeof(s->line), s->file) == NULL)
		return false;
	n = strlen(s->line);
	if (n == 0 || s->line[n - 1] != '\n')
		return false;
	s->line[n - 1] = '\0';
	return true;
}

static uint64_t sum_on(uint64_t sum, const char *line)
{
	return q2_hash_on(sum, line, strlen(line));
}

static void kept_line(char *out, size_t room, uint64_t position, uint64_t sum)
{
	const uint64_t both[2] = {position, sum};

	snprintf(out, room, KEPT "%" PRIu64 " %016" PRIx64, position,
		 q2_hash(both, sizeof(both)));
}

/* Follows the lines as far as they are whole; false if one was altered. */
static bool follow(struct q2_cli_state *s, uint64_t identity)
{
	uint64_t sum = q2_hash(&identity, sizeof(identity));
	char right[80];

	s->sum = sum = sum_on(sum, s->line);
	s->end = ftello(s->file);
	while (next_line(s)) {
		uint64_t position, check;
		int end = -1;

		if (sscanf(s->line, KEPT "%" SCNu64 " %16" SCNx64 "%n",
			   &position, &check, &end) == 2 && end >= 0) {
			kept_line(right, sizeof(right), position, sum);
			if (strcmp(right, s->line) != 0 ||
			    position < s->position)
				return false;
			s->position = position;
			s->sum = sum_on(sum, s->line);
			s->end = ftello(s->file);
		}
		sum = sum_on(sum, s->line);
	}
	return true;
}

static void make_head(const struct q2_cli_state *s, uint64_t identity,
		      char head[HEAD_ROOM])
{
	snprintf(head, HEAD_ROOM, HEAD, s->tool->name, identity);
}

const char *q2_cli_state_head(struct q2_cli_state *s, uint64_t identity,
			      bool *empty)
{
	char head[HEAD_ROOM];

	make_head(s, identity, head);
	*empty = false;
	if (!next_line(s)) {
		/* The first write may have been cut off. */
		*empty = !ferror(s->file) && feof(s->file) &&
			 strncmp(s->line, head, strlen(s->line)) == 0;
		return *empty ? NULL : Q2_STATE_FOREIGN;
	}
	if (strncmp(s->line, head, strlen(head) - 16) != 0)
		return Q2_STATE_FOREIGN;
	return strcmp(s->line, head) == 0 ? NULL : Q2_STATE_OTHER;
}

/* What is wrong with the file; NULL if nothing is. */
static const char *judge(struct q2_cli_state *s, uint64_t identity, bool *empty)
{
	const char *wrong = q2_cli_state_head(s, identity, empty);

	if (wrong == NULL && !*empty && !follow(s, identity))
		wrong = Q2_STATE_DAMAGED;
	return wrong;
}

void q2_cli_state_give_up(struct q2_cli_state *s)
{
	char text[160];

	snprintf(text, sizeof(text),
		 "%s: an interrupted run could only go on from an earlier "
		 "point", strerror(errno ? errno : EIO));
	(void)complain(s, text);
	(void)fclose(s->file);
	s->file = NULL;
}

int q2_cli_state_refuse(struct q2_cli_state *s, const char *wrong)
{
	char text[160];

	snprintf(text, sizeof(text), "%s%s%s", wrong,
		 strcmp(wrong, Q2_STATE_FOREIGN) ? ": " : "",
		 strcmp(wrong, Q2_STATE_FOREIGN) == 0 ? "" :
		 s->anew ? s->anew : "--force starts anew");
	(void)fclose(s->file);
	s->file = NULL;
	return complain(s, text);
}

bool q2_cli_state_begin(struct q2_cli_state *s, uint64_t identity)
{
	char head[HEAD_ROOM];

	make_head(s, identity, head);
	s->ours = true;
	s->position = 0;
	s->sum = sum_on(q2_hash(&identity, sizeof(identity)), head);
	rewind(s->file);
	if (ftruncate(fileno(s->file), 0) < 0 ||
	    fprintf(s->file, "%s\n", head) < 0 || fflush(s->file) != 0) {
		q2_cli_state_give_up(s);
		return false;
	}
	s->end = ftello(s->file);
	return true;
}

int q2_cli_state_load(struct q2_cli_state *s, uint64_t identity, bool anew)
{
	bool empty;
	const char *wrong = judge(s, identity, &empty);

	/* Whatever the option: a file that never was a state stays. */
	if (wrong != NULL && (!anew || strcmp(wrong, Q2_STATE_FOREIGN) == 0))
		return q2_cli_state_refuse(s, wrong);
	s->next = q2_cli_state_clock() + Q2_STATE_EVERY;
	if (wrong != NULL || empty) {
		(void)q2_cli_state_begin(s, identity);
		return 0;
	}
	s->reached = s->position;
	/* Without what a killed run left behind that. */
	if (ftruncate(fileno(s->file), s->end) < 0)
		q2_cli_state_give_up(s);
	else
		rewind(s->file);
	if (s->file != NULL && !next_line(s)) /* the head */
		q2_cli_state_give_up(s);
	return 0;
}

uint64_t q2_cli_state_position(const struct q2_cli_state *s)
{
	return s->file != NULL ? s->position : 0;
}

const char *q2_cli_state_recall(struct q2_cli_state *s)
{
	if (s->file == NULL)
		return NULL;
	while (next_line(s))
		if (strncmp(s->line, KEPT, strlen(KEPT)) != 0)
			return s->line;
	return NULL;
}

/* ------------------------------------------------------------------ writing */

void q2_cli_state_add(struct q2_cli_state *s, const char *line, size_t n)
{
	if (s->file == NULL)
		return;
	q2_buf_add(&s->lines, line, n);
	q2_buf_char(&s->lines, '\n');
}

/* The lines that belong to what was reached, and the one that vouches for them. */
static bool put(struct q2_cli_state *s)
{
	char *at = s->lines.at, *end = at + s->whole;
	char kept[80];

	if (fseeko(s->file, s->end, SEEK_SET) < 0 || s->lines.failed)
		return false;
	while (at != NULL && at < end) {
		char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t n = (size_t)(newline - at);

		s->sum = q2_hash_on(s->sum, at, n);
		if (fwrite(at, 1, n + 1, s->file) != n + 1)
			return false;
		at = newline + 1;
	}
	kept_line(kept, sizeof(kept), s->reached, s->sum);
	s->sum = sum_on(s->sum, kept);
	return fprintf(s->file, "%s\n", kept) >= 0 && fflush(s->file) == 0 &&
	       fdatasync(fileno(s->file)) == 0;
}

static void keep(struct q2_cli_state *s)
{
	if (s->file == NULL || s->reached <= s->position)
		return;
	errno = 0;
	if (!put(s)) {
		q2_cli_state_give_up(s);
		return;
	}
	s->end = ftello(s->file);
	s->position = s->reached;
	s->lines.n -= s->whole;
	if (s->lines.n > 0)
		memmove(s->lines.at, s->lines.at + s->whole, s->lines.n);
	s->whole = 0;
}

void q2_cli_state_reach(struct q2_cli_state *s, uint64_t position)
{
	if (s->file == NULL || position <= s->reached)
		return;
	s->reached = position;
	s->whole = s->lines.n;
	if (q2_cli_state_clock() < s->next)
		return;
	keep(s);
	s->next = q2_cli_state_clock() + Q2_STATE_EVERY;
}

void q2_cli_state_close(struct q2_cli_state *s, bool finished)
{
	if (s->path == NULL)
		return;
	if (!finished)
		keep(s);
	/* Nothing was learnt: nothing need be left. */
	finished |= s->ours && s->position == 0;
	if (finished)
		(void)unlink(s->path);
	if (s->file != NULL)
		(void)fclose(s->file);
	q2_buf_free(&s->lines);
	free(s->block);
	free(s->path);
	*s = (struct q2_cli_state){0};
}
