/*
 * state_whole.c - a state that is one piece of any bytes.
 *
 * SPDX-License-Identifier: MIT
 *
 * Behind the head, at fixed places, two lines "kept NUMBER START LENGTH SUM CHECK",
 * written by turns; the one with the greater number counts.  A piece is written
 * where the last one is not, before its line is, so that there always is a whole
 * one.
 */
#include "cli/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/num.h"
#include "cli/cli.h"

#define KEPT                                                                   \
	"kept %020" PRIu64 " %020" PRIu64 " %020" PRIu64 " %016" PRIx64        \
	" %016" PRIx64 "\n"
#define KEPT_LEN 102u
#define LINES 128u /* where they stand */
#define FIRST 512u /* where pieces stand */
#define BLOCK 65536u

static off_t line_at(uint64_t number)
{
	return (off_t)(LINES + number % 2 * 128);
}

static void make_line(const struct q2_cli_whole *w, char line[128])
{
	const uint64_t each[] = {w->number, w->start, w->n, w->sum};

	snprintf(line, 128, KEPT, w->number, w->start, w->n, w->sum,
		 q2_hash(each, sizeof(each)));
}

/* Up to n bytes, fewer only at the end of the file; -1 after a failure. */
static ssize_t read_all(int fd, char *out, size_t n, off_t at)
{
	size_t done = 0;

	while (done < n) {
		ssize_t got = pread(fd, out + done, n - done, at + (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* One of the two lines; false if it is not whole. */
static bool read_line(int fd, uint64_t which, struct q2_cli_whole *w)
{
	char line[128] = "", right[128];
	uint64_t check;

	if (read_all(fd, line, KEPT_LEN, line_at(which)) != KEPT_LEN ||
	    sscanf(line, "kept %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNx64
			 " %" SCNx64,
		   &w->number, &w->start, &w->n, &w->sum, &check) != 5)
		return false;
	make_line(w, right);
	return strcmp(line, right) == 0 && w->number % 2 == which &&
	       w->number != 0 && w->start >= FIRST;
}

/* Whether the piece is there, byte for byte. */
static bool is_whole(struct q2_cli_state *s, const struct q2_cli_whole *w)
{
	uint64_t sum = 0, at = 0;

	while (at < w->n) {
		size_t n = (size_t)q2_min(BLOCK, w->n - at);

		if (read_all(fileno(s->file), s->block, n,
			     (off_t)(w->start + at)) != (ssize_t)n)
			return false;
		sum = q2_hash_on(sum, s->block, n);
		at += n;
	}
	return sum == w->sum;
}

/* The last piece that is whole; false if there should be one. */
static bool find_last(struct q2_cli_state *s)
{
	struct q2_cli_whole each[2] = {{0}};
	bool told[2];
	char byte = 0;

	for (uint64_t i = 0; i < 2; i++)
		told[i] = read_line(fileno(s->file), i, &each[i]);
	for (unsigned tries = 0; tries < 2; tries++) {
		unsigned i = !told[0] || (told[1] && each[1].number >
						     each[0].number);

		if (told[i] && is_whole(s, &each[i])) {
			s->last = each[i];
			return true;
		}
		told[i] = false;
	}
	/* A run that was killed before it kept anything leaves no line. */
	return read_all(fileno(s->file), &byte, 1, line_at(1)) >= 0 && byte == 0;
}

int q2_cli_whole_load(struct q2_cli_state *s, uint64_t identity)
{
	bool empty;
	const char *wrong = q2_cli_state_head(s, identity, &empty);

	s->block = malloc(BLOCK);
	if (s->block == NULL) {
		errno = ENOMEM;
		q2_cli_state_give_up(s);
		return Q2_EXIT_FAILED;
	}
	if (wrong == NULL && !empty && !find_last(s))
		wrong = Q2_STATE_DAMAGED;
	if (wrong != NULL)
		return q2_cli_state_refuse(s, wrong);
	s->position = s->last.number;
	s->next = q2_cli_state_clock() + Q2_STATE_EVERY;
	s->since = s->next;
	if (s->position == 0)
		(void)q2_cli_state_begin(s, identity);
	return 0;
}

size_t q2_cli_whole_read(struct q2_cli_state *s, void *bytes, size_t n)
{
	ssize_t got;

	if (s->file == NULL)
		return 0;
	n = (size_t)q2_min(n, s->last.n - s->at);
	got = read_all(fileno(s->file), bytes, n, (off_t)(s->last.start + s->at));
	if (got <= 0)
		return 0;
	s->at += (uint64_t)got;
	return (size_t)got;
}

/* ------------------------------------------------------------------ writing */

bool q2_cli_whole_due(struct q2_cli_state *s, bool pressing)
{
	long long now = q2_cli_state_clock();

	if (s->file == NULL ||
	    !(pressing ? q2_cli_interrupted() || now >= s->since :
			 now >= s->next))
		return false;
	s->began = now;
	return true;
}

static bool write_all(int fd, const char *bytes, size_t n, uint64_t at)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, bytes, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		bytes += done;
		n -= (size_t)done;
		at += (uint64_t)done;
	}
	return true;
}

/* Behind the last one, whose place is only taken by one that ends before it. */
static uint64_t place_for_next(const struct q2_cli_state *s)
{
	const struct q2_cli_whole *w = &s->last;

	/* Grown by a half it still fits. */
	if (w->number == 0 ||
	    (!s->crowded && w->start - FIRST >= w->n + w->n / 2 + BLOCK))
		return FIRST;
	return w->start + w->n;
}

/* The block that is held, of n bytes. */
static bool put_block(struct q2_cli_state *s, size_t n)
{
	struct q2_cli_whole *w = &s->next_one;
	uint64_t at = w->start + w->n - n;

	/* It would run into the one that must stay: the next one goes behind. */
	s->crowded |= at < s->last.start && at + n > s->last.start;
	if (s->crowded && at < s->last.start)
		return false;
	w->sum = q2_hash_on(w->sum, s->block, n);
	return write_all(fileno(s->file), s->block, n, at);
}

int q2_cli_whole_add(struct q2_cli_state *s, const char *bytes, size_t n)
{
	struct q2_cli_whole *w = &s->next_one;

	if (s->file == NULL)
		return -1;
	if (w->number == 0)
		*w = (struct q2_cli_whole){.number = s->last.number + 1,
					   .start = place_for_next(s)};
	while (n > 0) {
		size_t held = (size_t)(w->n % BLOCK);
		size_t part = (size_t)q2_min(n, BLOCK - held);

		memcpy(s->block + held, bytes, part);
		w->n += part;
		bytes += part;
		n -= part;
		if (held + part == BLOCK && !put_block(s, BLOCK))
			return -1;
	}
	return 0;
}

void q2_cli_whole_end(struct q2_cli_state *s, bool whole)
{
	struct q2_cli_whole w;
	char line[128];
	long long now;
	int fd;

	if (s->file == NULL)
		return;
	fd = fileno(s->file);
	if (whole && s->next_one.n % BLOCK != 0)
		whole = put_block(s, (size_t)(s->next_one.n % BLOCK));
	w = s->next_one;
	s->next_one = (struct q2_cli_whole){0};
	if (!whole && s->crowded && w.start < s->last.start)
		return;
	make_line(&w, line);
	if (!whole || fdatasync(fd) < 0 ||
	    !write_all(fd, line, KEPT_LEN, (uint64_t)line_at(w.number)) ||
	    fdatasync(fd) < 0) {
		q2_cli_state_give_up(s);
		return;
	}
	s->last = w;
	s->position = w.number;
	s->crowded = false;
	/* Keeping is to take a twentieth of the time, at the most. */
	now = q2_cli_state_clock();
	s->next = now + Q2_STATE_EVERY;
	if (s->next < now + 20 * (now - s->began))
		s->next = now + 20 * (now - s->began);
}
