/*
 * calls_cli.c - what the tools write: documents, states of long work, progress.
 *
 * SPDX-License-Identifier: MIT
 *
 * A document comes whole, or not at all; a state that cannot be written leaves the
 * one before, and the work goes on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "cli/cli.h"

static const struct q2_cli_tool tool = {.name = "calls"};
static char complaint[240];

void __wrap_q2_cli_complain(const struct q2_cli_tool *t, const char *about,
			    const char *what);
void __wrap_q2_cli_complain(const struct q2_cli_tool *t, const char *about,
			    const char *what)
{
	(void)t;
	(void)about;
	snprintf(complaint, sizeof(complaint), "%.200s", what);
}

static enum q2_status said(bool good, struct q2_err *err)
{
	if (good)
		return Q2_OK;
	snprintf(err->text, sizeof(err->text), "%s", complaint);
	return Q2_E_IO;
}

static void begin(void)
{
	empty_work();
	complaint[0] = '\0';
}

/* --------------------------------------------------------------- a document */
#define LINES 40000

static void lines(char *line, size_t room, unsigned i)
{
	snprintf(line, room, "this is line %u of the document\n", i);
}

static enum q2_status run_document(struct q2_err *err)
{
	struct q2_cli_output out;
	/* Not one of the calls that fail. */
	int fd = openat(AT_FDCWD, "work/document", O_WRONLY | O_CREAT | O_CLOEXEC,
			0600);
	char line[100];
	int error, bad = 0;

	q2_cli_output_open(&out, fd);
	q2_cli_output_reserve(&out);
	for (int round = 0; round < 2 && bad == 0; round++) {
		for (unsigned i = 0; i < LINES && bad == 0; i++) {
			lines(line, sizeof(line), i);
			bad = q2_cli_output_add(&out, line, strlen(line));
		}
		if (bad == 0)
			bad = q2_cli_output_commit(&out);
	}
	error = q2_cli_output_close(&out);
	snprintf(complaint, sizeof(complaint), "%s", strerror(error));
	return said(bad == 0 && error == 0, err);
}

static bool right_document(bool done)
{
	FILE *f = fopen("work/document", "re");
	char line[100], is[100];
	bool good = f != NULL;
	unsigned n = 0;

	while (good && fgets(is, sizeof(is), f)) {
		lines(line, sizeof(line), n % LINES);
		good = strncmp(line, is, strlen(is)) == 0;
		n++;
	}
	if (f)
		fclose(f);
	return good && strcmp(names_at_work(), "document ") == 0 &&
	       (n == 2 * LINES || !done);
}

/* ------------------------------------------------------------------ a state */
static uint64_t reached;

static bool work_on(bool anew)
{
	struct q2_cli_state s;
	char line[40];
	const char *old;
	unsigned known = 0;

	if (q2_cli_state_open(&s, &tool, "work/state") != 0 ||
	    q2_cli_state_load(&s, 77, anew) != 0) {
		q2_cli_state_close(&s, false);
		return false;
	}
	reached = q2_cli_state_position(&s);
	while ((old = q2_cli_state_recall(&s)) != NULL)
		known += strncmp(old, "result ", 7) == 0;
	if (known != reached)
		die("%u lines of %llu", known, (unsigned long long)reached);
	for (unsigned i = 0; i < 6; i++) {
		int n = snprintf(line, sizeof(line), "result %llu",
				 (unsigned long long)reached + i);

		q2_cli_state_add(&s, line, (size_t)n);
		q2_cli_state_reach(&s, reached + i + 1);
	}
	q2_cli_state_close(&s, false);
	return true;
}

static void some_done(void)
{
	begin();
	fail_fake_clock(true);
	if (!work_on(false))
		die("state: %s", complaint);
	complaint[0] = '\0';
}

static enum q2_status run_state(struct q2_err *err)
{
	return said(work_on(false), err);
}

/* What was reached is there; or else what was reached before. */
static bool right_state(bool done)
{
	bool told = complaint[0] != '\0';

	if (!work_on(false) || reached < 6)
		return false;
	fail_fake_clock(false);
	return done && !told ? reached == 12 : true;
}

static enum q2_status run_first(struct q2_err *err)
{
	return said(work_on(true), err);
}

static void none_done(void)
{
	begin();
	fail_fake_clock(true);
}

static bool right_first(bool done)
{
	bool told = complaint[0] != '\0';

	if (!work_on(true))
		return false;
	fail_fake_clock(false);
	return done && !told ? reached == 6 : true;
}

/* ------------------------------------------------------- a state in one piece */
static char piece[30000];

static bool keep_whole(char with)
{
	struct q2_cli_state s;
	bool good = q2_cli_state_open(&s, &tool, "work/state") == 0 &&
		    q2_cli_whole_load(&s, 78) == 0;

	memset(piece, with, sizeof(piece));
	/* By this clock it is time when it was asked for a few times. */
	for (int i = 0; good && i < 9 && !q2_cli_whole_due(&s, false); i++)
		;
	if (good) {
		bool whole = true;

		for (size_t at = 0; at < sizeof(piece) && whole; at += 10000)
			whole = q2_cli_whole_add(&s, piece + at, 10000) == 0;
		q2_cli_whole_end(&s, whole);
	}
	q2_cli_state_close(&s, false);
	return good;
}

static void one_kept(void)
{
	begin();
	fail_fake_clock(true);
	if (!keep_whole('a'))
		die("state: %s", complaint);
	complaint[0] = '\0';
}

static enum q2_status run_whole(struct q2_err *err)
{
	return said(keep_whole('b'), err);
}

/* The new one or the old one, and all of it. */
static bool right_whole(bool done)
{
	struct q2_cli_state s;
	bool told = complaint[0] != '\0';
	size_t n;

	if (q2_cli_state_open(&s, &tool, "work/state") != 0 ||
	    q2_cli_whole_load(&s, 78) != 0)
		return false;
	n = q2_cli_whole_read(&s, piece, sizeof(piece));
	q2_cli_state_close(&s, false);
	fail_fake_clock(false);
	return n == sizeof(piece) && memcmp(piece, piece + 1, n - 1) == 0 &&
	       (piece[0] == 'b' || (piece[0] == 'a' && (told || !done)));
}

/* ----------------------------------------------------------------- progress */
static void with_terminal(void)
{
	begin();
	fail_fake_clock(true);
}

static enum q2_status run_progress(struct q2_err *err)
{
	int fd = openat(AT_FDCWD, "work/progress", O_WRONLY | O_CREAT | O_CLOEXEC,
			0600);
	struct q2_cli_progress p;
	struct q2_progress now = {.phase = "reading", .total = 1u << 20};

	q2_cli_progress_open(&p, &tool, fd, true);
	for (; now.done <= now.total; now.done += now.total / 16)
		(void)q2_cli_progress_tick(&p, &now);
	q2_cli_progress_clear(&p);
	close(fd);
	return said(true, err);
}

static bool right_progress(bool done)
{
	fail_fake_clock(false);
	return done && strcmp(names_at_work(), "progress ") == 0;
}

/* ------------------------------------------------------------------ secrets */
static void with_secret(void)
{
	begin();
	copy_file("given/pool/bad.qcow2", "work/secret");
}

static enum q2_status run_secret(struct q2_err *err)
{
	struct q2_cli_list list = {2, {"work/secret", "3=work/secret"}};
	struct q2_cli_secrets secrets = {0};
	bool good = q2_cli_secrets_read(&tool, &list, &secrets) == 0;

	for (size_t i = 0; good && i < secrets.n; i++)
		result_add(secrets.at[i].bytes, secrets.at[i].len);
	q2_cli_secrets_forget(&secrets);
	return said(good, err);
}

const struct scene cli_scenes[] = {
	{"document", begin, run_document, right_document, 0},
	{"state", some_done, run_state, right_state, 0},
	{"state, new", none_done, run_first, right_first, 0},
	{"state in one piece", one_kept, run_whole, right_whole, 0},
	{"progress", with_terminal, run_progress, right_progress, 0},
	{"secret", with_secret, run_secret, NULL, SCENE_ENDS},
	{0},
};
